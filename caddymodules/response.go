package caddymodules

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/berth-registry/berth/oci"
)

// response notes the status and the bytes of an answer, and keeps signed URLs out of the access log. It has no buffer and hides
// none of the abilities of the writer below, of which ReadFrom reaches the kernel's sendfile.
type response struct {
	*caddyhttp.ResponseWriterWrapper
	request *http.Request
	code    int
	bytes   int64
}

func newResponse(w http.ResponseWriter, r *http.Request) *response {
	return &response{ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w}, request: r}
}

// WriteHeader sends the header.
func (a *response) WriteHeader(status int) {
	a.ResponseWriterWrapper.WriteHeader(status)
	if status < http.StatusOK || a.code != 0 {
		return
	}
	a.code = status
	if status >= http.StatusMultipleChoices && status < http.StatusBadRequest {
		a.concealLocation()
	}
}

// concealLocation takes the query, which may be a signature, off the Location that the access log is about to read. The client
// has the whole one: net/http copies the header when it is written, HTTP/3 when it is flushed.
func (a *response) concealLocation() {
	location, err := url.Parse(a.Header().Get("Location"))
	if err != nil || location.RawQuery == "" {
		return
	}
	if a.request.ProtoMajor > 2 {
		if err := http.NewResponseController(a.ResponseWriter).Flush(); err != nil {
			return
		}
	}
	location.RawQuery = "REDACTED"
	a.Header().Set("Location", location.String())
}

// Write sends bytes of the body.
func (a *response) Write(p []byte) (int, error) {
	if a.code == 0 {
		a.WriteHeader(http.StatusOK)
	}
	n, err := a.ResponseWriterWrapper.Write(p)
	a.bytes += int64(n)
	return n, err
}

// ReadFrom sends what r holds.
func (a *response) ReadFrom(r io.Reader) (int64, error) {
	if a.code == 0 {
		a.WriteHeader(http.StatusOK)
	}
	limited, file := wholeFile(r)
	if file != nil {
		r = file
	} else if !isFile(r) {
		buffer := copyBuffers.Get().(*[]byte)
		defer copyBuffers.Put(buffer)
		// Without ReadFrom, which would copy through smaller buffers.
		return io.CopyBuffer(struct{ io.Writer }{a}, r, *buffer)
	}
	n, err := a.ResponseWriterWrapper.ReadFrom(r)
	a.bytes += n
	if file != nil {
		limited.N -= n
	}
	return n, err
}

// copyBuffers are for content that the kernel cannot send by itself, as that of a remote storage. Larger pieces mean fewer calls
// down the writers and the connection.
var copyBuffers = sync.Pool{New: func() any {
	buffer := make([]byte, 256<<10)
	return &buffer
}}

// isFile reports whether r is a file or a part of one.
func isFile(r io.Reader) bool {
	if limited, ok := r.(*io.LimitedReader); ok {
		r = limited.R
	}
	_, ok := r.(*os.File)
	return ok
}

// wholeFile returns the file behind a reader that is limited to exactly the rest of it. Caddy's writer sends in pieces, each
// limited again, and net looks below one limit only to find a file that the kernel can send.
func wholeFile(r io.Reader) (*io.LimitedReader, *os.File) {
	limited, ok := r.(*io.LimitedReader)
	if !ok {
		return nil, nil
	}
	file, ok := limited.R.(*os.File)
	if !ok {
		return nil, nil
	}
	status, err := file.Stat()
	if err != nil || !status.Mode().IsRegular() {
		return nil, nil
	}
	at, err := file.Seek(0, io.SeekCurrent)
	if err != nil || status.Size()-at != limited.N {
		return nil, nil
	}
	return limited, file
}

func (a *response) status() int {
	if a.code == 0 {
		return http.StatusOK
	}
	return a.code
}

func (a *response) written() int64 { return a.bytes }

// countedBody notes how much of a request's body was read, and can be cut off.
type countedBody struct {
	io.ReadCloser
	read int64
	over atomic.Bool
	// connection is the writer below Caddy's, whose deadlines may be set while others use it.
	connection *http.ResponseController
}

// errCutOff is what reading a body gives at the end of the process.
var errCutOff = errors.New("the server is stopping")

// countBody puts a counter before the request's body.
func countBody(w http.ResponseWriter, r *http.Request) *countedBody {
	for {
		wrapper, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			break
		}
		w = wrapper.Unwrap()
	}
	counted := &countedBody{ReadCloser: r.Body, connection: http.NewResponseController(w)}
	if r.Body == nil {
		counted.ReadCloser = http.NoBody
	}
	if r.Body != nil && r.Body != http.NoBody {
		r.Body = counted
	}
	return counted
}

// Read reads and counts.
func (b *countedBody) Read(p []byte) (int, error) {
	if b.over.Load() {
		return 0, errCutOff
	}
	n, err := b.ReadCloser.Read(p)
	b.read += int64(n)
	return n, err
}

// cut ends the body for its reader, and wakes up who waits for the client.
func (b *countedBody) cut() {
	b.over.Store(true)
	// A writer without deadlines, as in tests, has no client to wait for.
	_ = b.connection.SetReadDeadline(time.Now())
	_ = b.connection.SetWriteDeadline(time.Now().Add(time.Second))
}

// errorBody is the body of every refusal, of the distribution specification and of the API alike.
type errorBody struct {
	Errors []errorEntry `json:"errors"`
}

type errorEntry struct {
	Code    oci.Code `json:"code"`
	Message string   `json:"message"`
}

// apiNotFound is the API's word for 404; /v2 has a code for each thing that can be missing and none for an address.
const apiNotFound oci.Code = "NOT_FOUND"

// refuse answers with an error that did not come from a face of the registry but from around it.
func refuse(w http.ResponseWriter, route route, status int, message string) {
	header := w.Header()
	header.Set("Content-Type", "application/json; charset=utf-8")
	header.Set("Cache-Control", "no-store")
	if route.face == faceRegistry {
		header.Set("Docker-Distribution-Api-Version", "registry/2.0")
	}
	if status == http.StatusServiceUnavailable && header.Get("Retry-After") == "" {
		header.Set("Retry-After", "1")
	}
	body, err := json.Marshal(errorBody{Errors: []errorEntry{{Code: codeOf(status, route), Message: message}}})
	if err != nil {
		http.Error(w, message, status)
		return
	}
	w.WriteHeader(status)
	// The client is told by the connection when it does not get this.
	_, _ = w.Write(append(body, '\n'))
}

func codeOf(status int, route route) oci.Code {
	switch status {
	case http.StatusUnauthorized:
		return oci.CodeUnauthorized
	case http.StatusForbidden:
		return oci.CodeDenied
	case http.StatusNotFound:
		if route.face == faceRegistry {
			return oci.CodeNameUnknown
		}
		return apiNotFound
	case http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return oci.CodeUnsupported
	case http.StatusRequestEntityTooLarge:
		return oci.CodeSizeInvalid
	case http.StatusTooManyRequests:
		return oci.CodeTooManyRequests
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return oci.CodeUnavailable
	default:
		return oci.CodeUnknown
	}
}
