package ldap_test

import (
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/identity"
	"github.com/berth-registry/berth/identity/ldap"
	"github.com/berth-registry/berth/identity/ldap/ldaptest"
	"github.com/berth-registry/berth/setting"
)

// relay passes connections on to a server, counts them, and can keep what is said to itself.
type relay struct {
	url       string
	now, most atomic.Int64
	silent    atomic.Bool
	// cuts is how many connections die when their client says something next.
	cuts atomic.Int64
}

// newRelay listens in front of the server at a URL; of nobody when that is empty.
func newRelay(t *testing.T, target string) *relay {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	r := &relay{url: "ldap://" + listener.Addr().String()}
	r.silent.Store(target == "")
	var connections sync.Map
	var wait sync.WaitGroup
	t.Cleanup(func() {
		listener.Close()
		connections.Range(func(c, _ any) bool {
			c.(net.Conn).Close()
			return true
		})
		wait.Wait()
	})
	wait.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			connections.Store(client, nil)
			wait.Go(func() {
				defer client.Close()
				r.pass(client, strings.TrimPrefix(target, "ldap://"))
			})
		}
	})
	return r
}

func (r *relay) pass(client net.Conn, address string) {
	now := r.now.Add(1)
	defer r.now.Add(-1)
	for most := r.most.Load(); now > most && !r.most.CompareAndSwap(most, now); most = r.most.Load() {
	}
	if address == "" {
		_, _ = io.Copy(io.Discard, client) // it ends with the client
		return
	}
	server, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	go func() {
		_, _ = io.Copy(client, server) // as above
		client.Close()
	}()
	defer server.Close()
	buffer := make([]byte, 4096)
	for {
		n, err := client.Read(buffer)
		if err != nil {
			return
		}
		if r.cuts.Load() > 0 {
			r.cuts.Add(-1)
			return
		}
		if !r.silent.Load() {
			if _, err := server.Write(buffer[:n]); err != nil {
				return
			}
		}
	}
}

func TestSource_serverThatSaysNothing(t *testing.T) {
	silent := newRelay(t, "")
	for name, url := range map[string]string{
		"plain": silent.url, "LDAPS": strings.Replace(silent.url, "ldap:", "ldaps:", 1), "StartTLS": strings.Replace(silent.url, "ldap:", "ldap+starttls:", 1),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, url, ldap.Options{}, map[*setting.Key]any{setting.LDAPTimeout: 1.0})
			began := time.Now()
			var wait sync.WaitGroup
			for i := range 16 {
				wait.Go(func() {
					_, err := f.ask(t, fmt.Sprint("somebody", i), "Wrong-horse1")
					if fault.Of(err) != fault.Unavailable {
						t.Errorf("login: %v", err)
					}
				})
			}
			wait.Wait()
			require.Less(t, time.Since(began), 1900*time.Millisecond, "all wait for the server at once")

			began = time.Now()
			for i := range 200 {
				_, err := f.ask(t, fmt.Sprint("somebody", i), "Wrong-horse1")
				require.Equal(t, fault.Unavailable, fault.Of(err))
			}
			require.Less(t, time.Since(began), 500*time.Millisecond, "what was learned costs nobody its timeout")
			_, err := f.login.Authenticate(t.Context(), identity.Credentials{Name: "dora", Secret: "Secret-of-dora1"})
			require.NoError(t, err)
			_, err = f.login.Authenticate(t.Context(), identity.Credentials{Name: "alice", Secret: ldaptest.Password("alice")})
			require.ErrorContains(t, err, "does not answer")
		})
	}
}

func TestSource_serverThatFallsSilent(t *testing.T) {
	server := ldaptest.Start(t)
	relay := newRelay(t, server.URL)
	f := newFixture(t, relay.url, ldap.Options{}, map[*setting.Key]any{setting.LDAPTimeout: 1.0})
	principal := f.mustLogin(t, "alice")
	relay.silent.Store(true)
	_, err := f.ask(t, "alice", ldaptest.Password("alice"))
	require.Equal(t, fault.Unavailable, fault.Of(err))
	f.advance(ldap.MembershipAge)
	began := time.Now()
	_, err = f.accounts.Check(t.Context(), principal)
	require.NoError(t, err)
	require.Less(t, time.Since(began), 500*time.Millisecond, "tokens do not wait for a directory that is known to be down")
	relay.silent.Store(false)
	require.Eventually(t, func() bool {
		_, err := f.ask(t, "alice", ldaptest.Password("alice"))
		return err == nil
	}, 20*time.Second, 50*time.Millisecond, "it is tried again")
}

