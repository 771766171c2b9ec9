package proxy

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"time"

	"golang.org/x/time/rate"

	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/replicate/remote"
)

// How often a transfer goes on after a fault without having got any further, and how long it waits before the second try.
const (
	fruitlessTries = 4
	firstPause     = 200 * time.Millisecond
)

// chunk is how many bytes are read at once.
const chunk = 128 << 10

// way is the way of a blob from the registry elsewhere into the spool. It may break and go on.
type way struct {
	fetch   *fetch
	limiter *rate.Limiter
	hash    hash.Hash
	spool   *spool
	offset  int64

	content io.ReadCloser
	// watch ends the connection when it does not get on; cancel ends its context.
	watch  *time.Timer
	cancel context.CancelFunc
}

// open opens the blob where it goes on, and returns its size, -1 when that is not known. It tries again when that may help.
func (w *way) open(ctx context.Context) (int64, error) {
	r := w.fetch.repository
	for try, pause := 1, firstPause; ; try, pause = try+1, 2*pause {
		w.close()
		own, cancel := context.WithCancel(ctx)
		w.cancel, w.watch = cancel, time.AfterFunc(r.cache.options.Idle, cancel)
		content, size, err := r.origin.Remote.OpenBlob(own, r.there, w.fetch.digest, w.offset)
		r.state.heard(err)
		if err == nil {
			w.content = content
			return size, nil
		}
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		if status, _, answered := remote.Answer(err); try >= fruitlessTries || errors.Is(err, remote.ErrNotFound) || answered && status < http.StatusInternalServerError {
			return 0, err
		}
		if err := sleep(ctx, pause); err != nil {
			return 0, err
		}
	}
}

func sleep(ctx context.Context, pause time.Duration) error {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// close ends the connection.
func (w *way) close() {
	if w.cancel == nil {
		return
	}
	w.watch.Stop()
	if w.content != nil {
		_ = w.content.Close() // what was read of it was read
	}
	w.cancel()
	w.content, w.cancel = nil, nil
}

// travel brings all of the blob into the spool, from where it broke if it breaks, and compares its digest.
func (w *way) travel(ctx context.Context, size int64) error {
	buffer := make([]byte, chunk)
	for fruitless := 0; ; {
		before := w.offset
		err := w.pass(ctx, buffer, size)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil {
			break
		}
		if errors.Is(err, errWrong) || errors.Is(err, errNoRoom) {
			return err
		}
		if w.offset > before {
			fruitless = 0
		}
		if fruitless++; fruitless >= fruitlessTries {
			return fmt.Errorf("got no further than %d of %d bytes in %d tries: %w", w.offset, size, fruitless, err)
		}
		if err := sleep(ctx, firstPause); err != nil {
			return err
		}
		if _, err := w.open(ctx); err != nil {
			return err
		}
	}
	if actual := oci.SumDigest(w.fetch.digest.Algorithm(), w.hash); actual != w.fetch.digest {
		return fmt.Errorf("%w: registry %q sent %d bytes with the digest %s for blob %s", errWrong, w.fetch.repository.origin.Name, w.offset, actual, w.fetch.digest)
	}
	return nil
}

// errWrong says that the registry elsewhere sent something else, errNoRoom that this gateway cannot take it.
var (
	errWrong  = errors.New("not what was asked for")
	errNoRoom = errors.New("no room for blobs on their way")
)

// pass reads what the connection brings. Nil says that it was all.
func (w *way) pass(ctx context.Context, buffer []byte, size int64) error {
	idle := w.fetch.repository.cache.options.Idle
	for {
		w.watch.Reset(idle)
		n, err := w.content.Read(buffer)
		w.watch.Stop()
		if size >= 0 && w.offset+int64(n) > size {
			return fmt.Errorf("%w: registry %q sent more than the %d bytes that it told of", errWrong, w.fetch.repository.origin.Name, size)
		}
		if n > 0 {
			w.hash.Write(buffer[:n])
			written, err := w.spool.Write(buffer[:n])
			w.offset += int64(written)
			if err != nil {
				return fmt.Errorf("%w: %w", errNoRoom, err)
			}
			if err := w.limiter.WaitN(ctx, n); err != nil {
				return err
			}
		}
		switch {
		case err == io.EOF && (size < 0 || w.offset == size): //nolint:errorlint // one that wraps io.EOF is a connection that broke
			return nil
		case errors.Is(err, io.EOF):
			return io.ErrUnexpectedEOF
		case err != nil:
			return err
		}
	}
}
