package proxy_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/metadata/postgres"
	"github.com/berth-registry/berth/metadata/postgres/postgrestest"
	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/replicate/proxy"
	"github.com/berth-registry/berth/storage/s3"
	"github.com/berth-registry/berth/storage/s3/s3server"
)

// cluster is a database and a storage for several gateways.
type cluster struct {
	t      *testing.T
	url    string
	bucket *s3server.Server
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{t: t, url: postgrestest.Migrated(t), bucket: s3server.StartVersityGW(t)}
	store := c.open()
	makeProjects(t, store)
	return c
}

func (c *cluster) open() *metadata.Store {
	c.t.Helper()
	store, err := postgres.Open(postgres.Options{URL: c.url}, slog.New(slog.DiscardHandler))
	require.NoError(c.t, err)
	c.t.Cleanup(func() { require.NoError(c.t, store.Close()) })
	return store
}

// gateway starts a gateway of the cluster, which is quick to tell others.
func (c *cluster) gateway(t *testing.T, u *upstream, adjust func(*proxy.Options)) *gateway {
	t.Helper()
	backend, err := s3.New(s3.Config{
		Endpoint: c.bucket.Endpoint, Bucket: s3server.Bucket, Region: s3server.Region,
		AccessKey: s3server.AccessKey, SecretKey: s3server.SecretKey, SpillDirectory: t.TempDir(),
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, backend.Close()) })
	return newGateway(t, u, setup{store: c.open(), backend: backend, options: func(o *proxy.Options) {
		o.Tell = 20 * time.Millisecond
		if adjust != nil {
			adjust(o)
		}
	}})
}

// gated lets the first bytes of blobs through, and the rest when it is opened.
type gated struct {
	io.ReadCloser
	left int
	open <-chan struct{}
	gone <-chan struct{}
}

func (g *gated) Read(p []byte) (int, error) {
	if g.left == 0 {
		select {
		case <-g.open:
		case <-g.gone:
			return 0, io.ErrUnexpectedEOF
		}
		return g.ReadCloser.Read(p)
	}
	n, err := g.ReadCloser.Read(p[:min(len(p), g.left)])
	g.left -= n
	return n, err
}

// download is a blob that somebody pulls.
type download struct {
	t        *testing.T
	response *http.Response
	whole    []byte
}

func (g *gateway) download(ctx context.Context, repository string, blob []byte) *download {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	g.t.Cleanup(cancel)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, g.url+blobPath(repository, blob), nil)
	require.NoError(g.t, err)
	response, err := client.Do(request)
	require.NoError(g.t, err)
	g.t.Cleanup(func() { _ = response.Body.Close() })
	require.Equal(g.t, http.StatusOK, response.StatusCode, "%s", g.log)
	require.EqualValues(g.t, len(blob), response.ContentLength)
	return &download{g.t, response, blob}
}

// takes reads the next bytes, which have to come and be right.
func (d *download) takes(n int) {
	d.t.Helper()
	got := make([]byte, n)
	_, err := io.ReadFull(d.response.Body, got)
	require.NoError(d.t, err)
	require.True(d.t, bytes.Equal(d.whole[:n], got))
	d.whole = d.whole[n:]
}

