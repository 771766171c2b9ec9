package replicate_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/outbound"
	"github.com/berth-registry/berth/replicate"
	"github.com/berth-registry/berth/replicate/remote"
	"github.com/berth-registry/berth/replicate/remote/remotetest"
)

// registry is a registry with what tests do to it.
type registry struct {
	*remote.Registry
	t *testing.T
}

func start(t *testing.T) registry {
	t.Helper()
	transport, err := outbound.Networks{}.Transport(outbound.Trust{})
	require.NoError(t, err)
	t.Cleanup(transport.CloseIdleConnections)
	r, err := remote.New(remote.Options{URL: "http://" + remotetest.Distribution(t), Transport: transport})
	require.NoError(t, err)
	return registry{r, t}
}

// blob uploads content and describes it.
func (r registry) blob(repository, content string) oci.Descriptor {
	r.t.Helper()
	d := oci.Descriptor{MediaType: "application/vnd.oci.image.layer.v1.tar", Digest: oci.SHA256.FromString(content), Size: int64(len(content))}
	has, err := r.HasBlob(r.t.Context(), repository, d.Digest)
	require.NoError(r.t, err)
	if has {
		return d
	}
	_, err = r.WriteBlob(r.t.Context(), repository, d, func(_ context.Context, offset int64) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(content[offset:])), nil
	})
	require.NoError(r.t, err)
	return d
}

// put stores a manifest and describes it; an empty tag stores it by its digest.
func (r registry) put(repository, tag, mediaType string, document map[string]any) oci.Descriptor {
	r.t.Helper()
	document["schemaVersion"], document["mediaType"] = 2, mediaType
	payload, err := json.Marshal(document)
	require.NoError(r.t, err)
	m := remote.Manifest{MediaType: mediaType, Digest: oci.SHA256.FromBytes(payload), Payload: payload}
	reference := tag
	if tag == "" {
		reference = m.Digest.String()
	}
	require.NoError(r.t, r.PutManifest(r.t.Context(), repository, reference, m))
	return oci.Descriptor{MediaType: mediaType, Digest: m.Digest, Size: int64(len(payload))}
}

func (r registry) image(repository, tag string, layers ...string) oci.Descriptor {
	r.t.Helper()
	config := r.blob(repository, "{}")
	config.MediaType = "application/vnd.oci.image.config.v1+json"
	described := []oci.Descriptor{}
	for _, layer := range layers {
		described = append(described, r.blob(repository, layer))
	}
	return r.put(repository, tag, oci.MediaTypeImageManifest, map[string]any{"config": config, "layers": described})
}

// counting counts what is written to a destination, by digest.
type counting struct {
	replicate.Destination
	mu      sync.Mutex
	written map[oci.Digest]int
}

func (c *counting) WriteBlob(ctx context.Context, repository string, blob oci.Descriptor, open func(context.Context, int64) (io.ReadCloser, error)) (remote.Transfer, error) {
	c.mu.Lock()
	c.written[blob.Digest]++
	c.mu.Unlock()
	return c.Destination.WriteBlob(ctx, repository, blob, open)
}

func (r registry) requireWhole(repository, reference string) {
	r.t.Helper()
	manifest, err := r.Manifest(r.t.Context(), repository, reference)
	require.NoError(r.t, err)
	parsed, err := oci.ParseManifest(manifest.MediaType, manifest.Payload)
	require.NoError(r.t, err)
	for _, reference := range parsed.References {
		if reference.Kind == oci.ReferenceManifest {
			r.requireWhole(repository, reference.Descriptor.Digest.String())
			continue
		}
		content, err := r.ReadBlob(r.t.Context(), repository, reference.Descriptor.Digest, 0)
		require.NoError(r.t, err)
		got, err := io.ReadAll(content)
		require.NoError(r.t, err)
		require.NoError(r.t, content.Close())
		require.Equal(r.t, reference.Descriptor.Digest, oci.SHA256.FromBytes(got))
	}
}

func TestCopy_wholeArtifacts(t *testing.T) {
	from, to := start(t), start(t)
	amd64 := from.image("a/app", "", "amd64 layer", "common layer")
	arm64 := from.image("a/app", "", "arm64 layer", "common layer")
	amd64.Platform, arm64.Platform = &oci.Platform{OS: "linux", Architecture: "amd64"}, &oci.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"}
	from.put("a/app", "v1", oci.MediaTypeImageIndex, map[string]any{"manifests": []oci.Descriptor{amd64, arm64}})

	var lines []string
	var mu sync.Mutex
	c := replicate.NewCopier(replicate.CopierOptions{Source: from, Destination: to, Log: func(line string) {
		mu.Lock()
		defer mu.Unlock()
		lines = append(lines, line)
	}})
	outcome, err := c.Copy(t.Context(), "a/app", "v1", "mirror/app")
	require.NoError(t, err)
	require.Equal(t, replicate.Copied, outcome)
	to.requireWhole("mirror/app", "v1")
	require.Equal(t, int64(len("amd64 layer")+len("arm64 layer")+len("common layer")+len("{}")), c.Sent())
	require.Contains(t, strings.Join(lines, "\n"), "copied")

	outcome, err = c.Copy(t.Context(), "a/app", "v1", "mirror/app")
	require.NoError(t, err)
	require.Equal(t, replicate.Present, outcome)
	_, err = c.Copy(t.Context(), "a/app", "absent", "mirror/app")
	require.ErrorIs(t, err, remote.ErrNotFound)
}

