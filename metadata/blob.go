package metadata

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/berth-registry/berth/oci"
)

func isNotFound(err error) bool { return errors.Is(err, ErrNotFound) }

var (
	linkedBlob = define("blob", `
		SELECT b.digest, b.size, b.storage_key, b.created_at
		FROM repositories r JOIN repository_blobs l ON l.repository_id = r.id JOIN blobs b ON b.digest = l.digest
		WHERE r.name = $1 AND l.digest = $2`)
	blobByDigest = define("blob by digest", `SELECT digest, size, storage_key, created_at FROM blobs WHERE digest = $1`)
	keepBlob     = define("keep blob", `SELECT digest, size, storage_key, created_at FROM blobs WHERE digest = $1 {for key share}`)
	linkedBlobs  = define("blobs", `
		SELECT l.digest FROM repositories r JOIN repository_blobs l ON l.repository_id = r.id
		WHERE r.name = $1 AND l.digest IN (SELECT value FROM {texts}($2{json}))`)
	anyRepositoryWithBlob = define("repository with blob", `
		SELECT r.name FROM repository_blobs l JOIN repositories r ON r.id = l.repository_id
		WHERE l.digest = $1 LIMIT 1`)
	visibleRepositoryWithBlob = define("visible repository with blob", `
		SELECT r.name FROM repository_blobs l JOIN repositories r ON r.id = l.repository_id JOIN projects p ON p.id = r.project_id
		WHERE l.digest = $1 AND (p.public OR EXISTS (
			SELECT 1 FROM user_roles m WHERE m.project_id = p.id AND m.user_id = $2 AND m.role_id IN (1, 2, 3, 4, 5))
			OR p.name IN (SELECT value FROM {texts}($3{json})))
		LIMIT 1`)

	// A key that was given up may be deleted from storage at any moment, so it never gets a name again.
	insertBlob = define("put blob", `
		INSERT INTO blobs (digest, size, storage_key, created_at)
		SELECT CAST($1 AS TEXT), CAST($2 AS BIGINT), CAST($3 AS TEXT), CAST($4 AS BIGINT)
		WHERE NOT EXISTS (SELECT 1 FROM tombstones WHERE storage_key = CAST($3 AS TEXT))
		ON CONFLICT (digest) DO NOTHING`)
	insertLink = define("link blob", `
		INSERT INTO repository_blobs (repository_id, digest, created_at) VALUES ($1, $2, $3)
		ON CONFLICT (repository_id, digest) DO NOTHING`)
	insertLinksOf = define("link blobs of repository", `
		INSERT INTO repository_blobs (repository_id, digest, created_at)
		SELECT CAST($1 AS BIGINT), l.digest, CAST($4 AS BIGINT) FROM repository_blobs l
		WHERE l.repository_id = $2 AND l.digest IN (SELECT value FROM {texts}($3{json})) ORDER BY l.digest
		ON CONFLICT (repository_id, digest) DO NOTHING`)
	linkOfBlob    = define("link of blob", `SELECT digest FROM repository_blobs WHERE repository_id = $1 AND digest = $2`)
	blobReference = define("any reference to blob", `
		SELECT kind FROM manifest_references WHERE repository_id = $1 AND digest = $2 AND kind IN ('config', 'layer') LIMIT 1`)
	deleteLink = define("unlink blob", `DELETE FROM repository_blobs WHERE repository_id = $1 AND digest = $2`)
)

func scanBlob(r row, b *Blob) error {
	return r.Scan(&b.Digest, &b.Size, &b.StorageKey, moment{&b.CreatedAt})
}

// Blob returns a blob that is linked to the repository, or [ErrNotFound].
func (r Reader) Blob(ctx context.Context, repository oci.Repository, digest oci.Digest) (Blob, error) {
	return one(ctx, r, linkedBlob, scanBlob, string(repository), string(digest))
}

// BlobByDigest returns a blob whoever may read it, or [ErrNotFound].
func (r Reader) BlobByDigest(ctx context.Context, digest oci.Digest) (Blob, error) {
	return one(ctx, r, blobByDigest, scanBlob, string(digest))
}

// RepositoryWithBlob returns some repository that the caller may pull from and that has the blob, or [ErrNotFound].
func (r Reader) RepositoryWithBlob(ctx context.Context, v Visibility, digest oci.Digest) (oci.Repository, error) {
	if v.All {
		return one(ctx, r, anyRepositoryWithBlob, value[oci.Repository], string(digest))
	}
	return one(ctx, r, visibleRepositoryWithBlob, value[oci.Repository], string(digest), v.UserID, v.names())
}

