package auth_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/distribution/auth"
	"github.com/berth-registry/berth/identity"
	"github.com/berth-registry/berth/identity/token"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/policy"
)

func TestGate_everyRoleActionAndCredential(t *testing.T) {
	f := newFixture(t)
	may := map[string]string{ // in project open, then in project closed
		"root": "pull push delete / pull push delete", "boss": "pull push delete / pull push delete",
		"dev": "pull push / pull push", "reader": "pull / pull", "stranger": "pull /", "": "pull /",
	}
	for name, allowed := range may {
		open, closed, _ := strings.Cut(allowed, "/")
		for _, action := range []string{"pull", "push", "delete"} {
			for project, list := range map[string]string{"open": open, "closed": closed, "absent": map[bool]string{true: "pull push delete"}[name == "root"]} {
				want := http.StatusOK
				switch {
				case strings.Contains(list, action):
				case name == "":
					want = http.StatusUnauthorized
				case action == "pull":
					want = http.StatusNotFound
				default:
					want = http.StatusForbidden
				}
				repository := project + "/app"
				path := "/v2/" + action + "/" + repository
				cell := fmt.Sprintf("%q %s %s", name, action, repository)
				scope := fmt.Sprintf("repository:%s:pull,%s", repository, action)
				byToken := f.get(t, path, bearer(f.token(t, name, scope)))
				require.Equal(t, want, byToken.status, cell)
				everything := f.get(t, path, bearer(f.token(t, name, "repository:"+repository+":*")))
				require.Equal(t, want, everything.status, cell)
				if name != "" {
					byName := f.get(t, path, basic(name, password))
					require.Equal(t, want, byName.status, cell)
					require.Equal(t, byName.code, byToken.code)
				}
				switch want {
				case http.StatusNotFound:
					require.Equal(t, "NAME_UNKNOWN", byToken.code)
					require.Equal(t, fmt.Sprintf("repository %q does not exist", repository), byToken.message, "the same for absent and forbidden")
				case http.StatusForbidden:
					require.Equal(t, "DENIED", byToken.code)
					require.Contains(t, byToken.message, action+" "+repository)
				}
			}
		}
	}
}

func TestGate_withoutCredentials(t *testing.T) {
	f := newFixture(t)
	host := strings.TrimPrefix(f.url, "http://")
	for path, scope := range map[string]string{
		"/v2/": "", "/v2/_catalog": "registry:catalog:*", "/v2/pull/open/app": "repository:open/app:pull",
		"/v2/push/open/app": "repository:open/app:pull,push", "/v2/delete/closed/app": "repository:closed/app:pull,delete",
	} {
		a := f.get(t, path, nil)
		require.Equal(t, http.StatusUnauthorized, a.status, path)
		require.Equal(t, "UNAUTHORIZED", a.code)
		require.Equal(t, token.Challenge{Scheme: "Bearer", Realm: f.url + "/service/token", Service: host, Scope: scope}, a.challenge)
		require.Equal(t, "registry/2.0", a.header.Get("Docker-Distribution-Api-Version"))
	}
}

func TestGate_wrongCredentials(t *testing.T) {
	f := newFixture(t)
	signed := f.token(t, "dev")
	authorization := func(value string) func(r *http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", value) }
	}
	for name, test := range map[string]struct {
		credentials func(r *http.Request)
		reason      string
	}{
		"wrong password":   {basic("dev", "Wrong-horse1"), ""},
		"unknown name":     {basic("nobody", password), ""},
		"empty basic":      {basic("", ""), ""},
		"not base64":       {authorization("Basic !!!"), ""},
		"no colon":         {authorization("Basic " + base64.StdEncoding.EncodeToString([]byte("dev"))), ""},
		"another scheme":   {authorization("Digest x"), ""},
		"scheme alone":     {authorization("Bearer"), ""},
		"opaque token":     {bearer("x"), token.ErrorInvalidToken},
		"changed token":    {bearer(signed[:len(signed)-4] + "AAAA"), token.ErrorInvalidToken},
		"algorithm none":   {bearer("eyJhbGciOiJub25lIn0.e30."), token.ErrorInvalidToken},
		"two of them":      {func(r *http.Request) { r.Header["Authorization"] = []string{"Bearer " + signed, "Bearer x"} }, ""},
		"NUL in name":      {authorization("Basic " + base64.StdEncoding.EncodeToString([]byte("dev\x00:"+password))), ""},
		"password is huge": {basic("dev", strings.Repeat("x", 64<<10)), ""},
	} {
		t.Run(name, func(t *testing.T) {
			for _, path := range []string{"/v2/", "/v2/pull/open/app"} {
				a := f.get(t, path, test.credentials)
				require.Equal(t, http.StatusUnauthorized, a.status)
				require.Equal(t, "UNAUTHORIZED", a.code)
				require.Equal(t, test.reason, a.challenge.Error)
				require.Equal(t, "Bearer", a.challenge.Scheme)
			}
		})
	}
}

