// Package session keeps browsers logged in: a token in a cookie, its hash in a row that every gateway reads.
package session

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/identity"
	"github.com/berth-registry/berth/identity/fresh"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/secret"
	"github.com/berth-registry/berth/setting"
)

// How long sessions last, besides the setting session_timeout, which says after how many idle minutes they end.
const (
	// Lifetime is how old a session gets, however much it is used.
	Lifetime = 7 * 24 * time.Hour
	// RenewalInterval is how often the use of a session is written down; more often where the timeout is shorter than two of them.
	RenewalInterval = time.Minute
	// Staleness is how long another gateway may take a session for open that was closed; the one that closed it knows at once.
	Staleness = 5 * time.Second
	// outage is how long sessions go on while the database does not answer.
	outage = time.Minute
)

const (
	// rememberedSessions is how many sessions are kept in memory; about 500 bytes each.
	rememberedSessions = 16384
	// sessionsPerUser is how many sessions a user has at most; the one that was used longest ago ends first.
	sessionsPerUser = 100
)

// ErrNone says that the token is no open session's.
var ErrNone = errors.New("no such session")

// Options set [Sessions] up. All but Now and Logger are required.
type Options struct {
	Store    *metadata.Store
	Accounts *identity.Accounts
	Settings *setting.Settings
	// Login proves names and passwords.
	Login identity.Source
	// Box seals ID tokens.
	Box *secret.Box
	// Now is the clock; nil means time.Now.
	Now    func() time.Time
	Logger *slog.Logger
}

// Sessions begin, check and end sessions. They are safe for concurrent use.
type Sessions struct {
	options Options
	memory  *fresh.Memory[string, *remembered]
}

// remembered is what a gateway knows of a session.
type remembered struct {
	row  metadata.Session
	open bool
	// renewed is when the session was last used as far as is written down, in microseconds; of many requests one changes it.
	renewed atomic.Int64
}

// New returns the sessions of a store.
func New(options Options) *Sessions {
	if options.Now == nil {
		options.Now = time.Now
	}
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Sessions{options: options}
	s.memory = fresh.New(s.read, fresh.Options{Size: rememberedSessions, Stale: outage, Now: options.Now})
	return s
}

func (s *Sessions) read(ctx context.Context, hash string) (*remembered, time.Duration, error) {
	row, err := s.options.Store.Session(ctx, hash)
	if errors.Is(err, metadata.ErrNotFound) {
		return &remembered{}, 0, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read session: %w", err)
	}
	row.IDToken = nil // for the end of the session only, which reads it again
	known := &remembered{row: row, open: true}
	known.renewed.Store(row.RenewedAt.UnixMicro())
	return known, Staleness, nil
}

// Login proves a name and password and begins a session, in place of the former one of the browser, whose token may be "". It
// returns the errors of an [identity.Source].
func (s *Sessions) Login(ctx context.Context, actor event.Actor, credentials identity.Credentials, former string) (token string, err error) {
	actor.Name, actor.Credential, credentials.Session = credentials.Name, "password", true
	principal, err := s.options.Login.Authenticate(ctx, credentials)
	if err == nil && (principal.Kind != identity.KindUser || principal.TokenID != 0) {
		err = identity.ErrCredentials // browsers are for people, and a session would be without the limits of an access token
	}
	if errors.Is(err, identity.ErrCredentials) || errors.Is(err, identity.ErrUnknown) {
		s.Failed(ctx, actor)
	}
	if err != nil {
		return "", err
	}
	actor.Name = principal.Name
	err = s.options.Store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		token, err = s.Begin(ctx, tx, actor, Beginning{UserID: principal.ID, CredentialVersion: principal.CredentialVersion, Former: former})
		return err
	})
	if err != nil {
		return "", fmt.Errorf("begin session of user %q: %w", principal.Name, err)
	}
	if former != "" {
		s.Forget()
	}
	return token, nil
}

// Forget makes the next question about each session one to the database: call it after a transaction in which a session has begun
// in place of a former one.
func (s *Sessions) Forget() { s.memory.Forget() }

// Failed appends the event of a login that failed. That it cannot does not change the answer.
func (s *Sessions) Failed(ctx context.Context, actor event.Actor) {
	err := s.options.Store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		e := actor.Event(event.LoginFailed)
		e.Subject = actor.Name
		return tx.AppendEvent(ctx, e)
	})
	if err != nil {
		s.options.Logger.WarnContext(ctx, "a failed login is not in the audit log", "error", err)
	}
}

// Beginning is whose session begins.
type Beginning struct {
	UserID            int64
	CredentialVersion int64
	// Former is the token of the session that ends with it, "" for none.
	Former string
	// IDToken is the provider's, "" for none; it is needed to log out there.
	IDToken string
}

