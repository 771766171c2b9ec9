package api

import (
	"errors"
	"net/http"
	"strconv"

	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/identity"
	"github.com/berth-registry/berth/identity/local"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/policy"
	"github.com/berth-registry/berth/setting"
)

func (a *API) userRoutes() []Route {
	const users, one = "/users", "/users/{user_id}"
	return []Route{
		define(Route{
			ID: "listUsers", Tag: "user", Method: http.MethodGet, Path: users, Summary: "Lists users",
			Permission: inSystem("user", policy.List), Statuses: []int{400, 401, 403, 422, 500},
		}, a.listUsers),
		define(Route{
			ID: "createUser", Tag: "user", Method: http.MethodPost, Path: users,
			Summary:    "Creates a user; anybody may register themself when the setting self_registration is on",
			Permission: onRow("user", policy.Create), Statuses: []int{400, 401, 403, 409, 429, 500},
		}, a.createUser),
		define(Route{
			ID: "getCurrentUserInfo", Tag: "user", Method: http.MethodGet, Path: users + "/current", Summary: "Returns the user who asks",
			Permission: onRow("current-user", policy.Read), Statuses: []int{401, 412, 500},
		}, a.currentUser),
		define(Route{
			ID: "searchUsers", Tag: "user", Method: http.MethodGet, Path: users + "/search", Summary: "Finds users by a part of their name",
			Permission: inSystem("user", policy.Search), Statuses: []int{401, 403, 422, 500},
		}, a.searchUsers),
		define(Route{
			ID: "getUser", Tag: "user", Method: http.MethodGet, Path: one, Summary: "Returns a user",
			Permission: onRow("user", policy.Read), Statuses: []int{401, 403, 404, 422, 500},
		}, a.getUser),
		define(Route{
			ID: "updateUserProfile", Tag: "user", Method: http.MethodPut, Path: one, Summary: "Changes a user's address, real name and comment",
			Permission: onRow("user", policy.Update), Statuses: []int{400, 401, 403, 404, 422, 500},
		}, a.updateUserProfile),
		define(Route{
			ID: "deleteUser", Tag: "user", Method: http.MethodDelete, Path: one, Summary: "Deletes a user; their name becomes free",
			Permission: onRow("user", policy.Delete), Statuses: []int{401, 403, 404, 422, 500},
		}, a.deleteUser),
		define(Route{
			ID: "setUserSysAdmin", Tag: "user", Method: http.MethodPut, Path: one + "/sysadmin", Summary: "Makes a user a system administrator or not",
			Permission: inSystem("user", policy.Update), Statuses: []int{400, 401, 403, 404, 422, 500},
		}, a.setUserSysAdmin),
		define(Route{
			ID: "setUserDisabled", Tag: "user", Method: http.MethodPut, Path: one + "/disabled", Summary: "Shuts a user out or lets them in again",
			Permission: inSystem("user", policy.Update), Statuses: []int{400, 401, 403, 404, 422, 500},
		}, a.setUserDisabled),
		define(Route{
			ID: "updateUserPassword", Tag: "user", Method: http.MethodPut, Path: one + "/password",
			Summary:    "Gives a user a new password, which voids what they are logged in with; one's own needs the old one",
			Permission: onRow("user", policy.Update), Statuses: []int{400, 401, 403, 404, 422, 429, 500},
		}, a.updateUserPassword),
	}
}

// user is a user as clients read it.
type user struct {
	ID        int64  `json:"user_id"`
	Name      string `json:"username"`
	Email     string `json:"email"`
	RealName  string `json:"realname"`
	Comment   string `json:"comment"`
	Admin     bool   `json:"sysadmin_flag"`
	ByGroup   bool   `json:"admin_role_in_auth" doc:"a group of the directory makes the user a system administrator"`
	Disabled  bool   `json:"disabled"`
	Source    string `json:"source" doc:"who proves the user: local, ldap or oidc"`
	CreatedAt Time   `json:"creation_time"`
	UpdatedAt Time   `json:"update_time"`
	// OIDC is there for users of an OpenID provider.
	OIDC *oidcUser `json:"oidc_user_meta,omitempty"`
}

// oidcUser is what an OpenID provider knows a user by.
type oidcUser struct {
	ID        int64  `json:"id"`
	UserID    int64  `json:"user_id"`
	Subject   string `json:"subiss"`
	CreatedAt Time   `json:"creation_time"`
	UpdatedAt Time   `json:"update_time"`
}

