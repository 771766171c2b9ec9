package metadata

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/berth-registry/berth/oci"
)

// Deletion is what was deleted and can be had back until it expires: a manifest with the tags that stood for it, or a tag alone.
type Deletion struct {
	ID int64
	// RootID is the deletion that this one came with, as the parts of an index do with the index; 0 for one that stands for itself.
	RootID     int64
	ProjectID  int64
	Repository oci.Repository
	Digest     oci.Digest
	MediaType  string
	// TagOnly says that the manifest stayed.
	TagOnly   bool
	Tags      []string
	Actor     string
	DeletedAt time.Time
	ExpiresAt time.Time
}

// Place is where the deletion stands in [Reader.ListDeletions].
func (d Deletion) Place() Place { return Place{d.ID} }

const deletionColumns = `d.id, COALESCE(d.root_id, 0), d.project_id, d.repository, d.digest, d.media_type, d.payload IS NULL, d.tags, d.actor, d.deleted_at, d.expires_at`

var (
	keepManifest = define("keep deleted manifest", `
		INSERT INTO deletions (root_id, project_id, repository, digest, media_type, payload, tags, actor, deleted_at, expires_at)
		SELECT NULLIF(CAST($3 AS BIGINT), 0), r.project_id, r.name, m.digest, m.media_type, m.payload, '[]', CAST($4 AS TEXT), CAST($5 AS BIGINT), CAST($6 AS BIGINT)
		FROM manifests m JOIN repositories r ON r.id = m.repository_id WHERE m.repository_id = $1 AND m.digest = $2
		RETURNING id`)
	tagDeletion = define("tags of deletion", `UPDATE deletions SET tags = $2 WHERE id = $1`)
	keepBlobs   = define("keep blobs of deleted manifest", `
		INSERT INTO deletion_blobs (deletion_id, digest)
		SELECT DISTINCT CAST($3 AS BIGINT), f.digest FROM manifests m JOIN manifest_references f ON f.manifest_id = m.id
		WHERE m.repository_id = $1 AND m.digest = $2 AND f.counted_in IS NOT NULL`)
	keepTag = define("keep deleted tag", `
		INSERT INTO deletions (root_id, project_id, repository, digest, media_type, payload, tags, actor, deleted_at, expires_at)
		SELECT NULL, r.project_id, r.name, m.digest, m.media_type, NULL, CAST($3 AS TEXT), CAST($4 AS TEXT), CAST($5 AS BIGINT), CAST($6 AS BIGINT)
		FROM manifests m JOIN repositories r ON r.id = m.repository_id WHERE m.repository_id = $1 AND m.digest = $2
		RETURNING id`)
	lockDeletion     = define("lock deletion", `SELECT `+deletionColumns+` FROM deletions d WHERE d.id = $1 {for update}`)
	deletionByID     = define("deletion", `SELECT `+deletionColumns+` FROM deletions d WHERE d.id = $1`)
	deletionPayload  = define("payload of deletion", `SELECT payload FROM deletions WHERE id = $1 AND payload IS NOT NULL`)
	deletionsOfRoot  = define("deletions of root", `SELECT `+deletionColumns+` FROM deletions d WHERE d.root_id = $1 ORDER BY d.id DESC`)
	deletionOfDigest = define("deletion of digest", `
		SELECT `+deletionColumns+` FROM deletions d WHERE d.repository = $1 AND d.digest = $2 AND d.project_id = $3 AND d.payload IS NOT NULL
		ORDER BY d.id DESC LIMIT 1`)
	blobsOfDeletion   = define("blobs of deletion", `SELECT digest FROM deletion_blobs WHERE deletion_id = $1 ORDER BY digest`)
	expiredDeletions  = define("expired deletions", `SELECT id FROM deletions WHERE expires_at <= $1 ORDER BY expires_at, id LIMIT $2`)
	reviewOfDeletions = define("review blobs of deletions", `
		INSERT INTO blob_reviews (repository_id, digest, since)
		SELECT 0, k.digest, CAST($2 AS BIGINT) FROM (
			SELECT DISTINCT digest FROM deletion_blobs WHERE deletion_id {any id of}$1{these ids}) AS k
		WHERE TRUE ORDER BY k.digest
		ON CONFLICT (repository_id, digest) DO UPDATE SET since = excluded.since`)
	// The kept counts have those that have expired until they are purged, soon. The sum keeps databases from looking for these among all
	// of the project.
	deletionsOfProject = define("deletions of project", `
		SELECT part, CAST(SUM(entries) AS BIGINT) FROM (
			SELECT part / 4 AS part, entries FROM list_counts WHERE list = 'deletions' AND owner = $1
			UNION ALL
			SELECT id / 4096, -1 FROM deletions WHERE expires_at <= $2 AND project_id + 0 = $1 AND root_id IS NULL) AS seen
		GROUP BY part ORDER BY part`)
	purgeDeletions = define("purge deletions", `DELETE FROM deletions WHERE id {any id of}$1{these ids}`)

	deletionListing = &listing[Deletion]{
		name: "list deletions", columns: deletionColumns, from: "deletions d", order: "d.id DESC", key: "d.id", tie: "d.id", after: "d.id < {1}", scan: scanDeletion,
		fields: map[string]field{
			"id":              {"d.id", numberField},
			"repository_name": {"d.repository", textField},
			"digest":          {"d.digest", textField},
			"tags":            {"d.tags", textField},
			"operator":        {"d.actor", textField},
			"deletion_time":   {"d.deleted_at", momentField},
			"expiration_time": {"d.expires_at", momentField},
		},
	}
)

