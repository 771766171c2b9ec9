package local_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/identity"
	"github.com/berth-registry/berth/identity/local"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/metadata/sqlite/sqlitetest"
)

// cheap keeps tests from hashing for seconds.
var cheap = local.Params{Memory: 64, Time: 1, Threads: 1}

const password = "Correct-horse1"

var operator = event.Actor{Name: "admin", Credential: "command", RequestID: "r1", Address: "192.0.2.9"}

// counting counts how often a source is asked.
type counting struct {
	identity.Source
	asked atomic.Int64
}

func (c *counting) Authenticate(ctx context.Context, credentials identity.Credentials) (identity.Principal, error) {
	c.asked.Add(1)
	return c.Source.Authenticate(ctx, credentials)
}

type fixture struct {
	store  *metadata.Store
	users  *local.Users
	source *counting
	login  *identity.Login
	mu     sync.Mutex
	time   time.Time
	// observed are the logins that were proven or refused.
	observed []string
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

// newFixture has the user "alice". Its users are administered elsewhere: what changes is not forgotten here at once.
func newFixture(t testing.TB) *fixture {
	t.Helper()
	f := &fixture{store: sqlitetest.Open(t), time: time.Unix(2_000_000_000, 0)}
	f.users = local.NewUsers(local.UsersOptions{Store: f.store, Params: cheap})
	f.source = &counting{Source: local.NewSource(local.SourceOptions{Store: f.store, Params: cheap})}
	var err error
	f.login, err = identity.NewLogin(identity.LoginOptions{
		Sources: []identity.Source{f.source}, Accounts: identity.NewAccounts(f.store, f.now), Now: f.now,
		Observe: func(_ context.Context, credentials identity.Credentials, principal identity.Principal, err error) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.observed = append(f.observed, fmt.Sprint(credentials.Name, " ", principal.Name, " ", err == nil, " ", credentials.Address))
		},
	})
	require.NoError(t, err)
	_, err = f.users.Create(t.Context(), operator, local.NewUser{Name: "alice", Password: password})
	require.NoError(t, err)
	return f
}

func (f *fixture) try(t testing.TB, name, secret, address string) (identity.Principal, error) {
	t.Helper()
	return f.login.Authenticate(t.Context(), identity.Credentials{Name: name, Secret: secret, Address: address})
}

func TestLogin_provesAndRemembers(t *testing.T) {
	f := newFixture(t)
	for range 5 {
		principal, err := f.try(t, "alice", password, "192.0.2.1")
		require.NoError(t, err)
		require.Equal(t, "alice", principal.Name)
		require.Equal(t, identity.KindUser, principal.Kind)
		require.NotZero(t, principal.CredentialVersion)
	}
	require.EqualValues(t, 1, f.source.asked.Load())
	f.advance(identity.LoginMemory)
	_, err := f.try(t, "alice", password, "192.0.2.1")
	require.NoError(t, err)
	require.EqualValues(t, 2, f.source.asked.Load())
}

func TestLogin_tellsOfWhatWasProvenOrRefused(t *testing.T) {
	f := newFixture(t)
	for range 3 {
		_, err := f.try(t, "alice", password, "192.0.2.1")
		require.NoError(t, err)
	}
	for range 15 { // the last are throttled
		_, err := f.try(t, "alice", "Wrong-horse1", "192.0.2.1")
		require.Error(t, err)
	}
	require.Len(t, f.observed, 11)
	require.Equal(t, []string{"alice alice true 192.0.2.1", "alice  false 192.0.2.1"}, f.observed[:2])
}

func TestLogin_refuses(t *testing.T) {
	f := newFixture(t)
	for name, credentials := range map[string][2]string{
		"wrong password": {"alice", "Wrong-horse1"}, "unknown name": {"bob", password}, "empty password": {"alice", ""},
		"empty name": {"", password}, "other case": {"Alice", password}, "huge password": {"alice", strings.Repeat("a", 1<<20)},
		"long password": {"alice", strings.Repeat("a", 1<<12)}, "huge name": {strings.Repeat("a", 1<<20), password}, "name with NUL": {"alice\x00", password},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := f.try(t, credentials[0], credentials[1], "")
			require.ErrorIs(t, err, identity.ErrCredentials)
			require.NotErrorIs(t, err, identity.ErrUnknown, "which names exist is not told")
		})
	}
}