// sourceOIDC is the source of users of an OpenID provider.
const sourceOIDC = "oidc"

func viewUser(u metadata.User) user {
	view := user{
		ID: u.ID, Name: u.Name, Email: u.Email, RealName: u.RealName, Comment: u.Comment, Admin: u.SystemAdmin, ByGroup: u.DirectoryAdmin,
		Disabled: u.ShutOut(), Source: u.Source, CreatedAt: Time(u.CreatedAt), UpdatedAt: Time(u.UpdatedAt),
	}
	if u.Source == sourceOIDC {
		view.OIDC = &oidcUser{ID: u.ID, UserID: u.ID, Subject: u.ExternalID, CreatedAt: Time(u.CreatedAt), UpdatedAt: Time(u.UpdatedAt)}
	}
	return view
}

func (a *API) listUsers(c *Call, in struct{ Paging }) (Page[user], error) {
	q, _, err := in.Query()
	if err != nil {
		return Page[user]{}, err
	}
	rows, total, err := a.options.Store.ListUsers(c.Context(), q)
	return NewPage(in.Paging, rows, total, viewUser), err
}

// foundUser is a user as everybody may find them.
type foundUser struct {
	ID   int64  `json:"user_id"`
	Name string `json:"username"`
}

type searchUsersInput struct {
	Paging
	Name string `query:"username" doc:"part of the name"`
}

func (a *API) searchUsers(c *Call, in searchUsersInput) (Page[foundUser], error) {
	q, _, err := in.Query()
	if err != nil {
		return Page[foundUser]{}, err
	}
	// Only by the name: everything else about others is the administrators'.
	q.Conditions = []metadata.Condition{{Field: "username", Comparison: metadata.Contains, Values: []any{in.Name}}}
	q.Order = nil
	rows, total, err := a.options.Store.ListUsers(c.Context(), q)
	return NewPage(in.Paging, rows, total, func(u metadata.User) foundUser { return foundUser{u.ID, u.Name} }), err
}

func (a *API) currentUser(c *Call, _ struct{}) (user, error) {
	if c.Principal.Kind != identity.KindUser && c.Principal.Kind != identity.KindAnonymous {
		c.asked = true // nothing is told that would need a permission
		return user{}, fault.New(fault.Precondition, "%s is not a user", c.Principal.Name)
	}
	if err := c.Authorize(policy.Read, policy.Resource{Kind: "current-user"}); err != nil {
		return user{}, err
	}
	row, err := a.options.Store.UserByID(c.Context(), c.Principal.ID)
	return viewUser(row), err
}

// userPath names a user.
type userPath struct {
	ID int64 `path:"user_id"`
}

// row returns the user of the path, for those who may do the action to them.
func (p userPath) row(c *Call, action policy.Action) (metadata.User, error) {
	if err := c.Authorize(action, policy.Resource{Kind: "user", Owner: p.ID}); err != nil {
		return metadata.User{}, err
	}
	row, err := c.api.options.Store.UserByID(c.Context(), p.ID)
	return row, p.missing(err)
}

// missing says which user is not there.
func (p userPath) missing(err error) error {
	if errors.Is(err, metadata.ErrNotFound) {
		return fault.Because(err, fault.NotFound, "user %d not found", p.ID)
	}
	return err
}

func (a *API) getUser(c *Call, in userPath) (user, error) {
	row, err := in.row(c, policy.Read)
	return viewUser(row), err
}

// newUser is the body of createUser.
type newUser struct {
	Name     string `json:"username" maxLength:"255"`
	Email    string `json:"email" maxLength:"255"`
	RealName string `json:"realname" maxLength:"255"`
	Comment  string `json:"comment" maxLength:"255"`
	Password string `json:"password" maxLength:"128"`
}

func (a *API) createUser(c *Call, in struct {
	User newUser `body:""`
},
) (Created, error) {
	if err := a.mayCreateUser(c); err != nil {
		return Created{}, err
	}
	created, err := a.options.Users.Create(c.Context(), c.actor(), local.NewUser{
		Name: in.User.Name, Email: in.User.Email, RealName: in.User.RealName, Comment: in.User.Comment, Password: in.User.Password,
	})
	return Created{Location: Prefix + "/users/" + strconv.FormatInt(created.ID, 10)}, err
}

