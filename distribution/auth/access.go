package auth

import (
	"context"

	"github.com/berth-registry/berth/identity"
	"github.com/berth-registry/berth/identity/token"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/policy"
)

// Access is an authenticated request, which may be nobody's.
type Access struct {
	Principal identity.Principal
	// Credential is "token", "basic" or "anonymous".
	Credential string

	gate      *Gate
	claims    *token.Claims // nil without a token
	challenge token.Challenge
}

// Verdict is the answer to whether a request may do something.
type Verdict int

// The verdicts.
const (
	// Refused: the caller may not, and another token of theirs would not help.
	Refused Verdict = iota
	// NeedsScope: there is no token, or it was not made for this: the caller has to get one.
	NeedsScope
	// Allowed: the caller may.
	Allowed
)

// Scope is what a client has to ask for to do the action: pushing includes pulling, since clients look before they push.
func Scope(action policy.Action, repository oci.Repository) token.Scope {
	switch action {
	case policy.Push:
		return token.RepositoryScope(repository.String(), token.ActionPull, token.ActionPush)
	case policy.Delete:
		return token.RepositoryScope(repository.String(), token.ActionPull, token.ActionDelete)
	}
	return token.RepositoryScope(repository.String(), token.ActionPull)
}

// Permits tells whether the caller may pull, push or delete. A token must grant it and policy must still allow it; a name and
// password has what policy allows. Without either a token is needed, even for a public repository: clients learn from the
// challenge that there are tokens at all. The error is a [*Refusal] when policy cannot tell.
func (a *Access) Permits(ctx context.Context, action policy.Action, repository oci.Repository) (Verdict, error) {
	if a.Credential == CredentialAnonymous {
		return NeedsScope, nil
	}
	granted := true
	if a.claims != nil {
		var asked bool
		granted, asked = a.claims.Grants(token.TypeRepository, repository.String(), string(action))
		if !asked {
			return NeedsScope, nil
		}
	}
	decision, err := a.gate.options.Policy.Authorize(ctx, a.Principal, action, policy.Repository(repository.Project()))
	switch {
	case err != nil:
		return Refused, unavailable(err)
	case !decision.Allowed:
		return Refused, nil
	case !granted:
		return NeedsScope, nil // refused when the token was made, allowed since
	}
	return Allowed, nil
}

// Require returns nil when the caller may do the action, else a [*Refusal]:
//   - 401 with a challenge when a token has to be got first, or nobody has logged in;
//   - 404 NAME_UNKNOWN for pulling what the caller may not see, which is the answer for what does not exist;
//   - 403 DENIED for pushing and deleting, whether or not the repository exists;
//   - 503 when policy cannot tell.
func (a *Access) Require(ctx context.Context, action policy.Action, repository oci.Repository) error {
	verdict, err := a.Permits(ctx, action, repository)
	switch {
	case err != nil:
		return err
	case verdict == Allowed:
		return nil
	case verdict == NeedsScope:
		return a.needsScope()
	case a.Principal.Kind == identity.KindAnonymous:
		return a.unauthorized("", "authentication required")
	case action == policy.Pull:
		return &Refusal{Err: UnknownRepository(repository)}
	}
	return &Refusal{Err: oci.NewError(oci.CodeDenied, "%s may not %s %s", a.Principal.Name, action, repository)}
}

// UnknownRepository is the one answer for a repository that does not exist and for one that the caller may not see.
func UnknownRepository(repository oci.Repository) *oci.Error {
	return oci.NewError(oci.CodeNameUnknown, "repository %q does not exist", repository)
}

// RequireCredentials returns nil for any proven caller and any token, else a 401 [*Refusal]: the answer to "GET /v2/", by which
// clients find out where tokens are and whether their password is right.
func (a *Access) RequireCredentials() error {
	if a.Credential == CredentialAnonymous {
		return a.needsScope()
	}
	return nil
}

// RequireCatalog returns nil when the caller may list repositories, of which they are shown what they may see; else a
// [*Refusal].
func (a *Access) RequireCatalog(ctx context.Context) error {
	if a.Credential == CredentialAnonymous {
		return a.needsScope()
	}
	if a.claims != nil {
		if granted, _ := a.claims.Grants(token.TypeRegistry, token.Catalog, token.ActionAll); !granted {
			return a.needsScope()
		}
	}
	decision, err := a.gate.options.Policy.Authorize(ctx, a.Principal, policy.List, policy.Catalog)
	if err != nil {
		return unavailable(err)
	}
	if !decision.Allowed {
		return &Refusal{Err: oci.NewError(oci.CodeDenied, "%s may not list repositories", a.Principal.Name)}
	}
	return nil
}

// View is the caller's view of listings: the projects in which they may pull. The error is a [*Refusal] when policy cannot tell.
func (a *Access) View(ctx context.Context) (metadata.Visibility, error) {
	view, err := a.gate.options.Policy.View(ctx, a.Principal, policy.Pull, policy.Repository("").Kind)
	if err != nil {
		return metadata.Visibility{}, unavailable(err)
	}
	return view, nil
}

// CatalogView is the caller's view of the list of repositories: what they may pull, or everything for robots that may read the
// catalog. It is not for mounts. The error is a [*Refusal] when policy cannot tell.
func (a *Access) CatalogView(ctx context.Context) (metadata.Visibility, error) {
	decision, err := a.gate.options.Policy.Authorize(ctx, a.Principal, policy.Read, policy.Catalog)
	switch {
	case err != nil:
		return metadata.Visibility{}, unavailable(err)
	case decision.Allowed:
		return metadata.Visibility{All: true}, nil
	}
	return a.View(ctx)
}

// needsScope sends the client to the token service. What is wrong is said only to who has shown a token: containerd gives up
// when it is told the same twice.
func (a *Access) needsScope() *Refusal {
	if a.claims == nil {
		return a.unauthorized("", "authentication required")
	}
	return a.unauthorized(token.ErrorInsufficientScope, "the token was not made for this: "+a.challenge.Scope)
}

func (a *Access) unauthorized(reason, message string) *Refusal {
	challenge := a.challenge
	challenge.Error = reason
	return &Refusal{Err: oci.NewError(oci.CodeUnauthorized, "%s", message), Challenge: challenge.String()}
}
