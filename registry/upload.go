package registry

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/storage"
)

// acknowledgeTimeout bounds how long the database may take over what a client has sent already. It runs without the request's
// context, so that a client that goes away does not take its bytes with it.
const acknowledgeTimeout = 30 * time.Second

// StartUpload opens an upload in the repository, which is made if this is its first push. The algorithm fixes the digest that
// the upload will be finished with; "" leaves it open. The error is an [*oci.Error] with [oci.CodeNameUnknown] when the project
// does not exist.
func (r *Registry) StartUpload(ctx context.Context, actor event.Actor, repository oci.Repository, algorithm oci.Algorithm) (Session, error) {
	row := metadata.Upload{ID: rand.Text(), Repository: repository, CreatedBy: actor.Name}
	if algorithm != "" {
		states, err := newDigester(algorithm).states()
		if err != nil {
			return Session{}, err
		}
		row.Hashes = states
	}
	err := r.metadata.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		owner, err := ensureRepository(ctx, tx, repository)
		if err != nil {
			return err
		}
		row.RepositoryID = owner.ID
		row.ExpiresAt = r.now().Add(r.expiry)
		_, err = tx.CreateUpload(ctx, row)
		return err
	})
	if err != nil {
		return Session{}, metadataError("start an upload in "+repository.String(), err)
	}
	return Session{ID: row.ID}, nil
}

// UploadStatus returns how far an upload has come. The error is an [*oci.Error] with [oci.CodeBlobUploadUnknown] when the
// repository has no such upload, or it has expired.
func (r *Registry) UploadStatus(ctx context.Context, repository oci.Repository, id string) (Session, error) {
	row, err := r.upload(ctx, repository, id)
	return Session{ID: row.ID, Offset: row.Offset}, err
}

// CancelUpload ends an upload and removes what was sent; a request that is still writing to it is shut out. The error is that of
// [Registry.UploadStatus].
func (r *Registry) CancelUpload(ctx context.Context, repository oci.Repository, id string) error {
	w := r.hold(id)
	defer w.close(ctx)
	w.lock.Lock()
	defer w.lock.Unlock()
	var err error
	if w.row, err = r.upload(ctx, repository, id); err != nil {
		return err
	}
	return w.discard(context.WithoutCancel(ctx))
}

// AppendUpload adds the body to an upload and returns how far it has come; what it returns is durable. A start that is not nil
// must be where the upload ends now, else the error is an [*OffsetError]; so it is when another request has taken the upload
// over meanwhile. When the body is cut off the error is an [*InterruptedError], and what had arrived counts.
func (r *Registry) AppendUpload(ctx context.Context, repository oci.Repository, id string, start *int64, body io.Reader) (Session, error) {
	w, err := r.write(ctx, repository, id, start, oci.SHA256, oci.SHA512)
	if err != nil {
		return Session{}, err
	}
	defer w.close(ctx)
	took := w.take(ctx, body)
	if err := w.acknowledge(ctx); err != nil {
		return w.session(), errors.Join(err, took)
	}
	return w.session(), took
}

// upload reads the row of a live upload.
func (r *Registry) upload(ctx context.Context, repository oci.Repository, id string) (metadata.Upload, error) {
	if !isUploadID(id) {
		return metadata.Upload{}, uploadUnknown(repository, id)
	}
	row, err := r.metadata.Upload(ctx, id)
	if errors.Is(err, metadata.ErrNotFound) || err == nil && (row.Repository != repository || !r.now().Before(row.ExpiresAt)) {
		return metadata.Upload{}, uploadUnknown(repository, id)
	}
	return row, metadataError("read upload "+id, err)
}