// mayCreateUser lets nobody register themself unless the administrators want that; nobody becomes one of them by it.
func (a *API) mayCreateUser(c *Call) error {
	refused := c.Authorize(policy.Create, policy.Resource{Kind: "user"})
	if refused == nil || c.Principal.Kind != identity.KindAnonymous {
		return refused
	}
	values, err := a.options.Settings.Values(c.Context())
	if err != nil {
		return err
	}
	if values.On(setting.SelfRegistration) {
		return nil
	}
	return refused
}

// profile is the body of updateUserProfile; what is missing stays as it is.
type profile struct {
	Email    *string `json:"email,omitempty"`
	RealName *string `json:"realname,omitempty"`
	Comment  *string `json:"comment,omitempty"`
}

func (a *API) updateUserProfile(c *Call, in struct {
	userPath
	Profile profile `body:""`
},
) (None, error) {
	row, err := in.row(c, policy.Update)
	if err != nil {
		return None{}, err
	}
	return None{}, a.options.Users.Update(c.Context(), c.actor(), row.ID, local.Edit{
		Email: in.Profile.Email, RealName: in.Profile.RealName, Comment: in.Profile.Comment,
	})
}

func (a *API) deleteUser(c *Call, in userPath) (None, error) {
	// Not by their own right: who may delete others can still not lock themself out.
	if err := c.Authorize(policy.Delete, policy.Resource{Kind: "user"}); err != nil {
		return None{}, err
	}
	if c.Principal.Kind == identity.KindUser && c.Principal.ID == in.ID {
		return None{}, fault.New(fault.Forbidden, "nobody can delete themself: ask another administrator")
	}
	return None{}, in.missing(a.options.Users.Remove(c.Context(), c.actor(), in.ID))
}

// adminFlag is the body of setUserSysAdmin. Clients leave a false one out.
type adminFlag struct {
	Admin bool `json:"sysadmin_flag"`
}

func (a *API) setUserSysAdmin(c *Call, in struct {
	userPath
	Flag adminFlag `body:""`
},
) (None, error) {
	return None{}, in.missing(a.options.Users.Update(c.Context(), c.actor(), in.ID, local.Edit{SystemAdmin: &in.Flag.Admin}))
}

// disabledFlag is the body of setUserDisabled.
type disabledFlag struct {
	Disabled bool `json:"disabled"`
}

func (a *API) setUserDisabled(c *Call, in struct {
	userPath
	Flag disabledFlag `body:""`
},
) (None, error) {
	return None{}, in.missing(a.options.Users.Update(c.Context(), c.actor(), in.ID, local.Edit{Disabled: &in.Flag.Disabled}))
}

// newPassword is the body of updateUserPassword.
type newPassword struct {
	Old string `json:"old_password,omitempty"`
	New string `json:"new_password"`
}

func (a *API) updateUserPassword(c *Call, in struct {
	userPath
	Password newPassword `body:""`
},
) (None, error) {
	row, err := in.row(c, policy.Update)
	if err != nil {
		return None{}, err
	}
	if row.Source != metadata.SourceLocal {
		return None{}, local.ErrElsewhere
	}
	if c.Principal.Kind == identity.KindUser && c.Principal.ID == row.ID {
		if err := a.proveAgain(c, row.Name, in.Password.Old); err != nil {
			return None{}, err
		}
		if in.Password.Old == in.Password.New {
			return None{}, fault.New(fault.Invalid, "the new password is the old one")
		}
	}
	return None{}, a.options.Users.Update(c.Context(), c.actor(), row.ID, local.Edit{Password: &in.Password.New})
}

// proveAgain checks the password of who is logged in already, through the same door as all logins, so that who has found a browser
// open cannot guess it any faster.
func (a *API) proveAgain(c *Call, name, password string) error {
	proven, err := a.options.Login.Authenticate(c.Context(), identity.Credentials{Name: name, Secret: password, Address: a.options.Address(c.Request)})
	switch {
	case errors.Is(err, identity.ErrCredentials), errors.Is(err, identity.ErrUnknown), err == nil && (proven.UserID() != c.Principal.ID || proven.TokenID != 0):
		return fault.New(fault.Forbidden, "the old password is wrong")
	case err != nil:
		return loginFailure(err)
	}
	return nil
}
