package api

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/identity"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
)

// The codes of errors, as Harbor's clients know them.
const (
	codeBadRequest       = "BAD_REQUEST"
	codeUnauthorized     = "UNAUTHORIZED"
	codeForbidden        = "FORBIDDEN"
	codeDenied           = "DENIED"
	codeNotFound         = "NOT_FOUND"
	codeMethodNotAllowed = "METHOD_NOT_ALLOWED"
	codeConflict         = "CONFLICT"
	codePrecondition     = "PRECONDITION"
	codeTooLarge         = "REQUEST_ENTITY_TOO_LARGE"
	codeUnprocessable    = "UNPROCESSABLE_ENTITY"
	codeTooManyRequests  = "TOO_MANY_REQUEST"
	codeUnavailable      = "SERVICE_UNAVAILABLE"
	codeUnknown          = "UNKNOWN"
)

// retryAfter is what a client is told to wait when the database or a directory does not answer.
const retryAfter = 5 * time.Second

// errorBody is the body of every refusal.
type errorBody struct {
	Errors []errorEntry `json:"errors"`
}

type errorEntry struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

func writeError(w http.ResponseWriter, status int, code, message string) {
	writeJSON(w, status, errorBody{[]errorEntry{{code, message}}})
}

// fail answers with an error. What it does not know is the registry's own fault: the cause goes to the log and not to the client.
func (c *Call) fail(err error) {
	if throttled, ok := errors.AsType[*identity.ThrottledError](err); ok {
		c.Header().Set("Retry-After", seconds(throttled.RetryAfter))
		c.refuse(http.StatusTooManyRequests, codeTooManyRequests, throttled.Error())
		return
	}
	status, code, message := classify(err)
	switch status {
	case http.StatusServiceUnavailable:
		c.Header().Set("Retry-After", seconds(retryAfter))
		fallthrough
	case http.StatusInternalServerError:
		if c.Context().Err() == nil || !errors.Is(err, context.Canceled) {
			c.api.options.Logger.ErrorContext(c.Context(), "request failed", "operation", c.route.ID, "error", err)
		}
	}
	c.refuse(status, code, message)
}

// isMissing reports whether an error says that a row is not there.
func isMissing(err error) bool { return errors.Is(err, metadata.ErrNotFound) }

func seconds(d time.Duration) string {
	return strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10)
}

// classify maps an error to its status, code and message.
func classify(err error) (status int, code, message string) {
	if own, ok := errors.AsType[*statusError](err); ok {
		return own.status, own.code, own.message
	}
	if refusal, ok := errors.AsType[*fault.Error](err); ok {
		status, code := statusOf(refusal.Kind)
		return status, code, refusal.Message
	}
	if refusal, ok := errors.AsType[*oci.Error](err); ok {
		return statusOfCode(refusal)
	}
	switch {
	case errors.Is(err, errUnauthorized):
		return http.StatusUnauthorized, codeUnauthorized, err.Error()
	case errors.Is(err, metadata.ErrNotFound):
		return http.StatusNotFound, codeNotFound, err.Error()
	case errors.Is(err, metadata.ErrExists), errors.Is(err, metadata.ErrConflict):
		return http.StatusConflict, codeConflict, err.Error()
	case errors.Is(err, metadata.ErrReferenced):
		return http.StatusPreconditionFailed, codePrecondition, err.Error()
	case errors.Is(err, metadata.ErrQuery):
		return http.StatusBadRequest, codeBadRequest, err.Error()
	case errors.Is(err, metadata.ErrUnavailable), errors.Is(err, metadata.ErrNoSpace):
		return http.StatusServiceUnavailable, codeUnavailable, "the database is unavailable for the moment: try again"
	}
	return http.StatusInternalServerError, codeUnknown, "internal server error"
}

func statusOf(kind fault.Kind) (int, string) {
	switch kind {
	case fault.Invalid:
		return http.StatusBadRequest, codeBadRequest
	case fault.Forbidden:
		return http.StatusForbidden, codeForbidden
	case fault.NotFound:
		return http.StatusNotFound, codeNotFound
	case fault.Conflict:
		return http.StatusConflict, codeConflict
	case fault.Precondition:
		return http.StatusPreconditionFailed, codePrecondition
	case fault.Exceeded:
		return http.StatusForbidden, codeDenied
	case fault.Unsupported:
		return http.StatusMethodNotAllowed, codeMethodNotAllowed
	case fault.Unavailable:
		return http.StatusServiceUnavailable, codeUnavailable
	}
	return http.StatusInternalServerError, codeUnknown
}

// statusOfCode is for errors of the registry, which speak the distribution API's codes.
func statusOfCode(err *oci.Error) (int, string, string) {
	switch err.Code {
	case oci.CodeNameUnknown, oci.CodeManifestUnknown, oci.CodeBlobUnknown, oci.CodeManifestBlobUnknown:
		return http.StatusNotFound, codeNotFound, err.Message
	case oci.CodeDenied:
		return http.StatusForbidden, codeDenied, err.Message
	case oci.CodePrecondition:
		return http.StatusPreconditionFailed, codePrecondition, err.Message
	case oci.CodeUnavailable:
		return http.StatusServiceUnavailable, codeUnavailable, err.Message
	case oci.CodeUnknown:
		return http.StatusInternalServerError, codeUnknown, "internal server error"
	}
	return http.StatusBadRequest, codeBadRequest, err.Message
}
