package proxy_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/replicate/proxy"
)

// impatient has every pull ask the registry elsewhere again.
func impatient(o *proxy.Options) { o.TTL = time.Nanosecond }

// persistent has every pull ask the registry elsewhere again, and wait for its answer also on a slow machine.
func persistent(o *proxy.Options) { o.TTL, o.Patience = time.Nanosecond, time.Minute }

// trickle sends a KiB in a second.
type trickle struct {
	io.ReadCloser
	ctx context.Context
}

func (t trickle) Read(p []byte) (int, error) {
	select {
	case <-time.After(time.Second):
	case <-t.ctx.Done():
		return 0, t.ctx.Err()
	}
	return t.ReadCloser.Read(p[:min(len(p), 1024)])
}

func isBlob(r *http.Request) bool { return strings.Contains(r.URL.Path, "/blobs/") }

func TestPull_keptIsServedWhateverUpstreamDoes(t *testing.T) {
	u := newUpstream(t)
	pushed := u.push("team/app", "v1", 100<<10)
	filled := func(t *testing.T) *gateway {
		u.set(nil, nil)
		g := newGateway(t, u, setup{options: impatient})
		require.NoError(t, g.pull(t.Context(), "cache/team/app", "v1", pushed))
		for _, blob := range pushed.blobs() {
			g.kept("cache/team/app", blob)
		}
		return g
	}
	status := func(status int) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(status)
			return true
		}
	}
	for _, trouble := range []struct {
		name   string
		answer func(http.ResponseWriter, *http.Request) bool
	}{
		{"429", status(429)},
		{"500", status(500)},
		{"503", status(503)},
		{"401", status(401)},
		{"hangs", func(_ http.ResponseWriter, r *http.Request) bool {
			select {
			case <-r.Context().Done():
			case <-t.Context().Done():
			}
			return true
		}},
		{"a KiB in a second", func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("Docker-Content-Digest", pushed.digest.String())
			for range 20 {
				select {
				case <-time.After(100 * time.Millisecond):
				case <-r.Context().Done():
				}
			}
			return true
		}},
		{"breaks connections", func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) }},
	} {
		t.Run(trouble.name, func(t *testing.T) {
			g := filled(t)
			asked := u.count(http.MethodHead, manifestPath("team/app", "v1"))
			u.set(trouble.answer, nil)
			for range 3 {
				began := time.Now()
				require.NoError(t, g.pull(t.Context(), "cache/team/app", "v1", pushed), "%s", g.log)
				require.Less(t, time.Since(began), time.Second)
			}
			require.Greater(t, u.count(http.MethodHead, manifestPath("team/app", "v1")), asked)
		})
	}
	g := filled(t)
	u.gate.CloseClientConnections()
	u.gate.Close()
	began := time.Now()
	require.NoError(t, g.pull(t.Context(), "cache/team/app", "v1", pushed))
	require.Less(t, time.Since(began), time.Second, "stopped")
}

func TestPull_whatIsNotKeptTellsWhy(t *testing.T) {
	u := newUpstream(t)
	g := newGateway(t, u, setup{})
	for status, want := range map[int]struct {
		status int
		code   string
	}{
		429: {429, "TOOMANYREQUESTS"}, 500: {503, "UNAVAILABLE"}, 401: {403, "DENIED"}, 403: {403, "DENIED"}, 404: {404, "MANIFEST_UNKNOWN"},
	} {
		u.set(func(w http.ResponseWriter, _ *http.Request) bool {
			if status == 429 {
				w.Header().Set("Retry-After", "77")
			}
			w.WriteHeader(status)
			return true
		}, nil)
		a := g.want(want.status, g.get(manifestPath("cache/team/app", oci.SHA256.FromString(http.StatusText(status)).String())))
		require.Equal(t, want.code, a.code())
		require.Contains(t, string(a.body), `registry \"far\"`, "whose fault it is")
		if want.status != 403 && want.status != 404 {
			require.NotEmpty(t, a.Header.Get("Retry-After"))
			require.True(t, status != 429 || a.Header.Get("Retry-After") == "77", a.Header.Get("Retry-After"))
		}
		blobCode := strings.Replace(want.code, "MANIFEST", "BLOB", 1)
		require.Equal(t, blobCode, g.want(want.status, g.get(blobPath("cache/team/app", []byte(http.StatusText(status))))).code())
	}
	u.gate.Close()
	require.Equal(t, "UNAVAILABLE", g.want(503, g.get(manifestPath("cache/team/app", "v1"))).code())
}

