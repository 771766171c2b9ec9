package metadatatest

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
)

func testRepositories(t *testing.T, f fixture) {
	ctx := t.Context()
	found, err := f.Repository(ctx, "library/app")
	require.NoError(t, err)
	require.Equal(t, f.repository, found)
	require.True(t, found.LastPulledAt.IsZero())
	_, err = f.Repository(ctx, "library/none")
	require.ErrorIs(t, err, metadata.ErrNotFound)

	f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
		again, err := tx.EnsureRepository(ctx, f.project.ID, "library/app")
		require.Equal(t, f.repository, again)
		if err != nil {
			return err
		}
		locked, err := tx.LockRepository(ctx, "library/app")
		require.Equal(t, f.repository, locked)
		return err
	})
	require.ErrorIs(t, f.refused(t, func(ctx context.Context, tx *metadata.Tx) error {
		_, err := tx.LockRepository(ctx, "library/none")
		return err
	}), metadata.ErrNotFound)
	require.ErrorIs(t, f.refused(t, func(ctx context.Context, tx *metadata.Tx) error {
		_, err := tx.EnsureRepository(ctx, 4711, "nowhere/app")
		return err
	}), metadata.ErrNotFound)

	at := time.Date(2030, 1, 2, 3, 4, 5, 6000, time.UTC)
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
		return tx.AddPulls(ctx, []metadata.Pulls{
			{Repository: "library/app", Count: 2, LastAt: at},
			{Repository: "library/gone", Count: 1, LastAt: at},
			{Repository: "library/app", Count: 3, LastAt: at.Add(-time.Hour)},
		})
	})
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
		return tx.AddPulls(ctx, []metadata.Pulls{{Repository: "library/app", Count: 1, LastAt: at.Add(-time.Minute)}})
	})
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error { return tx.AddPulls(ctx, nil) })
	found, err = f.Repository(ctx, "library/app")
	require.NoError(t, err)
	require.Equal(t, int64(6), found.PullCount)
	require.Equal(t, at, found.LastPulledAt)

	blob := f.putBlob(t, f.repository)
	f.putManifest(t, newManifest(f.repository, blob))
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error { return tx.DeleteRepository(ctx, f.repository.ID) })
	_, err = f.BlobByDigest(ctx, blob.Digest)
	require.NoError(t, err, "the bytes are garbage collection's")
}

func testBlobs(t *testing.T, f fixture) {
	ctx := t.Context()
	blob := f.putBlob(t, f.repository)
	found, err := f.Blob(ctx, "library/app", blob.Digest)
	require.NoError(t, err)
	require.Equal(t, blob, found)
	other := f.addRepository(t, "library/other", false)
	_, err = f.Blob(ctx, other.Name, blob.Digest)
	require.ErrorIs(t, err, metadata.ErrNotFound, "a link is the permission to read")

	f.write(t, func(ctx context.Context, tx *metadata.Tx) error { return tx.LinkBlob(ctx, other.ID, blob.Digest) })
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error { return tx.LinkBlob(ctx, other.ID, blob.Digest) })
	_, err = f.Blob(ctx, other.Name, blob.Digest)
	require.NoError(t, err)
	require.ErrorIs(t, f.refused(t, func(ctx context.Context, tx *metadata.Tx) error {
		return tx.LinkBlob(ctx, other.ID, newDigest())
	}), metadata.ErrNotFound)

	digests := []oci.Digest{blob.Digest, newDigest(), blob.Digest}
	for range 10_000 {
		digests = append(digests, newDigest())
	}
	present, err := f.Blobs(ctx, "library/app", digests)
	require.NoError(t, err)
	require.Equal(t, map[oci.Digest]bool{blob.Digest: true}, present)
	present, err = f.Blobs(ctx, "library/app", nil)
	require.NoError(t, err)
	require.Empty(t, present)

	manifest := newManifest(f.repository, blob)
	f.putManifest(t, manifest)
	unlink := func(repository metadata.Repository) func(ctx context.Context, tx *metadata.Tx) error {
		return func(ctx context.Context, tx *metadata.Tx) error {
			return tx.UnlinkBlob(ctx, repository.ID, blob.Digest)
		}
	}
	require.ErrorIs(t, f.refused(t, unlink(f.repository)), metadata.ErrReferenced)
	f.write(t, unlink(other))
	require.ErrorIs(t, f.refused(t, unlink(other)), metadata.ErrNotFound)
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
		_, err := tx.DeleteManifest(ctx, f.repository.ID, manifest.Digest)
		return err
	})
	f.write(t, unlink(f.repository))
	_, err = f.Blob(ctx, "library/app", blob.Digest)
	require.ErrorIs(t, err, metadata.ErrNotFound)
}