func TestSource_deadConnectionIsReplaced(t *testing.T) {
	server := ldaptest.Start(t)
	relay := newRelay(t, server.URL)
	f := newFixture(t, relay.url, ldap.Options{}, nil)
	for range 3 {
		f.mustLogin(t, "alice")
		relay.cuts.Store(1)
		f.mustLogin(t, "bob") // on a connection that has died without a word
		require.Zero(t, relay.cuts.Load())
	}
	relay.cuts.Store(2)
	_, err := f.ask(t, "alice", ldaptest.Password("alice"))
	require.Equal(t, fault.Unavailable, fault.Of(err), "twice is a failure")
	relay.cuts.Store(0)
	require.Eventually(t, func() bool {
		_, err := f.ask(t, "alice", ldaptest.Password("alice"))
		return err == nil
	}, 10*time.Second, time.Millisecond)
}

func TestSource_boundedConnections(t *testing.T) {
	server := ldaptest.Start(t)
	relay := newRelay(t, server.URL)
	f := newFixture(t, relay.url, ldap.Options{Connections: 3}, nil)
	var wait sync.WaitGroup
	for range 48 {
		wait.Go(func() {
			if _, err := f.ask(t, "alice", ldaptest.Password("alice")); err != nil {
				t.Errorf("login: %v", err)
			}
		})
	}
	wait.Wait()
	require.LessOrEqual(t, relay.most.Load(), int64(3))
	require.EqualValues(t, 3, relay.now.Load(), "they are kept")
	f.set(t, map[*setting.Key]any{setting.LDAPURL: server.URL})
	f.mustLogin(t, "alice")
	require.Eventually(t, func() bool { return relay.now.Load() == 0 }, 10*time.Second, 5*time.Millisecond, "and given up when the settings change")
}

func TestSource_serverRestartedUnderLoad(t *testing.T) {
	server := ldaptest.Start(t)
	f := newFixture(t, server.URL, ldap.Options{}, nil)
	var failures, successes atomic.Int64
	stop := make(chan struct{})
	var wait sync.WaitGroup
	for _, name := range []string{"alice", "bob", "carol", "root", "alice", "bob"} {
		wait.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				_, err := f.ask(t, name, ldaptest.Password(name))
				switch {
				case err == nil:
					successes.Add(1)
				case fault.Of(err) == fault.Unavailable:
					failures.Add(1)
				default:
					t.Errorf("%s: %v", name, err)
					return
				}
			}
		})
	}
	reach := func(counter *atomic.Int64, more int64) {
		t.Helper()
		wanted := counter.Load() + more
		require.Eventually(t, func() bool { return counter.Load() >= wanted }, 20*time.Second, time.Millisecond)
	}
	for range 3 {
		reach(&successes, 50)
		server.Restart(t) // at once: connections die, and the next login makes another
		reach(&successes, 50)
		server.Stop()
		reach(&failures, 20)
		server.Restart(t)
	}
	reach(&successes, 20)
	failed := failures.Load()
	reach(&successes, 200)
	require.Equal(t, failed, failures.Load(), "once it is back there are no failures any more")
	close(stop)
	wait.Wait()
}

func TestSource_restartBetweenLoginsIsNoFailure(t *testing.T) {
	server := ldaptest.Start(t)
	f := newFixture(t, server.URL, ldap.Options{}, nil)
	for range 5 {
		var wait sync.WaitGroup
		for range 8 {
			wait.Go(func() {
				if _, err := f.ask(t, "alice", ldaptest.Password("alice")); err != nil {
					t.Errorf("login: %v", err)
				}
			})
		}
		wait.Wait()
		server.Restart(t)
	}
}

// TestSource_strangersTakeAsLong compares medians, as a single login says little.
func TestSource_strangersTakeAsLong(t *testing.T) {
	server := ldaptest.Start(t)
	f := newFixture(t, server.URL, ldap.Options{}, nil)
	f.mustLogin(t, "alice")
	median := func(name string) time.Duration {
		var took []time.Duration
		for range 101 {
			began := time.Now()
			_, err := f.ask(t, name, "Wrong-horse1")
			took = append(took, time.Since(began))
			require.Equal(t, identity.ErrCredentials, err)
		}
		slices.Sort(took)
		return took[50]
	}
	known, unknown := median("alice"), median("nobody")
	require.Less(t, known, 3*unknown, "a known name must not take longer")
	require.Less(t, unknown, 3*known)
}
