package identity

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/berth-registry/berth/identity/fresh"
	"github.com/berth-registry/berth/metadata"
)

// How old the answers of [Accounts] may be: disabling a user or robot, revoking an access token or changing a password voids
// tokens and cached logins within AccountStaleness on every gateway; while the database does not answer, within AccountOutage.
const (
	AccountStaleness = 5 * time.Second
	AccountOutage    = time.Minute
)

// How many accounts' standing is kept: about 200 bytes each, and of a robot some 100 for every permission.
const (
	rememberedAccounts = 65536
	rememberedTokens   = 16384
	rememberedRobots   = 8192
)

// ErrVoid says that the account was deleted or disabled, has expired, or its secret changed, since the principal was proven.
var ErrVoid = errors.New("account no longer stands as it was")

// AccountReader reads accounts; [metadata.Store] is one. Its errors wrap [metadata.ErrNotFound] for what is not there.
type AccountReader interface {
	UserByID(ctx context.Context, id int64) (metadata.User, error)
	RobotByID(ctx context.Context, id int64) (metadata.Robot, error)
	AccessTokenByID(ctx context.Context, id int64) (metadata.AccessToken, error)
}

// Directory keeps the rows of the users that it knows up to date.
type Directory interface {
	// Reread returns the user's row, after asking outside when what is known is too old. It returns [ErrVoid] when the source lets
	// nobody in any more, and another error when it cannot tell and what is known is too old to stand in.
	Reread(ctx context.Context, user metadata.User) (metadata.User, error)
}

// standing is what of a user's row decides whether earlier proof still holds.
type standing struct {
	exists, disabled, systemAdmin bool
	version                       int64
}

// robotStanding is that of a robot, and tokenStanding that of an access token.
type robotStanding struct {
	exists, disabled bool
	version          int64
	expires          time.Time
	permissions      *Permissions
}

type tokenStanding struct {
	userID, version int64 // the user is 0 when there is no such token
	expires         time.Time
	limits          *Limits
}

// Accounts tells how accounts stand now, from memory. It is safe for concurrent use.
type Accounts struct {
	now         func() time.Time
	directories map[string]Directory
	users       *fresh.Memory[int64, standing]
	robots      *fresh.Memory[int64, robotStanding]
	tokens      *fresh.Memory[int64, tokenStanding]
}

// NewAccounts returns the standing of the reader's accounts by the clock; nil means time.Now.
func NewAccounts(reader AccountReader, now func() time.Time) *Accounts {
	if now == nil {
		now = time.Now
	}
	options := func(size int) fresh.Options { return fresh.Options{Size: size, Stale: AccountOutage, Now: now} }
	a := &Accounts{now: now, directories: map[string]Directory{}}
	a.users = fresh.New(ask("user", a.reread(reader), func(user metadata.User) standing {
		return standing{exists: true, disabled: user.ShutOut(), systemAdmin: user.Administers(), version: user.CredentialVersion}
	}), options(rememberedAccounts))
	a.robots = fresh.New(ask("robot", reader.RobotByID, func(robot metadata.Robot) robotStanding {
		return robotStanding{
			exists: true, disabled: robot.Disabled, version: robot.SecretVersion, expires: robot.ExpiresAt, permissions: PermissionsOf(robot),
		}
	}), options(rememberedRobots))
	a.tokens = fresh.New(ask("access token", reader.AccessTokenByID, func(token metadata.AccessToken) tokenStanding {
		return tokenStanding{userID: token.UserID, version: token.Version, expires: token.ExpiresAt, limits: limitsOf(token)}
	}), options(rememberedTokens))
	return a
}

// Follow has the users of a source read again by a directory. It is called before anything is asked.
func (a *Accounts) Follow(source string, directory Directory) { a.directories[source] = directory }

// reread returns what reads a user, with what their directory says of them.
func (a *Accounts) reread(reader AccountReader) func(ctx context.Context, id int64) (metadata.User, error) {
	return func(ctx context.Context, id int64) (metadata.User, error) {
		user, err := reader.UserByID(ctx, id)
		if err != nil {
			return metadata.User{}, err
		}
		if directory, followed := a.directories[user.Source]; followed && !user.Disabled {
			user, err = directory.Reread(ctx, user)
		}
		return user, err
	}
}

// ask is the source of a memory: what is read of a row, and the zero value for none.
func ask[Row, Standing any](what string, read func(context.Context, int64) (Row, error), stands func(Row) Standing) fresh.Source[int64, Standing] {
	return func(ctx context.Context, id int64) (found Standing, believe time.Duration, err error) {
		row, err := read(ctx, id)
		if errors.Is(err, metadata.ErrNotFound) || errors.Is(err, ErrVoid) {
			return found, AccountStaleness, nil
		}
		if err != nil {
			return found, 0, fmt.Errorf("read %s %d: %w", what, id, err)
		}
		return stands(row), AccountStaleness, nil
	}
}

// Check returns the principal with the system administration, limits and permissions that it has now. It returns [ErrVoid] when
// the account no longer stands, and another error when the database cannot tell. The anonymous principal
// and the operator always stand.
func (a *Accounts) Check(ctx context.Context, p Principal) (Principal, error) {
	switch p.Kind {
	case KindAnonymous:
		return Anonymous, nil
	case KindOperator:
		return Operator, nil
	case KindUser:
		return a.checkUser(ctx, p)
	case KindRobot:
		return a.checkRobot(ctx, p)
	}
	return Principal{}, ErrVoid
}

// checkUser asks about the user, and about the access token that stood in for their password: that one is good whatever becomes
// of the password.
func (a *Accounts) checkUser(ctx context.Context, p Principal) (Principal, error) {
	user, err := a.users.Get(ctx, p.ID)
	if err != nil {
		return Principal{}, err
	}
	if !user.exists || user.disabled || p.TokenID == 0 && user.version != p.CredentialVersion {
		return Principal{}, ErrVoid
	}
	p.SystemAdmin, p.Limits, p.Permissions = user.systemAdmin, nil, nil
	if p.TokenID == 0 {
		return p, nil
	}
	token, err := a.tokens.Get(ctx, p.TokenID)
	if err != nil {
		return Principal{}, err
	}
	if token.userID != p.ID || token.version != p.CredentialVersion || a.expired(token.expires) {
		return Principal{}, ErrVoid
	}
	if token.limits != nil {
		limits := *token.limits
		limits.SystemAdmin = p.SystemAdmin
		p.SystemAdmin, p.Limits = false, &limits
	}
	return p, nil
}

func (a *Accounts) checkRobot(ctx context.Context, p Principal) (Principal, error) {
	robot, err := a.robots.Get(ctx, p.ID)
	if err != nil {
		return Principal{}, err
	}
	if !robot.exists || robot.disabled || robot.version != p.CredentialVersion || a.expired(robot.expires) {
		return Principal{}, ErrVoid
	}
	p.SystemAdmin, p.Limits, p.Permissions = false, nil, robot.permissions
	return p, nil
}

func (a *Accounts) expired(at time.Time) bool { return !at.IsZero() && !a.now().Before(at) }

// Forget makes the next question about each account one to the database: call it after changing accounts in this process.
func (a *Accounts) Forget() {
	a.users.Forget()
	a.robots.Forget()
	a.tokens.Forget()
}
