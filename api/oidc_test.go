package api_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/api"
	"github.com/berth-registry/berth/api/apitest"
	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/identity/oidc/oidctest"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/setting"
)

var clara = oidctest.User{ID: "id-clara", Name: "clara", Email: "clara@example.org"}

// startOIDC starts a server with a provider, and settings besides those that name it.
func startOIDC(t *testing.T, engine string, settings map[*setting.Key]any, users ...oidctest.User) (*apitest.Server, *oidctest.Provider) {
	t.Helper()
	server := apitest.Start(t, engine)
	provider := oidctest.Start(t, false, server.URL+"/c/oidc/callback", server.URL+"/", users...)
	all := map[*setting.Key]any{
		setting.OIDCEndpoint: provider.Issuer, setting.OIDCClientID: oidctest.ClientID, setting.OIDCClientSecret: oidctest.ClientSecret,
		setting.OIDCGroupsClaim: "groups", setting.OIDCAutoOnboard: true,
	}
	maps.Copy(all, settings)
	require.NoError(t, server.Settings.Update(t.Context(), event.Actor{}, all))
	return server, provider
}

// leave begins a login in the browser and returns where it is sent.
func (b *browser) leave(t testing.TB, query string) string {
	t.Helper()
	answer := b.do(t, http.MethodGet, "/c/oidc/login"+query, nil)
	require.Equal(t, http.StatusFound, answer.Status, answer.Body)
	return answer.Header.Get("Location")
}

// loginOIDC logs in through the provider and returns the answer to the browser's return.
func (b *browser) loginOIDC(t testing.TB, provider *oidctest.Provider, user string) apitest.Answer {
	t.Helper()
	back := provider.Login(t, b.leave(t, ""), user)
	return b.do(t, http.MethodGet, back.RequestURI(), nil)
}

// user returns a row.
func user(t testing.TB, server *apitest.Server, name string) metadata.User {
	t.Helper()
	found, err := server.Store.UserByName(t.Context(), name)
	require.NoError(t, err)
	return found
}

// canRead asks whether the browser's user sees a private project.
func (b *browser) canRead(t testing.TB, project string) bool {
	t.Helper()
	return b.do(t, http.MethodGet, api.Prefix+"/projects/"+project, nil).Status == http.StatusOK
}

func TestOIDC_autoOnboardingWithGroups(t *testing.T) {
	for _, engine := range apitest.Engines {
		t.Run(engine, func(t *testing.T) {
			member := clara
			member.Claims = map[string]any{"groups": []string{"berth-devs", "berth-devs", "others"}}
			server, provider := startOIDC(t, engine, map[*setting.Key]any{setting.OIDCGroupFilter: "^berth-"}, member)
			addProjects(t, server, "secret")
			server.Write(t, func(ctx context.Context, tx *metadata.Tx) error {
				project, err := tx.Project(ctx, "secret")
				if err != nil {
					return err
				}
				group, err := tx.CreateUserGroup(ctx, metadata.UserGroup{Name: "berth-devs", Kind: metadata.GroupOIDC})
				if err != nil {
					return err
				}
				_, err = tx.SetMember(ctx, metadata.Member{ProjectID: project.ID, GroupID: group.ID, RoleID: 2})
				return err
			})
			b := newBrowser(t, server)
			location := b.leave(t, "?redirect_url="+url.QueryEscape("/harbor/projects?x=1"))
			asked, err := url.Parse(location)
			require.NoError(t, err)
			require.Equal(t, "S256", asked.Query().Get("code_challenge_method"))
			require.NotEmpty(t, asked.Query().Get("nonce"))
			require.Equal(t, "openid profile email", asked.Query().Get("scope"))
			back := provider.Login(t, location, "clara")
			answer := b.do(t, http.MethodGet, back.RequestURI(), nil)
			require.Equal(t, http.StatusFound, answer.Status, answer.Body)
			require.Equal(t, "/harbor/projects?x=1", answer.Header.Get("Location"))
			require.True(t, b.canRead(t, "secret"), "through the group")
			require.False(t, b.administers(t))

			row := user(t, server, "clara")
			require.Equal(t, "oidc", row.Source)
			require.Equal(t, provider.Issuer+" id-clara", row.ExternalID)
			require.Equal(t, "clara@example.org", row.Email)
			require.Empty(t, row.PasswordHash)
			groups, err := server.Store.UserGroups(t.Context(), row.ID)
			require.NoError(t, err)
			require.Len(t, groups, 1, "the filter leaves one")

			moved := clara
			moved.Email, moved.Claims = "new@example.org", map[string]any{"groups": "berth-ops"}
			provider.Set(moved)
			again := newBrowser(t, server)
			require.Equal(t, http.StatusFound, again.loginOIDC(t, provider, "clara").Status)
			groups, err = server.Store.UserGroups(t.Context(), row.ID)
			require.NoError(t, err)
			require.Len(t, groups, 1)
			require.Equal(t, "berth-ops", groups[0].Name)
			require.Equal(t, "new@example.org", user(t, server, "clara").Email)
		})
	}
}

