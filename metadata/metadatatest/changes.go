package metadatatest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
)

// testRepositoryChanges does what changes a repository: it tells the time of the last, whether it is in its row yet or not.
func testRepositoryChanges(t *testing.T, f fixture) {
	other := f.addRepository(t, "library/other", false)
	blob := f.putBlob(t, f.repository)
	m, second := newManifest(f.repository, blob), newManifest(f.repository, blob)
	second.Subject, second.Facts.AccessoryOf = m.Digest, m.Digest
	changed := func() time.Time {
		t.Helper()
		found, err := f.Repository(t.Context(), f.repository.Name)
		require.NoError(t, err)
		return found.UpdatedAt
	}
	put := func(m metadata.Manifest, tags ...string) func(ctx context.Context, tx *metadata.Tx) error {
		return func(ctx context.Context, tx *metadata.Tx) error {
			if _, _, err := tx.PutManifest(ctx, m); err != nil {
				return err
			}
			for _, tag := range tags {
				if _, err := tx.PutTag(ctx, f.repository.ID, tag, m.Digest, time.Now()); err != nil {
					return err
				}
			}
			return nil
		}
	}
	last := changed()
	require.Equal(t, f.repository.CreatedAt, last)
	for _, step := range []struct {
		name string
		run  func(ctx context.Context, tx *metadata.Tx) error
	}{
		{"push", put(m, "v1")},
		{"push by digest", put(newManifest(f.repository, blob))},
		{"push of an accessory", put(second)},
		{"push again", put(m, "v1")},
		{"push again by digest", put(m)},
		{"new tag", func(ctx context.Context, tx *metadata.Tx) error {
			_, err := tx.PutTag(ctx, f.repository.ID, "v2", m.Digest, time.Now())
			return err
		}},
		{"moved tag", func(ctx context.Context, tx *metadata.Tx) error {
			_, err := tx.PutTag(ctx, f.repository.ID, "v2", second.Digest, time.Now())
			return err
		}},
		{"deleted tag", func(ctx context.Context, tx *metadata.Tx) error { return tx.DeleteTag(ctx, f.repository.ID, "v2") }},
		{"deleted accessory", func(ctx context.Context, tx *metadata.Tx) error {
			_, err := tx.DeleteManifest(ctx, f.repository.ID, second.Digest)
			return err
		}},
		{"deleted artifact", func(ctx context.Context, tx *metadata.Tx) error {
			_, err := tx.DeleteManifest(ctx, f.repository.ID, m.Digest)
			return err
		}},
		{"push after deletion", put(m, "v1")},
		{"description", func(ctx context.Context, tx *metadata.Tx) error { return tx.Describe(ctx, f.repository.ID, "text") }},
	} {
		began := time.Now().Truncate(time.Microsecond)
		f.write(t, step.run)
		now := changed()
		require.Greater(t, now, last, step.name)
		require.False(t, now.Before(began) || now.After(time.Now()), step.name)
		require.NoError(t, f.FoldCounts(t.Context()))
		require.Equal(t, now, changed(), step.name)
		last = now

		newest, _, err := f.ListRepositories(t.Context(), metadata.Visibility{All: true}, 0,
			metadata.Query{Limit: 1, Order: []metadata.Order{{Field: "update_time", Descending: true}}})
		require.NoError(t, err)
		require.Equal(t, f.repository.Name, newest[0].Name, step.name)
		require.Equal(t, now, newest[0].UpdatedAt)
		f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
			_, _, err := tx.PutManifest(ctx, newManifest(other))
			return err
		})
		require.NoError(t, f.FoldCounts(t.Context()))
	}

	f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
		return tx.AddPulls(ctx, []metadata.Pulls{{Repository: f.repository.Name, Digest: m.Digest, Tag: "v1", Count: 1, LastAt: time.Now()}})
	})
	require.Equal(t, last, changed(), "a pull changes nothing")
	_, err := f.database.DB.ExecContext(t.Context(), fmt.Sprintf(`INSERT INTO repository_changes (repository_id, changed_at) VALUES (%d, 1)`, f.repository.ID))
	require.NoError(t, err)
	require.Equal(t, last, changed(), "a gateway whose clock is slow")
	require.NoError(t, f.FoldCounts(t.Context()))
	require.Equal(t, last, changed())
	err = f.Tx(t.Context(), func(ctx context.Context, tx *metadata.Tx) error {
		if _, _, err := tx.PutManifest(ctx, newManifest(f.repository)); err != nil {
			return err
		}
		return tx.DeleteTag(ctx, f.repository.ID, "absent")
	})
	require.ErrorIs(t, err, metadata.ErrNotFound)
	require.Equal(t, last, changed(), "what is rolled back has not been")

	f.write(t, put(newManifest(f.repository)))
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error { return tx.DeleteRepository(ctx, f.repository.ID) })
	require.NoError(t, f.FoldCounts(t.Context()))
	var left int
	require.NoError(t, f.database.DB.QueryRowContext(t.Context(), fmt.Sprintf(
		`SELECT COUNT(*) FROM list_counts WHERE owner = %d AND list IN ('artifacts', 'artifacts of repository')`, f.repository.ID)).Scan(&left))
	require.Zero(t, left)
	f.recountLists(t)
}

// testRaceRepositoryChanges pushes to one repository and deletes from it while changes are folded: the time never goes back, and nobody
// finds one from before their own change.
func testRaceRepositoryChanges(t *testing.T, f fixture) {
	const pushers, each = 32, 6
	blob := f.putBlob(t, f.repository)
	ctx, done := context.WithCancel(t.Context())
	var others, group errgroup.Group
	others.Go(func() error { return f.foldCounts(ctx) })
	others.Go(func() error {
		for last := (time.Time{}); ctx.Err() == nil; {
			found, err := f.Repository(t.Context(), f.repository.Name)
			if err != nil {
				return err
			}
			if found.UpdatedAt.Before(last) {
				return fmt.Errorf("%s after %s", found.UpdatedAt, last)
			}
			last = found.UpdatedAt
		}
		return nil
	})
	for range pushers {
		group.Go(func() error {
			var mine oci.Digest
			for i := range each {
				began := time.Now().Truncate(time.Microsecond)
				if i%3 == 2 {
					if err := f.drop(t.Context(), f.repository, mine); err != nil {
						return err
					}
				} else {
					m := newManifest(f.repository, blob)
					if err := f.push(t.Context(), f.repository, m, true); err != nil {
						return err
					}
					mine = m.Digest
				}
				found, err := f.Repository(t.Context(), f.repository.Name)
				if err != nil {
					return err
				}
				if found.UpdatedAt.Before(began) {
					return fmt.Errorf("%s, though it was changed after %s", found.UpdatedAt, began)
				}
			}
			return nil
		})
	}
	require.NoError(t, group.Wait())
	done()
	require.NoError(t, others.Wait())
	before, err := f.Repository(t.Context(), f.repository.Name)
	require.NoError(t, err)
	f.recountLists(t)
	after, err := f.Repository(t.Context(), f.repository.Name)
	require.NoError(t, err)
	require.Equal(t, before, after)
}
