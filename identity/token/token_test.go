package token_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/identity"
	"github.com/berth-registry/berth/identity/token"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/metadata/sqlite/sqlitetest"
	"github.com/berth-registry/berth/secret"
)

// clock is set by tests.
type clock struct{ microseconds atomic.Int64 }

func newClock() *clock {
	c := new(clock)
	c.microseconds.Store(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro())
	return c
}

func (c *clock) now() time.Time             { return time.UnixMicro(c.microseconds.Load()) }
func (c *clock) advance(d time.Duration)    { c.microseconds.Add(d.Microseconds()) }
func (c *clock) options() token.RingOptions { return token.RingOptions{Now: c.now} }
func master(letter string) []byte           { return []byte(strings.Repeat(letter, secret.MinKeyLength)) }

var alice = identity.Principal{Kind: identity.KindUser, ID: 7, Name: "alice", CredentialVersion: 3}

// gateway opens the keys of a store as one gateway does.
func gateway(t testing.TB, store token.KeyStore, c *clock) *token.Tokens {
	t.Helper()
	tokens, err := tryGateway(t.Context(), store, c, "k")
	require.NoError(t, err)
	return tokens
}

func tryGateway(ctx context.Context, store token.KeyStore, c *clock, masterKey string) (*token.Tokens, error) {
	box, err := secret.New(master(masterKey))
	if err != nil {
		return nil, err
	}
	options := c.options()
	options.Store, options.Box, options.MaxTokenLifetime = store, box, token.DefaultRefreshLifetime
	ring, err := token.OpenRing(ctx, options)
	if err != nil {
		return nil, err
	}
	return token.New(token.Options{Ring: ring, Now: c.now})
}

func issue(t testing.TB, tokens *token.Tokens, grants ...token.Grant) string {
	t.Helper()
	signed, _, err := tokens.Issue(t.Context(), alice, "basic", grants)
	require.NoError(t, err)
	return signed
}

func TestTokens_carryPrincipalAndGrants(t *testing.T) {
	tokens := gateway(t, sqlitetest.Open(t), newClock())
	signed := issue(t, tokens,
		token.Grant{Type: "repository", Name: "a/b", Actions: []string{"pull"}, Denied: []string{"push"}},
		token.Grant{Type: "repository", Name: "c/d", Actions: []string{}, Denied: []string{"pull"}})
	for range 2 { // cold and cached
		claims, err := tokens.Verify(t.Context(), signed)
		require.NoError(t, err)
		require.Equal(t, alice, claims.Principal())
		require.Equal(t, "basic", claims.Credential)
		for _, test := range []struct {
			name, action   string
			granted, asked bool
		}{
			{"a/b", "pull", true, true},
			{"a/b", "push", false, true},
			{"a/b", "delete", false, false},
			{"c/d", "pull", false, true},
			{"e/f", "pull", false, false},
		} {
			granted, asked := claims.Grants("repository", test.name, test.action)
			require.Equal(t, test.granted, granted, test)
			require.Equal(t, test.asked, asked, test)
		}
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(signed, ".")[1])
	require.NoError(t, err)
	require.Contains(t, string(payload), `"actions":[]`, "refused is an empty list, not null")
	header, err := base64.RawURLEncoding.DecodeString(strings.Split(signed, ".")[0])
	require.NoError(t, err)
	require.Contains(t, string(header), `"kid":"`)
}

func TestTokens_withoutGrantsHaveAnEmptyList(t *testing.T) {
	tokens := gateway(t, sqlitetest.Open(t), newClock())
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(issue(t, tokens), ".")[1])
	require.NoError(t, err)
	require.Contains(t, string(payload), `"access":[]`)
}