func TestOIDC_groupsCountAtOnce(t *testing.T) {
	server, provider := startOIDC(t, "sqlite", nil, clara)
	addProjects(t, server, "secret")
	b := newBrowser(t, server)
	b.loginOIDC(t, provider, "clara")
	member := clara
	member.Claims = map[string]any{"groups": []string{"devs"}}
	provider.Set(member)
	newBrowser(t, server).loginOIDC(t, provider, "clara")
	server.Write(t, func(ctx context.Context, tx *metadata.Tx) error {
		group, err := tx.UserGroupByKey(ctx, metadata.GroupOIDC, "devs")
		if err != nil {
			return err
		}
		project, err := tx.Project(ctx, "secret")
		if err != nil {
			return err
		}
		_, err = tx.SetMember(ctx, metadata.Member{ProjectID: project.ID, GroupID: group.ID, RoleID: 2})
		return err
	})
	server.Policy.Invalidate("secret")
	require.True(t, b.canRead(t, "secret"))
	provider.Set(clara)
	newBrowser(t, server).loginOIDC(t, provider, "clara")
	require.False(t, b.canRead(t, "secret"), "who has left a group has left it")
}

func TestOIDC_firstLoginsAtOnce(t *testing.T) {
	for _, engine := range apitest.Engines {
		t.Run(engine, func(t *testing.T) {
			server, provider := startOIDC(t, engine, nil, clara)
			const tabs = 6
			browsers, backs := make([]*browser, tabs), make([]string, tabs)
			for i := range tabs {
				browsers[i] = newBrowser(t, server)
				backs[i] = provider.Login(t, browsers[i].leave(t, ""), "clara").RequestURI()
			}
			var group sync.WaitGroup
			locations := make([]string, tabs)
			for i := range tabs {
				group.Go(func() { locations[i] = browsers[i].do(t, http.MethodGet, backs[i], nil).Header.Get("Location") })
			}
			group.Wait()
			for i := range tabs {
				require.Equal(t, "/", locations[i])
				require.Equal(t, http.StatusForbidden, browsers[i].do(t, http.MethodGet, api.Prefix+"/projects/absent", nil).Status)
			}
		})
	}
}

func TestOIDC_adminGroup(t *testing.T) {
	boss := clara
	boss.Claims = map[string]any{"groups": []string{"admins"}}
	server, provider := startOIDC(t, "sqlite", map[*setting.Key]any{setting.OIDCAdminGroup: "admins", setting.OIDCGroupFilter: "^none$"}, boss)
	b := newBrowser(t, server)
	b.loginOIDC(t, provider, "clara")
	require.True(t, b.administers(t))

	provider.Set(clara)
	newBrowser(t, server).loginOIDC(t, provider, "clara")
	require.False(t, b.administers(t), "also in sessions that are open")
	require.False(t, user(t, server, "clara").Administers())
}