// Begin begins a session within a transaction, with its event, and returns its token, which is good once the transaction is
// committed. Who the actor is, they have proven.
func (s *Sessions) Begin(ctx context.Context, tx *metadata.Tx, actor event.Actor, beginning Beginning) (token string, err error) {
	now := s.options.Now()
	token = rand.Text() + rand.Text() // 256 bits
	row := metadata.Session{
		TokenHash: hash(token), UserID: beginning.UserID, CredentialVersion: beginning.CredentialVersion, CreatedAt: now, RenewedAt: now,
	}
	if beginning.IDToken != "" {
		row.IDToken = s.options.Box.Seal("session "+row.TokenHash, []byte(beginning.IDToken))
	}
	if beginning.Former != "" {
		if err := tx.DeleteSession(ctx, hash(beginning.Former)); err != nil && !errors.Is(err, metadata.ErrNotFound) {
			return "", err
		}
	}
	if err := tx.DeleteSessionsBefore(ctx, now.Add(-Lifetime)); err != nil {
		return "", err
	}
	if err := tx.DeleteUserSessions(ctx, row.UserID, sessionsPerUser-1); err != nil {
		return "", err
	}
	if err := tx.CreateSession(ctx, row); err != nil {
		return "", err
	}
	e := actor.Event(event.LoggedIn)
	e.Subject = actor.Name
	return token, tx.AppendEvent(ctx, e)
}

// Check returns whose session the token is, and unless it is told not to, notes that it was used. It returns [ErrNone] when the
// session has ended, by whichever of its limits or with its user's standing, and another error when nobody can tell.
func (s *Sessions) Check(ctx context.Context, token string, renew bool) (identity.Principal, error) {
	known, err := s.memory.Get(ctx, hash(token))
	if err != nil {
		return identity.Principal{}, err
	}
	if !known.open {
		return identity.Principal{}, ErrNone
	}
	timeout, err := s.timeout(ctx)
	if err != nil {
		return identity.Principal{}, err
	}
	now, renewed := s.options.Now(), known.renewed.Load()
	idle := now.Sub(time.UnixMicro(renewed))
	if idle >= timeout || now.Sub(known.row.CreatedAt) >= Lifetime {
		return identity.Principal{}, ErrNone
	}
	principal, err := s.options.Accounts.Check(ctx, identity.Principal{
		Kind: identity.KindUser, ID: known.row.UserID, Name: known.row.UserName, CredentialVersion: known.row.CredentialVersion,
	})
	if errors.Is(err, identity.ErrVoid) {
		return identity.Principal{}, ErrNone
	}
	if err != nil {
		return identity.Principal{}, err
	}
	if renew && idle >= min(RenewalInterval, timeout/2) && known.renewed.CompareAndSwap(renewed, now.UnixMicro()) {
		s.renew(ctx, known.row.TokenHash, now)
	}
	return principal, nil
}

// renew writes down that a session was used. When that fails the request goes on, and another one tries again.
func (s *Sessions) renew(ctx context.Context, hash string, now time.Time) {
	err := s.options.Store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error { return tx.RenewSession(ctx, hash, now) })
	if err != nil {
		s.options.Logger.WarnContext(ctx, "a session was not renewed", "error", err)
	}
}

func (s *Sessions) timeout(ctx context.Context) (time.Duration, error) {
	values, err := s.options.Settings.Values(ctx)
	if err != nil {
		return 0, err
	}
	return time.Duration(values.Number(setting.SessionTimeout)) * time.Minute, nil
}

// End ends a session and returns the ID token it began with, "" for none. A session that has ended is ended again without an
// event.
func (s *Sessions) End(ctx context.Context, actor event.Actor, token string) (idToken string, err error) {
	var row metadata.Session
	err = s.options.Store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		row, err = tx.Session(ctx, hash(token))
		if err != nil {
			return err
		}
		if err := tx.DeleteSession(ctx, row.TokenHash); err != nil {
			return err
		}
		actor.Name, actor.Credential = row.UserName, "session"
		e := actor.Event(event.LoggedOut)
		e.Subject = row.UserName
		return tx.AppendEvent(ctx, e)
	})
	if errors.Is(err, metadata.ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("end session: %w", err)
	}
	s.Forget()
	if len(row.IDToken) == 0 {
		return "", nil
	}
	opened, err := s.options.Box.Open("session "+row.TokenHash, row.IDToken)
	if err != nil {
		return "", fmt.Errorf("end session: %w", err)
	}
	return string(opened), nil
}

// EndAll ends all sessions of a user.
func (s *Sessions) EndAll(ctx context.Context, actor event.Actor, userID int64) error {
	err := s.options.Store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		user, err := tx.UserByID(ctx, userID)
		if err != nil {
			return err
		}
		if err := tx.DeleteUserSessions(ctx, userID, 0); err != nil {
			return err
		}
		e := actor.Event(event.LoggedOut)
		e.Subject = user.Name
		return tx.AppendEvent(ctx, e)
	})
	if err != nil {
		return fmt.Errorf("end sessions of user %d: %w", userID, err)
	}
	s.Forget()
	return nil
}

// hash is what is kept of a token. It has as many random bits as a hash can take, so that guessing is no quicker with the hash.
func hash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
