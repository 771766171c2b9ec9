package api_test

import (
	"fmt"
	"net/http"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/api"
	"github.com/berth-registry/berth/api/apitest"
	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/identity"
	"github.com/berth-registry/berth/identity/local"
	"github.com/berth-registry/berth/identity/oidc/oidctest"
	"github.com/berth-registry/berth/identity/personal"
	"github.com/berth-registry/berth/identity/token"
)

// hostile is who means no good, with a request for each route.
type hostile struct {
	*walker
	provider *oidctest.Provider
	requests []request
}

// startHostile starts a server where clara, whom a provider proves, is a system administrator.
func startHostile(t *testing.T, engine string) hostile {
	t.Helper()
	server, provider := startOIDC(t, engine, nil, clara)
	newBrowser(t, server).loginOIDC(t, provider, clara.Name)
	yes := true
	require.NoError(t, server.Users.Update(t.Context(), event.Actor{}, user(t, server, clara.Name).ID, local.Edit{SystemAdmin: &yes}))
	h := hostile{walker: &walker{Server: server, t: t}, provider: provider}
	h.callers()
	h.projects()
	for _, route := range server.API.Routes() {
		for _, project := range places(route) {
			if project != "shown" {
				h.requests = append(h.requests, h.request(route, project))
			}
		}
	}
	return h
}

// letIn sends all requests with what proves somebody who may.
func (h hostile) letIn(client *apitest.Client, headers ...string) {
	h.t.Helper()
	last := func(r request) bool { return r.route.ID == "deleteCurrentUserSessions" }
	for _, r := range slices.Concat(slices.DeleteFunc(slices.Clone(h.requests), last), h.requests[slices.IndexFunc(h.requests, last):][:1]) {
		_, answer := h.send(client, r, headers...)
		require.NotContains(h.t, []int{http.StatusUnauthorized, http.StatusForbidden}, answer.Status, "%s %s: %s", r.route.Method, r.path, answer.Body)
	}
}

// open reports whether a route answers anyone.
func (r request) open() bool {
	p := r.route.Permission
	return p.Scope == api.ScopeSystem && toSystem[p.Resource+" "+string(p.Action)] == "anyone"
}

// suspect is who offers what is no proof; enough is the status with which the server has had enough of it, 0 for never.
type suspect struct {
	client *apitest.Client
	enough int
}

// TestHostile_tokensOpenNothing sends each request with what is no proof, and then with what is.
func TestHostile_tokensOpenNothing(t *testing.T) {
	for _, engine := range apitest.Engines {
		t.Run(engine, func(t *testing.T) {
			h := startHostile(t, engine)
			suspects := map[string]suspect{"nothing": {client: h.Anonymous()}}
			for name, lie := range badTokens(h.provider) {
				// The provider's keys are looked at again for a signature that does not hold, but not too often.
				suspects[name] = suspect{bearer(h.Server, lie(h.provider.Claims(clara.ID))), http.StatusServiceUnavailable}
			}
			for name, other := range h.tokensOfOtherUse() {
				suspects[name] = suspect{client: bearer(h.Server, other)}
			}
			for name, spent := range h.spentCredentials() {
				suspects[name] = suspect{spent, http.StatusTooManyRequests}
			}

			transactions := h.Transactions()
			require.Positive(t, transactions, "the login of clara had one at least")
			for name, suspect := range suspects {
				for _, r := range h.requests {
					refused, answer := h.send(suspect.client, r)
					where := fmt.Sprintf("%s: %s %s: %d %s", name, r.route.Method, r.path, answer.Status, answer.Body)
					if answer.Status == suspect.enough {
						continue
					}
					require.Equal(t, !r.open(), refused, where)
					if refused {
						require.Equal(t, http.StatusUnauthorized, answer.Status, where)
						require.Empty(t, answer.Header.Values("Set-Cookie"), where)
					}
				}
			}
			require.Equal(t, transactions, h.Transactions(), "something was done")
			require.Empty(t, h.Recorded(), "strangers are no news")
			h.letIn(bearer(h.Server, h.provider.Sign(h.provider.Claims(clara.ID))))
			t.Logf("%d requests with each of %d credentials", len(h.requests), len(suspects))
		})
	}
}

