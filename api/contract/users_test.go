package contract_test

import (
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/user"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/usergroup"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/models"
	"github.com/stretchr/testify/require"
)

const password = "Correct-horse2"

func users(h *harbor) {
	ctx := h.t.Context()
	request := func(name string) *user.CreateUserParams {
		return &user.CreateUserParams{UserReq: &models.UserCreationReq{
			Username: name, Email: name + "@example.com", Realname: "Real " + name, Password: password, Comment: "of the contract",
		}}
	}
	made := ok[*user.CreateUserCreated](h)(h.User.CreateUser(ctx, request("clara")))
	clara := id(h.t, made.Location)
	refused[*user.CreateUserCreated](h, "409")(h.User.CreateUser(ctx, request("clara")))
	refused[*user.CreateUserCreated](h, "400")(h.User.CreateUser(ctx, &user.CreateUserParams{UserReq: &models.UserCreationReq{
		Username: "weak", Email: "weak@example.com", Realname: "Weak", Password: "weak",
	}}))
	refused[*user.CreateUserCreated](h, "401")(h.as("", "").User.CreateUser(ctx, request("eve")))
	refused[*user.CreateUserCreated](h, "403")(h.as("clara", password).User.CreateUser(ctx, request("eve")))

	list := ok[*user.ListUsersOK](h)(h.User.ListUsers(ctx, &user.ListUsersParams{Q: new("username=clara")}))
	require.Equal(h.t, int64(1), list.XTotalCount)
	require.Equal(h.t, "clara@example.com", list.Payload[0].Email)
	found := ok[*user.SearchUsersOK](h)(h.as("clara", password).User.SearchUsers(ctx, &user.SearchUsersParams{Username: "clar"})).Payload
	require.Equal(h.t, clara, found[0].UserID)
	ok[*user.UpdateUserProfileOK](h)(h.User.UpdateUserProfile(ctx, &user.UpdateUserProfileParams{
		UserID: clara, Profile: &models.UserProfile{Email: "c@example.com", Realname: "Clara", Comment: "changed"},
	}))
	read := ok[*user.GetUserOK](h)(h.as("clara", password).User.GetUser(ctx, &user.GetUserParams{UserID: clara})).Payload
	require.Equal(h.t, "c@example.com", read.Email)
	refused[*user.GetUserOK](h, "403")(h.as("clara", password).User.GetUser(ctx, &user.GetUserParams{UserID: 1}))
	refused[*user.GetUserOK](h, "404")(h.User.GetUser(ctx, &user.GetUserParams{UserID: 4711}))
	ok[*user.SetUserSysAdminOK](h)(h.User.SetUserSysAdmin(ctx, &user.SetUserSysAdminParams{UserID: clara, SysadminFlag: &models.UserSysAdminFlag{SysadminFlag: true}}))
	ok[*user.SetUserSysAdminOK](h)(h.User.SetUserSysAdmin(ctx, &user.SetUserSysAdminParams{UserID: clara, SysadminFlag: &models.UserSysAdminFlag{}}))
	current := ok[*user.GetCurrentUserInfoOK](h)(h.as("clara", password).User.GetCurrentUserInfo(ctx, &user.GetCurrentUserInfoParams{})).Payload
	require.Equal(h.t, "clara", current.Username)
	refused[*user.GetCurrentUserInfoOK](h, "401")(h.as("", "").User.GetCurrentUserInfo(ctx, &user.GetCurrentUserInfoParams{}))
	ok[*user.GetCurrentUserPermissionsOK](h)(h.as("clara", password).User.GetCurrentUserPermissions(ctx, &user.GetCurrentUserPermissionsParams{
		Scope: new("/project/1"), Relative: new(true),
	}))
	refused[*user.SetCliSecretOK](h, "412")(h.User.SetCliSecret(ctx, &user.SetCliSecretParams{UserID: clara, Secret: &models.OIDCCliSecretReq{Secret: "C1i-secret-of-hers"}}))
	const fresh = "An0ther-horse"
	refused[*user.UpdateUserPasswordOK](h, "403")(h.as("clara", password).User.UpdateUserPassword(ctx, &user.UpdateUserPasswordParams{
		UserID: clara, Password: &models.PasswordReq{OldPassword: "Wr0ng-horse", NewPassword: fresh},
	}))
	ok[*user.UpdateUserPasswordOK](h)(h.as("clara", password).User.UpdateUserPassword(ctx, &user.UpdateUserPasswordParams{
		UserID: clara, Password: &models.PasswordReq{OldPassword: password, NewPassword: fresh},
	}))
	ok[*user.DeleteUserOK](h)(h.User.DeleteUser(ctx, &user.DeleteUserParams{UserID: clara}))
	refused[*user.GetCurrentUserInfoOK](h, "401")(h.as("clara", fresh).User.GetCurrentUserInfo(ctx, &user.GetCurrentUserInfoParams{}))
	groups(h)
}

func groups(h *harbor) {
	ctx := h.t.Context()
	made := ok[*usergroup.CreateUserGroupCreated](h)(h.Usergroup.CreateUserGroup(ctx, &usergroup.CreateUserGroupParams{
		Usergroup: &models.UserGroup{GroupName: "devs", GroupType: 3},
	}))
	devs := id(h.t, made.Location)
	refused[*usergroup.CreateUserGroupCreated](h, "409")(h.Usergroup.CreateUserGroup(ctx, &usergroup.CreateUserGroupParams{
		Usergroup: &models.UserGroup{GroupName: "devs", GroupType: 3},
	}))
	refused[*usergroup.CreateUserGroupCreated](h, "400")(h.Usergroup.CreateUserGroup(ctx, &usergroup.CreateUserGroupParams{
		Usergroup: &models.UserGroup{GroupName: "nowhere", GroupType: 1},
	}))
	list := ok[*usergroup.ListUserGroupsOK](h)(h.Usergroup.ListUserGroups(ctx, &usergroup.ListUserGroupsParams{}))
	require.Equal(h.t, int64(1), list.XTotalCount)
	found := ok[*usergroup.SearchUserGroupsOK](h)(h.Usergroup.SearchUserGroups(ctx, &usergroup.SearchUserGroupsParams{Groupname: "dev"}))
	require.Equal(h.t, devs, found.Payload[0].ID)
	ok[*usergroup.UpdateUserGroupOK](h)(h.Usergroup.UpdateUserGroup(ctx, &usergroup.UpdateUserGroupParams{
		GroupID: devs, Usergroup: &models.UserGroup{GroupName: "developers", GroupType: 3},
	}))
	require.Equal(h.t, "developers", ok[*usergroup.GetUserGroupOK](h)(h.Usergroup.GetUserGroup(ctx, &usergroup.GetUserGroupParams{GroupID: devs})).Payload.GroupName)
	refused[*usergroup.GetUserGroupOK](h, "404")(h.Usergroup.GetUserGroup(ctx, &usergroup.GetUserGroupParams{GroupID: 4711}))
	ok[*usergroup.DeleteUserGroupOK](h)(h.Usergroup.DeleteUserGroup(ctx, &usergroup.DeleteUserGroupParams{GroupID: devs}))
}
