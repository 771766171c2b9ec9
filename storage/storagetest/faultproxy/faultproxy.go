// Package faultproxy stands between a backend and its S3 server, counts the requests by operation, and makes chosen ones fail
// as real servers and networks do.
package faultproxy

import (
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// The operations of S3, by their names in its documentation.
const (
	CreateMultipartUpload   = "CreateMultipartUpload"
	UploadPart              = "UploadPart"
	CompleteMultipartUpload = "CompleteMultipartUpload"
	AbortMultipartUpload    = "AbortMultipartUpload"
	ListParts               = "ListParts"
	ListMultipartUploads    = "ListMultipartUploads"
	ListObjects             = "ListObjectsV2"
	PutObject               = "PutObject"
	GetObject               = "GetObject"
	HeadObject              = "HeadObject"
	DeleteObjects           = "DeleteObjects"
)

// Proxy forwards requests until the test is over.
type Proxy struct {
	// URL is where it listens.
	URL string

	mu     sync.Mutex
	counts map[string]int
	faults []*Fault
	done   chan struct{}
}

// Fault is what happens to some requests.
type Fault struct {
	// Operation is what to harm; every operation when it is empty.
	Operation string
	// Times is how many requests are harmed; all until Clear when it is 0.
	Times int
	// Act harms a request. It answers it itself, or passes it on by calling forward.
	Act func(w http.ResponseWriter, r *http.Request, forward http.Handler)

	left int
}

// Start starts a proxy in front of a server.
func Start(t testing.TB, target string) *Proxy {
	t.Helper()
	to, err := url.Parse(target)
	require.NoError(t, err)
	p := &Proxy{counts: map[string]int{}, done: make(chan struct{})}
	forward := &httputil.ReverseProxy{
		// The host stays what the client said, for its signature covers that.
		Rewrite:  func(r *httputil.ProxyRequest) { r.Out.URL.Scheme, r.Out.URL.Host = to.Scheme, to.Host },
		ErrorLog: log.New(io.Discard, "", 0),
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if fault := p.take(Operation(r)); fault != nil {
			fault.Act(w, r, forward)
			return
		}
		forward.ServeHTTP(w, r)
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.Start()
	p.URL = server.URL
	t.Cleanup(func() {
		close(p.done)
		server.CloseClientConnections()
		server.Close()
	})
	return p
}

// Inject adds a fault. Of several that fit a request, the one that was added first acts.
func (p *Proxy) Inject(fault Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fault.left = fault.Times
	p.faults = append(p.faults, &fault)
}

// Clear ends all faults.
func (p *Proxy) Clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = nil
}

// Counts returns how many requests there were by operation since the last call.
func (p *Proxy) Counts() map[string]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	counts := p.counts
	p.counts = map[string]int{}
	return counts
}

// take counts a request and returns the fault that harms it, or nil.
func (p *Proxy) take(operation string) *Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.counts[operation]++
	for i, fault := range p.faults {
		if fault.Operation != "" && fault.Operation != operation {
			continue
		}
		if fault.Times > 0 {
			if fault.left--; fault.left == 0 {
				p.faults = append(p.faults[:i:i], p.faults[i+1:]...)
			}
		}
		return fault
	}
	return nil
}

// Operation is the S3 operation that a request is, or its method and path.
func Operation(r *http.Request) string {
	query := r.URL.Query()
	switch {
	case r.Method == http.MethodPost && query.Has("uploads"):
		return CreateMultipartUpload
	case r.Method == http.MethodPost && query.Has("uploadId"):
		return CompleteMultipartUpload
	case r.Method == http.MethodPost && query.Has("delete"):
		return DeleteObjects
	case r.Method == http.MethodPut && query.Has("uploadId"):
		return UploadPart
	case r.Method == http.MethodDelete && query.Has("uploadId"):
		return AbortMultipartUpload
	case r.Method == http.MethodGet && query.Has("uploadId"):
		return ListParts
	case r.Method == http.MethodGet && query.Has("uploads"):
		return ListMultipartUploads
	case r.Method == http.MethodGet && query.Has("list-type"):
		return ListObjects
	case r.Method == http.MethodPut && len(query) == 0:
		return PutObject
	case r.Method == http.MethodGet && len(query) == 0:
		return GetObject
	case r.Method == http.MethodHead:
		return HeadObject
	}
	return r.Method + " " + r.URL.RequestURI()
}

// Answer answers with an S3 error and header, given as names and values in turn.
func Answer(status int, code string, header ...string) func(http.ResponseWriter, *http.Request, http.Handler) {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		// As servers do that are not overloaded by the body itself.
		_, _ = io.Copy(io.Discard, r.Body)
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(status)
		fmt.Fprintf(w, "<Error><Code>%s</Code><Message>injected fault</Message></Error>", code)
	}
}

// Stall reads the request and never answers.
func (p *Proxy) Stall(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
	_, _ = io.Copy(io.Discard, r.Body)
	select {
	case <-r.Context().Done():
	case <-p.done:
	}
	panic(http.ErrAbortHandler)
}

// StallBody takes a little of the request and stops reading.
func (p *Proxy) StallBody(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
	_, _ = io.CopyN(io.Discard, r.Body, 1000)
	select {
	case <-r.Context().Done():
	case <-p.done:
	}
	panic(http.ErrAbortHandler)
}

// CutRequest closes the connection after n bytes of the body.
func CutRequest(n int64) func(http.ResponseWriter, *http.Request, http.Handler) {
	return func(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
		_, _ = io.CopyN(io.Discard, r.Body, n)
		panic(http.ErrAbortHandler)
	}
}

// LoseResponse passes the request on and closes the connection instead of answering.
func LoseResponse(_ http.ResponseWriter, r *http.Request, forward http.Handler) {
	forward.ServeHTTP(httptest.NewRecorder(), r)
	panic(http.ErrAbortHandler)
}

// CutResponse passes the request on and closes the connection after n bytes of the answer's body.
func CutResponse(n int) func(http.ResponseWriter, *http.Request, http.Handler) {
	return func(w http.ResponseWriter, r *http.Request, forward http.Handler) {
		recorder := httptest.NewRecorder()
		forward.ServeHTTP(recorder, r)
		maps.Copy(w.Header(), recorder.Header())
		w.WriteHeader(recorder.Code)
		_, _ = w.Write(recorder.Body.Bytes()[:min(n, recorder.Body.Len())])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}

// WrongETag passes the request on and puts another entity tag into the answer.
func WrongETag(tag string) func(http.ResponseWriter, *http.Request, http.Handler) {
	return func(w http.ResponseWriter, r *http.Request, forward http.Handler) {
		recorder := httptest.NewRecorder()
		forward.ServeHTTP(recorder, r)
		maps.Copy(w.Header(), recorder.Header())
		w.Header().Set("ETag", tag)
		w.WriteHeader(recorder.Code)
		_, _ = w.Write(recorder.Body.Bytes())
	}
}
