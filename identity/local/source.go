package local

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/berth-registry/berth/identity"
	"github.com/berth-registry/berth/metadata"
)

// maxQueued is how long a password waits for its turn to be hashed before it is turned away.
const maxQueued = 10 * time.Second

// turns lets as many passwords be hashed at once as there are processors, in the whole process, because each takes
// [Params.Memory].
var turns = semaphore.NewWeighted(int64(runtime.GOMAXPROCS(0)))

// inTurn hashes when it is its turn. It returns an [*identity.ThrottledError] when too many others are waiting.
func inTurn(ctx context.Context, hash func() error) error {
	waiting, cancel := context.WithTimeout(ctx, maxQueued)
	defer cancel()
	if err := turns.Acquire(waiting, 1); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return &identity.ThrottledError{RetryAfter: maxQueued}
	}
	defer turns.Release(1)
	return hash()
}

// SourceOptions set a [Source] up.
type SourceOptions struct {
	Store *metadata.Store
	// Params are what new hashes are made with, and old ones remade at the next login; the zero value means [DefaultParams].
	Params Params
}

// Source proves the users of the database. It hashes on every call, and only as many at once as there are processors: put it
// behind an [identity.Login]. It is safe for concurrent use.
type Source struct {
	store  *metadata.Store
	params Params
	// stranger is verified against when there is no such user, so that the time taken does not tell.
	stranger string
}

// NewSource returns the source of a store's users.
func NewSource(options SourceOptions) *Source {
	if options.Params == (Params{}) {
		options.Params = DefaultParams
	}
	return &Source{
		store: options.Store, params: options.Params, stranger: Hash(RandomPassword(), options.Params),
	}
}

// Authenticate proves a user; see [identity.Source]. A user without a password hash is another source's. It returns a
// [*identity.ThrottledError] when too many others are waiting to be proven.
func (s *Source) Authenticate(ctx context.Context, credentials identity.Credentials) (identity.Principal, error) {
	user, err := s.store.UserByName(ctx, credentials.Name)
	unknown := errors.Is(err, metadata.ErrNotFound) || err == nil && user.PasswordHash == ""
	if err != nil && !unknown {
		return identity.Principal{}, fmt.Errorf("read user: %w", err)
	}
	encoded := user.PasswordHash
	if unknown {
		encoded = s.stranger
	}
	right, params, err := s.verify(ctx, encoded, credentials.Secret)
	switch {
	case err != nil:
		return identity.Principal{}, fmt.Errorf("check password of user %d: %w", user.ID, err)
	case unknown:
		return identity.Principal{}, identity.ErrUnknown
	case !right || user.ShutOut():
		return identity.Principal{}, identity.ErrCredentials
	}
	if params != s.params {
		// A failure leaves the old hash, which is good until the next login: nobody is kept out by a full disk. A password that
		// was changed meanwhile has a newer version than the principal, which voids it.
		_ = s.rehash(ctx, user, credentials.Secret)
	}
	return identity.Principal{
		Kind: identity.KindUser, ID: user.ID, Name: user.Name, SystemAdmin: user.Administers(), CredentialVersion: user.CredentialVersion,
	}, nil
}

// Verify reports whether the password is that of the encoded hash, in the same queue as logins, for other secrets that people
// choose. It returns a [*identity.ThrottledError] when too many others are waiting.
func (s *Source) Verify(ctx context.Context, encoded, password string) (bool, error) {
	right, _, err := s.verify(ctx, encoded, password)
	return right, err
}

func (s *Source) verify(ctx context.Context, encoded, password string) (bool, Params, error) {
	if len(password) > MaxPassword*4 {
		password = "" // as long as no password can be, and not worth hashing; the rule keeps empty ones out
	}
	var right bool
	var params Params
	err := inTurn(ctx, func() (err error) {
		right, params, err = verify(encoded, password)
		return err
	})
	return right, params, err
}

// rehash stores the password under the present parameters, unless the row has changed since it was read.
func (s *Source) rehash(ctx context.Context, user metadata.User, password string) error {
	var hash string
	err := inTurn(ctx, func() error {
		hash = Hash(password, s.params)
		return nil
	})
	if err != nil {
		return err
	}
	err = s.store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		return tx.RehashPassword(ctx, user.ID, user.PasswordHash, hash)
	})
	if err != nil {
		return fmt.Errorf("renew password hash of user %d: %w", user.ID, err)
	}
	return nil
}

var _ identity.Source = (*Source)(nil)
