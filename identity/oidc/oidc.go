// Package oidc lets people in whom an OpenID Connect provider has proven: by the authorization code flow with PKCE in a browser, and
// by the provider's ID tokens.
package oidc

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"log/slog"
	"time"

	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/identity"
	"github.com/berth-registry/berth/identity/fresh"
	"github.com/berth-registry/berth/identity/session"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/secret"
	"github.com/berth-registry/berth/setting"
)

// Source is that of the users whom the provider proves. Their external id is the issuer and the subject, with a space between.
const Source = "oidc"

// How long a login may take.
const (
	// LoginLifetime is the time from leaving for the provider to coming back.
	LoginLifetime = 15 * time.Minute
	// OnboardingLifetime is the time to choose a name.
	OnboardingLifetime = 15 * time.Minute
)

// Options set [People] up. All but Authorities, Moved, Now and Logger are required.
type Options struct {
	Store    *metadata.Store
	Settings *setting.Settings
	Accounts *identity.Accounts
	Sessions *session.Sessions
	// Box seals what a browser carries through a login.
	Box *secret.Box
	// Authorities are those whose certificate the provider may have; nil means the system's.
	Authorities *x509.CertPool
	// Moved is told that somebody's groups have changed; nil tells nobody.
	Moved func()
	// Now is the clock; nil means time.Now.
	Now    func() time.Time
	Logger *slog.Logger
}

// People logs in those whom the provider in the settings has proven. It is safe for concurrent use.
type People struct {
	options   Options
	providers *fresh.Memory[address, *provider]
}

// New returns the people of the provider in the settings, which are read anew for each login.
func New(options Options) *People {
	if options.Now == nil {
		options.Now = time.Now
	}
	if options.Moved == nil {
		options.Moved = func() {}
	}
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	p := &People{options: options}
	p.providers = fresh.New(func(ctx context.Context, at address) (*provider, time.Duration, error) {
		found, err := p.discover(ctx, at)
		return found, discoveryLifetime, err
	}, fresh.Options{Size: rememberedProviders, Stale: discoveryOutage, Now: options.Now})
	return p
}

// configured reports whether there is a provider to log in with.
func configured(values setting.Values) bool {
	return values.Text(setting.OIDCEndpoint) != "" && values.Text(setting.OIDCClientID) != ""
}

// provider returns that of the settings. The error is a [*fault.Error].
func (p *People) provider(ctx context.Context) (*provider, setting.Values, error) {
	values, err := p.options.Settings.Values(ctx)
	if err != nil {
		return nil, setting.Values{}, unavailable(err)
	}
	if !configured(values) {
		return nil, setting.Values{}, fault.New(fault.Precondition, "there is no OpenID Connect provider to log in with")
	}
	at := address{values.Text(setting.OIDCEndpoint), values.On(setting.OIDCVerifyCert), values.Text(setting.OIDCClientID)}
	found, err := p.providers.Get(ctx, at)
	if err != nil {
		return nil, setting.Values{}, unavailable(err)
	}
	return found, values, nil
}

// unavailable is the answer while nobody can tell.
func unavailable(err error) error {
	return fault.Because(err, fault.Unavailable, "the identity provider does not answer for the moment: try again, or log in with a local account")
}

// externalID is what users of the provider are known by. An issuer is an address and has no space in it.
func externalID(issuer, subject string) string { return issuer + " " + subject }

// hash is what is kept of a token.
func hash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
