package metadata

import (
	"context"
	"fmt"
	"time"

	"github.com/berth-registry/berth/oci"
)

var (
	digestOfTag = define("tag", `
		SELECT m.digest FROM repositories r JOIN tags t ON t.repository_id = r.id JOIN manifests m ON m.id = t.manifest_id
		WHERE r.name = $1 AND t.name = $2`)
	tagsPage = define("tags", `
		SELECT name FROM tags WHERE repository_id = (SELECT id FROM repositories WHERE name = $1) AND name > $2
		ORDER BY name LIMIT $3`)
	taggedDigest = define("tagged digest", `
		SELECT m.digest FROM tags t JOIN manifests m ON m.id = t.manifest_id WHERE t.repository_id = $1 AND t.name = $2`)

	upsertTag = define("put tag", `
		INSERT INTO tags (repository_id, name, manifest_id, created_at, updated_at)
		SELECT m.repository_id, CAST($3 AS TEXT), m.id, CAST($4 AS BIGINT), CAST($4 AS BIGINT) FROM manifests m WHERE m.repository_id = $1 AND m.digest = $2
		ON CONFLICT (repository_id, name) DO UPDATE SET manifest_id = excluded.manifest_id, updated_at = excluded.updated_at`)
	deleteTag = define("delete tag", `DELETE FROM tags WHERE repository_id = $1 AND name = $2`)
)

// Tag returns the digest that a tag of the repository stands for, or [ErrNotFound].
func (r Reader) Tag(ctx context.Context, repository oci.Repository, tag string) (oci.Digest, error) {
	return one(ctx, r, digestOfTag, value[oci.Digest], string(repository), tag)
}

// Tags returns up to n tags of the repository that come after last, byte-wise ordered; all of them when n is negative. It
// returns [ErrNotFound] when there is no such repository.
func (r Reader) Tags(ctx context.Context, repository oci.Repository, last string, n int) ([]string, error) {
	tags, err := all(ctx, r, tagsPage, value[string], string(repository), last, limit(n))
	if err != nil || len(tags) > 0 {
		return tags, err
	}
	_, err = r.Repository(ctx, repository)
	return nil, err
}

// PutTag lets a tag stand for a manifest of the repository and returns the digest it stood for before, "" when the tag is new.
// It returns [ErrNotFound] when there is no such manifest. The caller has locked the repository, or keeps it for the tag.
func (t *Tx) PutTag(ctx context.Context, repositoryID int64, tag string, digest oci.Digest, now time.Time) (previous oci.Digest, err error) {
	previous, err = one(ctx, t.Reader, taggedDigest, value[oci.Digest], repositoryID, tag)
	if err != nil && !isNotFound(err) {
		return "", err
	}
	if err := t.execOne(ctx, upsertTag, repositoryID, string(digest), tag, micros(now)); err != nil {
		return "", fmt.Errorf("tag %q of %s: %w", tag, digest, err)
	}
	return previous, t.touch(ctx, repositoryID)
}

// DeleteTag removes a tag and leaves its manifest; it returns [ErrNotFound] when there is no such tag.
func (t *Tx) DeleteTag(ctx context.Context, repositoryID int64, tag string) error {
	if err := t.execOne(ctx, deleteTag, repositoryID, tag); err != nil {
		return err
	}
	return t.touch(ctx, repositoryID)
}

// ArtifactTag is a tag as people look at it.
type ArtifactTag struct {
	Name         string
	RepositoryID int64
	ManifestID   int64
	CreatedAt    time.Time
	// UpdatedAt is when it last came to stand for the manifest, or was pushed again.
	UpdatedAt time.Time
	PulledAt  time.Time // zero when never pulled
}

// Place is where the tag stands in [Reader.ListTags].
func (v ArtifactTag) Place() Place { return Place{v.UpdatedAt.UnixMicro(), v.Name} }

const tagColumns = `t.name, t.repository_id, t.manifest_id, t.created_at, t.updated_at, t.pulled_at`

func scanTag(r row, v *ArtifactTag) error {
	return r.Scan(&v.Name, &v.RepositoryID, &v.ManifestID, moment{&v.CreatedAt}, moment{&v.UpdatedAt}, moment{&v.PulledAt})
}

// tagListing is the listing of the tags of one artifact: the newest first.
var tagListing = listing[ArtifactTag]{
	name: "list tags", columns: tagColumns, from: "tags t", scan: scanTag,
	order: "t.updated_at DESC, t.name DESC", tie: "t.name", after: "(t.updated_at, t.name) < ({1}, {2})",
	fields: map[string]field{
		"name":      {"t.name", textField},
		"push_time": {"t.updated_at", momentField},
		"pull_time": {"COALESCE(t.pulled_at, 0)", momentField},
	},
}

var tagCountOfArtifact = define("tag count of artifact", `SELECT tag_count FROM artifacts WHERE id = $1`)

// ListTags returns a page of the tags that stand for a manifest, the newest first, and how many there are. The error wraps
// [ErrQuery] when they cannot be filtered like that, and is [ErrNotFound] when there is no such manifest.
func (r Reader) ListTags(ctx context.Context, manifestID int64, q Query) ([]ArtifactTag, int64, error) {
	return tagListing.list(ctx, r, q, stated(tagCountOfArtifact, manifestID), "t.manifest_id = $1", manifestID)
}

// TagsOf returns the n newest tags of each manifest, by the manifest's id.
func (r Reader) TagsOf(ctx context.Context, manifests []int64, n int) (map[int64][]ArtifactTag, error) {
	found, err := firstOfEach(ctx, r, "tags of artifacts",
		`SELECT `+tagColumns+` FROM tags t WHERE t.manifest_id = {id} ORDER BY t.updated_at DESC, t.name DESC`, manifests, n, scanTag)
	byManifest := make(map[int64][]ArtifactTag)
	for _, v := range found {
		byManifest[v.ManifestID] = append(byManifest[v.ManifestID], v)
	}
	return byManifest, err
}