func scanDeletion(r row, d *Deletion) error {
	var tags []byte
	err := r.Scan(&d.ID, &d.RootID, &d.ProjectID, &d.Repository, &d.Digest, &d.MediaType, &d.TagOnly, &tags, &d.Actor, moment{&d.DeletedAt}, moment{&d.ExpiresAt})
	if err != nil {
		return err
	}
	if err := json.Unmarshal(tags, &d.Tags); err != nil {
		return fmt.Errorf("tags of deletion %d: %w", d.ID, err)
	}
	return nil
}

// KeepManifest remembers a manifest that the transaction deletes next and returns the id; its tags are told by [Tx.TagDeletion]. The
// blobs that it needs are spared by garbage collection from then on. It returns [ErrNotFound] when there is none.
func (t *Tx) KeepManifest(ctx context.Context, repositoryID int64, digest oci.Digest, d Deletion) (id int64, err error) {
	id, err = one(ctx, t.Reader, keepManifest, value[int64], repositoryID, string(digest), d.RootID, d.Actor, micros(d.DeletedAt), micros(d.ExpiresAt))
	if err != nil {
		return 0, err
	}
	_, err = t.exec(ctx, keepBlobs, repositoryID, string(digest), id)
	return id, err
}

// TagDeletion says which tags stood for a deleted manifest.
func (t *Tx) TagDeletion(ctx context.Context, id int64, tags []string) error {
	encoded, err := json.Marshal(append([]string{}, tags...))
	if err != nil {
		return fmt.Errorf("encode tags: %w", err)
	}
	return t.execOne(ctx, tagDeletion, id, string(encoded))
}

// KeepTag remembers a tag that the transaction takes away from a manifest, which stays.
func (t *Tx) KeepTag(ctx context.Context, repositoryID int64, digest oci.Digest, d Deletion) error {
	tags, err := json.Marshal(d.Tags)
	if err != nil {
		return fmt.Errorf("encode tags: %w", err)
	}
	_, err = one(ctx, t.Reader, keepTag, value[int64], repositoryID, string(digest), string(tags), d.Actor, micros(d.DeletedAt), micros(d.ExpiresAt))
	return err
}

// Deletion returns a deletion, or [ErrNotFound].
func (r Reader) Deletion(ctx context.Context, id int64) (Deletion, error) {
	return one(ctx, r, deletionByID, scanDeletion, id)
}

// LockDeletion returns a deletion, or [ErrNotFound]; others that undo or purge it wait until the transaction ends.
func (t *Tx) LockDeletion(ctx context.Context, id int64) (Deletion, error) {
	return one(ctx, t.Reader, lockDeletion, scanDeletion, id)
}

// DeletedPayload returns the bytes of a deleted manifest, or [ErrNotFound] where only a tag was deleted.
func (r Reader) DeletedPayload(ctx context.Context, id int64) ([]byte, error) {
	return one(ctx, r, deletionPayload, value[[]byte], id)
}

// DeletionsOf returns what was deleted with a deletion, the last first: what is listed comes after what lists it.
func (r Reader) DeletionsOf(ctx context.Context, rootID int64) ([]Deletion, error) {
	return all(ctx, r, deletionsOfRoot, scanDeletion, rootID)
}

// DeletionOf returns the last deletion of a manifest of a repository, or [ErrNotFound].
func (r Reader) DeletionOf(ctx context.Context, projectID int64, repository oci.Repository, digest oci.Digest) (Deletion, error) {
	return one(ctx, r, deletionOfDigest, scanDeletion, string(repository), string(digest), projectID)
}

// DeletedBlobs returns the blobs that a deletion keeps.
func (r Reader) DeletedBlobs(ctx context.Context, id int64) ([]oci.Digest, error) {
	return all(ctx, r, blobsOfDeletion, value[oci.Digest], id)
}

// deletionsWidth is how many ids have counts of their own among the deletions of a project.
const deletionsWidth = 4_096

// ListDeletions returns a page of the deletions of a project that can be undone at the time, the newest first, and how many there are.
// Those that came with others are not among them. The error wraps [ErrQuery] when they cannot be filtered like that.
func (r Reader) ListDeletions(ctx context.Context, projectID int64, at time.Time, q Query) ([]Deletion, int64, error) {
	const where = "d.project_id = $1 AND d.root_id IS NULL AND d.expires_at > $2"
	return deletionListing.list(ctx, r, q, keptWide(deletionsOfProject, deletionsWidth, projectID, micros(at)), where, projectID, micros(at))
}

// ExpiredDeletions returns the ids of up to n deletions that had expired at the time.
func (r Reader) ExpiredDeletions(ctx context.Context, at time.Time, n int) ([]int64, error) {
	return all(ctx, r, expiredDeletions, value[int64], micros(at), limit(n))
}

// PurgeDeletions forgets deletions for good and has the blobs that they kept reviewed. One that is gone is no error.
func (t *Tx) PurgeDeletions(ctx context.Context, ids ...int64) error {
	list, err := idList(ids)
	if err != nil || len(ids) == 0 {
		return err
	}
	if _, err := t.exec(ctx, reviewOfDeletions, list, micros(now())); err != nil {
		return err
	}
	_, err = t.exec(ctx, purgeDeletions, list)
	return err
}
