package identity

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"
)

// LoginMemory is how long proven credentials are not proven again. A changed password or a disabled account does not wait for
// it: both void what is remembered within [AccountStaleness].
const LoginMemory = time.Minute

// The bounds of one login.
const (
	rememberedLogins = 16384
	loginTimeout     = 30 * time.Second
	// maxSecret is longer than any password and any token that stands in for one.
	maxName   = 255
	maxSecret = 16 << 10
)

// LoginOptions set a [Login] up.
type LoginOptions struct {
	// Sources are asked in their order; see [Chain].
	Sources []Source
	// Accounts tell whether a remembered login still holds.
	Accounts *Accounts
	// Observe is told of credentials that were proven just now, and of those that were refused, with [ErrCredentials]; not of those
	// that are remembered, nor of those that nobody has looked at. Nil tells nobody.
	Observe func(ctx context.Context, credentials Credentials, principal Principal, err error)
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Login is the door that all names and passwords go through: it remembers what was proven a moment ago, throttles those who
// fail, and asks the sources once for many equal requests. It is safe for concurrent use.
type Login struct {
	chain    Chain
	accounts *Accounts
	now      func() time.Time
	observe  func(ctx context.Context, credentials Credentials, principal Principal, err error)
	throttle *throttle
	flight   singleflight.Group
	// macKey makes what is remembered useless outside this process.
	macKey [sha256.Size]byte
	proven *lru.Cache[[sha256.Size]byte, proof]
}

type proof struct {
	principal Principal
	until     time.Time
}

// NewLogin returns the login of the sources.
func NewLogin(options LoginOptions) (*Login, error) {
	l := &Login{chain: options.Sources, accounts: options.Accounts, now: options.Now, observe: options.Observe}
	if l.observe == nil {
		l.observe = func(context.Context, Credentials, Principal, error) {}
	}
	if l.now == nil {
		l.now = time.Now
	}
	rand.Read(l.macKey[:]) //nolint:errcheck // crypto/rand.Read never fails
	var err error
	if l.throttle, err = newThrottle(); err != nil {
		return nil, fmt.Errorf("make login throttle: %w", err)
	}
	if l.proven, err = lru.New[[sha256.Size]byte, proof](rememberedLogins); err != nil {
		return nil, fmt.Errorf("make login cache: %w", err)
	}
	return l, nil
}

// Authenticate proves a principal; see [Source]. It never returns [ErrUnknown]: the caller is not told which names exist.
func (l *Login) Authenticate(ctx context.Context, credentials Credentials) (Principal, error) {
	if credentials.Name == "" || len(credentials.Name) > maxName || len(credentials.Secret) > maxSecret {
		return Principal{}, ErrCredentials
	}
	mac := l.mac(credentials)
	if known, found := l.proven.Get(mac); found {
		if l.now().Before(known.until) {
			principal, err := l.accounts.Check(ctx, known.principal)
			if !errors.Is(err, ErrVoid) {
				return principal, err
			}
		}
		l.proven.Remove(mac)
	}
	result := l.flight.DoChan(string(mac[:]), func() (any, error) {
		shared, cancel := context.WithTimeout(context.WithoutCancel(ctx), loginTimeout)
		defer cancel()
		return l.prove(shared, credentials, mac)
	})
	select {
	case r := <-result:
		if r.Err != nil {
			return Principal{}, r.Err
		}
		return r.Val.(Principal), nil
	case <-ctx.Done():
		return Principal{}, ctx.Err()
	}
}

func (l *Login) prove(ctx context.Context, credentials Credentials, mac [sha256.Size]byte) (Principal, error) {
	now := l.now()
	attempt, wait := l.throttle.begin(credentials, now)
	if wait > 0 {
		return Principal{}, &ThrottledError{RetryAfter: wait}
	}
	principal, err := l.chain.Authenticate(ctx, credentials)
	if errors.Is(err, ErrCredentials) {
		l.observe(ctx, credentials, Principal{}, err)
		return Principal{}, err
	}
	if err != nil {
		attempt.untold()
		return Principal{}, err
	}
	attempt.succeeded()
	l.observe(ctx, credentials, principal, nil)
	l.proven.Add(mac, proof{principal: principal, until: now.Add(LoginMemory)})
	return principal, nil
}

// mac stands for the credentials in memory, whose dump then tells nobody a password.
func (l *Login) mac(credentials Credentials) (sum [sha256.Size]byte) {
	h := hmac.New(sha256.New, l.macKey[:])
	var length [4]byte
	binary.BigEndian.PutUint32(length[:], uint32(len(credentials.Name))) //nolint:gosec // bounded by maxName
	h.Write(length[:])
	h.Write([]byte(credentials.Name))
	h.Write([]byte(credentials.Secret))
	h.Sum(sum[:0])
	return sum
}

var _ Source = (*Login)(nil)
