package metadatatest_test

import (
	"database/sql"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/metadata/metadatatest"
	"github.com/berth-registry/berth/metadata/postgres"
	"github.com/berth-registry/berth/metadata/postgres/postgrestest"
	"github.com/berth-registry/berth/metadata/sqlite"
)

// TestSchema_sameOnBothEngines compares tables, columns, which of them may be null, and indexes, but for what SQLite's index of the parts
// of tags needs.
func TestSchema_sameOnBothEngines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "berth.db")
	embedded, err := sqlite.Open(t.Context(), path, metadatatest.Logger(t))
	require.NoError(t, err)
	require.NoError(t, embedded.Migrate(t.Context()))
	require.NoError(t, embedded.Close())
	url := postgrestest.Start(t)
	server, err := postgres.Open(postgres.Options{URL: url}, metadatatest.Logger(t))
	require.NoError(t, err)
	require.NoError(t, server.Migrate(t.Context()))
	require.NoError(t, server.Close())

	columns := names(t, "sqlite", path, `
		SELECT t.name || '.' || c.name || CASE WHEN c."notnull" OR c.pk > 0 THEN ' NOT NULL' ELSE '' END
		FROM pragma_table_list t JOIN pragma_table_xinfo(t.name) c
		WHERE t.schema = 'main' AND t.type = 'table' AND t.name NOT LIKE 'sqlite_%' AND t.name <> 'goose_db_version' AND t.name || '.' || c.name <> 'tags.number'`)
	require.Greater(t, len(columns), 80)
	require.ElementsMatch(t, columns, names(t, "pgx", url, `
		SELECT table_name || '.' || column_name || CASE WHEN is_nullable = 'NO' THEN ' NOT NULL' ELSE '' END
		FROM information_schema.columns JOIN pg_tables ON schemaname = table_schema AND tablename = table_name
		WHERE table_schema = 'public' AND table_name <> 'goose_db_version'`))

	indexes := names(t, "sqlite", path, `SELECT name FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL AND name NOT LIKE 'tags_%numbered'`)
	require.NotEmpty(t, indexes)
	require.Subset(t, names(t, "pgx", url, `SELECT indexname FROM pg_indexes WHERE schemaname = 'public'`), indexes)

	require.Empty(t, names(t, "pgx", url, `
		SELECT table_name || '.' || column_name FROM information_schema.columns
		WHERE table_schema = 'public' AND data_type = 'text' AND collation_name IS DISTINCT FROM 'C'`), "names compare byte-wise")
}

func names(t *testing.T, driver, source, query string) (found []string) {
	t.Helper()
	db, err := sql.Open(driver, source)
	require.NoError(t, err)
	defer db.Close()
	rows, err := db.QueryContext(t.Context(), query)
	require.NoError(t, err)
	defer rows.Close()
	for rows.Next() {
		var name string
		require.NoError(t, rows.Scan(&name))
		found = append(found, name)
	}
	require.NoError(t, rows.Err())
	return found
}
