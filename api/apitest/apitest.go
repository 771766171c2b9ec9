// Package apitest runs the API in a server, over a real database, for tests.
package apitest

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/api"
	"github.com/berth-registry/berth/caddymodules/thisregistry"
	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/event/follow"
	"github.com/berth-registry/berth/identity"
	"github.com/berth-registry/berth/identity/group"
	"github.com/berth-registry/berth/identity/ldap"
	"github.com/berth-registry/berth/identity/local"
	"github.com/berth-registry/berth/identity/oidc"
	"github.com/berth-registry/berth/identity/personal"
	"github.com/berth-registry/berth/identity/robot"
	"github.com/berth-registry/berth/identity/session"
	"github.com/berth-registry/berth/jobs"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/metadata/postgres"
	"github.com/berth-registry/berth/metadata/postgres/postgrestest"
	"github.com/berth-registry/berth/metadata/sqlite/sqlitetest"
	"github.com/berth-registry/berth/notify/audit"
	"github.com/berth-registry/berth/notify/webhook"
	"github.com/berth-registry/berth/policy"
	"github.com/berth-registry/berth/project"
	"github.com/berth-registry/berth/project/retain"
	"github.com/berth-registry/berth/registry"
	"github.com/berth-registry/berth/replicate"
	_ "github.com/berth-registry/berth/replicate/adapter/standard" // as the registry has them
	"github.com/berth-registry/berth/secret"
	"github.com/berth-registry/berth/setting"
)

// AdminPassword is the password of the user admin, and of whoever [Server.AddUser] makes.
const AdminPassword = "Correct-horse1"

// cheap keeps tests from hashing for seconds.
var cheap = local.Params{Memory: 64, Time: 1, Threads: 1}

// Server is a running API with the user admin and the public project library.
type Server struct {
	URL          string
	API          *api.API
	Store        *metadata.Store
	Registry     *registry.Registry
	Users        *local.Users
	Accounts     *identity.Accounts
	AccessTokens *personal.Tokens
	Policy       *policy.RBAC
	Box          *secret.Box
	Settings     *setting.Settings
	Sessions     *session.Sessions
	OIDC         *oidc.People
	Registries   *replicate.Registries
	Replication  *replicate.Policies
	Jobs         *jobs.Jobs

	mu           sync.Mutex
	recorded     []event.Event
	transactions atomic.Int64
	ahead        atomic.Int64
}

// requested marks the context of requests.
type requested struct{}

// Transactions is how many transactions requests have begun: what needs one, and did not begin one, has not happened.
func (s *Server) Transactions() int64 { return s.transactions.Load() }

// Later has the clock of sessions go ahead by a duration.
func (s *Server) Later(by time.Duration) { s.ahead.Add(int64(by)) }

// Recorded are the events of refusals, which nobody writes here.
func (s *Server) Recorded() []event.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.recorded)
}

func (s *Server) record(e event.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.recorded = append(s.recorded, e)
}

// Engines are the databases that a test runs on.
var Engines = []string{"sqlite", "postgres"}

// EachEngine runs a test on every database.
func EachEngine(t *testing.T, test func(t *testing.T, server *Server)) {
	t.Helper()
	for _, engine := range Engines {
		t.Run(engine, func(t *testing.T) { test(t, Start(t, engine)) })
	}
}

