package metadatatest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
)

// push stores a manifest as the registry does; limits hold.
func (f fixture) push(ctx context.Context, repository metadata.Repository, m metadata.Manifest, enforce bool) error {
	m.RepositoryID = repository.ID
	return f.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		if _, err := tx.KeepRepository(ctx, repository.Name, nil); err != nil {
			return err
		}
		_, added, err := tx.PutManifest(ctx, m)
		if err != nil {
			return err
		}
		_, err = tx.AddUsage(ctx, repository.ProjectID, added, enforce)
		return err
	})
}

// drop deletes a manifest as the registry does.
func (f fixture) drop(ctx context.Context, repository metadata.Repository, digest oci.Digest) error {
	return f.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		if _, err := tx.LockRepository(ctx, repository.Name); err != nil {
			return err
		}
		_, err := tx.DeleteManifest(ctx, repository.ID, digest)
		return err
	})
}

func (f fixture) setLimit(t *testing.T, projectID, limit int64) {
	t.Helper()
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error { return tx.SetLimit(ctx, projectID, limit) })
}

func (f fixture) used(t *testing.T, projectID int64) int64 {
	t.Helper()
	quota, err := f.Quota(t.Context(), projectID)
	require.NoError(t, err)
	return quota.Used
}

// requireRecounted compares the usage with a recount of a database in order, which changes nothing.
func (f fixture) requireRecounted(t *testing.T, projectID int64) {
	t.Helper()
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
		used, before, err := tx.Recount(ctx, projectID)
		require.Equal(t, used, before)
		return err
	})
}

func testQuota(t *testing.T, f fixture) {
	quota, err := f.Quota(t.Context(), f.project.ID)
	require.NoError(t, err)
	require.Equal(t, [2]int64{metadata.Unlimited, 0}, [2]int64{quota.Limit, quota.Used})
	require.Equal(t, [2]string{"library", "alice"}, [2]string{quota.Project, quota.Owner})

	second := f.addRepository(t, "library/second", false)
	config, layer, unlinked := f.putBlob(t, f.repository), f.putBlob(t, f.repository), f.putBlob(t, f.repository)
	first := newManifest(f.repository, config, layer)
	require.NoError(t, f.push(t.Context(), f.repository, first, true))
	require.Equal(t, config.Size+layer.Size+first.Size, f.used(t, f.project.ID), "blobs that no manifest links do not count")
	other := newManifest(f.repository, config, layer, layer)
	require.NoError(t, f.push(t.Context(), second, other, true))
	require.NoError(t, f.push(t.Context(), second, other, true))
	require.NoError(t, f.push(t.Context(), second, first, true))
	require.Equal(t, config.Size+layer.Size+first.Size+other.Size, f.used(t, f.project.ID), "once in a project")

	foreign := newManifest(f.repository, config)
	foreign.References = append(foreign.References, oci.ManifestReference{Kind: oci.ReferenceLayer, Descriptor: oci.Descriptor{
		MediaType: "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", Digest: unlinked.Digest, Size: 1 << 40,
	}})
	lying := newManifest(f.repository, unlinked)
	lying.References[0].Descriptor.Size = 1
	require.NoError(t, f.push(t.Context(), f.repository, foreign, true))
	before := f.used(t, f.project.ID)
	require.Equal(t, config.Size+layer.Size+first.Size+other.Size+foreign.Size, before, "foreign layers are elsewhere")
	require.NoError(t, f.push(t.Context(), f.repository, lying, true))
	require.Equal(t, before+unlinked.Size+lying.Size, f.used(t, f.project.ID), "what is stored, not what is claimed")
	require.NoError(t, f.drop(t.Context(), f.repository, lying.Digest))
	require.Equal(t, before, f.used(t, f.project.ID))
	f.requireRecounted(t, f.project.ID)

	retyped := first
	retyped.MediaType, retyped.References = "application/vnd.example", retyped.References[:1]
	require.NoError(t, f.push(t.Context(), f.repository, retyped, true))
	f.requireRecounted(t, f.project.ID)
	require.NoError(t, f.drop(t.Context(), f.repository, first.Digest))
	require.NoError(t, f.drop(t.Context(), f.repository, foreign.Digest))
	require.Equal(t, config.Size+layer.Size+first.Size+other.Size, f.used(t, f.project.ID), "the other repository has them")
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error { return tx.DeleteRepository(ctx, second.ID) })
	require.Zero(t, f.used(t, f.project.ID))
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error { return tx.DeleteRepository(ctx, f.repository.ID) })
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error { return tx.DeleteProject(ctx, f.project.ID) })
	_, err = f.Quota(t.Context(), f.project.ID)
	require.ErrorIs(t, err, metadata.ErrNotFound)
}

