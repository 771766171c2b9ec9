// Package fault is how a use case refuses: in few kinds, with a message that a person may read. Each face maps the kinds to its
// own words once, the API to a status, the distribution API to its codes, the command line to an exit status.
package fault

import (
	"errors"
	"fmt"
)

// Kind says what is wrong with what was asked for.
type Kind int

// The kinds of fault.
const (
	// Invalid: the request cannot be meant as it is.
	Invalid Kind = iota + 1
	// Forbidden: the caller may not, whoever they are and whatever their role.
	Forbidden
	// NotFound: what was named does not exist.
	NotFound
	// Conflict: the name is taken, or somebody else was faster.
	Conflict
	// Precondition: something has to be done or removed first, or a rule stands against it.
	Precondition
	// Exceeded: a limit on what may be stored would be exceeded.
	Exceeded
	// Unsupported: what was named cannot do that.
	Unsupported
	// Unavailable: something that has to be asked does not answer for the moment.
	Unavailable
)

// Error is a refusal.
type Error struct {
	Kind    Kind
	Message string
	// Err is the cause, for logs and errors.Is; it may be nil, and is not told to the caller.
	Err error
}

// Error returns the message, and the cause where there is one.
func (e *Error) Error() string {
	if e.Err == nil {
		return e.Message
	}
	return e.Message + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// New returns a refusal.
func New(kind Kind, format string, args ...any) *Error {
	return &Error{Kind: kind, Message: fmt.Sprintf(format, args...)}
}

// Because returns a refusal with its cause.
func Because(err error, kind Kind, format string, args ...any) *Error {
	return &Error{Kind: kind, Message: fmt.Sprintf(format, args...), Err: err}
}

// Of returns the kind of an error, 0 when it is no refusal.
func Of(err error) Kind {
	if refusal, ok := errors.AsType[*Error](err); ok {
		return refusal.Kind
	}
	return 0
}
