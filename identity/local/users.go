package local

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/identity"
	"github.com/berth-registry/berth/metadata"
)

// AdminName is the name of the first user, which cannot be deleted: the next start would make it anew.
const AdminName = "admin"

// maxUserName is the longest user name, in bytes.
const maxUserName = 255

// The refusals of [Users].
var (
	ErrName      = errors.New(`user name must be 1 to 255 characters without spaces, control characters and , : " ~ # % $ / \`)
	ErrProtected = errors.New("the first user, " + AdminName + ", can be neither deleted nor demoted; disable it instead")
)

// UsersOptions set [Users] up.
type UsersOptions struct {
	Store *metadata.Store
	// Accounts forget what changes here, so that it takes effect at once in this process; nil when there are none.
	Accounts *identity.Accounts
	// Params are what hashes are made with; the zero value means [DefaultParams].
	Params Params
}

// Users administers users. Every change appends its event in the same transaction; on errors nothing has changed. Whether the
// actor may do it is the caller's to ask.
type Users struct {
	options UsersOptions
}

// NewUsers returns the administration of a store's users.
func NewUsers(options UsersOptions) *Users {
	if options.Params == (Params{}) {
		options.Params = DefaultParams
	}
	return &Users{options: options}
}

// NewUser is a user to be created.
type NewUser struct {
	Name        string
	Email       string
	RealName    string
	Password    string
	SystemAdmin bool
}

// CheckName returns [ErrName] when a user cannot be called that.
func CheckName(name string) error {
	bad := func(r rune) bool {
		return !unicode.IsPrint(r) || unicode.IsSpace(r) || strings.ContainsRune(`,:"~#%$/\`, r)
	}
	if name == "" || len(name) > maxUserName || !utf8.ValidString(name) || strings.ContainsFunc(name, bad) ||
		name == identity.Anonymous.Name {
		return ErrName
	}
	return nil
}

// Create adds a user. It returns [ErrName], [ErrPassword], or an error that wraps [metadata.ErrExists].
func (u *Users) Create(ctx context.Context, actor event.Actor, user NewUser) (metadata.User, error) {
	if err := errors.Join(CheckName(user.Name), CheckPassword(user.Password)); err != nil {
		return metadata.User{}, err
	}
	row := metadata.User{
		Name: user.Name, Email: user.Email, RealName: user.RealName, SystemAdmin: user.SystemAdmin,
		PasswordHash: Hash(user.Password, u.options.Params),
	}
	err := u.options.Store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		created, err := tx.CreateUser(ctx, row)
		if err != nil {
			return err
		}
		row = created
		return appendUserEvent(ctx, tx, actor, event.UserCreated, user.Name)
	})
	if err != nil {
		return metadata.User{}, fmt.Errorf("create user %q: %w", user.Name, err)
	}
	return row, nil
}

// SetPassword gives a user a new password and voids their tokens. It returns [ErrPassword], or an error that wraps
// [metadata.ErrNotFound].
func (u *Users) SetPassword(ctx context.Context, actor event.Actor, name, password string) error {
	if err := CheckPassword(password); err != nil {
		return err
	}
	hash := Hash(password, u.options.Params)
	return u.update(ctx, actor, name, func(user *metadata.User) error {
		user.PasswordHash = hash
		return nil
	})
}

// SetSystemAdmin makes a user a system administrator or an ordinary user. It returns [ErrProtected] for demoting the first
// user, or an error that wraps [metadata.ErrNotFound].
func (u *Users) SetSystemAdmin(ctx context.Context, actor event.Actor, name string, admin bool) error {
	return u.update(ctx, actor, name, func(user *metadata.User) error {
		if user.Name == AdminName && !admin {
			return ErrProtected
		}
		user.SystemAdmin = admin
		return nil
	})
}

// SetDisabled shuts a user out, voiding their tokens, or lets them in again. The error wraps [metadata.ErrNotFound] when there
// is no such user.
func (u *Users) SetDisabled(ctx context.Context, actor event.Actor, name string, disabled bool) error {
	return u.update(ctx, actor, name, func(user *metadata.User) error {
		user.Disabled = disabled
		return nil
	})
}

// Delete removes a user, voiding their tokens. It returns [ErrProtected] for the first user, or an error that wraps
// [metadata.ErrNotFound].
func (u *Users) Delete(ctx context.Context, actor event.Actor, name string) error {
	return u.change(ctx, name, func(ctx context.Context, tx *metadata.Tx) error {
		if name == AdminName {
			return ErrProtected
		}
		user, err := tx.LockUser(ctx, name)
		if err != nil {
			return err
		}
		if err := tx.DeleteUser(ctx, user.ID); err != nil {
			return err
		}
		return appendUserEvent(ctx, tx, actor, event.UserDeleted, name)
	})
}

// List returns up to n users whose names come after the given one, in the order of names; all of them when n is negative.
func (u *Users) List(ctx context.Context, after string, n int) ([]metadata.User, error) {
	return u.options.Store.Users(ctx, after, n)
}

func (u *Users) update(ctx context.Context, actor event.Actor, name string, edit func(user *metadata.User) error) error {
	return u.change(ctx, name, func(ctx context.Context, tx *metadata.Tx) error {
		user, err := tx.LockUser(ctx, name)
		if err != nil {
			return err
		}
		if err := edit(&user); err != nil {
			return err
		}
		if _, err := tx.UpdateUser(ctx, user); err != nil {
			return err
		}
		return appendUserEvent(ctx, tx, actor, event.UserUpdated, name)
	})
}

func (u *Users) change(ctx context.Context, name string, fn func(ctx context.Context, tx *metadata.Tx) error) error {
	if err := u.options.Store.Tx(ctx, fn); err != nil {
		return fmt.Errorf("change user %q: %w", name, err)
	}
	if u.options.Accounts != nil {
		u.options.Accounts.Forget()
	}
	return nil
}

func appendUserEvent(ctx context.Context, tx *metadata.Tx, actor event.Actor, kind event.Kind, user string) error {
	e := actor.Event(kind)
	e.Subject = user
	return tx.AppendEvent(ctx, e)
}