func TestGate_tokenForAnotherScope(t *testing.T) {
	f := newFixture(t)
	for _, path := range []string{"/v2/push/open/app", "/v2/pull/open/other", "/v2/pull/closed/app", "/v2/_catalog"} {
		a := f.get(t, path, bearer(f.token(t, "dev", "repository:open/app:pull")))
		require.Equal(t, http.StatusUnauthorized, a.status, path)
		require.Equal(t, token.ErrorInsufficientScope, a.challenge.Error)
		require.NotEmpty(t, a.challenge.Scope)
		again := f.get(t, path, bearer(f.token(t, "dev", a.challenge.Scope)))
		require.Equal(t, http.StatusOK, again.status, "what the challenge names is what is needed")
	}
}

func TestGate_emptyTokenOpensThePing(t *testing.T) {
	f := newFixture(t)
	a := f.get(t, "/v2/", bearer(f.token(t, "dev")))
	require.Equal(t, http.StatusOK, a.status)
	require.Equal(t, "dev token", a.header.Get("Principal"))
	a = f.get(t, "/v2/", basic("dev", password))
	require.Equal(t, "dev basic", a.header.Get("Principal"))
}

func TestGate_expiredToken(t *testing.T) {
	f := newFixture(t)
	signed := f.token(t, "dev", "repository:open/app:pull")
	f.advance(token.DefaultLifetime + 2*token.Leeway)
	a := f.get(t, "/v2/pull/open/app", bearer(signed))
	require.Equal(t, http.StatusUnauthorized, a.status)
	require.Equal(t, token.ErrorInvalidToken, a.challenge.Error)
	require.Equal(t, "repository:open/app:pull", a.challenge.Scope)
}

func TestGate_revocationReachesTokens(t *testing.T) {
	f := newFixture(t)
	signed := f.token(t, "dev", "repository:closed/app:pull,push")
	require.Equal(t, http.StatusOK, f.get(t, "/v2/push/closed/app", bearer(signed)).status)
	require.NoError(t, f.store.Tx(t.Context(), func(ctx context.Context, tx *metadata.Tx) error {
		project, err := tx.Project(ctx, "closed")
		if err != nil {
			return err
		}
		user, err := tx.UserByName(ctx, "dev")
		if err != nil {
			return err
		}
		return tx.RemoveMember(ctx, project.ID, user.ID)
	}))
	f.advance(policy.MembershipStaleness)
	require.Equal(t, http.StatusForbidden, f.get(t, "/v2/push/closed/app", bearer(signed)).status)
	require.Equal(t, http.StatusNotFound, f.get(t, "/v2/pull/closed/app", bearer(signed)).status)

	require.NoError(t, f.users.SetPassword(t.Context(), local0, "dev", "Another-horse2"))
	f.advance(identity.AccountStaleness)
	a := f.get(t, "/v2/", bearer(signed))
	require.Equal(t, http.StatusUnauthorized, a.status)
	require.Equal(t, token.ErrorInvalidToken, a.challenge.Error)
	require.Equal(t, http.StatusUnauthorized, f.get(t, "/v2/", basic("dev", password)).status)
}

func TestGate_allowedSinceTheTokenWasMade(t *testing.T) {
	f := newFixture(t)
	signed := f.token(t, "stranger", "repository:later/app:pull,push")
	require.Equal(t, http.StatusForbidden, f.get(t, "/v2/push/later/app", bearer(signed)).status)
	require.NoError(t, f.users.SetSystemAdmin(t.Context(), local0, "stranger", true))
	f.advance(identity.AccountStaleness)
	a := f.get(t, "/v2/push/later/app", bearer(signed))
	require.Equal(t, http.StatusUnauthorized, a.status)
	require.Equal(t, token.ErrorInsufficientScope, a.challenge.Error, "a new token helps now")
}

func TestGate_throttled(t *testing.T) {
	f := newFixture(t)
	for range 10 {
		require.Equal(t, http.StatusUnauthorized, f.get(t, "/v2/", basic("dev", "Wrong-horse1")).status)
	}
	for _, path := range []string{"/v2/", auth.TokenPath} {
		a := f.get(t, path, basic("dev", "Wrong-horse2"))
		require.Equal(t, http.StatusTooManyRequests, a.status)
		require.Equal(t, "TOOMANYREQUESTS", a.code)
		require.Regexp(t, `^[1-9]\d*$`, a.header.Get("Retry-After"))
	}
	require.Contains(t, f.outcomes, auth.OutcomeThrottled)
}

