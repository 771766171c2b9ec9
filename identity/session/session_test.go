package session_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/identity"
	"github.com/berth-registry/berth/identity/local"
	"github.com/berth-registry/berth/identity/session"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/metadata/sqlite/sqlitetest"
	"github.com/berth-registry/berth/secret"
	"github.com/berth-registry/berth/setting"
)

const password = "Correct-horse1"

var cheap = local.Params{Memory: 64, Time: 1, Threads: 1}

// gateway is a process of its own over the database of all.
type gateway struct {
	accounts *identity.Accounts
	users    *local.Users
	settings *setting.Settings
	sessions *session.Sessions
}

type fixture struct {
	store *metadata.Store
	here  gateway
	there gateway
	mu    sync.Mutex
	time  time.Time
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

// newFixture has two gateways over one database, and the user alice.
func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{store: sqlitetest.Open(t), time: time.Unix(2_000_000_000, 0)}
	box, err := secret.New([]byte(strings.Repeat("k", secret.MinKeyLength)))
	require.NoError(t, err)
	for _, g := range []*gateway{&f.here, &f.there} {
		g.accounts = identity.NewAccounts(f.store, f.now)
		g.users = local.NewUsers(local.UsersOptions{Store: f.store, Accounts: g.accounts, Params: cheap})
		g.settings = setting.New(setting.Options{Store: f.store, Box: box, Now: f.now})
		login, err := identity.NewLogin(identity.LoginOptions{
			Sources:  []identity.Source{local.NewSource(local.SourceOptions{Store: f.store, Params: cheap})},
			Accounts: g.accounts, Now: f.now,
		})
		require.NoError(t, err)
		g.sessions = session.New(session.Options{Store: f.store, Accounts: g.accounts, Settings: g.settings, Login: login, Box: box, Now: f.now})
	}
	_, err = f.here.users.Create(t.Context(), event.Actor{}, local.NewUser{Name: "alice", Password: password})
	require.NoError(t, err)
	return f
}

func (f *fixture) login(t *testing.T, former string) string {
	t.Helper()
	token, err := f.here.sessions.Login(t.Context(), event.Actor{}, identity.Credentials{Name: "alice", Secret: password}, former)
	require.NoError(t, err)
	return token
}

func (g gateway) requireOpen(t *testing.T, token string) {
	t.Helper()
	principal, err := g.sessions.Check(t.Context(), token, true)
	require.NoError(t, err)
	require.Equal(t, "alice", principal.Name)
}

func (g gateway) requireClosed(t *testing.T, token string, why string) {
	t.Helper()
	_, err := g.sessions.Check(t.Context(), token, true)
	require.ErrorIs(t, err, session.ErrNone, why)
}

func (f *fixture) events(t *testing.T) (kinds []string) {
	t.Helper()
	stored, err := f.store.Events(t.Context(), metadata.EventCursor{}, -1)
	require.NoError(t, err)
	for _, e := range stored {
		if e.Kind != event.UserCreated && e.Kind != event.UserUpdated && e.Kind != event.SettingsUpdated {
			kinds = append(kinds, string(e.Kind)+" "+e.Subject+" by "+e.Credential)
		}
	}
	return kinds
}

func TestSession_anyGatewayServesIt(t *testing.T) {
	f := newFixture(t)
	token := f.login(t, "")
	f.here.requireOpen(t, token)
	f.there.requireOpen(t, token)

	_, err := f.there.sessions.End(t.Context(), event.Actor{}, token)
	require.NoError(t, err)
	f.there.requireClosed(t, token, "at once where it was closed")
	f.here.requireOpen(t, token)
	f.advance(session.Staleness)
	f.here.requireClosed(t, token, "soon elsewhere")
	require.Equal(t, []string{"logged_in alice by password", "logged_out alice by session"}, f.events(t))

	_, err = f.here.sessions.End(t.Context(), event.Actor{}, token)
	require.NoError(t, err, "twice")
	require.Len(t, f.events(t), 2)
}

