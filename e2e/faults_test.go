package e2e_test

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/e2e/harness"
)

// TestFaults_diskFull answers 507 and the upload goes on when there is room again.
func TestFaults_diskFull(t *testing.T) {
	stack := harness.Directory(t)
	gateway := harness.Start(t, stack)
	client := gateway.Admin()
	require.NoError(t, client.Push(t.Context(), "library/full", "before", harness.NewImage(40, 1000)))
	gateway.Stop()
	blobs := filepath.Join(t.TempDir(), "small")
	mountSmall(t, blobs, "16m")
	gateway.Write(stack.BlobsAt(blobs))
	gateway.Launch()

	const size = 24 << 20
	content, err := io.ReadAll(harness.Content(41, size))
	require.NoError(t, err)
	location, err := client.StartUpload(t.Context(), "library/full")
	require.NoError(t, err)
	_, _, err = client.Patch(t.Context(), location, 0, size, bytes.NewReader(content))
	require.Equal(t, http.StatusInsufficientStorage, harness.Status(err), "%v", err)

	require.NoError(t, syscall.Mount("tmpfs", blobs, "tmpfs", syscall.MS_REMOUNT, "size=64m"))
	next, offset, err := client.UploadStatus(t.Context(), location)
	require.NoError(t, err)
	next, _, err = client.Patch(t.Context(), next, offset, size-offset, bytes.NewReader(content[offset:]))
	require.NoError(t, err)
	digest := harness.Describe("", content).Digest
	require.NoError(t, client.FinishUpload(t.Context(), next, digest))
	got, _, err := client.PullBlob(t.Context(), "library/full", digest)
	require.NoError(t, err)
	require.Equal(t, digest, got)
}

func mountSmall(t *testing.T, directory, size string) {
	t.Helper()
	require.NoError(t, os.Mkdir(directory, 0o700))
	require.NoError(t, syscall.Mount("tmpfs", directory, "tmpfs", 0, "size="+size), "a small disk needs root")
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(directory, syscall.MNT_DETACH)) })
}

// TestFaults_objectStorageGone answers 503 with Retry-After while the S3 server is away, serves manifests meanwhile, and goes on
// when it is back.
func TestFaults_objectStorageGone(t *testing.T) {
	stack := harness.Shared(t)
	gateway := harness.Start(t, stack)
	client := gateway.Admin()
	image := harness.NewImage(42, 1<<20)
	require.NoError(t, client.Push(t.Context(), "library/gone", "v1", image))
	stack.S3.Stop()

	_, err := client.Manifest(t.Context(), "library/gone", "v1")
	require.NoError(t, err, "manifests are not in the bucket")
	response, err := client.Do(t.Context(), http.MethodGet, "/v2/library/gone/blobs/"+harness.Describe("", image.Layers[0]).Digest, nil, nil, http.StatusServiceUnavailable)
	require.NoError(t, err)
	require.NotEmpty(t, response.Header.Get("Retry-After"))
	require.NoError(t, response.Body.Close())
	other := harness.NewImage(43, 20<<20)
	require.Equal(t, http.StatusServiceUnavailable, harness.Status(client.Push(t.Context(), "library/gone", "v2", other)))

	stack.S3.Launch()
	require.NoError(t, client.CheckPull(t.Context(), "library/gone", "v1", image))
	require.NoError(t, client.Push(t.Context(), "library/gone", "v2", other))
	require.NoError(t, client.CheckPull(t.Context(), "library/gone", "v2", other))
}

// TestRedirect_blobComesFromTheBucket follows the presigned URL without credentials of the registry.
func TestRedirect_blobComesFromTheBucket(t *testing.T) {
	stack := harness.Shared(t)
	stack.Block = stack.Redirecting()
	gateway := harness.Start(t, stack)
	client := gateway.Admin()
	image := harness.NewImage(44, 3<<20)
	require.NoError(t, client.Push(t.Context(), "library/redirect", "v1", image))
	require.NoError(t, client.CheckPull(t.Context(), "library/redirect", "v1", image))

	digest := harness.Describe("", image.Layers[0]).Digest
	location, err := client.Redirection(t.Context(), "/v2/library/redirect/blobs/"+digest)
	require.NoError(t, err)
	require.Contains(t, location, stack.S3.Endpoint)
	response, err := http.Get(location)
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	got, _, err := harness.DigestOf(response.Body)
	require.NoError(t, err)
	require.Equal(t, digest, got)
	// HEAD is answered by the gateway.
	head, err := client.Do(t.Context(), http.MethodHead, "/v2/library/redirect/blobs/"+digest, nil, nil, http.StatusOK)
	require.NoError(t, err)
	require.EqualValues(t, 3<<20, head.ContentLength)
	require.NoError(t, head.Body.Close())

	// A real client takes it too. Not crane: it refuses to be sent to a private address, which loopback is.
	directory := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(directory, "trust"), 0o700))
	ca, err := os.ReadFile(gateway.CA())
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(directory, "trust", "ca.crt"), ca, 0o600))
	pushed := layout(t, filepath.Join(directory, "pushed"), "v1")
	trust, credentials, reference := filepath.Join(directory, "trust"), "admin:"+harness.AdminPassword, "docker://"+gateway.Host()+"/library/redirect:skopeo"
	_, err = harness.Run(t.Context(), nil, "", harness.Tool(t, "skopeo"), "--insecure-policy", "copy", "--dest-creds", credentials, "--dest-cert-dir", trust,
		"oci:"+filepath.Join(directory, "pushed")+":v1", reference)
	require.NoError(t, err)
	_, err = harness.Run(t.Context(), nil, "", harness.Tool(t, "skopeo"), "--insecure-policy", "copy", "--src-creds", credentials, "--src-cert-dir", trust,
		reference, "oci:"+filepath.Join(directory, "pulled")+":v1")
	require.NoError(t, err)
	require.Equal(t, pushed, digestInLayout(t, filepath.Join(directory, "pulled")))
}
