package metadatatest

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/metadata"
)

func testUserLists(t *testing.T, f fixture) {
	ctx := t.Context()
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
		for i, name := range []string{"carol", "Bob", "gone"} {
			user, err := tx.CreateUser(ctx, metadata.User{
				Name: name, Email: name + "@example.org", SystemAdmin: i == 0, Source: "ldap", ExternalID: "uid=" + name,
			})
			if err != nil {
				return err
			}
			if name == "gone" {
				if err := tx.DeleteUser(ctx, user.ID); err != nil {
					return err
				}
			}
		}
		return nil
	})
	list := func(q metadata.Query) (names []string, total int64) {
		users, total, err := f.ListUsers(ctx, q)
		require.NoError(t, err)
		for _, user := range users {
			names = append(names, user.Name)
		}
		return names, total
	}
	names, total := list(metadata.Query{Limit: 2})
	require.Equal(t, []string{"Bob", "alice"}, names)
	require.Equal(t, int64(3), total)
	names, _ = list(metadata.Query{Limit: -1, Conditions: []metadata.Condition{{Field: "username", Comparison: metadata.Contains, Values: []any{"O"}}}})
	require.Equal(t, []string{"Bob", "carol"}, names)
	names, _ = list(metadata.Query{Limit: -1, Conditions: []metadata.Condition{{Field: "sysadmin_flag", Comparison: metadata.Equal, Values: []any{"true"}}}})
	require.Equal(t, []string{"carol"}, names)

	found, err := f.UserByExternalID(ctx, "ldap", "uid=Bob")
	require.NoError(t, err)
	require.Equal(t, "Bob", found.Name)
	for _, absent := range [][2]string{{"oidc", "uid=Bob"}, {"ldap", "uid=bob"}, {"ldap", ""}, {"ldap", "uid=gone"}} {
		_, err = f.UserByExternalID(ctx, absent[0], absent[1])
		require.ErrorIs(t, err, metadata.ErrNotFound, absent)
	}
	require.ErrorIs(t, f.refused(t, func(ctx context.Context, tx *metadata.Tx) error {
		_, err := tx.CreateUser(ctx, metadata.User{Name: "other", Source: "ldap", ExternalID: "uid=Bob"})
		return err
	}), metadata.ErrExists)

	f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
		user, err := tx.LockUserByID(ctx, found.ID)
		if err != nil {
			return err
		}
		user.DirectoryGone = true
		found, err = tx.UpdateUser(ctx, user)
		return err
	})
	require.True(t, found.ShutOut())
	require.False(t, found.Disabled)
	require.Equal(t, int64(2), found.CredentialVersion, "what was signed before is void")
}

