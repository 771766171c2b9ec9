package oidc

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/setting"
)

// Begun is a login that goes on at the provider.
type Begun struct {
	// Location is where to send the browser.
	Location string
	// State names the login; it comes back with the browser.
	State string
	// Sealed is for the browser to keep, and to give to [People.Finish] on whichever gateway.
	Sealed string
}

// attempt is what is in [Begun.Sealed].
type attempt struct {
	State, Nonce, Verifier string
	Callback, Back         string
	Expires                time.Time
}

// sealedAttempt is what the box knows it as.
const sealedAttempt = "login at a provider"

// Begin begins a login. callback is the registry's address that the provider sends the browser to, and back the one where the
// person wants to be in the end. The error is a [*fault.Error].
func (p *People) Begin(ctx context.Context, callback, back string) (Begun, error) {
	provider, values, err := p.provider(ctx)
	if err != nil {
		return Begun{}, err
	}
	a := attempt{
		State: rand.Text(), Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier(),
		Callback: callback, Back: back, Expires: p.options.Now().Add(LoginLifetime),
	}
	encoded, err := json.Marshal(a)
	if err != nil {
		return Begun{}, err
	}
	options := append(parameters(values), oidc.Nonce(a.Nonce), oauth2.S256ChallengeOption(a.Verifier))
	return Begun{
		Location: provider.oauth(values, callback).AuthCodeURL(a.State, options...),
		State:    a.State,
		Sealed:   base64.RawURLEncoding.EncodeToString(p.options.Box.Seal(sealedAttempt, encoded)),
	}, nil
}

// parameters are those of the settings for the provider's login page, without what the flow itself says.
func parameters(values setting.Values) []oauth2.AuthCodeOption {
	extra := map[string]string{}
	if text := values.Text(setting.OIDCExtraRedirectParms); text != "" {
		if err := json.Unmarshal([]byte(text), &extra); err != nil { // settings are checked when they are made
			return nil
		}
	}
	own := []string{"client_id", "redirect_uri", "response_type", "response_mode", "scope", "state", "nonce", "code_challenge", "code_challenge_method"}
	var options []oauth2.AuthCodeOption
	for name, value := range extra {
		if !slices.Contains(own, name) {
			options = append(options, oauth2.SetAuthURLParam(name, value))
		}
	}
	return options
}

// Outcome is how a login at the provider has ended.
type Outcome struct {
	// Session is the token of the session that has begun, "" when a name has to be chosen first.
	Session string
	// Onboarding is the token to choose it with, Name what is suggested, and Taken that somebody else has it.
	Onboarding string
	Name       string
	Taken      bool
	// Back is where the person wants to be.
	Back string
}

// Finish ends a login with what the browser has kept and what the provider has sent with it. former is the token of the session
// that the browser has, which ends. The error is a [*fault.Error]: nobody is logged in then.
func (p *People) Finish(ctx context.Context, actor event.Actor, sealed string, answer url.Values, former string) (Outcome, error) {
	a, err := p.open(sealed, answer.Get("state"))
	if err != nil {
		return Outcome{}, err
	}
	if answer.Has("error") {
		return Outcome{}, fault.New(fault.Forbidden, "the identity provider has not logged you in: %.100q", answer.Get("error"))
	}
	provider, values, err := p.provider(ctx)
	if err != nil {
		return Outcome{}, err
	}
	if issuer := answer.Get("iss"); issuer != "" && issuer != provider.issuer {
		return Outcome{}, fault.New(fault.Invalid, "another identity provider has answered: log in again")
	}
	person, err := p.prove(ctx, provider, values, a, answer.Get("code"))
	if err != nil {
		p.options.Logger.WarnContext(ctx, "a login at the identity provider failed", "error", err)
		return Outcome{}, err
	}
	return p.admit(ctx, actor, values.On(setting.OIDCAutoOnboard), a, person, former)
}