// Blobs returns which of the digests are linked to the repository as blobs, in one query.
func (r Reader) Blobs(ctx context.Context, repository oci.Repository, digests []oci.Digest) (map[oci.Digest]bool, error) {
	return r.among(ctx, linkedBlobs, repository, digests)
}

// among runs a query for those of the digests that a repository has.
func (r Reader) among(ctx context.Context, s *statement, repository oci.Repository, digests []oci.Digest) (map[oci.Digest]bool, error) {
	present := make(map[oci.Digest]bool, len(digests))
	if len(digests) == 0 {
		return present, nil
	}
	list, err := json.Marshal(digests)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.name, err)
	}
	found, err := all(ctx, r, s, value[oci.Digest], string(repository), string(list))
	if err != nil {
		return nil, err
	}
	for _, digest := range found {
		present[digest] = true
	}
	return present, nil
}

// PutBlob names the stored bytes of b.StorageKey by their digest and returns the row that holds from now on. When the digest
// has bytes already, these stay, the new key is given up as by [Tx.AddTombstones], and the row of the old one is returned. It
// returns [ErrConflict] when the key was given up before, and [ErrExists] when it holds the bytes of another digest.
func (t *Tx) PutBlob(ctx context.Context, b Blob) (Blob, error) {
	inserted, err := t.exec(ctx, insertBlob, string(b.Digest), b.Size, b.StorageKey, micros(now()))
	if err != nil {
		return Blob{}, fmt.Errorf("blob %s: %w", b.Digest, err)
	}
	effective, err := one(ctx, t.Reader, keepBlob, scanBlob, string(b.Digest))
	switch {
	case isNotFound(err):
		return Blob{}, fmt.Errorf("blob %s: storage key was given up or the blob deleted meanwhile: %w", b.Digest, ErrConflict)
	case err != nil:
		return Blob{}, fmt.Errorf("blob %s: %w", b.Digest, err)
	case inserted == 0 && effective.StorageKey != b.StorageKey:
		return effective, t.AddTombstones(ctx, []string{b.StorageKey})
	}
	return effective, nil
}

// LinkBlob lets those who may read the repository read the blob; doing it twice is a success. Garbage collection looks later
// whether a manifest came to need it. It returns [ErrNotFound] when there is no such blob or repository.
func (t *Tx) LinkBlob(ctx context.Context, repositoryID int64, digest oci.Digest) error {
	// The review comes first: a collection that is about to take the link away holds it, so the link is looked for once it is gone.
	if err := t.review(ctx, repositoryID, digest); err != nil {
		return err
	}
	_, err := t.exec(ctx, insertLink, repositoryID, string(digest), micros(now()))
	return err
}

// LinkBlobsOf links those of the blobs that the one repository has to the other, as [Tx.LinkBlob] does.
func (t *Tx) LinkBlobsOf(ctx context.Context, target, source int64, digests []oci.Digest) error {
	list, err := json.Marshal(digests)
	if err != nil {
		return fmt.Errorf("link blobs: %w", err)
	}
	at := micros(now())
	if _, err := t.exec(ctx, insertReviewsOfBlobs, string(list), at, target); err != nil {
		return err
	}
	_, err = t.exec(ctx, insertLinksOf, target, source, string(list), at)
	return err
}

// UnlinkBlob takes a blob out of a repository. Its bytes stay until garbage collection finds them without any link. It returns
// [ErrNotFound] when it was not linked, and [ErrReferenced] when a manifest of the repository needs it. The caller has locked
// the repository.
func (t *Tx) UnlinkBlob(ctx context.Context, repositoryID int64, digest oci.Digest) error {
	if _, err := one(ctx, t.Reader, linkOfBlob, value[string], repositoryID, string(digest)); err != nil {
		return err
	}
	references, err := all(ctx, t.Reader, blobReference, value[string], repositoryID, string(digest))
	if err != nil {
		return err
	}
	if len(references) > 0 {
		return fmt.Errorf("blob %s: %w", digest, ErrReferenced)
	}
	if err := t.execOne(ctx, deleteLink, repositoryID, string(digest)); err != nil {
		return err
	}
	return t.review(ctx, 0, digest)
}
