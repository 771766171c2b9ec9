package oidc

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
	"golang.org/x/time/rate"

	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/setting"
)

// How long what a provider says about itself is believed: usually, and while it does not answer.
const (
	discoveryLifetime = 10 * time.Minute
	discoveryOutage   = 24 * time.Hour
)

// The bounds of what a provider may cost.
const (
	rememberedProviders = 4
	providerTimeout     = 5 * time.Second
	maxAnswer           = 1 << 20
	// keysPerMinute is how often keys are asked for: tokens that name keys which do not exist would have it done each time.
	keysPerMinute = 12
)

// address is where a provider is.
type address struct {
	issuer string
	// verified tells that its certificate must hold.
	verified bool
	// client is what the registry is called there, "" where that does not matter.
	client string
}

// provider is what is known of one.
type provider struct {
	*oidc.Provider
	address
	http     *http.Client
	verifier *oidc.IDTokenVerifier
	// style is how the registry shows its secret.
	style oauth2.AuthStyle
	// logout is where people log out, "" where they cannot.
	logout string
}

// discover asks a provider about itself.
func (p *People) discover(ctx context.Context, at address) (*provider, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{
		MinVersion: tls.VersionTLS12, RootCAs: p.options.Authorities,
		InsecureSkipVerify: !at.verified, //nolint:gosec // an administrator has switched it off
	}
	found := &provider{address: at, http: &http.Client{Timeout: providerTimeout, Transport: bounded{transport}}}
	known, err := oidc.NewProvider(oidc.ClientContext(ctx, found.http), at.issuer)
	if err != nil {
		return nil, fmt.Errorf("discover provider %s: %w", at.issuer, err)
	}
	var more struct {
		Logout     string   `json:"end_session_endpoint"`
		Ways       []string `json:"token_endpoint_auth_methods_supported"`
		Keys       string   `json:"jwks_uri"`
		Algorithms []string `json:"id_token_signing_alg_values_supported"`
	}
	if err := known.Claims(&more); err != nil {
		return nil, fmt.Errorf("discover provider %s: %w", at.issuer, err)
	}
	keys := &http.Client{Timeout: providerTimeout, Transport: &seldom{
		RoundTripper: found.http.Transport, limit: rate.NewLimiter(rate.Every(time.Minute/keysPerMinute), keysPerMinute),
	}}
	found.Provider, found.logout, found.style = known, more.Logout, oauth2.AuthStyleInHeader
	if len(more.Ways) > 0 && !slices.Contains(more.Ways, "client_secret_basic") {
		found.style = oauth2.AuthStyleInParams
	}
	found.verifier = oidc.NewVerifier(at.issuer, keySet{oidc.NewRemoteKeySet(oidc.ClientContext(ctx, keys), more.Keys)}, &oidc.Config{
		ClientID: at.client, SupportedSigningAlgs: asymmetric(more.Algorithms), Now: p.options.Now,
	})
	return found, nil
}

// asymmetric returns those of the algorithms that sign with a key which only the provider has; when none does, the one that every
// provider must have is used.
func asymmetric(algorithms []string) []string {
	known := []string{oidc.RS256, oidc.RS384, oidc.RS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.EdDSA}
	return slices.DeleteFunc(slices.Clone(algorithms), func(algorithm string) bool { return !slices.Contains(known, algorithm) })
}

// keySet are a provider's keys. The verifier does not tell a signature that does not hold from keys that cannot be had; this does,
// through the context.
type keySet struct{ *oidc.RemoteKeySet }

// outageKey is where the context has the place for the error of keys that cannot be had.
type outageKey struct{}

// VerifySignature returns what was signed.
func (k keySet) VerifySignature(ctx context.Context, token string) ([]byte, error) {
	payload, err := k.RemoteKeySet.VerifySignature(ctx, token)
	if outage, ok := ctx.Value(outageKey{}).(*error); ok && errors.Unwrap(err) != nil {
		*outage = err
	}
	return payload, err
}

// oauth is the registry as the provider's client.
func (p *provider) oauth(values setting.Values, callback string) *oauth2.Config {
	endpoint := p.Endpoint()
	endpoint.AuthStyle = p.style
	return &oauth2.Config{
		ClientID: p.client, ClientSecret: values.Text(setting.OIDCClientSecret),
		Endpoint: endpoint, RedirectURL: callback, Scopes: words(values.Text(setting.OIDCScope)),
	}
}

// words are those of a list with commas or spaces between.
func words(list string) []string {
	return strings.FieldsFunc(list, func(c rune) bool { return c == ',' || c == ' ' })
}

// verify returns what an ID token says, when it is the provider's, for this registry, and has not expired. The error is a
// [*fault.Error] of the kind Unavailable when the provider's keys cannot be had.
func (p *provider) verify(ctx context.Context, raw string) (*oidc.IDToken, error) {
	var outage error
	token, err := p.verifier.Verify(context.WithValue(ctx, outageKey{}, &outage), raw)
	if outage != nil {
		return nil, unavailable(outage)
	}
	if err != nil {
		return nil, err
	}
	var party struct {
		Authorized string `json:"azp"`
	}
	if err := token.Claims(&party); err != nil {
		return nil, err
	}
	if party.Authorized != "" && party.Authorized != p.client || party.Authorized == "" && len(token.Audience) > 1 {
		return nil, errors.New("the ID token was made for another client")
	}
	return token, nil
}

// Ping asks a provider about itself, to see whether it could be logged in with. The error is a [*fault.Error] that says why not.
func (p *People) Ping(ctx context.Context, issuer string, verified bool) error {
	found, err := p.discover(ctx, address{issuer: issuer, verified: verified})
	if err != nil {
		return fault.Because(err, fault.Invalid, "%s is no OpenID Connect provider that this server can use: %s", issuer, reason(err))
	}
	found.http.CloseIdleConnections()
	return nil
}

// reason tells an administrator why a provider cannot be used, and nothing of what it has answered: the address could be that of
// something else in the server's network.
func reason(err error) string {
	if mismatch, ok := errors.AsType[*oidc.IssuerMismatchError](err); ok {
		return fmt.Sprintf("it calls itself %q, to the letter", mismatch.Discovered)
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "its certificate does not hold: name its authority in the configuration file of the server"
	}
	if timeout, ok := errors.AsType[interface {
		error
		Timeout() bool
	}](err); ok && timeout.Timeout() {
		return "it does not answer in time"
	}
	return "it does not answer as one at .well-known/openid-configuration"
}

// bounded cuts answers off that are longer than any of a provider's.
type bounded struct{ *http.Transport }

// RoundTrip sends a request.
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := b.Transport.RoundTrip(r)
	if err == nil {
		response.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(response.Body, maxAnswer), response.Body}
	}
	return response, err
}

// seldom refuses requests that come too often.
type seldom struct {
	http.RoundTripper
	limit *rate.Limiter
}

// errSeldom says that a request came too early.
var errSeldom = errors.New("the provider's keys were asked for too often")

// RoundTrip sends a request.
func (s *seldom) RoundTrip(r *http.Request) (*http.Response, error) {
	if !s.limit.Allow() {
		return nil, errSeldom
	}
	return s.RoundTripper.RoundTrip(r)
}
