package auth

import (
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strconv"
	"time"

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
	if r.Err.RetryAfter > 0 {
		header.Set("Retry-After", strconv.Itoa(int(math.Ceil(r.Err.RetryAfter.Seconds()))))
	}
	header.Set("Cache-Control", "no-store")
	header.Set("Docker-Distribution-Api-Version", "registry/2.0")
	type entry struct {
		Code    oci.Code `json:"code"`
		Message string   `json:"message"`
		Detail  any      `json:"detail,omitempty"`
	}
	writeJSON(w, r.status(), map[string][]entry{"errors": {{r.Err.Code, r.Err.Message, r.Err.Detail}}})
}

func (r *Refusal) status() int {
	if r.Err.Status != 0 {
		return r.Err.Status
	}
	switch r.Err.Code {
	case oci.CodeUnauthorized:
		return http.StatusUnauthorized
	case oci.CodeDenied:
		return http.StatusForbidden
	case oci.CodeNameUnknown:
		return http.StatusNotFound
	case oci.CodeTooManyRequests:
		return http.StatusTooManyRequests
	case oci.CodeUnavailable:
		return http.StatusServiceUnavailable
	}
	return http.StatusBadRequest
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
	return unavailable(err)
}
