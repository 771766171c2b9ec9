package s3_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/storage"
	"github.com/berth-registry/berth/storage/s3"
	"github.com/berth-registry/berth/storage/s3/s3server"
	"github.com/berth-registry/berth/storage/storagetest"
	"github.com/berth-registry/berth/storage/storagetest/faultproxy"
)

const mebibyte = 1 << 20

// behindProxy returns the settings of a backend that reaches the server through a proxy, and gives up soon.
func behindProxy(t testing.TB, server *s3server.Server) (s3.Config, *faultproxy.Proxy) {
	t.Helper()
	proxy := faultproxy.Start(t, server.Endpoint)
	config := configOf(server)
	config.Endpoint = proxy.URL
	config.Timeout = 2 * time.Second
	return config, proxy
}

// push does what a docker client makes of a blob: one append of everything, a state, a commit by another request.
func push(t testing.TB, backend storage.Backend, content io.Reader) (string, error) {
	t.Helper()
	upload, err := backend.Begin(t.Context())
	require.NoError(t, err)
	defer upload.Close()
	if _, err := upload.Append(t.Context(), content); err != nil {
		return "", err
	}
	state, err := upload.Suspend(t.Context())
	if err != nil {
		return "", err
	}
	require.NoError(t, upload.Close())
	resumed, err := backend.Resume(t.Context(), state)
	if err != nil {
		return "", err
	}
	defer resumed.Close()
	return resumed.Commit(t.Context())
}

func requireObject(t testing.TB, backend storage.Backend, key string, want []byte) {
	t.Helper()
	require.True(t, bytes.Equal(want, storagetest.Load(t, backend, key)), "object %s has other bytes than were written", key)
}

// TestPush_throughAPassingFault has no caller notice what passes at once.
func TestPush_throughAPassingFault(t *testing.T) {
	onEveryServer(t, func(t *testing.T, server *s3server.Server) {
		for name, act := range map[string]func(proxy *faultproxy.Proxy) act{
			"slow down":           always(faultproxy.Answer(http.StatusServiceUnavailable, "SlowDown")),
			"slow down for 1 s":   always(faultproxy.Answer(http.StatusServiceUnavailable, "SlowDown", "Retry-After", "1")),
			"internal error":      always(faultproxy.Answer(http.StatusInternalServerError, "InternalError")),
			"gateway time-out":    always(faultproxy.Answer(http.StatusGatewayTimeout, "")),
			"no answer":           func(proxy *faultproxy.Proxy) act { return proxy.Stall },
			"request not read":    func(proxy *faultproxy.Proxy) act { return proxy.StallBody },
			"cut in the request":  always(faultproxy.CutRequest(100_000)),
			"cut before answer":   always(faultproxy.LoseResponse),
			"cut in the answer":   always(faultproxy.CutResponse(20)),
			"empty entity tag":    always(faultproxy.WrongETag("")),
			"foreign entity tag":  always(faultproxy.WrongETag(`"0123456789abcdef0123456789abcdef"`)),
			"unusual entity tag":  always(faultproxy.WrongETag(`"nonsense"`)),
			"request in disorder": always(faultproxy.Answer(http.StatusBadRequest, "IncompleteBody")),
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				config, proxy := behindProxy(t, server)
				if name != "no answer" && name != "request not read" {
					config.Timeout = s3.DefaultTimeout // a slow machine is no second fault
				}
				backend := open(t, config)
				for operation, length := range map[string]int{
					faultproxy.PutObject: 100_000, faultproxy.CreateMultipartUpload: 9 * mebibyte,
					faultproxy.UploadPart: 20 * mebibyte, faultproxy.CompleteMultipartUpload: 9 * mebibyte,
				} {
					t.Run(operation, func(t *testing.T) {
						proxy.Inject(faultproxy.Fault{Operation: operation, Times: 1, Act: act(proxy)})
						defer proxy.Clear()
						content := storagetest.Content(1, length)
						key, err := push(t, backend, bytes.NewReader(content))
						require.NoError(t, err)
						requireObject(t, backend, key, content)
					})
				}
			})
		}
	})
}

// act is what a proxy does to a request.
type act = func(w http.ResponseWriter, r *http.Request, forward http.Handler)

// always is an act that is no matter of the proxy.
func always(a act) func(*faultproxy.Proxy) act { return func(*faultproxy.Proxy) act { return a } }

