package distribution_test

import (
	"bytes"
	"crypto/sha512"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/storage/s3"
	"github.com/berth-registry/berth/storage/s3/s3server"
)

func newServerOnS3(t *testing.T, adjust func(*s3.Config)) (*server, *s3server.Server) {
	t.Helper()
	bucket := s3server.StartVersityGW(t)
	config := s3.Config{
		Endpoint: bucket.Endpoint, Bucket: s3server.Bucket, Region: s3server.Region,
		AccessKey: s3server.AccessKey, SecretKey: s3server.SecretKey, SpillDirectory: t.TempDir(),
	}
	adjust(&config)
	backend, err := s3.New(config)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, backend.Close()) })
	return newServerOn(t, nil, backend), bucket
}

func TestS3_streams(t *testing.T) {
	s, bucket := newServerOnS3(t, func(*s3.Config) {})
	content := noise(1, 9<<20)
	digest := oci.Digest(fmt.Sprintf("sha512:%x", sha512.Sum512(content)))
	location := s.start("library/app")
	for at := 0; at < len(content); {
		end := min(at+2_500_000, len(content)) // less than a part of S3
		s.want(202, s.do("PATCH", location, bytes.NewReader(content[at:end]), fmt.Sprintf("Content-Range: %d-%d", at, end-1)))
		at = end
	}
	s.want(201, s.do("PUT", location+"?digest="+digest.String(), nil))
	path := blobPath("library/app", digest)
	assert.Equal(t, content, s.want(200, s.get(path)).body)
	assert.Equal(t, content[1_000_000:2_000_000], s.want(206, s.get(path, "Range: bytes=1000000-1999999")).body)
	assert.Equal(t, content[9_000_000:], s.want(206, s.get(path, "Range: bytes=9000000-")).body)
	assert.Equal(t, "SIZE_INVALID", s.want(416, s.get(path, "Range: bytes=10000000-")).code())

	answer := s.want(206, s.get(path, "Range: bytes=5000000-5000099,0-9"))
	_, parameters, err := mime.ParseMediaType(answer.Header.Get("Content-Type"))
	require.NoError(t, err)
	parts := multipart.NewReader(bytes.NewReader(answer.body), parameters["boundary"])
	for _, want := range [][]byte{content[5_000_000:5_000_100], content[:10]} {
		part, err := parts.NextPart()
		require.NoError(t, err)
		got, err := io.ReadAll(part)
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}

	empty := oci.SHA256.FromString("")
	s.want(201, s.do("PUT", s.start("library/app")+"?digest="+empty.String(), nil))
	assert.Empty(t, s.want(200, s.get(blobPath("library/app", empty))).body)

	require.NoError(t, filepath.WalkDir(bucket.Data, func(path string, entry os.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() && entry.Name() != "" {
			err = os.Remove(path)
		}
		return err
	}))
	s.want(200, s.do("HEAD", path, nil))
	assert.GreaterOrEqual(t, s.get(path, "Range: bytes=0-1").StatusCode, 500, "an error before the first byte is told as one")
}

func TestS3_redirects(t *testing.T) {
	s, _ := newServerOnS3(t, func(c *s3.Config) { c.Redirect = true })
	content := noise(2, 100_000)
	digest := s.pushBlob("library/app", content)
	path := blobPath("library/app", digest)
	answer := s.want(307, s.get(path, "Range: bytes=0-9"))
	assert.Equal(t, "no-store", answer.Header.Get("Cache-Control"), "the URL will expire")
	assert.Equal(t, digest.String(), answer.Header.Get("Docker-Content-Digest"))
	signed, err := http.Get(answer.Header.Get("Location"))
	require.NoError(t, err)
	defer signed.Body.Close()
	got, err := io.ReadAll(signed.Body)
	require.NoError(t, err)
	assert.Equal(t, content, got)
	assert.Equal(t, "application/octet-stream", signed.Header.Get("Content-Type"))

	assert.Equal(t, "100000", s.want(200, s.do("HEAD", path, nil)).Header.Get("Content-Length"))
	s.want(304, s.get(path, `If-None-Match: "`+digest.String()+`"`))
	s.want(404, s.get(blobPath("library/other", digest)))
}

// TestS3_stalledUploadsDoNotStarveOthers has clients that stand still take up all the memory for parts.
func TestS3_stalledUploadsDoNotStarveOthers(t *testing.T) {
	s, _ := newServerOnS3(t, func(c *s3.Config) { c.Concurrency = 2 })
	for range 2 {
		stalled := s.dribble("PATCH", s.start("library/stalled"), 1<<30, noise(3, 7<<20))
		defer stalled.Close()
	}
	for seed := range uint64(2) {
		content := noise(4+seed, 20<<20)
		digest := oci.SHA256.FromBytes(content)
		begun := time.Now()
		s.want(201, s.do("PUT", s.start("library/app")+"?digest="+digest.String(), stream{bytes.NewReader(content)}))
		assert.Less(t, time.Since(begun), 20*time.Second)
		assert.Equal(t, digest, oci.SHA256.FromBytes(s.want(200, s.get(blobPath("library/app", digest))).body))
	}
	assert.EqualValues(t, 2, s.registry.Stats().Uploading, "the others are still there")
}
