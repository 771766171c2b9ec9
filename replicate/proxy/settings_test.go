package proxy_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/policy/selector"
	"github.com/berth-registry/berth/replicate/proxy"
	"github.com/berth-registry/berth/storage/filesystem"
)

func TestPull_connectionsAreBound(t *testing.T) {
	u := newUpstream(t)
	pushed := u.push("team/app", "v1", 1000, 2000, 3000, 4000)
	for connections, want := range map[int64]int{2: 2, -1: 5} {
		var mu sync.Mutex
		held, most := 0, 0
		open := make(chan struct{})
		release := sync.OnceFunc(func() { close(open) })
		t.Cleanup(release)
		u.set(func(_ http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodGet || !isBlob(r) {
				return false
			}
			mu.Lock()
			held++
			most = max(most, held)
			mu.Unlock()
			<-open
			mu.Lock()
			held--
			mu.Unlock()
			return false
		}, nil)
		g := newGateway(t, u, setup{origin: func(o *proxy.Origin) { o.Connections = connections }})
		var pulls sync.WaitGroup
		for _, blob := range pushed.blobs() {
			pulls.Go(func() {
				a := g.do(t.Context(), http.MethodGet, blobPath("cache/team/app", blob))
				if a.err != nil || a.StatusCode != 200 {
					t.Errorf("blob of %d bytes: %+v", len(blob), a)
				}
			})
		}
		require.Eventually(t, func() bool {
			mu.Lock()
			defer mu.Unlock()
			begun := 0
			for _, blob := range pushed.blobs() {
				if _, err := g.store.Fetch(t.Context(), "blob cache/team/app@"+oci.SHA256.FromBytes(blob).String()); err == nil {
					begun++
				}
			}
			return begun == 5 && held == want
		}, 30*time.Second, 5*time.Millisecond)
		release()
		pulls.Wait()
		require.Equal(t, want, most)
	}
}

func TestPull_onlyWhatTheFilterLetsThrough(t *testing.T) {
	u := newUpstream(t)
	pushed, other := u.push("team/app", "v1", 1000), u.push("other/app", "v1", 1000)
	var filter selector.Filter
	g := newGateway(t, u, setup{origin: func(o *proxy.Origin) { o.Filter = filter }})
	require.NoError(t, g.pull(t.Context(), "cache/other/app", "v1", other))
	var err error
	filter, err = selector.NewFilter("", "team/**")
	require.NoError(t, err)
	g.proxy.Forget()
	require.NoError(t, g.pull(t.Context(), "cache/team/app", "v1", pushed))
	for _, path := range []string{manifestPath("cache/other/app", "v1"), blobPath("cache/other/app", other.config), "/v2/cache/other/app/tags/list"} {
		a := g.want(403, g.get(path))
		require.Equal(t, "DENIED", a.code())
		require.Contains(t, string(a.body), "team/**")
	}
	g.want(202, g.do(t.Context(), http.MethodDelete, manifestPath("cache/other/app", other.digest.String())))
}

func TestReferrers_ofThisRegistryOnly(t *testing.T) {
	u := newUpstream(t)
	pushed := u.push("team/app", "v1", 1000)
	g := newGateway(t, u, setup{origin: func(o *proxy.Origin) { o.OwnReferrers = true }})
	require.NoError(t, g.pull(t.Context(), "cache/team/app", "v1", pushed))
	g.want(200, g.get("/v2/cache/team/app/referrers/"+pushed.digest.String()))
	require.Zero(t, u.count(http.MethodGet, "/v2/team/app/referrers/"+pushed.digest.String()))
}

