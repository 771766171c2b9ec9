package auth_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/distribution/auth"
	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/identity"
	"github.com/berth-registry/berth/identity/local"
	"github.com/berth-registry/berth/identity/oidc"
	"github.com/berth-registry/berth/identity/personal"
	"github.com/berth-registry/berth/identity/robot"
	"github.com/berth-registry/berth/identity/session"
	"github.com/berth-registry/berth/identity/token"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/metadata/sqlite/sqlitetest"
	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/policy"
	"github.com/berth-registry/berth/secret"
	"github.com/berth-registry/berth/setting"
)

const password = "Correct-horse1"

var cheap = local.Params{Memory: 64, Time: 1, Threads: 1}

// fixture is a gate in a server: TokenPath and KeysPath as they are, /v2/ for credentials, /v2/_catalog for the list, and
// /v2/<action>/<repository> for an action.
type fixture struct {
	url      string
	store    *metadata.Store
	users    *local.Users
	gate     *auth.Gate
	settings *setting.Settings
	robots   *robot.Robots
	tokens   *personal.Tokens
	mu       sync.Mutex
	time     time.Time
	outcomes []string
}

func (f *fixture) now() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.time
}

func (f *fixture) advance(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.time = f.time.Add(d)
}

func (f *fixture) observe(outcome string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.outcomes = append(f.outcomes, outcome)
}

// newFixture has the public project "open" and the private "closed" with the members dev (developer), boss (projectAdmin) and
// reader (guest), the system administrator root, and stranger.
func newFixture(t testing.TB) *fixture {
	t.Helper()
	store := sqlitetest.Open(t)
	f := &fixture{store: store, time: time.Unix(2_000_000_000, 0)}
	accounts := identity.NewAccounts(store, f.now)
	f.users = local.NewUsers(local.UsersOptions{Store: store, Params: cheap})
	f.fill(t)

	box, err := secret.New([]byte(strings.Repeat("k", secret.MinKeyLength)))
	require.NoError(t, err)
	ring, err := token.OpenRing(t.Context(), token.RingOptions{Store: store, Box: box, MaxTokenLifetime: token.DefaultRefreshLifetime, Now: f.now})
	require.NoError(t, err)
	tokens, err := token.New(token.Options{Ring: ring, Now: f.now})
	require.NoError(t, err)
	rbac, err := policy.New(policy.Options{Memberships: store, Accounts: accounts, Now: f.now})
	require.NoError(t, err)
	f.settings = setting.New(setting.Options{Store: store, Box: box})
	users := local.NewSource(local.SourceOptions{Store: store, Params: cheap})
	f.tokens = personal.New(personal.Options{Store: store, Accounts: accounts, Verifier: users, Now: f.now})
	t.Cleanup(func() { _ = f.tokens.Close() }) // a test may have closed the store
	// Its own accounts are those of another gateway, whose changes have to get around.
	f.robots = robot.New(robot.Options{Store: store, Settings: f.settings, Accounts: identity.NewAccounts(store, f.now), Params: cheap})
	login, err := identity.NewLogin(identity.LoginOptions{
		Sources:  []identity.Source{f.tokens, robot.NewSource(robot.SourceOptions{Store: store, Verifier: users, Now: f.now}), users},
		Accounts: accounts, Now: f.now,
	})
	require.NoError(t, err)
	people := oidc.New(oidc.Options{
		Store: store, Settings: f.settings, Accounts: accounts, Box: box,
		Sessions: session.New(session.Options{Store: store, Accounts: accounts, Settings: f.settings, Login: login, Box: box}),
	})
	f.gate, err = auth.New(auth.Options{Login: login, IDTokens: people, Accounts: accounts, Tokens: tokens, Policy: rbac, Observe: f.observe})
	require.NoError(t, err)

	mux := http.NewServeMux()
	mux.HandleFunc(auth.TokenPath, f.gate.ServeToken)
	mux.HandleFunc(auth.KeysPath, f.gate.ServeKeys)
	mux.HandleFunc("/v2/", f.serve)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	f.url = server.URL
	return f
}