func testGroups(t *testing.T, f fixture) {
	ctx := t.Context()
	var devs metadata.UserGroup
	f.write(t, func(ctx context.Context, tx *metadata.Tx) (err error) {
		devs, err = tx.CreateUserGroup(ctx, metadata.UserGroup{Name: "devs", Kind: metadata.GroupLDAP, DN: "cn=Devs,dc=x", Key: "cn=devs,dc=x"})
		return err
	})
	found, err := f.UserGroup(ctx, devs.ID)
	require.NoError(t, err)
	require.Equal(t, devs, found)
	found, err = f.UserGroupByKey(ctx, metadata.GroupLDAP, "cn=devs,dc=x")
	require.NoError(t, err)
	require.Equal(t, devs, found)
	for _, absent := range []string{"", "devs", "CN=devs,dc=x"} {
		_, err = f.UserGroupByKey(ctx, metadata.GroupLDAP, absent)
		require.ErrorIs(t, err, metadata.ErrNotFound, absent)
	}
	for _, taken := range []metadata.UserGroup{
		{Name: "devs", Kind: metadata.GroupLDAP, Key: "cn=devs,dc=y"},
		{Name: "others", Kind: metadata.GroupLDAP, Key: "cn=devs,dc=x"},
	} {
		require.ErrorIs(t, f.refused(t, func(ctx context.Context, tx *metadata.Tx) error {
			_, err := tx.CreateUserGroup(ctx, taken)
			return err
		}), metadata.ErrExists)
	}

	member := func(kind int, keys ...string) (changed bool) {
		f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
			groups := make([]metadata.UserGroup, 0, len(keys))
			for _, key := range keys {
				groups = append(groups, metadata.UserGroup{Name: "devs", DN: key, Key: key})
			}
			err := tx.EnsureUserGroups(ctx, kind, groups)
			if err == nil {
				changed, err = tx.SetGroupMembers(ctx, f.user.ID, kind, keys)
			}
			return err
		})
		return changed
	}
	mine := func() (names []string) {
		groups, err := f.UserGroups(ctx, f.user.ID)
		require.NoError(t, err)
		for _, g := range groups {
			names = append(names, fmt.Sprint(g.Kind, " ", g.Name))
		}
		return names
	}
	require.True(t, member(metadata.GroupLDAP, "cn=devs,dc=x", "cn=devs,dc=y"))
	require.Equal(t, []string{"1 cn=devs,dc=y", "1 devs"}, mine(), "a name that is taken gives way to the key")
	require.False(t, member(metadata.GroupLDAP, "cn=devs,dc=y", "cn=devs,dc=x"))
	require.True(t, member(metadata.GroupOIDC, "devs"))
	require.True(t, member(metadata.GroupLDAP, "cn=devs,dc=x"))
	require.Equal(t, []string{"1 devs", "3 devs"}, mine(), "each kind has its own")

	f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
		_, err := tx.SetMember(ctx, metadata.Member{ProjectID: f.project.ID, GroupID: devs.ID, RoleID: 2})
		return err
	})
	roles, _, err := f.Roles(ctx, f.user.ID, "library")
	require.NoError(t, err)
	require.Equal(t, []int{2}, roles)

	f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
		renamed, err := tx.RenameUserGroup(ctx, devs.ID, "engineers")
		require.Equal(t, "engineers", renamed.Name)
		require.Equal(t, devs.Key, renamed.Key)
		return err
	})
	require.ErrorIs(t, f.refused(t, func(ctx context.Context, tx *metadata.Tx) error {
		_, err := tx.RenameUserGroup(ctx, devs.ID, "cn=devs,dc=y")
		return err
	}), metadata.ErrExists)
	groups, total, err := f.ListUserGroups(ctx, metadata.Query{Limit: -1, Conditions: []metadata.Condition{
		{Field: "group_name", Comparison: metadata.Contains, Values: []any{"E"}}, {Field: "group_type", Comparison: metadata.Equal, Values: []any{int64(1)}},
	}})
	require.NoError(t, err)
	require.Equal(t, int64(2), total)
	require.Equal(t, "engineers", groups[1].Name)

	remove := func(ctx context.Context, tx *metadata.Tx) error { return tx.DeleteUserGroup(ctx, devs.ID) }
	f.write(t, remove)
	require.ErrorIs(t, f.refused(t, remove), metadata.ErrNotFound)
	require.Equal(t, []string{"3 devs"}, mine())
	roles, _, err = f.Roles(ctx, f.user.ID, "library")
	require.NoError(t, err)
	require.Empty(t, roles)
	require.True(t, member(metadata.GroupOIDC))
	require.Empty(t, mine())
}

// testRaceGroups logs many people with the same new groups in at once.
func testRaceGroups(t *testing.T, f fixture) {
	var groups []metadata.UserGroup
	var keys []string
	for i := range 20 {
		groups = append(groups, metadata.UserGroup{Name: fmt.Sprintf("g%02d", i%15), Key: fmt.Sprintf("k%02d", 20-i)})
		keys = append(keys, groups[i].Key)
	}
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			err := f.Tx(t.Context(), func(ctx context.Context, tx *metadata.Tx) error {
				if err := tx.EnsureUserGroups(ctx, metadata.GroupLDAP, groups); err != nil {
					return err
				}
				_, err := tx.SetGroupMembers(ctx, f.user.ID, metadata.GroupLDAP, keys)
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	found, err := f.UserGroups(t.Context(), f.user.ID)
	require.NoError(t, err)
	require.Len(t, found, 20)
}
