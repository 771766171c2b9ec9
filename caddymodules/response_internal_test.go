package caddymodules

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestResponse_signedLocationReachesTheClientOnly(t *testing.T) {
	logged := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(newResponse(w, r), r, "https://s3.example.com/blob?X-Amz-Signature=secret", http.StatusTemporaryRedirect)
		logged <- w.Header().Get("Location") // what the access log reads
	}))
	t.Cleanup(server.Close)
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Get(server.URL)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, "https://s3.example.com/blob?X-Amz-Signature=secret", response.Header.Get("Location"))
	require.Equal(t, "https://s3.example.com/blob?REDACTED", <-logged)
}

// piecewise is like Caddy's writer with idle timeouts: each piece is limited again.
type piecewise struct {
	http.ResponseWriter
	direct bool
}

func (p *piecewise) ReadFrom(r io.Reader) (int64, error) {
	_, p.direct = r.(*os.File)
	return io.Copy(p.ResponseWriter, r)
}

func TestResponse_handsWholeFilesToTheKernel(t *testing.T) {
	path := filepath.Join(t.TempDir(), "blob")
	require.NoError(t, os.WriteFile(path, []byte("0123456789"), 0o600))
	for name, c := range map[string]struct {
		offset, length int64
		direct         bool
		want           string
	}{
		"whole":        {0, 10, true, "0123456789"},
		"to the end":   {4, 6, true, "456789"},
		"in between":   {2, 3, false, "234"},
		"nothing left": {10, 0, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			file, err := os.Open(path)
			require.NoError(t, err)
			t.Cleanup(func() { _ = file.Close() })
			_, err = file.Seek(c.offset, io.SeekStart)
			require.NoError(t, err)
			recorder := httptest.NewRecorder()
			writer := &piecewise{ResponseWriter: recorder}
			answer := newResponse(writer, httptest.NewRequest(http.MethodGet, "/", nil))
			limited := &io.LimitedReader{R: file, N: c.length}
			n, err := answer.ReadFrom(limited)
			require.NoError(t, err)
			require.Equal(t, c.length, n)
			require.Zero(t, limited.N)
			require.Equal(t, c.direct, writer.direct)
			require.Equal(t, c.want, recorder.Body.String())
		})
	}
}

func TestRouteOf_repositoriesMayBeCalledLikeRoutes(t *testing.T) {
	for path, want := range map[string]string{
		"/v2":                              routeVersion,
		"/v2/":                             routeVersion,
		"/v2/_catalog":                     routeCatalog,
		"/v2/a/b/manifests/latest":         routeManifest,
		"/v2/manifests/blobs/tags/list":    routeTags,
		"/v2/tags/list/manifests/tags":     routeManifest,
		"/v2/a/blobs/sha256:00":            routeBlob,
		"/v2/a/blobs/uploads/":             routeUpload,
		"/v2/a/blobs/uploads":              routeUpload,
		"/v2/a/blobs/uploads/01M8":         routeUpload,
		"/v2/blobs/uploads/referrers/sha2": routeReferrers,
		"/v2/x":                            routeDistributionOther,
		"/v2x":                             routeUnknown,
		"/":                                routeLanding,
		"/service/token":                   routeToken,
		"/api/v2.0/ping":                   routeAPI,
		"/c/login":                         routeEntrance,
		"/c":                               routeUnknown,
	} {
		require.Equal(t, want, routeOf(path).name, path)
	}
}
