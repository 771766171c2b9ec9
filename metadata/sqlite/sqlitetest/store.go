// Package sqlitetest gives tests a metadata store to stand on.
package sqlitetest

import (
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/metadata/sqlite"
)

// Open returns a store over an empty, migrated SQLite database of its own. It is closed when the test ends; a test that wants to
// see what happens without a database may close it before.
func Open(t testing.TB) *metadata.Store {
	t.Helper()
	store, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "berth.db"), slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(func() { _ = store.Close() })
	require.NoError(t, store.Migrate(t.Context()))
	return store
}
