package metadata

import (
	"database/sql"
	"io/fs"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestMigration_countsWhatIsThere puts rows into the schema before artifacts, and looks at what the migration makes of them.
func TestMigration_countsWhatIsThere(t *testing.T) {
	db, err := sql.Open("sqlite", ":memory:")
	require.NoError(t, err)
	defer db.Close()
	db.SetMaxOpenConns(1)
	files, err := fs.Glob(migrations, "migrations/sqlite/*.sql")
	require.NoError(t, err)
	run := func(text string) {
		t.Helper()
		_, err := db.ExecContext(t.Context(), text)
		require.NoError(t, err)
	}
	digest := func(letter string) string { return "sha256:" + strings.Repeat(letter, 64) }
	for _, file := range files {
		if strings.HasSuffix(file, "00014_artifacts.sql") {
			run(`INSERT INTO projects (id, name, public, created_at, updated_at) VALUES (1, 'library', TRUE, 0, 0);
				INSERT INTO repositories (id, project_id, name, created_at, updated_at) VALUES (1, 1, 'library/app', 0, 0), (2, 1, 'library/none', 0, 0)`)
			for i, m := range []struct{ letter, subject, tag, child string }{
				{"a", "", "v1", ""},
				{"b", "", "", ""},
				{"c", "", "multi", "b"},
				{"d", "a", "", ""},
				{"e", "", "sha256-" + strings.Repeat("a", 64) + ".sig", ""},
				{"f", "", "sha256-" + strings.Repeat("a", 64) + ".other", ""},
				{"0", "", "", ""},
			} {
				_, err := db.ExecContext(t.Context(), `INSERT INTO manifests (id, repository_id, digest, media_type, artifact_type, subject, size, created_at, payload)
					VALUES ($1, 1, $2, 'a/b', '', NULLIF($3, ''), 2, 0, '{}')`, i+1, digest(m.letter), map[bool]string{true: digest(m.subject), false: ""}[m.subject != ""])
				require.NoError(t, err)
				if m.tag != "" {
					_, err = db.ExecContext(t.Context(), `INSERT INTO tags (repository_id, name, manifest_id, created_at, updated_at) VALUES (1, $1, $2, 0, 0)`, m.tag, i+1)
					require.NoError(t, err)
				}
				if m.child != "" {
					_, err = db.ExecContext(t.Context(), `INSERT INTO manifest_references (manifest_id, position, repository_id, kind, digest, media_type, size)
						VALUES ($1, 0, 1, 'manifest', $2, 'a/b', 2)`, i+1, digest(m.child))
					require.NoError(t, err)
				}
			}
		}
		schema, err := fs.ReadFile(migrations, file)
		require.NoError(t, err)
		run(string(schema))
	}
	rows, err := db.QueryContext(t.Context(), `SELECT SUBSTR(m.digest, 8, 1) || ' ' || a.accessory || ' ' || COALESCE(SUBSTR(a.accessory_of, 8, 1), '-') || ' ' || a.tag_count || a.index_count || a.listed
		FROM artifacts a JOIN manifests m ON m.id = a.id ORDER BY a.id`)
	require.NoError(t, err)
	defer rows.Close()
	var found []string
	for rows.Next() {
		var line string
		require.NoError(t, rows.Scan(&line))
		found = append(found, line)
	}
	require.NoError(t, rows.Err())
	require.Equal(t, []string{
		"a  - 101", "b  - 010", "c  - 101", "d subject.accessory a 000", "e signature.cosign a 100", "f  - 101", "0  - 001",
	}, found)
	var artifacts, repositories int
	require.NoError(t, db.QueryRowContext(t.Context(), `SELECT artifact_count, repository_count FROM repositories r JOIN projects p ON p.id = r.project_id WHERE r.id = 1`).Scan(&artifacts, &repositories))
	require.Equal(t, 4, artifacts)
	require.Equal(t, 2, repositories)
}
