package auth

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/identity"
	"github.com/berth-registry/berth/oci"
)

// retryAfter is what a client is told to wait when the database or a source of identity does not answer.
const retryAfter = 5 * time.Second

// Refusal is a request that may not pass.
type Refusal struct {
	// Err is what the body says.
	Err *oci.Error
	// Challenge is the value of WWW-Authenticate, "" unless the status is 401.
	Challenge string
}

// Error returns the code, the message and the cause.
func (r *Refusal) Error() string { return r.Err.Error() }

// Unwrap returns the [*oci.Error].
func (r *Refusal) Unwrap() error { return r.Err }

// Write sends the refusal: status, WWW-Authenticate, Retry-After and the specification's JSON.
func (r *Refusal) Write(w http.ResponseWriter) {
	header := w.Header()
	if r.Challenge != "" {
		header.Set("WWW-Authenticate", r.Challenge)
	}
	header.Set("Docker-Distribution-Api-Version", "registry/2.0")
	WriteError(w, r.Err)
}

// Status returns the HTTP status of an error: its own, or the one that belongs to its code.
func Status(err *oci.Error) int {
	if err.Status != 0 {
		return err.Status
	}
	switch err.Code {
	case oci.CodeBlobUnknown, oci.CodeBlobUploadUnknown, oci.CodeManifestUnknown, oci.CodeManifestBlobUnknown, oci.CodeNameUnknown:
		return http.StatusNotFound
	case oci.CodeBlobUploadInvalid, oci.CodeDigestInvalid, oci.CodeManifestInvalid, oci.CodeNameInvalid, oci.CodeSizeInvalid:
		return http.StatusBadRequest
	case oci.CodeUnauthorized:
		return http.StatusUnauthorized
	case oci.CodeDenied:
		return http.StatusForbidden
	case oci.CodeUnsupported:
		return http.StatusMethodNotAllowed
	case oci.CodeTooManyRequests:
		return http.StatusTooManyRequests
	case oci.CodePrecondition:
		return http.StatusPreconditionFailed
	case oci.CodeUnavailable:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// WriteError sends an error as the specification's JSON, with the Retry-After that it asks for.
func WriteError(w http.ResponseWriter, err *oci.Error) {
	header := w.Header()
	if err.RetryAfter > 0 {
		header.Set("Retry-After", strconv.FormatInt(int64((err.RetryAfter+time.Second-1)/time.Second), 10))
	}
	header.Set("Cache-Control", "no-store")
	type entry struct {
		Code    oci.Code `json:"code"`
		Message string   `json:"message"`
		Detail  any      `json:"detail,omitempty"`
	}
	writeJSON(w, Status(err), map[string][]entry{"errors": {{err.Code, err.Message, err.Detail}}})
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	encoded, err := json.Marshal(body)
	if err != nil {
		status, encoded = http.StatusInternalServerError, []byte(`{"errors":[{"code":"UNKNOWN","message":"the answer cannot be encoded"}]}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(encoded)))
	w.WriteHeader(status)
	_, _ = w.Write(encoded) // a client that has gone cannot be told so
}

func unavailable(err error) *Refusal {
	return &Refusal{Err: &oci.Error{
		Code: oci.CodeUnavailable, Message: "who you are and what you may do cannot be told for the moment: try again",
		RetryAfter: retryAfter, Err: err,
	}}
}

// loginFailure is for every error of a login but wrong credentials.
func loginFailure(err error) *Refusal {
	if throttled, ok := errors.AsType[*identity.ThrottledError](err); ok {
		return &Refusal{Err: &oci.Error{
			Code: oci.CodeTooManyRequests, Message: throttled.Error(), RetryAfter: throttled.RetryAfter,
		}}
	}
	refusal := unavailable(err)
	if told, ok := errors.AsType[*fault.Error](err); ok && told.Kind == fault.Unavailable {
		refusal.Err.Message = told.Message
	}
	return refusal
}
