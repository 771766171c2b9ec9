package sqlite_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/metadata/metadatatest"
	"github.com/berth-registry/berth/metadata/sqlite"
)

// commits counts the commits in a write-ahead log: frames that say how large the database is after them.
func commits(t *testing.T, path string) (count int) {
	t.Helper()
	log, err := os.ReadFile(path + "-wal")
	require.NoError(t, err)
	page := int(binary.BigEndian.Uint32(log[8:]))
	for frame := log[32:]; len(frame) >= 24+page; frame = frame[24+page:] {
		if binary.BigEndian.Uint32(frame[4:]) != 0 {
			count++
		}
	}
	return count
}

// TestTx_sharesCommits lets transactions queue up behind one that takes its time.
func TestTx_sharesCommits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "berth.db")
	store, err := sqlite.Open(t.Context(), path, metadatatest.Logger(t))
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	require.NoError(t, store.Migrate(t.Context()))
	before := commits(t, path)

	const writers, each = 32, 5
	var group errgroup.Group
	for i := range writers {
		group.Go(func() error {
			for j := range each {
				err := store.Tx(t.Context(), func(ctx context.Context, tx *metadata.Tx) error {
					_, err := tx.PutSettingIfAbsent(ctx, fmt.Sprintf("%d.%d", i, j), "")
					return err
				})
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	require.NoError(t, group.Wait())
	made := commits(t, path) - before
	t.Logf("%d transactions in %d commits", writers*each, made)
	require.Less(t, made, writers*each/4)

	for i := range 3 {
		before = commits(t, path)
		require.NoError(t, store.Tx(t.Context(), func(ctx context.Context, tx *metadata.Tx) error {
			_, err := tx.PutSettingIfAbsent(ctx, fmt.Sprintf("alone %d", i), "")
			return err
		}))
		require.Equal(t, before+1, commits(t, path), "one that is alone is committed before it is answered")
	}
}