func TestPull_aBlobThatBreaksGoesOn(t *testing.T) {
	u := newUpstream(t)
	pushed := u.push("team/app", "v1", 2<<20)
	var cuts atomic.Int64
	u.set(nil, func(r *http.Request, body io.ReadCloser) io.ReadCloser {
		if !isBlob(r) || cuts.Add(1) > 5 {
			return body
		}
		return struct {
			io.Reader
			io.Closer
		}{io.LimitReader(body, 300<<10), body}
	})
	g := newGateway(t, u, setup{})
	require.NoError(t, g.pull(t.Context(), "cache/team/app", "v1", pushed), "%s", g.log)
	require.Greater(t, u.count(http.MethodGet, blobPath("team/app", pushed.layers[0])), 3)
	g.kept("cache/team/app", pushed.layers[0])
}

func TestPull_wrongBytesReachNobody(t *testing.T) {
	u := newUpstream(t)
	pushed := u.push("team/app", "v1", 1<<20)
	u.set(nil, func(r *http.Request, body io.ReadCloser) io.ReadCloser {
		if !isBlob(r) {
			return body
		}
		read, err := io.ReadAll(body)
		if err != nil || len(read) == 0 {
			return body
		}
		read[len(read)/2] ^= 1
		return struct {
			io.Reader
			io.Closer
		}{bytes.NewReader(read), body}
	})
	g := newGateway(t, u, setup{})
	for _, blob := range pushed.blobs() {
		a := g.do(t.Context(), http.MethodGet, blobPath("cache/team/app", blob))
		require.True(t, a.err != nil && len(a.body) < len(blob) || a.StatusCode == 503, "the connection breaks, so that nobody takes it for the whole: %+v", a.Response)
	}
	require.Contains(t, g.log.String(), "sent 1048576 bytes with the digest")
	for _, blob := range pushed.blobs() {
		_, err := g.store.Blob(t.Context(), "cache/team/app", oci.SHA256.FromBytes(blob))
		require.ErrorIs(t, err, metadata.ErrNotFound)
	}
	u.set(nil, nil)
	require.NoError(t, g.pull(t.Context(), "cache/team/app", "v1", pushed), "what was wrong is not remembered")
}

func TestPull_clientLeavesAndTheFetchGoesOn(t *testing.T) {
	u := newUpstream(t)
	pushed := u.push("team/app", "v1", 2<<20)
	half, on := make(chan struct{}), make(chan struct{})
	u.set(nil, func(r *http.Request, body io.ReadCloser) io.ReadCloser {
		if r.Method != http.MethodGet || !isBlob(r) {
			return body
		}
		return &paused{ReadCloser: body, after: 1 << 20, reached: half, on: on}
	})
	g := newGateway(t, u, setup{})
	ctx, leave := context.WithCancel(t.Context())
	left := make(chan answer, 1)
	go func() { left <- g.do(ctx, http.MethodGet, blobPath("cache/team/app", pushed.layers[0])) }()
	<-half
	leave()
	require.Error(t, (<-left).err)

	// Who comes in the middle reads from wherever they want.
	late := make(chan answer, 1)
	go func() {
		late <- g.do(t.Context(), http.MethodGet, blobPath("cache/team/app", pushed.layers[0]), "Range: bytes=1500000-1500099")
	}()
	close(on)
	a := <-late
	require.NoError(t, a.err)
	require.Equal(t, 206, a.StatusCode)
	require.Equal(t, pushed.layers[0][1500000:1500100], a.body)
	g.kept("cache/team/app", pushed.layers[0])
	require.Equal(t, 1, u.count(http.MethodGet, blobPath("team/app", pushed.layers[0])))
}