// tokensOfOtherUse are tokens of the registry itself that open something else than the API.
func (w *walker) tokensOfOtherUse() map[string]string {
	w.t.Helper()
	ring, err := token.OpenRing(w.t.Context(), token.RingOptions{Store: w.Store, Box: w.Box, MaxTokenLifetime: token.DefaultRefreshLifetime})
	require.NoError(w.t, err)
	tokens, err := token.New(token.Options{Ring: ring})
	require.NoError(w.t, err)
	admin := user(w.t, w.Server, "admin")
	principal := identity.Principal{Kind: identity.KindUser, ID: admin.ID, Name: "admin", SystemAdmin: true, CredentialVersion: admin.CredentialVersion}
	access, _, err := tokens.Issue(w.t.Context(), principal, "basic", []token.Grant{{Type: "registry", Name: "catalog", Actions: []string{"*"}}})
	require.NoError(w.t, err)
	_, err = tokens.Verify(w.t.Context(), access)
	require.NoError(w.t, err, "it is good for what it is for")
	refresh, err := tokens.IssueRefresh(w.t.Context(), principal)
	require.NoError(w.t, err)
	_, secret, err := w.AccessTokens.Create(w.t.Context(), event.Actor{}, admin.ID, personal.NewToken{Name: "x", Scopes: []string{"all"}})
	require.NoError(w.t, err)
	b := newBrowser(w.t, w.Server)
	b.login(w.t, "admin", apitest.AdminPassword)
	return map[string]string{
		"a token of /v2": access, "an altered token of /v2": alter(access), "a refresh token": refresh,
		"an access token for a bearer's": secret, "a session for a bearer's": b.cookie(w.t, "sid"), "half a token": "eyJhbGciOiJSUzI1NiJ9.e30.",
	}
}

// spentCredentials were good once.
func (w *walker) spentCredentials() map[string]*apitest.Client {
	w.t.Helper()
	ctx := w.t.Context()
	admin := user(w.t, w.Server, "admin")
	made, revoked, err := w.AccessTokens.Create(ctx, event.Actor{}, admin.ID, personal.NewToken{Name: "y", Scopes: []string{"all"}})
	require.NoError(w.t, err)
	w.As("admin", revoked).Must(w.t, http.StatusOK, http.MethodGet, "/users", nil)
	require.NoError(w.t, w.AccessTokens.Revoke(ctx, event.Actor{}, admin.ID, made.ID))
	robot := addRobot(w.t, w.Admin(), robotBody("spent", "system", "/ user:list"))
	spent := w.As(robot.Name, robot.Secret)
	spent.Must(w.t, http.StatusOK, http.MethodGet, "/users", nil)
	w.Admin().Must(w.t, http.StatusOK, http.MethodDelete, fmt.Sprint("/robots/", robot.ID), nil)
	return map[string]*apitest.Client{"a revoked access token": w.As("admin", revoked), "a deleted robot": spent}
}

// TestHostile_sessionsNeedTheirToken sends each request that is to change something with the cookie of an administrator's session, as
// another site can have a browser do it, and then as a page of ours does.
func TestHostile_sessionsNeedTheirToken(t *testing.T) {
	for _, engine := range apitest.Engines {
		t.Run(engine, func(t *testing.T) {
			h := startHostile(t, engine)
			b, other := newBrowser(t, h.Server), newBrowser(t, h.Server)
			b.login(t, "admin", apitest.AdminPassword)
			other.login(t, "admin", apitest.AdminPassword)
			cookies := b.cookieHeader(t, api.Prefix)
			transactions := h.Transactions()
			for name, headers := range map[string][]string{
				"none": {}, "empty": {csrfHeader, ""}, "altered": {csrfHeader, b.token + "A"}, "another session's": {csrfHeader, other.token},
				"the cookie": {csrfHeader, b.cookie(t, "_gorilla_csrf")}, "in another header": {"X-CSRF-Token", b.token},
			} {
				for _, r := range h.requests {
					_, answer := h.send(h.Anonymous(), r, append(headers, "Cookie", cookies)...)
					where := fmt.Sprintf("token %s: %s %s: %d %s", name, r.route.Method, r.path, answer.Status, answer.Body)
					if r.route.Method == http.MethodGet || r.route.Method == http.MethodHead {
						require.NotContains(t, []int{http.StatusUnauthorized, http.StatusForbidden}, answer.Status, where)
						continue
					}
					require.Equal(t, http.StatusForbidden, answer.Status, where)
					require.Contains(t, answer.Body, "its token", where)
				}
			}
			require.Equal(t, transactions, h.Transactions(), "something was done")
			h.letIn(h.Anonymous(), csrfHeader, b.token, "Cookie", cookies)
		})
	}
}