// TestUpload_goesOnAfterTheFault has the fault last longer than the backend's patience.
func TestUpload_goesOnAfterTheFault(t *testing.T) {
	onEveryServer(t, func(t *testing.T, server *s3server.Server) {
		for name, fault := range map[string]struct {
			act   func(*faultproxy.Proxy) act
			want  error
			after time.Duration
		}{
			"slow down":      {always(faultproxy.Answer(503, "SlowDown", "Retry-After", "17")), nil, 17 * time.Second},
			"no answer":      {func(proxy *faultproxy.Proxy) act { return proxy.Stall }, nil, 0},
			"cut":            {always(faultproxy.CutRequest(1000)), nil, 0},
			"bucket missing": {always(faultproxy.Answer(404, "NoSuchBucket")), storage.ErrDenied, 0},
			"access denied":  {always(faultproxy.Answer(403, "AccessDenied")), storage.ErrDenied, 0},
			"quota":          {always(faultproxy.Answer(403, "QuotaExceeded")), storage.ErrNoSpace, 0},
			"disk full":      {always(faultproxy.Answer(507, "XMinioStorageFull")), storage.ErrNoSpace, 0},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				config, proxy := behindProxy(t, server)
				backend := open(t, config)
				for _, operation := range []string{faultproxy.CreateMultipartUpload, faultproxy.UploadPart} {
					t.Run(operation, func(t *testing.T) {
						defer proxy.Clear()
						proxy.Inject(faultproxy.Fault{Operation: operation, Act: fault.act(proxy)})
						content := storagetest.Content(2, 40*mebibyte)
						upload, err := backend.Begin(t.Context())
						require.NoError(t, err)
						defer upload.Close()
						reader := bytes.NewReader(content)
						n, err := upload.Append(t.Context(), reader)
						requireFault(t, err, fault.want, fault.after)
						require.Equal(t, n, upload.Offset())
						require.EqualValues(t, len(content)-reader.Len(), n, "every byte that was read is taken")
						_, err = upload.Suspend(t.Context())
						requireFault(t, err, fault.want, fault.after)

						proxy.Clear()
						_, err = upload.Append(t.Context(), reader)
						require.NoError(t, err)
						key, err := upload.Commit(t.Context())
						require.NoError(t, err)
						requireObject(t, backend, key, content)
					})
				}
			})
		}
	})
}

// TestAppend_cutWhereTheUploadIsGone has a server that closes the connection rather than say that there is no such upload.
func TestAppend_cutWhereTheUploadIsGone(t *testing.T) {
	onEveryServer(t, func(t *testing.T, server *s3server.Server) {
		config, proxy := behindProxy(t, server)
		config.Prefix = "gone"
		backend := open(t, config)
		upload, err := backend.Begin(t.Context())
		require.NoError(t, err)
		state := appendAndSuspend(t, upload, storagetest.Content(3, 9*mebibyte))
		require.NoError(t, upload.Close())
		swept, err := backend.Sweep(t.Context(), time.Now().Add(time.Hour))
		require.NoError(t, err)
		require.Equal(t, 1, swept)

		upload, err = backend.Resume(t.Context(), state)
		require.NoError(t, err)
		defer upload.Close()
		proxy.Inject(faultproxy.Fault{Operation: faultproxy.UploadPart, Act: faultproxy.CutRequest(1000)})
		defer proxy.Clear()
		_, err = upload.Append(t.Context(), bytes.NewReader(storagetest.Content(4, 9*mebibyte)))
		if err == nil {
			_, err = upload.Commit(t.Context())
		}
		require.ErrorIs(t, err, storage.ErrNotFound)
	})
}

func requireFault(t *testing.T, err, want error, after time.Duration) {
	t.Helper()
	require.Error(t, err)
	require.NotContains(t, err.Error(), s3server.SecretKey)
	if want != nil {
		require.ErrorIs(t, err, want)
		return
	}
	var retryable *storage.RetryableError
	require.ErrorAs(t, err, &retryable)
	require.Equal(t, after, retryable.After)
}

