// Package sqlitetest gives tests a metadata store to stand on.
package sqlitetest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/metadata/sqlite"
)

// Open returns a store over an empty, migrated SQLite database of its own. It is closed when the test ends; a test that wants to
// see what happens without a database may close it before.
func Open(t testing.TB) *metadata.Store {
	t.Helper()
	migrated, err := template()
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "berth.db")
	require.NoError(t, os.WriteFile(path, migrated, 0o600))
	store, err := sqlite.Open(t.Context(), path, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(func() { _ = store.Close() })
	return store
}

// template returns the file of an empty, migrated database: migrating takes far longer than copying one.
var template = sync.OnceValues(func() (content []byte, err error) {
	directory, err := os.MkdirTemp("", "berth-sqlite-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(directory)) }()
	path := filepath.Join(directory, "berth.db")
	store, err := sqlite.Open(context.Background(), path, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	if err := errors.Join(store.Migrate(context.Background()), store.Close()); err != nil {
		return nil, fmt.Errorf("make a migrated database: %w", err)
	}
	return os.ReadFile(path)
})
