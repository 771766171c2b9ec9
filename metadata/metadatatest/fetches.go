package metadatatest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/metadata"
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
