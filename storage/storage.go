// Package storage holds bytes under opaque keys that are never used twice. Which digest a key stands for, and whether anybody
// may read it, is for SQL to say (package metadata); storage knows neither repositories nor digests.
//
// A backend is a type that implements [Backend], and, where it can, the one-method interfaces [Redirector], [Walker] and
// [Sweeper]. Package storagetest has the suite that every backend passes.
package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// Backend stores bytes. Its methods may be called from many goroutines. Errors are, or wrap, one of [ErrNotFound],
// [ErrNoSpace], [ErrDenied], [ErrTooLarge], [ErrTakenOver], [*RetryableError], the context's error, or the error of the reader that was appended from;
// anything else is a fault that a person has to look at.
type Backend interface {
	// Begin starts an upload under a fresh key.
	Begin(ctx context.Context) (Upload, error)
	// Resume continues an upload, perhaps of another process, from the state that Suspend returned: at the offset it had then,
	// whatever was appended after. It returns [ErrNotFound] when the bytes are gone.
	Resume(ctx context.Context, state []byte) (Upload, error)
	// Open reads length bytes of an object from offset; a negative length reads to the end. What lies beyond the end reads as
	// nothing. The caller closes the reader, whose errors are typed as the backend's are. A backend on a file system returns an
	// *os.File when the whole object is asked for, so that the kernel can send it.
	Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error)
	// Delete removes objects. A key that is gone already is a success. On an error some may have been removed; call again.
	Delete(ctx context.Context, keys []string) error
	// Check writes, reads and deletes a small object, and returns the first error: for `berth doctor` and health.
	Check(ctx context.Context) error
}

// Upload is one object being written by one caller at a time.
type Upload interface {
	// Append adds what r holds and returns how many bytes were taken. Memory is bounded, whatever the length. After an error of r
	// or of the context all bytes that were read from r are taken and the upload goes on; Suspend makes them durable. After an
	// error of the storage fewer may be taken than were read (a full disk): what was read beyond them is lost, and a caller that
	// hashes on the way goes back to the state it last suspended.
	Append(ctx context.Context, r io.Reader) (int64, error)
	// Offset is the number of bytes taken so far.
	Offset() int64
	// Suspend makes everything that was taken durable and returns the state for Resume, less than 6 MiB. It does not end the
	// upload: the caller may go on with Append, or drop the value after Close.
	Suspend(ctx context.Context) ([]byte, error)
	// Commit makes the object durable and readable, and returns its key. Called again it returns the same key, also after a
	// Resume of the state from before the commit when the object is there.
	Commit(ctx context.Context) (key string, err error)
	// Abort removes what was stored. Aborting what is gone is a success; a committed object is left alone, for SQL may name it.
	Abort(ctx context.Context) error
	// Close lets go of memory and descriptors and keeps what is durable. It is called once, after the last other call, also after
	// Commit and Abort.
	Close() error
}

// RedirectOptions shape the response of the URL that [Redirector] returns.
type RedirectOptions struct {
	// ContentType is the response's Content-Type.
	ContentType string
}

// Redirector is a backend whose objects a client may fetch by itself.
type Redirector interface {
	// Redirect returns a URL good for a few minutes, or "" when the operator has switched redirects off. It costs no request to
	// the storage.
	Redirect(ctx context.Context, key string, options RedirectOptions) (string, error)
}

// Object is one stored object.
type Object struct {
	Key  string
	Size int64
	// Modified is when it was written; reconciliation spares what is young.
	Modified time.Time
}

// Walker is a backend that can list what it holds.
type Walker interface {
	// Walk calls fn for every committed object with a key after the given one, in the order of keys. An error of fn ends the walk
	// and is returned.
	Walk(ctx context.Context, after string, fn func(Object) error) error
}

// Sweeper is a backend in which uploads that nobody knows may remain after a crash.
type Sweeper interface {
	// Sweep removes unfinished uploads that were last written before the given time and returns how many there were.
	Sweep(ctx context.Context, before time.Time) (int, error)
}

// The kinds of error that callers tell apart.
var (
	// ErrNotFound says that no object has this key, or the upload is gone.
	ErrNotFound = errors.New("not found in storage")
	// ErrNoSpace says that the disk or the bucket's quota is full.
	ErrNoSpace = errors.New("no space left in storage")
	// ErrDenied says that the storage refuses Berth: credentials, permissions, a missing bucket. The operator has to act.
	ErrDenied = errors.New("storage refuses access")
	// ErrTooLarge says that the object is larger than the storage can hold in one piece.
	ErrTooLarge = errors.New("object is too large for the storage")
	// ErrTakenOver says that the upload was resumed elsewhere, so this side of it may not write any more.
	ErrTakenOver = errors.New("upload was taken over by another request")
)

// RetryableError is a fault that is likely to pass: a timeout, a cut connection, a request to slow down.
type RetryableError struct {
	// After is how long to wait; 0 leaves it to the caller.
	After time.Duration
	Err   error
}

// Error returns the cause's text.
func (e *RetryableError) Error() string {
	return fmt.Sprintf("storage is unavailable for the moment: %v", e.Err)
}

// Unwrap returns the cause.
func (e *RetryableError) Unwrap() error { return e.Err }
