package s3_test

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/berth-registry/berth/storage"
	"github.com/berth-registry/berth/storage/s3"
	"github.com/berth-registry/berth/storage/s3/s3server"
	"github.com/berth-registry/berth/storage/storagetest"
	"github.com/berth-registry/berth/storage/storagetest/faultproxy"
)

// zeros never ends and costs nothing.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// TestPush_requests counts what a blob costs.
func TestPush_requests(t *testing.T) {
	onEveryServer(t, func(t *testing.T, server *s3server.Server) {
		config, proxy := behindProxy(t, server)
		config.Timeout = time.Minute
		backend := open(t, config)
		multipart := func(parts int) map[string]int {
			return map[string]int{
				faultproxy.CreateMultipartUpload: 1, faultproxy.UploadPart: parts, faultproxy.CompleteMultipartUpload: 1,
			}
		}
		put := map[string]int{faultproxy.PutObject: 1}
		for _, push := range []struct {
			name    string
			length  int64
			suspend bool
			want    map[string]int
		}{
			{"docker 1 GiB", 1 << 30, true, multipart(128)},
			{"docker 20 MiB", 20 * mebibyte, true, multipart(3)},
			{"docker 4 MiB", 4 * mebibyte, true, put},
			{"docker empty", 0, true, put},
			{"monolithic 64 KiB", 64 << 10, false, put},
			{"monolithic 16 MiB", 16 * mebibyte, false, put},
			{"monolithic 17 MiB", 17 * mebibyte, false, multipart(3)},
			{"monolithic empty", 0, false, put},
		} {
			upload, err := backend.Begin(t.Context())
			require.NoError(t, err)
			n, err := upload.Append(t.Context(), io.LimitReader(zeros{}, push.length))
			require.NoError(t, err)
			require.Equal(t, push.length, n)
			if push.suspend {
				state, err := upload.Suspend(t.Context())
				require.NoError(t, err)
				require.NoError(t, upload.Close())
				upload, err = backend.Resume(t.Context(), state)
				require.NoError(t, err)
			}
			key, err := upload.Commit(t.Context())
			require.NoError(t, err)
			require.NoError(t, upload.Close())
			require.Equal(t, push.want, proxy.Counts(), push.name)

			reader, err := backend.Open(t.Context(), key, 0, 10)
			require.NoError(t, err)
			require.NoError(t, reader.Close())
			require.NoError(t, backend.Delete(t.Context(), []string{key}))
			require.Equal(t, map[string]int{faultproxy.GetObject: 1, faultproxy.DeleteObjects: 1}, proxy.Counts())
		}
	})
}

// TestAppend_memory has 64 uploads stand before a server that does not answer, which is when the most is in memory.
func TestAppend_memory(t *testing.T) {
	proxy := faultproxy.Start(t, "http://127.0.0.1:1")
	proxy.Inject(faultproxy.Fault{Operation: faultproxy.CreateMultipartUpload, Act: proxy.Stall})
	backend := open(t, s3.Config{
		Endpoint: proxy.URL, Bucket: "bucket", AccessKey: "a", SecretKey: "s", PathStyle: true, Timeout: time.Hour,
	})
	before := heap()
	ctx, cancel := context.WithCancel(t.Context())
	var group errgroup.Group
	for range 64 {
		group.Go(func() error {
			upload, err := backend.Begin(ctx)
			if err != nil {
				return err
			}
			defer upload.Close()
			_, err = upload.Append(ctx, io.LimitReader(zeros{}, 1<<30))
			return err
		})
	}
	require.Eventually(t, func() bool {
		return proxy.Counts()[faultproxy.CreateMultipartUpload] == 0 && heap() > before+s3.DefaultConcurrency*8*mebibyte
	},
		time.Minute, 100*time.Millisecond)
	grown := heap() - before
	cancel()
	require.ErrorIs(t, group.Wait(), context.Canceled)
	// The process takes up to twice what is in use before the collector has come round.
	require.LessOrEqual(t, 2*grown, uint64(64*16*mebibyte))
	t.Logf("64 uploads hold %d MiB", grown/mebibyte)
}

