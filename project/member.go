package project

import (
	"context"
	"errors"
	"slices"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/identity/group"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/policy"
)

// Candidate names who is to become a member: a user by id or name, or a group by id, by kind and name, or by distinguished name.
type Candidate struct {
	UserID   int64
	UserName string

	GroupID   int64
	GroupName string
	GroupKind int
	GroupDN   string
}

// AddMember gives a user or group a role in a project and returns the membership's id. People and groups from outside who have no row
// yet get one. The error is a [*fault.Error]: Invalid for the role or an unknown candidate, Conflict when they are a member.
func (p *Projects) AddMember(ctx context.Context, actor event.Actor, project metadata.Project, candidate Candidate, role policy.Role) (id int64, err error) {
	if err := checkRole(role); err != nil {
		return 0, err
	}
	member, err := p.find(ctx, actor, candidate)
	if err != nil {
		return 0, err
	}
	member.ProjectID, member.RoleID = project.ID, int(role)
	err = p.change(ctx, project, func(ctx context.Context, tx *metadata.Tx, row metadata.Project) error {
		if id, err = tx.AddMember(ctx, member); err != nil {
			return err
		}
		return appendEvent(ctx, tx, actor, event.MemberAdded, row.Name, member.Name)
	})
	if errors.Is(err, metadata.ErrExists) {
		return 0, fault.Because(err, fault.Conflict, "%s is a member of project %q already", member.Name, project.Name)
	}
	return id, err
}

func checkRole(role policy.Role) error {
	if !slices.Contains(policy.Roles, role) {
		return fault.New(fault.Invalid, "role_id %d is none of 1 projectAdmin, 2 developer, 3 guest, 4 maintainer, 5 limitedGuest", int(role))
	}
	return nil
}

// find returns who a candidate is.
func (p *Projects) find(ctx context.Context, actor event.Actor, candidate Candidate) (metadata.Member, error) {
	store := p.options.Store
	switch {
	case candidate.UserID != 0:
		user, err := store.UserByID(ctx, candidate.UserID)
		return metadata.Member{UserID: user.ID, Name: user.Name}, unknown(err, "user %d does not exist", candidate.UserID)
	case candidate.UserName != "":
		user, err := p.person(ctx, actor, candidate.UserName)
		return metadata.Member{UserID: user.ID, Name: user.Name}, unknown(err, "user %q does not exist", candidate.UserName)
	case candidate.GroupID != 0:
		found, err := store.UserGroup(ctx, candidate.GroupID)
		return metadata.Member{GroupID: found.ID, Name: found.Name}, unknown(err, "group %d does not exist", candidate.GroupID)
	case candidate.GroupName != "" || candidate.GroupDN != "":
		found, err := p.group(ctx, actor, candidate)
		return metadata.Member{GroupID: found.ID, Name: found.Name}, unknown(err, "group %q does not exist", candidate.GroupName+candidate.GroupDN)
	}
	return metadata.Member{}, fault.New(fault.Invalid, "name a user or a group")
}

// unknown makes of what is not found a request that cannot be meant.
func unknown(err error, format string, args ...any) error {
	if errors.Is(err, metadata.ErrNotFound) || fault.Of(err) == fault.NotFound {
		return fault.Because(err, fault.Invalid, format, args...)
	}
	return err
}

func (p *Projects) person(ctx context.Context, actor event.Actor, name string) (metadata.User, error) {
	if !printable(name, maxName) {
		return metadata.User{}, metadata.ErrNotFound
	}
	user, err := p.options.Store.UserByName(ctx, name)
	if !errors.Is(err, metadata.ErrNotFound) || p.options.Directory == nil {
		return user, err
	}
	user, errDirectory := p.options.Directory.Import(ctx, actor, name)
	if kind := fault.Of(errDirectory); kind == fault.NotFound || kind == fault.Invalid { // it has nobody, or there is no directory
		return metadata.User{}, err
	}
	return user, errDirectory
}

func (p *Projects) group(ctx context.Context, actor event.Actor, candidate Candidate) (metadata.UserGroup, error) {
	wanted := metadata.UserGroup{Name: candidate.GroupName, Kind: candidate.GroupKind, DN: candidate.GroupDN}
	if wanted.Kind == 0 && wanted.DN != "" {
		wanted.Kind = metadata.GroupLDAP
	}
	row, err := group.Prepare(wanted)
	if err != nil {
		return metadata.UserGroup{}, err
	}
	found, err := p.options.Store.UserGroupByKey(ctx, row.Kind, row.Key)
	if !errors.Is(err, metadata.ErrNotFound) || p.options.Groups == nil {
		return found, err
	}
	return p.options.Groups.Create(ctx, actor, wanted)
}

// SetRole gives a member another role. The error is a [*fault.Error]: Invalid for the role, NotFound for the member.
func (p *Projects) SetRole(ctx context.Context, actor event.Actor, project metadata.Project, memberID int64, role policy.Role) error {
	if err := checkRole(role); err != nil {
		return err
	}
	return p.changeMember(ctx, actor, project, memberID, event.MemberSet, func(ctx context.Context, tx *metadata.Tx) error {
		return tx.UpdateMember(ctx, project.ID, memberID, int(role))
	})
}

// RemoveMember takes a member's role away. The error is a [*fault.Error] of NotFound.
func (p *Projects) RemoveMember(ctx context.Context, actor event.Actor, project metadata.Project, memberID int64) error {
	return p.changeMember(ctx, actor, project, memberID, event.MemberRemoved, func(ctx context.Context, tx *metadata.Tx) error {
		return tx.RemoveMemberByID(ctx, project.ID, memberID)
	})
}

func (p *Projects) changeMember(ctx context.Context, actor event.Actor, project metadata.Project, memberID int64, kind event.Kind, act func(context.Context, *metadata.Tx) error) error {
	err := p.change(ctx, project, func(ctx context.Context, tx *metadata.Tx, row metadata.Project) error {
		member, err := tx.Member(ctx, row.ID, memberID)
		if err != nil {
			return err
		}
		if err := act(ctx, tx); err != nil {
			return err
		}
		return appendEvent(ctx, tx, actor, kind, row.Name, member.Name)
	})
	if errors.Is(err, metadata.ErrNotFound) && fault.Of(err) == 0 {
		return fault.Because(err, fault.NotFound, "project %q has no member %d", project.Name, memberID)
	}
	return err
}
