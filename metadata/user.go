package metadata

import (
	"cmp"
	"context"
	"fmt"
)

const userColumns = `id, name, email, real_name, comment, source, COALESCE(external_id, ''), password_hash, system_admin, directory_admin,
	disabled, credential_version, directory_read_at, directory_gone, created_at, updated_at`

// SourceLocal is the source of users whom their password here proves.
const SourceLocal = "local"

var (
	userByName     = define("user by name", `SELECT `+userColumns+` FROM users WHERE name = $1 AND deleted_at IS NULL`)
	userByID       = define("user by id", `SELECT `+userColumns+` FROM users WHERE id = $1 AND deleted_at IS NULL`)
	lockUser       = define("lock user", `SELECT `+userColumns+` FROM users WHERE name = $1 AND deleted_at IS NULL {for update}`)
	lockUserByID   = define("lock user by id", `SELECT `+userColumns+` FROM users WHERE id = $1 AND deleted_at IS NULL {for update}`)
	userByExternal = define("user by external id", `SELECT `+userColumns+` FROM users WHERE source = $1 AND external_id = $2 AND deleted_at IS NULL`)
	usersPage      = define("users", `SELECT `+userColumns+` FROM users WHERE name > $1 AND deleted_at IS NULL ORDER BY name LIMIT $2`)

	insertUser = define("create user", `
		INSERT INTO users (name, email, real_name, comment, source, external_id, password_hash, system_admin, directory_admin, disabled,
			credential_version, directory_read_at, created_at, updated_at)
		VALUES ($1, $2, $3, $4, $5, NULLIF(CAST($6 AS TEXT), ''), $7, $8, $9, $10, 1, $11, $12, $12)
		RETURNING `+userColumns)
	updateUser = define("update user", `
		UPDATE users SET name = $2, email = $3, real_name = $4, comment = $5, external_id = NULLIF(CAST($6 AS TEXT), ''), password_hash = $7,
			system_admin = $8, directory_admin = $9, disabled = $10, directory_read_at = $11, directory_gone = $13,
			credential_version = credential_version + CASE WHEN password_hash <> $7 OR disabled <> $10 OR directory_gone <> $13 THEN 1 ELSE 0 END,
			updated_at = $12
		WHERE id = $1 AND deleted_at IS NULL
		RETURNING `+userColumns)
	// The password is the same, so what was signed for it stays valid.
	rehashPassword = define("rehash password", `UPDATE users SET password_hash = $3 WHERE id = $1 AND password_hash = $2`)
	// The name is given back by a suffix that no user's name can have, so the rows that point here go on naming somebody.
	deleteUser = define("delete user", `
		UPDATE users SET name = name || '#' || CAST(id AS TEXT), external_id = NULL, password_hash = '', system_admin = FALSE, directory_admin = FALSE,
			credential_version = credential_version + 1, deleted_at = $2, updated_at = $2
		WHERE id = $1 AND deleted_at IS NULL`)
	deleteUserRoles  = define("delete roles of user", `DELETE FROM members WHERE user_id = $1`)
	deleteUserGroups = define("delete groups of user", `DELETE FROM group_members WHERE user_id = $1`)
)

func scanUser(r row, u *User) error {
	return r.Scan(&u.ID, &u.Name, &u.Email, &u.RealName, &u.Comment, &u.Source, &u.ExternalID, &u.PasswordHash, &u.SystemAdmin,
		&u.DirectoryAdmin, &u.Disabled, &u.CredentialVersion, moment{&u.DirectoryReadAt}, &u.DirectoryGone, moment{&u.CreatedAt}, moment{&u.UpdatedAt})
}

// UserByName returns a user, or [ErrNotFound].
func (r Reader) UserByName(ctx context.Context, name string) (User, error) {
	return one(ctx, r, userByName, scanUser, name)
}

// LockUser returns a user, or [ErrNotFound], and makes other transactions that lock the user wait until this one ends: who
// edits a row after reading it locks first, or undoes what somebody else writes between.
func (t *Tx) LockUser(ctx context.Context, name string) (User, error) {
	return one(ctx, t.Reader, lockUser, scanUser, name)
}

