package auth

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/berth-registry/berth/identity"
	"github.com/berth-registry/berth/identity/token"
	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/policy"
)

// The outcomes of token requests.
const (
	OutcomeIssued      = "issued"
	OutcomeRefreshed   = "refreshed"
	OutcomeAnonymous   = "anonymous"
	OutcomeRefused     = "refused"
	OutcomeThrottled   = "throttled"
	OutcomeMalformed   = "malformed"
	OutcomeUnavailable = "unavailable"
)

// ServeToken answers at [TokenPath]: GET with a name and password or nobody's, and the form of OAuth 2 that registries use
// (grant types password and refresh_token). Right credentials always get a token; what they may not do is in it as refused.
func (g *Gate) ServeToken(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	header.Set("Pragma", "no-cache")
	request, err := parseTokenRequest(w, r)
	if err != nil {
		g.refuse(w, r, err)
		return
	}
	principal, credential, err := g.prove(r, request)
	if err != nil {
		g.refuse(w, r, err)
		return
	}
	g.proven(r, principal)
	answer, err := g.answer(r.Context(), request, principal, credential)
	if err != nil {
		g.refuse(w, r, unavailable(err))
		return
	}
	switch credential {
	case CredentialAnonymous:
		g.options.Observe(OutcomeAnonymous)
	case CredentialRefresh:
		g.options.Observe(OutcomeRefreshed)
	default:
		g.options.Observe(OutcomeIssued)
	}
	writeJSON(w, http.StatusOK, answer)
}

// ServeKeys answers at [KeysPath] with the public keys that tokens are verified with, as a JSON Web Key Set (RFC 7517).
func (g *Gate) ServeKeys(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		methodNotAllowed(r).Write(w)
		return
	}
	w.Header().Set("Cache-Control", "public, max-age=300")
	writeJSON(w, http.StatusOK, g.options.Tokens.Ring().PublicKeys())
}

// tokenResponse is the answer of the token service; docker reads token, others access_token.
type tokenResponse struct {
	Token        string `json:"token"`
	AccessToken  string `json:"access_token"`
	ExpiresIn    int    `json:"expires_in"`
	IssuedAt     string `json:"issued_at"`
	Scope        string `json:"scope,omitempty"`
	RefreshToken string `json:"refresh_token,omitempty"`
}

// prove says who asks. The error is a [*Refusal].
func (g *Gate) prove(r *http.Request, request tokenRequest) (identity.Principal, string, error) {
	ctx := r.Context()
	switch {
	case request.refreshToken != "":
		principal, err := g.refresh(ctx, request.refreshToken)
		return principal, CredentialRefresh, err
	case request.idToken != "":
		principal, err := g.idToken(ctx, request.idToken)
		return principal, CredentialIDToken, err
	case request.anonymous:
		if !request.scoped {
			return identity.Principal{}, "", loginRefused("authentication required")
		}
		return identity.Anonymous, CredentialAnonymous, nil
	}
	principal, err := g.options.Login.Authenticate(ctx, identity.Credentials{
		Name: request.name, Secret: request.password, Address: g.options.Address(r),
	})
	if errors.Is(err, identity.ErrCredentials) || errors.Is(err, identity.ErrUnknown) {
		return identity.Principal{}, "", loginRefused(identity.ErrCredentials.Error())
	}
	if err != nil {
		return identity.Principal{}, "", loginFailure(err)
	}
	return principal, CredentialBasic, nil
}

func (g *Gate) idToken(ctx context.Context, idToken string) (identity.Principal, error) {
	refused := loginRefused("the token service takes a name and password, or an ID token of a provider whose people may log in here")
	if g.options.IDTokens == nil {
		return identity.Principal{}, refused
	}
	principal, err := g.options.IDTokens.AuthenticateToken(ctx, idToken)
	if errors.Is(err, identity.ErrCredentials) || errors.Is(err, identity.ErrUnknown) {
		return identity.Principal{}, refused
	}
	if err != nil {
		return identity.Principal{}, loginFailure(err)
	}
	return principal, nil
}