func TestLogin_changedPasswordAndDisabledWithinStaleness(t *testing.T) {
	f := newFixture(t)
	_, err := f.try(t, "alice", password, "")
	require.NoError(t, err)
	require.NoError(t, f.users.SetPassword(t.Context(), operator, "alice", "Another-horse2"))
	f.advance(identity.AccountStaleness)
	_, err = f.try(t, "alice", password, "")
	require.ErrorIs(t, err, identity.ErrCredentials)
	_, err = f.try(t, "alice", "Another-horse2", "")
	require.NoError(t, err)

	require.NoError(t, f.users.SetDisabled(t.Context(), operator, "alice", true))
	f.advance(identity.AccountStaleness)
	_, err = f.try(t, "alice", "Another-horse2", "")
	require.ErrorIs(t, err, identity.ErrCredentials)
	require.NoError(t, f.users.SetDisabled(t.Context(), operator, "alice", false))
	f.advance(identity.AccountStaleness)
	_, err = f.try(t, "alice", "Another-horse2", "")
	require.NoError(t, err)
}

func TestLogin_throttlesAccount(t *testing.T) {
	f := newFixture(t)
	_, err := f.try(t, "alice", password, "")
	require.NoError(t, err)
	fail := func(want error) {
		_, err := f.try(t, "alice", "Wrong-horse1", "")
		require.ErrorIs(t, err, want)
	}
	for range 10 {
		fail(identity.ErrCredentials)
	}
	_, err = f.try(t, "alice", "Wrong-horse2", "")
	var throttled *identity.ThrottledError
	require.ErrorAs(t, err, &throttled)
	require.Greater(t, throttled.RetryAfter, time.Duration(0))
	_, err = f.try(t, "alice", password, "")
	require.NoError(t, err, "a login that was just proven is not shut out by others' failures")

	f.advance(throttled.RetryAfter)
	fail(identity.ErrCredentials)
	f.advance(identity.LoginMemory)
	_, err = f.try(t, "alice", password, "")
	require.NoError(t, err)
	for range 10 {
		fail(identity.ErrCredentials) // success has forgiven the failures
	}
}

func TestLogin_throttlesAddress(t *testing.T) {
	f := newFixture(t)
	names := func(i int) string { return "nobody" + strings.Repeat("x", i) }
	var throttled *identity.ThrottledError
	for i := range 60 {
		_, err := f.try(t, names(i), password, "2001:db8::1")
		require.ErrorIs(t, err, identity.ErrCredentials)
	}
	_, err := f.try(t, "alice", password, "2001:db8::ffff")
	require.ErrorAs(t, err, &throttled, "the same network of 64 bits")
	_, err = f.try(t, "alice", password, "192.0.2.1")
	require.NoError(t, err)
}

func TestLogin_manyAtOnceGetNoFurtherThanManyInARow(t *testing.T) {
	f := newFixture(t)
	var wrong atomic.Int64
	var group sync.WaitGroup
	for i := range 100 {
		group.Go(func() {
			_, err := f.login.Authenticate(t.Context(), identity.Credentials{Name: "alice", Secret: strings.Repeat("w", i+1)})
			if err == identity.ErrCredentials { //nolint:errorlint // throttled ones are of another type
				wrong.Add(1)
			}
		})
	}
	group.Wait()
	require.EqualValues(t, 10, wrong.Load())
}

