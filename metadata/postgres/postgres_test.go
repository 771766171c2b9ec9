package postgres_test

import (
	"database/sql"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/metadata/metadatatest"
	"github.com/berth-registry/berth/metadata/postgres"
	"github.com/berth-registry/berth/metadata/postgres/postgrestest"
)

func newDatabase(t testing.TB) metadatatest.Database { return databaseAt(t, postgrestest.Migrated(t)) }

func databaseAt(t testing.TB, url string) metadatatest.Database {
	db, err := sql.Open("pgx", url)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return metadatatest.Database{
		DB: db,
		Open: func(logger *slog.Logger) (*metadata.Store, error) {
			return postgres.Open(postgres.Options{URL: url}, logger)
		},
	}
}

func TestSuite(t *testing.T) {
	metadatatest.Run(t, newDatabase)
	metadatatest.RunMigrations(t, func(t testing.TB) metadatatest.Database { return databaseAt(t, postgrestest.Start(t)) })
}

func BenchmarkStore(b *testing.B) { metadatatest.Benchmark(b, newDatabase) }