func testQuotaLimit(t *testing.T, f fixture) {
	blob := f.putBlob(t, f.repository)
	m := newManifest(f.repository, blob)
	size := blob.Size + m.Size
	requireExceeded := func(added, used, limit int64, err error) {
		t.Helper()
		var exceeded *metadata.QuotaError
		require.ErrorAs(t, err, &exceeded)
		require.Equal(t, metadata.QuotaError{ProjectID: f.project.ID, Added: added, Used: used, Limit: limit}, *exceeded)
	}
	f.setLimit(t, f.project.ID, size-1)
	requireExceeded(size, 0, size-1, f.push(t.Context(), f.repository, m, true))
	_, err := f.Manifest(t.Context(), "library/app", m.Digest)
	require.ErrorIs(t, err, metadata.ErrNotFound, "nothing of it is kept")
	f.setLimit(t, f.project.ID, size)
	require.NoError(t, f.push(t.Context(), f.repository, m, true), "to the last byte")

	next := newManifest(f.repository, blob)
	requireExceeded(next.Size, size, size, f.push(t.Context(), f.repository, next, true))
	f.setLimit(t, f.project.ID, 0)
	require.NoError(t, f.push(t.Context(), f.repository, m, true), "what is there may be pushed again")
	requireExceeded(next.Size, size, 0, f.push(t.Context(), f.repository, next, true))

	// Beyond the limit while limits do not hold, and back.
	for range 40 {
		require.NoError(t, f.push(t.Context(), f.repository, newManifest(f.repository, blob), false))
	}
	used := f.used(t, f.project.ID)
	for range 40 {
		requireExceeded(next.Size, used, 0, f.push(t.Context(), f.repository, next, true))
	}
	f.setLimit(t, f.project.ID, used+next.Size)
	require.NoError(t, f.drop(t.Context(), f.repository, m.Digest))
	require.NoError(t, f.push(t.Context(), f.repository, next, true))
	f.setLimit(t, f.project.ID, 100)
	for range 40 {
		more := newManifest(f.repository, blob)
		requireExceeded(more.Size, used-m.Size+next.Size, 100, f.push(t.Context(), f.repository, more, true))
	}
	f.setLimit(t, f.project.ID, metadata.Unlimited)
	require.NoError(t, f.push(t.Context(), f.repository, newManifest(f.repository, blob), true))
	f.requireRecounted(t, f.project.ID)

	err = f.refused(t, func(ctx context.Context, tx *metadata.Tx) error { return tx.SetLimit(ctx, 4711, 1) })
	require.ErrorIs(t, err, metadata.ErrNotFound)
	err = f.refused(t, func(ctx context.Context, tx *metadata.Tx) error {
		_, err := tx.AddUsage(ctx, 4711, 1, true)
		return err
	})
	require.ErrorIs(t, err, metadata.ErrNotFound)
}

func testQuotaWarning(t *testing.T, f fixture) {
	f.setLimit(t, f.project.ID, 1000)
	add := func(bytes int64) (warned bool) {
		f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
			if _, err := tx.AddUsage(ctx, f.project.ID, bytes, true); err != nil {
				return err
			}
			var err error
			_, warned, err = tx.WarnUsage(ctx, f.project.ID)
			return err
		})
		return warned
	}
	require.False(t, add(849))
	require.True(t, add(1))
	require.False(t, add(50), "once")
	require.False(t, add(-100))
	require.True(t, add(100), "again after there was room")
}

func testQuotaList(t *testing.T, f fixture) {
	for i, name := range []string{"c", "a", "b"} {
		repository := f.addRepository(t, oci.Repository(name+"/x"), false)
		f.setLimit(t, repository.ProjectID, int64(100*(i+1)))
		f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
			_, err := tx.AddUsage(ctx, repository.ProjectID, int64(90-i), true)
			return err
		})
	}
	list := func(q metadata.Query) (names []string) {
		quotas, total, err := f.ListQuotas(t.Context(), q)
		require.NoError(t, err)
		require.GreaterOrEqual(t, total, int64(len(quotas)))
		for _, quota := range quotas {
			names = append(names, quota.Project)
		}
		return names
	}
	require.Equal(t, []string{"library", "c", "a", "b"}, list(metadata.Query{Limit: -1}))
	require.Equal(t, []string{"c", "a"}, list(metadata.Query{Limit: 2, Order: []metadata.Order{{Field: "used.storage", Descending: true}}}))
	require.Equal(t, []string{"b", "a", "c", "library"}, list(metadata.Query{Limit: -1, Order: []metadata.Order{{Field: "hard.storage", Descending: true}}}))
	require.Equal(t, []string{"a"}, list(metadata.Query{Limit: -1, Conditions: []metadata.Condition{{Field: "hard", Comparison: metadata.Equal, Values: []any{int64(200)}}}}))
}

