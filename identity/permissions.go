package identity

import (
	"slices"

	"github.com/berth-registry/berth/metadata"
)

// The namespaces of permissions that are not for one project.
const (
	// NamespaceSystem is the registry itself, NamespaceAll every project there is or will be.
	NamespaceSystem = "/"
	NamespaceAll    = "*"
)

// Permission is one thing that a robot may do.
type Permission struct {
	// Namespace is a project's name, [NamespaceAll] or [NamespaceSystem].
	Namespace string
	// Resource and Action are words of the permission matrix.
	Resource string
	Action   string
}

// Permissions are what a robot may do. They do not change.
type Permissions struct {
	held map[Permission]struct{}
	// projects are the namespaces that are projects, in their order.
	projects []string
}

// NewPermissions returns the permissions of a list.
func NewPermissions(list []Permission) *Permissions {
	p := &Permissions{held: make(map[Permission]struct{}, len(list))}
	for _, permission := range list {
		p.held[permission] = struct{}{}
		if permission.Namespace != NamespaceSystem && permission.Namespace != NamespaceAll {
			p.projects = append(p.projects, permission.Namespace)
		}
	}
	slices.Sort(p.projects)
	p.projects = slices.Compact(p.projects)
	return p
}

// PermissionsOf returns what a robot may do. One of a project may do nothing outside of that, whatever is stored, and who may push
// there may pull.
func PermissionsOf(robot metadata.Robot) *Permissions {
	list := make([]Permission, 0, len(robot.Permissions)+1)
	for _, p := range robot.Permissions {
		if robot.ProjectID != 0 && p.ProjectID != robot.ProjectID {
			continue
		}
		list = append(list, Permission{p.Namespace, p.Resource, p.Action})
		if robot.ProjectID != 0 && p.Resource == "repository" && p.Action == "push" {
			list = append(list, Permission{p.Namespace, p.Resource, "pull"})
		}
	}
	return NewPermissions(list)
}

// Allow reports whether the action is among the permissions; the project "" is the registry itself.
func (p *Permissions) Allow(project, resource, action string) bool {
	if project == "" {
		return p.Has(Permission{NamespaceSystem, resource, action})
	}
	return p.Has(Permission{project, resource, action}) || p.Has(Permission{NamespaceAll, resource, action})
}

// Has reports whether exactly this permission is held.
func (p *Permissions) Has(permission Permission) bool {
	_, held := p.held[permission]
	return held
}

// Includes reports whether nothing can be done with the permission that cannot be done with these.
func (p *Permissions) Includes(permission Permission) bool {
	return p.Has(permission) ||
		permission.Namespace != NamespaceSystem && p.Has(Permission{NamespaceAll, permission.Resource, permission.Action})
}

// Projects returns the names of the projects in which the action may be done, or that it may be done in all.
func (p *Permissions) Projects(resource, action string) (names []string, everywhere bool) {
	if p.Has(Permission{NamespaceAll, resource, action}) {
		return nil, true
	}
	for _, project := range p.projects {
		if p.Has(Permission{project, resource, action}) {
			names = append(names, project)
		}
	}
	return names, false
}

// TokenScope is what an access token is good for.
type TokenScope string

// The scopes of access tokens.
const (
	ScopePull   TokenScope = "pull"
	ScopePush   TokenScope = "push"
	ScopeDelete TokenScope = "delete"
	// ScopeRead and ScopeWrite are about the management API; writing includes reading.
	ScopeRead  TokenScope = "read"
	ScopeWrite TokenScope = "write"
	// ScopeAll is everything that the user may, passwords and tokens included.
	ScopeAll TokenScope = "all"
)

// TokenScopes are all scopes.
var TokenScopes = []TokenScope{ScopePull, ScopePush, ScopeDelete, ScopeRead, ScopeWrite, ScopeAll}

// The resources of the matrix that stand for credentials: what makes or changes one is in no scope but [ScopeAll].
var credentialResources = []string{"user", "access-token", "robot"}

// covers reports whether the scope has the action in it.
func (s TokenScope) covers(resource, action string) bool {
	reads := action == "read" || action == "list" || action == "search"
	switch s {
	case ScopePull:
		return resource == "repository" && action == "pull"
	case ScopePush:
		return resource == "repository" && (action == "pull" || action == "push")
	case ScopeDelete:
		return action == "delete" && (resource == "repository" || resource == "artifact" || resource == "tag")
	case ScopeRead:
		return reads
	case ScopeWrite:
		return reads || action != "pull" && action != "push" && !slices.Contains(credentialResources, resource)
	case ScopeAll:
		return true
	}
	return false
}

// Limits are what an access token leaves of what its user may do. They do not change.
type Limits struct {
	Scopes []TokenScope
	// Projects are the names of those that the token is good in; none means all of them, and the registry itself.
	Projects []string
	// SystemAdmin tells that the user is a system administrator, within the limits.
	SystemAdmin bool
}

// limitsOf returns the limits of an access token, nil for none.
func limitsOf(token metadata.AccessToken) *Limits {
	if slices.Contains(token.Scopes, string(ScopeAll)) && len(token.Projects) == 0 {
		return nil
	}
	limits := &Limits{Projects: token.Projects}
	for _, scope := range token.Scopes {
		limits.Scopes = append(limits.Scopes, TokenScope(scope))
	}
	return limits
}

// Allow reports whether the limits leave the action; the project "" is the registry itself.
func (l *Limits) Allow(project, resource, action string) bool {
	return (len(l.Projects) == 0 || slices.Contains(l.Projects, project)) &&
		slices.ContainsFunc(l.Scopes, func(scope TokenScope) bool { return scope.covers(resource, action) })
}
