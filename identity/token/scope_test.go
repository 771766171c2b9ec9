package token_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/identity/token"
)

func TestParseScopes(t *testing.T) {
	repository := token.RepositoryScope
	for name, test := range map[string]struct {
		values []string
		want   []token.Scope
	}{
		"none":                    {nil, nil},
		"empty":                   {[]string{"", " "}, nil},
		"one":                     {[]string{"repository:library/app:pull"}, []token.Scope{repository("library/app", "pull")}},
		"order of docker":         {[]string{"repository:a/b:push,pull"}, []token.Scope{repository("a/b", "pull", "push")}},
		"two values":              {[]string{"repository:a/b:pull", "repository:c/d:pull"}, []token.Scope{repository("a/b", "pull"), repository("c/d", "pull")}},
		"containerd in one value": {[]string{"repository:a/b:pull repository:a/b:pull,push"}, []token.Scope{repository("a/b", "pull", "push")}},
		"host and port":           {[]string{"repository:localhost:5000/a/b:pull"}, []token.Scope{repository("localhost:5000/a/b", "pull")}},
		"catalog":                 {[]string{"registry:catalog:*"}, []token.Scope{token.CatalogScope()}},
		"everything":              {[]string{"repository:a/b:*"}, []token.Scope{repository("a/b", "*")}},
		"unknown action":          {[]string{"repository:a/b:pull,admin"}, []token.Scope{repository("a/b", "pull")}},
		"only unknown actions":    {[]string{"repository:a/b:admin"}, nil},
		"no actions":              {[]string{"repository:a/b:"}, nil},
		"unknown type":            {[]string{"project:a:pull"}, nil},
		"unknown registry name":   {[]string{"registry:other:*"}, nil},
		"without colons":          {[]string{"repository"}, nil},
		"one colon":               {[]string{"repository:a/b"}, nil},
		"empty name":              {[]string{"repository::pull"}, nil},
		"control characters":      {[]string{"repository:a\x01b:pull"}, nil},
		"quote":                   {[]string{`repository:a"b:pull`}, nil},
		"very long name":          {[]string{"repository:" + strings.Repeat("a", 10_000) + ":pull"}, nil},
		"delete":                  {[]string{"repository:a/b:delete,pull"}, []token.Scope{repository("a/b", "pull", "delete")}},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, test.want, token.ParseScopes(test.values)) })
	}
}

func FuzzParseScopes(f *testing.F) {
	for _, seed := range []string{
		"", "repository:a/b:pull", "repository:localhost:5000/a:push,pull registry:catalog:*", "repository:a:*,delete", ":::", "a:b:c",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		scopes := token.ParseScopes([]string{value})
		require.Equal(t, scopes, token.ParseScopes([]string{token.FormatScopes(scopes)}), "what is written reads the same")
		for _, scope := range scopes {
			require.NotEmpty(t, scope.Actions)
			require.NotEmpty(t, scope.Name)
			encoded, err := json.Marshal(scope)
			require.NoError(t, err)
			require.NotContains(t, string(encoded), `\u00`)
		}
	})
}

func TestChallenge_roundTrip(t *testing.T) {
	for _, challenge := range []token.Challenge{
		{Scheme: "Bearer", Realm: "https://localhost:8443/service/token", Service: "localhost:8443"},
		{Scheme: "Bearer", Realm: "https://r/t", Service: "r", Scope: "repository:a/b:pull,push repository:c/d:pull", Error: token.ErrorInsufficientScope},
		{Scheme: "Basic", Realm: `quote " and \ backslash, comma`},
	} {
		parsed, err := token.ParseChallenge(challenge.String())
		require.NoError(t, err)
		require.Equal(t, challenge, parsed)
	}
	require.Equal(t, `Bearer realm="https://r/service/token",service="r",scope="repository:a/b:pull,push"`,
		token.Challenge{Scheme: "Bearer", Realm: "https://r/service/token", Service: "r", Scope: "repository:a/b:pull,push"}.String())
}

func TestParseChallenge_ofOthers(t *testing.T) {
	for header, want := range map[string]token.Challenge{
		`bearer realm=https, service = "r" ,	error="invalid_token"`: {Scheme: "Bearer", Realm: "https", Service: "r", Error: "invalid_token"},
		`Bearer realm="https://auth.docker.io/token",unknown="x",scope="a"`: {
			Scheme: "Bearer", Realm: "https://auth.docker.io/token", Scope: "a",
		},
		`Basic`:     {Scheme: "Basic"},
		`Negotiate`: {Scheme: "Negotiate"},
	} {
		parsed, err := token.ParseChallenge(header)
		require.NoError(t, err, header)
		require.Equal(t, want, parsed)
	}
	for _, header := range []string{
		"", " ", `"Bearer"`, `Bearer realm`, `Bearer realm="open`, `Bearer realm="a\`, `Bearer realm="a" service="b"`, `Bearer =x`, `Bearer realm=`,
	} {
		_, err := token.ParseChallenge(header)
		require.ErrorIs(t, err, token.ErrChallenge, header)
	}
}

func TestChallenge_keepsHeadersWhole(t *testing.T) {
	hostile := token.Challenge{Scheme: "Bearer", Realm: "https://r\r\nSet-Cookie: a=b", Service: "r\x00\x7f"}.String()
	require.NotContains(t, hostile, "\r")
	require.NotContains(t, hostile, "\n")
	require.NotContains(t, hostile, "\x00")
}

func FuzzParseChallenge(f *testing.F) {
	for _, seed := range []string{
		`Bearer realm="https://r/service/token",service="r",scope="repository:a/b:pull"`, `Basic realm="x"`, `Bearer a=b,c="d\"e"`, "", "Bearer ,,,",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		parsed, err := token.ParseChallenge(header)
		if err != nil {
			require.ErrorIs(t, err, token.ErrChallenge)
			return
		}
		written := parsed.String()
		again, err := token.ParseChallenge(written)
		require.NoError(t, err, written)
		require.Equal(t, written, again.String())
	})
}
