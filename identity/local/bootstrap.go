package local

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/metadata"
)

// LibraryProject is the name of the first project, which is public.
const LibraryProject = "library"

// bootstrapSetting is set in the transaction that makes the first user and project: whoever's value holds has made them.
const bootstrapSetting = "bootstrap"

// Bootstrap makes the first user and the first project, once in the life of a database, whichever gateway comes first. The
// user gets the given password, or a random one, which is returned then and can be had at no other time; "" is returned when
// the password was given or somebody else was first.
//
// It returns an error that wraps [ErrPassword] when the given password does not follow the rule and is needed. The zero value
// of params means [DefaultParams].
func Bootstrap(ctx context.Context, store *metadata.Store, password string, params Params) (generated string, err error) {
	if _, err := store.Setting(ctx, bootstrapSetting); err == nil {
		return "", nil
	} else if !errors.Is(err, metadata.ErrNotFound) {
		return "", fmt.Errorf("bootstrap: %w", err)
	}
	if password == "" {
		generated = RandomPassword()
		password = generated
	} else if err := CheckPassword(password); err != nil {
		return "", fmt.Errorf("bootstrap: user %s: %w", AdminName, err)
	}
	if params == (Params{}) {
		params = DefaultParams
	}
	hash := Hash(password, params)
	mine := rand.Text()
	first := false
	err = store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		holds, err := tx.PutSettingIfAbsent(ctx, bootstrapSetting, mine)
		if first = holds == mine; err != nil || !first {
			return err
		}
		return createFirst(ctx, tx, hash)
	})
	if err != nil {
		return "", fmt.Errorf("bootstrap: %w", err)
	}
	if !first {
		return "", nil
	}
	return generated, nil
}

func createFirst(ctx context.Context, tx *metadata.Tx, hash string) error {
	actor := event.Actor{Name: AdminName, Credential: "command"}
	admin, err := tx.CreateUser(ctx, metadata.User{Name: AdminName, PasswordHash: hash, SystemAdmin: true})
	if err != nil {
		return err
	}
	if err := appendUserEvent(ctx, tx, actor, event.UserCreated, AdminName); err != nil {
		return err
	}
	if _, err := tx.CreateProject(ctx, metadata.Project{Name: LibraryProject, Public: true, OwnerID: admin.ID}); err != nil {
		return err
	}
	created := actor.Event(event.ProjectCreated)
	created.Project = LibraryProject
	return tx.AppendEvent(ctx, created)
}