// paused reads up to a number of bytes, tells, and waits.
type paused struct {
	io.ReadCloser
	after       int
	reached, on chan struct{}
	told        bool
}

func (p *paused) Read(b []byte) (int, error) {
	if p.after == 0 && !p.told {
		p.told = true
		close(p.reached)
		<-p.on
	}
	if p.after > 0 {
		b = b[:min(len(b), p.after)]
	}
	n, err := p.ReadCloser.Read(b)
	p.after = max(0, p.after-n)
	return n, err
}

func TestClose_breaksOffWhatIsFetched(t *testing.T) {
	u := newUpstream(t)
	pushed := u.push("team/app", "v1", 1<<20)
	u.set(nil, func(r *http.Request, body io.ReadCloser) io.ReadCloser {
		if !isBlob(r) {
			return body
		}
		return trickle{body, r.Context()}
	})
	g := newGateway(t, u, setup{})
	pulled := make(chan answer, 1)
	go func() { pulled <- g.do(t.Context(), http.MethodGet, blobPath("cache/team/app", pushed.layers[0])) }()
	require.Eventually(t, func() bool { return u.count(http.MethodGet, blobPath("team/app", pushed.layers[0])) == 1 }, 10*time.Second, time.Millisecond)
	require.NoError(t, g.proxy.Close())
	a := <-pulled
	require.True(t, a.err != nil || a.StatusCode >= 500)
	_, err := g.store.Blob(t.Context(), "cache/team/app", oci.SHA256.FromBytes(pushed.layers[0]))
	require.ErrorIs(t, err, metadata.ErrNotFound)
}

func TestPull_upstreamGoesInTheMiddle(t *testing.T) {
	u := newUpstream(t)
	pushed := u.push("team/app", "v1", 1<<20)
	u.set(func(w http.ResponseWriter, r *http.Request) bool {
		if !isBlob(r) {
			return false
		}
		w.Header().Set("Content-Length", "1048576")
		_, _ = w.Write(pushed.layers[0][:1<<19])
		u.set(func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) }, nil)
		panic(http.ErrAbortHandler)
	}, nil)
	g := newGateway(t, u, setup{})
	var pulls sync.WaitGroup
	for range 10 {
		pulls.Go(func() {
			a := g.do(t.Context(), http.MethodGet, blobPath("cache/team/app", pushed.layers[0]))
			require.True(t, a.err != nil || a.StatusCode == 503, "%+v", a)
		})
	}
	pulls.Wait()
	_, err := g.store.Blob(t.Context(), "cache/team/app", oci.SHA256.FromBytes(pushed.layers[0]))
	require.ErrorIs(t, err, metadata.ErrNotFound)
	u.set(nil, nil)
	require.NoError(t, g.pull(t.Context(), "cache/team/app", "v1", pushed))
}

func TestPull_whatMayNotBeKeptIsServed(t *testing.T) {
	t.Run("read-only", func(t *testing.T) {
		u := newUpstream(t)
		pushed := u.push("team/app", "v1", 100<<10)
		g := newGateway(t, u, setup{options: func(o *proxy.Options) { o.Keep = func(context.Context) bool { return false } }})
		g.pullAll(20, "cache/team/app", "v1", pushed)
		_, err := g.store.Repository(t.Context(), "cache/team/app")
		require.ErrorIs(t, err, metadata.ErrNotFound)
	})
	t.Run("no room", func(t *testing.T) {
		u := newUpstream(t)
		pushed := u.push("team/app", "v1", 100<<10)
		g := newGateway(t, u, setup{})
		require.NoError(t, g.store.Tx(t.Context(), func(ctx context.Context, tx *metadata.Tx) error {
			project, err := tx.Project(ctx, "cache")
			if err != nil {
				return err
			}
			return tx.SetLimit(ctx, project.ID, 1000)
		}))
		require.NoError(t, g.pull(t.Context(), "cache/team/app", "v1", pushed))
		_, err := g.store.Manifest(t.Context(), "cache/team/app", pushed.digest)
		require.ErrorIs(t, err, metadata.ErrNotFound)
		require.NotEmpty(t, g.events()[event.QuotaExceeded])
	})
}