func TestSession_refusesWhatIsNone(t *testing.T) {
	f := newFixture(t)
	token := f.login(t, "")
	for _, forged := range []string{"", "x", token[1:], token + "A", strings.ToLower(token), strings.Repeat("x", 100_000), "\x00"} {
		f.here.requireClosed(t, forged, forged)
	}
	stored, err := f.store.Session(t.Context(), token)
	require.ErrorIs(t, err, metadata.ErrNotFound, "the token itself is not kept: %v", stored)
}

func TestLogin_failsWithEvent(t *testing.T) {
	f := newFixture(t)
	for _, name := range []string{"alice", "nobody"} {
		_, err := f.here.sessions.Login(t.Context(), event.Actor{Address: "192.0.2.1"}, identity.Credentials{Name: name, Secret: "wrong"}, "")
		require.ErrorIs(t, err, identity.ErrCredentials)
	}
	require.Equal(t, []string{"login_failed alice by password", "login_failed nobody by password"}, f.events(t))

	var throttled *identity.ThrottledError
	for range 20 {
		_, err := f.here.sessions.Login(t.Context(), event.Actor{}, identity.Credentials{Name: "alice", Secret: "wrong"}, "")
		if errors.As(err, &throttled) {
			break
		}
	}
	require.NotNil(t, throttled)
}

func TestLogin_endsTheFormerSession(t *testing.T) {
	f := newFixture(t)
	former := f.login(t, "")
	other := f.login(t, "")
	token := f.login(t, former)
	require.NotEqual(t, former, token)
	f.here.requireOpen(t, token)
	f.here.requireOpen(t, other)
	f.here.requireClosed(t, former, "a cookie that somebody else has set must not become this person's session")
}

func TestSession_idleTimeoutIsTheSetting(t *testing.T) {
	f := newFixture(t)
	require.NoError(t, f.there.settings.Update(t.Context(), event.Actor{}, map[*setting.Key]any{setting.SessionTimeout: int64(10)}))
	used, idle := f.login(t, ""), f.login(t, "")
	for range 4 {
		f.advance(9 * time.Minute)
		f.there.requireOpen(t, used)
	}
	f.there.requireClosed(t, idle, "idle")
	f.advance(9 * time.Minute)
	_, err := f.there.sessions.Check(t.Context(), used, false)
	require.NoError(t, err)
	f.advance(time.Minute)
	f.there.requireClosed(t, used, "looking without renewal keeps no session open")
	f.here.requireClosed(t, used, "nor on another gateway")
}

func TestSession_isRenewedOnceAMinute(t *testing.T) {
	f := newFixture(t)
	token := f.login(t, "")
	var mu sync.Mutex
	renewals := 0
	f.store.Observe(func(ctx context.Context, name string) (context.Context, func(error)) {
		mu.Lock()
		defer mu.Unlock()
		if name == "renew session" {
			renewals++
		}
		return ctx, func(error) {}
	})
	for second := range 150 {
		var group sync.WaitGroup
		for _, g := range []gateway{f.here, f.there} {
			for range 4 {
				group.Go(func() {
					if _, err := g.sessions.Check(t.Context(), token, true); err != nil {
						t.Errorf("second %d: %v", second, err)
					}
				})
			}
		}
		group.Wait()
		f.advance(time.Second)
	}
	// Each gateway sees the other's renewals late.
	require.GreaterOrEqual(t, renewals, 2)
	require.LessOrEqual(t, renewals, 4)
}

func TestSession_endsAtLast(t *testing.T) {
	f := newFixture(t)
	token := f.login(t, "")
	for f.now().Before(time.Unix(2_000_000_000, 0).Add(session.Lifetime - time.Hour)) {
		f.advance(50 * time.Minute)
		f.here.requireOpen(t, token)
	}
	f.advance(59 * time.Minute)
	f.here.requireClosed(t, token, "however much it is used")

	f.advance(session.Lifetime)
	require.True(t, f.stored(t, token))
	f.login(t, "")
	require.False(t, f.stored(t, token), "the next login sweeps")
}

