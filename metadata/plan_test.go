package metadata

import (
	"database/sql"
	"fmt"
	"io/fs"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite"
)

// planDialect is that of SQLite.
var planDialect = Dialect{Words: map[string]string{
	"for update": "", "for key share": "", "skip locked": "", "folded": "0 * ", "folded counts": "", "fitted ranges": "0", "locked": "TRUE", "kept for": "LENGTH(", "tags": ") > 0", "elements": "json_each", "texts": "json_each", "any of": "IN (SELECT value FROM json_each(", "these": "))",
	"any id of": "IN (SELECT CAST(value AS BIGINT) FROM json_each(", "these ids": "))",
	"contains": "MATCH ", "contains low": "MATCH ", "contained": "", "json": "", "settled": "TRUE",
}}

// planDatabase returns an empty database of SQLite in memory with the newest schema.
func planDatabase(t *testing.T) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", ":memory:")
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	db.SetMaxOpenConns(1)
	files, err := fs.Glob(migrations, "migrations/sqlite/*.sql")
	require.NoError(t, err)
	for _, file := range files {
		schema, err := fs.ReadFile(migrations, file)
		require.NoError(t, err)
		_, err = db.ExecContext(t.Context(), string(schema))
		require.NoError(t, err, file)
	}
	return db
}

// TestStatements_useIndexes asks SQLite how it would run each statement: none may walk a table from one end to the other, and
// only short lists may be sorted.
func TestStatements_useIndexes(t *testing.T) {
	db := planDatabase(t)
	// Sorted are the members of one project, the shards of its usage, the few keys, the projects that one user is a member of, what the indexes of a page list
	// or a search has found, the permissions of a page of robots, the first tasks of the few lanes, and what a push links or an operator has counted again.
	sorted := map[string]bool{
		"members": true, "signing keys": true, "visible projects": true, "projects of catalog": true, "count blobs": true, "uncounted of project": true,
		"repositories in view": true, "deletions of project": true, "listed manifests": true, "add usage": true, "projects of member": true, "delete events that all have read": true,
		"link blobs of repository": true,
		"permissions of robots":    true, "due heads of lanes": true, "review blobs of deletions": true, "projects in view": true, "counts of projects given": true,
	}
	// Counted and listed whole: uploads in progress and keys, and the
	// events that the few followers have read, from the first on, up to a number.
	walked := map[string]bool{
		"uploads in progress": true, "signing keys": true, "delete events that all have read": true, "named bytes": true, "kept for deletions": true, "count tombstones": true,
		// Few: what waits and what runs, by partial indexes, and the queues and pools that there are.
		"waiting tasks": true, "running tasks": true, "paused queues": true, "pools": true, "delete old pools": true, "fresh counts of lists": true,
	}
	// Rows that the statement has found by indexes before.
	derived := map[string]bool{"k": true, "lanes": true, "open": true, "joined": true, "named": true, "m": true, "seen": true, "waiting": true}
	texts := planDialect.texts()
	walk := regexp.MustCompile(`^SCAN (\w+)$|^SCAN (\w+) USING`)
	for _, s := range statements {
		for _, step := range plan(t, db, texts[s.index]) {
			if strings.Contains(step, "USE TEMP B-TREE FOR ORDER BY") && !sorted[s.name] {
				t.Errorf("%s: %s", s.name, step)
			}
			found := walk.FindStringSubmatch(step)
			if found != nil && !walked[s.name] && !strings.Contains(step, "VIRTUAL TABLE") && !derived[found[1]] {
				t.Errorf("%s: %s", s.name, step)
			}
		}
	}
}

// TestStatements_doNotBelieveStatistics gives SQLite what an ANALYZE has found in a queue that was short then: answering a batch of
// reviews must cost the batch, not all that is due.
func TestStatements_doNotBelieveStatistics(t *testing.T) {
	db := planDatabase(t)
	for _, text := range []string{
		"ANALYZE", "DELETE FROM sqlite_stat1",
		"INSERT INTO sqlite_stat1 VALUES ('blob_reviews', 'blob_reviews', '100 100 1'), ('blob_reviews', 'blob_reviews_since', '100 100 100 1')",
		"ANALYZE sqlite_schema",
	} {
		_, err := db.ExecContext(t.Context(), text)
		require.NoError(t, err, text)
	}
	require.Contains(t, plan(t, db, planDialect.texts()[takeReviews.index])[0], "(repository_id=? AND digest=?)")
}

func plan(t *testing.T, db *sql.DB, text string) (steps []string) {
	t.Helper()
	var args []any
	for n := 1; strings.Contains(text, fmt.Sprintf("$%d", n)); n++ {
		args = append(args, "[]")
	}
	rows, err := db.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+text, args...)
	require.NoError(t, err, text)
	defer rows.Close()
	for rows.Next() {
		var id, parent, unused int
		var step string
		require.NoError(t, rows.Scan(&id, &parent, &unused, &step))
		steps = append(steps, step)
	}
	require.NoError(t, rows.Err())
	return steps
}
