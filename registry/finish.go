package registry

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"

	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/storage"
)

// FinishUpload adds the last bytes, nil for none, and makes the upload a blob of its repository. When it returns without an error
// the blob is durable. The errors are those of [Registry.AppendUpload], and an [*oci.Error] with [oci.CodeDigestInvalid] when the
// bytes have another digest: then the upload is gone. Finishing an upload that is gone succeeds when its repository has the
// blob: the client did not get the answer to its first try.
func (r *Registry) FinishUpload(ctx context.Context, repository oci.Repository, id string, start *int64, body io.Reader, digest oci.Digest) (metadata.Blob, error) {
	blob, err := r.finishUpload(ctx, repository, id, start, body, digest)
	if !oci.HasCode(err, oci.CodeBlobUploadUnknown) {
		return blob, err
	}
	finished, linkErr := r.linkAgain(ctx, repository, digest)
	if linkErr != nil {
		return blob, err
	}
	if body != nil {
		_, _ = io.Copy(io.Discard, body) // what was sent again is not needed, but many clients read no answer before its end
	}
	return finished, nil
}

// linkAgain returns a blob that the repository has, as if it had just been pushed: garbage collection spares it for as long.
func (r *Registry) linkAgain(ctx context.Context, repository oci.Repository, digest oci.Digest) (blob metadata.Blob, err error) {
	err = r.metadata.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		owner, err := tx.Repository(ctx, repository)
		if err != nil {
			return err
		}
		if blob, err = tx.Blob(ctx, repository, digest); err != nil {
			return err
		}
		return tx.LinkBlob(ctx, owner.ID, digest)
	})
	return blob, err
}

func (r *Registry) finishUpload(ctx context.Context, repository oci.Repository, id string, start *int64, body io.Reader, digest oci.Digest) (metadata.Blob, error) {
	w, err := r.write(ctx, repository, id, start, digest.Algorithm())
	if err != nil {
		return metadata.Blob{}, err
	}
	defer w.close(ctx)
	before := w.bytes.Offset()
	if err := w.takeLast(ctx, body); err != nil {
		return metadata.Blob{}, err
	}
	ctx = context.WithoutCancel(ctx)
	w.lock.Lock()
	defer w.lock.Unlock()
	// If others can know the upload, its last bytes are acknowledged before the commit: of two gateways that finish it with
	// different bytes only one may go on.
	if !w.fresh && w.bytes.Offset() != before {
		if err := w.advance(ctx); err != nil {
			return metadata.Blob{}, err
		}
	}
	if err := w.verify(digest); err != nil {
		return metadata.Blob{}, errors.Join(err, w.discard(ctx))
	}
	return w.commit(ctx, digest)
}

// takeLast takes the bytes that came with the request that finishes the upload.
func (w *writer) takeLast(ctx context.Context, body io.Reader) error {
	if body == nil {
		return nil
	}
	// An upload that an earlier request has committed in storage, and did not live to tell, can be finished and not added to: so
	// nothing is not appended.
	last := bufio.NewReader(body)
	if _, err := last.Peek(1); errors.Is(err, io.EOF) {
		return nil
	}
	err := w.take(ctx, last)
	if _, interrupted := errors.AsType[*InterruptedError](err); interrupted {
		return errors.Join(err, w.acknowledge(ctx))
	}
	if err != nil && w.fresh {
		w.abandon(ctx)
	}
	return err
}

// verify compares the digest of all bytes with the one that the client names.
func (w *writer) verify(digest oci.Digest) error {
	h, ok := w.hashes[digest.Algorithm()]
	if !ok {
		for a := range w.hashes {
			return oci.NewError(oci.CodeDigestInvalid, "the upload was started with digest-algorithm=%s and cannot be finished as %s", a, digest)
		}
	}
	if actual := oci.SumDigest(digest.Algorithm(), h); actual != digest {
		return &oci.Error{
			Code: oci.CodeDigestInvalid, Message: fmt.Sprintf("the %d bytes that arrived have the digest %s, not %s", w.bytes.Offset(), actual, digest),
			Detail: map[string]any{"digest": actual, "size": w.bytes.Offset()},
		}
	}
	return nil
}

