package metadata

import (
	"context"

	"github.com/berth-registry/berth/oci"
)

var (
	blobsByKey = define("blobs by storage key", `
		SELECT digest, size, storage_key, created_at FROM blobs WHERE storage_key > $1 ORDER BY storage_key LIMIT $2`)
	damaged = define("manifests that need a blob", `
		SELECT r.name, m.digest FROM repository_blobs l
		JOIN manifest_references f ON f.repository_id = l.repository_id AND f.digest = l.digest AND f.kind IN ('config', 'layer')
		JOIN manifests m ON m.id = f.manifest_id JOIN repositories r ON r.id = m.repository_id
		WHERE l.digest = $1 LIMIT $2`)
	lockBlobOfKey = define("lock blob of storage key", `SELECT digest FROM blobs WHERE digest = $1 AND storage_key = $2 {for update}`)
	unlinkAll     = define("unlink blob everywhere", `DELETE FROM repository_blobs WHERE digest = $1`)
	deleteBlob    = define("delete blob", `DELETE FROM blobs WHERE digest = $1`)
	tombstoned    = define("count tombstones", `SELECT COUNT(*) FROM tombstones`)
	keptBytes     = define("kept for deletions", `
		SELECT COUNT(*), CAST(COALESCE(SUM(b.size), 0) AS BIGINT) FROM (SELECT DISTINCT digest FROM deletion_blobs) k JOIN blobs b ON b.digest = k.digest
		WHERE NOT EXISTS (SELECT 1 FROM repository_blobs l WHERE l.digest = b.digest)`)
	namedBytes = define("named bytes", `SELECT COUNT(*), CAST(COALESCE(SUM(size), 0) AS BIGINT) FROM blobs`)
)

// BlobsByKey returns up to n blobs whose storage keys come after the given one, in the order of the keys.
func (r Reader) BlobsByKey(ctx context.Context, after string, n int) ([]Blob, error) {
	return all(ctx, r, blobsByKey, scanBlob, after, limit(n))
}

// ManifestPlace is a manifest of a repository.
type ManifestPlace struct {
	Repository oci.Repository
	Digest     oci.Digest
}

// ManifestsWith returns up to n manifests that need a blob.
func (r Reader) ManifestsWith(ctx context.Context, blob oci.Digest, n int) ([]ManifestPlace, error) {
	return all(ctx, r, damaged, func(r row, p *ManifestPlace) error { return r.Scan(&p.Repository, &p.Digest) }, string(blob), limit(n))
}

// ForgetBlob forgets a blob whose bytes under the key are lost or wrong, with its links, so that whoever pushes it again is asked for the
// bytes. Manifests that need it stay. It gives the key up as by [Tx.AddTombstones], and returns [ErrNotFound] when the blob has another
// key by now.
func (t *Tx) ForgetBlob(ctx context.Context, blob Blob) error {
	if _, err := one(ctx, t.Reader, lockBlobOfKey, value[string], string(blob.Digest), blob.StorageKey); err != nil {
		return err
	}
	if _, err := t.exec(ctx, unlinkAll, string(blob.Digest)); err != nil {
		return err
	}
	if err := t.execOne(ctx, deleteBlob, string(blob.Digest)); err != nil {
		return err
	}
	return t.AddTombstones(ctx, []string{blob.StorageKey})
}

// StorageUsage is what the database knows of the storage.
type StorageUsage struct {
	// Blobs are named, of Bytes; KeptBlobs of KeptBytes among them only for deletions that can be undone.
	Blobs, Bytes, KeptBlobs, KeptBytes int64
	// GivenUp objects are deleted soon.
	GivenUp int64
}

// StorageUsage counts, which takes time that grows with the number of blobs.
func (r Reader) StorageUsage(ctx context.Context) (u StorageUsage, err error) {
	pair := func(n, bytes *int64) func(row, *struct{}) error {
		return func(r row, _ *struct{}) error { return r.Scan(n, bytes) }
	}
	if _, err = one(ctx, r, namedBytes, pair(&u.Blobs, &u.Bytes)); err != nil {
		return u, err
	}
	if _, err = one(ctx, r, keptBytes, pair(&u.KeptBlobs, &u.KeptBytes)); err != nil {
		return u, err
	}
	u.GivenUp, err = one(ctx, r, tombstoned, value[int64])
	return u, err
}