// LockUserByID is [Tx.LockUser] by the id.
func (t *Tx) LockUserByID(ctx context.Context, id int64) (User, error) {
	return one(ctx, t.Reader, lockUserByID, scanUser, id)
}

// UserByExternalID returns the user whom a source knows by that name, or [ErrNotFound].
func (r Reader) UserByExternalID(ctx context.Context, source, externalID string) (User, error) {
	return one(ctx, r, userByExternal, scanUser, source, externalID)
}

// UserByID returns a user, or [ErrNotFound].
func (r Reader) UserByID(ctx context.Context, id int64) (User, error) {
	return one(ctx, r, userByID, scanUser, id)
}

// Users returns up to n users whose names come after the given one, in the order of names; all of them when n is negative.
func (r Reader) Users(ctx context.Context, after string, n int) ([]User, error) {
	return all(ctx, r, usersPage, scanUser, after, limit(n))
}

// userListing is the listing of users for callers who filter, sort and turn pages.
var userListing = listing[User]{
	name: "list users", columns: userColumns, from: "users", key: "id", order: "name", aged: []string{"creation_time"}, scan: scanUser,
	fields: map[string]field{
		"user_id":       {"id", numberField},
		"username":      {"name", textField},
		"email":         {"email", textField},
		"realname":      {"real_name", textField},
		"comment":       {"comment", textField},
		"sysadmin_flag": {"system_admin", switchField},
		"creation_time": {"created_at", momentField},
		"update_time":   {"updated_at", momentField},
	},
	parted: map[string]parted{"username": {names: "user_parts"}},
}

// ListUsers returns a page of the users and how many there are. The error wraps [ErrQuery] when they cannot be filtered like that.
func (r Reader) ListUsers(ctx context.Context, q Query) ([]User, int64, error) {
	const present = "deleted_at IS NULL"
	return userListing.list(ctx, r, q, kept("users", 0), present)
}

// CreateUser adds a user and returns the row with its id, version and times. It returns [ErrExists] when the name is taken.
func (t *Tx) CreateUser(ctx context.Context, u User) (User, error) {
	created, err := one(ctx, t.Reader, insertUser, scanUser, u.Name, u.Email, u.RealName, u.Comment, cmp.Or(u.Source, SourceLocal), u.ExternalID,
		u.PasswordHash, u.SystemAdmin, u.DirectoryAdmin, u.Disabled, micros(u.DirectoryReadAt), micros(now()))
	if err != nil {
		return User{}, fmt.Errorf("user %q: %w", u.Name, err)
	}
	return created, nil
}

// UpdateUser writes all fields of the user with that id but its version and times, and returns the row. The version grows when
// the password's hash, the disabled flag or that the directory has the user no more changes. It returns [ErrNotFound], or
// [ErrExists] when the new name is taken.
func (t *Tx) UpdateUser(ctx context.Context, u User) (User, error) {
	return one(ctx, t.Reader, updateUser, scanUser, u.ID, u.Name, u.Email, u.RealName, u.Comment, u.ExternalID, u.PasswordHash,
		u.SystemAdmin, u.DirectoryAdmin, u.Disabled, micros(u.DirectoryReadAt), micros(now()), u.DirectoryGone)
}

// RehashPassword replaces a hash by another of the same password; the user's version stays. It returns [ErrNotFound] when the
// user no longer has the old hash.
func (t *Tx) RehashPassword(ctx context.Context, id int64, old, hash string) error {
	return t.execOne(ctx, rehashPassword, id, old, hash)
}

// DeleteUser deletes a user with their memberships and access tokens; projects they own stay theirs. The row stays with another name, which can be
// taken by somebody else now. It returns [ErrNotFound].
func (t *Tx) DeleteUser(ctx context.Context, id int64) error {
	if err := t.execOne(ctx, deleteUser, id, micros(now())); err != nil {
		return err
	}
	for _, rows := range []*statement{deleteUserRoles, deleteUserGroups, deleteTokensOfUser} {
		if _, err := t.exec(ctx, rows, id); err != nil {
			return err
		}
	}
	return nil
}
