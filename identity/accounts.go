package identity

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/berth-registry/berth/identity/fresh"
	"github.com/berth-registry/berth/metadata"
)

// How old the answers of [Accounts] may be: disabling a user or changing their password voids tokens and cached logins
// within AccountStaleness on every gateway; while the database does not answer, within AccountOutage.
const (
	AccountStaleness = 5 * time.Second
	AccountOutage    = time.Minute
)

// rememberedAccounts is how many users' standing is kept; about 200 bytes each.
const rememberedAccounts = 65536

// ErrVoid says that the account was deleted or disabled, or its password changed, since the principal was proven.
var ErrVoid = errors.New("account no longer stands as it was")

// UserReader reads users; [metadata.Store] is one.
type UserReader interface {
	// UserByID returns the user, or an error that wraps [metadata.ErrNotFound].
	UserByID(ctx context.Context, id int64) (metadata.User, error)
}

// Directory keeps the rows of the users that it knows up to date.
type Directory interface {
	// Reread returns the user's row, after asking outside when what is known is too old. It returns [ErrVoid] when the source lets
	// nobody in any more, and another error when it cannot tell and what is known is too old to stand in.
	Reread(ctx context.Context, user metadata.User) (metadata.User, error)
}

// Standing is what of a user's row decides whether earlier proof still holds.
type Standing struct {
	Exists            bool
	Disabled          bool
	SystemAdmin       bool
	CredentialVersion int64
}

// Accounts tells how users stand now, from memory. It is safe for concurrent use.
type Accounts struct {
	directories map[string]Directory
	memory      *fresh.Memory[int64, Standing]
}

// NewAccounts returns the standing of the reader's users by the clock; nil means time.Now.
func NewAccounts(reader UserReader, now func() time.Time) *Accounts {
	a := &Accounts{directories: map[string]Directory{}}
	source := func(ctx context.Context, id int64) (Standing, time.Duration, error) {
		user, err := reader.UserByID(ctx, id)
		if errors.Is(err, metadata.ErrNotFound) {
			return Standing{}, AccountStaleness, nil
		}
		if err != nil {
			return Standing{}, 0, fmt.Errorf("read user %d: %w", id, err)
		}
		if directory, followed := a.directories[user.Source]; followed && !user.Disabled {
			user, err = directory.Reread(ctx, user)
			if errors.Is(err, ErrVoid) {
				return Standing{}, AccountStaleness, nil
			}
			if err != nil {
				return Standing{}, 0, fmt.Errorf("read user %d again: %w", id, err)
			}
		}
		return Standing{
			Exists: true, Disabled: user.ShutOut(), SystemAdmin: user.Administers(), CredentialVersion: user.CredentialVersion,
		}, AccountStaleness, nil
	}
	a.memory = fresh.New(source, fresh.Options{Size: rememberedAccounts, Stale: AccountOutage, Now: now})
	return a
}

// Follow has the users of a source read again by a directory. It is called before anything is asked.
func (a *Accounts) Follow(source string, directory Directory) { a.directories[source] = directory }

// Check returns the principal with the system administration that it has now. It returns [ErrVoid] when the account no longer
// stands, and another error when the database cannot tell. The anonymous principal
// and the operator always stand.
func (a *Accounts) Check(ctx context.Context, p Principal) (Principal, error) {
	switch p.Kind {
	case KindAnonymous:
		return Anonymous, nil
	case KindOperator:
		return Operator, nil
	case KindUser:
	default:
		return Principal{}, ErrVoid
	}
	standing, err := a.memory.Get(ctx, p.ID)
	if err != nil {
		return Principal{}, err
	}
	if !standing.Exists || standing.Disabled || standing.CredentialVersion != p.CredentialVersion {
		return Principal{}, ErrVoid
	}
	p.SystemAdmin = standing.SystemAdmin
	return p, nil
}

// Forget makes the next question about each user one to the database: call it after changing users in this process.
func (a *Accounts) Forget() { a.memory.Forget() }