// heap is what is in use after a collection.
func heap() uint64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapInuse
}

// TestAppend_fewSlots has many uploads share two parts of memory.
func TestAppend_fewSlots(t *testing.T) {
	onEveryServer(t, func(t *testing.T, server *s3server.Server) {
		config := configOf(server)
		config.Concurrency = 2
		config.PartSize = s3.MinPartSize
		backend := open(t, config)
		var group errgroup.Group
		keys := make([]string, 8)
		for i := range keys {
			group.Go(func() (err error) {
				upload, err := backend.Begin(t.Context())
				if err != nil {
					return err
				}
				defer upload.Close()
				if _, err = upload.Append(t.Context(), storagetest.ContentReader(uint64(i), 18*mebibyte)); err != nil {
					return err
				}
				keys[i], err = upload.Commit(t.Context())
				return err
			})
		}
		require.NoError(t, group.Wait())
		for i, key := range keys {
			requireObject(t, backend, key, storagetest.Content(uint64(i), 18*mebibyte))
		}
	})
}

func TestRedirect(t *testing.T) {
	onEveryServer(t, func(t *testing.T, server *s3server.Server) {
		content := storagetest.Content(1, 100_000)
		off := open(t, configOf(server))
		key := storagetest.Store(t, off, content)
		signed, err := off.Redirect(t.Context(), key, storage.RedirectOptions{})
		require.NoError(t, err)
		require.Empty(t, signed)

		// Clients reach the server by another address than Berth does, which here does not lead anywhere.
		config := configOf(server)
		config.Endpoint, config.PublicEndpoint = "http://127.0.0.1:1", server.Endpoint
		config.Redirect, config.RedirectExpiry = true, time.Minute
		backend := open(t, config)
		signed, err = backend.Redirect(t.Context(), key, storage.RedirectOptions{ContentType: "application/octet-stream+x"})
		require.NoError(t, err)
		require.True(t, strings.HasPrefix(signed, server.Endpoint))
		require.NotContains(t, signed, s3server.SecretKey)
		response := get(t, signed, "")
		require.Equal(t, http.StatusOK, response.StatusCode)
		require.Equal(t, "application/octet-stream+x", response.Header.Get("Content-Type"))
		got, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		require.Equal(t, content, got)

		require.Equal(t, http.StatusPartialContent, get(t, signed, "bytes=5-9").StatusCode)
		tampered, err := url.Parse(signed)
		require.NoError(t, err)
		tampered.Path += "x"
		require.Equal(t, http.StatusForbidden, get(t, tampered.String(), "").StatusCode)
		_, err = backend.Redirect(t.Context(), "../../secret", storage.RedirectOptions{})
		require.ErrorIs(t, err, storage.ErrNotFound)
	})
}

func get(t *testing.T, address, ranges string) *http.Response {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	require.NoError(t, err)
	if ranges != "" {
		request.Header.Set("Range", ranges)
	}
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	t.Cleanup(func() { _ = response.Body.Close() })
	return response
}

func FuzzResume(f *testing.F) {
	backend := open(f, s3.Config{Endpoint: "http://127.0.0.1:1", Bucket: "bucket", AccessKey: "a", SecretKey: "s"})
	upload, err := backend.Begin(f.Context())
	require.NoError(f, err)
	_, err = upload.Append(f.Context(), strings.NewReader("a tail"))
	require.NoError(f, err)
	state, err := upload.Suspend(f.Context())
	require.NoError(f, err)
	require.NoError(f, upload.Close())
	for _, seed := range []string{string(state), "", "\x00\x00\x00\x02{}", "\xff\xff\xff\xff{}", "\x00\x00\x00\x04null"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, state []byte) {
		upload, err := backend.Resume(t.Context(), state)
		if err == nil {
			require.GreaterOrEqual(t, upload.Offset(), int64(0))
			require.NoError(t, upload.Close())
		}
	})
}
