package policy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/berth-registry/berth/identity"
	"github.com/berth-registry/berth/identity/fresh"
	"github.com/berth-registry/berth/metadata"
)

// How old what is known of a membership may be: a revoked member is refused within MembershipStaleness on every gateway, and
// at once on the one that revoked it; while the database does not answer, within MembershipOutage. A membership or project
// that was not there is asked for again after AbsenceStaleness, because people use what they have just made.
const (
	MembershipStaleness = 5 * time.Second
	MembershipOutage    = time.Minute
	AbsenceStaleness    = time.Second
)

// rememberedMemberships is how many (user, project) pairs are kept; about 200 bytes each.
const rememberedMemberships = 65536

// Catalog is the list of repositories, of the registry itself.
var Catalog = Resource{Kind: "catalog"}

// Memberships tells roles; [metadata.Store] does.
type Memberships interface {
	// Roles returns the user's roles in the project, directly and through groups, and whether the project is public. The error
	// wraps [metadata.ErrNotFound] when there is no such project. The user id 0 is nobody's.
	Roles(ctx context.Context, userID int64, project string) (roles []int, public bool, err error)
}

// Options set an [RBAC] up.
type Options struct {
	Memberships Memberships
	Accounts    *identity.Accounts
	// ExtraPolicies are the operator's own rows; see [ParseRows].
	ExtraPolicies [][]string
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// RBAC is the [Authorizer]: Harbor's roles and matrix, with an operator's own rows. It is safe for concurrent use.
type RBAC struct {
	accounts *identity.Accounts
	matrix   *matrix
	members  *fresh.Memory[membershipKey, membership]
}

type membershipKey struct {
	userID  int64
	project string
}

type membership struct {
	exists bool // the project
	role   Role
	public bool
}

// New returns the authorizer. It returns an error that names the row when an extra policy is malformed.
func New(options Options) (*RBAC, error) {
	m, err := newMatrix(options.ExtraPolicies)
	if err != nil {
		return nil, err
	}
	source := func(ctx context.Context, key membershipKey) (membership, time.Duration, error) {
		roles, public, err := options.Memberships.Roles(ctx, key.userID, key.project)
		if errors.Is(err, metadata.ErrNotFound) {
			return membership{}, AbsenceStaleness, nil
		}
		if err != nil {
			return membership{}, 0, fmt.Errorf("read roles of user %d in project %q: %w", key.userID, key.project, err)
		}
		believe, role := MembershipStaleness, Strongest(roles)
		if role == 0 {
			believe = AbsenceStaleness
		}
		return membership{exists: true, role: role, public: public}, believe, nil
	}
	return &RBAC{
		accounts: options.Accounts,
		matrix:   m,
		members:  fresh.New(source, fresh.Options{Size: rememberedMemberships, Stale: MembershipOutage, Now: options.Now}),
	}, nil
}

// Authorize decides; see [Authorizer]. What a principal was when its token was made does not count: its account, its system
// administration and its role are those of now, as old as [identity.AccountStaleness] and [MembershipStaleness] allow.
func (a *RBAC) Authorize(ctx context.Context, principal identity.Principal, action Action, resource Resource) (Decision, error) {
	principal, err := a.accounts.Check(ctx, principal)
	switch {
	case errors.Is(err, identity.ErrVoid):
		return Decision{Reason: "account deleted, disabled or expired, or its secret changed"}, nil
	case err != nil:
		return Decision{}, err
	}
	if limits := principal.Limits; limits != nil {
		if limits.Allow(resource.Project, resource.Kind, string(action)) {
			principal.SystemAdmin = limits.SystemAdmin
		} else {
			principal = identity.Anonymous // what everybody may needs no token
		}
	}
	switch {
	case principal.SystemAdmin:
		return Decision{Allowed: true, Reason: "system administrator"}, nil
	case principal.Permissions != nil && principal.Permissions.Allow(resource.Project, resource.Kind, string(action)):
		return Decision{Allowed: true, Reason: "permission of the robot"}, nil
	case resource.Project == "":
		return a.askSystem(principal, action, resource)
	}
	member, err := a.members.Get(ctx, membershipKey{principal.UserID(), resource.Project})
	if err != nil {
		return Decision{}, err
	}
	if !member.exists {
		return Decision{Reason: "no such project"}, nil
	}
	return a.ask(principal, member, action, resource)
}

// askSystem puts the question about the registry itself for each subject that the principal is.
func (a *RBAC) askSystem(principal identity.Principal, action Action, resource Resource) (Decision, error) {
	subjects := []string{anyone}
	if principal.Kind == identity.KindUser {
		subjects = append(subjects, authenticated)
		if resource.Owner == principal.ID {
			subjects = append(subjects, owner)
		}
	}
	for _, subject := range subjects {
		if allowed, err := a.matrix.allows(subject, action, resource); allowed || err != nil {
			return Decision{Allowed: allowed, Reason: subject}, err
		}
	}
	return Decision{Reason: "only system administrators may do this to the registry itself"}, nil
}

// ask puts the question for each subject that the principal is.
func (a *RBAC) ask(principal identity.Principal, member membership, action Action, resource Resource) (Decision, error) {
	if subject := member.role.subject(); subject != "" {
		if allowed, err := a.matrix.allows(subject, action, resource); allowed || err != nil {
			return Decision{Allowed: allowed, Reason: subject}, err
		}
	}
	if member.public {
		if allowed, err := a.matrix.allows(anyone, action, resource); allowed || err != nil {
			return Decision{Allowed: allowed, Reason: "public project"}, err
		}
	}
	if principal.Kind == identity.KindUser && a.matrix.users[principal.Name] {
		if allowed, err := a.matrix.allows("user:"+principal.Name, action, resource); allowed || err != nil {
			return Decision{Allowed: allowed, Reason: "policy row of the user"}, err
		}
	}
	if member.role == 0 {
		return Decision{Reason: "not a member"}, nil
	}
	return Decision{Reason: "not allowed to " + member.role.subject()}, nil
}

// anyProject stands for a project that no row names; no project can be called that.
const anyProject = "*"

// View returns the view of listings; see [Authorizer]. Every role may read and pull, so that membership is enough for these.
func (a *RBAC) View(ctx context.Context, principal identity.Principal, action Action, kind string) (metadata.Visibility, error) {
	principal, err := a.accounts.Check(ctx, principal)
	if errors.Is(err, identity.ErrVoid) {
		return metadata.Visibility{}, nil
	}
	if err != nil {
		return metadata.Visibility{}, err
	}
	switch {
	case principal.SystemAdmin:
		return metadata.Visibility{All: true}, nil
	case principal.Permissions != nil:
		names, everywhere := principal.Permissions.Projects(kind, string(action))
		return metadata.Visibility{All: everywhere, Projects: names}, nil
	case principal.Limits != nil:
		return a.limitedView(ctx, principal, action, kind)
	}
	return a.viewOfUser(ctx, principal, action, kind)
}

// limitedView asks for each of the projects that an access token names; one that names none leaves what its user sees, or nothing.
func (a *RBAC) limitedView(ctx context.Context, principal identity.Principal, action Action, kind string) (metadata.Visibility, error) {
	limits := *principal.Limits
	if len(limits.Projects) == 0 {
		if !limits.Allow(anyProject, kind, string(action)) {
			return metadata.Visibility{}, nil
		}
		if limits.SystemAdmin {
			return metadata.Visibility{All: true}, nil
		}
		return a.viewOfUser(ctx, principal, action, kind)
	}
	return a.among(ctx, metadata.Visibility{}, limits.Projects, principal, action, kind)
}

// viewOfUser is what the user is a member of, and what the operator's rows add to that.
func (a *RBAC) viewOfUser(ctx context.Context, principal identity.Principal, action Action, kind string) (metadata.Visibility, error) {
	view := metadata.Visibility{UserID: principal.UserID()}
	if principal.Kind != identity.KindUser || !a.matrix.users[principal.Name] {
		return view, nil
	}
	everywhere, err := a.matrix.allows("user:"+principal.Name, action, Resource{Project: anyProject, Kind: kind})
	if err != nil || everywhere {
		return metadata.Visibility{All: everywhere}, err
	}
	return a.among(ctx, view, slices.Sorted(maps.Keys(a.matrix.domains)), principal, action, kind)
}

// among adds those of the projects to a view in which the principal may.
func (a *RBAC) among(ctx context.Context, view metadata.Visibility, projects []string, principal identity.Principal, action Action, kind string) (metadata.Visibility, error) {
	for _, project := range projects {
		decision, err := a.Authorize(ctx, principal, action, Resource{Project: project, Kind: kind})
		if err != nil {
			return metadata.Visibility{}, err
		}
		if decision.Allowed {
			view.Projects = append(view.Projects, project)
		}
	}
	return view, nil
}

// Invalidate makes a change to a project or its members take effect at once in this process. What is known of other projects
// is asked for again too: such changes are rare, and the answers are at most five seconds old anyhow.
func (a *RBAC) Invalidate(string) { a.members.Forget() }

var _ Authorizer = (*RBAC)(nil)
