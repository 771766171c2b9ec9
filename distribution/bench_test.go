package distribution_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/oci"
)

// fetch gets a path over and over from parallel clients that keep their connections.
func fetch(b *testing.B, s *server, path string, size int) {
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	defer transport.CloseIdleConnections()
	b.SetBytes(int64(size))
	b.ReportAllocs()
	b.SetParallelism(4)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			request, _ := http.NewRequest("GET", s.url+path, nil)
			answer, err := transport.RoundTrip(request)
			if err != nil {
				b.Error(err)
				return
			}
			n, err := io.Copy(io.Discard, answer.Body)
			answer.Body.Close()
			if err != nil || n != int64(size) || answer.StatusCode != 200 {
				b.Errorf("%d: %d bytes, %v", answer.StatusCode, n, err)
				return
			}
		}
	})
}

func BenchmarkManifest_byTag(b *testing.B) {
	s := newServer(b, nil)
	_, manifest := s.pushImage("library/app", "latest", []byte("layer"))
	fetch(b, s, "/v2/library/app/manifests/latest", len(manifest))
}

func BenchmarkManifest_byDigest(b *testing.B) {
	s := newServer(b, nil)
	digest, manifest := s.pushImage("library/app", "latest", []byte("layer"))
	fetch(b, s, "/v2/library/app/manifests/"+digest.String(), len(manifest))
}

func BenchmarkBlob_64KiB(b *testing.B) {
	s := newServer(b, nil)
	content := noise(1, 64<<10)
	digest := oci.SHA256.FromBytes(content)
	require.Equal(b, digest, s.pushBlob("library/app", content))
	fetch(b, s, blobPath("library/app", digest), len(content))
}

// BenchmarkPush_manifest is the request that ends a push: of another image each time, of two blobs that the repository has.
func BenchmarkPush_manifest(b *testing.B) {
	s := newServer(b, nil)
	config, layer := s.pushBlob("library/app", []byte("{}")), s.pushBlob("library/app", []byte("layer"))
	var pushed atomic.Int64
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			n := pushed.Add(1)
			manifest := imageOf(config, layer, "", fmt.Sprintf("application/vnd.test.n%d", n))
			request, _ := http.NewRequest("PUT", fmt.Sprintf("%s/v2/library/app/manifests/t%d", s.url, n%100), bytes.NewReader(manifest))
			request.Header.Set("Content-Type", oci.MediaTypeImageManifest)
			answer, err := client.Do(request)
			if err != nil {
				b.Error(err)
				return
			}
			answer.Body.Close()
			if answer.StatusCode != http.StatusCreated {
				b.Errorf("status %d", answer.StatusCode)
				return
			}
		}
	})
}

// sink is a response that costs nothing, to see what the handler itself does.
type sink struct{ header http.Header }

func (s *sink) Header() http.Header         { return s.header }
func (s *sink) Write(p []byte) (int, error) { return len(p), nil }
func (s *sink) WriteHeader(int)             {}

func BenchmarkHandler_manifestByTag(b *testing.B) {
	s := newServer(b, nil)
	s.pushImage("library/app", "latest", []byte("layer"))
	request := httptest.NewRequest("GET", "/v2/library/app/manifests/latest", nil)
	b.ReportAllocs()
	for b.Loop() {
		s.handler.ServeHTTP(&sink{make(http.Header)}, request)
	}
}