func TestVerify_refuses(t *testing.T) {
	c := newClock()
	store := sqlitetest.Open(t)
	tokens := gateway(t, store, c)
	other := gateway(t, sqlitetest.Open(t), c)
	good := issue(t, tokens)
	refresh, err := tokens.IssueRefresh(t.Context(), alice)
	require.NoError(t, err)
	parts := strings.Split(good, ".")
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"JWT"}`)) + "." + parts[1] + "."

	for name, test := range map[string]struct {
		token string
		want  error
	}{
		"empty":                   {"", token.ErrMalformed},
		"not a token":             {"opaque", token.ErrMalformed},
		"huge":                    {strings.Repeat("a", 1<<20), token.ErrMalformed},
		"algorithm none":          {none, token.ErrInvalid},
		"no signature":            {parts[0] + "." + parts[1] + ".", token.ErrInvalid},
		"another registry's":      {issue(t, other), token.ErrSignature},
		"refresh token as access": {refresh, token.ErrUse},
		"changed payload":         {parts[0] + "." + strings.Repeat("A", len(parts[1])) + "." + parts[2], token.ErrSignature},
		"HMAC under public key":   {hmacConfusion(t, tokens, parts), token.ErrInvalid},
		"JSON serialization":      {`{"protected":"` + parts[0] + `","payload":"` + parts[1] + `","signature":"` + parts[2] + `"}`, token.ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := tokens.Verify(t.Context(), test.token)
			require.ErrorIs(t, err, test.want)
			require.ErrorIs(t, err, token.ErrInvalid)
		})
	}
	_, err = tokens.VerifyRefresh(t.Context(), good)
	require.ErrorIs(t, err, token.ErrUse)
	_, err = tokens.VerifyRefresh(t.Context(), refresh)
	require.NoError(t, err)
}

// hmacConfusion signs with HMAC and the public key for a secret, which a verifier that trusts the header's algorithm accepts.
func hmacConfusion(t *testing.T, tokens *token.Tokens, parts []string) string {
	public := tokens.Ring().PublicKeys().Keys[0]
	encoded, err := public.MarshalJSON()
	require.NoError(t, err)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: jose.JSONWebKey{Key: encoded, KeyID: public.KeyID}},
		(&jose.SignerOptions{}).WithType("JWT"))
	require.NoError(t, err)
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	require.NoError(t, err)
	signed, err := signer.Sign(payload)
	require.NoError(t, err)
	compact, err := signed.CompactSerialize()
	require.NoError(t, err)
	return compact
}

// forge signs claims with a key that is in the store, as nobody but a gateway can.
func forge(t *testing.T, store *metadata.Store, c *clock, claims map[string]any) string {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	id := putKey(t, store, c, private)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: private, KeyID: id}},
		(&jose.SignerOptions{}).WithType("JWT"))
	require.NoError(t, err)
	payload, err := json.Marshal(claims)
	require.NoError(t, err)
	signed, err := signer.Sign(payload)
	require.NoError(t, err)
	compact, err := signed.CompactSerialize()
	require.NoError(t, err)
	return compact
}

func TestVerify_judgesClaims(t *testing.T) {
	c := newClock()
	store := sqlitetest.Open(t)
	good := func() map[string]any {
		return map[string]any{
			"iss": "berth", "aud": "berth-registry", "sub": "alice", "kind": "user", "principal_id": 7,
			"iat": c.now().Unix(), "nbf": c.now().Unix(), "exp": c.now().Add(time.Hour).Unix(),
		}
	}
	for name, test := range map[string]struct {
		key   string
		value any
		want  error
	}{
		"as it should be":      {"sub", "alice", nil},
		"wrong audience":       {"aud", "other", token.ErrAudience},
		"refresh audience":     {"aud", "berth-token-service", token.ErrAudience},
		"wrong issuer":         {"iss", "other", token.ErrAudience},
		"expired":              {"exp", c.now().Add(-2 * time.Minute).Unix(), token.ErrExpired},
		"expired in leeway":    {"exp", c.now().Add(-30 * time.Second).Unix(), nil},
		"too early":            {"nbf", c.now().Add(2 * time.Minute).Unix(), token.ErrEarly},
		"early in leeway":      {"nbf", c.now().Add(30 * time.Second).Unix(), nil},
		"issued in the future": {"iat", c.now().Add(time.Hour).Unix(), token.ErrEarly},
		"user without id":      {"principal_id", 0, token.ErrMalformed},
		"without kind":         {"kind", "", token.ErrMalformed},
		"audience of no type":  {"aud", 7, token.ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			claims := good()
			claims[test.key] = test.value
			signed := forge(t, store, c, claims)
			_, err := gateway(t, store, c).Verify(t.Context(), signed)
			require.ErrorIs(t, err, test.want)
		})
	}
}

func TestVerify_expiredWhileCached(t *testing.T) {
	c := newClock()
	tokens := gateway(t, sqlitetest.Open(t), c)
	signed := issue(t, tokens)
	_, err := tokens.Verify(t.Context(), signed)
	require.NoError(t, err)
	c.advance(token.DefaultLifetime + token.Leeway + time.Second)
	_, err = tokens.Verify(t.Context(), signed)
	require.ErrorIs(t, err, token.ErrExpired)
}

func TestNew_refusesLifetimes(t *testing.T) {
	c := newClock()
	ring := gateway(t, sqlitetest.Open(t), c).Ring()
	for _, options := range []token.Options{{RefreshLifetime: time.Second}, {RefreshLifetime: 365 * 24 * time.Hour}} {
		options.Ring = ring
		_, err := token.New(options)
		require.ErrorContains(t, err, "lifetime")
	}
}

func TestIssue_lifetimeOfTheMoment(t *testing.T) {
	c := newClock()
	lifetime := 10 * time.Minute
	tokens, err := token.New(token.Options{
		Ring: gateway(t, sqlitetest.Open(t), c).Ring(), Now: c.now, Lifetime: func(context.Context) time.Duration { return lifetime },
	})
	require.NoError(t, err)
	for set, want := range map[time.Duration]time.Duration{
		10 * time.Minute: 10 * time.Minute, 20 * time.Minute: 20 * time.Minute, time.Second: token.MinLifetime, 48 * time.Hour: token.MaxLifetime,
	} {
		lifetime = set
		_, claims, err := tokens.Issue(t.Context(), alice, "basic", nil)
		require.NoError(t, err)
		require.Equal(t, c.now().Add(want).Unix(), claims.Expires)
	}
}
