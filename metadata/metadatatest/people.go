package metadatatest

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/metadata"
)

func testUsers(t *testing.T, f fixture) {
	ctx := t.Context()
	require.Equal(t, int64(1), f.user.CredentialVersion)
	require.WithinDuration(t, time.Now(), f.user.CreatedAt, time.Minute)

	found, err := f.UserByName(ctx, "alice")
	require.NoError(t, err)
	require.Equal(t, f.user, found)
	found, err = f.UserByID(ctx, f.user.ID)
	require.NoError(t, err)
	require.Equal(t, f.user, found)
	for _, name := range []string{"", "Alice", "alice ", "a%", "alice\x01", strings.Repeat("x", 100_000), "alice' OR '1'='1"} {
		_, err = f.UserByName(ctx, name)
		require.ErrorIs(t, err, metadata.ErrNotFound, name)
	}
	_, err = f.UserByID(ctx, -1)
	require.ErrorIs(t, err, metadata.ErrNotFound)

	require.ErrorIs(t, f.refused(t, func(ctx context.Context, tx *metadata.Tx) error {
		_, err := tx.CreateUser(ctx, metadata.User{Name: "alice"})
		return err
	}), metadata.ErrExists)

	version := func(change func(u *metadata.User)) int64 {
		f.write(t, func(ctx context.Context, tx *metadata.Tx) (err error) {
			change(&found)
			found, err = tx.UpdateUser(ctx, found)
			return err
		})
		return found.CredentialVersion
	}
	require.Equal(t, int64(1), version(func(u *metadata.User) { u.Email, u.RealName, u.SystemAdmin = "a@example.org", "Alice", true }))
	require.Equal(t, int64(2), version(func(u *metadata.User) { u.PasswordHash = "$argon2id$…" }))
	require.Equal(t, int64(3), version(func(u *metadata.User) { u.Disabled = true }))
	require.Equal(t, int64(4), version(func(u *metadata.User) { u.Disabled, u.PasswordHash = false, "$argon2id$other" }))
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
		return tx.RehashPassword(ctx, found.ID, "$argon2id$other", "$argon2id$same")
	})
	require.ErrorIs(t, f.refused(t, func(ctx context.Context, tx *metadata.Tx) error {
		return tx.RehashPassword(ctx, found.ID, "$argon2id$other", "$argon2id$late")
	}), metadata.ErrNotFound)
	stored, err := f.UserByID(ctx, f.user.ID)
	require.NoError(t, err)
	require.Equal(t, "$argon2id$same", stored.PasswordHash)
	require.Equal(t, found.CredentialVersion, stored.CredentialVersion, "the password is the same")
	require.True(t, stored.SystemAdmin)

	f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
		for _, name := range []string{"zoe", "Bob", "bob"} {
			if _, err := tx.CreateUser(ctx, metadata.User{Name: name}); err != nil {
				return err
			}
		}
		return nil
	})
	var names []string
	for after := ""; ; after = names[len(names)-1] {
		page, err := f.Users(ctx, after, 2)
		require.NoError(t, err)
		for _, u := range page {
			names = append(names, u.Name)
		}
		if len(page) < 2 {
			break
		}
	}
	require.Equal(t, []string{"Bob", "alice", "bob", "zoe"}, names, "byte-wise")

	f.write(t, func(ctx context.Context, tx *metadata.Tx) error { return tx.DeleteUser(ctx, f.user.ID) })
	project, err := f.Project(ctx, "library")
	require.NoError(t, err)
	require.Equal(t, f.user.ID, project.OwnerID, "the row stays")
	_, err = f.UserByName(ctx, "alice")
	require.ErrorIs(t, err, metadata.ErrNotFound)
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
		_, err := tx.CreateUser(ctx, metadata.User{Name: "alice"})
		return err
	})
	require.ErrorIs(t, f.refused(t, func(ctx context.Context, tx *metadata.Tx) error { return tx.DeleteUser(ctx, f.user.ID) }), metadata.ErrNotFound)
	require.ErrorIs(t, f.refused(t, func(ctx context.Context, tx *metadata.Tx) error {
		_, err := tx.UpdateUser(ctx, f.user)
		return err
	}), metadata.ErrNotFound)
}

func testProjects(t *testing.T, f fixture) {
	ctx := t.Context()
	found, err := f.Project(ctx, "library")
	require.NoError(t, err)
	require.Equal(t, f.project, found)
	found, err = f.ProjectByID(ctx, f.project.ID)
	require.NoError(t, err)
	require.Equal(t, f.project, found)
	_, err = f.Project(ctx, "Library")
	require.ErrorIs(t, err, metadata.ErrNotFound)

	require.ErrorIs(t, f.refused(t, func(ctx context.Context, tx *metadata.Tx) error {
		_, err := tx.CreateProject(ctx, metadata.Project{Name: "library"})
		return err
	}), metadata.ErrExists)
	require.ErrorIs(t, f.refused(t, func(ctx context.Context, tx *metadata.Tx) error {
		_, err := tx.CreateProject(ctx, metadata.Project{Name: "orphan", OwnerID: 4711})
		return err
	}), metadata.ErrNotFound)

	f.write(t, func(ctx context.Context, tx *metadata.Tx) (err error) {
		found.Public = true
		found, err = tx.UpdateProject(ctx, found)
		return err
	})
	stored, err := f.Project(ctx, "library")
	require.NoError(t, err)
	require.True(t, stored.Public)
	require.Equal(t, found, stored)

	remove := func(ctx context.Context, tx *metadata.Tx) error { return tx.DeleteProject(ctx, f.project.ID) }
	require.ErrorIs(t, f.refused(t, remove), metadata.ErrReferenced)
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error { return tx.DeleteRepository(ctx, f.repository.ID) })
	f.write(t, remove)
	require.ErrorIs(t, f.refused(t, remove), metadata.ErrNotFound)
}

func testMembers(t *testing.T, f fixture) {
	ctx := t.Context()
	roles, public, err := f.Roles(ctx, f.user.ID, "library")
	require.NoError(t, err)
	require.Empty(t, roles)
	require.False(t, public)
	_, _, err = f.Roles(ctx, f.user.ID, "unknown")
	require.ErrorIs(t, err, metadata.ErrNotFound)

	for _, roleID := range []int{2, 4} {
		f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
			_, err := tx.SetMember(ctx, metadata.Member{ProjectID: f.project.ID, UserID: f.user.ID, RoleID: roleID})
			return err
		})
		roles, _, err = f.Roles(ctx, f.user.ID, "library")
		require.NoError(t, err)
		require.Equal(t, []int{roleID}, roles)
	}
	roles, _, err = f.Roles(ctx, 0, "library")
	require.NoError(t, err)
	require.Empty(t, roles)

	members, err := f.Members(ctx, "library")
	require.NoError(t, err)
	require.Len(t, members, 1)
	require.Equal(t, "alice", members[0].Name)
	require.Equal(t, 4, members[0].RoleID)

	require.ErrorIs(t, f.refused(t, func(ctx context.Context, tx *metadata.Tx) error {
		_, err := tx.SetMember(ctx, metadata.Member{ProjectID: f.project.ID, UserID: 4711, RoleID: 1})
		return err
	}), metadata.ErrNotFound)

	remove := func(ctx context.Context, tx *metadata.Tx) error { return tx.RemoveMember(ctx, f.project.ID, f.user.ID) }
	f.write(t, remove)
	require.ErrorIs(t, f.refused(t, remove), metadata.ErrNotFound)
	members, err = f.Members(ctx, "library")
	require.NoError(t, err)
	require.Empty(t, members)
}