func (w *writer) commit(ctx context.Context, digest oci.Digest) (metadata.Blob, error) {
	key, err := w.bytes.Commit(ctx)
	if errors.Is(err, storage.ErrTakenOver) {
		return metadata.Blob{}, w.overtaken(ctx)
	}
	if err != nil {
		if w.fresh {
			w.abandon(ctx)
		}
		return metadata.Blob{}, w.storageError("commit", err)
	}
	blob := metadata.Blob{Digest: digest, Size: w.bytes.Offset(), StorageKey: key}
	ctx, cancel := context.WithTimeout(ctx, acknowledgeTimeout)
	defer cancel()
	var kept metadata.Blob
	err = w.registry.retryConflicts(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		if err := tx.DeleteUpload(ctx, w.id); err != nil {
			return err
		}
		var err error
		if kept, err = tx.PutBlob(ctx, blob); err != nil {
			return err
		}
		return tx.LinkBlob(ctx, w.row.RepositoryID, digest)
	})
	switch {
	case errors.Is(err, metadata.ErrNotFound):
		// Somebody else finished or cancelled the upload. Only a key that nobody else can know is ours to delete.
		if w.fresh {
			w.registry.forget(ctx, key)
		}
		return metadata.Blob{}, uploadUnknown(w.row.Repository, w.id)
	case err != nil:
		// Whether the transaction took place is not certain, so the bytes stay: reconciliation finds what nothing names.
		return metadata.Blob{}, metadataError("record blob "+digest.String(), err)
	}
	w.registry.remember(w.row.Repository, kept)
	return kept, nil
}

// PutBlob takes a whole blob in one request, without an upload that others could see. The errors are those of
// [Registry.FinishUpload]; nothing of a body that is cut off is kept.
func (r *Registry) PutBlob(ctx context.Context, repository oci.Repository, digest oci.Digest, body io.Reader) (metadata.Blob, error) {
	if err := r.mayHold(ctx, repository); err != nil {
		return metadata.Blob{}, err
	}
	bytes, err := r.storage.Begin(context.WithoutCancel(ctx))
	if err != nil {
		return metadata.Blob{}, storageError("begin an upload in "+repository.String(), err)
	}
	w := r.hold(rand.Text())
	w.row.Repository, w.hashes, w.bytes, w.fresh = repository, newDigester(digest.Algorithm()), bytes, true
	defer w.close(ctx)
	err = w.take(ctx, body)
	if err == nil {
		err = w.verify(digest)
	}
	if err != nil {
		w.abandon(ctx)
		return metadata.Blob{}, err
	}
	ctx = context.WithoutCancel(ctx)
	key, err := bytes.Commit(ctx)
	if err != nil {
		w.abandon(ctx)
		return metadata.Blob{}, storageError("commit blob "+digest.String(), err)
	}
	return r.record(ctx, repository, metadata.Blob{Digest: digest, Size: bytes.Offset(), StorageKey: key})
}

// mayHold refuses a repository that could not be made, before its first gigabyte is taken.
func (r *Registry) mayHold(ctx context.Context, repository oci.Repository) error {
	_, err := r.metadata.Repository(ctx, repository)
	if errors.Is(err, metadata.ErrNotFound) {
		if repository.Project() == "" {
			return noProject(repository)
		}
		if _, err = r.metadata.Project(ctx, repository.Project()); errors.Is(err, metadata.ErrNotFound) {
			return projectUnknown(repository.Project())
		}
	}
	return metadataError("read repository "+repository.String(), err)
}

// record names committed bytes and links them to the repository, which is made if this is its first push.
func (r *Registry) record(ctx context.Context, repository oci.Repository, blob metadata.Blob) (metadata.Blob, error) {
	ctx, cancel := context.WithTimeout(ctx, acknowledgeTimeout)
	defer cancel()
	var kept metadata.Blob
	err := r.retryConflicts(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		owner, err := ensureRepository(ctx, tx, repository)
		if err != nil {
			return err
		}
		if kept, err = tx.PutBlob(ctx, blob); err != nil {
			return err
		}
		return tx.LinkBlob(ctx, owner.ID, blob.Digest)
	})
	if err != nil {
		if oci.HasCode(err, oci.CodeNameUnknown) {
			r.forget(ctx, blob.StorageKey)
		}
		return metadata.Blob{}, metadataError("record blob "+blob.Digest.String(), err)
	}
	r.remember(repository, kept)
	return kept, nil
}

// forget deletes bytes under a key that nothing names.
func (r *Registry) forget(ctx context.Context, key string) {
	if err := r.storage.Delete(ctx, []string{key}); err != nil && !errors.Is(err, storage.ErrNotFound) {
		r.log.WarnContext(ctx, "bytes that nothing names stay in storage until they are reconciled", "key", key, "error", err)
	}
}
