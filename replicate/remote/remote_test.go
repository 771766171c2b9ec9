package remote_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/outbound"
	"github.com/berth-registry/berth/replicate/remote"
	"github.com/berth-registry/berth/replicate/remote/remotetest"
)

func open(t *testing.T, address string) *remote.Registry {
	t.Helper()
	transport, err := outbound.Networks{}.Transport(outbound.Trust{})
	require.NoError(t, err)
	t.Cleanup(transport.CloseIdleConnections)
	r, err := remote.New(remote.Options{URL: "http://" + address, Transport: transport, UserAgent: "berth test"})
	require.NoError(t, err)
	return r
}

// cutter passes connections on to a server and cuts them where it is told to.
type cutter struct {
	listener net.Listener
	cuts     atomic.Int64
	passed   atomic.Int64
}

// cut starts a way to the address on which connections break after a random number of bytes from the client, at most most, times
// times in all.
func cut(t *testing.T, address string, times, most int64) *cutter {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	c := &cutter{listener: listener}
	var connections sync.WaitGroup
	t.Cleanup(func() {
		require.NoError(t, listener.Close())
		connections.Wait()
	})
	connections.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", address)
			if err != nil {
				_ = client.Close()
				continue
			}
			connections.Go(func() {
				_, _ = io.Copy(client, server)
				_ = client.Close()
			})
			connections.Go(func() {
				defer client.Close()
				defer server.Close()
				buffer, left := make([]byte, 32<<10), rand.Int64N(most)+1
				for {
					n, err := client.Read(buffer)
					c.passed.Add(int64(n))
					if _, writeErr := server.Write(buffer[:n]); err != nil || writeErr != nil {
						return
					}
					if left -= int64(n); left < 0 && c.cuts.Load() < times {
						c.cuts.Add(1)
						return
					}
				}
			})
		}
	})
	return c
}

func (c *cutter) address() string { return c.listener.Addr().String() }

// content is a blob of random bytes, with what reads it from an offset on.
func content(size int) (oci.Descriptor, []byte, func(context.Context, int64) (io.ReadCloser, error)) {
	bytesOf := make([]byte, size)
	source := rand.NewChaCha8([32]byte{byte(size)})
	_, _ = source.Read(bytesOf) //nolint:errcheck // it never fails
	return oci.Descriptor{Digest: oci.SHA256.FromBytes(bytesOf), Size: int64(size)}, bytesOf, func(_ context.Context, offset int64) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(bytesOf[offset:])), nil
	}
}

func requireBlob(t *testing.T, r *remote.Registry, repository string, blob oci.Descriptor, want []byte) {
	t.Helper()
	for _, offset := range []int64{0, blob.Size / 2} {
		reader, err := r.ReadBlob(t.Context(), repository, blob.Digest, offset)
		require.NoError(t, err)
		got, err := io.ReadAll(reader)
		require.NoError(t, err)
		require.NoError(t, reader.Close())
		require.True(t, bytes.Equal(want[offset:], got), "%s from %d", blob.Digest, offset)
	}
}

