package metadata

import (
	"context"
	"fmt"

	"github.com/berth-registry/berth/oci"
)

var (
	replicationUpload    = define("replication upload", `SELECT location FROM replication_uploads WHERE task_id = $1 AND digest = $2`)
	putReplicationUpload = define("put replication upload", `
		INSERT INTO replication_uploads (task_id, digest, location) VALUES ($1, $2, $3)
		ON CONFLICT (task_id, digest) DO UPDATE SET location = excluded.location`)
	deleteReplicationUpload = define("delete replication upload", `DELETE FROM replication_uploads WHERE task_id = $1 AND digest = $2`)
)

// ReplicationUpload returns where the upload of a blob goes on that a task has begun at a registry elsewhere, as it was put, or
// [ErrNotFound].
func (r Reader) ReplicationUpload(ctx context.Context, taskID int64, digest oci.Digest) ([]byte, error) {
	return one(ctx, r, replicationUpload, value[[]byte], taskID, string(digest))
}

// PutReplicationUpload notes where the upload of a blob goes on; the caller has sealed it. It is forgotten with the task.
func (t *Tx) PutReplicationUpload(ctx context.Context, taskID int64, digest oci.Digest, location []byte) error {
	if _, err := t.exec(ctx, putReplicationUpload, taskID, string(digest), location); err != nil {
		return fmt.Errorf("upload of %s: %w", digest, err)
	}
	return nil
}

// DeleteReplicationUpload forgets the upload of a blob; that it is forgotten already is no error.
func (t *Tx) DeleteReplicationUpload(ctx context.Context, taskID int64, digest oci.Digest) error {
	_, err := t.exec(ctx, deleteReplicationUpload, taskID, string(digest))
	return err
}
