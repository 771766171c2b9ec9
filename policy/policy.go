// Package policy decides who may do what: one function, deny by default.
package policy

import (
	"context"

	"github.com/berth-registry/berth/identity"
	"github.com/berth-registry/berth/metadata"
)

// Action is what somebody wants to do, as in Harbor's permission matrix.
type Action string

// The actions.
const (
	Pull    Action = "pull"
	Push    Action = "push"
	Create  Action = "create"
	Read    Action = "read"
	Update  Action = "update"
	Delete  Action = "delete"
	List    Action = "list"
	Search  Action = "search"
	Stop    Action = "stop"
	Operate Action = "operate"
)

// Resource is what it is to be done to.
type Resource struct {
	// Project is the name of the project, "" for the registry itself.
	Project string
	// Owner is the id of the user whose thing it is, 0 for nobody's; it counts outside of projects only.
	Owner int64
	// Kind is a resource of the matrix: "repository", "artifact", "tag", "member", …; or "catalog" of the registry itself.
	Kind string
}

// Repository is the resource of pull, push and delete within a project.
func Repository(project string) Resource { return Resource{Project: project, Kind: "repository"} }

// Decision is an answer and its reason, which is for logs and administrators, not for the caller.
type Decision struct {
	Allowed bool
	Reason  string
}

// Authorizer decides. An error means that it could not tell (the database is down), and is never an allowance.
type Authorizer interface {
	Authorize(ctx context.Context, principal identity.Principal, action Action, resource Resource) (Decision, error)
	// View returns the view of listings of those projects in which the principal may do the action on the kind of resource.
	View(ctx context.Context, principal identity.Principal, action Action, kind string) (metadata.Visibility, error)
}