func TestRegistry_readsAndWrites(t *testing.T) {
	r := open(t, remotetest.Distribution(t))
	ctx := t.Context()
	require.NoError(t, r.Ping(ctx))
	for _, size := range []int{0, 1, 3 << 20} {
		blob, want, read := content(size)
		has, err := r.HasBlob(ctx, "a/b", blob.Digest)
		require.NoError(t, err)
		require.False(t, has)
		transfer, err := r.WriteBlob(ctx, "a/b", blob, read)
		require.NoError(t, err)
		require.Equal(t, remote.Transfer{Sent: blob.Size}, transfer)
		requireBlob(t, r, "a/b", blob, want)
		mounted, err := r.MountBlob(ctx, "c/d", "a/b", blob.Digest)
		require.NoError(t, err)
		require.True(t, mounted)
	}
	mounted, err := r.MountBlob(ctx, "c/d", "a/b", oci.SHA256.FromString("absent"))
	require.NoError(t, err)
	require.False(t, mounted)
	_, err = r.ReadBlob(ctx, "a/b", oci.SHA256.FromString("absent"), 0)
	require.ErrorIs(t, err, remote.ErrNotFound)

	config, _, read := content(7)
	_, err = r.WriteBlob(ctx, "a/b", config, read)
	require.NoError(t, err)
	payload := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"a/b","digest":%q,"size":7},"layers":[]}`, oci.MediaTypeImageManifest, config.Digest)
	manifest := remote.Manifest{MediaType: oci.MediaTypeImageManifest, Digest: oci.SHA256.FromBytes(payload), Payload: payload}
	require.NoError(t, r.PutManifest(ctx, "a/b", "v1", manifest))
	for _, reference := range []string{"v1", manifest.Digest.String()} {
		got, err := r.Manifest(ctx, "a/b", reference)
		require.NoError(t, err)
		require.Equal(t, manifest, got)
	}
	digest, err := r.Resolve(ctx, "a/b", "v1")
	require.NoError(t, err)
	require.Equal(t, manifest.Digest, digest)
	_, err = r.Manifest(ctx, "a/b", "absent")
	require.ErrorIs(t, err, remote.ErrNotFound)
	_, err = r.Resolve(ctx, "not/there", "v1")
	require.ErrorIs(t, err, remote.ErrNotFound)
	var tags, repositories []string
	require.NoError(t, r.Tags(ctx, "a/b", func(page []string) error { tags = append(tags, page...); return nil }))
	require.Equal(t, []string{"v1"}, tags)
	require.NoError(t, r.Repositories(ctx, func(page []string) error { repositories = append(repositories, page...); return nil }))
	require.Contains(t, repositories, "a/b")
	referrers, err := r.Referrers(ctx, "a/b", manifest.Digest)
	require.NoError(t, err)
	require.Empty(t, referrers)
	require.NoError(t, r.DeleteManifest(ctx, "a/b", manifest.Digest.String()))
	require.NoError(t, r.DeleteManifest(ctx, "a/b", manifest.Digest.String()), "gone is deleted")
}

func TestWriteBlob_goesOnWhereItBroke(t *testing.T) {
	address := remotetest.Distribution(t)
	way := cut(t, address, 12, 4<<20)
	r := open(t, way.address())
	blob, want, read := content(48 << 20)
	transfer, err := r.WriteBlob(t.Context(), "a/b", blob, read)
	require.NoError(t, err)
	require.Positive(t, transfer.Resumed)
	t.Logf("%d cuts, %d times gone on, %.3f of the size sent", way.cuts.Load(), transfer.Resumed, float64(transfer.Sent)/float64(blob.Size))
	requireBlob(t, open(t, address), "a/b", blob, want)
}

func TestWriteBlob_sourceBreaks(t *testing.T) {
	r := open(t, remotetest.Distribution(t))
	blob, want, read := content(5 << 20)
	breaks := 3
	transfer, err := r.WriteBlob(t.Context(), "a/b", blob, func(ctx context.Context, offset int64) (io.ReadCloser, error) {
		reader, err := read(ctx, offset)
		if breaks--; breaks >= 0 {
			return io.NopCloser(io.MultiReader(io.LimitReader(reader, 1<<20), broken{})), err
		}
		return reader, err
	})
	require.NoError(t, err)
	require.Equal(t, 3, transfer.Resumed)
	requireBlob(t, r, "a/b", blob, want)
}

// broken is a connection that broke.
type broken struct{}

// Read fails.
func (broken) Read([]byte) (int, error) { return 0, errors.New("connection reset") }

// hanging passes requests on to a registry, but for the first one of a method about a blob's bytes: of its body, or of the answer's, some
// come through, and then nothing.
func hanging(t *testing.T, address, method string, some int64) (front string, from *[]string) {
	t.Helper()
	upstream := &url.URL{Scheme: "http", Host: address}
	through := httputil.NewSingleHostReverseProxy(upstream)
	through.ErrorLog = log.New(io.Discard, "", 0)
	end := make(chan struct{})
	var once sync.Once
	var mu sync.Mutex
	from = new([]string)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != method || !strings.Contains(r.URL.Path, "/blobs/") {
			through.ServeHTTP(w, r)
			return
		}
		mu.Lock()
		*from = append(*from, r.Header.Get("Range")+r.Header.Get("Content-Range"))
		mu.Unlock()
		hang := false
		once.Do(func() { hang = true })
		switch {
		case !hang:
			through.ServeHTTP(w, r)
		case method == http.MethodGet:
			through.ServeHTTP(&cutOff{w, some, end}, r)
		default:
			r.Body, r.ContentLength = io.NopCloser(io.LimitReader(r.Body, some)), some
			r.Header.Del("Content-Range")
			through.ServeHTTP(httptest.NewRecorder(), r)
			<-end
		}
	}))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(end) })
	return strings.TrimPrefix(server.URL, "http://"), from
}

// cutOff lets so many bytes of an answer through, and then nothing until the end.
type cutOff struct {
	http.ResponseWriter
	left int64
	end  chan struct{}
}

// Write writes what may be written.
func (c *cutOff) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p[:min(int64(len(p)), c.left)])
	if c.left -= int64(n); c.left == 0 && err == nil {
		err = http.NewResponseController(c.ResponseWriter).Flush()
		<-c.end
	}
	return n, err
}

// impatient opens a registry that is given up when it stands still for a moment.
func impatient(t *testing.T, address string) *remote.Registry {
	t.Helper()
	transport, err := outbound.Networks{}.Transport(outbound.Trust{})
	require.NoError(t, err)
	t.Cleanup(transport.CloseIdleConnections)
	r, err := remote.New(remote.Options{URL: "http://" + address, Transport: outbound.Patient(transport, time.Second)})
	require.NoError(t, err)
	return r
}

func TestWriteBlob_goesOnWhereASideHangs(t *testing.T) {
	blob, want, read := content(24 << 20)
	const some = 5 << 20
	t.Run("the source", func(t *testing.T) {
		there, here := remotetest.Distribution(t), open(t, remotetest.Distribution(t))
		_, err := open(t, there).WriteBlob(t.Context(), "a/b", blob, read)
		require.NoError(t, err)
		front, from := hanging(t, there, http.MethodGet, some)
		source := impatient(t, front)
		transfer, err := here.WriteBlob(t.Context(), "a/b", blob, func(ctx context.Context, offset int64) (io.ReadCloser, error) {
			return source.ReadBlob(ctx, "a/b", blob.Digest, offset)
		})
		require.NoError(t, err)
		require.Positive(t, transfer.Resumed)
		require.Equal(t, []string{"", fmt.Sprintf("bytes=%d-", some)}, (*from)[:2])
		require.Equal(t, blob.Size, transfer.Sent)
		requireBlob(t, here, "a/b", blob, want)
	})
	t.Run("the destination", func(t *testing.T) {
		there := remotetest.Distribution(t)
		front, from := hanging(t, there, http.MethodPatch, some)
		transfer, err := impatient(t, front).WriteBlob(t.Context(), "a/b", blob, read)
		require.NoError(t, err)
		require.Positive(t, transfer.Resumed)
		require.Regexp(t, fmt.Sprintf("^%d-", some), (*from)[1])
		requireBlob(t, open(t, there), "a/b", blob, want)
	})
}

// TestWriteBlob_lostAnswer has the answer to the end of an upload get lost: the blob is not sent again.
func TestWriteBlob_lostAnswer(t *testing.T) {
	there := remotetest.Distribution(t)
	through := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: there})
	var lost atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut && lost.CompareAndSwap(false, true) {
			through.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		}
		through.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	for _, size := range []int{1000, 9 << 20} {
		lost.Store(false)
		blob, want, read := content(size)
		transfer, err := open(t, strings.TrimPrefix(server.URL, "http://")).WriteBlob(t.Context(), "a/b", blob, read)
		require.NoError(t, err)
		require.Equal(t, blob.Size, transfer.Sent)
		requireBlob(t, open(t, there), "a/b", blob, want)
	}
}

func TestWriteBlob_wrongContentIsRefusedAtOnce(t *testing.T) {
	r := open(t, remotetest.Distribution(t))
	blob, _, read := content(1000)
	blob.Digest = oci.SHA256.FromString("something else")
	_, err := r.WriteBlob(t.Context(), "a/b", blob, read)
	require.ErrorContains(t, err, blob.Digest.String())
	has, err := r.HasBlob(t.Context(), "a/b", blob.Digest)
	require.NoError(t, err)
	require.False(t, has)
}

func TestWriteBlob_stopsInTheMiddle(t *testing.T) {
	r := open(t, remotetest.Distribution(t))
	blob, _, _ := content(1 << 20)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := r.WriteBlob(ctx, "a/b", blob, func(ctx context.Context, _ int64) (io.ReadCloser, error) {
		return io.NopCloser(waiting{ctx, cancel}), nil
	})
	require.ErrorIs(t, err, context.Canceled)
}

// waiting is a source that says nothing until it is stopped, which it brings about.
type waiting struct {
	ctx  context.Context
	stop func()
}

// Read waits.
func (w waiting) Read([]byte) (int, error) {
	w.stop()
	<-w.ctx.Done()
	return 0, w.ctx.Err()
}

func TestNew_refusesWhatIsNoAddress(t *testing.T) {
	for _, address := range []string{"", "registry.example.com", "ftp://a", "https://", "https://a/path", "://"} {
		_, err := remote.New(remote.Options{URL: address, Transport: http.DefaultTransport})
		require.ErrorContains(t, err, "no address", address)
	}
}
