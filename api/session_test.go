package api_test

import (
	"context"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/api"
	"github.com/berth-registry/berth/api/apitest"
	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/identity/local"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/setting"
)

const csrfHeader = "X-Harbor-CSRF-Token"

// browser keeps cookies, and the token that belongs to them, as a page's script does.
type browser struct {
	server *apitest.Server
	client http.Client
	token  string
}

func newBrowser(t testing.TB, server *apitest.Server) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	return &browser{server: server, client: http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}}
}

// do sends a request to a path of the server. A form goes as such; headers come as names and values in turn.
func (b *browser) do(t testing.TB, method, path string, form url.Values, headers ...string) apitest.Answer {
	t.Helper()
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	request, err := http.NewRequestWithContext(t.Context(), method, b.server.URL+path, body)
	require.NoError(t, err)
	if form != nil {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if b.token != "" {
		request.Header.Set(csrfHeader, b.token)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := b.client.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	said, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	if token := response.Header.Get(csrfHeader); token != "" {
		b.token = token
	}
	return apitest.Answer{Status: response.StatusCode, Header: response.Header, Body: string(said)}
}

func (b *browser) login(t testing.TB, name, password string) apitest.Answer {
	t.Helper()
	return b.do(t, http.MethodPost, "/c/login", url.Values{"principal": {name}, "password": {password}})
}

// cookie returns one that the browser has.
func (b *browser) cookie(t testing.TB, name string) string {
	t.Helper()
	here, err := url.Parse(b.server.URL)
	require.NoError(t, err)
	for _, cookie := range b.client.Jar.Cookies(here) {
		if cookie.Name == name {
			return cookie.Value
		}
	}
	return ""
}

// cookieHeader returns the cookies that the browser sends to a path.
func (b *browser) cookieHeader(t testing.TB, path string) string {
	t.Helper()
	there, err := url.Parse(b.server.URL + path)
	require.NoError(t, err)
	var pairs []string
	for _, cookie := range b.client.Jar.Cookies(there) {
		pairs = append(pairs, cookie.Name+"="+cookie.Value)
	}
	return strings.Join(pairs, "; ")
}

// administers asks for something that only a system administrator gets an answer to.
func (b *browser) administers(t testing.TB) bool {
	t.Helper()
	status := b.do(t, http.MethodGet, api.Prefix+"/projects/absent", nil).Status
	require.Contains(t, []int{http.StatusNotFound, http.StatusUnauthorized, http.StatusForbidden}, status)
	return status == http.StatusNotFound
}

func TestSession_loginAndLogout(t *testing.T) {
	apitest.EachEngine(t, func(t *testing.T, server *apitest.Server) {
		b := newBrowser(t, server)
		require.False(t, b.administers(t))
		answer := b.login(t, "admin", apitest.AdminPassword)
		require.Equal(t, http.StatusOK, answer.Status, answer.Body)
		require.Empty(t, answer.Body)
		require.True(t, b.administers(t))

		first := b.cookie(t, "sid")
		require.Equal(t, http.StatusOK, b.login(t, "admin", apitest.AdminPassword).Status)
		require.NotEqual(t, first, b.cookie(t, "sid"), "a new id at each login")
		require.Equal(t, http.StatusUnauthorized, server.Anonymous().Do(t, http.MethodGet, "/projects/absent", nil, "Cookie", "sid="+first).Status)

		require.Equal(t, http.StatusOK, b.do(t, http.MethodGet, "/c/log_out", nil).Status)
		require.Empty(t, b.cookie(t, "sid"))
		require.False(t, b.administers(t))
		require.Equal(t, http.StatusOK, b.do(t, http.MethodGet, "/c/log_out", nil).Status, "twice")
	})
}

// TestSession_staysIdleWhereAsked has what a page asks by itself, from time to time, not count as use.
func TestSession_staysIdleWhereAsked(t *testing.T) {
	server := apitest.Start(t, "sqlite")
	b := newBrowser(t, server)
	require.Equal(t, http.StatusOK, b.login(t, "admin", apitest.AdminPassword).Status)
	ask := func(quiet string) (transactions int64) {
		t.Helper()
		before := server.Transactions()
		require.Equal(t, http.StatusOK, b.do(t, http.MethodGet, api.Prefix+"/users/current", nil, "X-Harbor-No-Session-Renewal", quiet).Status)
		return server.Transactions() - before
	}
	server.Later(20 * time.Minute)
	require.Zero(t, ask("true"), "not renewed")
	require.Equal(t, int64(1), ask("nonsense"), "renewed: what is no yes is none")
	for range 2 {
		server.Later(50 * time.Minute) // of the 60 that are allowed
		require.Equal(t, int64(1), ask(""))
	}
	server.Later(50 * time.Minute)
	require.Zero(t, ask("1"))
	server.Later(20 * time.Minute)
	require.Equal(t, http.StatusUnauthorized, b.do(t, http.MethodGet, api.Prefix+"/users/current", nil).Status, "idle for too long, though it was asked")
}

func TestSession_cookieIsOutOfReach(t *testing.T) {
	server := apitest.Start(t, "sqlite")
	answer := newBrowser(t, server).login(t, "admin", apitest.AdminPassword)
	for _, cookie := range answer.Header.Values("Set-Cookie") {
		require.Contains(t, cookie, "Path=/; HttpOnly")
		require.Contains(t, cookie, "SameSite=Lax")
		require.NotContains(t, cookie, "Secure", "over plain HTTP a browser would throw it away")
	}
	require.Equal(t, "no-store", answer.Header.Get("Cache-Control"))
}

func TestSession_cookieIsForTLSOnly(t *testing.T) {
	server := apitest.Start(t, "sqlite", func(options *api.Options) {
		options.Base = func(*http.Request) string { return "https://registry.example.org" }
	})
	answer := newBrowser(t, server).login(t, "admin", apitest.AdminPassword)
	require.Equal(t, http.StatusOK, answer.Status)
	require.Len(t, answer.Header.Values("Set-Cookie"), 2)
	for _, cookie := range answer.Header.Values("Set-Cookie") {
		require.Contains(t, cookie, "; Secure")
	}
}

func TestLogin_refuses(t *testing.T) {
	server := apitest.Start(t, "sqlite")
	for name, form := range map[string]url.Values{
		"password":  {"principal": {"admin"}, "password": {"wrong"}},
		"name":      {"principal": {"nobody"}, "password": {"wrong"}},
		"empty":     {},
		"long name": {"principal": {strings.Repeat("x", 1000)}, "password": {"wrong"}},
	} {
		answer := newBrowser(t, server).do(t, http.MethodPost, "/c/login", form)
		requireRefusal(t, answer, http.StatusUnauthorized, "UNAUTHORIZED")
		require.Contains(t, answer.Body, "wrong user name or password", name)
		require.Empty(t, answer.Header.Values("Set-Cookie"), name)
	}
	b := newBrowser(t, server)
	requireRefusal(t, b.do(t, http.MethodPost, "/c/login", url.Values{"principal": {strings.Repeat("x", 100_000)}}), http.StatusRequestEntityTooLarge, "REQUEST_ENTITY_TOO_LARGE")
	require.Equal(t, http.StatusUnauthorized, b.do(t, http.MethodPost, "/c/login?principal=admin&password="+apitest.AdminPassword, url.Values{}).Status,
		"no passwords in addresses")
	requireRefusal(t, b.do(t, http.MethodGet, "/c/login", nil), http.StatusMethodNotAllowed, "METHOD_NOT_ALLOWED")
	requireRefusal(t, b.do(t, http.MethodGet, "/c/absent", nil), http.StatusNotFound, "NOT_FOUND")

	var last apitest.Answer
	for range 20 {
		if last = b.login(t, "admin", "wrong"); last.Status != http.StatusUnauthorized {
			break
		}
	}
	requireRefusal(t, last, http.StatusTooManyRequests, "TOO_MANY_REQUEST")
	require.NotEmpty(t, last.Header.Get("Retry-After"))
}

func TestSession_databaseDown(t *testing.T) {
	server := apitest.Start(t, "sqlite")
	b := newBrowser(t, server)
	b.login(t, "admin", apitest.AdminPassword)
	require.True(t, b.administers(t))
	require.NoError(t, server.Store.Close())
	for _, name := range []string{"admin", "nobody"} {
		requireRefusal(t, newBrowser(t, server).login(t, name, apitest.AdminPassword+"x"), http.StatusServiceUnavailable, "SERVICE_UNAVAILABLE")
	}
	// What has ended in the browser has not ended in the database, and must not look so.
	requireRefusal(t, b.do(t, http.MethodGet, "/c/log_out", nil), http.StatusServiceUnavailable, "SERVICE_UNAVAILABLE")
	require.NotEmpty(t, b.cookie(t, "sid"))
}

func TestLogin_ofAnotherSite(t *testing.T) {
	server := apitest.Start(t, "sqlite")
	form := url.Values{"principal": {"admin"}, "password": {apitest.AdminPassword}}
	for name, headers := range map[string][]string{
		"new browser": {"Sec-Fetch-Site", "cross-site"},
		"old browser": {"Origin", "https://evil.example"},
		"sandbox":     {"Origin", "null"},
	} {
		answer := newBrowser(t, server).do(t, http.MethodPost, "/c/login", form, headers...)
		requireRefusal(t, answer, http.StatusForbidden, "FORBIDDEN")
		require.Empty(t, answer.Header.Values("Set-Cookie"), name)
	}
	for _, headers := range [][]string{{"Sec-Fetch-Site", "same-origin"}, {"Origin", server.URL}} {
		require.Equal(t, http.StatusOK, newBrowser(t, server).do(t, http.MethodPost, "/c/login", form, headers...).Status)
	}
}

func TestCSRF_unsafeRequestsOfASessionNeedItsToken(t *testing.T) {
	server := apitest.Start(t, "sqlite")
	b := newBrowser(t, server)
	b.login(t, "admin", apitest.AdminPassword)
	own := b.token
	require.NotEmpty(t, own)
	const path = api.Prefix + "/users/current/sessions"
	other := newBrowser(t, server)
	other.login(t, "admin", apitest.AdminPassword)

	for name, token := range map[string]string{
		"none": "", "altered": own + "A", "another session's": other.token, "another's form": strings.Repeat("x", 10_000),
	} {
		b.token = token
		answer := b.do(t, http.MethodDelete, path, nil, csrfHeader, token)
		requireRefusal(t, answer, http.StatusForbidden, "FORBIDDEN")
		require.Equal(t, own, answer.Header.Get(csrfHeader), name+": the refusal tells the right one")
	}
	require.True(t, b.administers(t), "nothing was done")

	// A client that knows no more than the cookie does as it is told: terraform's session mode.
	client := http.Client{}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, server.URL+path, nil)
	require.NoError(t, err)
	request.Header.Set("Cookie", "sid="+b.cookie(t, "sid"))
	refused, err := client.Do(request)
	require.NoError(t, err)
	require.NoError(t, refused.Body.Close())
	require.Equal(t, http.StatusForbidden, refused.StatusCode)
	require.Len(t, refused.Cookies(), 1)
	require.Equal(t, "_gorilla_csrf", refused.Cookies()[0].Name)
	request.AddCookie(refused.Cookies()[0])
	request.Header.Set(csrfHeader, refused.Header.Get(csrfHeader))
	allowed, err := client.Do(request)
	require.NoError(t, err)
	require.NoError(t, allowed.Body.Close())
	require.Equal(t, http.StatusOK, allowed.StatusCode)
	require.False(t, b.administers(t), "all sessions have ended")
	require.False(t, other.administers(t))
}

func TestCSRF_isForSessionsOnly(t *testing.T) {
	server := apitest.Start(t, "sqlite")
	answer := server.Admin().Must(t, http.StatusOK, http.MethodDelete, "/users/current/sessions", nil)
	require.Empty(t, answer.Header.Get(csrfHeader))
	answer = server.Admin().Do(t, http.MethodDelete, "/users/current/sessions", nil, "Cookie", "sid=stale")
	requireRefusal(t, answer, http.StatusForbidden, "FORBIDDEN")
	requireRefusal(t, server.Anonymous().Do(t, http.MethodDelete, "/users/current/sessions", nil), http.StatusUnauthorized, "UNAUTHORIZED")
}

func TestSession_authorizationHeaderGoesFirst(t *testing.T) {
	server := apitest.Start(t, "sqlite")
	_, err := server.Users.Create(t.Context(), event.Actor{}, local.NewUser{Name: "alice", Password: apitest.AdminPassword})
	require.NoError(t, err)
	b := newBrowser(t, server)
	b.login(t, "admin", apitest.AdminPassword)
	cookie := "sid=" + b.cookie(t, "sid")
	require.Equal(t, http.StatusForbidden, server.As("alice", apitest.AdminPassword).Do(t, http.MethodGet, "/projects/absent", nil, "Cookie", cookie).Status)
	require.Equal(t, http.StatusUnauthorized, server.As("alice", "wrong").Do(t, http.MethodGet, "/projects/absent", nil, "Cookie", cookie).Status)
}

func TestUserExists_tellsNobodyWho(t *testing.T) {
	server := apitest.Start(t, "sqlite")
	server.Write(t, func(ctx context.Context, tx *metadata.Tx) error {
		_, err := tx.CreateUser(ctx, metadata.User{Name: "alice", Email: "alice@example.org"})
		return err
	})
	ask := func(b *browser, target, value string) apitest.Answer {
		return b.do(t, http.MethodPost, "/c/userExists", url.Values{"target": {target}, "value": {value}})
	}
	anonymous, admin := newBrowser(t, server), newBrowser(t, server)
	admin.login(t, "admin", apitest.AdminPassword)
	for _, name := range []string{"alice", "nobody"} {
		requireRefusal(t, ask(anonymous, "username", name), http.StatusPreconditionFailed, "PRECONDITION")
	}
	for value, want := range map[[2]string]string{
		{"username", "alice"}: "true", {"username", "nobody"}: "false", {"username", ""}: "false", {"username", "Alice"}: "false",
		{"email", "alice@example.org"}: "true", {"email", "x@example.org"}: "false", {"email", ""}: "false",
	} {
		answer := ask(admin, value[0], value[1])
		require.Equal(t, http.StatusOK, answer.Status, answer.Body)
		require.Equal(t, want, strings.TrimSpace(answer.Body), value)
	}
	requireRefusal(t, ask(admin, "password", "x"), http.StatusBadRequest, "BAD_REQUEST")

	require.NoError(t, server.Settings.Update(t.Context(), event.Actor{}, map[*setting.Key]any{setting.SelfRegistration: true}))
	require.Equal(t, "true", strings.TrimSpace(ask(anonymous, "username", "alice").Body))
}
