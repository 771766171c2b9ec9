package metadatatest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
)

const racers = 16

// race runs fn at once in many goroutines, none of which may fail.
func race(t *testing.T, fn func(i int) error) {
	t.Helper()
	var group errgroup.Group
	start := make(chan struct{})
	for i := range racers {
		group.Go(func() error {
			<-start
			return fn(i)
		})
	}
	close(start)
	require.NoError(t, group.Wait())
}

func testRaceBlob(t *testing.T, f fixture) {
	d := newDigest()
	var effective sync.Map
	race(t, func(i int) error {
		key := fmt.Sprintf("key%d", i)
		return f.Tx(t.Context(), func(ctx context.Context, tx *metadata.Tx) error {
			blob, err := tx.PutBlob(ctx, metadata.Blob{Digest: d, Size: 1, StorageKey: key})
			if err != nil {
				return err
			}
			effective.Store(blob.StorageKey, true)
			return tx.LinkBlob(ctx, f.repository.ID, d)
		})
	})
	winner, err := f.Blob(t.Context(), "library/app", d)
	require.NoError(t, err)
	effective.Range(func(key, _ any) bool {
		require.Equal(t, winner.StorageKey, key, "all are told the same key")
		return true
	})
	given := f.givenUp(t)
	require.Len(t, given, racers-1)
	require.NotContains(t, given, winner.StorageKey)
}

func testRaceUpload(t *testing.T, f fixture) {
	var upload metadata.Upload
	f.write(t, func(ctx context.Context, tx *metadata.Tx) (err error) {
		upload, err = tx.CreateUpload(ctx, metadata.Upload{ID: "u", RepositoryID: f.repository.ID, ExpiresAt: time.Now()})
		return err
	})
	var won atomic.Int64
	race(t, func(i int) error {
		err := f.Tx(t.Context(), func(ctx context.Context, tx *metadata.Tx) error {
			mine := upload
			mine.Offset = int64(i)
			_, err := tx.UpdateUpload(ctx, mine)
			return err
		})
		if err == nil {
			won.Add(1)
		} else if !errors.Is(err, metadata.ErrConflict) {
			return err
		}
		return nil
	})
	require.Equal(t, int64(1), won.Load())
}

func testRaceRepository(t *testing.T, f fixture) {
	var ids sync.Map
	race(t, func(int) error {
		return f.Tx(t.Context(), func(ctx context.Context, tx *metadata.Tx) error {
			repository, err := tx.EnsureRepository(ctx, f.project.ID, "library/fresh")
			ids.Store(repository.ID, true)
			return err
		})
	})
	count := 0
	ids.Range(func(any, any) bool { count++; return true })
	require.Equal(t, 1, count)
}

func testRaceSetting(t *testing.T, f fixture) {
	var values sync.Map
	race(t, func(i int) error {
		var holds string
		err := f.Tx(t.Context(), func(ctx context.Context, tx *metadata.Tx) (err error) {
			holds, err = tx.PutSettingIfAbsent(ctx, "secret", fmt.Sprint(i))
			return err
		})
		values.Store(holds, true)
		return err
	})
	count := 0
	values.Range(func(any, any) bool { count++; return true })
	require.Equal(t, 1, count)
}

// testRaceUnlink lets a push of a manifest and a deletion of its blob meet: one of the two must be refused.
func testRaceUnlink(t *testing.T, f fixture) {
	missing := errors.New("reference does not exist")
	for range 20 {
		blob := f.putBlob(t, f.repository)
		m := newManifest(f.repository, blob)
		var pushed, unlinked error
		var both sync.WaitGroup
		both.Go(func() {
			pushed = f.Tx(t.Context(), func(ctx context.Context, tx *metadata.Tx) error {
				if _, err := tx.LockRepository(ctx, "library/app"); err != nil {
					return err
				}
				present, err := tx.Blobs(ctx, "library/app", []oci.Digest{blob.Digest})
				if err != nil {
					return err
				}
				if !present[blob.Digest] {
					return missing
				}
				_, _, err = tx.PutManifest(ctx, m)
				return err
			})
		})
		both.Go(func() {
			unlinked = f.Tx(t.Context(), func(ctx context.Context, tx *metadata.Tx) error {
				if _, err := tx.LockRepository(ctx, "library/app"); err != nil {
					return err
				}
				return tx.UnlinkBlob(ctx, f.repository.ID, blob.Digest)
			})
		})
		both.Wait()
		if pushed == nil {
			require.ErrorIs(t, unlinked, metadata.ErrReferenced)
		} else {
			require.ErrorIs(t, pushed, missing)
			require.NoError(t, unlinked)
		}
	}
}

