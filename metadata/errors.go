package metadata

import (
	"errors"
	"fmt"
)

// The kinds of fault that callers tell apart.
var (
	// ErrUnavailable says that the database does not answer for the moment.
	ErrUnavailable = errors.New("database is unavailable")
	// ErrNoSpace says that the disk of the database is full.
	ErrNoSpace = errors.New("no space left for the database")
	// ErrLocked says that another process has the embedded database open.
	ErrLocked = errors.New("database is in use by another process")
)

// NewerSchemaError refuses a database that a newer Berth has written.
type NewerSchemaError struct {
	// Found is the version of the database, Known the newest that this program understands.
	Found, Known int64
}

// Error says what to do.
func (e *NewerSchemaError) Error() string {
	return fmt.Sprintf("database has schema version %d, this version of Berth knows only up to %d: start the newer Berth again, or restore a backup from before the upgrade", e.Found, e.Known)
}

// Kind marks err, an error of a driver, as one of this package's kinds; both are found by errors.Is and errors.As.
func Kind(kind, err error) error { return &kindError{kind: kind, err: err} }

// kindError is an error of a driver with its kind.
type kindError struct{ kind, err error }

func (e *kindError) Error() string   { return fmt.Sprintf("%v: %v", e.kind, e.err) }
func (e *kindError) Unwrap() []error { return []error{e.kind, e.err} }

// classified reports whether err carries one of this package's kinds already.
func classified(err error) bool {
	_, ok := errors.AsType[*kindError](err)
	return ok
}
