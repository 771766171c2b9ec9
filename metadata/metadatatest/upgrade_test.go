package metadatatest_test

import (
	"database/sql"
	"os"
	"path/filepath"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite"

	"github.com/berth-registry/berth/metadata/postgres/postgrestest"
)

// TestUpgrade_countsWhatIsThere fills a database as it was before quotas, and migrates it.
func TestUpgrade_countsWhatIsThere(t *testing.T) {
	sources := map[string]func() (driver, source string){
		"sqlite":   func() (string, string) { return "sqlite", filepath.Join(t.TempDir(), "berth.db") },
		"postgres": func() (string, string) { return "pgx", postgrestest.Start(t) },
	}
	for engine, source := range sources {
		t.Run(engine, func(t *testing.T) {
			driver, address := source()
			db, err := sql.Open(driver, address)
			require.NoError(t, err)
			defer db.Close()
			run := func(text string) {
				t.Helper()
				_, err := db.ExecContext(t.Context(), text)
				require.NoError(t, err)
			}
			migrate := func(name string) {
				t.Helper()
				text, err := os.ReadFile(filepath.Join("..", "migrations", engine, name))
				require.NoError(t, err)
				run(string(text))
			}
			migrate("00001_init.sql")
			migrate("00002_people.sql")
			// Project 1 has the blob a in two repositories, b in a config, and f as a foreign layer; c is linked by nothing. Project 2 has
			// a as well, and 3 nothing.
			for _, text := range []string{
				`INSERT INTO projects (id, name, public, created_at, updated_at) VALUES (1, 'one', TRUE, 5, 6), (2, 'two', TRUE, 5, 6), (3, 'three', TRUE, 5, 6)`,
				`INSERT INTO repositories (id, project_id, name, created_at, updated_at) VALUES (1, 1, 'one/x', 0, 0), (2, 1, 'one/y', 0, 0), (3, 2, 'two/z', 0, 0)`,
				`INSERT INTO blobs (digest, size, storage_key, created_at) VALUES ('a', 1000, 'ka', 0), ('b', 200, 'kb', 0), ('c', 50, 'kc', 0), ('f', 9, 'kf', 0)`,
				`INSERT INTO manifests (id, repository_id, digest, media_type, artifact_type, size, created_at, payload) VALUES
					(1, 1, 'm', '', '', 7, 0, ''), (2, 2, 'm', '', '', 7, 0, ''), (3, 3, 'm', '', '', 7, 0, ''), (4, 1, 'i', '', '', 3, 0, '')`,
				`INSERT INTO manifest_references (manifest_id, position, repository_id, kind, digest, media_type, size) VALUES
					(1, 0, 1, 'config', 'b', '', 1), (1, 1, 1, 'layer', 'a', '', 1), (1, 2, 1, 'layer', 'f', 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip', 9),
					(2, 0, 2, 'layer', 'a', '', 1), (3, 0, 3, 'layer', 'a', '', 1), (4, 0, 1, 'manifest', 'm', '', 7)`,
			} {
				run(text)
			}
			migrate("00015_quotas.sql")
			for project, used := range map[int]int{1: 1000 + 200 + 7 + 3, 2: 1000 + 7, 3: 0} {
				var sum, limit, shards int
				require.NoError(t, db.QueryRowContext(t.Context(), `
					SELECT SUM(u.used), MAX(q.hard_limit), COUNT(*) FROM project_usage u JOIN project_quotas q ON q.project_id = u.project_id
					WHERE u.project_id = $1`, project).Scan(&sum, &limit, &shards))
				require.Equal(t, []int{used, -1, 16}, []int{sum, limit, shards}, "project %d", project)
			}
			require.Equal(t, []string{"0 f", "1 a", "1 b", "1 a", "2 a", "0 m"}, names(t, driver, address, `
				SELECT CAST(COALESCE(counted_in, 0) AS TEXT) || ' ' || digest FROM manifest_references
				ORDER BY CASE digest WHEN 'f' THEN 0 WHEN 'm' THEN 9 ELSE 1 END, manifest_id, digest`))
		})
	}
}
