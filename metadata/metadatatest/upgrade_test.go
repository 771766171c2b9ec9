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

// eachEngine runs a test on a database of each engine without a schema, with what runs SQL and migrations there.
func eachEngine(t *testing.T, test func(t *testing.T, driver, address string, db *sql.DB, run, migrate func(string))) {
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
			test(t, driver, address, db, run, func(name string) {
				t.Helper()
				text, err := os.ReadFile(filepath.Join("..", "migrations", engine, name))
				require.NoError(t, err)
				run(string(text))
			})
		})
	}
}

// migrateBefore does the migrations that come before one.
func migrateBefore(t *testing.T, migration string, migrate func(string)) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", "migrations", "sqlite", "*.sql"))
	require.NoError(t, err)
	for _, file := range files {
		if name := filepath.Base(file); name < migration {
			migrate(name)
		}
	}
}

// TestUpgrade_putsTagsIntoTheIndex fills a database with many repositories of a few tags, which were looked through, and migrates it.
func TestUpgrade_putsTagsIntoTheIndex(t *testing.T) {
	eachEngine(t, func(t *testing.T, driver, _ string, db *sql.DB, run, migrate func(string)) {
		const migration = "00067_tag_parts_together.sql"
		migrateBefore(t, migration, migrate)
		const numbers = `WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < 40) `
		run(`INSERT INTO projects (id, name, public, created_at, updated_at) VALUES (1, 'one', TRUE, 5, 6)`)
		run(`INSERT INTO repositories (id, project_id, name, created_at, updated_at) ` + numbers + `SELECT i, 1, 'one/' || i, 10, 10 FROM s`)
		run(`INSERT INTO manifests (id, repository_id, digest, media_type, artifact_type, size, created_at, payload) SELECT id, id, 'm', '', '', 7, 20, '' FROM repositories`)
		run(`INSERT INTO tags (repository_id, name, manifest_id, created_at, updated_at) ` + numbers + `SELECT r.id, 'tag-' || i, r.id, 20, 40 FROM s CROSS JOIN repositories r`)
		migrate(migration)
		found := `SELECT COUNT(*) FROM tag_parts WHERE name MATCH '"-17"'`
		if driver != "sqlite" {
			found = `SELECT COUNT(*) FROM unnumbered_tags WHERE name LIKE '%-17%'`
		}
		var tags int
		require.NoError(t, db.QueryRowContext(t.Context(), found).Scan(&tags))
		require.Equal(t, 40, tags)
	})
}

// TestUpgrade_findsLastChanges fills a database whose repositories do not tell when they last changed, and migrates it.
func TestUpgrade_findsLastChanges(t *testing.T) {
	eachEngine(t, func(t *testing.T, _, _ string, db *sql.DB, run, migrate func(string)) {
		const migration = "00065_repository_changes.sql"
		migrateBefore(t, migration, migrate)
		run(`INSERT INTO projects (id, name, public, created_at, updated_at) VALUES (1, 'one', TRUE, 5, 6)`)
		run(`INSERT INTO repositories (id, project_id, name, created_at, updated_at) VALUES
			(1, 1, 'one/artifact', 10, 10), (2, 1, 'one/again', 10, 10), (3, 1, 'one/tag', 10, 10), (4, 1, 'one/described', 10, 90), (5, 1, 'one/empty', 10, 10)`)
		run(`INSERT INTO manifests (id, repository_id, digest, media_type, artifact_type, size, created_at, payload)
			SELECT id, id, 'm', '', '', 7, 20, '' FROM repositories WHERE id < 5`)
		run(`INSERT INTO artifacts (id, repository_id, project_id, created_at, pushed_at, kind, config_media_type, content_size, accessory)
			SELECT id, id, 1, 20, CASE id WHEN 2 THEN 30 END, '', '', 0, '' FROM repositories WHERE id < 5`)
		run(`INSERT INTO tags (repository_id, name, manifest_id, created_at, updated_at) VALUES (3, 'v1', 3, 20, 40), (4, 'v1', 4, 20, 40)`)
		migrate(migration)
		for id, expected := range []int{1: 20, 2: 30, 3: 40, 4: 90, 5: 10} {
			var changed int
			require.NoError(t, db.QueryRowContext(t.Context(), `SELECT COALESCE(MAX(updated_at), 0) FROM repositories WHERE id = $1`, id).Scan(&changed))
			require.Equal(t, expected, changed, "repository %d", id)
		}
	})
}

// TestUpgrade_countsWhatIsThere fills a database as it was before quotas, and migrates it.
func TestUpgrade_countsWhatIsThere(t *testing.T) {
	eachEngine(t, func(t *testing.T, driver, address string, db *sql.DB, run, migrate func(string)) {
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
