package metadata

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// AccessToken is a secret that stands in for a person's password.
type AccessToken struct {
	ID     int64
	UserID int64
	// Kind is [AccessTokenPersonal] or [AccessTokenCLI].
	Kind string
	Name string
	// SecretHash is that of the secret; only who made the token has that.
	SecretHash string
	// Scopes say what the token is good for; Projects are the names of those it is good in, all when there are none.
	Scopes   []string
	Projects []string
	// Version grows when the secret changes; what was signed for an earlier one is void.
	Version   int64
	CreatedAt time.Time
	// ExpiresAt is zero for good, LastUsedAt when it was never used.
	ExpiresAt  time.Time
	LastUsedAt time.Time
}

// The kinds of access token: people make as many personal ones as they like, and have one secret for the command lines that
// know of nothing else.
const (
	AccessTokenPersonal = "personal"
	AccessTokenCLI      = "cli"
)

// TokenUse is when a token was used last.
type TokenUse struct {
	ID int64
	At time.Time
}

const accessTokenColumns = `id, user_id, kind, name, secret_hash, scopes, projects, version, created_at, expires_at, last_used_at` //nolint:gosec // names of columns

var (
	accessTokenByID     = define("access token by id", `SELECT `+accessTokenColumns+` FROM access_tokens WHERE id = $1`)
	accessTokenBySecret = define("access token by secret", `SELECT `+accessTokenColumns+` FROM access_tokens WHERE secret_hash = $1`)
	accessTokenByName   = define("access token by name", `
		SELECT `+accessTokenColumns+` FROM access_tokens WHERE user_id = $1 AND kind = $2 AND name = $3`)
	countAccessTokens = define("count access tokens", `SELECT COUNT(*) FROM access_tokens WHERE user_id = $1 AND kind = $2`)
	insertAccessToken = define("create access token", `
		INSERT INTO access_tokens (user_id, kind, name, secret_hash, scopes, projects, version, created_at, expires_at)
		VALUES ($1, $2, $3, $4, $5, $6, 1, $7, $8)
		RETURNING `+accessTokenColumns)
	replaceAccessToken = define("replace access token", `
		INSERT INTO access_tokens (user_id, kind, name, secret_hash, scopes, projects, version, created_at, expires_at)
		VALUES ($1, $2, $3, $4, $5, $6, 1, $7, $8)
		ON CONFLICT (user_id, kind, name) DO UPDATE SET secret_hash = excluded.secret_hash, scopes = excluded.scopes, projects = excluded.projects,
			version = access_tokens.version + 1, created_at = excluded.created_at, expires_at = excluded.expires_at
		RETURNING `+accessTokenColumns)
	deleteAccessToken   = define("delete access token", `DELETE FROM access_tokens WHERE id = $1`)
	deleteTokensOfUser  = define("delete access tokens of user", `DELETE FROM access_tokens WHERE user_id = $1`)
	touchAccessTokenUse = define("note use of access tokens", `
		UPDATE access_tokens SET last_used_at = u.last_at
		FROM (SELECT CAST(value->>'id' AS BIGINT) AS id, CAST(value->>'at' AS BIGINT) AS last_at FROM {elements}($1{json})) AS u
		WHERE access_tokens.id = u.id AND COALESCE(access_tokens.last_used_at, 0) < u.last_at`)
)

func scanAccessToken(r row, t *AccessToken) error {
	var scopes, projects string
	if err := r.Scan(&t.ID, &t.UserID, &t.Kind, &t.Name, &t.SecretHash, &scopes, &projects, &t.Version, moment{&t.CreatedAt},
		moment{&t.ExpiresAt}, moment{&t.LastUsedAt}); err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(scopes), &t.Scopes); err != nil {
		return fmt.Errorf("scopes: %w", err)
	}
	if err := json.Unmarshal([]byte(projects), &t.Projects); err != nil {
		return fmt.Errorf("projects: %w", err)
	}
	return nil
}

// AccessTokenByID returns a token, or [ErrNotFound].
func (r Reader) AccessTokenByID(ctx context.Context, id int64) (AccessToken, error) {
	return one(ctx, r, accessTokenByID, scanAccessToken, id)
}