func TestOIDC_onboardingWithAChosenName(t *testing.T) {
	for _, engine := range apitest.Engines {
		t.Run(engine, func(t *testing.T) {
			server, provider := startOIDC(t, engine, map[*setting.Key]any{setting.OIDCAutoOnboard: false}, clara)
			b := newBrowser(t, server)
			answer := b.loginOIDC(t, provider, "clara")
			require.Equal(t, http.StatusFound, answer.Status, answer.Body)
			require.Equal(t, "/c/oidc/onboard?username=clara", answer.Header.Get("Location"))
			require.Empty(t, b.cookie(t, "sid"))
			page := b.do(t, http.MethodGet, answer.Header.Get("Location"), nil)
			require.Contains(t, page.Body, `value="clara"`)
			_, err := server.Store.UserByName(t.Context(), "clara")
			require.ErrorIs(t, err, metadata.ErrNotFound, "nobody has been made yet")

			choose := func(name string) apitest.Answer {
				return b.do(t, http.MethodPost, "/c/oidc/onboard", url.Values{"username": {name}})
			}
			for name, status := range map[string]int{
				"admin": http.StatusConflict, "": http.StatusBadRequest, "a b": http.StatusBadRequest, "robot$x": http.StatusBadRequest,
				strings.Repeat("x", 300): http.StatusBadRequest, "anonymous": http.StatusBadRequest,
			} {
				refused := choose(name)
				require.Equal(t, status, refused.Status, name)
				require.Contains(t, refused.Body, `<form method="post"`, "they may try again")
			}
			requireRefusal(t, newBrowser(t, server).do(t, http.MethodPost, "/c/oidc/onboard", url.Values{"username": {"mallory"}}), http.StatusPreconditionFailed, "PRECONDITION")

			welcome := choose("clara-the-brave")
			require.Equal(t, http.StatusSeeOther, welcome.Status, welcome.Body)
			require.Equal(t, "/", welcome.Header.Get("Location"))
			require.Equal(t, http.StatusForbidden, b.do(t, http.MethodGet, api.Prefix+"/projects/absent", nil).Status, "logged in")
			require.Equal(t, provider.Issuer+" id-clara", user(t, server, "clara-the-brave").ExternalID)
			require.Equal(t, http.StatusPreconditionFailed, choose("clara").Status, "once")

			again := newBrowser(t, server)
			require.Equal(t, "/", again.loginOIDC(t, provider, "clara").Header.Get("Location"), "no name is asked for the second time")
		})
	}
}

func TestOIDC_onboardingInJSON(t *testing.T) {
	server, provider := startOIDC(t, "sqlite", map[*setting.Key]any{setting.OIDCAutoOnboard: false}, clara)
	b := newBrowser(t, server)
	b.loginOIDC(t, provider, "clara")
	send := func(body string) apitest.Answer {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/c/oidc/onboard", strings.NewReader(body))
		require.NoError(t, err)
		request.Header.Set("Content-Type", "application/json")
		response, err := b.client.Do(request)
		require.NoError(t, err)
		defer response.Body.Close()
		return apitest.Answer{Status: response.StatusCode, Header: response.Header}
	}
	require.Equal(t, http.StatusBadRequest, send(`{`).Status)
	require.Equal(t, http.StatusConflict, send(`{"username":"admin"}`).Status)
	require.Equal(t, http.StatusOK, send(`{"username":"clara"}`).Status)
	require.NotEmpty(t, b.cookie(t, "sid"))
}

func TestOIDC_takesNobodyOver(t *testing.T) {
	impostor := oidctest.User{ID: "id-mallory", Name: "admin"}
	server, provider := startOIDC(t, "sqlite", nil, impostor)
	b := newBrowser(t, server)
	answer := b.loginOIDC(t, provider, "admin")
	require.Equal(t, "/c/oidc/onboard?taken=true&username=admin", answer.Header.Get("Location"))
	require.False(t, b.administers(t))
	require.Contains(t, b.do(t, http.MethodGet, answer.Header.Get("Location"), nil).Body, "Somebody else has this name")
	require.Equal(t, "local", user(t, server, "admin").Source)
	require.Equal(t, http.StatusOK, newBrowser(t, server).login(t, "admin", apitest.AdminPassword).Status)
}

func TestOIDC_namesAreMadeFit(t *testing.T) {
	server, provider := startOIDC(t, "sqlite", map[*setting.Key]any{setting.OIDCUserClaim: "nick"},
		oidctest.User{ID: "1", Name: "one", Claims: map[string]any{"nick": "Clara d'Arc, of #1"}},
		oidctest.User{ID: "2", Name: "two", Claims: map[string]any{"nick": []string{"no", "text"}}},
		oidctest.User{ID: "3", Name: "three", Claims: map[string]any{"nick": "<script>alert(1)</script>"}},
	)
	require.Equal(t, "/", newBrowser(t, server).loginOIDC(t, provider, "one").Header.Get("Location"))
	user(t, server, "Clara_d'Arc__of__1")
	nameless := newBrowser(t, server)
	require.Equal(t, "/c/oidc/onboard?username=", nameless.loginOIDC(t, provider, "two").Header.Get("Location"), "a name is asked for where none is fit")
	require.Equal(t, "/", newBrowser(t, server).loginOIDC(t, provider, "three").Header.Get("Location"))
	page := nameless.do(t, http.MethodGet, "/c/oidc/onboard?username="+url.QueryEscape(`"><script>`), nil)
	require.NotContains(t, page.Body, "<script>")
	require.Contains(t, page.Header.Get("Content-Security-Policy"), "default-src 'none'")
}

