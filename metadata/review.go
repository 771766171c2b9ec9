package metadata

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/berth-registry/berth/oci"
)

// Review asks whether a blob is still needed: by the manifests of a repository, or, where RepositoryID is 0, by any repository.
type Review struct {
	RepositoryID int64
	Digest       oci.Digest
	// Since is when the last thing happened that made the question worth asking.
	Since time.Time
}

// Unneeded is what a review has found: a link that no manifest needs, or a blob that no repository has.
type Unneeded struct {
	Review
	// Size is that of the blob, whose bytes are free when no repository has it any more.
	Size int64
}

var (
	reviewsPage = define("blob reviews", `
		SELECT repository_id, digest, since FROM blob_reviews
		WHERE since < $1 AND (since, repository_id, digest) > ($2, $3, $4) ORDER BY since, repository_id, digest LIMIT $5`)
	reviewsCount = define("count blob reviews", `SELECT COUNT(*) FROM blob_reviews WHERE since < $1`)
	insertReview = define("review blob", `
		INSERT INTO blob_reviews (repository_id, digest, since) VALUES ($1, $2, $3)
		ON CONFLICT (repository_id, digest) DO UPDATE SET since = excluded.since`)
	insertReviewsOfManifest = define("review blobs of manifest", `
		INSERT INTO blob_reviews (repository_id, digest, since)
		SELECT DISTINCT repository_id, digest, CAST($2 AS BIGINT) FROM manifest_references
		WHERE manifest_id = $1 AND kind IN ('config', 'layer')
		ON CONFLICT (repository_id, digest) DO UPDATE SET since = excluded.since`)
	insertReviewsOfRepository = define("review blobs of repository", `
		INSERT INTO blob_reviews (repository_id, digest, since)
		SELECT 0, digest, CAST($2 AS BIGINT) FROM repository_blobs WHERE repository_id = $1 ORDER BY digest
		ON CONFLICT (repository_id, digest) DO UPDATE SET since = excluded.since`)
	deleteReviewsOfRepository = define("forget blob reviews of repository", `DELETE FROM blob_reviews WHERE repository_id = $1`)
	// The plus keeps the condition from being looked up: led by what statistics said once, SQLite would read all that is due for each batch.
	takeReviews = define("take blob reviews", `
		DELETE FROM blob_reviews WHERE repository_id = $1 AND digest {any of}$2{these} AND +since < $3
		RETURNING digest`)
	lockRepositoryByID = define("lock repository by id", `SELECT name FROM repositories r WHERE id = $1 AND {locked} {for update}`)
	unneededLinks      = define("links that no manifest needs", `
		SELECT l.digest, b.size FROM repository_blobs l JOIN blobs b ON b.digest = l.digest
		WHERE l.repository_id = $1 AND l.digest {any of}$2{these} AND NOT EXISTS (
			SELECT 1 FROM manifest_references m WHERE m.repository_id = $1 AND m.digest = l.digest AND m.kind IN ('config', 'layer'))
		ORDER BY l.digest`)
	unneededBlobs = define("blobs that nobody has", `
		SELECT b.digest, b.size FROM blobs b
		WHERE b.digest {any of}$1{these} AND NOT EXISTS (SELECT 1 FROM repository_blobs l WHERE l.digest = b.digest)
			AND NOT EXISTS (SELECT 1 FROM deletion_blobs d WHERE d.digest = b.digest)
		ORDER BY b.digest`)
	freeable = define("blobs that no manifest needs", `
		SELECT b.digest, b.size FROM blobs b
		WHERE b.digest {any of}$2{these} AND $1 = (SELECT MIN(f.repository_id) FROM repository_blobs f WHERE f.digest = b.digest)
			AND NOT EXISTS (SELECT 1 FROM repository_blobs l JOIN manifest_references m ON m.repository_id = l.repository_id AND m.digest = l.digest
				WHERE l.digest = b.digest AND m.kind IN ('config', 'layer'))
			AND NOT EXISTS (SELECT 1 FROM deletion_blobs d WHERE d.digest = b.digest)
		ORDER BY b.digest`)
	lockBlobs   = define("lock blobs", `SELECT digest FROM blobs WHERE digest {any of}$1{these} ORDER BY digest {for update}`)
	deleteLinks = define("unlink blobs", `
		DELETE FROM repository_blobs WHERE repository_id = $1 AND digest {any of}$2{these}`)
	deleteBlobs = define("delete blobs", `
		DELETE FROM blobs WHERE digest {any of}$1{these} RETURNING storage_key`)
)

func scanReview(r row, v *Review) error { return r.Scan(&v.RepositoryID, &v.Digest, moment{&v.Since}) }

// sizedDigest is a row of what is not needed.
type sizedDigest struct {
	digest oci.Digest
	size   int64
}

func scanSizedDigest(r row, v *sizedDigest) error { return r.Scan(&v.digest, &v.size) }

// Reviews returns up to n reviews that have been due since before the time, after the given one, the oldest first. The zero
// review is before the first.
func (r Reader) Reviews(ctx context.Context, before time.Time, after Review, n int) ([]Review, error) {
	since := int64(-1)
	if !after.Since.IsZero() {
		since = after.Since.UnixMicro()
	}
	return all(ctx, r, reviewsPage, scanReview, micros(before), since, after.RepositoryID, string(after.Digest), limit(n))
}