// open returns the attempt that the browser has kept, when it is the one that the provider answers.
func (p *People) open(sealed, state string) (attempt, error) {
	refused := fault.New(fault.Invalid, "this login was not begun in this browser, or too long ago: log in again")
	decoded, err := base64.RawURLEncoding.DecodeString(sealed)
	if err != nil {
		return attempt{}, refused
	}
	opened, err := p.options.Box.Open(sealedAttempt, decoded)
	if err != nil {
		return attempt{}, refused
	}
	var a attempt
	if err := json.Unmarshal(opened, &a); err != nil {
		return attempt{}, refused
	}
	if subtle.ConstantTimeCompare([]byte(state), []byte(a.State)) == 0 || !p.options.Now().Before(a.Expires) {
		return attempt{}, refused
	}
	return a, nil
}

// errProof says that the provider's answer does not prove anybody.
var errProof = errors.New("the identity provider's answer proves nothing")

// prove turns the provider's code into the person it is about.
func (p *People) prove(ctx context.Context, provider *provider, values setting.Values, a attempt, code string) (person, error) {
	access, err := provider.oauth(values, a.Callback).Exchange(oidc.ClientContext(ctx, provider.http), code, oauth2.VerifierOption(a.Verifier))
	if refused, ok := errors.AsType[*oauth2.RetrieveError](err); ok && refused.Response.StatusCode < 500 {
		return person{}, notProven(fmt.Errorf("exchange code: %w", withoutBody(refused)))
	}
	if err != nil {
		return person{}, unavailable(fmt.Errorf("exchange code: %w", err))
	}
	raw, _ := access.Extra("id_token").(string)
	verified, err := provider.verify(ctx, raw)
	if fault.Of(err) != 0 {
		return person{}, err
	}
	if err != nil {
		return person{}, notProven(err)
	}
	if subtle.ConstantTimeCompare([]byte(verified.Nonce), []byte(a.Nonce)) == 0 {
		return person{}, notProven(errors.New("the ID token was made for another login"))
	}
	if verified.AccessTokenHash != "" {
		if err := verified.VerifyAccessToken(access.AccessToken); err != nil {
			return person{}, notProven(err)
		}
	}
	found, err := provider.person(ctx, values, verified, raw, access)
	if err != nil {
		return person{}, unavailable(fmt.Errorf("read user info: %w", err))
	}
	return found, nil
}

func notProven(err error) error {
	return fault.Because(fmt.Errorf("%w: %w", errProof, err), fault.Invalid, "the identity provider's answer cannot be accepted: log in again")
}

// withoutBody is what a token endpoint has refused with, without what it may repeat of the request.
func withoutBody(refused *oauth2.RetrieveError) error {
	return fmt.Errorf("status %d, %s: %s", refused.Response.StatusCode, refused.ErrorCode, refused.ErrorDescription)
}

// Leads reports whether the settings have people log in at the provider before anything else. Whether a name is that of one of them is
// not told by it: nobody learns who exists.
func (p *People) Leads(ctx context.Context) (bool, error) {
	values, err := p.options.Settings.Values(ctx)
	if err != nil {
		return false, fmt.Errorf("read settings: %w", err)
	}
	return configured(values) && values.Text(setting.AuthMode) == "oidc_auth", nil
}

// LogoutURL returns the address at the provider that ends the session there and leads back, "" where the settings do not want that
// or the provider cannot.
func (p *People) LogoutURL(ctx context.Context, idToken, back string) string {
	provider, values, err := p.provider(ctx)
	if err != nil || !values.On(setting.OIDCLogout) || provider.logout == "" {
		return ""
	}
	there, err := url.Parse(provider.logout)
	if err != nil {
		return ""
	}
	query := there.Query()
	query.Set("id_token_hint", idToken)
	query.Set("client_id", provider.client)
	query.Set("post_logout_redirect_uri", back)
	there.RawQuery = query.Encode()
	return there.String()
}
