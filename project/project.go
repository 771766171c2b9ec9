// Package project administers projects and what belongs to them: members, metadata, labels, rules about tags, and vulnerabilities
// that are allowed. Whether somebody may do it is the caller's to ask.
package project

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/identity"
	"github.com/berth-registry/berth/identity/group"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/policy"
	"github.com/berth-registry/berth/project/quota"
	"github.com/berth-registry/berth/setting"
)

// maxName is the longest name of a project, in bytes.
const maxName = 255

var namePattern = regexp.MustCompile(`^[a-z0-9]+(?:[._-][a-z0-9]+)*$`)

// CheckName returns a [*fault.Error] for what cannot be the name of a project.
func CheckName(name string) error {
	if len(name) > maxName || !namePattern.MatchString(name) {
		return fault.New(fault.Invalid, "project name %q must be up to %d lower-case letters and digits, with single . _ or - between them", name, maxName)
	}
	return nil
}

// Onboarder gives people of a directory a row here before their first login.
type Onboarder interface {
	// Import returns the row of the person of that name. The error is a [*fault.Error] when there is nobody, or nobody can tell.
	Import(ctx context.Context, actor event.Actor, name string) (metadata.User, error)
}

// Options set [Projects] up. Store and Settings are required.
type Options struct {
	Store    *metadata.Store
	Settings *setting.Settings
	// Groups makes groups members that have no row yet; nil makes no rows.
	Groups *group.Groups
	// Directory knows people who have no row yet; nil knows nobody.
	Directory Onboarder
	// Changed is told that what people may do in a project is another now; nil tells nobody.
	Changed func(project string)
	// CacheCreated is called in the transaction that makes a project that is a cache; nil calls nobody.
	CacheCreated func(ctx context.Context, tx *metadata.Tx, actor event.Actor, project metadata.Project) error
}

// Projects administers the projects of a registry. Every change appends its event in the same transaction; on errors nothing has
// changed. Errors that a person can do something about are [*fault.Error].
type Projects struct {
	options Options
}

// New returns the administration of a store's projects.
func New(options Options) *Projects {
	if options.Changed == nil {
		options.Changed = func(string) {}
	}
	return &Projects{options}
}

// Wanted is a project that is to be made.
type Wanted struct {
	Name string
	// Metadata are as clients write them; keys that are not known are passed over.
	Metadata map[string]string
	// Limit is how many bytes it may hold; nil is for the default, which is everybody's but system administrators'.
	Limit *int64
	// Allowlist is nil for none.
	Allowlist *Allowlist
	// RegistryID is that of the registry elsewhere that it is to be a cache of, for good; nil for none.
	RegistryID *int64
}

