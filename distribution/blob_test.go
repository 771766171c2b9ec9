package distribution_test

import (
	"bytes"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestBlob_headers(t *testing.T) {
	s := newServer(t, nil)
	content := noise(1, 2048)
	digest := s.pushBlob("library/app", content)
	path := blobPath("library/app", digest)
	for _, method := range []string{"GET", "HEAD"} {
		answer := s.want(200, s.do(method, path, nil, "Accept-Encoding: zstd, gzip, deflate"))
		assert.Equal(t, "2048", answer.Header.Get("Content-Length"))
		assert.Equal(t, "application/octet-stream", answer.Header.Get("Content-Type"))
		assert.Equal(t, digest.String(), answer.Header.Get("Docker-Content-Digest"))
		assert.Equal(t, `"`+digest.String()+`"`, answer.Header.Get("ETag"))
		assert.Equal(t, "bytes", answer.Header.Get("Accept-Ranges"))
		assert.Contains(t, answer.Header.Get("Cache-Control"), "immutable")
		assert.Empty(t, answer.Header.Get("Content-Encoding"))
		assert.Equal(t, "nosniff", answer.Header.Get("X-Content-Type-Options"))
		assert.Contains(t, answer.Header.Get("Content-Security-Policy"), "sandbox")
	}
	for _, condition := range []string{`"` + digest.String() + `"`, `W/"x", "` + digest.String() + `"`, "*"} {
		assert.Empty(t, s.want(304, s.get(path, "If-None-Match: "+condition)).body)
	}
	s.want(200, s.get(path, `If-None-Match: "sha256:other"`))
	s.want(200, s.get("/v2/library/app/blobs/sha256%3A"+digest.Encoded()))
}

func TestBlob_ranges(t *testing.T) {
	s := newServer(t, nil)
	content := noise(2, 2048)
	path := blobPath("library/app", s.pushBlob("library/app", content))
	for _, test := range []struct {
		header      string
		first, last int
	}{
		{"bytes=500-1499", 500, 1499},
		{"bytes=500-", 500, 2047},
		{"bytes=-500", 1548, 2047},
		{"bytes=2000-5000", 2000, 2047},
		{"bytes=0-0", 0, 0},
		{"bytes=-5000", 0, 2047},
		{"bytes= 5 - 9 ", 5, 9},
	} {
		answer := s.want(206, s.get(path, "Range: "+test.header))
		assert.Equal(t, content[test.first:test.last+1], answer.body, test.header)
		assert.Equal(t, fmt.Sprintf("bytes %d-%d/2048", test.first, test.last), answer.Header.Get("Content-Range"))
	}
	for _, header := range []string{"bytes=500-0", "bytes=5000-10000", "bytes=2048-", "bytes=x-y", "bytes=-0", "bytes=99999999999999999999-"} {
		answer := s.want(416, s.get(path, "Range: "+header))
		assert.Equal(t, "SIZE_INVALID", answer.code(), header)
		assert.Equal(t, "bytes */2048", answer.Header.Get("Content-Range"))
	}
	for _, header := range []string{"lines=1-2", ""} {
		assert.Equal(t, content, s.want(200, s.get(path, "Range: "+header)).body, header)
	}
	assert.Equal(t, content, s.want(200, s.get(path, "Range: bytes=1-2", `If-Range: "other"`)).body)
}

func TestBlob_multipleRanges(t *testing.T) {
	s := newServer(t, nil)
	content := noise(3, 100_000)
	path := blobPath("library/app", s.pushBlob("library/app", content))
	answer := s.want(206, s.get(path, "Range: bytes=0-9,50000-50099,-10"))
	kind, parameters, err := mime.ParseMediaType(answer.Header.Get("Content-Type"))
	require.NoError(t, err)
	require.Equal(t, "multipart/byteranges", kind)
	reader := multipart.NewReader(bytes.NewReader(answer.body), parameters["boundary"])
	for _, want := range [][]byte{content[:10], content[50_000:50_100], content[99_990:]} {
		part, err := reader.NextPart()
		require.NoError(t, err)
		got, err := io.ReadAll(part)
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
}

// removeStorage takes the bytes away behind the registry's back.
func (s *server) removeStorage() {
	s.t.Helper()
	require.NoError(s.t, filepath.WalkDir(filepath.Join(s.root, "storage", "blobs"), func(path string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			err = os.Remove(path)
		}
		return err
	}))
}

func TestBlob_headDoesNotAskTheStorage(t *testing.T) {
	s := newServer(t, nil)
	digest := s.pushBlob("library/app", []byte("abc"))
	s.removeStorage()
	s.want(200, s.do("HEAD", blobPath("library/app", digest), nil))
	s.want(304, s.get(blobPath("library/app", digest), "If-None-Match: *"))
	assert.Equal(t, "UNKNOWN", s.want(500, s.get(blobPath("library/app", digest))).code())
	assert.Contains(t, s.log.String(), digest.String(), "an operator must learn that bytes are missing")
}

func TestBlob_deleted(t *testing.T) {
	s := newServer(t, nil)
	layer := []byte("a layer")
	digest := s.pushBlob("library/app", layer)
	s.pushBlob("library/other", layer)
	path := blobPath("library/app", digest)
	s.want(200, s.get(path))
	s.want(202, s.do("DELETE", path, nil))
	s.want(404, s.do("HEAD", path, nil))
	assert.Equal(t, "BLOB_UNKNOWN", s.want(404, s.get(path)).code())
	assert.Equal(t, "BLOB_UNKNOWN", s.want(404, s.do("DELETE", path, nil)).code())
	s.want(200, s.get(blobPath("library/other", digest)))

	manifest, _ := s.pushImage("library/other", "latest", layer)
	refused := s.want(405, s.do("DELETE", blobPath("library/other", digest), nil))
	assert.Equal(t, "DENIED", refused.code())
	s.want(202, s.do("DELETE", "/v2/library/other/manifests/"+manifest.String(), nil))
	s.want(202, s.do("DELETE", blobPath("library/other", digest), nil))
	s.pushBlob("library/other", layer)
	assert.Equal(t, layer, s.want(200, s.get(blobPath("library/other", digest))).body)
}

func TestBlob_isReadableOnlyWhereItIsLinked(t *testing.T) {
	s := newServer(t, nil)
	digest := s.pushBlob("library/app", []byte("abc"))
	s.want(404, s.do("HEAD", blobPath("library/other", digest), nil))
	s.want(404, s.do("HEAD", blobPath("library/other", digest), nil))
	assert.Equal(t, "DIGEST_INVALID", s.want(400, s.get("/v2/library/app/blobs/sha256:baddigeststring")).code())
}

func TestStorage_gone(t *testing.T) {
	s := newServer(t, nil)
	location := s.start("library/app")
	require.NoError(t, os.RemoveAll(filepath.Join(s.root, "storage")))
	answer := s.want(503, s.do("PATCH", location, bytes.NewReader([]byte("abc"))))
	assert.Equal(t, "UNAVAILABLE", answer.code())
	assert.NotEmpty(t, answer.Header.Get("Retry-After"))
	assert.Contains(t, s.log.String(), "level=ERROR")
	s.want(204, s.get(location))
}

func TestClient_goesAwayDuringAPull(t *testing.T) {
	s := newServer(t, nil)
	path := blobPath("library/app", s.pushBlob("library/app", noise(4, 32<<20)))
	conn := s.dribble("GET", path, 0, nil)
	_, err := io.ReadFull(conn, make([]byte, 1000))
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	require.Eventually(t, func() bool { return s.observed.has(observation{"blob_get", 200, 0, 32 << 20}) }, 10*time.Second, 5*time.Millisecond)
	assert.NotContains(t, s.log.String(), "level=ERROR")
}