// isUploadID reports whether an id has the form of [rand.Text]. Others come from hostile clients, and need not trouble a database.
func isUploadID(id string) bool {
	return len(id) == 26 && strings.Trim(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") == ""
}

func uploadUnknown(repository oci.Repository, id string) error {
	return oci.NewError(oci.CodeBlobUploadUnknown, "repository %q has no upload %q: it was finished, cancelled or has expired", repository, id)
}

// writer is one request's hold on an upload. Whoever comes last has it: a request on a connection that died unnoticed must not
// keep the client that comes back from its upload. The steps that read or advance the row are exclusive within the process, and
// the storage shuts out whom the newcomer takes over; between gateways the compare-and-set of the row's version lets one of them
// count.
type writer struct {
	registry *Registry
	id       string
	lock     *keyholders
	row      metadata.Upload
	hashes   digester
	// bytes is nil until open.
	bytes storage.Upload
	// fresh: no other request can know what is in storage under this upload.
	fresh bool
	// torn: the storage and the hashes disagree on what was taken, so only what was acknowledged before is certain.
	torn bool
}

func (r *Registry) hold(id string) *writer {
	r.uploading.Add(1)
	return &writer{registry: r, id: id, lock: r.writers.hold(id)}
}

// write takes hold of an upload whose end is at start, if that is not nil, and makes it ready to take bytes. The algorithms are
// those to hash by when the upload has not begun and none was fixed when it was started.
func (r *Registry) write(ctx context.Context, repository oci.Repository, id string, start *int64, algorithms ...oci.Algorithm) (*writer, error) {
	w := r.hold(id)
	if err := w.begin(ctx, repository, start, algorithms); err != nil {
		w.close(ctx)
		return nil, err
	}
	return w, nil
}

func (w *writer) begin(ctx context.Context, repository oci.Repository, start *int64, algorithms []oci.Algorithm) error {
	w.lock.Lock()
	defer w.lock.Unlock()
	var err error
	if w.row, err = w.registry.upload(ctx, repository, w.id); err != nil {
		return err
	}
	if start != nil && *start != w.row.Offset {
		return &OffsetError{w.session(), fmt.Sprintf("the chunk begins at byte %d", *start)}
	}
	return w.open(context.WithoutCancel(ctx), algorithms)
}

func (w *writer) session() Session { return Session{ID: w.row.ID, Offset: w.row.Offset} }

// open begins or resumes the upload in storage.
func (w *writer) open(ctx context.Context, algorithms []oci.Algorithm) error {
	var err error
	if len(w.row.Hashes) == 0 {
		w.hashes = newDigester(algorithms...)
	} else if w.hashes, err = restoreDigester(w.row.Hashes); err != nil {
		return &oci.Error{Code: oci.CodeUnknown, Message: "the upload cannot be continued", Err: fmt.Errorf("upload %s: %w", w.id, err)}
	}
	if w.row.StorageState == nil {
		w.fresh = true
		w.bytes, err = w.registry.storage.Begin(ctx)
		return storageError("begin upload "+w.id, err)
	}
	w.bytes, err = w.registry.storage.Resume(ctx, w.row.StorageState)
	if err != nil {
		return w.storageError("resume", err)
	}
	// Between the row and the resume another gateway may have acknowledged more. From here on the storage keeps it out, so looking
	// once more is enough.
	now, err := w.registry.upload(ctx, w.row.Repository, w.id)
	if err == nil && now.Version != w.row.Version {
		err = &OffsetError{Session{now.ID, now.Offset}, "another request has written to this upload"}
	}
	return err
}

// take hashes and stores the body. Storage is not given the request's context: a client that goes away ends the body, and the
// part that is being stored then still counts. A nil body has no bytes.
func (w *writer) take(ctx context.Context, body io.Reader) error {
	if body == nil {
		return nil
	}
	t := newTap(ctx, body, w.hashes)
	n, err := w.bytes.Append(context.WithoutCancel(ctx), t)
	t.close()
	if n != t.total {
		w.torn = true
	}
	if cut := t.failed(); cut != nil && !w.torn {
		return &InterruptedError{cut}
	}
	if err != nil {
		if errors.Is(err, storage.ErrTakenOver) {
			return w.overtaken(ctx)
		}
		return w.storageError("store bytes of", err)
	}
	if w.torn {
		return &oci.Error{Code: oci.CodeUnknown, Message: "the storage failed", Err: fmt.Errorf("upload %s: storage took %d of %d bytes", w.id, n, t.total)}
	}
	return nil
}

// acknowledge is advance for who does not hold the lock.
func (w *writer) acknowledge(ctx context.Context) error {
	w.lock.Lock()
	defer w.lock.Unlock()
	return w.advance(ctx)
}

// advance makes what was taken durable and advances the row, if it is still as it was read.
func (w *writer) advance(ctx context.Context) error {
	if w.torn {
		if w.fresh {
			w.abandon(ctx)
		}
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), acknowledgeTimeout)
	defer cancel()
	state, err := w.bytes.Suspend(ctx)
	if errors.Is(err, storage.ErrTakenOver) {
		return w.overtaken(ctx)
	}
	if err != nil {
		return w.storageError("make durable", err)
	}
	hashes, err := w.hashes.states()
	if err != nil {
		return err
	}
	next := w.row
	next.StorageState, next.Hashes, next.Offset = state, hashes, w.bytes.Offset()
	next.ExpiresAt = w.registry.now().Add(w.registry.expiry)
	var advanced metadata.Upload
	err = w.registry.metadata.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) (err error) {
		advanced, err = tx.UpdateUpload(ctx, next)
		return err
	})
	if errors.Is(err, metadata.ErrConflict) || errors.Is(err, metadata.ErrNotFound) {
		if w.fresh {
			w.abandon(ctx)
		}
		return w.overtaken(ctx)
	}
	if err != nil {
		return metadataError("advance upload "+w.id, err)
	}
	w.row, w.fresh = advanced, false
	return nil
}

// overtaken is the error of a writer after another request went on with the upload.
func (w *writer) overtaken(ctx context.Context) error {
	row, err := w.registry.upload(context.WithoutCancel(ctx), w.row.Repository, w.id)
	if err != nil {
		return err
	}
	return &OffsetError{Session{row.ID, row.Offset}, "another request has taken this upload over"}
}

// abandon removes bytes that no row knows of.
func (w *writer) abandon(ctx context.Context) {
	if err := w.bytes.Abort(context.WithoutCancel(ctx)); err != nil {
		w.registry.log.WarnContext(ctx, "bytes of an upload stay in storage until they are swept", "upload", w.id, "error", err)
	}
}

// discard removes the upload: the row first, so that no name is left without bytes.
func (w *writer) discard(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, acknowledgeTimeout)
	defer cancel()
	err := w.registry.metadata.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		return tx.DeleteUpload(ctx, w.id)
	})
	if err != nil && !errors.Is(err, metadata.ErrNotFound) {
		return metadataError("remove upload "+w.id, err)
	}
	if err := w.abort(ctx); err != nil {
		w.registry.log.WarnContext(ctx, "bytes of a removed upload stay in storage until they are swept", "upload", w.id, "error", err)
	}
	return nil
}

func (w *writer) abort(ctx context.Context) error {
	if w.bytes == nil {
		if w.row.StorageState == nil {
			return nil
		}
		bytes, err := w.registry.storage.Resume(ctx, w.row.StorageState)
		if errors.Is(err, storage.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		w.bytes = bytes
	}
	return w.bytes.Abort(ctx)
}

func (w *writer) close(ctx context.Context) {
	if w.bytes != nil {
		if err := w.bytes.Close(); err != nil {
			w.registry.log.WarnContext(ctx, "closing an upload failed", "upload", w.id, "error", err)
		}
	}
	w.registry.uploading.Add(-1)
	w.registry.writers.release(w.id)
}