// Create adds a project. Its creator, if a user, owns it and becomes its administrator. The error is a [*fault.Error]: Invalid for
// the name, metadata, limit, list or registry; Forbidden when only system administrators may create such projects; Conflict when the name is taken.
func (p *Projects) Create(ctx context.Context, actor event.Actor, creator identity.Principal, wanted Wanted) (metadata.Project, error) {
	if err := CheckName(wanted.Name); err != nil {
		return metadata.Project{}, err
	}
	public, values, err := normalise(wanted.Metadata)
	if err != nil {
		return metadata.Project{}, err
	}
	allowlist, err := wanted.Allowlist.row(0)
	if err != nil {
		return metadata.Project{}, err
	}
	limit, err := p.firstLimit(ctx, creator, wanted.Limit)
	if err != nil {
		return metadata.Project{}, err
	}
	row := metadata.Project{Name: wanted.Name, Public: public != nil && *public}
	if row.RegistryID, err = p.cached(ctx, creator, wanted.RegistryID); err != nil {
		return metadata.Project{}, err
	}
	if creator.Kind == identity.KindUser {
		row.OwnerID = creator.ID
	}
	err = p.options.Store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		created, err := tx.CreateProject(ctx, row)
		if err != nil {
			return err
		}
		row.ID = created.ID
		if limit != metadata.Unlimited {
			if err := tx.SetLimit(ctx, row.ID, limit); err != nil {
				return err
			}
		}
		if row.OwnerID != 0 {
			if _, err := tx.AddMember(ctx, metadata.Member{ProjectID: row.ID, UserID: row.OwnerID, RoleID: int(policy.ProjectAdmin)}); err != nil {
				return err
			}
		}
		if err := write(ctx, tx, row, values, allowlist); err != nil {
			return err
		}
		if row.RegistryID != 0 && p.options.CacheCreated != nil {
			if err := p.options.CacheCreated(ctx, tx, actor, row); err != nil {
				return err
			}
		}
		return appendEvent(ctx, tx, actor, event.ProjectCreated, wanted.Name, "")
	})
	if errors.Is(err, metadata.ErrExists) {
		return metadata.Project{}, fault.Because(err, fault.Conflict, "project %q already exists", wanted.Name)
	}
	if err != nil {
		return metadata.Project{}, fmt.Errorf("create project %q: %w", wanted.Name, err)
	}
	p.options.Changed(wanted.Name)
	return p.options.Store.Project(ctx, wanted.Name)
}

// cached returns the id of the registry elsewhere that a new project is a cache of, 0 for none.
func (p *Projects) cached(ctx context.Context, creator identity.Principal, wanted *int64) (int64, error) {
	if wanted == nil || *wanted == 0 {
		return 0, nil
	}
	if !creator.SystemAdmin {
		return 0, fault.New(fault.Forbidden, "only system administrators may create projects that are caches of registries elsewhere")
	}
	_, err := p.options.Store.RemoteRegistry(ctx, *wanted)
	if errors.Is(err, metadata.ErrNotFound) {
		return 0, fault.Because(err, fault.Invalid, "registry_id %d: there is no such registry", *wanted)
	}
	return *wanted, err
}

// firstLimit returns how much a new project may hold, unless its creator may not make one.
func (p *Projects) firstLimit(ctx context.Context, creator identity.Principal, wanted *int64) (int64, error) {
	values, err := p.options.Settings.Values(ctx)
	if err != nil {
		return 0, fault.Because(err, fault.Unavailable, "the settings cannot be read for the moment: try again")
	}
	if creator.Kind == identity.KindUser && !creator.SystemAdmin && values.Text(setting.ProjectCreationRestriction) == "adminonly" {
		return 0, fault.New(fault.Forbidden, "only system administrators may create projects")
	}
	if wanted == nil || !creator.SystemAdmin {
		return values.Number(setting.StoragePerProject), nil
	}
	return *wanted, quota.CheckLimit(*wanted)
}

// Edit is what is to change of a project.
type Edit struct {
	// Metadata are the keys to set; others stay.
	Metadata map[string]string
	// Allowlist is nil when it stays.
	Allowlist *Allowlist
	// RegistryID is nil, or what it is: what a project is a cache of stays.
	RegistryID *int64
}

// Update changes a project. The error is a [*fault.Error]: Invalid for metadata or list, NotFound when the project has gone.
func (p *Projects) Update(ctx context.Context, actor event.Actor, project metadata.Project, edit Edit) error {
	public, values, err := normalise(edit.Metadata)
	if err != nil {
		return err
	}
	if edit.RegistryID != nil && *edit.RegistryID != project.RegistryID {
		return fault.New(fault.Invalid, "registry_id: what a project is a cache of cannot be changed: create another project")
	}
	allowlist, err := edit.Allowlist.row(project.ID)
	if err != nil {
		return err
	}
	return p.change(ctx, project, func(ctx context.Context, tx *metadata.Tx, row metadata.Project) error {
		changed := slices.Sorted(maps.Keys(values))
		if public != nil {
			row.Public, changed = *public, append(changed, keyPublic)
		}
		if allowlist != nil {
			changed = append(changed, "cve_allowlist")
		}
		if _, err := tx.UpdateProject(ctx, row); err != nil {
			return err
		}
		if err := write(ctx, tx, row, values, allowlist); err != nil {
			return err
		}
		return appendEvent(ctx, tx, actor, event.ProjectUpdated, row.Name, strings.Join(changed, ","))
	})
}