func TestOIDC_disabledUserStaysOut(t *testing.T) {
	server, provider := startOIDC(t, "sqlite", nil, clara)
	b := newBrowser(t, server)
	b.loginOIDC(t, provider, "clara")
	require.NoError(t, server.Users.SetDisabled(t.Context(), event.Actor{}, "clara", true))
	require.Equal(t, http.StatusUnauthorized, b.do(t, http.MethodGet, api.Prefix+"/projects/absent", nil).Status)
	other := newBrowser(t, server)
	answer := other.loginOIDC(t, provider, "clara")
	requireRefusal(t, answer, http.StatusForbidden, "FORBIDDEN")
	require.Empty(t, other.cookie(t, "sid"))
	require.Equal(t, http.StatusUnauthorized, bearer(server, provider.Sign(provider.Claims("id-clara"))).Do(t, http.MethodGet, "/projects/absent", nil).Status)
}

func TestOIDC_stateIsBoundToTheBrowserAndGoodOnce(t *testing.T) {
	server, provider := startOIDC(t, "sqlite", nil, clara)
	victim, attacker := newBrowser(t, server), newBrowser(t, server)
	back := provider.Login(t, attacker.leave(t, ""), "clara")
	requireRefusal(t, victim.do(t, http.MethodGet, back.RequestURI(), nil), http.StatusBadRequest, "BAD_REQUEST")
	require.Empty(t, victim.cookie(t, "sid"), "nobody logs a person in as somebody else")

	for name, change := range map[string]func(q url.Values){
		"missing": func(q url.Values) { q.Del("state") },
		"wrong":   func(q url.Values) { q.Set("state", "AAAA") },
		"huge":    func(q url.Values) { q.Set("state", strings.Repeat("A", 10_000)) },
		"issuer":  func(q url.Values) { q.Set("iss", "https://evil.example") },
		"code":    func(q url.Values) { q.Set("code", "x") },
		"no code": func(q url.Values) { q.Del("code") },
	} {
		query := back.Query()
		change(query)
		requireRefusal(t, attacker.do(t, http.MethodGet, "/c/oidc/callback?"+query.Encode(), nil), http.StatusBadRequest, "BAD_REQUEST")
		require.Empty(t, attacker.cookie(t, "sid"), name)
	}
	_, sealed, found := strings.Cut(attacker.cookieHeader(t, "/c/oidc/callback"), "=")
	require.True(t, found)
	renamed := back.Query()
	renamed.Set("state", "AAAA")
	requireRefusal(t, newBrowser(t, server).do(t, http.MethodGet, "/c/oidc/callback?"+renamed.Encode(), nil, "Cookie", "oidc_AAAA="+sealed),
		http.StatusBadRequest, "BAD_REQUEST")

	query := back.Query()
	query.Set("error", "access_denied<script>")
	answer := attacker.do(t, http.MethodGet, "/c/oidc/callback?"+query.Encode(), nil, "Accept", "text/html")
	require.Equal(t, http.StatusForbidden, answer.Status)
	require.NotContains(t, answer.Body, "<script>")
	require.Contains(t, answer.Body, `href="/c/oidc/login"`)
}

func TestOIDC_callbackTwice(t *testing.T) {
	server, provider := startOIDC(t, "sqlite", nil, clara)
	b := newBrowser(t, server)
	location := b.leave(t, "")
	back := provider.Login(t, location, "clara")
	kept := b.cookieHeader(t, "/c/oidc/callback")
	require.Equal(t, http.StatusFound, b.do(t, http.MethodGet, back.RequestURI(), nil).Status)
	requireRefusal(t, b.do(t, http.MethodGet, back.RequestURI(), nil), http.StatusBadRequest, "BAD_REQUEST")

	// The attempt's cookie was kept, and the provider is one that gives out a second code for the same login.
	second := provider.Login(t, location, "clara")
	require.Equal(t, back.Query().Get("state"), second.Query().Get("state"))
	answer := newBrowser(t, server).do(t, http.MethodGet, second.RequestURI(), nil, "Cookie", kept)
	requireRefusal(t, answer, http.StatusBadRequest, "BAD_REQUEST")
	require.Contains(t, answer.Body, "ended already")
	require.Empty(t, answer.Header.Values("Set-Cookie"))
}

