package distribution

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/berth-registry/berth/distribution/auth"
	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/registry"
)

var (
	errPathUnknown      = &oci.Error{Code: oci.CodeUnsupported, Status: http.StatusNotFound, Message: "no operation of the distribution specification has this path"}
	errReadOnly         = oci.NewError(oci.CodeDenied, "the registry is in read-only mode: nothing can be changed until an administrator ends it")
	errMethodNotAllowed = &oci.Error{Code: oci.CodeUnsupported, Status: http.StatusMethodNotAllowed, Message: "this path does not take this method"}
)

// statusClientGone is what nginx logs for a client that went away; it is counted and never sent.
const statusClientGone = 499

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
	status := auth.Status(refusal)
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
	auth.WriteError(x.w, refusal)
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