func TestCommit_goesOnAfterTheFault(t *testing.T) {
	onEveryServer(t, func(t *testing.T, server *s3server.Server) {
		config, proxy := behindProxy(t, server)
		backend := open(t, config)
		for operation, length := range map[string]int{
			faultproxy.PutObject: 10_000, faultproxy.CompleteMultipartUpload: 20 * mebibyte,
		} {
			content := storagetest.Content(3, length)
			upload, err := backend.Begin(t.Context())
			require.NoError(t, err)
			_, err = upload.Append(t.Context(), bytes.NewReader(content))
			require.NoError(t, err)
			proxy.Inject(faultproxy.Fault{Operation: operation, Act: faultproxy.LoseResponse})
			_, err = upload.Commit(t.Context())
			if err != nil {
				// A server that completes twice tells nobody of the first time.
				requireFault(t, err, nil, 0)
			}
			proxy.Clear()
			key, err := upload.Commit(t.Context())
			require.NoError(t, err)
			require.NoError(t, upload.Close())
			requireObject(t, backend, key, content)
		}
	})
}

// TestCommit_refusesForeignParts replaces a part behind the upload's back, once by one with the same checksum: no object may
// come of it.
func TestCommit_refusesForeignParts(t *testing.T) {
	onEveryServer(t, func(t *testing.T, server *s3server.Server) {
		config, proxy := behindProxy(t, server)
		backend := open(t, config)
		ours := storagetest.Content(5, 6*mebibyte)
		for name, theirs := range map[string][]byte{
			"other checksum": storagetest.Content(6, 6*mebibyte),
			"same checksum":  forge(storagetest.Content(6, 6*mebibyte), ours),
		} {
			t.Run(name, func(t *testing.T) {
				upload, err := backend.Begin(t.Context())
				require.NoError(t, err)
				defer upload.Close()
				older := appendAndSuspend(t, upload, storagetest.Content(4, 24*mebibyte))
				newer := appendAndSuspend(t, upload, ours)

				usurper, err := backend.Resume(t.Context(), older)
				require.NoError(t, err)
				defer usurper.Close()
				appendAndSuspend(t, usurper, theirs)

				proxy.Counts()
				resumed, err := backend.Resume(t.Context(), newer)
				require.NoError(t, err)
				defer resumed.Close()
				_, err = resumed.Commit(t.Context())
				require.ErrorIs(t, err, storage.ErrNotFound)
				require.NoError(t, backend.Walk(t.Context(), "", func(o storage.Object) error {
					return fmt.Errorf("object %s is left", o.Key)
				}))
				require.Equal(t, 1, proxy.Counts()[faultproxy.ListParts])
			})
		}
	})
}

func appendAndSuspend(t *testing.T, upload storage.Upload, content []byte) []byte {
	t.Helper()
	_, err := upload.Append(t.Context(), bytes.NewReader(content))
	require.NoError(t, err)
	state, err := upload.Suspend(t.Context())
	require.NoError(t, err)
	return state
}

// forge changes the last four bytes of content so that its CRC-32C is that of like.
func forge(content, like []byte) []byte {
	table := crc32.MakeTable(crc32.Castagnoli)
	last := len(content) - 4
	register := ^crc32.Checksum(like, table)
	for range 4 {
		// The high byte of a table's entry tells which one it is, which undoes a step of the register.
		index := slices.IndexFunc(table[:], func(entry uint32) bool { return entry>>24 == register>>24 })
		register = (register^table[index])<<8 | uint32(index)
	}
	binary.LittleEndian.PutUint32(content[last:], register^^crc32.Checksum(content[:last], table))
	if crc32.Checksum(content, table) != crc32.Checksum(like, table) {
		panic("the forgery is wrong")
	}
	return content
}

func TestBackend_deniedAccess(t *testing.T) {
	onEveryServer(t, func(t *testing.T, server *s3server.Server) {
		for name, spoil := range map[string]func(*s3.Config){
			"bucket missing": func(c *s3.Config) { c.Bucket = "no-such-bucket" },
			"wrong secret":   func(c *s3.Config) { c.SecretKey = "not-the-secret-at-all" },
			"unknown key":    func(c *s3.Config) { c.AccessKey = "nobody" },
		} {
			t.Run(name, func(t *testing.T) {
				config := configOf(server)
				spoil(&config)
				backend := open(t, config)
				err := backend.Check(t.Context())
				require.ErrorIs(t, err, storage.ErrDenied)
				require.NotContains(t, err.Error(), config.SecretKey)
				_, err = push(t, backend, storagetest.ContentReader(1, 20*mebibyte))
				require.ErrorIs(t, err, storage.ErrDenied)
				key, err := storage.NewKey()
				require.NoError(t, err)
				_, err = backend.Open(t.Context(), key, 0, -1)
				require.ErrorIs(t, err, storage.ErrDenied)
				require.ErrorIs(t, backend.Walk(t.Context(), "", nil), storage.ErrDenied)
			})
		}
	})
}

