package auth_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/distribution/auth"
	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/identity"
	"github.com/berth-registry/berth/identity/token"
)

var local0 = event.Actor{Name: "root", Credential: "command"}

// access reads the grants out of a token.
func access(t *testing.T, signed string) []token.Grant {
	t.Helper()
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(signed, ".")[1])
	require.NoError(t, err)
	var claims token.Claims
	require.NoError(t, json.Unmarshal(payload, &claims))
	return claims.Access
}

func TestServeToken_answer(t *testing.T) {
	f := newFixture(t)
	a := f.get(t, auth.TokenPath+"?service=x&account=dev&client_id=docker&scope=repository:open/app:push,pull", basic("dev", password))
	require.Equal(t, http.StatusOK, a.status)
	require.NotEmpty(t, a.token.Token)
	require.Equal(t, a.token.Token, a.token.AccessToken)
	require.GreaterOrEqual(t, a.token.ExpiresIn, 60)
	issued, err := time.Parse(time.RFC3339, a.token.IssuedAt)
	require.NoError(t, err)
	require.WithinDuration(t, f.now(), issued, time.Second)
	require.Empty(t, a.token.RefreshToken, "only when asked for")
	require.Equal(t, "no-store", a.header.Get("Cache-Control"))
	require.Equal(t, "application/json", a.header.Get("Content-Type"))
	require.Equal(t, []string{auth.OutcomeIssued}, f.outcomes)
}

func TestServeToken_grants(t *testing.T) {
	f := newFixture(t)
	grant := func(name string, actions []string, denied ...string) token.Grant {
		return token.Grant{Type: "repository", Name: name, Actions: actions, Denied: denied}
	}
	for name, test := range map[string]struct {
		user   string
		scopes []string
		want   []token.Grant
	}{
		"all":                  {"dev", []string{"repository:open/a:pull,push"}, []token.Grant{grant("open/a", []string{"pull", "push"})}},
		"reduced":              {"reader", []string{"repository:closed/a:push,pull"}, []token.Grant{grant("closed/a", []string{"pull"}, "push")}},
		"refused":              {"stranger", []string{"repository:closed/a:pull"}, []token.Grant{grant("closed/a", []string{}, "pull")}},
		"absent like refused":  {"stranger", []string{"repository:absent/a:pull"}, []token.Grant{grant("absent/a", []string{}, "pull")}},
		"delete if asked":      {"boss", []string{"repository:closed/a:pull,push,delete"}, []token.Grant{grant("closed/a", []string{"pull", "push", "delete"})}},
		"everything":           {"dev", []string{"repository:closed/a:*"}, []token.Grant{grant("closed/a", []string{"pull", "push"}, "delete")}},
		"several, both ways":   {"dev", []string{"repository:open/a:pull repository:open/b:pull", "repository:open/c:pull"}, []token.Grant{grant("open/a", []string{"pull"}), grant("open/b", []string{"pull"}), grant("open/c", []string{"pull"})}},
		"unknown left out":     {"dev", []string{"project:x:pull repository:open/a:pull,fly"}, []token.Grant{grant("open/a", []string{"pull"})}},
		"none":                 {"dev", nil, []token.Grant{}},
		"no project":           {"dev", []string{"repository:alpine:pull"}, []token.Grant{grant("alpine", []string{}, "pull")}},
		"host and port":        {"root", []string{"repository:localhost:5000/open/a:pull"}, []token.Grant{grant("localhost:5000/open/a", []string{}, "pull")}},
		"invalid name":         {"root", []string{"repository:open/../closed:pull"}, []token.Grant{grant("open/../closed", []string{}, "pull")}},
		"catalog":              {"dev", []string{"registry:catalog:*"}, []token.Grant{{Type: "registry", Name: "catalog", Actions: []string{"*"}}}},
		"anonymous catalog":    {"", []string{"registry:catalog:*"}, []token.Grant{{Type: "registry", Name: "catalog", Actions: []string{"*"}}}},
		"anonymous public":     {"", []string{"repository:open/a:pull,push"}, []token.Grant{grant("open/a", []string{"pull"}, "push")}},
		"anonymous private":    {"", []string{"repository:closed/a:pull"}, []token.Grant{grant("closed/a", []string{}, "pull")}},
		"anonymous, gibberish": {"", []string{"gibberish"}, []token.Grant{}},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, test.want, access(t, f.token(t, test.user, test.scopes...))) })
	}
}