// testRaceEvents follows the events while they are written: it must see each once, and all.
func testRaceEvents(t *testing.T, f fixture) {
	const each = 10
	ctx := t.Context()
	written := make(chan error, 1)
	go func() {
		var group errgroup.Group
		for i := range racers {
			group.Go(func() error {
				for j := range each {
					err := f.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
						if err := tx.AppendEvent(ctx, event.Event{Kind: event.TagCreated, Tag: fmt.Sprintf("%d.%d", i, j)}); err != nil {
							return err
						}
						// What follows lets a transaction that began later commit earlier.
						_, err := tx.UserByName(ctx, "alice")
						return err
					})
					if err != nil {
						return err
					}
				}
				return nil
			})
		}
		written <- group.Wait()
	}()
	seen := map[string]int{}
	var cursor metadata.EventCursor
	require.Eventually(t, func() bool {
		events, err := f.Events(ctx, cursor, 7)
		require.NoError(t, err)
		for _, e := range events {
			seen[e.Tag]++
			cursor = e.Cursor()
		}
		return len(seen) == racers*each
	}, time.Minute, time.Millisecond)
	require.NoError(t, <-written)
	for tag, times := range seen {
		require.Equal(t, 1, times, tag)
	}
}

// testRaceUsers edits different fields of one user at once: none of the edits may be undone by another.
func testRaceUsers(t *testing.T, f fixture) {
	edits := []func(u *metadata.User){
		func(u *metadata.User) { u.Disabled = true },
		func(u *metadata.User) { u.SystemAdmin = true },
		func(u *metadata.User) { u.Email = "a@example.org" },
		func(u *metadata.User) { u.RealName = "Alice" },
	}
	var group errgroup.Group
	for _, edit := range edits {
		group.Go(func() error {
			return f.Tx(t.Context(), func(ctx context.Context, tx *metadata.Tx) error {
				user, err := tx.LockUser(ctx, "alice")
				if err != nil {
					return err
				}
				edit(&user)
				_, err = tx.UpdateUser(ctx, user)
				return err
			})
		})
	}
	require.NoError(t, group.Wait())
	user, err := f.UserByName(t.Context(), "alice")
	require.NoError(t, err)
	require.True(t, user.Disabled)
	require.True(t, user.SystemAdmin)
	require.Equal(t, "a@example.org", user.Email)
	require.Equal(t, "Alice", user.RealName)
}

// testRaceListCounts pushes to one repository and deletes from it while counts are added up: they are right whenever somebody looks.
func testRaceListCounts(t *testing.T, f fixture) {
	const pushers, each = 8, 15
	blob := f.putBlob(t, f.repository)
	ctx, done := context.WithCancel(t.Context())
	var others, group errgroup.Group
	others.Go(func() error { return f.foldCounts(ctx) })
	others.Go(func() error {
		for ctx.Err() == nil {
			var there, listed, shown int64
			if err := f.database.DB.QueryRowContext(t.Context(), fmt.Sprintf(`
				SELECT (SELECT COUNT(*) FROM artifacts WHERE listed AND repository_id = r.id),
					(SELECT CAST(COALESCE(SUM(entries), 0) AS BIGINT) FROM list_counts WHERE list = 'artifacts' AND owner = r.id),
					r.artifact_count + (SELECT CAST(COALESCE(SUM(entries), 0) AS BIGINT) FROM list_counts WHERE list = 'artifacts of repository' AND owner = r.id)
				FROM repositories r WHERE id = %d`, f.repository.ID)).Scan(&there, &listed, &shown); err != nil {
				return err
			}
			if there != listed || there != shown {
				return fmt.Errorf("%d artifacts, of which %d are listed and %d shown", there, listed, shown)
			}
		}
		return nil
	})
	for range pushers {
		group.Go(func() error {
			var mine []oci.Digest
			for range each {
				m := newManifest(f.repository, blob)
				if err := f.push(t.Context(), f.repository, m, true); err != nil {
					return err
				}
				if mine = append(mine, m.Digest); rand.IntN(3) == 0 {
					if err := f.drop(t.Context(), f.repository, mine[0]); err != nil {
						return err
					}
					mine = mine[1:]
				}
			}
			return nil
		})
	}
	require.NoError(t, group.Wait())
	done()
	require.NoError(t, others.Wait())
	f.recountLists(t)
}