func TestBackend_serverDown(t *testing.T) {
	backend := open(t, s3.Config{Endpoint: "http://127.0.0.1:1", Bucket: "bucket", AccessKey: "a", SecretKey: "hidden-secret"})
	err := backend.Check(t.Context())
	requireFault(t, err, nil, 0)
	require.NotContains(t, err.Error(), "hidden-secret")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, backend.Check(ctx), context.Canceled)
}

func TestBackend_tls(t *testing.T) {
	for name, start := range servers {
		t.Run(name, func(t *testing.T) {
			server := start(t, s3server.WithTLS())
			require.NoError(t, open(t, configOf(server)).Check(t.Context()))

			untrusting := configOf(server)
			untrusting.CAFile = ""
			require.ErrorIs(t, open(t, untrusting).Check(t.Context()), storage.ErrDenied)

			plain := configOf(server)
			plain.Endpoint = strings.Replace(plain.Endpoint, "https://", "http://", 1)
			require.Error(t, open(t, plain).Check(t.Context()))
		})
	}
}

// TestOpen_brokenOff gets an error, and not an object that ends early.
func TestOpen_brokenOff(t *testing.T) {
	onEveryServer(t, func(t *testing.T, server *s3server.Server) {
		config, proxy := behindProxy(t, server)
		backend := open(t, config)
		content := storagetest.Content(7, 3*mebibyte)
		key := storagetest.Store(t, backend, content)
		for name, act := range map[string]act{
			"cut":   faultproxy.CutResponse(mebibyte),
			"stall": stallResponse(proxy, mebibyte),
		} {
			t.Run(name, func(t *testing.T) {
				proxy.Inject(faultproxy.Fault{Operation: faultproxy.GetObject, Times: 1, Act: act})
				reader, err := backend.Open(t.Context(), key, 0, -1)
				require.NoError(t, err)
				defer reader.Close()
				got, err := io.ReadAll(reader)
				requireFault(t, err, nil, 0)
				require.True(t, bytes.HasPrefix(content, got))
			})
		}
		// Before the first byte the backend tries again by itself.
		proxy.Inject(faultproxy.Fault{Operation: faultproxy.GetObject, Times: 2, Act: faultproxy.Answer(503, "SlowDown")})
		requireObject(t, backend, key, content)
		proxy.Inject(faultproxy.Fault{Operation: faultproxy.GetObject, Times: 1, Act: proxy.Stall})
		requireObject(t, backend, key, content)
	})
}

// stallResponse sends n bytes of the answer and then nothing.
func stallResponse(proxy *faultproxy.Proxy, n int) act {
	return func(w http.ResponseWriter, r *http.Request, forward http.Handler) {
		defer func() {
			if recovered := recover(); recovered != nil && !errors.Is(recovered.(error), http.ErrAbortHandler) {
				panic(recovered)
			}
			proxy.Stall(w, r, forward)
		}()
		faultproxy.CutResponse(n)(w, r, forward)
	}
}

func TestAppend_beyondTheLargestObject(t *testing.T) {
	backend := open(t, s3.Config{Endpoint: "http://127.0.0.1:1", Bucket: "bucket", AccessKey: "a", SecretKey: "s"})
	key, err := storage.NewKey()
	require.NoError(t, err)
	part := `{"e":"d41d8cd98f00b204e9800998ecf8427e","c":0,"s":8388608}`
	header := fmt.Sprintf(`{"key":%q,"upload":"id","secret":"AAAAAAAAAAAAAAAAAAAAAA==","parts":[%s]}`, key, strings.TrimSuffix(strings.Repeat(part+",", s3.MaxParts), ","))
	state := append([]byte{0, byte(len(header) >> 16), byte(len(header) >> 8), byte(len(header))}, header...)
	upload, err := backend.Resume(t.Context(), state)
	require.NoError(t, err)
	defer upload.Close()
	require.EqualValues(t, s3.MaxParts*8*mebibyte, upload.Offset())
	_, err = upload.Append(t.Context(), storagetest.ContentReader(1, 20*mebibyte))
	require.ErrorIs(t, err, storage.ErrTooLarge)
}
