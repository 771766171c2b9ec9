package caddymodules

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/policy"
)

// operation is what a command does to the registry. Its arguments and its result are JSON, because it may run in the server's
// process, through the admin endpoint, or in the command's own when no server runs.
type operation func(ctx context.Context, a *administration, arguments json.RawMessage) (any, error)

// operations are all of them, by name.
var operations = map[string]operation{
	"user.create":       typed(createUser),
	"user.list":         typed(listUsers),
	"user.set":          typed(setUser),
	"user.set-password": typed(setPassword),
	"user.delete":       typed(deleteUser),
	"project.create":    typed(createProject),
	"project.list":      typed(listProjects),
	"project.set":       typed(setProject),
	"project.delete":    typed(deleteProject),
	"member.add":        typed(addMember),
	"member.list":       typed(listMembers),
	"member.remove":     typed(removeMember),
}

// errArguments: the arguments of an operation cannot be understood.
var errArguments = errors.New("arguments")

// typed reads the arguments of an operation strictly.
func typed[T any](run func(context.Context, *administration, T) (any, error)) operation {
	return func(ctx context.Context, a *administration, raw json.RawMessage) (any, error) {
		var arguments T
		if err := caddy.StrictUnmarshalJSON(raw, &arguments); err != nil {
			return nil, fmt.Errorf("%w: %w", errArguments, err)
		}
		return run(ctx, a, arguments)
	}
}

// commandActor is who an event says has done what a command did.
const commandActor = "berth command"

func commandEvent(kind event.Kind) event.Event {
	return event.Event{Kind: kind, Actor: commandActor, Credential: "command", At: time.Now()}
}

type projectArguments struct {
	Name   string `json:"name"`
	Public bool   `json:"public,omitempty"`
}

// projectView is a project as a command shows it.
type projectView struct {
	Name      string    `json:"name"`
	Public    bool      `json:"public"`
	CreatedAt time.Time `json:"created_at"`
}

func viewProject(p metadata.Project) projectView {
	return projectView{Name: p.Name, Public: p.Public, CreatedAt: p.CreatedAt}
}

func createProject(ctx context.Context, a *administration, arguments projectArguments) (any, error) {
	name, err := oci.ParseRepository(arguments.Name)
	if err != nil || name.Project() != "" {
		return nil, fmt.Errorf("%w: project name %q must be lower-case letters and digits, with single . _ or - between them",
			errArguments, arguments.Name)
	}
	var created metadata.Project
	err = a.change(ctx, arguments.Name, func(ctx context.Context, tx *metadata.Tx) error {
		var err error
		created, err = tx.CreateProject(ctx, metadata.Project{Name: arguments.Name, Public: arguments.Public})
		if err != nil {
			return err
		}
		e := commandEvent(event.ProjectCreated)
		e.Project = arguments.Name
		return tx.AppendEvent(ctx, e)
	})
	return viewProject(created), err
}

func listProjects(ctx context.Context, a *administration, _ struct{}) (any, error) {
	projects, err := a.store.Projects(ctx, metadata.Visibility{All: true}, "", -1)
	views := make([]projectView, 0, len(projects))
	for _, p := range projects {
		views = append(views, viewProject(p))
	}
	return views, err
}

func setProject(ctx context.Context, a *administration, arguments projectArguments) (any, error) {
	var updated metadata.Project
	err := a.change(ctx, arguments.Name, func(ctx context.Context, tx *metadata.Tx) error {
		project, err := projectNamed(ctx, tx, arguments.Name)
		if err != nil {
			return err
		}
		project.Public = arguments.Public
		if updated, err = tx.UpdateProject(ctx, project); err != nil {
			return err
		}
		e := commandEvent(event.ProjectUpdated)
		e.Project = arguments.Name
		return tx.AppendEvent(ctx, e)
	})
	return viewProject(updated), err
}

// deletion names the project that goes.
type deletion struct {
	Name string `json:"name"`
}

func deleteProject(ctx context.Context, a *administration, arguments deletion) (any, error) {
	return nil, a.change(ctx, arguments.Name, func(ctx context.Context, tx *metadata.Tx) error {
		project, err := projectNamed(ctx, tx, arguments.Name)
		if err != nil {
			return err
		}
		if err := tx.DeleteProject(ctx, project.ID); err != nil {
			return err
		}
		e := commandEvent(event.ProjectDeleted)
		e.Project = arguments.Name
		return tx.AppendEvent(ctx, e)
	})
}

type memberArguments struct {
	Project string `json:"project"`
	User    string `json:"user,omitempty"`
	Role    string `json:"role,omitempty"`
}

// memberView is a member as a command shows it.
type memberView struct {
	User string `json:"user"`
	Role string `json:"role"`
}

func addMember(ctx context.Context, a *administration, arguments memberArguments) (any, error) {
	role, err := policy.ParseRole(arguments.Role)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errArguments, err)
	}
	err = a.change(ctx, arguments.Project, func(ctx context.Context, tx *metadata.Tx) error {
		project, user, err := projectAndUser(ctx, tx, arguments)
		if err != nil {
			return err
		}
		if _, err := tx.SetMember(ctx, metadata.Member{ProjectID: project.ID, UserID: user.ID, RoleID: int(role)}); err != nil {
			return err
		}
		e := commandEvent(event.MemberSet)
		e.Project, e.Subject = project.Name, user.Name
		return tx.AppendEvent(ctx, e)
	})
	return memberView{User: arguments.User, Role: role.String()}, err
}

func listMembers(ctx context.Context, a *administration, arguments memberArguments) (any, error) {
	if _, err := projectNamed(ctx, a.store, arguments.Project); err != nil {
		return nil, err
	}
	members, err := a.store.Members(ctx, arguments.Project)
	views := make([]memberView, 0, len(members))
	for _, m := range members {
		views = append(views, memberView{User: m.Name, Role: policy.Role(m.RoleID).String()})
	}
	return views, err
}

func removeMember(ctx context.Context, a *administration, arguments memberArguments) (any, error) {
	return nil, a.change(ctx, arguments.Project, func(ctx context.Context, tx *metadata.Tx) error {
		project, user, err := projectAndUser(ctx, tx, arguments)
		if err != nil {
			return err
		}
		err = tx.RemoveMember(ctx, project.ID, user.ID)
		if errors.Is(err, metadata.ErrNotFound) {
			return fmt.Errorf("user %q is not a member of project %q: %w", user.Name, project.Name, err)
		}
		if err != nil {
			return err
		}
		e := commandEvent(event.MemberRemoved)
		e.Project, e.Subject = project.Name, user.Name
		return tx.AppendEvent(ctx, e)
	})
}

// projectReader is a [metadata.Store] or a [metadata.Tx].
type projectReader interface {
	Project(ctx context.Context, name string) (metadata.Project, error)
}

func projectNamed(ctx context.Context, reader projectReader, name string) (metadata.Project, error) {
	project, err := reader.Project(ctx, name)
	if err != nil {
		return project, fmt.Errorf("project %q: %w", name, err)
	}
	return project, nil
}

func projectAndUser(ctx context.Context, tx *metadata.Tx, arguments memberArguments) (metadata.Project, metadata.User, error) {
	project, err := projectNamed(ctx, tx, arguments.Project)
	if err != nil {
		return metadata.Project{}, metadata.User{}, err
	}
	user, err := tx.UserByName(ctx, arguments.User)
	if err != nil {
		return metadata.Project{}, metadata.User{}, fmt.Errorf("user %q: %w", arguments.User, err)
	}
	return project, user, nil
}
