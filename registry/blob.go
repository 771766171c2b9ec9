package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/storage"
)

// Blob returns what is known of a blob that is linked to the repository, without asking the storage. The error is an [*oci.Error]
// with [oci.CodeBlobUnknown] when it is not linked.
func (r *Registry) Blob(ctx context.Context, repository oci.Repository, digest oci.Digest) (metadata.Blob, error) {
	blob, epoch, found := r.blobs.get(contentKey{repository, digest})
	if found {
		return blob, nil
	}
	blob, err := r.metadata.Blob(ctx, repository, digest)
	if errors.Is(err, metadata.ErrNotFound) {
		return blob, blobUnknown(repository, digest)
	}
	if err != nil {
		return blob, metadataError("read blob "+digest.String(), err)
	}
	r.blobs.put(contentKey{repository, digest}, blob, epoch)
	return blob, nil
}

// remember drops what is cached of a blob that was just linked; the next reader caches it again.
func (r *Registry) remember(repository oci.Repository, blob metadata.Blob) {
	r.blobs.drop(contentKey{repository, blob.Digest})
}

func blobUnknown(repository oci.Repository, digest oci.Digest) error {
	return &oci.Error{
		Code: oci.CodeBlobUnknown, Message: fmt.Sprintf("repository %q has no blob %s", repository, digest),
		Detail: map[string]any{"digest": digest},
	}
}

// RedirectBlob returns a URL at which the blob can be fetched from the storage itself, or "" when it has to be streamed.
func (r *Registry) RedirectBlob(ctx context.Context, blob metadata.Blob) (string, error) {
	redirector, ok := r.storage.(storage.Redirector)
	if !ok {
		return "", nil
	}
	url, err := redirector.Redirect(ctx, blob.StorageKey, storage.RedirectOptions{ContentType: "application/octet-stream"})
	return url, storageError("sign a URL for blob "+blob.Digest.String(), err)
}

// DeleteBlob unlinks a blob from the repository; other repositories keep theirs. The error is an [*oci.Error]: with
// [oci.CodeBlobUnknown] when it is not linked, with [oci.CodeDenied] when a manifest of the repository needs it.
func (r *Registry) DeleteBlob(ctx context.Context, actor event.Actor, repository oci.Repository, digest oci.Digest) error {
	err := r.metadata.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		owner, err := tx.LockRepository(ctx, repository)
		if err != nil {
			return err
		}
		if err := tx.UnlinkBlob(ctx, owner.ID, digest); err != nil {
			return err
		}
		deleted := r.event(event.BlobDeleted, actor, repository)
		deleted.Digest = digest.String()
		return tx.AppendEvent(ctx, deleted)
	})
	r.blobs.drop(contentKey{repository, digest})
	switch {
	case errors.Is(err, metadata.ErrNotFound):
		return blobUnknown(repository, digest)
	case errors.Is(err, metadata.ErrReferenced):
		return &oci.Error{
			Code: oci.CodeDenied, Status: http.StatusMethodNotAllowed,
			Message: fmt.Sprintf("a manifest of repository %q needs blob %s: delete the manifest first", repository, digest),
		}
	}
	return metadataError("delete blob "+digest.String(), err)
}

// errCollected says that a blob went between being found and being linked.
var errCollected = errors.New("blob was collected meanwhile")

// MountBlob links a blob of another repository, which the caller has checked that the client may read, and reports whether it
// was there. The error is an [*oci.Error] with [oci.CodeNameUnknown] when the target's project does not exist.
func (r *Registry) MountBlob(ctx context.Context, target, from oci.Repository, digest oci.Digest) (bool, error) {
	mounted := false
	// A client asks for a mount before it knows, so the miss is common: it must not cost a write.
	if _, err := r.metadata.Blob(ctx, from, digest); errors.Is(err, metadata.ErrNotFound) {
		return false, r.mayHold(ctx, target)
	}
	err := r.metadata.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		mounted = false
		blob, err := tx.Blob(ctx, from, digest)
		if errors.Is(err, metadata.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		owner, err := ensureRepository(ctx, tx, target)
		if err != nil {
			return err
		}
		err = tx.LinkBlob(ctx, owner.ID, blob.Digest)
		if errors.Is(err, metadata.ErrNotFound) {
			return errCollected
		}
		mounted = err == nil
		return err
	})
	if errors.Is(err, errCollected) {
		return false, nil
	}
	if err != nil {
		return false, metadataError("mount blob "+digest.String(), err)
	}
	r.blobs.drop(contentKey{target, digest})
	return mounted, nil
}

// FindBlob returns a repository in view that has the blob, the given one first, and false when none has.
func (r *Registry) FindBlob(ctx context.Context, view metadata.Visibility, first oci.Repository, digest oci.Digest) (oci.Repository, bool, error) {
	_, err := r.Blob(ctx, first, digest)
	if err == nil {
		return first, true, nil
	}
	if !oci.HasCode(err, oci.CodeBlobUnknown) {
		return "", false, err
	}
	repository, err := r.metadata.RepositoryWithBlob(ctx, view, digest)
	if errors.Is(err, metadata.ErrNotFound) {
		return "", false, nil
	}
	return repository, err == nil, metadataError("look for blob "+digest.String(), err)
}
