package remote

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"oras.land/oras-go/v2/registry/remote/errcode"
)

// maxErrorBody is how much of an error's body is read.
const maxErrorBody = 64 << 10

// send sends a request with a body that can be sent again.
func (r *Registry) send(ctx context.Context, method string, target *url.URL, body []byte, header http.Header) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, target.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	maps.Copy(request.Header, header)
	return r.client.Do(request)
}

// expect closes the answer and returns an error unless it has one of the statuses.
func expect(response *http.Response, act string, statuses ...int) error {
	defer response.Body.Close()
	if slices.Contains(statuses, response.StatusCode) {
		_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, maxErrorBody)) // so that the connection can be used again
		return nil
	}
	return refused(act, failure(response))
}

// failure reads the specification's error off an answer.
func failure(response *http.Response) error {
	failed := &errcode.ErrorResponse{Method: response.Request.Method, URL: response.Request.URL, StatusCode: response.StatusCode}
	var body struct {
		Errors errcode.Errors `json:"errors"`
	}
	said, err := io.ReadAll(io.LimitReader(response.Body, maxErrorBody))
	if err == nil && json.Unmarshal(said, &body) == nil {
		failed.Errors = body.Errors
	}
	if wait := waitOf(response); wait > 0 {
		return &busyError{after: wait, err: failed}
	}
	return failed
}

// busyError is an answer that says when to come again.
type busyError struct {
	after time.Duration
	err   error
}

// Error returns the answer's message.
func (e *busyError) Error() string { return fmt.Sprintf("%v (again in %s)", e.err, e.after) }

// Unwrap returns the answer.
func (e *busyError) Unwrap() error { return e.err }

// longestAsked is how long a registry that asks to wait is heeded.
const longestAsked = time.Hour

// waitOf is how long an answer asks to wait, in seconds or until a date; 0 when it does not.
func waitOf(response *http.Response) time.Duration {
	value := response.Header.Get("Retry-After")
	if seconds, err := strconv.ParseInt(value, 10, 32); err == nil {
		return min(max(0, time.Duration(seconds)*time.Second), longestAsked)
	}
	if at, err := http.ParseTime(value); err == nil {
		return min(max(0, time.Until(at)), longestAsked)
	}
	return 0
}

// Answer returns the status that a registry answered with, where an error is such an answer, and how long it asks to wait, 0 when it
// does not.
func Answer(err error) (status int, wait time.Duration, ok bool) {
	if busy, said := errors.AsType[*busyError](err); said {
		wait = busy.after
	}
	status, ok = statusOf(err)
	return status, wait, ok
}

// telling makes errors of answers that say when to come again: oras-go would forget when.
type telling struct{ transport http.RoundTripper }

// RoundTrip implements [http.RoundTripper].
func (t telling) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := t.transport.RoundTrip(request)
	if err != nil || response.StatusCode != http.StatusTooManyRequests && response.StatusCode != http.StatusServiceUnavailable || waitOf(response) == 0 {
		return response, err
	}
	defer response.Body.Close()
	return nil, failure(response)
}