// write keeps what belongs to a project.
func write(ctx context.Context, tx *metadata.Tx, project metadata.Project, values map[string]string, allowlist *metadata.CVEAllowlist) error {
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if err := tx.SetProjectMetadata(ctx, project.ID, name, values[name]); err != nil {
			return err
		}
	}
	if values[keyFilterPattern]+values[keyFilterKind] != "" {
		if err := checkFilter(ctx, tx, project); err != nil {
			return err
		}
	}
	if allowlist == nil {
		return nil
	}
	list := *allowlist
	list.ProjectID = project.ID
	return tx.SetAllowlist(ctx, list)
}

// Delete removes a project and what belongs to it. The error is a [*fault.Error]: Precondition when it has repositories, NotFound
// when it has gone.
func (p *Projects) Delete(ctx context.Context, actor event.Actor, project metadata.Project) error {
	err := p.change(ctx, project, func(ctx context.Context, tx *metadata.Tx, row metadata.Project) error {
		// The event comes first, while there is a project that it can be about.
		if err := appendEvent(ctx, tx, actor, event.ProjectDeleted, row.Name, ""); err != nil {
			return err
		}
		return tx.DeleteProject(ctx, row.ID)
	})
	if errors.Is(err, metadata.ErrReferenced) {
		return fault.Because(err, fault.Precondition, "project %q has repositories: delete them first", project.Name)
	}
	return err
}

// Deletable says why a project cannot be deleted, "" when it can.
func Deletable(project metadata.ProjectDetail) string {
	if project.RepositoryCount > 0 {
		return fmt.Sprintf("the project contains %d repositories: delete them first", project.RepositoryCount)
	}
	return ""
}

// Summary are the numbers of a project.
type Summary struct {
	Repositories int64
	// Members counts those of each role, users and groups alike.
	Members map[policy.Role]int64
	Quota   metadata.Quota
}

// Summary returns the numbers of a project.
func (p *Projects) Summary(ctx context.Context, project metadata.Project) (Summary, error) {
	details, err := p.options.Store.ProjectDetails(ctx, []metadata.Project{project}, 0)
	if err != nil {
		return Summary{}, err
	}
	counts, err := p.options.Store.MembersByRole(ctx, project.ID)
	if err != nil {
		return Summary{}, err
	}
	summary := Summary{Repositories: details[0].RepositoryCount, Members: map[policy.Role]int64{}}
	for role, count := range counts {
		summary.Members[policy.Role(role)] = count
	}
	summary.Quota, err = p.options.Store.Quota(ctx, project.ID)
	return summary, err
}

// change runs a transaction that has locked the project, and makes what it changes take effect at once.
func (p *Projects) change(ctx context.Context, project metadata.Project, act func(ctx context.Context, tx *metadata.Tx, row metadata.Project) error) error {
	err := p.options.Store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		row, err := tx.LockProject(ctx, project.ID)
		if errors.Is(err, metadata.ErrNotFound) {
			return fault.Because(err, fault.NotFound, "project %q not found", project.Name)
		}
		if err != nil {
			return err
		}
		return act(ctx, tx, row)
	})
	if err != nil {
		return fmt.Errorf("project %q: %w", project.Name, err)
	}
	p.options.Changed(project.Name)
	return nil
}

func appendEvent(ctx context.Context, tx *metadata.Tx, actor event.Actor, kind event.Kind, project, subject string) error {
	e := actor.Event(kind)
	e.Project, e.Subject = project, subject
	return tx.AppendEvent(ctx, e)
}