func (f *fixture) fill(t testing.TB) {
	t.Helper()
	for _, name := range []string{"root", "dev", "boss", "reader", "stranger"} {
		_, err := f.users.Create(t.Context(), event.Actor{}, local.NewUser{Name: name, Password: password, SystemAdmin: name == "root"})
		require.NoError(t, err)
	}
	require.NoError(t, f.store.Tx(t.Context(), func(ctx context.Context, tx *metadata.Tx) error {
		for _, project := range []string{"open", "closed"} {
			row, err := tx.CreateProject(ctx, metadata.Project{Name: project, Public: project == "open"})
			if err != nil {
				return err
			}
			for name, role := range map[string]policy.Role{"dev": policy.Developer, "boss": policy.ProjectAdmin, "reader": policy.Guest} {
				user, err := tx.UserByName(ctx, name)
				if err != nil {
					return err
				}
				if _, err := tx.SetMember(ctx, metadata.Member{ProjectID: row.ID, UserID: user.ID, RoleID: int(role)}); err != nil {
					return err
				}
			}
		}
		return nil
	}))
}

// serve does what the distribution face does with a gate.
func (f *fixture) serve(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/v2/")
	action, repository, found := strings.Cut(path, "/")
	var scopes []token.Scope
	switch {
	case path == "_catalog":
		scopes = append(scopes, token.CatalogScope())
	case found:
		scopes = append(scopes, auth.Scope(policy.Action(action), oci.Repository(repository)))
	}
	access, err := f.gate.Authenticate(r, scopes...)
	if err == nil {
		switch path {
		case "":
			err = access.RequireCredentials()
		case "_catalog":
			err = access.RequireCatalog(r.Context())
		default:
			err = access.Require(r.Context(), policy.Action(action), oci.Repository(repository))
		}
	}
	if refusal, refused := err.(*auth.Refusal); refused { //nolint:errorlint // every error of a gate is one
		refusal.Write(w)
		return
	}
	w.Header().Set("Principal", access.Principal.Name+" "+access.Credential)
}

type answer struct {
	status    int
	header    http.Header
	body      string
	code      string
	message   string
	challenge token.Challenge
	token     tokenAnswer
}

type tokenAnswer struct {
	Token        string `json:"token"`
	AccessToken  string `json:"access_token"`
	ExpiresIn    int    `json:"expires_in"`
	IssuedAt     string `json:"issued_at"`
	Scope        string `json:"scope"`
	RefreshToken string `json:"refresh_token"`
}

func (f *fixture) do(t testing.TB, r *http.Request) answer {
	t.Helper()
	response, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	a := answer{status: response.StatusCode, header: response.Header, body: string(body)}
	if response.StatusCode >= 400 {
		var parsed struct {
			Errors []struct{ Code, Message string }
		}
		require.NoError(t, json.Unmarshal(body, &parsed), a.body)
		require.Len(t, parsed.Errors, 1)
		require.Equal(t, "application/json", response.Header.Get("Content-Type"))
		a.code, a.message = parsed.Errors[0].Code, parsed.Errors[0].Message
		require.NotEmpty(t, a.message)
	} else if len(body) > 0 {
		require.NoError(t, json.Unmarshal(body, &a.token))
	}
	require.Equal(t, response.StatusCode == http.StatusUnauthorized, response.Header.Get("WWW-Authenticate") != "")
	if header := response.Header.Get("WWW-Authenticate"); header != "" {
		a.challenge, err = token.ParseChallenge(header)
		require.NoError(t, err)
	}
	return a
}

// get sends a request with a function that adds credentials.
func (f *fixture) get(t testing.TB, path string, credentials func(r *http.Request)) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.url+path, nil)
	require.NoError(t, err)
	if credentials != nil {
		credentials(r)
	}
	return f.do(t, r)
}

func (f *fixture) post(t testing.TB, form url.Values) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, f.url+auth.TokenPath, strings.NewReader(form.Encode()))
	require.NoError(t, err)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return f.do(t, r)
}

func basic(name, secret string) func(r *http.Request) {
	return func(r *http.Request) { r.SetBasicAuth(name, secret) }
}

func bearer(bearer string) func(r *http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+bearer) }
}

// token gets a token as docker does; name "" is nobody.
func (f *fixture) token(t testing.TB, name string, scopes ...string) string {
	t.Helper()
	var credentials func(r *http.Request)
	if name != "" {
		credentials = basic(name, password)
	}
	a := f.get(t, auth.TokenPath+"?"+url.Values{"service": {"berth"}, "scope": scopes}.Encode(), credentials)
	require.Equal(t, http.StatusOK, a.status, a.body)
	return a.token.Token
}
