package distribution

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/berth-registry/berth/distribution/auth"
	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/registry"
)

var (
	errPathUnknown      = &oci.Error{Code: oci.CodeUnsupported, Status: http.StatusNotFound, Message: "no operation of the distribution specification has this path"}
	errMethodNotAllowed = &oci.Error{Code: oci.CodeUnsupported, Status: http.StatusMethodNotAllowed, Message: "this path does not take this method"}
)

// statusClientGone is what nginx logs for a client that went away; it is counted and never sent.
const statusClientGone = 499

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
	case oci.CodeUnavailable:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// WriteError sends an error as the specification's JSON: for whoever has to answer a request under /v2 in the handler's place.
func WriteError(w http.ResponseWriter, err *oci.Error) {
	type entry struct {
		Code    oci.Code `json:"code"`
		Message string   `json:"message"`
		Detail  any      `json:"detail,omitempty"`
	}
	body, encodeErr := json.Marshal(map[string][]entry{"errors": {{err.Code, err.Message, err.Detail}}})
	if encodeErr != nil {
		body = []byte(`{"errors":[{"code":"UNKNOWN","message":"the error cannot be shown"}]}`)
	}
	header := w.Header()
	if err.RetryAfter > 0 {
		header.Set("Retry-After", strconv.FormatInt(int64((err.RetryAfter+time.Second-1)/time.Second), 10))
	}
	header.Set("Content-Type", "application/json")
	header.Set("Content-Length", strconv.Itoa(len(body)))
	header.Set("Cache-Control", "no-store")
	w.WriteHeader(Status(err))
	// Who does not read the error will not be told.
	_, _ = w.Write(body)
}

// fail answers with an error, and logs it if it is the registry's fault.
func (x *exchange) fail(err error) {
	if x.r.Context().Err() != nil {
		x.log.DebugContext(x.r.Context(), "client went away", x.attributes(err)...)
		if x.status == 0 {
			x.status = statusClientGone
		}
		return
	}
	refusal := x.refusal(err)
	status := Status(refusal)
	if status >= http.StatusInternalServerError {
		x.log.ErrorContext(x.r.Context(), "request failed", x.attributes(err)...)
	}
	if x.status != 0 {
		return // too late to say anything
	}
	x.status = status
	for _, name := range contentHeaders {
		x.w.Header().Del(name)
	}
	WriteError(x.w, refusal)
}

// contentHeaders describe content, and would describe the error in its place.
var contentHeaders = []string{"Accept-Ranges", "Docker-Content-Digest", "Etag"}

func (x *exchange) attributes(err error) []any {
	attributes := []any{slog.String("route", x.route), slog.String("repository", string(x.repository)), slog.Any("error", err)}
	if id := x.requestID(x.r); id != "" {
		attributes = append(attributes, slog.String("request_id", id))
	}
	return attributes
}

// refusal turns any error into what the client is told, and sets the headers that go with it.
func (x *exchange) refusal(err error) *oci.Error {
	if r, ok := errors.AsType[*auth.Refusal](err); ok {
		if r.Challenge != "" {
			x.w.Header().Set("WWW-Authenticate", r.Challenge)
		}
		return r.Err
	}
	if offset, ok := errors.AsType[*registry.OffsetError](err); ok {
		x.describe(offset.Session)
		return &oci.Error{Code: oci.CodeBlobUploadInvalid, Status: http.StatusRequestedRangeNotSatisfiable, Message: offset.Error()}
	}
	if refusal, ok := errors.AsType[*oci.Error](err); ok {
		return refusal
	}
	if cut, ok := errors.AsType[*registry.InterruptedError](err); ok {
		if errors.Is(cut, os.ErrDeadlineExceeded) {
			return &oci.Error{Code: oci.CodeBlobUploadInvalid, Status: http.StatusRequestTimeout, Message: "the request's body did not go on: what had arrived is kept"}
		}
		return oci.NewError(oci.CodeBlobUploadInvalid, "the request's body was cut off: what had arrived is kept")
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return &oci.Error{Code: oci.CodeUnavailable, Message: "the registry took too long: try again", RetryAfter: 5 * time.Second, Err: err}
	}
	return &oci.Error{Code: oci.CodeUnknown, Message: "the registry failed", Err: err}
}
