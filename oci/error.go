package oci

import (
	"errors"
	"fmt"
	"time"
)

// Code is an error code of distribution-spec 1.1 "Error Codes".
type Code string

// The codes of the specification, the two that every peer adds, UNKNOWN for a fault of the server and UNAVAILABLE for one that
// passes, and Harbor's PRECONDITION, for a rule that stands against it.
const (
	CodeBlobUnknown         Code = "BLOB_UNKNOWN"
	CodeBlobUploadInvalid   Code = "BLOB_UPLOAD_INVALID"
	CodeBlobUploadUnknown   Code = "BLOB_UPLOAD_UNKNOWN"
	CodeDigestInvalid       Code = "DIGEST_INVALID"
	CodeManifestBlobUnknown Code = "MANIFEST_BLOB_UNKNOWN"
	CodeManifestInvalid     Code = "MANIFEST_INVALID"
	CodeManifestUnknown     Code = "MANIFEST_UNKNOWN"
	CodeNameInvalid         Code = "NAME_INVALID"
	CodeNameUnknown         Code = "NAME_UNKNOWN"
	CodeSizeInvalid         Code = "SIZE_INVALID"
	CodeUnauthorized        Code = "UNAUTHORIZED"
	CodeDenied              Code = "DENIED"
	CodeUnsupported         Code = "UNSUPPORTED"
	CodeTooManyRequests     Code = "TOOMANYREQUESTS"
	CodeUnavailable         Code = "UNAVAILABLE"
	CodePrecondition        Code = "PRECONDITION"
	CodeUnknown             Code = "UNKNOWN"
)

// Error is a refusal that a client may read.
type Error struct {
	Code    Code
	Message string
	// Detail is sent as the specification's "detail"; nil leaves it out.
	Detail any
	// RetryAfter, when not zero, tells the client how long to wait; it is sent in whole seconds, rounded up.
	RetryAfter time.Duration
	// Status overrides the HTTP status that belongs to the code; 0 keeps it.
	Status int
	// Err is the cause, for the log only: it is never sent.
	Err error
}

// NewError returns an [*Error] with a formatted message.
func NewError(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Error returns the code, the message and the cause.
func (e *Error) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s: %s: %v", e.Code, e.Message, e.Err)
	}
	return fmt.Sprintf("%s: %s", e.Code, e.Message)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// HasCode reports whether err is, or wraps, an [*Error] with the code.
func HasCode(err error, code Code) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Code == code
}