func testBlobTombstones(t *testing.T, f fixture) {
	ctx := t.Context()
	d := newDigest()
	put := func(digest oci.Digest, key string) (blob metadata.Blob, err error) {
		err = f.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
			blob, err = tx.PutBlob(ctx, metadata.Blob{Digest: digest, Size: 7, StorageKey: key})
			return err
		})
		return blob, err
	}
	tombstones := func() []string {
		return f.givenUp(t)
	}
	first, err := put(d, "one")
	require.NoError(t, err)
	again, err := put(d, "one")
	require.NoError(t, err, "a commit that is repeated")
	require.Equal(t, first, again)
	require.Empty(t, tombstones())

	for range 2 {
		effective, err := put(d, "two")
		require.NoError(t, err)
		require.Equal(t, first, effective)
		require.Equal(t, []string{"two"}, tombstones())
	}
	_, err = put(newDigest(), "two")
	require.ErrorIs(t, err, metadata.ErrConflict, "its bytes may be gone at any moment")
	_, err = put(newDigest(), "one")
	require.ErrorIs(t, err, metadata.ErrExists, "a key holds the bytes of one digest")

	f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
		return tx.AddTombstones(ctx, []string{"three", "two"})
	})
	require.Equal(t, []string{"two", "three"}, tombstones(), "oldest first")
	page, err := f.Tombstones(ctx, time.Now().Add(time.Minute), 1)
	require.NoError(t, err)
	require.Equal(t, []metadata.Tombstone{{Key: "two"}}, page)
	page, err = f.Tombstones(ctx, time.Now().Add(-time.Hour), 10)
	require.NoError(t, err)
	require.Empty(t, page)
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
		return tx.DeleteTombstones(ctx, []string{"two", "three", "unknown"})
	})
	require.Empty(t, tombstones())
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error { return tx.AddTombstones(ctx, nil) })

	f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
		return tx.AddTombstones(ctx, []string{"four", "one"})
	})
	both, err := f.Tombstones(ctx, time.Now().Add(time.Minute), -1)
	require.NoError(t, err)
	require.ElementsMatch(t, []metadata.Tombstone{{Key: "four"}, {Key: "one", Named: true}}, both)
	unknown, err := f.UnknownKeys(ctx, []string{"one", "four", "five", "six"})
	require.NoError(t, err)
	require.ElementsMatch(t, []string{"five", "six"}, unknown)
}

// givenUp returns the keys of all tombstones.
func (f fixture) givenUp(t *testing.T) (keys []string) {
	t.Helper()
	rows, err := f.Tombstones(t.Context(), time.Now().Add(time.Minute), -1)
	require.NoError(t, err)
	for _, row := range rows {
		keys = append(keys, row.Key)
	}
	return keys
}

func testManifests(t *testing.T, f fixture) {
	ctx := t.Context()
	config, layer := f.putBlob(t, f.repository), f.putBlob(t, f.repository)
	m := newManifest(f.repository, config, layer, layer)
	m.MediaType, m.ArtifactType, m.Subject = oci.MediaTypeImageManifest, "application/vnd.example", newDigest()
	m.Annotations = map[string]string{"a": "ü \x00 \"", "": "empty"}
	f.putManifest(t, m)

	found, err := f.Manifest(ctx, "library/app", m.Digest)
	require.NoError(t, err)
	require.Equal(t, m.Payload, found.Payload)
	references, err := f.References(ctx, found.ID)
	require.NoError(t, err)
	require.Equal(t, m.References, references)
	require.Equal(t, m.Annotations, found.Annotations)
	require.Equal(t, m.Subject, found.Subject)
	require.Equal(t, m.Size, found.Size)
	head, err := f.ManifestHead(ctx, "library/app", m.Digest)
	require.NoError(t, err)
	require.Nil(t, head.Payload)
	head.Payload = found.Payload
	require.Equal(t, found, head)

	other := f.addRepository(t, "library/other", false)
	_, err = f.Manifest(ctx, other.Name, m.Digest)
	require.ErrorIs(t, err, metadata.ErrNotFound)
	present, err := f.Manifests(ctx, "library/app", []oci.Digest{m.Digest, newDigest()})
	require.NoError(t, err)
	require.Equal(t, map[oci.Digest]bool{m.Digest: true}, present)

	// Again, and again as another media type, which finds other references in it.
	again := m
	again.References = nil
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
		created, _, err := tx.PutManifest(ctx, again)
		require.False(t, created)
		return err
	})
	references, err = f.References(ctx, found.ID)
	require.NoError(t, err)
	require.Len(t, references, 3)
	again.MediaType, again.References = oci.MediaTypeDockerManifest, m.References[:1]
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
		created, _, err := tx.PutManifest(ctx, again)
		require.False(t, created)
		return err
	})
	references, err = f.References(ctx, found.ID)
	require.NoError(t, err)
	require.Equal(t, m.References[:1], references)
	head, err = f.ManifestHead(ctx, "library/app", m.Digest)
	require.NoError(t, err)
	require.Equal(t, oci.MediaTypeDockerManifest, head.MediaType)

	require.ErrorIs(t, f.refused(t, func(ctx context.Context, tx *metadata.Tx) error {
		_, _, err := tx.PutManifest(ctx, newManifest(metadata.Repository{ID: 4711}))
		return err
	}), metadata.ErrNotFound)

	f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
		for _, tag := range []string{"b", "a"} {
			if _, err := tx.PutTag(ctx, f.repository.ID, tag, m.Digest, time.Now()); err != nil {
				return err
			}
		}
		tags, err := tx.DeleteManifest(ctx, f.repository.ID, m.Digest)
		require.Equal(t, []string{"a", "b"}, tags)
		return err
	})
	_, err = f.Manifest(ctx, "library/app", m.Digest)
	require.ErrorIs(t, err, metadata.ErrNotFound)
	_, err = f.Tag(ctx, "library/app", "a")
	require.ErrorIs(t, err, metadata.ErrNotFound)
	require.ErrorIs(t, f.refused(t, func(ctx context.Context, tx *metadata.Tx) error {
		_, err := tx.DeleteManifest(ctx, f.repository.ID, m.Digest)
		return err
	}), metadata.ErrNotFound)
}

