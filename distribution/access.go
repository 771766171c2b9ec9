package distribution

import (
	"net/http"

	"github.com/berth-registry/berth/identity"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/policy"
)

// Need is what a request wants to do to one repository; an empty repository is the catalog of the registry.
type Need struct {
	Repository oci.Repository
	Actions    []policy.Action
}

// Access is what is known of a caller who was let in.
type Access struct {
	Principal identity.Principal
	// Credential says through what the principal was proven: "basic", "token", or "" for nothing.
	Credential string
	// View is what the caller may see in listings and mounts that name no repository.
	View metadata.Visibility
	// Granted says of each wish whether the caller may have it.
	Granted []bool
}

// Authorizer proves callers and decides what they may do (package distribution/auth).
type Authorizer interface {
	// Authorize proves the caller of r and lets them in when they may do all of the needs; without any it is enough that they are
	// proven, and a caller without credentials is refused. A wish is what the request could make use of: being denied it is no
	// error, but a token that was issued without asking for it is refused with a challenge that names needs and wishes, so that
	// the client asks. The error is a [*Refusal], or another error when it could not tell, which is never an allowance.
	Authorize(r *http.Request, needs, wishes []Need) (Access, error)
}

// Refusal is why a caller is not let in.
type Refusal struct {
	Err *oci.Error
	// Challenge is the value of WWW-Authenticate; it is sent with status 401.
	Challenge string
}

// Error returns the text of the refusal.
func (r *Refusal) Error() string { return r.Err.Error() }

// Unwrap returns what the client is told.
func (r *Refusal) Unwrap() error { return r.Err }
