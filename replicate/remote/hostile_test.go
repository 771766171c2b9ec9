package remote_test

import (
	"context"
	"errors"
	"fmt"
	"io"
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

// serve starts a registry that answers as a test wants, and opens it by a login.
func serve(t *testing.T, handler http.HandlerFunc) *remote.Registry {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	transport, err := outbound.Networks{}.Transport(outbound.Trust{})
	require.NoError(t, err)
	t.Cleanup(transport.CloseIdleConnections)
	r, err := remote.New(remote.Options{URL: server.URL, Transport: transport, Username: "robot", Secret: "word"})
	require.NoError(t, err)
	return r
}

// endless is a body without an end, and counts how much of it was taken.
func endless(w http.ResponseWriter, r *http.Request, taken *atomic.Int64) {
	if r.Method == http.MethodHead {
		return
	}
	block := []byte(strings.Repeat(" ", 64<<10))
	for {
		n, err := w.Write(block)
		taken.Add(int64(n))
		if err != nil {
			return
		}
	}
}

func TestManifest_hostile(t *testing.T) {
	wanted := oci.SHA256.FromString("wanted")
	var taken atomic.Int64
	for name, answer := range map[string]http.HandlerFunc{
		"other content": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", oci.MediaTypeImageManifest)
			_, _ = io.WriteString(w, `{"schemaVersion":2}`)
		},
		"lies about its digest": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", oci.MediaTypeImageManifest)
			w.Header().Set("Docker-Content-Digest", wanted.String())
			_, _ = io.WriteString(w, `{"schemaVersion":2}`)
		},
		"does not end": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", oci.MediaTypeImageManifest)
			endless(w, r, &taken)
		},
		"is huge": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", oci.MediaTypeImageManifest)
			w.Header().Set("Content-Length", fmt.Sprint(1<<40))
			endless(w, r, &taken)
		},
		"ends early": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", oci.MediaTypeImageManifest)
			w.Header().Set("Docker-Content-Digest", wanted.String())
			w.Header().Set("Content-Length", "6")
			_, _ = io.WriteString(w, "wan")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := serve(t, answer)
			for _, reference := range []string{"v1", wanted.String()} {
				if reference == "v1" && name == "other content" {
					continue // a tag may stand for anything
				}
				_, err := r.Manifest(t.Context(), "a/b", reference)
				require.Error(t, err)
				require.Less(t, taken.Load(), int64(128<<20))
			}
		})
	}
}

func TestLists_hostile(t *testing.T) {
	nothing := func([]string) error { return nil }
	for name, page := range map[string]string{
		"the same page again": `{"tags":["a"],"repositories":["a"],"manifests":[{"mediaType":"a/b","digest":"` + string(oci.SHA256.FromString("a")) + `","size":1}]}`,
		"empty pages":         `{"tags":[],"repositories":[],"manifests":[]}`,
		"no JSON":             `<html>`,
		"another document":    `["a"]`,
		"half of one":         `{"tags":["a"`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := serve(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", oci.MediaTypeImageIndex)
				w.Header().Set("Link", "<"+r.URL.RequestURI()+`>; rel="next"`)
				_, _ = io.WriteString(w, page)
			})
			require.Error(t, r.Tags(t.Context(), "a/b", nothing))
			require.Error(t, r.Repositories(t.Context(), nothing))
			_, err := r.Referrers(t.Context(), "a/b", oci.SHA256.FromString("subject"))
			require.Error(t, err)
		})
	}
	t.Run("a page that does not end", func(t *testing.T) {
		t.Parallel()
		var taken atomic.Int64
		r := serve(t, func(w http.ResponseWriter, r *http.Request) { endless(w, r, &taken) })
		require.Error(t, r.Tags(t.Context(), "a/b", nothing))
		require.Error(t, r.Repositories(t.Context(), nothing))
		require.Less(t, taken.Load(), int64(64<<20))
	})
}