func TestServeToken_forms(t *testing.T) {
	f := newFixture(t)
	a := f.post(t, url.Values{
		"grant_type": {"password"}, "username": {"dev"}, "password": {password}, "service": {"x"}, "client_id": {"containerd-client"},
		"scope": {"repository:closed/a:pull repository:closed/a:pull,push repository:absent/b:pull"}, "access_type": {"offline"},
	})
	require.Equal(t, http.StatusOK, a.status, a.body)
	require.Equal(t, "repository:closed/a:pull,push", a.token.Scope, "what was granted")
	require.NotEmpty(t, a.token.RefreshToken)
	require.Equal(t, http.StatusOK, f.get(t, "/v2/push/closed/a", bearer(a.token.AccessToken)).status)

	refreshed := f.post(t, url.Values{
		"grant_type": {"refresh_token"}, "refresh_token": {a.token.RefreshToken}, "service": {"x"}, "scope": {"repository:closed/a:push,pull"},
	})
	require.Equal(t, http.StatusOK, refreshed.status, refreshed.body)
	require.Empty(t, refreshed.token.RefreshToken)
	require.Equal(t, http.StatusOK, f.get(t, "/v2/push/closed/a", bearer(refreshed.token.Token)).status)
	require.Equal(t, []string{auth.OutcomeIssued, auth.OutcomeRefreshed}, f.outcomes)

	login := f.get(t, auth.TokenPath+"?account=dev&client_id=docker&offline_token=true&service=x", basic("dev", password))
	require.NotEmpty(t, login.token.RefreshToken, "docker login")
	require.Equal(t, http.StatusUnauthorized, f.get(t, "/v2/", bearer(login.token.RefreshToken)).status, "it opens nothing by itself")
	nobody := f.get(t, auth.TokenPath+"?offline_token=true&scope=repository:open/a:pull", nil)
	require.Empty(t, nobody.token.RefreshToken)
}

func TestServeToken_refreshTokenOfChangedAccount(t *testing.T) {
	f := newFixture(t)
	refresh := func(name string) url.Values {
		a := f.get(t, auth.TokenPath+"?offline_token=true", basic(name, password))
		return url.Values{"grant_type": {"refresh_token"}, "refresh_token": {a.token.RefreshToken}}
	}
	changed, disabled, deleted, late := refresh("dev"), refresh("reader"), refresh("stranger"), refresh("boss")
	require.NoError(t, f.users.SetPassword(t.Context(), local0, "dev", "Another-horse2"))
	require.NoError(t, f.users.SetDisabled(t.Context(), local0, "reader", true))
	require.NoError(t, f.users.Delete(t.Context(), local0, "stranger"))
	f.advance(identity.AccountStaleness)
	for _, form := range []url.Values{changed, disabled, deleted} {
		require.Equal(t, http.StatusUnauthorized, f.post(t, form).status)
	}
	require.Equal(t, http.StatusOK, f.post(t, late).status)
	f.advance(token.DefaultRefreshLifetime + time.Hour)
	require.Equal(t, http.StatusUnauthorized, f.post(t, late).status)
}