func testManifestLarge(t *testing.T, f fixture) {
	payload := bytes.Repeat([]byte("\x00\xff'x"), oci.MaxManifestSize/4)
	m := metadata.Manifest{RepositoryID: f.repository.ID, Digest: digest.FromBytes(payload), MediaType: oci.MediaTypeImageIndex, Payload: payload}
	for i := range oci.MaxManifestReferences {
		d := digest.FromString(fmt.Sprint(i))
		m.References = append(m.References, oci.ManifestReference{Kind: oci.ReferenceManifest, Descriptor: oci.Descriptor{MediaType: oci.MediaTypeImageManifest, Digest: d, Size: int64(i)}})
	}
	f.putManifest(t, m)
	found, err := f.Manifest(t.Context(), "library/app", m.Digest)
	require.NoError(t, err)
	require.Equal(t, m.Payload, found.Payload)
	references, err := f.References(t.Context(), found.ID)
	require.NoError(t, err)
	require.Equal(t, m.References, references)
}

func testTags(t *testing.T, f fixture) {
	ctx := t.Context()
	one, two := newManifest(f.repository), newManifest(f.repository)
	f.putManifest(t, one)
	f.putManifest(t, two)
	put := func(tag string, m metadata.Manifest) (previous oci.Digest, err error) {
		err = f.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
			previous, err = tx.PutTag(ctx, f.repository.ID, tag, m.Digest, time.Now())
			return err
		})
		return previous, err
	}
	previous, err := put("latest", one)
	require.NoError(t, err)
	require.Empty(t, previous)
	previous, err = put("latest", two)
	require.NoError(t, err)
	require.Equal(t, one.Digest, previous)
	found, err := f.Tag(ctx, "library/app", "latest")
	require.NoError(t, err)
	require.Equal(t, two.Digest, found)
	_, err = f.Tag(ctx, "library/app", "Latest")
	require.ErrorIs(t, err, metadata.ErrNotFound)
	_, err = put("other", newManifest(f.repository))
	require.ErrorIs(t, err, metadata.ErrNotFound)

	remove := func(ctx context.Context, tx *metadata.Tx) error { return tx.DeleteTag(ctx, f.repository.ID, "latest") }
	f.write(t, remove)
	require.ErrorIs(t, f.refused(t, remove), metadata.ErrNotFound)
	_, err = f.ManifestHead(ctx, "library/app", two.Digest)
	require.NoError(t, err)
}

func testReferrers(t *testing.T, f fixture) {
	ctx := t.Context()
	subject := newDigest()
	var expected []oci.Digest
	for i := range 7 {
		m := newManifest(f.repository)
		m.Subject, m.ArtifactType, m.Annotations = subject, fmt.Sprintf("application/type%d", i%2), map[string]string{"n": fmt.Sprint(i)}
		f.putManifest(t, m)
		expected = append(expected, m.Digest)
	}
	unrelated := newManifest(f.repository)
	unrelated.Subject = newDigest()
	f.putManifest(t, unrelated)

	walk := func(artifactType string) (found []oci.Digest) {
		for after := oci.Digest(""); ; after = found[len(found)-1] {
			page, err := f.Referrers(ctx, "library/app", subject, artifactType, after, 3)
			require.NoError(t, err)
			for _, m := range page {
				require.Nil(t, m.Payload)
				require.NotZero(t, m.Size)
				require.Len(t, m.Annotations, 1)
				found = append(found, m.Digest)
			}
			if len(page) < 3 {
				return found
			}
		}
	}
	everything := walk("")
	require.ElementsMatch(t, expected, everything)
	require.IsIncreasing(t, everything)
	require.Len(t, walk("application/type0"), 4)
	require.Len(t, walk("application/type1"), 3)
	require.Empty(t, walk("application/type2"))
	none, err := f.Referrers(ctx, "library/none", subject, "", "", -1)
	require.NoError(t, err)
	require.Empty(t, none)
}