func TestPull_goesOnWhenTheGatewayThatFetchesDies(t *testing.T) {
	u := newUpstream(t)
	pushed := u.push("team/app", "v1", 1000)
	g := newGateway(t, u, setup{options: func(o *proxy.Options) { o.Lease = time.Second }})
	name := "blob cache/team/app@" + oci.SHA256.FromBytes(pushed.layers[0]).String()
	require.NoError(t, g.store.Tx(t.Context(), func(ctx context.Context, tx *metadata.Tx) error {
		return tx.LeaseFetch(ctx, name, "a gateway that has died", 500*time.Millisecond)
	}))
	require.NoError(t, g.pull(t.Context(), "cache/team/app", "v1", pushed))
	require.Equal(t, 1, u.count(http.MethodGet, blobPath("team/app", pushed.layers[0])))
}

func TestBlob_headAsksForNoBytes(t *testing.T) {
	u := newUpstream(t)
	pushed := u.push("team/app", "v1", 1000)
	g := newGateway(t, u, setup{})
	a := g.want(200, g.do(t.Context(), http.MethodHead, blobPath("cache/team/app", pushed.layers[0])))
	require.EqualValues(t, 1000, a.ContentLength)
	require.Zero(t, u.count(http.MethodGet, blobPath("team/app", pushed.layers[0])))
	g.want(404, g.do(t.Context(), http.MethodHead, blobPath("cache/team/app", []byte("nothing"))))
	require.Equal(t, "BLOB_UNKNOWN", g.want(404, g.get(blobPath("own/app", []byte("nothing")))).code())
}

// leadsTo has an upstream be the cache of a gateway.
func (u *upstream) leadsTo(g *gateway) {
	u.t.Helper()
	target, err := url.Parse(g.url)
	require.NoError(u.t, err)
	reverse := httputil.NewSingleHostReverseProxy(target)
	u.set(func(w http.ResponseWriter, r *http.Request) bool {
		if rest, ok := strings.CutPrefix(r.URL.Path, "/v2/"); ok && rest != "" {
			r.URL.Path = "/v2/cache/" + rest
		}
		reverse.ServeHTTP(w, r)
		return true
	}, nil)
}

// TestPull_cachesOfEachOther has two registries that are caches of each other, as by mirrors of the same names: they give what either has,
// and say at once what both would look for with the other.
func TestPull_cachesOfEachOther(t *testing.T) {
	there, here := newUpstream(t), newUpstream(t)
	fresh := func(o *proxy.Options) { o.TTL, o.Patience = -1, time.Minute }
	one, other := newGateway(t, there, setup{options: fresh}), newGateway(t, here, setup{options: fresh})
	pushed := here.push("shared/app", "v1", 1<<10)
	other.pullAll(1, "cache/shared/app", "v1", pushed)
	there.leadsTo(other)
	here.leadsTo(one)

	missing := oci.SHA256.FromBytes([]byte("nobody has it"))
	for _, g := range []*gateway{one, other} {
		for _, path := range []string{
			manifestPath("cache/shared/app", "missing"), manifestPath("cache/shared/app", missing.String()), "/v2/cache/shared/app/blobs/" + missing.String(),
		} {
			a := g.want(http.StatusLoopDetected, g.get(path))
			require.Contains(t, string(a.body), "asks this one in turn")
			require.Equal(t, http.StatusLoopDetected, g.do(t.Context(), http.MethodHead, path).StatusCode)
		}
		g.pullAll(1, "cache/shared/app", "v1", pushed)
		require.Contains(t, string(g.want(200, g.get("/v2/cache/shared/app/tags/list")).body), `"v1"`)
	}

	long := "Via: " + strings.Repeat("1.1 somebody, ", 16) + "1.1 else"
	one.want(http.StatusLoopDetected, one.get(manifestPath("cache/shared/app", "v1"), long))
	one.want(200, one.get(manifestPath("cache/shared/app", "v1"), "Via: , ,1.1, 1.1 berth (1.1 "+strings.Repeat(",", 1000)))
}