func TestLogin_equalRequestsAreProvenOnce(t *testing.T) {
	f := newFixture(t)
	var group sync.WaitGroup
	for range 64 {
		group.Go(func() {
			if _, err := f.login.Authenticate(t.Context(), identity.Credentials{Name: "alice", Secret: password}); err != nil {
				t.Errorf("login: %v", err)
			}
		})
	}
	group.Wait()
	require.LessOrEqual(t, f.source.asked.Load(), int64(2))
}

func TestLogin_databaseDown(t *testing.T) {
	f := newFixture(t)
	require.NoError(t, f.store.Close())
	for range 20 {
		_, err := f.try(t, "alice", password, "")
		require.Error(t, err)
		require.NotErrorIs(t, err, identity.ErrCredentials)
		var throttled *identity.ThrottledError
		require.NotErrorAs(t, err, &throttled, "an outage is nobody's failed login")
	}
}

func TestLogin_laterSourceKnowsTheName(t *testing.T) {
	f := newFixture(t)
	second := sqlitetest.Open(t)
	_, err := local.NewUsers(local.UsersOptions{Store: second, Params: cheap}).Create(t.Context(), operator, local.NewUser{Name: "bob", Password: password})
	require.NoError(t, err)
	chain := identity.Chain{f.source, local.NewSource(local.SourceOptions{Store: second, Params: cheap})}
	principal, err := chain.Authenticate(t.Context(), identity.Credentials{Name: "bob", Secret: password})
	require.NoError(t, err)
	require.Equal(t, "bob", principal.Name)
	require.NoError(t, f.store.Close())
	_, err = chain.Authenticate(t.Context(), identity.Credentials{Name: "bob", Secret: password})
	require.NoError(t, err, "a source that is down does not keep out whom another proves")
	_, err = chain.Authenticate(t.Context(), identity.Credentials{Name: "carol", Secret: password})
	require.NotErrorIs(t, err, identity.ErrCredentials, "she may be of the source that is down")
}

func TestSource_renewsHashOfOtherParameters(t *testing.T) {
	f := newFixture(t)
	renewing := local.NewSource(local.SourceOptions{Store: f.store, Params: local.Params{Memory: 128, Time: 2, Threads: 1}})
	principal, err := renewing.Authenticate(t.Context(), identity.Credentials{Name: "alice", Secret: password})
	require.NoError(t, err)
	user, err := f.store.UserByName(t.Context(), "alice")
	require.NoError(t, err)
	require.Contains(t, user.PasswordHash, "m=128,t=2,p=1")
	require.Equal(t, user.CredentialVersion, principal.CredentialVersion)
}

func TestUsers_administration(t *testing.T) {
	f := newFixture(t)
	ctx := t.Context()
	_, err := f.users.Create(ctx, operator, local.NewUser{Name: "alice", Password: password})
	require.ErrorIs(t, err, metadata.ErrExists)
	for _, name := range []string{"", "a b", "a:b", "a\x00", "anonymous", strings.Repeat("a", 256), "robot$x", "a/b", "\xff"} {
		_, err := f.users.Create(ctx, operator, local.NewUser{Name: name, Password: password})
		require.ErrorIs(t, err, local.ErrName, name)
	}
	for _, weak := range []string{"", "Short1", "nouppercase1", "NOLOWERCASE1", "NoDigitsHere", "Aa1" + strings.Repeat("x", 126)} {
		_, err := f.users.Create(ctx, operator, local.NewUser{Name: "bob", Password: weak})
		require.ErrorIs(t, err, local.ErrPassword, weak)
		require.ErrorIs(t, f.users.SetPassword(ctx, operator, "alice", weak), local.ErrPassword)
	}
	require.ErrorIs(t, f.users.SetSystemAdmin(ctx, operator, "nobody", true), metadata.ErrNotFound)
	require.ErrorIs(t, f.users.Delete(ctx, operator, "nobody"), metadata.ErrNotFound)
	require.NoError(t, f.users.SetSystemAdmin(ctx, operator, "alice", true))
	listed, err := f.users.List(ctx, "", -1)
	require.NoError(t, err)
	require.Len(t, listed, 1)
	require.True(t, listed[0].SystemAdmin)
	require.NoError(t, f.users.Delete(ctx, operator, "alice"))

	events, err := f.store.Events(ctx, metadata.EventCursor{}, -1)
	require.NoError(t, err)
	var kinds []event.Kind
	for _, e := range events {
		kinds = append(kinds, e.Kind)
		require.Equal(t, "alice", e.Subject)
		require.Equal(t, "admin", e.Actor)
		require.Equal(t, "command", e.Credential)
	}
	require.Equal(t, []event.Kind{event.UserCreated, event.UserUpdated, event.UserDeleted}, kinds)
}

