package storage

import (
	"context"
	"io"
	"time"
)

// The operations that an [Observer] is told about.
const (
	OperationBegin    = "begin"
	OperationResume   = "resume"
	OperationAppend   = "append"
	OperationSuspend  = "suspend"
	OperationCommit   = "commit"
	OperationAbort    = "abort"
	OperationOpen     = "open"
	OperationDelete   = "delete"
	OperationCheck    = "check"
	OperationRedirect = "redirect"
	OperationWalk     = "walk"
	OperationSweep    = "sweep"
)

// Observer is told of the beginning of an operation and, through the function it returns, of its end: the number of bytes that
// were appended (0 for every other operation) and the error. The operation runs under the context that is returned, which may
// carry a span. An open ends when the first byte can be read, not when the last one was.
type Observer func(ctx context.Context, operation string) (context.Context, func(bytes int64, err error))

// Instrument returns a backend that tells observe of every operation. It has those of the optional interfaces [Redirector],
// [Walker] and [Sweeper] that backend has; what Open returns is passed on as it is. Closing it closes backend.
func Instrument(backend Backend, observe Observer) Backend {
	b := &instrumented{backend: backend, observe: observe}
	redirector, redirects := backend.(Redirector)
	walker, walks := backend.(Walker)
	sweeper, sweeps := backend.(Sweeper)
	r := instrumentedRedirector{redirector, observe}
	w := instrumentedWalker{walker, observe}
	s := instrumentedSweeper{sweeper, observe}
	switch {
	case redirects && walks && sweeps:
		return struct {
			*instrumented
			Redirector
			Walker
			Sweeper
		}{b, r, w, s}
	case redirects && walks:
		return struct {
			*instrumented
			Redirector
			Walker
		}{b, r, w}
	case redirects && sweeps:
		return struct {
			*instrumented
			Redirector
			Sweeper
		}{b, r, s}
	case walks && sweeps:
		return struct {
			*instrumented
			Walker
			Sweeper
		}{b, w, s}
	case redirects:
		return struct {
			*instrumented
			Redirector
		}{b, r}
	case walks:
		return struct {
			*instrumented
			Walker
		}{b, w}
	case sweeps:
		return struct {
			*instrumented
			Sweeper
		}{b, s}
	}
	return b
}

type instrumented struct {
	backend Backend
	observe Observer
}

// instruments returns what is instrumented.
func (b *instrumented) instruments() Backend { return b.backend }

func (b *instrumented) Begin(ctx context.Context) (Upload, error) {
	ctx, done := b.observe(ctx, OperationBegin)
	upload, err := b.backend.Begin(ctx)
	done(0, err)
	if err != nil {
		return nil, err
	}
	return &instrumentedUpload{upload, b.observe}, nil
}

func (b *instrumented) Resume(ctx context.Context, state []byte) (Upload, error) {
	ctx, done := b.observe(ctx, OperationResume)
	upload, err := b.backend.Resume(ctx, state)
	done(0, err)
	if err != nil {
		return nil, err
	}
	return &instrumentedUpload{upload, b.observe}, nil
}

func (b *instrumented) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	ctx, done := b.observe(ctx, OperationOpen)
	reader, err := b.backend.Open(ctx, key, offset, length)
	done(0, err)
	return reader, err
}

func (b *instrumented) Delete(ctx context.Context, keys []string) error {
	ctx, done := b.observe(ctx, OperationDelete)
	err := b.backend.Delete(ctx, keys)
	done(0, err)
	return err
}

func (b *instrumented) Check(ctx context.Context) error {
	ctx, done := b.observe(ctx, OperationCheck)
	err := b.backend.Check(ctx)
	done(0, err)
	return err
}

// Close closes the backend if it can be closed.
func (b *instrumented) Close() error {
	if closer, ok := b.backend.(io.Closer); ok {
		return closer.Close()
	}
	return nil
}

type instrumentedUpload struct {
	Upload
	observe Observer
}

func (u *instrumentedUpload) Append(ctx context.Context, r io.Reader) (int64, error) {
	ctx, done := u.observe(ctx, OperationAppend)
	n, err := u.Upload.Append(ctx, r)
	done(n, err)
	return n, err
}

func (u *instrumentedUpload) Suspend(ctx context.Context) ([]byte, error) {
	ctx, done := u.observe(ctx, OperationSuspend)
	state, err := u.Upload.Suspend(ctx)
	done(0, err)
	return state, err
}

func (u *instrumentedUpload) Commit(ctx context.Context) (string, error) {
	ctx, done := u.observe(ctx, OperationCommit)
	key, err := u.Upload.Commit(ctx)
	done(0, err)
	return key, err
}

func (u *instrumentedUpload) Abort(ctx context.Context) error {
	ctx, done := u.observe(ctx, OperationAbort)
	err := u.Upload.Abort(ctx)
	done(0, err)
	return err
}

type instrumentedRedirector struct {
	redirector Redirector
	observe    Observer
}

func (r instrumentedRedirector) Redirect(ctx context.Context, key string, options RedirectOptions) (string, error) {
	ctx, done := r.observe(ctx, OperationRedirect)
	url, err := r.redirector.Redirect(ctx, key, options)
	done(0, err)
	return url, err
}

type instrumentedWalker struct {
	walker  Walker
	observe Observer
}

func (w instrumentedWalker) Walk(ctx context.Context, after string, fn func(Object) error) error {
	ctx, done := w.observe(ctx, OperationWalk)
	err := w.walker.Walk(ctx, after, fn)
	done(0, err)
	return err
}

type instrumentedSweeper struct {
	sweeper Sweeper
	observe Observer
}

func (s instrumentedSweeper) Sweep(ctx context.Context, before time.Time) (int, error) {
	ctx, done := s.observe(ctx, OperationSweep)
	n, err := s.sweeper.Sweep(ctx, before)
	done(0, err)
	return n, err
}