// TestRedirects has a registry send its client elsewhere: nowhere it may not go, and nowhere with the login.
func TestRedirects(t *testing.T) {
	var mu sync.Mutex
	var offered []string
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		offered = append(offered, r.Header.Get("Authorization"))
		if r.Method == http.MethodPatch || r.Method == http.MethodPut {
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	t.Cleanup(elsewhere.Close)
	const forbidden = "http://169.254.169.254/latest/meta-data"
	for name, target := range map[string]string{"a metadata address": forbidden, "another server": elsewhere.URL} {
		r := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if _, _, ok := r.BasicAuth(); !ok {
				w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			w.Header().Set("Location", target)
			w.WriteHeader(map[string]int{http.MethodGet: http.StatusTemporaryRedirect, http.MethodPost: http.StatusAccepted}[r.Method])
		})
		began := time.Now()
		blob, _, read := content(1000)
		_, readErr := r.ReadBlob(t.Context(), "a/b", blob.Digest, 0)
		_, writeErr := r.WriteBlob(t.Context(), "a/b", blob, read)
		if target == forbidden {
			require.ErrorIs(t, readErr, outbound.ErrForbidden, name)
			require.ErrorIs(t, writeErr, outbound.ErrForbidden, name)
			require.Less(t, time.Since(began), 20*time.Second, "it is not tried again")
			continue
		}
		require.NoError(t, readErr)
	}
	mu.Lock()
	defer mu.Unlock()
	require.NotEmpty(t, offered)
	for _, login := range offered {
		require.Empty(t, login)
	}
}

// TestRenewsTokens has tokens expire in the middle of a transfer.
func TestRenewsTokens(t *testing.T) {
	there := remotetest.Distribution(t)
	through := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: there})
	var issued, uses atomic.Int64
	var address string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/token" {
			if _, secret, _ := r.BasicAuth(); secret != "word" {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			uses.Store(0)
			_, _ = fmt.Fprintf(w, `{"token":"token-%d"}`, issued.Add(1))
			return
		}
		if r.Header.Get("Authorization") != fmt.Sprint("Bearer token-", issued.Load()) || uses.Add(1) > 2 {
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+address+`/token",service="test",scope="repository:a/b:pull,push"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		through.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	address = server.URL
	transport, err := outbound.Networks{}.Transport(outbound.Trust{})
	require.NoError(t, err)
	t.Cleanup(transport.CloseIdleConnections)
	r, err := remote.New(remote.Options{URL: address, Transport: transport, Username: "robot", Secret: "word"})
	require.NoError(t, err)
	for _, size := range []int{1000, 9 << 20} {
		blob, want, read := content(size)
		_, err = r.WriteBlob(t.Context(), "a/b", blob, read)
		require.NoError(t, err)
		requireBlob(t, r, "a/b", blob, want)
	}
	require.Greater(t, issued.Load(), int64(2))
}

// TestWaitsAsTold has a registry that is busy say when to come again.
func TestWaitsAsTold(t *testing.T) {
	there := remotetest.Distribution(t)
	through := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: there})
	blob, _, read := content(9 << 20)
	_, err := open(t, there).WriteBlob(t.Context(), "a/b", blob, read)
	require.NoError(t, err)
	for _, status := range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable} {
		for method, act := range map[string]func(ctx context.Context, r *remote.Registry) error{
			http.MethodHead: func(ctx context.Context, r *remote.Registry) error {
				has, err := r.HasBlob(ctx, "a/b", blob.Digest)
				if err == nil && !has {
					err = errors.New("it has the blob")
				}
				return err
			},
			http.MethodPatch: func(ctx context.Context, r *remote.Registry) error {
				_, err := r.WriteBlob(ctx, "c/d", blob, read)
				return err
			},
			http.MethodPut: func(ctx context.Context, r *remote.Registry) error {
				small, _, read := content(1000)
				_, err := r.WriteBlob(ctx, "e/f", small, read)
				return err
			},
		} {
			t.Run(fmt.Sprint(status, " ", method), func(t *testing.T) {
				t.Parallel()
				var refused, again atomic.Int64
				r := serve(t, func(w http.ResponseWriter, r *http.Request) {
					switch {
					case r.Method == method && refused.CompareAndSwap(0, time.Now().UnixNano()):
						w.Header().Set("Retry-After", "2")
						w.WriteHeader(status)
						return
					case refused.Load() != 0:
						again.CompareAndSwap(0, time.Now().UnixNano())
					}
					through.ServeHTTP(w, r)
				})
				require.NoError(t, act(t.Context(), r))
				require.GreaterOrEqual(t, time.Duration(again.Load()-refused.Load()), 2*time.Second-10*time.Millisecond)
			})
		}
	}
}
