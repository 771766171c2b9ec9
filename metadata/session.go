package metadata

import (
	"context"
	"time"
)

// Session is the login of a browser.
type Session struct {
	// TokenHash is that of the token, which only the browser has.
	TokenHash string
	UserID    int64
	// UserName is the user's present name.
	UserName string
	// CredentialVersion is that of the user when the session began.
	CredentialVersion int64
	// IDToken is what the provider has said about the user, sealed; nil for who logged in with a password.
	IDToken   []byte
	CreatedAt time.Time
	RenewedAt time.Time
}

// sessionsSwept is how many old sessions one call of [Tx.DeleteSessionsBefore] deletes.
const sessionsSwept = 100

var (
	sessionByHash = define("session", `
		SELECT s.token_hash, s.user_id, u.name, s.credential_version, s.id_token, s.created_at, s.renewed_at
		FROM sessions s JOIN users u ON u.id = s.user_id WHERE s.token_hash = $1 AND u.deleted_at IS NULL`)
	insertSession = define("create session", `
		INSERT INTO sessions (token_hash, user_id, credential_version, id_token, created_at, renewed_at) VALUES ($1, $2, $3, $4, $5, $6)`)
	renewSession        = define("renew session", `UPDATE sessions SET renewed_at = $2 WHERE token_hash = $1 AND renewed_at < $2`)
	deleteSession       = define("delete session", `DELETE FROM sessions WHERE token_hash = $1`)
	deleteUserSessions  = define("delete sessions of user", `DELETE FROM sessions WHERE user_id = $1`)
	deleteOlderSessions = define("delete older sessions of user", `
		DELETE FROM sessions WHERE token_hash IN (
			SELECT token_hash FROM sessions WHERE user_id = $1 ORDER BY renewed_at DESC, token_hash LIMIT $2 OFFSET $3)`)
	deleteSessionsBefore = define("delete old sessions", `
		DELETE FROM sessions WHERE token_hash IN (SELECT token_hash FROM sessions WHERE renewed_at < $1 ORDER BY renewed_at LIMIT $2)`)
)

func scanSession(r row, s *Session) error {
	return r.Scan(&s.TokenHash, &s.UserID, &s.UserName, &s.CredentialVersion, &s.IDToken, moment{&s.CreatedAt}, moment{&s.RenewedAt})
}

// Session returns a session of a user who exists, or [ErrNotFound].
func (r Reader) Session(ctx context.Context, tokenHash string) (Session, error) {
	return one(ctx, r, sessionByHash, scanSession, tokenHash)
}

// CreateSession adds a session. It returns [ErrNotFound] when there is no such user.
func (t *Tx) CreateSession(ctx context.Context, s Session) error {
	_, err := t.exec(ctx, insertSession, s.TokenHash, s.UserID, s.CredentialVersion, s.IDToken, micros(s.CreatedAt), micros(s.RenewedAt))
	return err
}

// RenewSession notes that a session was used; one that has ended or was used later stays as it is.
func (t *Tx) RenewSession(ctx context.Context, tokenHash string, at time.Time) error {
	_, err := t.exec(ctx, renewSession, tokenHash, micros(at))
	return err
}

// DeleteSession ends a session. It returns [ErrNotFound] when it has ended.
func (t *Tx) DeleteSession(ctx context.Context, tokenHash string) error {
	return t.execOne(ctx, deleteSession, tokenHash)
}

// DeleteUserSessions ends all sessions of a user but the n that were used last.
func (t *Tx) DeleteUserSessions(ctx context.Context, userID int64, n int) error {
	if n == 0 {
		_, err := t.exec(ctx, deleteUserSessions, userID)
		return err
	}
	_, err := t.exec(ctx, deleteOlderSessions, userID, limit(-1), n)
	return err
}

// DeleteSessionsBefore deletes some of the sessions that were last used before the given time.
func (t *Tx) DeleteSessionsBefore(ctx context.Context, before time.Time) error {
	_, err := t.exec(ctx, deleteSessionsBefore, micros(before), sessionsSwept)
	return err
}

var (
	userNamed    = define("user named", `SELECT 1 FROM users WHERE name = $1 AND deleted_at IS NULL LIMIT 1`)
	userMailedTo = define("user mailed to", `SELECT 1 FROM users WHERE email = $1 AND email <> '' AND deleted_at IS NULL LIMIT 1`)
)

// UserExists reports whether a user has the name.
func (r Reader) UserExists(ctx context.Context, name string) (bool, error) {
	found, err := all(ctx, r, userNamed, value[int64], name)
	return len(found) > 0, err
}

// EmailExists reports whether a user has the mail address.
func (r Reader) EmailExists(ctx context.Context, email string) (bool, error) {
	found, err := all(ctx, r, userMailedTo, value[int64], email)
	return len(found) > 0, err
}