func TestSession_endsWithTheUsersStanding(t *testing.T) {
	for name, change := range map[string]func(ctx context.Context, users *local.Users) error{
		"password": func(ctx context.Context, users *local.Users) error {
			return users.SetPassword(ctx, event.Actor{}, "alice", "Another-horse1")
		},
		"disabled": func(ctx context.Context, users *local.Users) error {
			return users.SetDisabled(ctx, event.Actor{}, "alice", true)
		},
		"deleted": func(ctx context.Context, users *local.Users) error { return users.Delete(ctx, event.Actor{}, "alice") },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			token := f.login(t, "")
			f.there.requireOpen(t, token)
			require.NoError(t, change(t.Context(), f.here.users))
			f.here.requireClosed(t, token, "at once here")
			f.advance(identity.AccountStaleness)
			f.there.requireClosed(t, token, "soon there")
		})
	}
}

func TestSession_seesWhatTheUserBecomes(t *testing.T) {
	f := newFixture(t)
	token := f.login(t, "")
	require.NoError(t, f.here.users.SetSystemAdmin(t.Context(), event.Actor{}, "alice", true))
	principal, err := f.here.sessions.Check(t.Context(), token, true)
	require.NoError(t, err)
	require.True(t, principal.SystemAdmin)
}

func TestEndAll(t *testing.T) {
	f := newFixture(t)
	_, err := f.here.users.Create(t.Context(), event.Actor{}, local.NewUser{Name: "bob", Password: password})
	require.NoError(t, err)
	bobs, err := f.here.sessions.Login(t.Context(), event.Actor{}, identity.Credentials{Name: "bob", Secret: password}, "")
	require.NoError(t, err)
	first, second := f.login(t, ""), f.login(t, "")
	alice, err := f.store.UserByName(t.Context(), "alice")
	require.NoError(t, err)
	require.NoError(t, f.here.sessions.EndAll(t.Context(), event.Actor{Name: "alice", Credential: "session"}, alice.ID))
	f.here.requireClosed(t, first, "")
	f.here.requireClosed(t, second, "")
	_, err = f.here.sessions.Check(t.Context(), bobs, true)
	require.NoError(t, err)
	require.ErrorIs(t, f.here.sessions.EndAll(t.Context(), event.Actor{}, 4711), metadata.ErrNotFound)
}

func TestSession_goesOnWhileTheDatabaseIsAway(t *testing.T) {
	f := newFixture(t)
	token := f.login(t, "")
	f.here.requireOpen(t, token)
	require.NoError(t, f.store.Close())
	f.advance(30 * time.Second)
	f.here.requireOpen(t, token)
	f.advance(time.Minute)
	_, err := f.here.sessions.Check(t.Context(), token, true)
	require.Error(t, err)
	require.NotErrorIs(t, err, session.ErrNone, "nobody can tell")
}

func TestLogin_keepsAHundredSessionsOfAUser(t *testing.T) {
	f := newFixture(t)
	var tokens []string
	for range 102 {
		f.advance(time.Second)
		tokens = append(tokens, f.login(t, ""))
	}
	for i, token := range tokens {
		require.Equal(t, i >= 2, f.stored(t, token), i)
	}
}

// stored reports whether there is a row of the session.
func (f *fixture) stored(t *testing.T, token string) bool {
	t.Helper()
	sum := sha256.Sum256([]byte(token))
	_, err := f.store.Session(t.Context(), base64.RawURLEncoding.EncodeToString(sum[:]))
	if !errors.Is(err, metadata.ErrNotFound) {
		require.NoError(t, err)
	}
	return err == nil
}
