// Package robot proves and administers robot accounts: names for programs, which hold permissions of their own, in one project or
// in the registry, and no roles.
package robot

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/identity"
	"github.com/berth-registry/berth/identity/local"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/setting"
)

// Forever is the duration of a robot that does not expire.
const Forever = -1

// The bounds of a robot.
const (
	maxName        = 255
	maxPrefix      = 64
	maxDescription = 1024
	maxDuration    = 100 * 366 // days
	maxPermissions = 5000
)

const day = 24 * time.Hour

var (
	shortName = regexp.MustCompile(`^[a-z0-9]+(?:[._-][a-z0-9]+)*$`)
	// A prefix must leave the name one that fits into a header, a log line and a shell's argument.
	prefixForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._$@-]*$`)
)

// Options set [Robots] up.
type Options struct {
	Store    *metadata.Store
	Settings *setting.Settings
	// Accounts forget what changes here, so that it takes effect at once in this process.
	Accounts *identity.Accounts
	// MaxLifetime is the longest that a robot may live, 0 for any time and for ever.
	MaxLifetime time.Duration
	// Params are what secrets that people choose are hashed with; the zero value means [local.DefaultParams].
	Params local.Params
}

// Robots administers robots. Every change appends its event in the same transaction; on errors nothing has changed. Whether the
// caller may do it is the face's to ask. Refusals are a [*fault.Error].
type Robots struct {
	options Options
}

// New returns the administration of a store's robots.
func New(options Options) *Robots {
	if options.Params == (local.Params{}) {
		options.Params = local.DefaultParams
	}
	return &Robots{options: options}
}

// Grant is what a robot may do in one place.
type Grant struct {
	// Namespace is a project's name, [identity.NamespaceAll] or [identity.NamespaceSystem].
	Namespace string
	Rights    []Right
}

// NewRobot is a robot to be made.
type NewRobot struct {
	// Name is the short one, without prefix and project.
	Name        string
	Description string
	// Project is that which the robot belongs to; the zero value makes a robot of the registry.
	Project metadata.Project
	// Duration is in days, [Forever], or 0 for what the settings say.
	Duration int64
	Disabled bool
	Grants   []Grant
}

// Create makes a robot and returns it with its secret, which can be had at no other time. A creator that is a robot gives only
// what it has itself. The error wraps [metadata.ErrExists] when the name is taken, in either spelling.
func (r *Robots) Create(ctx context.Context, actor event.Actor, creator identity.Principal, made NewRobot) (metadata.Robot, string, error) {
	values, err := r.options.Settings.Values(ctx)
	if err != nil {
		return metadata.Robot{}, "", fmt.Errorf("read settings of robots: %w", err)
	}
	if made.Duration == 0 {
		made.Duration = values.Number(setting.RobotTokenDuration)
	}
	name, err := fullName(values.Text(setting.RobotNamePrefix), made)
	if err != nil {
		return metadata.Robot{}, "", err
	}
	now := time.Now().UTC().Truncate(time.Microsecond)
	secret := local.RandomPassword()
	row := metadata.Robot{
		Name: name, PlainName: strings.ReplaceAll(name, "$", "-"), ProjectID: made.Project.ID, SecretHash: hashFast(secret),
		CreatorKind: "local", CreatorID: creator.ID,
	}
	if creator.Kind == identity.KindRobot {
		row.CreatorKind = "robot"
	}
	if err := r.edit(&row, Edit{made.Description, made.Disabled, made.Duration, made.Grants}, now); err != nil {
		return metadata.Robot{}, "", err
	}
	err = r.options.Store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		permissions, err := resolve(ctx, tx, made.Project, made.Grants, creator.Permissions)
		if err != nil {
			return err
		}
		fresh := row
		fresh.Permissions = permissions
		created, err := tx.CreateRobot(ctx, fresh)
		if err != nil {
			return err
		}
		row = created
		return tell(ctx, tx, actor, event.RobotCreated, created)
	})
	if errors.Is(err, metadata.ErrExists) {
		return metadata.Robot{}, "", fault.Because(err, fault.Conflict, "robot account %s exists already", name)
	}
	if err != nil {
		return metadata.Robot{}, "", fmt.Errorf("create robot %q: %w", name, err)
	}
	return row, secret, nil
}

// fullName puts the prefix and the project before a short name.
func fullName(prefix string, made NewRobot) (string, error) {
	if !prefixForm.MatchString(prefix) || len(prefix) > maxPrefix {
		return "", fault.New(fault.Invalid, "setting %s is %q: it must be up to %d letters, digits and . _ - $ @, the first a letter or digit",
			setting.RobotNamePrefix.Name, prefix, maxPrefix)
	}
	name := prefix + made.Name
	if made.Project.ID != 0 {
		name = prefix + made.Project.Name + "+" + made.Name
	}
	if !shortName.MatchString(made.Name) || len(name) > maxName {
		return "", fault.New(fault.Invalid, "name of a robot account must be lower-case letters and digits with single . _ or - between, with prefix and project at most %d characters", maxName)
	}
	return name, nil
}

// Edit is what of a robot can change.
type Edit struct {
	Description string
	Disabled    bool
	// Duration is in days from when the robot was made, [Forever], or 0 for what it is.
	Duration int64
	Grants   []Grant
}

// edit puts all but the permissions into a row that was made then.
func (r *Robots) edit(row *metadata.Robot, edit Edit, made time.Time) error {
	if len(edit.Description) > maxDescription {
		return fault.New(fault.Invalid, "description is longer than %d bytes", maxDescription)
	}
	if edit.Duration != Forever && (edit.Duration < 1 || edit.Duration > maxDuration) {
		return fault.New(fault.Invalid, "duration must be from 1 to %d days, or -1 for ever", maxDuration)
	}
	if longest := r.options.MaxLifetime; longest != 0 && (edit.Duration == Forever || time.Duration(edit.Duration)*day > longest) {
		return fault.New(fault.Invalid, "a robot account may be good for at most %d days here", longest/day)
	}
	row.Description, row.Disabled, row.Duration, row.ExpiresAt = edit.Description, edit.Disabled, edit.Duration, time.Time{}
	if edit.Duration != Forever {
		row.ExpiresAt = made.Add(time.Duration(edit.Duration) * day)
	}
	return nil
}

// Update changes a robot; names, level and project do not change. A permission that robots cannot be given any more is refused.
func (r *Robots) Update(ctx context.Context, actor event.Actor, id int64, edit Edit) error {
	return r.change(ctx, id, func(ctx context.Context, tx *metadata.Tx, robot metadata.Robot) error {
		if edit.Duration == 0 {
			edit.Duration = robot.Duration
		}
		if err := r.edit(&robot, edit, robot.CreatedAt); err != nil {
			return err
		}
		var err error
		if robot.Permissions, err = resolve(ctx, tx, metadata.Project{ID: robot.ProjectID, Name: robot.Project}, edit.Grants, nil); err != nil {
			return err
		}
		if err := tx.UpdateRobot(ctx, robot); err != nil {
			return err
		}
		return tell(ctx, tx, actor, event.RobotUpdated, robot)
	})
}

// Refresh gives a robot another secret and voids the old one, with everything that was signed for it. A chosen secret must follow
// the rule for passwords; without one a random one is made and returned.
func (r *Robots) Refresh(ctx context.Context, actor event.Actor, id int64, chosen string) (secret string, err error) {
	var hash string
	if chosen == "" {
		secret = local.RandomPassword()
		hash = hashFast(secret)
	} else {
		if err := local.CheckPassword(chosen); err != nil {
			return "", fault.Because(err, fault.Invalid, "secret: %v", err)
		}
		hash = local.Hash(chosen, r.options.Params)
	}
	return secret, r.change(ctx, id, func(ctx context.Context, tx *metadata.Tx, robot metadata.Robot) error {
		robot.SecretHash = hash
		if err := tx.UpdateRobot(ctx, robot); err != nil {
			return err
		}
		return tell(ctx, tx, actor, event.RobotUpdated, robot)
	})
}

// Delete removes a robot.
func (r *Robots) Delete(ctx context.Context, actor event.Actor, id int64) error {
	return r.change(ctx, id, func(ctx context.Context, tx *metadata.Tx, robot metadata.Robot) error {
		if err := tx.DeleteRobot(ctx, id); err != nil {
			return err
		}
		return tell(ctx, tx, actor, event.RobotDeleted, robot)
	})
}

func (r *Robots) change(ctx context.Context, id int64, fn func(ctx context.Context, tx *metadata.Tx, robot metadata.Robot) error) error {
	err := r.options.Store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		robot, err := tx.LockRobot(ctx, id)
		if err != nil {
			return err
		}
		return fn(ctx, tx, robot)
	})
	if errors.Is(err, metadata.ErrNotFound) {
		return fault.Because(err, fault.NotFound, "robot account %d not found", id)
	}
	if err != nil {
		return fmt.Errorf("change robot %d: %w", id, err)
	}
	r.options.Accounts.Forget()
	return nil
}

// resolve checks grants against the catalogue, the robot's level and what its creator holds, nil for no limit, and returns the
// permissions, each once.
func resolve(ctx context.Context, tx *metadata.Tx, own metadata.Project, grants []Grant, holds *identity.Permissions) ([]metadata.RobotPermission, error) {
	if own.ID != 0 && (len(grants) != 1 || grants[0].Namespace != own.Name) {
		return nil, fault.New(fault.Invalid, "a robot account of a project has the permissions of that project, and of no other")
	}
	var permissions []metadata.RobotPermission
	seen := map[identity.Permission]bool{}
	for _, grant := range grants {
		projectID, err := projectOf(ctx, tx, grant.Namespace)
		if err != nil {
			return nil, err
		}
		catalogue := ProjectRights()
		if grant.Namespace == identity.NamespaceSystem {
			catalogue = SystemRights()
		}
		if len(grant.Rights) == 0 {
			return nil, fault.New(fault.Invalid, "no access is given in %s", grant.Namespace)
		}
		for _, right := range grant.Rights {
			permission := identity.Permission{Namespace: grant.Namespace, Resource: right.Resource, Action: right.Action}
			switch {
			case !slices.Contains(catalogue, right):
				return nil, fault.New(fault.Invalid, "%q on %q in %s cannot be given to a robot account", right.Action, right.Resource, grant.Namespace)
			case holds != nil && !holds.Includes(permission):
				return nil, fault.New(fault.Forbidden, "a robot account cannot give what it does not have: %s on %s in %s", right.Action, right.Resource, grant.Namespace)
			case seen[permission]:
				continue
			}
			seen[permission] = true
			if len(seen) > maxPermissions {
				return nil, fault.New(fault.Invalid, "more than %d permissions", maxPermissions)
			}
			stored := metadata.RobotPermission{ProjectID: projectID, Resource: right.Resource, Action: right.Action}
			if projectID == 0 {
				stored.Namespace = grant.Namespace
			}
			permissions = append(permissions, stored)
		}
	}
	if len(permissions) == 0 {
		return nil, fault.New(fault.Invalid, "a robot account needs at least one permission")
	}
	return permissions, nil
}

func projectOf(ctx context.Context, tx *metadata.Tx, namespace string) (int64, error) {
	if namespace == identity.NamespaceSystem || namespace == identity.NamespaceAll {
		return 0, nil
	}
	project, err := tx.Project(ctx, namespace)
	if errors.Is(err, metadata.ErrNotFound) {
		return 0, fault.Because(err, fault.NotFound, "project %s not found", namespace)
	}
	return project.ID, err
}

func tell(ctx context.Context, tx *metadata.Tx, actor event.Actor, kind event.Kind, robot metadata.Robot) error {
	e := actor.Event(kind)
	e.Subject, e.Project = robot.Name, robot.Project
	return tx.AppendEvent(ctx, e)
}