func TestOIDC_refusesLies(t *testing.T) {
	server, provider := startOIDC(t, "sqlite", nil, clara)
	lies := map[string]func(claims map[string]any) string{
		"nothing":       func(map[string]any) string { return "" },
		"no token":      func(map[string]any) string { return "x.y.z" },
		"another nonce": func(c map[string]any) string { c["nonce"] = "x"; return provider.Sign(c) },
		"no nonce":      func(c map[string]any) string { delete(c, "nonce"); return provider.Sign(c) },
	}
	maps.Copy(lies, badTokens(provider))
	for name, lie := range lies {
		provider.Lie(lie)
		b := newBrowser(t, server)
		answer := b.loginOIDC(t, provider, "clara")
		requireRefusal(t, answer, http.StatusBadRequest, "BAD_REQUEST")
		require.Empty(t, b.cookie(t, "sid"), name)
	}
	_, err := server.Store.UserByName(t.Context(), "clara")
	require.ErrorIs(t, err, metadata.ErrNotFound)
	provider.Lie(provider.Sign)
	require.Equal(t, http.StatusFound, newBrowser(t, server).loginOIDC(t, provider, "clara").Status, "the truth is let through")
}

// badTokens are tokens that must prove nobody, by what is wrong with them.
func badTokens(provider *oidctest.Provider) map[string]func(claims map[string]any) string {
	with := func(name string, value any) func(claims map[string]any) string {
		return func(claims map[string]any) string {
			claims = maps.Clone(claims)
			claims[name] = value
			return provider.Sign(claims)
		}
	}
	return map[string]func(claims map[string]any) string{
		"another issuer":   with("iss", "https://evil.example"),
		"another audience": with("aud", []string{"another"}),
		"another party":    with("azp", "another"),
		"expired":          with("exp", time.Now().Add(-time.Minute).Unix()),
		"without expiry":   with("exp", 0),
		"not yet good":     with("nbf", time.Now().Add(time.Hour).Unix()),
		"audience of no party": func(c map[string]any) string {
			c = maps.Clone(c)
			delete(c, "azp")
			c["aud"] = []string{oidctest.ClientID, "x"}
			return provider.Sign(c)
		},
		"another key":           provider.Forge,
		"a key nobody knows":    provider.Rotate,
		"altered":               func(c map[string]any) string { return alter(provider.Sign(c)) },
		"alg none":              func(c map[string]any) string { return unsigned(c) },
		"the secret as the key": func(c map[string]any) string { return provider.SignWithSecret(c) },
	}
}

// alter changes the subject of a token and keeps its signature.
func alter(token string) string {
	parts := strings.Split(token, ".")
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		panic(err)
	}
	parts[1] = base64.RawURLEncoding.EncodeToString([]byte(strings.Replace(string(payload), `"sub":"`, `"sub":"x`, 1)))
	return strings.Join(parts, ".")
}