// CountReviews returns how many reviews have been due since before the time.
func (r Reader) CountReviews(ctx context.Context, before time.Time) (int64, error) {
	return one(ctx, r, reviewsCount, value[int64], micros(before))
}

// FindUnneeded answers reviews of one repository, or of 0, without changing anything.
func (r Reader) FindUnneeded(ctx context.Context, repositoryID int64, digests []oci.Digest) ([]Unneeded, error) {
	if repositoryID == 0 {
		return r.unneeded(ctx, unneededBlobs, repositoryID, digests)
	}
	return r.unneeded(ctx, unneededLinks, repositoryID, digests, repositoryID)
}

// FindFreeable returns those of the blobs that would be free once all repositories gave up what their manifests do not need. Asked
// for each repository that has a blob, it is among what the first of them would free.
func (r Reader) FindFreeable(ctx context.Context, repositoryID int64, digests []oci.Digest) ([]Unneeded, error) {
	return r.unneeded(ctx, freeable, 0, digests, repositoryID)
}

func (r Reader) unneeded(ctx context.Context, s *statement, repositoryID int64, digests []oci.Digest, args ...any) ([]Unneeded, error) {
	list, err := json.Marshal(digests)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.name, err)
	}
	rows, err := all(ctx, r, s, scanSizedDigest, append(args, string(list))...)
	if err != nil {
		return nil, err
	}
	found := make([]Unneeded, len(rows))
	for i, row := range rows {
		found[i] = Unneeded{Review: Review{RepositoryID: repositoryID, Digest: row.digest}, Size: row.size}
	}
	return found, nil
}

// SettleLinks answers reviews of a repository that have been due since before the time: it takes the links away that no manifest
// of the repository needs, has their blobs reviewed in the whole registry, and forgets the reviews. Pushes to the repository wait
// for the transaction, so none can begin to need what goes. It returns what it took away, and the repository's name for caches.
func (t *Tx) SettleLinks(ctx context.Context, repositoryID int64, digests []oci.Digest, before time.Time) ([]Unneeded, oci.Repository, error) {
	name, err := one(ctx, t.Reader, lockRepositoryByID, value[oci.Repository], repositoryID)
	if isNotFound(err) {
		_, err := t.exec(ctx, deleteReviewsOfRepository, repositoryID)
		return nil, "", err
	}
	if err != nil {
		return nil, "", err
	}
	digests, err = t.forgetReviews(ctx, repositoryID, digests, before)
	if err != nil || len(digests) == 0 {
		return nil, "", err
	}
	unneeded, err := t.FindUnneeded(ctx, repositoryID, digests)
	if err != nil || len(unneeded) == 0 {
		return nil, "", err
	}
	list, err := json.Marshal(digestsOf(unneeded))
	if err != nil {
		return nil, "", fmt.Errorf("unlink blobs: %w", err)
	}
	if _, err := t.exec(ctx, deleteLinks, repositoryID, string(list)); err != nil {
		return nil, "", err
	}
	// Due at once: the time that a link without a manifest is granted has passed.
	if _, err := t.exec(ctx, insertReviewsOfBlobs, string(list), before.UnixMicro()-1, 0); err != nil {
		return nil, "", err
	}
	return unneeded, name, nil
}

// SettleBlobs answers reviews of the whole registry that have been due since before the time: it forgets the blobs that neither a
// repository nor a deletion has that may be undone, gives their storage keys up as by [Tx.AddTombstones], and forgets the reviews. It returns what it forgot. Who
// links one of the blobs meanwhile waits for the transaction, and finds it gone or kept.
func (t *Tx) SettleBlobs(ctx context.Context, digests []oci.Digest, before time.Time) ([]Unneeded, error) {
	digests, err := t.forgetReviews(ctx, 0, digests, before)
	if err != nil || len(digests) == 0 {
		return nil, err
	}
	list, err := json.Marshal(digests)
	if err != nil {
		return nil, fmt.Errorf("delete blobs: %w", err)
	}
	if _, err := all(ctx, t.Reader, lockBlobs, value[string], string(list)); err != nil {
		return nil, err
	}
	unneeded, err := t.FindUnneeded(ctx, 0, digests)
	if err != nil || len(unneeded) == 0 {
		return nil, err
	}
	if list, err = json.Marshal(digestsOf(unneeded)); err != nil {
		return nil, fmt.Errorf("delete blobs: %w", err)
	}
	keys, err := all(ctx, t.Reader, deleteBlobs, value[string], string(list))
	if err != nil {
		return nil, err
	}
	return unneeded, t.AddTombstones(ctx, keys)
}

// forgetReviews removes reviews and returns the digests of those that were still due: another collector may have answered some,
// and an act since then may have put some off.
func (t *Tx) forgetReviews(ctx context.Context, repositoryID int64, digests []oci.Digest, before time.Time) ([]oci.Digest, error) {
	list, err := json.Marshal(digests)
	if err != nil {
		return nil, fmt.Errorf("forget blob reviews: %w", err)
	}
	return all(ctx, t.Reader, takeReviews, value[oci.Digest], repositoryID, string(list), micros(before))
}

func digestsOf(unneeded []Unneeded) []oci.Digest {
	digests := make([]oci.Digest, len(unneeded))
	for i, u := range unneeded {
		digests[i] = u.Digest
	}
	return digests
}

// review queues a blob for review.
func (t *Tx) review(ctx context.Context, repositoryID int64, digest oci.Digest) error {
	_, err := t.exec(ctx, insertReview, repositoryID, string(digest), micros(now()))
	return err
}