// testRecount breaks what was counted, and mends it.
func testRecount(t *testing.T, f fixture) {
	blob := f.putBlob(t, f.repository)
	m := newManifest(f.repository, blob)
	require.NoError(t, f.push(t.Context(), f.repository, m, true))
	want := f.used(t, f.project.ID)
	f.setLimit(t, f.project.ID, want+10)
	for _, damage := range []string{
		`UPDATE project_usage SET used = used + 5`,
		`DELETE FROM project_blobs`,
		`INSERT INTO project_blobs (project_id, digest, size) SELECT id, 'sha256:00', 77 FROM projects`,
	} {
		_, err := f.database.DB.ExecContext(t.Context(), damage)
		require.NoError(t, err)
		f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
			used, _, err := tx.Recount(ctx, f.project.ID)
			require.Equal(t, want, used)
			return err
		})
		f.requireRecounted(t, f.project.ID)
	}
	require.NoError(t, f.drop(t.Context(), f.repository, m.Digest))
	require.Zero(t, f.used(t, f.project.ID))
}

// testRaceQuota pushes and deletes images that share layers, in many repositories at once, into a project that has room for a part
// of them.
func testRaceQuota(t *testing.T, f fixture) {
	const pushers, each = 64, 12
	limit := int64(3000)
	f.setLimit(t, f.project.ID, limit)
	blobs := make([]metadata.Blob, 8)
	for i := range blobs {
		blobs[i] = f.putBlob(t, f.repository)
	}
	repositories := make([]metadata.Repository, pushers)
	for i := range repositories {
		repositories[i] = f.addRepository(t, oci.Repository(fmt.Sprintf("library/r%d", i)), false)
	}
	ctx := t.Context()
	var exceeded, pushed atomic.Int64
	stop := make(chan struct{})
	watched := make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				watched <- nil
				return
			case <-time.After(time.Millisecond):
			}
			if quota, err := f.Quota(ctx, f.project.ID); err != nil || quota.Used > limit {
				watched <- fmt.Errorf("used %d of %d: %w", quota.Used, limit, err)
				return
			}
		}
	}()
	var group errgroup.Group
	for i := range pushers {
		group.Go(func() error {
			var mine []oci.Digest
			for range each {
				m := newManifest(repositories[i], blobs[rand.IntN(8)], blobs[rand.IntN(8)], blobs[rand.IntN(8)])
				var full *metadata.QuotaError
				err := f.push(ctx, repositories[i], m, true)
				switch {
				case errors.As(err, &full):
					exceeded.Add(1)
				case err != nil:
					return err
				default:
					pushed.Add(1)
					mine = append(mine, m.Digest)
				}
				if len(mine) > 0 && rand.IntN(2) == 0 {
					if err := f.drop(ctx, repositories[i], mine[0]); err != nil {
						return err
					}
					mine = mine[1:]
				}
			}
			return nil
		})
	}
	require.NoError(t, group.Wait())
	close(stop)
	require.NoError(t, <-watched)
	require.Positive(t, exceeded.Load())
	require.Positive(t, pushed.Load())
	require.LessOrEqual(t, f.used(t, f.project.ID), limit)
	f.requireRecounted(t, f.project.ID)
	for _, repository := range repositories {
		f.write(t, func(ctx context.Context, tx *metadata.Tx) error { return tx.DeleteRepository(ctx, repository.ID) })
	}
	require.Zero(t, f.used(t, f.project.ID))
}

// testRaceCount lets the deletion of the last image with a layer meet a push of another one in another repository.
func testRaceCount(t *testing.T, f fixture) {
	other := f.addRepository(t, "library/other", false)
	for range 40 {
		blob := f.putBlob(t, f.repository)
		leaving, coming := newManifest(f.repository, blob), newManifest(other, blob)
		require.NoError(t, f.push(t.Context(), f.repository, leaving, true))
		var group errgroup.Group
		start := make(chan struct{})
		group.Go(func() error { <-start; return f.drop(t.Context(), f.repository, leaving.Digest) })
		group.Go(func() error { <-start; return f.push(t.Context(), other, coming, true) })
		close(start)
		require.NoError(t, group.Wait())
		f.requireRecounted(t, f.project.ID)
		require.NoError(t, f.drop(t.Context(), other, coming.Digest))
		require.Zero(t, f.used(t, f.project.ID))
	}
}
