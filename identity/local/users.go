package local

import (
	"context"
	"errors"
	"fmt"
	"net/mail"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/identity"
	"github.com/berth-registry/berth/metadata"
)

// AdminName is the name of the first user, which cannot be deleted: the next start would make it anew.
const AdminName = "admin"

// The longest texts of a user, in bytes.
const (
	maxUserName = 255
	maxProfile  = 255
)

// The refusals of [Users].
var (
	ErrName      = fault.New(fault.Invalid, "%s", `user name must be 1 to 255 characters without spaces, control characters and , : " ~ # % $ / \`)
	ErrProtected = fault.New(fault.Forbidden, "the first user, %s, can be neither deleted nor demoted; disable it instead", AdminName)
	ErrElsewhere = fault.New(fault.Forbidden, "address, real name and password of this user are kept where the user comes from")
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
	Comment     string
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

// checkProfile refuses what cannot be about a user.
func checkProfile(email, realName, comment string) error {
	for _, text := range []struct{ name, value string }{{"email", email}, {"real name", realName}, {"comment", comment}} {
		control := func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }
		if len(text.value) > maxProfile || !utf8.ValidString(text.value) || strings.ContainsFunc(text.value, control) {
			return fault.New(fault.Invalid, "%s must be at most %d bytes of text", text.name, maxProfile)
		}
	}
	if email == "" {
		return nil
	}
	if parsed, err := mail.ParseAddress(email); err != nil || parsed.Address != email {
		return fault.New(fault.Invalid, "email must be an address such as alice@example.com")
	}
	return nil
}

// Create adds a user. The error is [ErrName], [ErrPassword], another [*fault.Error] when the name is taken or something else of the
// user cannot be, or an [*identity.ThrottledError] when too many passwords are being hashed.
func (u *Users) Create(ctx context.Context, actor event.Actor, user NewUser) (metadata.User, error) {
	if err := errors.Join(CheckName(user.Name), CheckPassword(user.Password), checkProfile(user.Email, user.RealName, user.Comment)); err != nil {
		return metadata.User{}, err
	}
	hash, err := u.hash(ctx, user.Password)
	if err != nil {
		return metadata.User{}, err
	}
	row := metadata.User{
		Name: user.Name, Email: user.Email, RealName: user.RealName, Comment: user.Comment, SystemAdmin: user.SystemAdmin, PasswordHash: hash,
	}
	err = u.options.Store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		created, err := tx.CreateUser(ctx, row)
		if err != nil {
			return err
		}
		row = created
		return appendUserEvent(ctx, tx, actor, event.UserCreated, user.Name)
	})
	if errors.Is(err, metadata.ErrExists) {
		return metadata.User{}, fault.Because(err, fault.Conflict, "user %q already exists", user.Name)
	}
	if err != nil {
		return metadata.User{}, fmt.Errorf("create user %q: %w", user.Name, err)
	}
	return row, nil
}

func (u *Users) hash(ctx context.Context, password string) (hash string, err error) {
	err = inTurn(ctx, func() error {
		hash = Hash(password, u.options.Params)
		return nil
	})
	return hash, err
}

// Edit is what to change of a user; nil leaves a field as it is.
type Edit struct {
	Email, RealName, Comment *string
	Password                 *string
	SystemAdmin, Disabled    *bool
}

// Update changes a user; a new password, and shutting out, void their tokens. It returns [ErrPassword], [ErrProtected] for demoting
// the first user, [ErrElsewhere] for what another source says of its users, another [*fault.Error], or an error that wraps
// [metadata.ErrNotFound].
func (u *Users) Update(ctx context.Context, actor event.Actor, id int64, edit Edit) error {
	var hash string
	if edit.Password != nil {
		err := CheckPassword(*edit.Password)
		if err == nil {
			hash, err = u.hash(ctx, *edit.Password)
		}
		if err != nil {
			return err
		}
	}
	return u.change(ctx, id, func(ctx context.Context, tx *metadata.Tx, user metadata.User) error {
		before := user
		set(&user.Email, edit.Email)
		set(&user.RealName, edit.RealName)
		set(&user.Comment, edit.Comment)
		set(&user.SystemAdmin, edit.SystemAdmin)
		set(&user.Disabled, edit.Disabled)
		if edit.Password != nil {
			user.PasswordHash = hash
		}
		if err := checkProfile(deref(edit.Email), deref(edit.RealName), deref(edit.Comment)); err != nil {
			return err
		}
		if user.Name == AdminName && before.SystemAdmin && !user.SystemAdmin {
			return ErrProtected
		}
		elsewhere := user.Email != before.Email || user.RealName != before.RealName || edit.Password != nil
		if elsewhere && user.Source != metadata.SourceLocal {
			return ErrElsewhere
		}
		if _, err := tx.UpdateUser(ctx, user); err != nil {
			return err
		}
		return appendUserEvent(ctx, tx, actor, event.UserUpdated, user.Name)
	})
}

func set[T any](field *T, value *T) {
	if value != nil {
		*field = *value
	}
}

func deref(text *string) string {
	if text == nil {
		return ""
	}
	return *text
}

// SetPassword is [Users.Update] of the password, by the user's name.
func (u *Users) SetPassword(ctx context.Context, actor event.Actor, name, password string) error {
	return u.named(ctx, name, func(id int64) error { return u.Update(ctx, actor, id, Edit{Password: &password}) })
}

// SetSystemAdmin is [Users.Update] of whether a user is a system administrator, by the user's name.
func (u *Users) SetSystemAdmin(ctx context.Context, actor event.Actor, name string, admin bool) error {
	return u.named(ctx, name, func(id int64) error { return u.Update(ctx, actor, id, Edit{SystemAdmin: &admin}) })
}

// SetDisabled is [Users.Update] of whether a user is shut out, by the user's name.
func (u *Users) SetDisabled(ctx context.Context, actor event.Actor, name string, disabled bool) error {
	return u.named(ctx, name, func(id int64) error { return u.Update(ctx, actor, id, Edit{Disabled: &disabled}) })
}

// Delete removes a user, by the name; see [Users.Remove].
func (u *Users) Delete(ctx context.Context, actor event.Actor, name string) error {
	return u.named(ctx, name, func(id int64) error { return u.Remove(ctx, actor, id) })
}

// Remove removes a user, voiding their tokens. It returns [ErrProtected] for the first user, or an error that wraps
// [metadata.ErrNotFound].
func (u *Users) Remove(ctx context.Context, actor event.Actor, id int64) error {
	return u.change(ctx, id, func(ctx context.Context, tx *metadata.Tx, user metadata.User) error {
		if user.Name == AdminName {
			return ErrProtected
		}
		if err := tx.DeleteUser(ctx, user.ID); err != nil {
			return err
		}
		return appendUserEvent(ctx, tx, actor, event.UserDeleted, user.Name)
	})
}

// List returns up to n users whose names come after the given one, in the order of names; all of them when n is negative.
func (u *Users) List(ctx context.Context, after string, n int) ([]metadata.User, error) {
	return u.options.Store.Users(ctx, after, n)
}

func (u *Users) named(ctx context.Context, name string, act func(id int64) error) error {
	user, err := u.options.Store.UserByName(ctx, name)
	if err != nil {
		return fmt.Errorf("user %q: %w", name, err)
	}
	return act(user.ID)
}

func (u *Users) change(ctx context.Context, id int64, act func(ctx context.Context, tx *metadata.Tx, user metadata.User) error) error {
	err := u.options.Store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		user, err := tx.LockUserByID(ctx, id)
		if err != nil {
			return err
		}
		return act(ctx, tx, user)
	})
	if err != nil {
		return fmt.Errorf("user %d: %w", id, err)
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