func TestPull_gatewaysFetchOnceAndAllStream(t *testing.T) {
	cluster := newCluster(t)

	t.Run("many at once", func(t *testing.T) {
		u := newUpstream(t)
		pushed := u.push("many/app", "v1", 512<<10)
		var both sync.WaitGroup
		for range 2 {
			g := cluster.gateway(t, u, nil)
			both.Go(func() { g.pullAll(40, "cache/many/app", "v1", pushed) })
		}
		both.Wait()
		for _, blob := range pushed.blobs() {
			require.Equal(t, 1, u.count(http.MethodGet, blobPath("many/app", blob)), "blob of %d bytes", len(blob))
		}
		require.Equal(t, 1, u.count(http.MethodGet, manifestPath("many/app", "v1")))
	})

	t.Run("while it comes", func(t *testing.T) {
		u := newUpstream(t)
		blob, open := u.gated("slow/app", 3<<20, 2<<20)
		first, second := cluster.gateway(t, u, nil), cluster.gateway(t, u, nil)
		one := first.download(t.Context(), "cache/slow/app", blob)
		one.takes(1 << 20)
		other := second.download(t.Context(), "cache/slow/app", blob)
		other.takes(2<<20 - 2)
		open()
		one.takes(2 << 20)
		other.takes(1<<20 + 2)
		require.Equal(t, 1, u.count(http.MethodGet, blobPath("slow/app", blob)))
		second.nothingOnItsWay("cache/slow/app", blob)
	})

	t.Run("the gateway that fetches dies", func(t *testing.T) {
		t.Parallel()
		u := newUpstream(t)
		blob, open := u.gated("dying/app", 3<<20, 2<<20)
		store := cluster.open()
		dying := newGateway(t, u, setup{store: store, backend: cluster.gateway(t, u, nil).backend, options: func(o *proxy.Options) {
			o.Tell = 20 * time.Millisecond
		}})
		other := cluster.gateway(t, u, nil)
		dying.download(t.Context(), "cache/dying/app", blob).takes(1 << 20)
		pulled := other.download(t.Context(), "cache/dying/app", blob)
		pulled.takes(2<<20 - 2)
		require.NoError(t, store.Close(), "the dead tell nobody")
		require.NoError(t, dying.proxy.Close())
		open()
		other.endLease("cache/dying/app", blob, "")
		pulled.takes(1<<20 + 2)
		require.Equal(t, []string{"", fmt.Sprintf("bytes=%d-", 2<<20-1)}, u.rangesOf("dying/app", blob), "nothing was fetched twice")
		other.nothingOnItsWay("cache/dying/app", blob)
		require.Equal(t, blob, other.want(200, other.get(blobPath("cache/dying/app", blob))).body)
	})

	t.Run("a gateway that comes after one has died", func(t *testing.T) {
		t.Parallel()
		u := newUpstream(t)
		blob, open := u.gated("late/app", 3<<20, 2<<20)
		defer open()
		store := cluster.open()
		dying := newGateway(t, u, setup{store: store, backend: cluster.gateway(t, u, nil).backend, options: func(o *proxy.Options) {
			o.Tell = 20 * time.Millisecond
		}})
		dying.download(t.Context(), "cache/late/app", blob).takes(1 << 20)
		waiting := cluster.gateway(t, u, nil)
		waiting.download(t.Context(), "cache/late/app", blob).takes(2<<20 - 2)
		require.NoError(t, store.Close())
		require.NoError(t, dying.proxy.Close())
		require.NoError(t, waiting.store.Close(), "the one that waited dies too")
		require.NoError(t, waiting.proxy.Close())
		open()
		last := cluster.gateway(t, u, nil)
		last.endLease("cache/late/app", blob, "")
		last.download(t.Context(), "cache/late/app", blob).takes(3 << 20)
		require.Equal(t, []string{"", fmt.Sprintf("bytes=%d-", 2<<20-1)}, u.rangesOf("late/app", blob), "nothing was fetched twice")
	})

	t.Run("the registry elsewhere stands still for longer than a lease", func(t *testing.T) {
		t.Parallel()
		u := newUpstream(t)
		blob, open := u.gated("still/app", 3<<20, 2<<20)
		const lease = 3 * time.Second
		short := func(o *proxy.Options) { o.Lease = lease }
		first, second := cluster.gateway(t, u, short), cluster.gateway(t, u, short)
		one := first.download(t.Context(), "cache/still/app", blob)
		one.takes(1 << 20)
		other := second.download(t.Context(), "cache/still/app", blob)
		other.takes(2<<20 - 2)
		ticker := time.NewTicker(100 * time.Millisecond)
		defer ticker.Stop()
		for began := time.Now(); time.Since(began) < lease+time.Second; <-ticker.C {
			err := second.store.Tx(t.Context(), func(ctx context.Context, tx *metadata.Tx) error {
				return tx.LeaseFetch(ctx, fetchName("cache/still/app", blob), "another", lease)
			})
			require.ErrorIs(t, err, metadata.ErrConflict, "who fetches lives")
		}
		open()
		one.takes(2 << 20)
		other.takes(1<<20 + 2)
		require.Equal(t, []string{""}, u.rangesOf("still/app", blob))
	})

	t.Run("the gateway that fetches is taken for dead", func(t *testing.T) {
		t.Parallel()
		u := newUpstream(t)
		blob, open := u.gated("slept/app", 3<<20, 2<<20)
		g := cluster.gateway(t, u, func(o *proxy.Options) { o.Lease = 2 * time.Second })
		pulled := g.download(t.Context(), "cache/slept/app", blob)
		pulled.takes(2<<20 - 1)
		g.endLease("cache/slept/app", blob, "another")
		require.Eventually(t, func() bool { return len(u.rangesOf("slept/app", blob)) == 2 }, time.Minute, 10*time.Millisecond, "it goes on after the other\n%s", g.log)
		require.Contains(t, g.log.String(), "another gateway has taken over")
		open()
		pulled.takes(1<<20 + 1)
		require.Equal(t, []string{"", fmt.Sprintf("bytes=%d-", 2<<20)}, u.rangesOf("slept/app", blob))
		g.kept("cache/slept/app", blob)
	})

	t.Run("the registry elsewhere sends something else", func(t *testing.T) {
		u := newUpstream(t)
		blob, open := u.gated("wrong/app", 3<<20, 2<<20)
		wrong := bytes.Clone(blob)
		wrong[100] ^= 1
		released := make(chan struct{})
		u.set(func(w http.ResponseWriter, r *http.Request) bool {
			if !isBlob(r) {
				return false
			}
			w.Header().Set("Content-Length", fmt.Sprint(len(wrong)))
			_, _ = w.Write(wrong[:2<<20])
			_ = http.NewResponseController(w).Flush()
			<-released
			_, _ = w.Write(wrong[2<<20:])
			return true
		}, nil)
		defer open()
		first, second := cluster.gateway(t, u, nil), cluster.gateway(t, u, nil)
		var pulls []*http.Response
		for _, g := range []*gateway{first, second} {
			pulls = append(pulls, g.download(t.Context(), "cache/wrong/app", blob).response)
			_, err := io.CopyN(io.Discard, pulls[len(pulls)-1].Body, 1<<20)
			require.NoError(t, err)
		}
		close(released)
		for _, pull := range pulls {
			_, err := io.Copy(io.Discard, pull.Body)
			require.Error(t, err, "nobody takes it for the whole")
		}
		second.nothingOnItsWay("cache/wrong/app", blob)
		_, err := second.store.Blob(t.Context(), "cache/wrong/app", oci.SHA256.FromBytes(blob))
		require.ErrorIs(t, err, metadata.ErrNotFound)
	})
}

