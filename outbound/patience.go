package outbound

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// ErrStalled says that the other side took no byte, or sent none, for as long as one was patient.
var ErrStalled = errors.New("the other side stands still")

// Patient returns a transport that ends a request, with an error that wraps [ErrStalled], when the other side takes nothing of its body,
// does not begin to answer, or sends nothing of the answer's body for so long. A transfer that gets on may take any time, and so may who
// reads the one body and who makes the other.
func Patient(transport http.RoundTripper, patience time.Duration) http.RoundTripper {
	return patient{transport, patience}
}

type patient struct {
	transport http.RoundTripper
	patience  time.Duration
}

// RoundTrip implements [http.RoundTripper].
func (p patient) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(r.Context())
	w := &watch{patience: p.patience, ctx: ctx, cancel: cancel}
	w.timer = time.AfterFunc(p.patience, func() { cancel(ErrStalled) })
	r = r.WithContext(ctx)
	if r.Body != nil && r.Body != http.NoBody {
		r.Body = sent{r.Body, w}
	}
	response, err := p.transport.RoundTrip(r)
	w.timer.Stop()
	if err != nil {
		err = w.explain(err)
		cancel(nil)
		return nil, err
	}
	response.Body = received{response.Body, w}
	return response, nil
}

// watch looks on a request. Its timer runs while the other side is waited for.
type watch struct {
	patience time.Duration
	timer    *time.Timer
	ctx      context.Context
	cancel   context.CancelCauseFunc
}

// explain returns the error of a request that failed.
func (w *watch) explain(err error) error {
	if errors.Is(context.Cause(w.ctx), ErrStalled) {
		return fmt.Errorf("%w: nothing in %s", ErrStalled, w.patience)
	}
	return err
}

// sent is the body of a request: what waits for it does not wait for the other side.
type sent struct {
	io.ReadCloser
	*watch
}

// Read reads what is to be sent.
func (s sent) Read(p []byte) (int, error) {
	s.timer.Stop()
	defer s.timer.Reset(s.patience)
	return s.ReadCloser.Read(p)
}

// received is the body of an answer.
type received struct {
	io.ReadCloser
	*watch
}

// Read reads what the other side sends.
func (r received) Read(p []byte) (int, error) {
	r.timer.Reset(r.patience)
	n, err := r.ReadCloser.Read(p)
	r.timer.Stop()
	if err != nil && err != io.EOF { //nolint:errorlint // the end itself is not an error
		err = r.explain(err)
	}
	return n, err
}

// Close ends the request.
func (r received) Close() error {
	r.timer.Stop()
	err := r.ReadCloser.Close()
	r.cancel(nil)
	return err
}
