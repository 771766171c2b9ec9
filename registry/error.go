package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/storage"
)

// retryAfter is what a client is told to wait when the storage or the database does not say.
const retryAfter = 5 * time.Second

// Session is the state of an upload that a client may know.
type Session struct {
	ID string
	// Offset is the number of acknowledged bytes: where the next chunk begins.
	Offset int64
}

// OffsetError refuses bytes that do not continue an upload: they begin elsewhere, or another request is writing to it.
type OffsetError struct {
	Session Session
	Reason  string
}

// Error returns the reason and where the upload goes on.
func (e *OffsetError) Error() string {
	return fmt.Sprintf("%s: upload %s goes on at byte %d", e.Reason, e.Session.ID, e.Session.Offset)
}

// InterruptedError says that a request's body ended in an error: the client has gone, or sent too little. What had arrived is
// kept where the upload can go on.
type InterruptedError struct {
	Err error
}

// Error returns the cause's text.
func (e *InterruptedError) Error() string { return fmt.Sprintf("request body was cut off: %v", e.Err) }

// Unwrap returns the cause.
func (e *InterruptedError) Unwrap() error { return e.Err }

// storageError turns an error of the storage into what a client may read.
func storageError(act string, err error) error {
	if err == nil {
		return nil
	}
	cause := fmt.Errorf("%s: %w", act, err)
	if retryable, ok := errors.AsType[*storage.RetryableError](err); ok {
		after := retryable.After
		if after <= 0 {
			after = retryAfter
		}
		return &oci.Error{Code: oci.CodeUnavailable, Message: "the storage is unavailable for the moment: try again", RetryAfter: after, Err: cause}
	}
	switch {
	case errors.Is(err, storage.ErrNoSpace):
		return &oci.Error{Code: oci.CodeUnavailable, Message: "the storage is full", Status: http.StatusInsufficientStorage, Err: cause}
	case errors.Is(err, storage.ErrTooLarge):
		return &oci.Error{Code: oci.CodeSizeInvalid, Message: "the blob is larger than the storage can hold", Status: http.StatusRequestEntityTooLarge, Err: cause}
	case errors.Is(err, storage.ErrDenied):
		return &oci.Error{
			Code: oci.CodeUnavailable, Message: "the storage refuses the registry: its operator has to look at the storage's credentials and permissions",
			RetryAfter: time.Minute, Err: cause,
		}
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return cause
	}
	return &oci.Error{Code: oci.CodeUnknown, Message: "the storage failed", Err: cause}
}

// storageError is that of an act on an upload, whose bytes may be gone: aborted behind the registry's back, or left in a storage
// that another one has replaced since.
func (w *writer) storageError(act string, err error) error {
	act += " upload " + w.id
	if errors.Is(err, storage.ErrNotFound) {
		return &oci.Error{
			Code: oci.CodeBlobUploadUnknown, Message: "the upload's bytes are gone from storage: start again", Err: fmt.Errorf("%s: %w", act, err),
		}
	}
	return storageError(act, err)
}

// metadataError turns an error of the database into what a client may read. An [*oci.Error], a [*fault.Error] and an
// [*OffsetError] that a transaction returned stay as they are. What is not found must be translated before, by the caller who knows what it is.
func metadataError(act string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*oci.Error](err); ok {
		return err
	}
	if _, ok := errors.AsType[*OffsetError](err); ok {
		return err
	}
	if fault.Of(err) != 0 {
		return err
	}
	cause := fmt.Errorf("%s: %w", act, err)
	switch {
	case errors.Is(err, metadata.ErrQuery):
		return fault.New(fault.Invalid, "%v", err)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return cause
	case errors.Is(err, metadata.ErrNoSpace):
		return &oci.Error{Code: oci.CodeUnavailable, Message: "the disk of the database is full", Status: http.StatusInsufficientStorage, Err: cause}
	case errors.Is(err, metadata.ErrUnavailable), errors.Is(err, metadata.ErrConflict):
		return &oci.Error{Code: oci.CodeUnavailable, Message: "the database is unavailable for the moment: try again", RetryAfter: retryAfter, Err: cause}
	}
	return &oci.Error{Code: oci.CodeUnknown, Message: "the database failed", Err: cause}
}