func (g *Gate) refresh(ctx context.Context, refreshToken string) (identity.Principal, error) {
	claims, err := g.options.Tokens.VerifyRefresh(ctx, refreshToken)
	if errors.Is(err, token.ErrInvalid) {
		return identity.Principal{}, loginRefused("refresh token: " + err.Error())
	}
	if err != nil {
		return identity.Principal{}, unavailable(err)
	}
	principal, err := g.options.Accounts.Check(ctx, claims.Principal())
	if errors.Is(err, identity.ErrVoid) || err == nil && principal.Kind != identity.KindUser {
		return identity.Principal{}, loginRefused("refresh token: the account was disabled or its password changed: log in again")
	}
	if err != nil {
		return identity.Principal{}, unavailable(err)
	}
	return principal, nil
}

func (g *Gate) answer(ctx context.Context, request tokenRequest, principal identity.Principal, credential string) (tokenResponse, error) {
	grants, granted, err := g.reduce(ctx, principal, request.scopes)
	if err != nil {
		return tokenResponse{}, err
	}
	signed, claims, err := g.options.Tokens.Issue(ctx, principal, credential, grants)
	if err != nil {
		return tokenResponse{}, err
	}
	answer := tokenResponse{
		Token: signed, AccessToken: signed, ExpiresIn: int(claims.Expires - claims.IssuedAt),
		IssuedAt: time.Unix(claims.IssuedAt, 0).UTC().Format(time.RFC3339),
	}
	if request.form {
		answer.Scope = token.FormatScopes(granted)
	}
	// An ID token is good for minutes; what is made of it must not last for weeks.
	if request.offline && principal.Kind == identity.KindUser && credential != CredentialIDToken {
		answer.RefreshToken, err = g.options.Tokens.IssueRefresh(ctx, principal)
	}
	return answer, err
}

// reduce returns what of the scopes the principal may do, each with what was refused; granted are the scopes without that.
func (g *Gate) reduce(ctx context.Context, principal identity.Principal, scopes []token.Scope) (grants []token.Grant, granted []token.Scope, err error) {
	for _, scope := range scopes {
		grant := token.Grant{Type: scope.Type, Name: scope.Name, Actions: []string{}}
		for _, action := range wanted(scope) {
			allowed, err := g.allows(ctx, principal, scope, action)
			if err != nil {
				return nil, nil, err
			}
			if allowed {
				grant.Actions = append(grant.Actions, action)
			} else {
				grant.Denied = append(grant.Denied, action)
			}
		}
		grants = append(grants, grant)
		if len(grant.Actions) > 0 {
			granted = append(granted, token.Scope{Type: scope.Type, Name: scope.Name, Actions: grant.Actions})
		}
	}
	return grants, granted, nil
}

// wanted spells out "*" on a repository.
func wanted(scope token.Scope) []string {
	if scope.Type != token.TypeRepository {
		return []string{token.ActionAll}
	}
	if slices.Contains(scope.Actions, token.ActionAll) {
		return []string{token.ActionPull, token.ActionPush, token.ActionDelete}
	}
	return scope.Actions
}

func (g *Gate) allows(ctx context.Context, principal identity.Principal, scope token.Scope, action string) (bool, error) {
	resource, act := policy.Catalog, policy.List
	if scope.Type == token.TypeRepository {
		repository, err := oci.ParseRepository(scope.Name)
		if err != nil {
			return false, nil //nolint:nilerr // no such name can exist, so nobody may do anything to it
		}
		resource, act = policy.Repository(repository.Project()), policy.Action(action)
	}
	decision, err := g.options.Policy.Authorize(ctx, principal, act, resource)
	return decision.Allowed, err
}

// loginRefused is a 401 of the token service itself, where there is no other place to send the client to.
func loginRefused(message string) *Refusal {
	return &Refusal{Err: oci.NewError(oci.CodeUnauthorized, "%s", message), Challenge: token.Challenge{Scheme: "Basic", Realm: "berth"}.String()}
}

func (g *Gate) refuse(w http.ResponseWriter, r *http.Request, err error) {
	refusal, ok := errors.AsType[*Refusal](err)
	if !ok {
		refusal = unavailable(err)
	}
	switch refusal.Err.Code {
	case oci.CodeUnauthorized:
		g.options.Observe(OutcomeRefused)
	case oci.CodeTooManyRequests:
		g.options.Observe(OutcomeThrottled)
	case oci.CodeUnavailable:
		g.options.Observe(OutcomeUnavailable)
		if r.Context().Err() == nil {
			g.options.Logger.ErrorContext(r.Context(), "token service unavailable", "error", refusal.Err.Err)
		}
	default:
		g.options.Observe(OutcomeMalformed)
	}
	refusal.Write(w)
}