func TestOrigins_readWhatIsSetOfProjects(t *testing.T) {
	g := newGateway(t, newUpstream(t), setup{})
	set := func(values map[string]string) *proxy.Origin {
		require.NoError(t, g.store.Tx(t.Context(), func(ctx context.Context, tx *metadata.Tx) error {
			project, err := tx.Project(ctx, "cache")
			for key, value := range values {
				if err == nil {
					err = tx.SetProjectMetadata(ctx, project.ID, key, value)
				}
			}
			return err
		}))
		origins := proxy.Origins{Store: g.store, Open: func(context.Context, int64) (proxy.Remote, error) { return nil, fmt.Errorf("closed") }}
		origin, err := origins.Origin(t.Context(), "cache")
		require.NoError(t, err)
		origin.Remote = nil
		return origin
	}
	require.Equal(t, &proxy.Origin{Name: "far"}, set(nil))
	filter, err := selector.NewFilter("regex", "team/.*")
	require.NoError(t, err)
	require.Equal(t, &proxy.Origin{Name: "far", BytesPerSecond: 2048, Connections: 3, ServeGone: true, OwnReferrers: true, Filter: filter}, set(map[string]string{
		"proxy_speed_kb": "2", "max_upstream_conn": "3", "proxy_cache_local_on_not_found": "true", "proxy_referrer_api": "false",
		"proxy_cache_filter_kind": "regex", "proxy_cache_filter_pattern": "team/.*",
	}))
	unbound := set(map[string]string{"proxy_speed_kb": "-1", "max_upstream_conn": "-1", "proxy_referrer_api": "true"})
	require.Zero(t, unbound.BytesPerSecond)
	require.EqualValues(t, -1, unbound.Connections)
	require.False(t, unbound.OwnReferrers)
}

func TestPull_gatewaysShareWhatTheyHaveSeen(t *testing.T) {
	u := newUpstream(t)
	pushed := u.push("team/app", "v1", 1000)
	patient := func(o *proxy.Options) { o.Patience = time.Minute }
	first := newGateway(t, u, setup{options: patient})
	next := func() *gateway {
		return newGateway(t, u, setup{store: first.store, backend: first.backend, options: patient})
	}
	looked := func() int { return u.count(http.MethodHead, manifestPath("team/app", "v1")) }
	for _, g := range []*gateway{first, next(), next()} {
		require.NoError(t, g.pull(t.Context(), "cache/team/app", "v1", pushed))
		require.Zero(t, looked(), "the first has seen it")
	}
	// The time to live passes.
	require.NoError(t, first.store.Tx(t.Context(), func(ctx context.Context, tx *metadata.Tx) error {
		gone, err := tx.DeleteSeenTags(ctx, time.Now().Add(time.Hour), math.MaxInt32)
		require.EqualValues(t, 1, gone)
		return err
	}))
	moved := u.push("team/app", "v1", 1000)
	for range 3 {
		require.NoError(t, next().pull(t.Context(), "cache/team/app", "v1", moved))
		require.Equal(t, 1, looked(), "one looks for all")
	}
	require.NoError(t, first.pull(t.Context(), "cache/team/app", "v1", moved), "what is kept has changed since it looked")
}