func unsigned(claims map[string]any) string {
	payload, err := json.Marshal(claims)
	if err != nil {
		panic(err)
	}
	return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"JWT"}`)) + "." + base64.RawURLEncoding.EncodeToString(payload) + "."
}

func TestOIDC_bearerOfAnIDToken(t *testing.T) {
	server, provider := startOIDC(t, "sqlite", nil, clara)
	good := provider.Sign(provider.Claims("id-clara"))
	status := func(token string) int {
		return bearer(server, token).Do(t, http.MethodGet, "/projects/absent", nil).Status
	}
	require.Equal(t, http.StatusUnauthorized, status(good), "who has not been onboarded is nobody")
	newBrowser(t, server).loginOIDC(t, provider, "clara")
	require.Equal(t, http.StatusForbidden, status(good), "somebody")
	for name, bad := range badTokens(provider) {
		require.Equal(t, http.StatusUnauthorized, status(bad(provider.Claims("id-clara"))), name)
	}
	for _, bad := range []string{"x", "a.b.c", strings.Repeat("x", 100_000), good + "x", provider.Sign(provider.Claims("id-nobody"))} {
		require.Equal(t, http.StatusUnauthorized, status(bad), bad)
	}
	require.Equal(t, http.StatusForbidden, status(good))
	require.NoError(t, server.Settings.Update(t.Context(), event.Actor{}, map[*setting.Key]any{setting.OIDCEndpoint: ""}))
	require.Equal(t, http.StatusUnauthorized, status(good), "no provider any more")
}

func TestOIDC_keysAreAskedForSeldom(t *testing.T) {
	server, provider := startOIDC(t, "sqlite", nil, clara)
	newBrowser(t, server).loginOIDC(t, provider, "clara")
	for range 50 {
		bearer(server, provider.Rotate(provider.Claims("id-clara"))).Do(t, http.MethodGet, "/projects/absent", nil)
	}
	require.LessOrEqual(t, provider.Asked("/keys"), 14)
	requireRefusal(t, bearer(server, provider.Rotate(provider.Claims("id-clara"))).Do(t, http.MethodGet, "/projects/absent", nil),
		http.StatusServiceUnavailable, "SERVICE_UNAVAILABLE")
	require.Equal(t, http.StatusForbidden, bearer(server, provider.Sign(provider.Claims("id-clara"))).Do(t, http.MethodGet, "/projects/absent", nil).Status,
		"who has a good token does not suffer")
	require.Equal(t, 1, provider.Asked("/.well-known/openid-configuration"))
}

func bearer(server *apitest.Server, token string) *apitest.Client {
	client := server.Anonymous()
	client.Authorize = func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
	return client
}

func TestOIDC_providerDown(t *testing.T) {
	server, provider := startOIDC(t, "sqlite", nil, clara)
	require.Equal(t, http.StatusFound, newBrowser(t, server).do(t, http.MethodGet, "/c/oidc/login", nil).Status)
	b := newBrowser(t, server)
	b.loginOIDC(t, provider, "clara")
	for _, mood := range []oidctest.Mood{oidctest.Failing, oidctest.Hanging} {
		late := newBrowser(t, server)
		back := provider.Login(t, late.leave(t, ""), "clara")
		provider.Become(mood)
		began := time.Now()
		answer := late.do(t, http.MethodGet, back.RequestURI(), nil)
		requireRefusal(t, answer, http.StatusServiceUnavailable, "SERVICE_UNAVAILABLE")
		require.Contains(t, answer.Body, "local account")
		require.NotEmpty(t, answer.Header.Get("Retry-After"))
		require.Less(t, time.Since(began), 8*time.Second)

		require.Equal(t, http.StatusForbidden, b.do(t, http.MethodGet, api.Prefix+"/projects/absent", nil).Status, "sessions go on")
		require.Equal(t, http.StatusForbidden, bearer(server, provider.Sign(provider.Claims("id-clara"))).Do(t, http.MethodGet, "/projects/absent", nil).Status,
			"tokens go on, by the keys that are known")
		require.Equal(t, http.StatusOK, newBrowser(t, server).login(t, "admin", apitest.AdminPassword).Status, "local users go on")
		provider.Become(oidctest.Well)
	}
}

func TestOIDC_providerDownFromTheStart(t *testing.T) {
	server, provider := startOIDC(t, "sqlite", nil, clara)
	provider.Become(oidctest.Failing)
	b := newBrowser(t, server)
	answer := b.do(t, http.MethodGet, "/c/oidc/login", nil)
	requireRefusal(t, answer, http.StatusServiceUnavailable, "SERVICE_UNAVAILABLE")
	provider.Become(oidctest.Well)
	require.Equal(t, http.StatusFound, b.loginOIDC(t, provider, "clara").Status, "at once when it is back")
}

func TestOIDC_redirectsToOwnPathsOnly(t *testing.T) {
	server, provider := startOIDC(t, "sqlite", nil, clara)
	for target, want := range map[string]string{
		"":                       "/",
		"/":                      "/",
		"/harbor/projects/1?a=b": "/harbor/projects/1?a=b",
		"https://evil.example":   "/",
		"//evil.example":         "/",
		"///evil.example":        "/",
		`/\evil.example`:         "/",
		`\\evil.example`:         "/",
		"/\t/evil.example":       "/",
		"/\r\nSet-Cookie: a=b":   "/",
		"javascript:alert(1)":    "/",
		"evil.example":           "/",
		"/%zz":                   "/",
		"@evil.example":          "/",
	} {
		b := newBrowser(t, server)
		back := provider.Login(t, b.leave(t, "?redirect_url="+url.QueryEscape(target)), "clara")
		require.Equal(t, want, b.do(t, http.MethodGet, back.RequestURI(), nil).Header.Get("Location"), target)
	}
}

func TestOIDC_tabsDoNotMeet(t *testing.T) {
	server, provider := startOIDC(t, "sqlite", nil, clara)
	b := newBrowser(t, server)
	first, second := b.leave(t, ""), b.leave(t, "")
	for _, location := range []string{second, first} {
		back := provider.Login(t, location, "clara")
		require.Equal(t, http.StatusFound, b.do(t, http.MethodGet, back.RequestURI(), nil).Status)
	}
}

func TestOIDC_logout(t *testing.T) {
	server, provider := startOIDC(t, "sqlite", nil, clara)
	b := newBrowser(t, server)
	b.loginOIDC(t, provider, "clara")
	require.Equal(t, "/", b.do(t, http.MethodGet, "/c/oidc/logout", nil).Header.Get("Location"))
	require.Empty(t, b.cookie(t, "sid"))

	require.NoError(t, server.Settings.Update(t.Context(), event.Actor{}, map[*setting.Key]any{setting.OIDCLogout: true}))
	b.loginOIDC(t, provider, "clara")
	answer := b.do(t, http.MethodGet, "/c/oidc/logout", nil)
	require.Empty(t, b.cookie(t, "sid"))
	there := answer.Header.Get("Location")
	require.True(t, strings.HasPrefix(there, provider.Issuer), there)
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Get(there)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, server.URL+"/", response.Header.Get("Location"), "the provider knows the token and sends the browser back")

	local := newBrowser(t, server)
	local.login(t, "admin", apitest.AdminPassword)
	require.Equal(t, "/", local.do(t, http.MethodGet, "/c/oidc/logout", nil).Header.Get("Location"), "the provider does not know this one")
}

func TestOIDC_ping(t *testing.T) {
	server, provider := startOIDC(t, "sqlite", nil, clara)
	ping := func(c *apitest.Client, url string, verify bool) apitest.Answer {
		return c.Do(t, http.MethodPost, "/system/oidc/ping", map[string]any{"url": url, "verify_cert": verify})
	}
	require.Equal(t, http.StatusOK, ping(server.Admin(), provider.Issuer, true).Status)
	requireRefusal(t, ping(server.Anonymous(), provider.Issuer, true), http.StatusUnauthorized, "UNAUTHORIZED")
	newBrowser(t, server).loginOIDC(t, provider, "clara")
	requireRefusal(t, ping(bearer(server, provider.Sign(provider.Claims("id-clara"))), provider.Issuer, true), http.StatusForbidden, "FORBIDDEN")

	encrypted := oidctest.Start(t, true, "http://localhost/", "http://localhost/")
	require.Equal(t, http.StatusOK, ping(server.Admin(), encrypted.Issuer, false).Status)
	for url, says := range map[string]string{
		encrypted.Issuer:      "certificate",
		provider.Issuer + "/": "calls itself",
		"":                    "does not answer",
		"ftp://x":             "does not answer",
		"http://127.0.0.1:1":  "does not answer",
		server.URL:            "does not answer",
	} {
		answer := ping(server.Admin(), url, true)
		requireRefusal(t, answer, http.StatusBadRequest, "BAD_REQUEST")
		require.Contains(t, answer.Body, says, url)
	}
}

func TestOIDC_isOff(t *testing.T) {
	server := apitest.Start(t, "sqlite")
	b := newBrowser(t, server)
	requireRefusal(t, b.do(t, http.MethodGet, "/c/oidc/login", nil), http.StatusPreconditionFailed, "PRECONDITION")
	requireRefusal(t, b.do(t, http.MethodGet, "/c/oidc/callback?state=x&code=y", nil), http.StatusBadRequest, "BAD_REQUEST")
	require.Equal(t, "/", b.do(t, http.MethodGet, "/c/oidc/logout", nil).Header.Get("Location"))
	require.Equal(t, http.StatusUnauthorized, b.login(t, "nobody", "wrong").Status)
}

func TestOIDC_secretsStaySecret(t *testing.T) {
	server, provider := startOIDC(t, "sqlite", nil, clara)
	b := newBrowser(t, server)
	location := b.leave(t, "")
	require.NotContains(t, location, oidctest.ClientSecret)
	b.loginOIDC(t, provider, "clara")
	rows, err := server.Store.Settings(t.Context(), "configuration/")
	require.NoError(t, err)
	require.NotContains(t, rows["configuration/oidc_client_secret"], oidctest.ClientSecret)
}
