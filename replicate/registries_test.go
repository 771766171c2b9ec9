package replicate_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/jobs"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/metadata/sqlite/sqlitetest"
	"github.com/berth-registry/berth/outbound"
	"github.com/berth-registry/berth/replicate"
	_ "github.com/berth-registry/berth/replicate/adapter/standard"
	"github.com/berth-registry/berth/secret"
)

var admin = event.Actor{Name: "admin"}

// registries is the administration of a new store's registries.
type registries struct {
	*replicate.Registries
	store *metadata.Store
}

func newRegistries(t *testing.T, networks outbound.Networks) registries {
	t.Helper()
	box, err := secret.New([]byte(strings.Repeat("k", secret.MinKeyLength)))
	require.NoError(t, err)
	store := sqlitetest.Open(t)
	r := replicate.NewRegistries(replicate.RegistriesOptions{Store: store, Box: box, Networks: networks})
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	return registries{r, store}
}

// guarded is a registry that lets in who has the password, and notes what others offer.
func guarded(t *testing.T, password string) (server *httptest.Server, offered *[]string) {
	t.Helper()
	offered = new([]string)
	server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, given, ok := r.BasicAuth()
		if ok {
			*offered = append(*offered, given)
		}
		if given != password {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	t.Cleanup(server.Close)
	return server, offered
}

func TestRegistries_secretGoesToItsHostOnly(t *testing.T) {
	r := newRegistries(t, outbound.Networks{})
	here, _ := guarded(t, "right")
	there, offered := guarded(t, "right")
	wrong, right := "wrong", "right"
	wanted := replicate.WantedRegistry{Name: "here", URL: here.URL, Kind: "docker-registry", Username: "u", Secret: &wrong}
	_, err := r.Create(t.Context(), admin, wanted)
	require.Equal(t, fault.Invalid, fault.Of(err), "it does not let in")
	wanted.Secret = &right
	row, err := r.Create(t.Context(), admin, wanted)
	require.NoError(t, err)
	require.NotContains(t, string(row.Secret), "right")

	moved := replicate.Wanted(row)
	moved.URL = there.URL
	require.Equal(t, fault.Invalid, fault.Of(r.Update(t.Context(), admin, row.ID, moved)))
	require.Equal(t, fault.Invalid, fault.Of(r.Ping(t.Context(), row.ID, func(w *replicate.WantedRegistry) { w.URL = there.URL })))
	require.Empty(t, *offered)
	// Nor does it open when somebody changes the row.
	stolen := row
	stolen.URL = there.URL
	require.NoError(t, r.store.Tx(t.Context(), func(ctx context.Context, tx *metadata.Tx) error { return tx.UpdateRemoteRegistry(ctx, stolen) }))
	_, err = r.Open(t.Context(), row.ID)
	require.ErrorIs(t, err, secret.ErrOpen)

	moved.Secret = &right
	require.NoError(t, r.Update(t.Context(), admin, row.ID, moved))
	opened, err := r.Open(t.Context(), row.ID)
	require.NoError(t, err)
	require.NoError(t, opened.Ping(t.Context()))
	again, err := r.Open(t.Context(), row.ID)
	require.NoError(t, err)
	require.Same(t, opened.Content(), again.Content(), "its connections and tokens are used again")
}

func TestRegistries_refuseWhatCannotBeMeant(t *testing.T) {
	r := newRegistries(t, outbound.Networks{Deny: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	server, _ := guarded(t, "")
	good := replicate.WantedRegistry{Name: "n", URL: server.URL, Kind: "docker-registry"}
	_, err := r.Create(t.Context(), admin, good)
	require.ErrorIs(t, err, outbound.ErrForbidden)
	require.Equal(t, fault.Invalid, fault.Of(err))
	for name, spoil := range map[string]func(*replicate.WantedRegistry){
		"no name":       func(w *replicate.WantedRegistry) { w.Name = "" },
		"long name":     func(w *replicate.WantedRegistry) { w.Name = strings.Repeat("n", 65) },
		"control":       func(w *replicate.WantedRegistry) { w.Name = "a\x00b" },
		"no kind":       func(w *replicate.WantedRegistry) { w.Kind = "" },
		"other scheme":  func(w *replicate.WantedRegistry) { w.URL = "ftp://example.com" },
		"no host":       func(w *replicate.WantedRegistry) { w.URL = "https://" },
		"login in it":   func(w *replicate.WantedRegistry) { w.URL = "https://a:b@example.com" },
		"query":         func(w *replicate.WantedRegistry) { w.URL = "https://example.com?x=y" },
		"path":          func(w *replicate.WantedRegistry) { w.URL = "https://example.com/registry" },
		"certificate":   func(w *replicate.WantedRegistry) { w.CACertificate = "none" },
		"huge":          func(w *replicate.WantedRegistry) { w.CACertificate = strings.Repeat("x", 1<<20) },
		"metadata host": func(w *replicate.WantedRegistry) { w.URL = "http://169.254.169.254" },
	} {
		wanted := good
		spoil(&wanted)
		_, err := r.Create(t.Context(), admin, wanted)
		require.Equal(t, fault.Invalid, fault.Of(err), name)
	}
}

func TestRegistries_areLookedAt(t *testing.T) {
	r := newRegistries(t, outbound.Networks{})
	server, _ := guarded(t, "")
	row, err := r.Create(t.Context(), admin, replicate.WantedRegistry{Name: "n", URL: server.URL, Kind: "docker-registry"})
	require.NoError(t, err)
	_, err = r.store.Schedule(t.Context(), replicate.CheckKind, 0)
	require.NoError(t, err)
	work := jobs.New(jobs.Options{Store: r.store, Logger: slog.New(slog.DiscardHandler), Kinds: []jobs.Kind{r.Checking()}, Poll: 10 * time.Millisecond})
	t.Cleanup(func() { require.NoError(t, work.Close()) })
	status := func(want string) {
		t.Helper()
		_, err := work.Submit(t.Context(), jobs.Submission{Kind: replicate.CheckKind, Cause: jobs.CauseManual})
		require.NoError(t, err)
		require.Eventually(t, func() bool {
			found, err := r.store.RemoteRegistry(t.Context(), row.ID)
			return err == nil && found.Status == want
		}, 20*time.Second, 5*time.Millisecond)
	}
	status(replicate.Healthy)
	server.Close()
	status(replicate.Unhealthy)
}
