// Package auth stands at the door of /v2 and at the token service beside it: it reads credentials from requests, asks identity
// who that is and policy what they may, and says no in the way that clients understand.
package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/berth-registry/berth/identity"
	"github.com/berth-registry/berth/identity/token"
	"github.com/berth-registry/berth/policy"
)

// Where the token service and its public keys are.
const (
	TokenPath = "/service/token"
	KeysPath  = "/service/token/keys"
)

// Through what a caller was proven.
const (
	CredentialToken     = "token"
	CredentialBasic     = "basic"
	CredentialRefresh   = "refresh"
	CredentialIDToken   = "id_token"
	CredentialAnonymous = "anonymous"
)

// Options set a [Gate] up.
type Options struct {
	// Login proves names and passwords; it throttles and remembers, see [identity.Login].
	Login identity.Source
	// IDTokens proves people by the tokens of a provider; nil knows nobody.
	IDTokens identity.TokenSource
	Accounts *identity.Accounts
	Tokens   *token.Tokens
	Policy   policy.Authorizer
	// ExternalURL is where clients reach the registry, as "https://registry.example.com"; empty takes each request's own
	// scheme and host.
	ExternalURL string
	// Service is the registry's name in challenges; empty takes the host of the external URL.
	Service string
	// Scheme returns the scheme that the client used; nil believes only the connection. A function that knows the trusted
	// proxies can do better.
	Scheme func(r *http.Request) string
	// Address returns the client's address, for throttling; nil takes the connection's.
	Address func(r *http.Request) string
	// Proven is told, once a request, whose credentials held; never of the anonymous principal. Nil tells nobody.
	Proven func(r *http.Request, principal identity.Principal)
	// Observe is told the outcome of every token request, one of the Outcome constants; nil tells nobody.
	Observe func(outcome string)
	Logger  *slog.Logger
}

// Gate authenticates requests and serves tokens. It is safe for concurrent use.
type Gate struct {
	options Options
}

// New returns a gate. It returns an error when the external URL is not an absolute http or https URL.
func New(options Options) (*Gate, error) {
	if options.ExternalURL != "" {
		parsed, err := url.Parse(options.ExternalURL)
		if err != nil {
			return nil, fmt.Errorf("external URL: %w", err)
		}
		if parsed.Scheme != "https" && parsed.Scheme != "http" || parsed.Host == "" || parsed.RawQuery != "" || parsed.Fragment != "" || parsed.User != nil {
			return nil, fmt.Errorf("external URL %q is not of the form https://registry.example.com", options.ExternalURL)
		}
		options.ExternalURL = strings.TrimRight(options.ExternalURL, "/")
		if options.Service == "" {
			options.Service = parsed.Host
		}
	}
	if options.Scheme == nil {
		options.Scheme = connectionScheme
	}
	if options.Address == nil {
		options.Address = connectionAddress
	}
	if options.Proven == nil {
		options.Proven = func(*http.Request, identity.Principal) {}
	}
	if options.Observe == nil {
		options.Observe = func(string) {}
	}
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	return &Gate{options: options}, nil
}

func connectionScheme(r *http.Request) string {
	if r.TLS != nil {
		return "https"
	}
	return "http"
}

func connectionAddress(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// challenge returns what sends a client to the token service for the scopes.
func (g *Gate) challenge(r *http.Request, scopes []token.Scope) token.Challenge {
	base, service := g.options.ExternalURL, g.options.Service
	if base == "" {
		base = g.options.Scheme(r) + "://" + r.Host
	}
	if service == "" {
		service = r.Host
	}
	return token.Challenge{Scheme: "Bearer", Realm: base + TokenPath, Service: service, Scope: token.FormatScopes(scopes)}
}

// Authenticate reads the request's credentials: a Bearer access token, a name and password, or none, which is an [Access] too.
// The scopes are what the request is going to need; they go into any challenge. The error is a [*Refusal]: 401 for credentials
// that do not hold, 429 after too many wrong ones, 503 when nobody can tell.
func (g *Gate) Authenticate(r *http.Request, scopes ...token.Scope) (*Access, error) {
	access := &Access{
		Principal: identity.Anonymous, Credential: CredentialAnonymous, gate: g, challenge: g.challenge(r, scopes),
	}
	offered, err := identity.ParseAuthorization(r.Header.Values("Authorization"))
	switch {
	case err != nil:
		return nil, access.unauthorized("", err.Error())
	case offered.Bearer != "":
		err = g.bearer(r.Context(), access, offered.Bearer)
	case offered.Basic:
		err = g.basic(r, access, offered)
	}
	if err != nil {
		return nil, err
	}
	g.proven(r, access.Principal)
	return access, nil
}

func (g *Gate) proven(r *http.Request, principal identity.Principal) {
	if principal.Kind != identity.KindAnonymous {
		g.options.Proven(r, principal)
	}
}

func (g *Gate) bearer(ctx context.Context, access *Access, bearer string) error {
	claims, err := g.options.Tokens.Verify(ctx, bearer)
	if errors.Is(err, token.ErrInvalid) {
		return access.unauthorized(token.ErrorInvalidToken, err.Error())
	}
	if err != nil {
		return unavailable(err)
	}
	principal, err := g.options.Accounts.Check(ctx, claims.Principal())
	if errors.Is(err, identity.ErrVoid) {
		return access.unauthorized(token.ErrorInvalidToken, "invalid token: the account was disabled or its password changed")
	}
	if err != nil {
		return unavailable(err)
	}
	access.Principal, access.Credential, access.claims = principal, CredentialToken, claims
	return nil
}

func (g *Gate) basic(r *http.Request, access *Access, offered identity.Authorization) error {
	principal, err := g.options.Login.Authenticate(r.Context(), identity.Credentials{
		Name: offered.Name, Secret: offered.Password, Address: g.options.Address(r),
	})
	if errors.Is(err, identity.ErrCredentials) || errors.Is(err, identity.ErrUnknown) {
		return access.unauthorized("", identity.ErrCredentials.Error())
	}
	if err != nil {
		return loginFailure(err)
	}
	access.Principal, access.Credential = principal, CredentialBasic
	return nil
}