// AccessTokenBySecret returns the token whose secret has the hash, or [ErrNotFound].
func (r Reader) AccessTokenBySecret(ctx context.Context, hash string) (AccessToken, error) {
	return one(ctx, r, accessTokenBySecret, scanAccessToken, hash)
}

// AccessTokenByName returns a user's token, or [ErrNotFound].
func (r Reader) AccessTokenByName(ctx context.Context, userID int64, kind, name string) (AccessToken, error) {
	return one(ctx, r, accessTokenByName, scanAccessToken, userID, kind, name)
}

// CountAccessTokens returns how many tokens of a kind a user has.
func (r Reader) CountAccessTokens(ctx context.Context, userID int64, kind string) (int64, error) {
	return one(ctx, r, countAccessTokens, value[int64], userID, kind)
}

// accessTokenListing is the listing of a user's tokens.
var accessTokenListing = listing[AccessToken]{
	name: "list access tokens", columns: accessTokenColumns, from: "access_tokens", key: "id", order: "name, id", scan: scanAccessToken,
	fields: map[string]field{
		"id":            {"id", numberField},
		"name":          {"name", textField},
		"creation_time": {"created_at", momentField},
		"expires_at":    {"expires_at", momentField},
		"last_used_at":  {"last_used_at", momentField},
	},
}

// ListAccessTokens returns a page of a user's personal tokens, and how many there are. The error wraps [ErrQuery] when they cannot
// be filtered like that.
func (r Reader) ListAccessTokens(ctx context.Context, userID int64, q Query) ([]AccessToken, int64, error) {
	const where = "user_id = $1 AND kind = '" + AccessTokenPersonal + "'"
	return accessTokenListing.list(ctx, r, q, nil, where, userID)
}

// CreateAccessToken adds a token and returns the row. It returns [ErrExists] when the user has one of that name, and
// [ErrNotFound] when there is no such user.
func (t *Tx) CreateAccessToken(ctx context.Context, v AccessToken) (AccessToken, error) {
	return t.putAccessToken(ctx, insertAccessToken, v)
}

// ReplaceAccessToken puts a token in place of the one of the same user, kind and name, if there is any, and voids what was signed
// for that. It returns [ErrNotFound] when there is no such user.
func (t *Tx) ReplaceAccessToken(ctx context.Context, v AccessToken) (AccessToken, error) {
	return t.putAccessToken(ctx, replaceAccessToken, v)
}

func (t *Tx) putAccessToken(ctx context.Context, s *statement, v AccessToken) (AccessToken, error) {
	scopes, err := texts(v.Scopes)
	if err != nil {
		return AccessToken{}, fmt.Errorf("scopes of access token: %w", err)
	}
	projects, err := texts(v.Projects)
	if err != nil {
		return AccessToken{}, fmt.Errorf("projects of access token: %w", err)
	}
	put, err := one(ctx, t.Reader, s, scanAccessToken, v.UserID, v.Kind, v.Name, v.SecretHash, scopes, projects, micros(now()), micros(v.ExpiresAt))
	if err != nil {
		return AccessToken{}, fmt.Errorf("access token %q: %w", v.Name, err)
	}
	return put, nil
}

// texts encodes a list of texts, never as null.
func texts(list []string) (string, error) {
	if list == nil {
		list = []string{}
	}
	encoded, err := json.Marshal(list)
	return string(encoded), err
}

// DeleteAccessToken removes a token. It returns [ErrNotFound].
func (t *Tx) DeleteAccessToken(ctx context.Context, id int64) error {
	return t.execOne(ctx, deleteAccessToken, id)
}

// NoteTokenUses writes when tokens were used last. Tokens that are gone are passed over.
func (t *Tx) NoteTokenUses(ctx context.Context, uses []TokenUse) error {
	type element struct {
		ID int64 `json:"id"`
		At int64 `json:"at"`
	}
	elements := make([]element, len(uses))
	for i, use := range uses {
		elements[i] = element{use.ID, use.At.UnixMicro()}
	}
	list, err := json.Marshal(elements)
	if err != nil {
		return fmt.Errorf("note use of access tokens: %w", err)
	}
	_, err = t.exec(ctx, touchAccessTokenUse, string(list))
	return err
}
