package metadatatest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/berth-registry/berth/metadata"
)

// setting returns whether a setting is there.
func (f fixture) setting(t testing.TB, name string) bool {
	t.Helper()
	_, err := f.Setting(context.WithoutCancel(t.Context()), name)
	if err != nil {
		require.ErrorIs(t, err, metadata.ErrNotFound)
	}
	return err == nil
}

func put(ctx context.Context, tx *metadata.Tx, name string) error {
	_, err := tx.PutSettingIfAbsent(ctx, name, "")
	return err
}

func testRollback(t *testing.T, f fixture) {
	refusal := errors.New("no")
	var after *metadata.Tx
	err := f.Tx(t.Context(), func(ctx context.Context, tx *metadata.Tx) error {
		after = tx
		require.NoError(t, put(ctx, tx, "k"))
		_, err := tx.Setting(ctx, "k")
		require.NoError(t, err, "a transaction reads its own writes")
		_, err = f.Setting(ctx, "k")
		require.ErrorIs(t, err, metadata.ErrNotFound, "others do not")
		return refusal
	})
	require.Equal(t, refusal, err)
	require.False(t, f.setting(t, "k"))
	require.ErrorIs(t, put(t.Context(), after, "k"), sql.ErrTxDone)
}

func testFault(t *testing.T, f fixture) {
	err := f.Tx(t.Context(), func(ctx context.Context, tx *metadata.Tx) error {
		require.NoError(t, put(ctx, tx, "k"))
		_, err := tx.CreateUser(ctx, metadata.User{Name: "alice"})
		require.ErrorIs(t, err, metadata.ErrExists)
		require.ErrorIs(t, put(ctx, tx, "l"), metadata.ErrExists)
		return nil
	})
	require.ErrorIs(t, err, metadata.ErrExists)
	require.False(t, f.setting(t, "k"))
}

func testPanic(t *testing.T, f fixture) {
	require.PanicsWithValue(t, "boom", func() {
		_ = f.Tx(t.Context(), func(ctx context.Context, tx *metadata.Tx) error {
			require.NoError(t, put(ctx, tx, "k"))
			panic("boom")
		})
	})
	require.False(t, f.setting(t, "k"))
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error { return put(ctx, tx, "k") })
}

func testCancelled(t *testing.T, f fixture) {
	ctx, cancel := context.WithCancel(t.Context())
	err := f.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		require.NoError(t, put(ctx, tx, "k"))
		cancel()
		return put(ctx, tx, "l")
	})
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, metadata.ErrUnavailable)
	require.False(t, f.setting(t, "k"))
	require.ErrorIs(t, f.Tx(ctx, func(context.Context, *metadata.Tx) error { return nil }), context.Canceled)
	_, err = f.UserByName(ctx, "alice")
	require.ErrorIs(t, err, context.Canceled)
}

func testNested(t *testing.T, f fixture) {
	require.ErrorContains(t, f.Tx(t.Context(), func(ctx context.Context, _ *metadata.Tx) error {
		return f.Tx(ctx, func(context.Context, *metadata.Tx) error { return nil })
	}), "transaction within a transaction")
}

func testObserver(t *testing.T, f fixture) {
	var mu sync.Mutex
	seen := map[string][]error{}
	f.Observe(func(ctx context.Context, name string) (context.Context, func(error)) {
		return ctx, func(err error) {
			mu.Lock()
			defer mu.Unlock()
			seen[name] = append(seen[name], err)
		}
	})
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error { return put(ctx, tx, "k") })
	_, err := f.UserByName(t.Context(), "nobody")
	require.ErrorIs(t, err, metadata.ErrNotFound)
	require.Equal(t, map[string][]error{"transaction": {nil}, "put setting if absent": {nil}, "setting": {nil}, "user by name": {nil}}, seen)
}

// testFailuresAmongOthers runs transactions of all fates at once, which on SQLite share commits.
func testFailuresAmongOthers(t *testing.T, f fixture) {
	const rounds = 200
	refusal := errors.New("no")
	var group errgroup.Group
	group.SetLimit(32)
	for i := range rounds {
		group.Go(func() error {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			defer func() { _ = recover() }()
			err := f.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
				if err := put(ctx, tx, fmt.Sprintf("k%d", i)); err != nil {
					return err
				}
				switch i % 5 {
				case 1:
					return refusal
				case 2:
					panic("boom")
				case 3:
					cancel()
					return put(ctx, tx, "never")
				case 4:
					_, err := tx.CreateUser(ctx, metadata.User{Name: "alice"})
					return err
				}
				return nil
			})
			expected := []error{nil, refusal, nil, context.Canceled, metadata.ErrExists}[i%5]
			if !errors.Is(err, expected) {
				return fmt.Errorf("transaction %d: %w", i, err)
			}
			return nil
		})
	}
	require.NoError(t, group.Wait())
	for i := range rounds {
		require.Equal(t, i%5 == 0, f.setting(t, fmt.Sprintf("k%d", i)), "transaction %d", i)
	}
}

func testMigrateTwice(t *testing.T, database Database) {
	store, err := database.Open(Logger(t))
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	var group errgroup.Group
	for range 4 {
		group.Go(func() error { return store.Migrate(t.Context()) })
	}
	require.NoError(t, group.Wait())
	found, known, err := store.SchemaVersion(t.Context())
	require.NoError(t, err)
	require.Equal(t, known, found)
	require.NoError(t, store.Ping(t.Context()))
}

func testMigrateNewer(t *testing.T, database Database) {
	store := OpenMigrated(t, database)
	_, known, err := store.SchemaVersion(t.Context())
	require.NoError(t, err)
	_, err = database.DB.ExecContext(t.Context(), fmt.Sprintf("INSERT INTO goose_db_version (version_id, is_applied) VALUES (%d, TRUE)", known+1))
	require.NoError(t, err)
	err = store.Migrate(t.Context())
	var newer *metadata.NewerSchemaError
	require.ErrorAs(t, err, &newer)
	require.Equal(t, metadata.NewerSchemaError{Found: known + 1, Known: known}, *newer)
	require.ErrorContains(t, err, "start the newer Berth again")
}