// Start starts a server on a new database: "sqlite" or "postgres". What it stands on can be adjusted.
func Start(t testing.TB, engine string, adjust ...func(*api.Options)) *Server {
	t.Helper()
	s := &Server{}
	s.openStore(t, engine)
	_, err := local.Bootstrap(t.Context(), s.Store, AdminPassword, cheap)
	require.NoError(t, err)
	s.Accounts = identity.NewAccounts(s.Store, nil)
	s.Users = local.NewUsers(local.UsersOptions{Store: s.Store, Accounts: s.Accounts, Params: cheap})
	s.Policy, err = policy.New(policy.Options{Memberships: s.Store, Accounts: s.Accounts})
	require.NoError(t, err)
	s.Box, err = secret.New([]byte(strings.Repeat("k", secret.MinKeyLength)))
	require.NoError(t, err)
	s.Settings = setting.New(setting.Options{Store: s.Store, Box: s.Box})
	groupsChanged := func() { s.Policy.Invalidate("") }
	company := ldap.NewSource(ldap.SourceOptions{Store: s.Store, Settings: s.Settings, Accounts: s.Accounts, Moved: groupsChanged})
	t.Cleanup(func() { require.NoError(t, company.Close()) })
	s.Accounts.Follow(ldap.SourceName, company)
	users := local.NewSource(local.SourceOptions{Store: s.Store, Params: cheap})
	s.AccessTokens = personal.New(personal.Options{Store: s.Store, Accounts: s.Accounts, Verifier: users, Params: cheap})
	t.Cleanup(func() { _ = s.AccessTokens.Close() }) // a test may have closed the store
	login, err := identity.NewLogin(identity.LoginOptions{
		Sources:  []identity.Source{s.AccessTokens, robot.NewSource(robot.SourceOptions{Store: s.Store, Verifier: users}), users, company},
		Accounts: s.Accounts,
	})
	require.NoError(t, err)
	s.Sessions = session.New(session.Options{Store: s.Store, Accounts: s.Accounts, Settings: s.Settings, Login: login, Box: s.Box, Now: func() time.Time { return time.Now().Add(time.Duration(s.ahead.Load())) }})
	s.OIDC = oidc.New(oidc.Options{
		Store: s.Store, Settings: s.Settings, Accounts: s.Accounts, Sessions: s.Sessions, Box: s.Box, Moved: func() { s.Policy.Invalidate("") },
	})
	s.Registry = openRegistry(t, s.Store, s.Settings)
	groups := group.New(group.Options{Store: s.Store, Removed: groupsChanged})
	options := api.Options{
		Store: s.Store, Registry: s.Registry, Policy: s.Policy, Login: login, Sessions: s.Sessions, OIDC: s.OIDC, Settings: s.Settings, Record: s.record,
		Users: s.Users, LDAP: company, Groups: groups,
		Projects:     project.New(project.Options{Store: s.Store, Settings: s.Settings, Groups: groups, Directory: company, Changed: s.Policy.Invalidate}),
		Robots:       robot.New(robot.Options{Store: s.Store, Settings: s.Settings, Accounts: s.Accounts, Params: cheap}),
		AccessTokens: s.AccessTokens,
	}
	s.Registries = replicate.NewRegistries(replicate.RegistriesOptions{Store: s.Store, Box: s.Box})
	t.Cleanup(func() { require.NoError(t, s.Registries.Close()) })
	options.Registries = s.Registries
	sender := webhook.NewSender(webhook.SenderOptions{
		Store: s.Store, Box: s.Box, Settings: s.Settings, Logger: slog.New(slog.DiscardHandler), Pause: 10 * time.Millisecond,
	})
	t.Cleanup(func() { require.NoError(t, sender.Close()) })
	s.startJobs(t, &options, sender)
	options.Webhooks = webhook.NewPolicies(webhook.PoliciesOptions{Store: s.Store, Box: s.Box, Sender: sender, Jobs: s.Jobs})
	for _, change := range adjust {
		change(&options)
	}
	s.Settings, s.API = options.Settings, api.New(options)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.API.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), requested{}, true)))
	}))
	t.Cleanup(server.Close)
	s.URL = server.URL
	return s
}

// startJobs starts the work in the background.
func (s *Server) startJobs(t testing.TB, options *api.Options, sender *webhook.Sender) {
	s.Replication = replicate.NewPolicies(replicate.PoliciesOptions{Store: s.Store, Registries: s.Registries, Pause: 10 * time.Millisecond, Local: thisregistry.New(thisregistry.Options{
		Store: s.Store, Registry: s.Registry, Projects: options.Projects,
	})})
	s.Jobs = jobs.New(jobs.Options{
		Store: s.Store, Logger: slog.New(slog.DiscardHandler), Poll: 10 * time.Millisecond,
		Kinds: append([]jobs.Kind{audit.Purging(s.Store), s.Registries.Checking(), sender.Delivering(), registry.Collecting(s.Registry, registry.DefaultCollectGrace), registry.Verifying(s.Registry)}, slices.Concat(s.Replication.Kinds(), retain.Retaining(s.Store, s.Registry))...),
	})
	s.Replication.Bind(s.Jobs)
	options.Replication = s.Replication
	t.Cleanup(func() { require.NoError(t, s.Jobs.Close()) })
	options.Jobs = s.Jobs
	options.Retentions = retain.New(s.Store, s.Jobs)
	options.Purges, options.Collections = s.Jobs.Recurring(audit.PurgeKind), s.Jobs.Recurring(registry.CollectionKind)
	options.Verifications = s.Jobs.Recurring(registry.VerificationKind)
}

