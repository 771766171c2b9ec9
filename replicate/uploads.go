package replicate

import (
	"context"
	"errors"
	"fmt"

	"github.com/berth-registry/berth/jobs"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/secret"
)

// uploads has the next attempt at a task go on with the uploads of this one, whichever gateway makes it. It is a [remote.Uploads].
type uploads struct {
	store  *metadata.Store
	box    *secret.Box
	taskID int64
}

// purpose is what a location is sealed for: whoever has it may need no other credentials.
func (u uploads) purpose(digest oci.Digest) string {
	return fmt.Sprintf("upload of %s by task %d", digest, u.taskID)
}

// Location implements [remote.Uploads].
func (u uploads) Location(ctx context.Context, digest oci.Digest) (string, error) {
	sealed, err := u.store.ReplicationUpload(ctx, u.taskID, digest)
	if errors.Is(err, metadata.ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	location, err := u.box.Open(u.purpose(digest), sealed)
	return string(location), err
}

// Keep implements [remote.Uploads].
func (u uploads) Keep(ctx context.Context, digest oci.Digest, location string) error {
	return u.store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		if location == "" {
			return tx.DeleteReplicationUpload(ctx, u.taskID, digest)
		}
		return tx.PutReplicationUpload(ctx, u.taskID, digest, u.box.Seal(u.purpose(digest), []byte(location)))
	})
}

// Abandoned implements [remote.Uploads].
func (uploads) Abandoned(ctx context.Context) bool { return jobs.Stopped(ctx) }
