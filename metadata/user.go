package metadata

import (
	"context"
	"fmt"
)

const userColumns = `id, name, email, real_name, password_hash, system_admin, disabled, credential_version, created_at, updated_at`

var (
	userByName = define("user by name", `SELECT `+userColumns+` FROM users WHERE name = $1`)
	userByID   = define("user by id", `SELECT `+userColumns+` FROM users WHERE id = $1`)
	lockUser   = define("lock user", `SELECT `+userColumns+` FROM users WHERE name = $1 {for update}`)
	usersPage  = define("users", `SELECT `+userColumns+` FROM users WHERE name > $1 ORDER BY name LIMIT $2`)

	insertUser = define("create user", `
		INSERT INTO users (name, email, real_name, password_hash, system_admin, disabled, credential_version, created_at, updated_at)
		VALUES ($1, $2, $3, $4, $5, $6, 1, $7, $7)
		RETURNING `+userColumns)
	updateUser = define("update user", `
		UPDATE users SET name = $2, email = $3, real_name = $4, password_hash = $5, system_admin = $6, disabled = $7,
			credential_version = credential_version + CASE WHEN password_hash <> $5 OR disabled <> $7 THEN 1 ELSE 0 END,
			updated_at = $8
		WHERE id = $1
		RETURNING `+userColumns)
	// The password is the same, so what was signed for it stays valid.
	rehashPassword = define("rehash password", `UPDATE users SET password_hash = $3 WHERE id = $1 AND password_hash = $2`)
	deleteUser     = define("delete user", `DELETE FROM users WHERE id = $1`)
)

func scanUser(r row, u *User) error {
	return r.Scan(&u.ID, &u.Name, &u.Email, &u.RealName, &u.PasswordHash, &u.SystemAdmin, &u.Disabled, &u.CredentialVersion,
		moment{&u.CreatedAt}, moment{&u.UpdatedAt})
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

// UserByID returns a user, or [ErrNotFound].
func (r Reader) UserByID(ctx context.Context, id int64) (User, error) {
	return one(ctx, r, userByID, scanUser, id)
}

// Users returns up to n users whose names come after the given one, in the order of names; all of them when n is negative.
func (r Reader) Users(ctx context.Context, after string, n int) ([]User, error) {
	return all(ctx, r, usersPage, scanUser, after, limit(n))
}

// CreateUser adds a user and returns the row with its id, version and times. It returns [ErrExists] when the name is taken.
func (t *Tx) CreateUser(ctx context.Context, u User) (User, error) {
	created, err := one(ctx, t.Reader, insertUser, scanUser, u.Name, u.Email, u.RealName, u.PasswordHash, u.SystemAdmin, u.Disabled, micros(now()))
	if err != nil {
		return User{}, fmt.Errorf("user %q: %w", u.Name, err)
	}
	return created, nil
}

// UpdateUser writes all fields of the user with that id but its version and times, and returns the row. The version grows when
// the password's hash or the disabled flag changes. It returns [ErrNotFound], or [ErrExists] when the new name is taken.
func (t *Tx) UpdateUser(ctx context.Context, u User) (User, error) {
	return one(ctx, t.Reader, updateUser, scanUser, u.ID, u.Name, u.Email, u.RealName, u.PasswordHash, u.SystemAdmin, u.Disabled, micros(now()))
}

// RehashPassword replaces a hash by another of the same password; the user's version stays. It returns [ErrNotFound] when the
// user no longer has the old hash.
func (t *Tx) RehashPassword(ctx context.Context, id int64, old, hash string) error {
	return t.execOne(ctx, rehashPassword, id, old, hash)
}

// DeleteUser removes a user and their memberships; projects they own stay, without an owner. It returns [ErrNotFound].
func (t *Tx) DeleteUser(ctx context.Context, id int64) error {
	return t.execOne(ctx, deleteUser, id)
}
