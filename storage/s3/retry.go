package s3

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/berth-registry/berth/pause"
	"github.com/berth-registry/berth/storage"
)

const (
	// attempts is how often a request is sent before the caller hears of a passing fault.
	attempts = 5
	// firstPause doubles with every attempt; jitter takes up to half of it away, lest all gateways come back at once.
	firstPause = 100 * time.Millisecond
	// longestPause is the longest wait that a server may ask for without the client being told.
	longestPause = 5 * time.Second
)

var errStalled = errors.New("the server made no progress in time")

// request is one operation: fn sends it once. fn calls touch for every sign of progress.
type request struct {
	doing   string
	timeout time.Duration
	fn      func(ctx context.Context, touch func()) error
}

// do sends a request until it succeeds, fails for good, or has failed for a while. The error is one of those that
// storage.Backend speaks of.
func (b *Backend) do(ctx context.Context, doing string, fn func(ctx context.Context, touch func()) error) error {
	return b.doRequest(ctx, request{doing: doing, timeout: b.config.Timeout, fn: fn})
}

func (b *Backend) doRequest(ctx context.Context, r request) error {
	started := time.Now()
	wait := firstPause
	for attempt := 1; ; attempt++ {
		err := r.once(ctx)
		if err == nil {
			return nil
		}
		retryable, ok := errors.AsType[*storage.RetryableError](err)
		if !ok || attempt == attempts || retryable.After > longestPause ||
			time.Since(started) > 2*r.timeout {
			return err
		}
		if err := pause.For(ctx, max(retryable.After, wait-rand.N(wait/2))); err != nil { //nolint:gosec // jitter need not be secret
			return err
		}
		wait *= 2
	}
}

func isRetryable(err error) bool {
	_, ok := errors.AsType[*storage.RetryableError](err)
	return ok
}

// once sends a request and ends it when it stands still.
func (r request) once(ctx context.Context) error {
	asked := new(time.Duration)
	attempt, cancel := context.WithCancelCause(context.WithValue(ctx, retryAfterKey{}, asked))
	defer cancel(nil)
	watchdog := time.AfterFunc(r.timeout, func() { cancel(errStalled) })
	defer watchdog.Stop()
	err := r.fn(attempt, func() { watchdog.Reset(r.timeout) })
	if err != nil && errors.Is(context.Cause(attempt), errStalled) {
		err = errStalled
	}
	return classify(ctx, r.doing, err, *asked)
}

// retryAfterKey is the key under which a request's context has a *time.Duration for what the server asks for: minio-go drops
// the response's headers when it makes an error of it.
type retryAfterKey struct{}

// retryAfterTransport notes Retry-After.
type retryAfterTransport struct{ *http.Transport }

// RoundTrip implements http.RoundTripper.
func (t retryAfterTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := t.Transport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if asked, ok := r.Context().Value(retryAfterKey{}).(*time.Duration); ok {
		*asked = retryAfter(response.Header.Get("Retry-After"))
	}
	return response, nil
}

// retryAfter reads the header's two forms, seconds and a date; anything else is 0.
func retryAfter(value string) time.Duration {
	if seconds, err := strconv.Atoi(value); err == nil && seconds >= 0 {
		return time.Duration(min(seconds, 3600)) * time.Second
	}
	if date, err := http.ParseTime(value); err == nil {
		return min(max(0, time.Until(date)), time.Hour)
	}
	return 0
}