func TestServeToken_refuses(t *testing.T) {
	f := newFixture(t)
	signed := f.token(t, "dev")
	for name, form := range map[string]struct {
		values url.Values
		status int
	}{
		"empty":                   {url.Values{}, http.StatusBadRequest},
		"unknown grant":           {url.Values{"grant_type": {"client_credentials"}}, http.StatusBadRequest},
		"no username":             {url.Values{"grant_type": {"password"}, "password": {"x"}}, http.StatusBadRequest},
		"no refresh token":        {url.Values{"grant_type": {"refresh_token"}}, http.StatusBadRequest},
		"wrong password":          {url.Values{"grant_type": {"password"}, "username": {"dev"}, "password": {"x"}}, http.StatusUnauthorized},
		"unknown user":            {url.Values{"grant_type": {"password"}, "username": {"x"}, "password": {"x"}}, http.StatusUnauthorized},
		"opaque refresh token":    {url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"x"}}, http.StatusUnauthorized},
		"access token to refresh": {url.Values{"grant_type": {"refresh_token"}, "refresh_token": {signed}}, http.StatusUnauthorized},
		"huge":                    {url.Values{"grant_type": {"password"}, "username": {strings.Repeat("x", 1<<20)}}, http.StatusBadRequest},
		"too many scopes":         {url.Values{"grant_type": {"password"}, "username": {"dev"}, "password": {password}, "scope": {manyScopes(33)}}, http.StatusBadRequest},
	} {
		t.Run("POST "+name, func(t *testing.T) { require.Equal(t, form.status, f.post(t, form.values).status) })
	}
	for name, test := range map[string]struct {
		query       string
		credentials func(r *http.Request)
		status      int
	}{
		"wrong password":            {"?scope=repository:open/a:pull", basic("dev", "x"), http.StatusUnauthorized},
		"wrong name":                {"?scope=repository:open/a:pull", basic("nobody", "x"), http.StatusUnauthorized},
		"anonymous without a scope": {"", nil, http.StatusUnauthorized},
		"anonymous, empty scope":    {"?scope=", nil, http.StatusUnauthorized},
		"bearer":                    {"?scope=repository:open/a:pull", bearer(signed), http.StatusUnauthorized},
		"malformed basic":           {"", func(r *http.Request) { r.Header.Set("Authorization", "Basic x") }, http.StatusUnauthorized},
		"malformed query":           {"?scope=%zz", basic("dev", password), http.StatusBadRequest},
	} {
		t.Run("GET "+name, func(t *testing.T) {
			require.Equal(t, test.status, f.get(t, auth.TokenPath+test.query, test.credentials).status)
		})
	}
	for _, contentType := range []string{"", "application/json", "multipart/form-data; boundary=x", ";"} {
		r := httptest.NewRequest(http.MethodPost, auth.TokenPath, strings.NewReader("{}"))
		r.Header.Set("Content-Type", contentType)
		w := httptest.NewRecorder()
		f.gate.ServeToken(w, r)
		require.Equal(t, http.StatusBadRequest, w.Code, contentType)
	}
	w := httptest.NewRecorder()
	f.gate.ServeToken(w, httptest.NewRequest(http.MethodDelete, auth.TokenPath, nil))
	require.Equal(t, http.StatusMethodNotAllowed, w.Code)
	require.Equal(t, "GET, HEAD, POST", w.Header().Get("Allow"))
}

func manyScopes(n int) string {
	var scopes strings.Builder
	for i := range n {
		scopes.WriteString("repository:open/" + strings.Repeat("a", i+1) + ":pull ")
	}
	return scopes.String()
}

func TestServeKeys_verifyTokens(t *testing.T) {
	f := newFixture(t)
	response, err := http.Get(f.url + auth.KeysPath)
	require.NoError(t, err)
	defer response.Body.Close()
	var set jose.JSONWebKeySet
	require.NoError(t, json.NewDecoder(response.Body).Decode(&set))
	signed, err := jose.ParseSignedCompact(f.token(t, "dev"), []jose.SignatureAlgorithm{jose.ES256})
	require.NoError(t, err)
	_, err = signed.Verify(set.Key(signed.Signatures[0].Header.KeyID)[0])
	require.NoError(t, err)
}

func FuzzServeToken(f *testing.F) {
	fixture := newFixture(f)
	f.Add("grant_type=password&username=dev&password=x&scope=repository:a/b:pull", true)
	f.Add("grant_type=refresh_token&refresh_token=x.y.z", true)
	f.Add("scope=repository:open/a:pull&scope=%00", false)
	f.Add("%zz;&=", false)
	f.Fuzz(func(t *testing.T, text string, post bool) {
		r := httptest.NewRequest(http.MethodGet, auth.TokenPath, nil)
		r.URL.RawQuery = text
		if post {
			r = httptest.NewRequest(http.MethodPost, auth.TokenPath, strings.NewReader(text))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		w := httptest.NewRecorder()
		fixture.gate.ServeToken(w, r)
		if w.Code >= 500 || !json.Valid(w.Body.Bytes()) {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
	})
}

func BenchmarkServeToken(b *testing.B) {
	f := newFixture(b)
	r := httptest.NewRequest(http.MethodGet, auth.TokenPath+"?scope=repository:closed/app:pull,push", nil)
	r.SetBasicAuth("dev", password)
	b.ReportAllocs()
	for b.Loop() {
		w := httptest.NewRecorder()
		if f.gate.ServeToken(w, r); w.Code != http.StatusOK {
			b.Fatal(w.Code)
		}
		f.outcomes = f.outcomes[:0]
	}
}

func BenchmarkRequire_token(b *testing.B) {
	f := newFixture(b)
	r := httptest.NewRequest(http.MethodGet, "/v2/", nil)
	r.Header.Set("Authorization", "Bearer "+f.token(b, "dev", "repository:closed/app:pull"))
	b.ReportAllocs()
	for b.Loop() {
		granted, err := f.gate.Authenticate(r, auth.Scope("pull", "closed/app"))
		if err != nil {
			b.Fatal(err)
		}
		if err := granted.Require(b.Context(), "pull", "closed/app"); err != nil {
			b.Fatal(err)
		}
	}
}
