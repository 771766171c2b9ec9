// Package group administers the groups of users that come from outside, so that projects can have them for members.
package group

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/identity/ldap"
	"github.com/berth-registry/berth/metadata"
)

// maxName is the longest name of a group, in bytes.
const maxName = 255

// Options set [Groups] up.
type Options struct {
	Store *metadata.Store
	// Removed is told that the members of a group have lost what it gave them; nil tells nobody.
	Removed func()
}

// Groups administers groups. Every change appends its event in the same transaction; on errors nothing has changed. Whether the
// actor may do it is the caller's to ask.
type Groups struct {
	options Options
}

// New returns the administration of a store's groups.
func New(options Options) *Groups {
	if options.Removed == nil {
		options.Removed = func() {}
	}
	return &Groups{options: options}
}

// Create adds a group of a kind, an LDAP group by its distinguished name; without a name it is called by the one in there. The error
// is a [*fault.Error] when there cannot be such a group, or it exists.
func (g *Groups) Create(ctx context.Context, actor event.Actor, wanted metadata.UserGroup) (metadata.UserGroup, error) {
	row, err := Prepare(wanted)
	if err != nil {
		return metadata.UserGroup{}, err
	}
	err = g.options.Store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		if row, err = tx.CreateUserGroup(ctx, row); err != nil {
			return err
		}
		return appendEvent(ctx, tx, actor, event.GroupCreated, row)
	})
	if errors.Is(err, metadata.ErrExists) {
		return metadata.UserGroup{}, fault.Because(err, fault.Conflict, "a group of this kind with the name %q, or with the same distinguished name, already exists", row.Name)
	}
	if err != nil {
		return metadata.UserGroup{}, fmt.Errorf("create group %q: %w", row.Name, err)
	}
	return row, nil
}

// Prepare checks a group that is to be added, and completes its name and key. The error is a [*fault.Error].
func Prepare(wanted metadata.UserGroup) (metadata.UserGroup, error) {
	wanted.Name, wanted.DN = strings.TrimSpace(wanted.Name), strings.TrimSpace(wanted.DN)
	switch wanted.Kind {
	case metadata.GroupLDAP:
		key, name, err := ldap.GroupKey(wanted.DN)
		if err != nil {
			return metadata.UserGroup{}, err
		}
		wanted.Key = key
		if wanted.Name == "" {
			wanted.Name = name
		}
	case metadata.GroupHTTP, metadata.GroupOIDC:
		if wanted.DN != "" {
			return metadata.UserGroup{}, fault.New(fault.Invalid, "only a group of the kind %d has a distinguished name", metadata.GroupLDAP)
		}
		wanted.Key = wanted.Name
	default:
		return metadata.UserGroup{}, fault.New(fault.Invalid, "the kind of a group must be 1 (LDAP), 2 (HTTP) or 3 (OIDC)")
	}
	return wanted, checkName(wanted.Name)
}

func checkName(name string) error {
	if name == "" || len(name) > maxName || !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl) {
		return fault.New(fault.Invalid, "the name of a group must be 1 to %d bytes of text", maxName)
	}
	return nil
}

// Rename gives a group another name; where it comes from it stays the same one. The error is a [*fault.Error] when it cannot have
// the name, or wraps [metadata.ErrNotFound].
func (g *Groups) Rename(ctx context.Context, actor event.Actor, id int64, name string) error {
	name = strings.TrimSpace(name)
	if err := checkName(name); err != nil {
		return err
	}
	err := g.options.Store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		row, err := tx.RenameUserGroup(ctx, id, name)
		if err != nil {
			return err
		}
		return appendEvent(ctx, tx, actor, event.GroupUpdated, row)
	})
	if errors.Is(err, metadata.ErrExists) {
		return fault.Because(err, fault.Conflict, "a group of this kind with the name %q already exists", name)
	}
	if err != nil {
		return fmt.Errorf("rename group %d: %w", id, err)
	}
	return nil
}

// Delete removes a group, and with it what it gave its members. The error wraps [metadata.ErrNotFound] when there is none.
func (g *Groups) Delete(ctx context.Context, actor event.Actor, id int64) error {
	err := g.options.Store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		row, err := tx.UserGroup(ctx, id)
		if err != nil {
			return err
		}
		if err := tx.DeleteUserGroup(ctx, id); err != nil {
			return err
		}
		return appendEvent(ctx, tx, actor, event.GroupDeleted, row)
	})
	if err != nil {
		return fmt.Errorf("delete group %d: %w", id, err)
	}
	g.options.Removed()
	return nil
}

func appendEvent(ctx context.Context, tx *metadata.Tx, actor event.Actor, kind event.Kind, row metadata.UserGroup) error {
	e := actor.Event(kind)
	e.Subject = row.Name
	return tx.AppendEvent(ctx, e)
}