// gated puts a blob there of which, until open is called, only the first bytes can be had.
func (u *upstream) gated(repository string, size, first int) (blob []byte, open func()) {
	u.t.Helper()
	blob = make([]byte, size)
	_, _ = rand.Read(blob)
	u.upload(repository, oci.SHA256.FromBytes(blob), blob)
	opened := make(chan struct{})
	u.set(nil, func(r *http.Request, body io.ReadCloser) io.ReadCloser {
		if r.Method != http.MethodGet || !isBlob(r) {
			return body
		}
		return &gated{ReadCloser: body, left: first, open: opened, gone: r.Context().Done()}
	})
	open = sync.OnceFunc(func() { close(opened) })
	u.t.Cleanup(open)
	return blob, open
}

// fetchName is what all gateways call the fetch of a blob.
func fetchName(repository string, blob []byte) string {
	return "blob " + repository + "@" + oci.SHA256.FromBytes(blob).String()
}

// endLease has the lease on the fetch of a blob end now, as if nobody had gone on with it, and another gateway have it that dies at once,
// unless that is "".
func (g *gateway) endLease(repository string, blob []byte, another string) {
	g.t.Helper()
	name := fetchName(repository, blob)
	require.NoError(g.t, g.store.Tx(g.t.Context(), func(ctx context.Context, tx *metadata.Tx) error {
		found, err := tx.Fetch(ctx, name)
		if errors.Is(err, metadata.ErrNotFound) {
			return nil // it ended by itself
		}
		if err != nil {
			return err
		}
		if err := tx.LeaseFetch(ctx, name, found.Holder, 0); err != nil || another == "" {
			return err
		}
		return tx.LeaseFetch(ctx, name, another, time.Second)
	}))
}

// nothingOnItsWay waits until nothing is left of the fetch of a blob.
func (g *gateway) nothingOnItsWay(repository string, blob []byte) {
	g.t.Helper()
	name := fetchName(repository, blob)
	require.Eventually(g.t, func() bool {
		_, err := g.store.Fetch(context.Background(), name)
		parts, partsErr := g.store.FetchParts(context.Background(), name, 0, 1)
		return errors.Is(err, metadata.ErrNotFound) && partsErr == nil && len(parts) == 0
	}, 30*time.Second, 10*time.Millisecond, "%s", g.log)
}
