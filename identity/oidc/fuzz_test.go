package oidc_test

import (
	"encoding/base64"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/identity"
	"github.com/berth-registry/berth/identity/oidc"
)

// nobody is a provider that does not answer, so that what gets as far as asking it is an error of another kind.
const nobody = "http://127.0.0.1:1"

func FuzzFinish(f *testing.F) {
	p := newPeople(f, nobody, nil)
	f.Add("", "")
	f.Add("AQ", "state=x&code=y")
	f.Add(base64.RawURLEncoding.EncodeToString([]byte(strings.Repeat("\x01", 200))), "error=access_denied&state=")
	f.Fuzz(func(t *testing.T, sealed, query string) {
		answer, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		outcome, err := p.Finish(t.Context(), event.Actor{}, sealed, answer, "")
		require.Equal(t, fault.Invalid, fault.Of(err), "nothing that was not sealed here gets further")
		require.Equal(t, oidc.Outcome{}, outcome)
	})
}

func FuzzAuthenticateToken(f *testing.F) {
	p := newPeople(f, nobody, nil)
	encode := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	f.Add("")
	f.Add("a.b.c")
	f.Add(encode(`{"alg":"none"}`) + "." + encode(`{"iss":"http://127.0.0.1:1","sub":"x"}`) + ".")
	f.Add(encode(`{"alg":"RS256"}`) + "." + encode(`{"iss":["http://127.0.0.1:1"]}`) + ".AA")
	f.Add(strings.Repeat(".", 1000))
	f.Fuzz(func(t *testing.T, token string) {
		_, err := p.AuthenticateToken(t.Context(), token)
		require.Error(t, err)
		require.NotErrorIs(t, err, identity.ErrCredentials, "the provider was not even asked")
	})
}
