// Package personal keeps the access tokens of people: secrets that stand in for their password at docker and in scripts, say less
// than it, and end by themselves. They are good for every kind of user, whatever becomes of a session elsewhere.
package personal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/flush"
	"github.com/berth-registry/berth/identity"
	"github.com/berth-registry/berth/identity/local"
	"github.com/berth-registry/berth/metadata"
)

// DefaultMaxLifetime is the longest that a token lives where nothing else is configured.
const DefaultMaxLifetime = 365 * day

// The bounds of a token, and of how many one person has.
const (
	maxName     = 128
	maxProjects = 50
	maxTokens   = 100
	day         = 24 * time.Hour
)

// sourceOIDC is the source of the users who have a secret for command lines.
const sourceOIDC = "oidc"

// Verifier checks a secret that a person has chosen against its slow hash; [local.Source] is one.
type Verifier interface {
	Verify(ctx context.Context, encoded, password string) (bool, error)
}

// Options set [Tokens] up.
type Options struct {
	Store    *metadata.Store
	Accounts *identity.Accounts
	Verifier Verifier
	// MaxLifetime is the longest that a token lives; 0 means [DefaultMaxLifetime].
	MaxLifetime time.Duration
	// Params are what secrets that people choose are hashed with; the zero value means [local.DefaultParams].
	Params local.Params
	// Now is the clock; nil means time.Now.
	Now    func() time.Time
	Logger *slog.Logger
}

// Tokens proves people by their tokens, and administers these. Changes append their event in the same transaction; whether the
// caller may make them is the face's to ask. Refusals are a [*fault.Error].
type Tokens struct {
	options Options
	loop    *flush.Loop
	mu      sync.Mutex
	uses    map[int64]time.Time
}

// New returns the tokens of a store's users. Close ends what runs in the background.
func New(options Options) *Tokens {
	if options.MaxLifetime == 0 {
		options.MaxLifetime = DefaultMaxLifetime
	}
	if options.Params == (local.Params{}) {
		options.Params = local.DefaultParams
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	t := &Tokens{options: options, uses: map[int64]time.Time{}}
	t.loop = flush.Start(flushInterval, options.Logger, "last uses of access tokens", t.Flush)
	return t
}

// NewToken is a token to be made.
type NewToken struct {
	Name   string
	Scopes []string
	// Projects are the names of those that the token is good in; none means all, and the registry itself.
	Projects []string
	// Days are how long it is good; 0 means 90, or less where less is allowed.
	Days int64
}

// defaultDays is how long a token is good when nothing is asked for.
const defaultDays = 90

// Create makes a token for a user and returns it with its secret, which can be had at no other time. The error wraps
// [metadata.ErrExists] when the user has one of that name.
func (t *Tokens) Create(ctx context.Context, actor event.Actor, userID int64, made NewToken) (metadata.AccessToken, string, error) {
	longest := int64(t.options.MaxLifetime / day)
	if made.Days == 0 {
		made.Days = min(defaultDays, longest)
	}
	if err := made.check(longest); err != nil {
		return metadata.AccessToken{}, "", err
	}
	secret := newSecret()
	row := metadata.AccessToken{
		UserID: userID, Kind: metadata.AccessTokenPersonal, Name: made.Name, SecretHash: hash(secret), Scopes: made.Scopes, Projects: made.Projects,
		ExpiresAt: t.options.Now().Add(time.Duration(made.Days) * day),
	}
	err := t.options.Store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		user, err := tx.UserByID(ctx, userID)
		if err != nil {
			return err
		}
		n, err := tx.CountAccessTokens(ctx, userID, metadata.AccessTokenPersonal)
		if err != nil {
			return err
		}
		if n >= maxTokens {
			return fault.New(fault.Invalid, "%s has %d access tokens already: revoke some", user.Name, n)
		}
		created, err := tx.CreateAccessToken(ctx, row)
		if err != nil {
			return err
		}
		row = created
		return tell(ctx, tx, actor, event.AccessTokenCreated, user, created)
	})
	if errors.Is(err, metadata.ErrExists) {
		return metadata.AccessToken{}, "", fault.Because(err, fault.Conflict, "there is an access token %q already", made.Name)
	}
	if err != nil {
		return metadata.AccessToken{}, "", fmt.Errorf("create access token of user %d: %w", userID, err)
	}
	return row, secret, nil
}

