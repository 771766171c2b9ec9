package distribution

import (
	"context"
	"net/http"

	"github.com/berth-registry/berth/distribution/auth"
	"github.com/berth-registry/berth/identity"
	"github.com/berth-registry/berth/identity/token"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/policy"
)

// Need is what a request wants to do to one repository; an empty repository is the catalog of the registry.
type Need struct {
	Repository oci.Repository
	Action     policy.Action
}

// Access is what is known of a caller who was let in.
type Access struct {
	Principal identity.Principal
	// Credential says through what the principal was proven, as in package auth.
	Credential string
	// View tells what the caller may see in listings and mounts that name no repository.
	View func(ctx context.Context) (metadata.Visibility, error)
	// Granted says of each wish whether the caller may have it.
	Granted []bool
}

// Authorizer proves callers and decides what they may do; [Gate] returns the one for production.
type Authorizer interface {
	// Authorize proves the caller of r and lets them in when they may do all of the needs; without any it is enough that they are
	// proven, and a caller without credentials is refused. A wish is what the request could make use of: being denied it is no
	// error, but a token that was issued without asking for it is refused with a challenge that names needs and wishes, so that
	// the client asks. The error is an [*auth.Refusal], or another error when it could not tell, which is never an allowance; with it
	// comes who the caller is, where that was proven.
	Authorize(r *http.Request, needs, wishes []Need) (Access, error)
}

// Gate returns the authorizer that stands on package auth.
func Gate(gate *auth.Gate) Authorizer { return gated{gate} }

type gated struct{ gate *auth.Gate }

// Authorize reads the request's credentials and asks the gate for each need and wish.
func (g gated) Authorize(r *http.Request, needs, wishes []Need) (Access, error) {
	access, err := g.gate.Authenticate(r, scopes(needs, wishes)...)
	if err != nil {
		return Access{}, err
	}
	if len(needs) == 0 {
		err = access.RequireCredentials()
	}
	view := access.View
	for _, need := range needs {
		if err != nil {
			break
		}
		if need.Repository == "" {
			view = access.CatalogView
			err = access.RequireCatalog(r.Context())
		} else {
			err = access.Require(r.Context(), need.Action, need.Repository)
		}
	}
	granted := make([]bool, len(wishes))
	for i, wish := range wishes {
		if err != nil {
			break
		}
		granted[i], err = grants(r, access, wish)
	}
	proven := Access{Principal: access.Principal, Credential: access.Credential, View: view, Granted: granted}
	return proven, err
}

func grants(r *http.Request, access *auth.Access, wish Need) (bool, error) {
	verdict, err := access.Permits(r.Context(), wish.Action, wish.Repository)
	if err == nil && verdict == auth.NeedsScope {
		err = access.Require(r.Context(), wish.Action, wish.Repository)
	}
	return err == nil && verdict == auth.Allowed, err
}

// scopes are what a token must have been asked for.
func scopes(lists ...[]Need) []token.Scope {
	var scopes []token.Scope
	for _, list := range lists {
		for _, need := range list {
			if need.Repository == "" {
				scopes = append(scopes, token.Scope{Type: token.TypeRegistry, Name: token.Catalog, Actions: []string{token.ActionAll}})
			} else {
				scopes = append(scopes, auth.Scope(need.Action, need.Repository))
			}
		}
	}
	return scopes
}
