package sqlite_test

import (
	"database/sql"
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/metadata/metadatatest"
	"github.com/berth-registry/berth/metadata/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newDatabase(t testing.TB) metadatatest.Database {
	path := filepath.Join(t.TempDir(), "a b?%", "berth.db")
	db, err := sql.Open("sqlite", sqliteURL(path))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return metadatatest.Database{
		DB:   db,
		Open: func(logger *slog.Logger) (*metadata.Store, error) { return sqlite.Open(t.Context(), path, logger) },
	}
}

func TestSuite(t *testing.T) {
	metadatatest.Run(t, newDatabase)
	metadatatest.RunMigrations(t, newDatabase)
}

func BenchmarkStore(b *testing.B) { metadatatest.Benchmark(b, newDatabase) }