func TestGate_databaseDown(t *testing.T) {
	f := newFixture(t)
	signed := f.token(t, "dev", "repository:closed/app:pull", "repository:open/app:pull")
	require.Equal(t, http.StatusOK, f.get(t, "/v2/pull/closed/app", bearer(signed)).status)
	require.NoError(t, f.store.Close())
	f.advance(identity.AccountOutage - time.Second)
	require.Equal(t, http.StatusOK, f.get(t, "/v2/pull/closed/app", bearer(signed)).status)
	f.advance(2 * time.Second)
	for _, credentials := range []func(r *http.Request){bearer(signed), basic("boss", password)} {
		for _, path := range []string{"/v2/pull/closed/app", "/v2/"} {
			a := f.get(t, path, credentials)
			require.Equal(t, http.StatusServiceUnavailable, a.status)
			require.Equal(t, "UNAVAILABLE", a.code)
			require.Equal(t, "5", a.header.Get("Retry-After"))
			require.NotContains(t, a.body, "sql")
		}
	}
	require.Equal(t, http.StatusServiceUnavailable, f.get(t, auth.TokenPath, basic("boss", password)).status)
}

func TestAccess_permitsForMounts(t *testing.T) {
	f := newFixture(t)
	verdict := func(credentials func(r *http.Request), repository oci.Repository) auth.Verdict {
		r := httptest.NewRequest(http.MethodPost, "/v2/", nil)
		credentials(r)
		access, err := f.gate.Authenticate(r)
		require.NoError(t, err)
		v, err := access.Permits(t.Context(), policy.Pull, repository)
		require.NoError(t, err)
		return v
	}
	only := bearer(f.token(t, "stranger", "repository:open/app:pull"))
	both := bearer(f.token(t, "stranger", "repository:open/app:pull repository:closed/app:pull repository:absent/app:pull"))
	require.Equal(t, auth.Allowed, verdict(only, "open/app"))
	require.Equal(t, auth.NeedsScope, verdict(only, "closed/app"), "never asked")
	require.Equal(t, auth.Refused, verdict(both, "closed/app"), "asked and refused")
	require.Equal(t, auth.Refused, verdict(both, "absent/app"))
	require.Equal(t, auth.Refused, verdict(basic("stranger", password), "closed/app"))
	require.Equal(t, auth.Allowed, verdict(basic("dev", password), "closed/app"))
	require.Equal(t, auth.NeedsScope, verdict(func(*http.Request) {}, "open/app"))
}

func TestNew_externalURL(t *testing.T) {
	gate, err := auth.New(auth.Options{ExternalURL: "https://registry.example.com/"})
	require.NoError(t, err)
	access, err := gate.Authenticate(httptest.NewRequest(http.MethodGet, "http://10.0.0.1:8080/v2/", nil))
	require.NoError(t, err)
	require.ErrorContains(t, access.RequireCredentials(), "authentication required")
	var refusal *auth.Refusal
	require.ErrorAs(t, access.RequireCredentials(), &refusal)
	require.Equal(t, `Bearer realm="https://registry.example.com/service/token",service="registry.example.com"`, refusal.Challenge)
	for _, bad := range []string{"registry.example.com", "ftp://a", "https://", "https://a?b", "https://u:p@a", "://"} {
		_, err := auth.New(auth.Options{ExternalURL: bad})
		require.ErrorContains(t, err, "external URL")
	}
}

func FuzzAuthenticate(f *testing.F) {
	fixture := newFixture(f)
	signed := fixture.token(f, "dev")
	for _, seed := range []string{"", "Basic", "Basic ZGV2OnB3", "Bearer " + signed, "bearer x.y.z", "Basic " + strings.Repeat("A", 5000)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		r := httptest.NewRequest(http.MethodGet, "/v2/", nil)
		r.Header.Set("Authorization", header)
		access, err := fixture.gate.Authenticate(r)
		if err == nil && access.Principal.Kind == identity.KindUser && !strings.Contains(header, signed) {
			t.Fatalf("%q proved %s", header, access.Principal.Name)
		}
		if _, refused := err.(*auth.Refusal); err != nil && !refused { //nolint:errorlint // it must be one itself
			t.Fatalf("%q: %v", header, err)
		}
	})
}
