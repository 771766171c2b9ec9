package apitest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"log/slog"
	"testing"
	"time"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/registry"
	"github.com/berth-registry/berth/setting"
	"github.com/berth-registry/berth/storage/filesystem"
)

func openRegistry(t testing.TB, store *metadata.Store, settings *setting.Settings) *registry.Registry {
	t.Helper()
	backend, err := filesystem.New(filesystem.Config{Root: t.TempDir()})
	require.NoError(t, err)
	opened := registry.New(registry.Options{Metadata: store, Storage: backend, Logger: slog.New(slog.DiscardHandler), KeepDeleted: func(ctx context.Context) time.Duration {
		values, err := settings.Values(ctx)
		require.NoError(t, err)
		return time.Duration(values.Number(setting.SoftDeleteDays)) * 24 * time.Hour
	}})
	t.Cleanup(func() { _ = opened.Close() }) // the test may have closed the database, and then pulls cannot be written
	return opened
}

// Blob pushes a blob and returns a descriptor of it.
func (s *Server) Blob(t testing.TB, repository, mediaType string, content []byte) oci.Descriptor {
	t.Helper()
	d := oci.Descriptor{MediaType: mediaType, Digest: oci.SHA256.FromBytes(content), Size: int64(len(content))}
	_, err := s.Registry.PutBlob(t.Context(), oci.Repository(repository), d.Digest, bytes.NewReader(content))
	require.NoError(t, err)
	return d
}

// Push pushes a manifest under tags and returns a descriptor of it.
func (s *Server) Push(t testing.TB, repository, mediaType string, manifest any, tags ...string) oci.Descriptor {
	t.Helper()
	payload, err := json.Marshal(manifest)
	require.NoError(t, err)
	pushed, err := s.Registry.PutManifest(t.Context(), event.Actor{Name: "admin"}, registry.Push{
		Repository: oci.Repository(repository), Reference: oci.Reference{Digest: oci.SHA256.FromBytes(payload)}, Tags: tags,
		ContentType: mediaType, Payload: payload,
	})
	require.NoError(t, err)
	return oci.Descriptor{MediaType: mediaType, Digest: pushed.Digest, Size: int64(len(payload))}
}

// Image is an image to push.
type Image struct {
	// Config is JSON; "" makes a small one for linux/amd64.
	Config string
	// Layers are the contents of layers.
	Layers      []string
	Subject     *oci.Descriptor
	Annotations map[string]string
}

// PushImage pushes an image.
func (s *Server) PushImage(t testing.TB, repository string, image Image, tags ...string) oci.Descriptor {
	t.Helper()
	if image.Config == "" {
		image.Config = `{"architecture":"amd64","os":"linux","author":"somebody","created":"2026-01-02T03:04:05Z",
			"config":{"Env":["A=b"],"Labels":{"l":"m"}},"rootfs":{"type":"layers","diff_ids":[]},
			"history":[{"created":"2026-01-02T03:04:05Z","created_by":"/bin/sh -c true"}]}`
	}
	m := v1.Manifest{Subject: image.Subject, Annotations: image.Annotations, MediaType: oci.MediaTypeImageManifest}
	m.SchemaVersion = 2
	m.Config = s.Blob(t, repository, v1.MediaTypeImageConfig, []byte(image.Config))
	m.Layers = []oci.Descriptor{}
	for _, layer := range image.Layers {
		m.Layers = append(m.Layers, s.Blob(t, repository, v1.MediaTypeImageLayerGzip, []byte(layer)))
	}
	return s.Push(t, repository, oci.MediaTypeImageManifest, m, tags...)
}

// PushIndex pushes an index of manifests that the repository has.
func (s *Server) PushIndex(t testing.TB, repository string, manifests []oci.Descriptor, tags ...string) oci.Descriptor {
	t.Helper()
	index := v1.Index{MediaType: oci.MediaTypeImageIndex, Manifests: manifests}
	index.SchemaVersion = 2
	return s.Push(t, repository, oci.MediaTypeImageIndex, index, tags...)
}

// PushArtifact pushes an artifact of a type with one layer and an empty config.
func (s *Server) PushArtifact(t testing.TB, repository, artifactType string, subject *oci.Descriptor, content string, tags ...string) oci.Descriptor {
	t.Helper()
	m := v1.Manifest{MediaType: oci.MediaTypeImageManifest, ArtifactType: artifactType, Subject: subject}
	m.SchemaVersion = 2
	m.Config = s.Blob(t, repository, v1.MediaTypeEmptyJSON, []byte("{}"))
	m.Layers = []oci.Descriptor{s.Blob(t, repository, "application/octet-stream", []byte(content))}
	return s.Push(t, repository, oci.MediaTypeImageManifest, m, tags...)
}

// PushChart pushes a Helm chart of files.
func (s *Server) PushChart(t testing.TB, repository, config string, files map[string]string, tags ...string) oci.Descriptor {
	t.Helper()
	m := v1.Manifest{MediaType: oci.MediaTypeImageManifest}
	m.SchemaVersion = 2
	m.Config = s.Blob(t, repository, "application/vnd.cncf.helm.config.v1+json", []byte(config))
	m.Layers = []oci.Descriptor{s.Blob(t, repository, "application/vnd.cncf.helm.chart.content.v1.tar+gzip", Archive(t, files))}
	return s.Push(t, repository, oci.MediaTypeImageManifest, m, tags...)
}

// CountEvents returns how many events of a kind there are.
func (s *Server) CountEvents(t testing.TB, kind event.Kind) (n int) {
	t.Helper()
	for after := (metadata.EventCursor{}); ; {
		events, err := s.Store.Events(t.Context(), after, 1000)
		require.NoError(t, err)
		for _, e := range events {
			after = e.Cursor()
			if e.Kind == kind {
				n++
			}
		}
		if len(events) == 0 {
			return n
		}
	}
}

// Archive returns files in a compressed tar.
func Archive(t testing.TB, files map[string]string) []byte {
	t.Helper()
	var archive bytes.Buffer
	compressed := gzip.NewWriter(&archive)
	w := tar.NewWriter(compressed)
	for name, content := range files {
		require.NoError(t, w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}))
		_, err := w.Write([]byte(content))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	require.NoError(t, compressed.Close())
	return archive.Bytes()
}
