package token

import (
	"errors"
	"slices"
	"time"

	"github.com/berth-registry/berth/identity"
)

// Use tells what a token is good for; it is in the signed header, so that neither kind passes for the other.
type Use string

// The uses of a token: an access token opens /v2, a refresh token gets access tokens.
const (
	UseAccess  Use = "JWT"
	UseRefresh Use = "refresh+jwt"
)

// Grant is a resource with what the holder may do to it, and what was asked for and refused.
type Grant struct {
	Type string `json:"type"`
	Name string `json:"name"`
	// Actions is never null in JSON: an empty list says "asked and refused".
	Actions []string `json:"actions"`
	Denied  []string `json:"denied,omitempty"`
}

// Claims are the contents of a token (RFC 7519), and the principal that was proven.
type Claims struct {
	Issuer    string  `json:"iss"`
	Subject   string  `json:"sub"`
	Audience  string  `json:"aud"`
	Expires   int64   `json:"exp"`
	NotBefore int64   `json:"nbf"`
	IssuedAt  int64   `json:"iat"`
	ID        string  `json:"jti"`
	Access    []Grant `json:"access"`

	Kind              identity.Kind `json:"kind"`
	PrincipalID       int64         `json:"principal_id,omitempty"`
	SystemAdmin       bool          `json:"system_admin,omitempty"`
	CredentialVersion int64         `json:"credential_version,omitempty"`
	// TokenID is the access token whose limits hold for this one too.
	TokenID int64 `json:"token_id,omitempty"`
	// Credential says through what the principal was proven when the token was made: "basic", "refresh" or "anonymous".
	Credential string `json:"credential,omitempty"`
}

// Principal returns who the token speaks for. What limits them is not in it: [identity.Accounts.Check] tells.
func (c *Claims) Principal() identity.Principal {
	return identity.Principal{
		Kind: c.Kind, ID: c.PrincipalID, Name: c.Subject, SystemAdmin: c.SystemAdmin, CredentialVersion: c.CredentialVersion, TokenID: c.TokenID,
	}
}

// Grants reports whether the token grants the action, and whether it was asked for at all.
func (c *Claims) Grants(kind, name, action string) (granted, asked bool) {
	for i := range c.Access {
		if c.Access[i].Type != kind || c.Access[i].Name != name {
			continue
		}
		granted = granted || slices.Contains(c.Access[i].Actions, action)
		asked = asked || granted || slices.Contains(c.Access[i].Denied, action)
	}
	return granted, asked
}

// Leeway is how far the clocks of gateways may be apart.
const Leeway = time.Minute

// The reasons for which a token is refused; all wrap [ErrInvalid].
var (
	ErrInvalid   = errors.New("invalid token")
	ErrMalformed = errorOf("malformed")
	ErrSignature = errorOf("not signed by this registry")
	ErrUse       = errorOf("made for another use")
	ErrExpired   = errorOf("expired")
	ErrEarly     = errorOf("not valid yet")
	ErrAudience  = errorOf("made for another registry")
)

type reason struct{ text string }

func errorOf(text string) error { return &reason{text} }

// Error returns "invalid token: " and the reason.
func (r *reason) Error() string { return ErrInvalid.Error() + ": " + r.text }

// Unwrap returns [ErrInvalid].
func (r *reason) Unwrap() error { return ErrInvalid }

// check judges the claims of a token whose signature is good.
func (c *Claims) check(issuer, audience string, now time.Time) error {
	switch {
	case c.Issuer != issuer || c.Audience != audience:
		return ErrAudience
	case now.After(time.Unix(c.Expires, 0).Add(Leeway)):
		return ErrExpired
	case now.Before(time.Unix(c.NotBefore, 0).Add(-Leeway)), now.Before(time.Unix(c.IssuedAt, 0).Add(-Leeway)):
		return ErrEarly
	case c.Kind == "" || c.Kind != identity.KindAnonymous && c.PrincipalID <= 0:
		return ErrMalformed
	}
	return nil
}