func (n NewToken) check(longest int64) error {
	unprintable := func(r rune) bool { return !unicode.IsPrint(r) }
	if n.Name == "" || utf8.RuneCountInString(n.Name) > maxName || !utf8.ValidString(n.Name) || slices.ContainsFunc([]rune(n.Name), unprintable) {
		return fault.New(fault.Invalid, "name of an access token must be 1 to %d printable characters", maxName)
	}
	if n.Days < 1 || n.Days > longest {
		return fault.New(fault.Invalid, "duration of an access token must be from 1 to %d days here", longest)
	}
	if len(n.Scopes) == 0 {
		return fault.New(fault.Invalid, "an access token needs a scope: %v", identity.TokenScopes)
	}
	for _, scope := range n.Scopes {
		if !slices.Contains(identity.TokenScopes, identity.TokenScope(scope)) {
			return fault.New(fault.Invalid, "scope %q is not one of %v", scope, identity.TokenScopes)
		}
	}
	if len(n.Scopes) > len(identity.TokenScopes) || len(n.Projects) > maxProjects || slices.Contains(n.Projects, "") {
		return fault.New(fault.Invalid, "an access token names each scope once, and at most %d projects", maxProjects)
	}
	return nil
}

// Revoke removes a user's token and voids what was signed for it.
func (t *Tokens) Revoke(ctx context.Context, actor event.Actor, userID, id int64) error {
	err := t.options.Store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		token, err := tx.AccessTokenByID(ctx, id)
		if err == nil && (token.UserID != userID || token.Kind != metadata.AccessTokenPersonal) {
			err = metadata.ErrNotFound
		}
		if err != nil {
			return err
		}
		user, err := tx.UserByID(ctx, userID)
		if err != nil {
			return err
		}
		if err := tx.DeleteAccessToken(ctx, id); err != nil {
			return err
		}
		return tell(ctx, tx, actor, event.AccessTokenRevoked, user, token)
	})
	if errors.Is(err, metadata.ErrNotFound) {
		return fault.Because(err, fault.NotFound, "access token %d not found", id)
	}
	if err != nil {
		return fmt.Errorf("revoke access token %d: %w", id, err)
	}
	t.options.Accounts.Forget()
	return nil
}

// cliScopes are what the secret for command lines is good for: what docker, helm and replication do, but no credentials.
func cliScopes() []string {
	return []string{
		string(identity.ScopePush), string(identity.ScopeDelete), string(identity.ScopeRead), string(identity.ScopeWrite),
	}
}

// SetCLISecret gives a user the secret for command lines, in place of an earlier one. Only users whom an OpenID provider proves
// have it: all others have their password. The secret must follow the rule for passwords.
func (t *Tokens) SetCLISecret(ctx context.Context, actor event.Actor, user metadata.User, secret string) error {
	if user.Source != sourceOIDC {
		return fault.New(fault.Precondition, "%s has a password, and needs no secret for the command line", user.Name)
	}
	if err := local.CheckPassword(secret); err != nil {
		return fault.Because(err, fault.Invalid, "secret: %v", err)
	}
	row := metadata.AccessToken{
		UserID: user.ID, Kind: metadata.AccessTokenCLI, Name: metadata.AccessTokenCLI, SecretHash: local.Hash(secret, t.options.Params), Scopes: cliScopes(),
	}
	err := t.options.Store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		put, err := tx.ReplaceAccessToken(ctx, row)
		if err != nil {
			return err
		}
		return tell(ctx, tx, actor, event.AccessTokenCreated, user, put)
	})
	if err != nil {
		return fmt.Errorf("set secret for command lines of user %d: %w", user.ID, err)
	}
	t.options.Accounts.Forget()
	return nil
}

func tell(ctx context.Context, tx *metadata.Tx, actor event.Actor, kind event.Kind, user metadata.User, token metadata.AccessToken) error {
	e := actor.Event(kind)
	e.Subject = user.Name + "/" + token.Name
	return tx.AppendEvent(ctx, e)
}
