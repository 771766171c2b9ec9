package caddymodules

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/identity/local"
	"github.com/berth-registry/berth/metadata"
)

// administration is what operations work on: the rows, and what has to forget what it knows of them.
type administration struct {
	store *metadata.Store
	users *local.Users
	// forget makes a change to a project take effect in this process at once; nil where nothing remembers.
	forget func(project string)
}

// change runs a transaction on a project and its members.
func (a *administration) change(ctx context.Context, project string, fn func(context.Context, *metadata.Tx) error) error {
	if err := a.store.Tx(ctx, fn); err != nil {
		return err
	}
	if a.forget != nil {
		a.forget(project)
	}
	return nil
}

var userActor = event.Actor{Name: commandActor, Credential: "command"}

type userArguments struct {
	Name     string `json:"name"`
	Email    string `json:"email,omitempty"`
	RealName string `json:"real_name,omitempty"`
	Password string `json:"password,omitempty"`
	// Admin and Disabled are nil where they stay as they are.
	Admin    *bool `json:"admin,omitempty"`
	Disabled *bool `json:"disabled,omitempty"`
}

// userView is a user as a command shows it.
type userView struct {
	Name      string    `json:"name"`
	Email     string    `json:"email"`
	RealName  string    `json:"real_name"`
	Admin     bool      `json:"admin"`
	Disabled  bool      `json:"disabled"`
	CreatedAt time.Time `json:"created_at"`
}

func viewUser(u metadata.User) userView {
	return userView{
		Name: u.Name, Email: u.Email, RealName: u.RealName, Admin: u.SystemAdmin, Disabled: u.Disabled, CreatedAt: u.CreatedAt,
	}
}

// refused marks the refusals of users as faults of the arguments.
func refused(err error) error {
	for _, refusal := range []error{local.ErrName, local.ErrPassword, local.ErrProtected} {
		if errors.Is(err, refusal) {
			return fmt.Errorf("%w: %w", errArguments, err)
		}
	}
	return err
}

func createUser(ctx context.Context, a *administration, arguments userArguments) (any, error) {
	created, err := a.users.Create(ctx, userActor, local.NewUser{
		Name: arguments.Name, Email: arguments.Email, RealName: arguments.RealName, Password: arguments.Password,
		SystemAdmin: arguments.Admin != nil && *arguments.Admin,
	})
	return viewUser(created), refused(err)
}

func listUsers(ctx context.Context, a *administration, _ struct{}) (any, error) {
	users, err := a.users.List(ctx, "", -1)
	views := make([]userView, 0, len(users))
	for _, u := range users {
		views = append(views, viewUser(u))
	}
	return views, err
}

func setUser(ctx context.Context, a *administration, arguments userArguments) (any, error) {
	if arguments.Admin != nil {
		if err := a.users.SetSystemAdmin(ctx, userActor, arguments.Name, *arguments.Admin); err != nil {
			return nil, refused(err)
		}
	}
	if arguments.Disabled != nil {
		if err := a.users.SetDisabled(ctx, userActor, arguments.Name, *arguments.Disabled); err != nil {
			return nil, refused(err)
		}
	}
	user, err := a.store.UserByName(ctx, arguments.Name)
	if err != nil {
		return nil, fmt.Errorf("user %q: %w", arguments.Name, err)
	}
	return viewUser(user), nil
}

func setPassword(ctx context.Context, a *administration, arguments userArguments) (any, error) {
	return nil, refused(a.users.SetPassword(ctx, userActor, arguments.Name, arguments.Password))
}

func deleteUser(ctx context.Context, a *administration, arguments userArguments) (any, error) {
	return nil, refused(a.users.Delete(ctx, userActor, arguments.Name))
}
