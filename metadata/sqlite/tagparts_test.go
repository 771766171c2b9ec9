package sqlite_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/metadata/metadatatest"
	"github.com/berth-registry/berth/oci"
)

// partsOfTags requires that the index of the parts of tags has those with numbers and no others, and returns how many have none.
func partsOfTags(t *testing.T, db *sql.DB) (unnumbered int) {
	t.Helper()
	_, err := db.ExecContext(t.Context(), `INSERT INTO tag_parts (tag_parts, rank) VALUES ('integrity-check', 1)`)
	require.NoError(t, err, "index and tags differ")
	var numbered, found int
	require.NoError(t, db.QueryRowContext(t.Context(), `SELECT COUNT(*) FROM tags WHERE number IS NOT NULL AND name LIKE '%tag%'`).Scan(&numbered))
	require.NoError(t, db.QueryRowContext(t.Context(), `SELECT COUNT(*) FROM tag_parts WHERE name MATCH 'tag'`).Scan(&found))
	require.Equal(t, numbered, found)
	require.NoError(t, db.QueryRowContext(t.Context(), `SELECT COUNT(*) FROM tags WHERE number IS NULL`).Scan(&unnumbered))
	return unnumbered
}

// TestTagParts_bound lets a repository get many tags: but for so many they are in the index, which loses them again.
func TestTagParts_bound(t *testing.T) {
	database := newDatabase(t)
	store := metadatatest.OpenMigrated(t, database)
	manifest := metadata.Manifest{Digest: digest.FromString("{}"), MediaType: oci.MediaTypeImageManifest, Payload: []byte("{}"), Size: 2}
	write := func(fn func(ctx context.Context, tx *metadata.Tx) error) {
		t.Helper()
		require.NoError(t, store.Tx(t.Context(), fn))
	}
	write(func(ctx context.Context, tx *metadata.Tx) error {
		project, err := tx.CreateProject(ctx, metadata.Project{Name: "library"})
		if err != nil {
			return err
		}
		repository, err := tx.EnsureRepository(ctx, project.ID, "library/app")
		if err != nil {
			return err
		}
		manifest.RepositoryID = repository.ID
		_, _, err = tx.PutManifest(ctx, manifest)
		return err
	})
	const few, many = 1_000, 2_000
	put := func(from, to int) {
		t.Helper()
		write(func(ctx context.Context, tx *metadata.Tx) error {
			for i := from; i < to; i++ {
				if _, err := tx.PutTag(ctx, manifest.RepositoryID, fmt.Sprintf("tag%d", i), manifest.Digest, time.Now()); err != nil {
					return err
				}
			}
			return nil
		})
	}
	put(0, few)
	require.Equal(t, few, partsOfTags(t, database.DB))
	put(few, many)
	require.Less(t, partsOfTags(t, database.DB), many, "one new tag in 32 looks whether there are more than 1,024")
	put(few, many)
	write(func(ctx context.Context, tx *metadata.Tx) error {
		for i := range many / 2 {
			if err := tx.DeleteTag(ctx, manifest.RepositoryID, fmt.Sprintf("tag%d", i)); err != nil {
				return err
			}
		}
		return nil
	})
	partsOfTags(t, database.DB)
	put(0, many)
	partsOfTags(t, database.DB)
	write(func(ctx context.Context, tx *metadata.Tx) error {
		return tx.DeleteRepository(ctx, manifest.RepositoryID)
	})
	require.Zero(t, partsOfTags(t, database.DB))
}

// TestTagParts_upgrade migrates a database that has many tags in one repository and few in another.
func TestTagParts_upgrade(t *testing.T) {
	db, err := sql.Open("sqlite", sqliteURL(filepath.Join(t.TempDir(), "berth.db")))
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	files, err := filepath.Glob("../migrations/sqlite/*.sql")
	require.NoError(t, err)
	for _, file := range files {
		if filepath.Base(file) == "00058_tag_parts.sql" {
			for _, row := range []string{
				`INSERT INTO projects (id, name, public, created_at, updated_at) VALUES (1, 'p', TRUE, 0, 0)`,
				`INSERT INTO repositories (id, project_id, name, created_at, updated_at) VALUES (1, 1, 'p/many', 0, 0), (2, 1, 'p/few', 0, 0)`,
				`INSERT INTO manifests (id, repository_id, digest, media_type, artifact_type, size, created_at, payload) VALUES (1, 1, 'd', '', '', 0, 0, ''), (2, 2, 'd', '', '', 0, 0, '')`,
				`INSERT INTO tags (repository_id, name, manifest_id, created_at, updated_at)
					WITH RECURSIVE s(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM s WHERE i < 1999)
					SELECT 1 + i / 1900, 'tag' || i, 1 + i / 1900, 0, 0 FROM s`,
			} {
				_, err := db.ExecContext(t.Context(), row)
				require.NoError(t, err, row)
			}
		}
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		_, err = db.ExecContext(t.Context(), string(text))
		require.NoError(t, err, file)
	}
	require.Equal(t, 100, partsOfTags(t, db))
}