func TestBootstrap_onceByManyAtOnce(t *testing.T) {
	store := sqlitetest.Open(t)
	generated := make([]string, 8)
	var group sync.WaitGroup
	for i := range generated {
		group.Go(func() {
			var err error
			if generated[i], err = local.Bootstrap(t.Context(), store, "", cheap); err != nil {
				t.Errorf("bootstrap: %v", err)
			}
		})
	}
	group.Wait()
	passwords := strings.Fields(strings.Join(generated, " "))
	require.Len(t, passwords, 1, "one of them has made the user")
	require.NoError(t, local.CheckPassword(passwords[0]))
	principal, err := local.NewSource(local.SourceOptions{Store: store, Params: cheap}).
		Authenticate(t.Context(), identity.Credentials{Name: local.AdminName, Secret: passwords[0]})
	require.NoError(t, err)
	require.True(t, principal.SystemAdmin)
	project, err := store.Project(t.Context(), local.LibraryProject)
	require.NoError(t, err)
	require.True(t, project.Public)
	users := local.NewUsers(local.UsersOptions{Store: store, Params: cheap})
	require.ErrorIs(t, users.Delete(t.Context(), operator, local.AdminName), local.ErrProtected)
	require.ErrorIs(t, users.SetSystemAdmin(t.Context(), operator, local.AdminName, false), local.ErrProtected)
}

func TestBootstrap_givenPassword(t *testing.T) {
	store := sqlitetest.Open(t)
	_, err := local.Bootstrap(t.Context(), store, "weak", cheap)
	require.ErrorIs(t, err, local.ErrPassword)
	generated, err := local.Bootstrap(t.Context(), store, password, cheap)
	require.NoError(t, err)
	require.Empty(t, generated)
	_, err = local.Bootstrap(t.Context(), store, "weak", cheap)
	require.NoError(t, err, "not looked at any more")
	_, err = local.NewSource(local.SourceOptions{Store: store, Params: cheap}).
		Authenticate(t.Context(), identity.Credentials{Name: local.AdminName, Secret: password})
	require.NoError(t, err)
}

func TestSource_strangersTakeAsLong(t *testing.T) {
	f := newFixture(t)
	costly := local.Params{Memory: 16 << 10, Time: 2, Threads: 1}
	users := local.NewUsers(local.UsersOptions{Store: f.store, Params: costly})
	require.NoError(t, users.SetPassword(t.Context(), operator, "alice", password))
	source := local.NewSource(local.SourceOptions{Store: f.store, Params: costly})
	fastest := func(name string) time.Duration {
		best := time.Hour
		for range 5 {
			begin := time.Now()
			_, err := source.Authenticate(t.Context(), identity.Credentials{Name: name, Secret: "Wrong-horse1"})
			require.Error(t, err)
			best = min(best, time.Since(begin))
		}
		return best
	}
	require.Greater(t, fastest("nobody"), fastest("alice")/4)
}

func BenchmarkHash(b *testing.B) {
	for b.Loop() {
		local.Hash(password, local.DefaultParams)
	}
}

func BenchmarkLogin_remembered(b *testing.B) {
	f := newFixture(b)
	for b.Loop() {
		if _, err := f.login.Authenticate(b.Context(), identity.Credentials{Name: "alice", Secret: password}); err != nil {
			b.Fatal(err)
		}
	}
}