// FollowWebhooks has webhooks told of events until the test ends, as a running registry does.
func (s *Server) FollowWebhooks(t testing.TB) {
	t.Helper()
	dispatcher := webhook.NewDispatcher(webhook.DispatcherOptions{Store: s.Store, Jobs: s.Jobs, Settings: s.Settings, Logger: slog.New(slog.DiscardHandler)})
	s.follow(t, webhook.Follower, dispatcher.Handle)
}

// FollowReplications has events begin replications until the test ends, as a running registry does.
func (s *Server) FollowReplications(t testing.TB) {
	t.Helper()
	s.follow(t, replicate.Follower, s.Replication.Handle)
}

func (s *Server) follow(t testing.TB, name string, handle func(ctx context.Context, events []metadata.Event) (follow.Write, error)) {
	follower := follow.New(follow.Options{
		Store: s.Store, Name: name, Handle: handle, Written: s.Jobs.Wake, Logger: slog.New(slog.DiscardHandler), Poll: 10 * time.Millisecond,
	})
	ctx, stop := context.WithCancel(context.Background())
	var following sync.WaitGroup
	following.Go(func() { follower.Run(ctx) })
	t.Cleanup(func() {
		stop()
		following.Wait()
	})
}

func (s *Server) openStore(t testing.TB, engine string) {
	t.Helper()
	if engine == "sqlite" {
		s.Store = sqlitetest.Open(t)
	} else {
		store, err := postgres.Open(postgres.Options{URL: postgrestest.Start(t)}, slog.New(slog.DiscardHandler))
		require.NoError(t, err)
		t.Cleanup(func() { _ = store.Close() }) // a test may have closed it
		require.NoError(t, store.Migrate(t.Context()))
		s.Store = store
	}
	s.Store.Observe(func(ctx context.Context, name string) (context.Context, func(error)) {
		if marked, _ := ctx.Value(requested{}).(bool); marked && name == "transaction" {
			s.transactions.Add(1)
		}
		return ctx, func(error) {}
	})
}

// Write runs a transaction.
func (s *Server) Write(t testing.TB, fn func(ctx context.Context, tx *metadata.Tx) error) {
	t.Helper()
	require.NoError(t, s.Store.Tx(t.Context(), fn))
}

// Client speaks the API as one caller.
type Client struct {
	server *Server
	// Authorize adds the credentials to a request.
	Authorize func(r *http.Request)
}

// As is a client with a name and password.
func (s *Server) As(name, password string) *Client {
	return &Client{server: s, Authorize: func(r *http.Request) { r.SetBasicAuth(name, password) }}
}

// Admin is the administrator.
func (s *Server) Admin() *Client { return s.As("admin", AdminPassword) }

// Anonymous is a client without credentials.
func (s *Server) Anonymous() *Client { return &Client{server: s, Authorize: func(*http.Request) {}} }

// Answer is an answer with its whole body.
type Answer struct {
	Status int
	Header http.Header
	Body   string
}

// JSON decodes the body.
func (a Answer) JSON(t testing.TB, into any) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(a.Body), into), a.Body)
}

// Do sends a request to a path below the API's prefix, with a body that is encoded as JSON unless it is nil, text or bytes.
// Headers come as names and values in turn.
func (c *Client) Do(t testing.TB, method, path string, body any, headers ...string) Answer {
	t.Helper()
	var reader io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		reader = bytes.NewReader([]byte(b))
	case []byte:
		reader = bytes.NewReader(b)
	default:
		encoded, err := json.Marshal(b)
		require.NoError(t, err)
		reader = bytes.NewReader(encoded)
	}
	request, err := http.NewRequestWithContext(t.Context(), method, c.server.URL+api.Prefix+path, reader)
	require.NoError(t, err)
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	c.Authorize(request)
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	said, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return Answer{Status: response.StatusCode, Header: response.Header, Body: string(said)}
}

// Must is Do for an answer with the status.
func (c *Client) Must(t testing.TB, status int, method, path string, body any, headers ...string) Answer {
	t.Helper()
	answer := c.Do(t, method, path, body, headers...)
	require.Equal(t, status, answer.Status, "%s %s: %s", method, path, answer.Body)
	return answer
}