func TestPull_manifestsThatAreNone(t *testing.T) {
	u := newUpstream(t)
	pushed := u.push("team/app", "v1", 1000)
	g := newGateway(t, u, setup{})
	for name, send := range map[string]func(w http.ResponseWriter, r *http.Request){
		"another": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"schemaVersion":2}`) },
		"endless": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "1000")
			if r.Method == http.MethodHead {
				return
			}
			w.Header().Del("Content-Length")
			for r.Context().Err() == nil {
				_, _ = w.Write(make([]byte, 64<<10))
			}
		},
	} {
		u.set(func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("Content-Type", oci.MediaTypeImageManifest)
			w.Header().Set("Docker-Content-Digest", pushed.digest.String())
			send(w, r)
			return true
		}, nil)
		for _, reference := range []string{"v1", pushed.digest.String()} {
			a := g.want(503, g.get(manifestPath("cache/team/app", reference)))
			require.Contains(t, string(a.body), "sends something else", name)
		}
	}
	_, err := g.store.Repository(t.Context(), "cache/team/app")
	require.ErrorIs(t, err, metadata.ErrNotFound)
	u.set(nil, nil)
	require.NoError(t, g.pull(t.Context(), "cache/team/app", "v1", pushed))
}

func TestPull_disksAreFull(t *testing.T) {
	u := newUpstream(t)
	pushed := u.push("team/app", "v1", 3<<20)
	small := func(name string) string {
		directory := filepath.Join(t.TempDir(), name)
		require.NoError(t, syscall.Mkdir(directory, 0o700))
		require.NoError(t, syscall.Mount("tmpfs", directory, "tmpfs", 0, "size=1m"), "a small disk needs root")
		t.Cleanup(func() { require.NoError(t, syscall.Unmount(directory, syscall.MNT_DETACH)) })
		return directory
	}
	backend, err := filesystem.New(filesystem.Config{Root: small("storage")})
	require.NoError(t, err)
	g := newGateway(t, u, setup{backend: backend})
	require.NoError(t, g.pull(t.Context(), "cache/team/app", "v1", pushed), "what cannot be stored is served")
	_, err = g.store.Blob(t.Context(), "cache/team/app", oci.SHA256.FromBytes(pushed.layers[0]))
	require.ErrorIs(t, err, metadata.ErrNotFound)
	require.Contains(t, g.log.String(), "is not kept")

	g = newGateway(t, u, setup{options: func(o *proxy.Options) { o.Directory = small("on their way") }})
	a := g.do(t.Context(), http.MethodGet, blobPath("cache/team/app", pushed.layers[0]))
	require.True(t, a.err != nil && len(a.body) < len(pushed.layers[0]) || a.StatusCode == 503, "what has no room breaks off")
	require.Eventually(t, func() bool {
		a := g.do(t.Context(), http.MethodGet, blobPath("cache/team/app", pushed.config))
		return a.err == nil && a.StatusCode == 200 && bytes.Equal(pushed.config, a.body)
	}, time.Minute, 10*time.Millisecond, "what has room comes, when the other has given up its own")

	g = newGateway(t, u, setup{options: func(o *proxy.Options) { o.Directory = "/dev/null/none" }})
	a = g.want(503, g.get(blobPath("cache/team/app", pushed.layers[0])))
	require.Contains(t, string(a.body), "no room for blobs on their way")
}

func TestPull_isCounted(t *testing.T) {
	u := newUpstream(t)
	pushed := u.push("team/app", "v1", 1000)
	var mu sync.Mutex
	counts := map[string]int{}
	count := func(name string, n int) {
		mu.Lock()
		defer mu.Unlock()
		counts[name] += n
	}
	g := newGateway(t, u, setup{options: func(o *proxy.Options) {
		persistent(o)
		o.Observer = proxy.Observer{
			Served:   func(content string, outcome proxy.Outcome) { count(content+" "+string(outcome), 1) },
			Asked:    func(operation, answer string) { count(operation+" "+answer, 1) },
			Received: func(bytes int) { count("bytes", bytes) },
		}
	}})
	require.NoError(t, g.pull(t.Context(), "cache/team/app", "v1", pushed))
	for _, blob := range pushed.blobs() {
		g.kept("cache/team/app", blob)
	}
	require.NoError(t, g.pull(t.Context(), "cache/team/app", "v1", pushed))
	u.set(func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(429); return true }, nil)
	require.NoError(t, g.pull(t.Context(), "cache/team/app", "v1", pushed))
	g.want(429, g.get(blobPath("cache/team/app", []byte("absent"))))
	mu.Lock()
	defer mu.Unlock()
	require.Equal(t, map[string]int{
		"manifest miss": 1, "manifest hit": 4, "manifest stale": 1, "blob miss": 3, "blob hit": 4,
		"manifest ok": 1, "describe ok": 1, "describe too_many_requests": 1, "blob ok": 2, "blob too_many_requests": 1,
		"bytes": len(pushed.manifest) + len(pushed.config) + 1000,
	}, counts)
}