func TestCopy_override(t *testing.T) {
	from, to := start(t), start(t)
	theirs := to.image("b/app", "v1", "theirs")
	ours := from.image("a/app", "v1", "ours")
	for _, step := range []struct {
		override bool
		outcome  replicate.Outcome
		digest   oci.Digest
	}{{false, replicate.Kept, theirs.Digest}, {true, replicate.Copied, ours.Digest}, {true, replicate.Present, ours.Digest}} {
		c := replicate.NewCopier(replicate.CopierOptions{Source: from, Destination: to, Override: step.override})
		outcome, err := c.Copy(t.Context(), "a/app", "v1", "b/app")
		require.NoError(t, err)
		require.Equal(t, step.outcome, outcome)
		digest, err := to.Resolve(t.Context(), "b/app", "v1")
		require.NoError(t, err)
		require.Equal(t, step.digest, digest)
	}
}

func TestCopy_movesEachBlobOnce(t *testing.T) {
	from, to := start(t), start(t)
	var layers []string
	for i := range 10 {
		layers = append(layers, fmt.Sprintf("shared layer %d %s", i, strings.Repeat("x", 10_000)))
	}
	const images = 20
	for i := range images {
		from.image("a/app", fmt.Sprint("v", i), append(slices.Clone(layers), fmt.Sprint("own layer ", i))...)
	}
	counted := &counting{Destination: to, written: map[oci.Digest]int{}}
	c := replicate.NewCopier(replicate.CopierOptions{Source: from, Destination: counted})
	var group errgroup.Group
	group.SetLimit(8)
	for i := range images {
		group.Go(func() error {
			_, err := c.Copy(t.Context(), "a/app", fmt.Sprint("v", i), fmt.Sprintf("mirror/app%d", i%4))
			return err
		})
	}
	require.NoError(t, group.Wait())
	for digest, times := range counted.written {
		require.Equal(t, 1, times, "blob %s", digest)
	}
	require.Len(t, counted.written, images+len(layers)+1)
	for i := range images {
		to.requireWhole(fmt.Sprintf("mirror/app%d", i%4), fmt.Sprint("v", i))
	}
}

// hostile is a registry that has a manifest which is none.
type hostile struct {
	replicate.Source
	mediaType, payload string
}

// Manifest returns it.
func (h hostile) Manifest(context.Context, string, string) (remote.Manifest, error) {
	return remote.Manifest{MediaType: h.mediaType, Digest: oci.SHA256.FromString(h.payload), Payload: []byte(h.payload)}, nil
}

// ReadBlob returns something else, without an end.
func (h hostile) ReadBlob(context.Context, string, oci.Digest, int64) (io.ReadCloser, error) {
	return io.NopCloser(io.MultiReader(strings.NewReader("other content"), endless{})), nil
}

// Referrers has none.
func (h hostile) Referrers(context.Context, string, oci.Digest) ([]oci.Descriptor, error) {
	return nil, nil
}

type endless struct{}

// Read reads on.
func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestCopy_hostileSource(t *testing.T) {
	to := start(t)
	for name, h := range map[string]hostile{
		"no JSON":            {nil, oci.MediaTypeImageManifest, "<html>"},
		"half of a manifest": {nil, oci.MediaTypeImageManifest, `{"schemaVersion":2,"config":`},
		"another media type": {nil, "text/html", `{"schemaVersion":2}`},
		"nothing":            {nil, oci.MediaTypeImageManifest, ""},
		"no digests":         {nil, oci.MediaTypeImageManifest, `{"schemaVersion":2,"config":{"mediaType":"a/b","digest":"../../etc","size":1},"layers":[]}`},
		"negative sizes":     {nil, oci.MediaTypeImageManifest, `{"schemaVersion":2,"config":{"mediaType":"a/b","digest":"` + string(oci.SHA256.FromString("x")) + `","size":-1},"layers":[]}`},
		"other bytes":        {nil, oci.MediaTypeImageManifest, `{"schemaVersion":2,"config":{"mediaType":"a/b","digest":"` + string(oci.SHA256.FromString("x")) + `","size":1},"layers":[]}`},
	} {
		_, err := replicate.NewCopier(replicate.CopierOptions{Source: h, Destination: to}).Copy(t.Context(), "a/app", "v1", "b/app")
		require.Error(t, err, name)
		_, err = to.Resolve(t.Context(), "b/app", "v1")
		require.ErrorIs(t, err, remote.ErrNotFound, name)
	}
}

func TestCopy_limitsItsSpeed(t *testing.T) {
	from, to := start(t), start(t)
	from.image("a/app", "v1", string(bytes.Repeat([]byte("layer"), 300_000)))
	c := replicate.NewCopier(replicate.CopierOptions{Source: from, Destination: to, Shared: replicate.NewShared(0, 1<<20)})
	began := time.Now()
	_, err := c.Copy(t.Context(), "a/app", "v1", "b/app")
	require.NoError(t, err)
	require.Greater(t, time.Since(began), 300*time.Millisecond, "1.5 MB, the first of them at once")
}
