package metadatatest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
)

func testFetches(t *testing.T, f fixture) {
	lease := func(name, holder string, lease time.Duration) error {
		return f.Tx(t.Context(), func(ctx context.Context, tx *metadata.Tx) error { return tx.LeaseFetch(ctx, name, holder, lease) })
	}
	require.NoError(t, lease("library/app@sha256:1", "a", time.Hour))
	require.NoError(t, lease("library/app@sha256:1", "a", time.Hour), "the holder goes on")
	require.NoError(t, lease("library/app@sha256:2", "b", time.Hour), "another name is another's")
	require.ErrorIs(t, lease("library/app@sha256:1", "b", time.Hour), metadata.ErrConflict)

	release := func(holder string) {
		f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
			return tx.ReleaseFetch(ctx, "library/app@sha256:1", holder)
		})
	}
	release("b")
	require.ErrorIs(t, lease("library/app@sha256:1", "b", time.Hour), metadata.ErrConflict, "who does not hold it cannot give it back")
	release("a")
	require.NoError(t, lease("library/app@sha256:1", "b", -time.Second))
	require.NoError(t, lease("library/app@sha256:1", "a", -time.Second), "a lease that has ended is anybody's")

	f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
		gone, err := tx.DeleteFetches(ctx, time.Now(), 10)
		require.EqualValues(t, 1, gone, "only what has ended")
		return err
	})
	require.ErrorIs(t, lease("library/app@sha256:2", "a", time.Hour), metadata.ErrConflict)
}

func testFetchParts(t *testing.T, f fixture) {
	const name = "blob library/app@sha256:1"
	write := func(act func(ctx context.Context, tx *metadata.Tx) error) { f.write(t, act) }
	add := func(start, length int64, key string) {
		write(func(ctx context.Context, tx *metadata.Tx) error {
			return tx.AddFetchPart(ctx, name, metadata.FetchPart{Start: start, Length: length, StorageKey: key})
		})
	}
	_, err := f.Fetch(t.Context(), name)
	require.ErrorIs(t, err, metadata.ErrNotFound)
	write(func(ctx context.Context, tx *metadata.Tx) error { return tx.LeaseFetch(ctx, name, "a", -time.Second) })
	found, err := f.Fetch(t.Context(), name)
	require.NoError(t, err)
	require.Equal(t, metadata.Fetch{Holder: "a", Size: -1}, found)
	write(func(ctx context.Context, tx *metadata.Tx) error {
		require.ErrorIs(t, tx.SetFetchSize(ctx, "another", 1), metadata.ErrNotFound)
		return nil
	})
	write(func(ctx context.Context, tx *metadata.Tx) error { return tx.WantFetch(ctx, name) })
	write(func(ctx context.Context, tx *metadata.Tx) error { return tx.SetFetchSize(ctx, name, 100) })
	write(func(ctx context.Context, tx *metadata.Tx) error { return tx.LeaseFetch(ctx, name, "a", -time.Second) })
	found, err = f.Fetch(t.Context(), name)
	require.NoError(t, err)
	require.Equal(t, metadata.Fetch{Holder: "a", Size: 100, Wanted: true}, found, "its holder goes on")

	add(0, 10, "part-1")
	add(10, 5, "part-2")
	add(15, 5, "part-3")
	require.ErrorIs(t, f.Tx(t.Context(), func(ctx context.Context, tx *metadata.Tx) error {
		return tx.AddFetchPart(ctx, name, metadata.FetchPart{Start: 10, Length: 1, StorageKey: "part-4"})
	}), metadata.ErrExists)
	starts := func(offset int64, n int) (starts []int64) {
		parts, err := f.FetchParts(t.Context(), name, offset, n)
		require.NoError(t, err)
		for _, p := range parts {
			starts = append(starts, p.Start)
		}
		return starts
	}
	require.Equal(t, []int64{0, 10, 15}, starts(0, 10))
	require.Equal(t, []int64{10, 15}, starts(10, 10))
	require.Equal(t, []int64{10}, starts(12, 1), "the one that the offset is in")
	require.Equal(t, []int64{15}, starts(20, 10), "the last")
	unknown, err := f.UnknownKeys(t.Context(), []string{"part-1", "part-9"})
	require.NoError(t, err)
	require.Equal(t, []string{"part-9"}, unknown)

	write(func(ctx context.Context, tx *metadata.Tx) error { return tx.LeaseFetch(ctx, name, "b", -time.Second) })
	found, err = f.Fetch(t.Context(), name)
	require.NoError(t, err)
	require.Equal(t, metadata.Fetch{Holder: "b", Size: 100}, found, "who waited may be the one that goes on")
	write(func(ctx context.Context, tx *metadata.Tx) error { return tx.ReleaseFetch(ctx, name, "a") })
	require.Len(t, starts(0, 10), 3, "it is another's")
	write(func(ctx context.Context, tx *metadata.Tx) error { return tx.ReleaseFetch(ctx, name, "b") })
	require.Empty(t, starts(0, 10))
	require.Subset(t, f.givenUp(t), []string{"part-1", "part-2", "part-3"})

	write(func(ctx context.Context, tx *metadata.Tx) error { return tx.LeaseFetch(ctx, name, "c", -time.Second) })
	add(0, 10, "part-5")
	write(func(ctx context.Context, tx *metadata.Tx) error {
		gone, err := tx.DeleteFetches(ctx, time.Now(), 10)
		require.EqualValues(t, 1, gone)
		return err
	})
	require.Contains(t, f.givenUp(t), "part-5", "its holder has died")
}

func testSeenTags(t *testing.T, f fixture) {
	const name = "library/app:v1"
	_, _, err := f.SeenTag(t.Context(), name)
	require.ErrorIs(t, err, metadata.ErrNotFound)
	until := time.Now().Add(time.Hour).Truncate(time.Microsecond)
	for _, digest := range []oci.Digest{oci.SHA256.FromString("old"), oci.SHA256.FromString("new")} {
		f.write(t, func(ctx context.Context, tx *metadata.Tx) error { return tx.SeeTag(ctx, name, digest, until) })
		found, believed, err := f.SeenTag(t.Context(), name)
		require.NoError(t, err)
		require.Equal(t, digest, found)
		require.True(t, believed.Equal(until))
	}
	remove := func(before time.Time, want int64) {
		f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
			gone, err := tx.DeleteSeenTags(ctx, before, 10)
			require.Equal(t, want, gone)
			return err
		})
	}
	remove(until.Add(-time.Second), 0)
	remove(until, 1)
}

func testForgetFacts(t *testing.T, f fixture) {
	m := newManifest(f.repository, f.putBlob(t, f.repository), f.putBlob(t, f.repository))
	m.Facts = metadata.Facts{Kind: "IMAGE", Attributes: []byte("{}")}
	f.putManifest(t, m)
	unread := func(config int) int {
		f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
			return tx.ForgetFactsOf(ctx, f.repository.ID, m.References[config].Descriptor.Digest)
		})
		found, err := f.UnreadArtifacts(t.Context(), 0, 10)
		require.NoError(t, err)
		return len(found)
	}
	require.Zero(t, unread(1), "a layer says nothing")
	require.Equal(t, 1, unread(0))
}
