package e2e_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/e2e/harness"
)

// rootfs is the path of a small root file system as a tar file: busybox, and some bytes that no other has.
func rootfs(t *testing.T) string {
	t.Helper()
	content, err := tarball()
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "rootfs.tar")
	require.NoError(t, os.WriteFile(path, content, 0o600))
	return path
}

var tarball = sync.OnceValues(func() ([]byte, error) {
	busybox, err := os.ReadFile("/usr/bin/busybox")
	if err != nil {
		return nil, fmt.Errorf("busybox-static is not installed: run e2e/install.sh: %w", err)
	}
	cargo, _ := io.ReadAll(harness.Content(rand.Uint64(), 256<<10))
	var buffer bytes.Buffer
	archive := tar.NewWriter(&buffer)
	for _, file := range []struct {
		name    string
		content []byte
	}{{"bin/busybox", busybox}, {"cargo", cargo}} {
		if err := archive.WriteHeader(&tar.Header{Name: file.name, Mode: 0o755, Size: int64(len(file.content))}); err != nil {
			return nil, err
		}
		if _, err := archive.Write(file.content); err != nil {
			return nil, err
		}
	}
	if err := archive.WriteHeader(&tar.Header{Name: "bin/sh", Typeflag: tar.TypeSymlink, Linkname: "busybox"}); err != nil {
		return nil, err
	}
	return buffer.Bytes(), archive.Close()
})

// layout writes an image with a compressed layer as an OCI layout under a tag and returns the manifest's digest.
func layout(t *testing.T, directory, tag string) string {
	t.Helper()
	unpacked, err := os.ReadFile(rootfs(t))
	require.NoError(t, err)
	var layer bytes.Buffer
	compressor := gzip.NewWriter(&layer)
	_, err = compressor.Write(unpacked)
	require.NoError(t, err)
	require.NoError(t, compressor.Close())

	blobs := filepath.Join(directory, "blobs", "sha256")
	require.NoError(t, os.MkdirAll(blobs, 0o755))
	write := func(mediaType string, content []byte) harness.Descriptor {
		descriptor := harness.Describe(mediaType, content)
		require.NoError(t, os.WriteFile(filepath.Join(blobs, descriptor.Digest[len("sha256:"):]), content, 0o600))
		return descriptor
	}
	config := fmt.Appendf(nil, `{"architecture":"amd64","os":"linux","config":{"Cmd":["/bin/sh"]},"rootfs":{"type":"layers","diff_ids":[%q]}}`,
		harness.Describe("", unpacked).Digest)
	manifest, err := json.Marshal(map[string]any{
		"schemaVersion": 2,
		"mediaType":     harness.MediaTypeManifest,
		"config":        write(harness.MediaTypeConfig, config),
		"layers":        []harness.Descriptor{write(harness.MediaTypeLayer+"+gzip", layer.Bytes())},
	})
	require.NoError(t, err)
	descriptor := write(harness.MediaTypeManifest, manifest)
	index, err := json.Marshal(map[string]any{
		"schemaVersion": 2,
		"manifests": []any{map[string]any{
			"mediaType": descriptor.MediaType, "digest": descriptor.Digest, "size": descriptor.Size,
			"annotations": map[string]string{"org.opencontainers.image.ref.name": tag},
		}},
	})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(directory, "index.json"), index, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(directory, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o600))
	return descriptor.Digest
}

// digestInLayout is the digest of a layout's only manifest, whose blobs must all be whole.
func digestInLayout(t *testing.T, directory string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(directory, "index.json"))
	require.NoError(t, err)
	var index struct{ Manifests []harness.Descriptor }
	require.NoError(t, json.Unmarshal(content, &index))
	require.Len(t, index.Manifests, 1)
	blobs, err := filepath.Glob(filepath.Join(directory, "blobs", "sha256", "*"))
	require.NoError(t, err)
	require.Len(t, blobs, 3)
	for _, blob := range blobs {
		requireContent(t, "sha256:"+filepath.Base(blob), blob)
	}
	return index.Manifests[0].Digest
}

// writeContent writes size bytes that nobody else has and returns their digest.
func writeContent(t *testing.T, path string, size int64) string {
	t.Helper()
	content, err := io.ReadAll(harness.Content(rand.Uint64(), size))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, content, 0o600))
	return harness.Describe("", content).Digest
}

// requireContent checks a file's digest.
func requireContent(t *testing.T, digest, path string) {
	t.Helper()
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, digest, harness.Describe("", content).Digest)
}
