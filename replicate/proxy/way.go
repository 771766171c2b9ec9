package proxy

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/pause"
	"github.com/berth-registry/berth/replicate/remote"
)

// How often a transfer goes on after a fault without having got any further, and how long it waits before the second try.
const (
	fruitlessTries = 4
	firstPause     = 200 * time.Millisecond
)

// chunk is how many bytes are read at once.
const chunk = 128 << 10

// way is the way of a blob into the spool: from the registry elsewhere, where it may break and go on, or by another gateway.
type way struct {
	fetch *fetch
	hash  hash.Hash
	// spool is nil before there is something to put into it.
	spool  *spool
	offset int64
	ended  bool

	limiter *rate.Limiter
	content io.ReadCloser
	// watch ends the connection when it does not get on; cancel ends its context.
	watch  *time.Timer
	cancel context.CancelFunc
}

// begin makes the spool, and lets those who wait read it, unless it is not known how much will come, which is -1.
func (w *way) begin(size int64) error {
	if w.spool == nil {
		spool, err := newSpool(w.fetch.repository.cache.options.Directory)
		if err != nil {
			return fmt.Errorf("%w: %w", errNoRoom, err)
		}
		spool.hold() // for the fetch itself, until nobody finds it any more
		w.spool = spool
	}
	if size >= 0 && w.fetch.spool == nil {
		w.fetch.publish(w.spool, size)
	}
	return nil
}

// Write puts what comes next into the spool.
func (w *way) Write(p []byte) (int, error) {
	w.hash.Write(p)
	n, err := w.spool.Write(p)
	w.offset += int64(n)
	if err != nil {
		return n, fmt.Errorf("%w: %w", errNoRoom, err)
	}
	return n, nil
}

// end lets readers read to the end, or, after an error, fail. It may be called again.
func (w *way) end(err error) {
	if w.spool != nil && !w.ended {
		w.ended = true
		w.spool.end(err)
	}
}

// transfer fetches from the registry elsewhere what is not here yet of the blob, and stores it meanwhile.
func (w *way) transfer(ctx context.Context) error {
	f, r, c := w.fetch, w.fetch.repository, w.fetch.repository.cache
	limiter, turns := r.state.limits(r.origin)
	if err := turns.Acquire(ctx, 1); err != nil {
		return err
	}
	defer turns.Release(1)
	w.limiter = limiter
	defer w.close()
	size, err := w.open(ctx)
	if err != nil {
		return err
	}
	if size < 0 && f.spool != nil {
		size = f.size // as another gateway was told
	}
	if f.spool != nil && size != f.size {
		return fmt.Errorf("%w: registry %q tells of %d bytes, where it told of %d before", remote.ErrWrong, r.origin.Name, size, f.size)
	}
	if err := w.begin(size); err != nil {
		return err
	}
	telling, quiet := context.WithCancel(ctx)
	defer quiet()
	stored := make(chan error, 1)
	var told sync.WaitGroup
	defer told.Wait()
	if c.options.Keep(ctx) {
		reader := w.spool.reader(ctx, size)
		go func() {
			err := c.options.Content.KeepBlob(ctx, r.name, f.digest, reader)
			f.kept = err == nil
			stored <- errors.Join(err, reader.Close())
		}()
		told.Go(func() { w.tell(telling, size) })
	} else {
		stored <- nil
	}
	fetched := w.travel(ctx, size)
	if fetched == nil || ctx.Err() == nil { // else it may go on after another gateway
		w.end(fetched)
	}
	if size < 0 && fetched == nil {
		f.publish(w.spool, w.offset)
	}
	kept := <-stored
	quiet()
	if err := errors.Join(fetched, kept); err != nil {
		c.options.Logger.WarnContext(ctx, "a blob of a registry elsewhere is not kept", "repository", r.name, "digest", f.digest, "bytes", w.offset, "error", err)
	}
	return fetched
}

// open opens the blob where it goes on, and returns its size, -1 when that is not known. It tries again when that may help.
func (w *way) open(ctx context.Context) (int64, error) {
	r := w.fetch.repository
	for try, wait := 1, firstPause; ; try, wait = try+1, 2*wait {
		w.close()
		own, cancel := context.WithCancel(ctx)
		w.cancel, w.watch = cancel, time.AfterFunc(r.cache.options.Idle, cancel)
		if w.fetch.spool != nil && w.offset == w.fetch.size {
			w.content = http.NoBody // as a range of nothing cannot be asked for
			return w.offset, nil
		}
		content, size, err := r.origin.Remote.OpenBlob(own, r.there, w.fetch.digest, w.offset)
		r.state.heard(err)
		if err == nil {
			w.content = content
			return size, nil
		}
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		if status, _, answered := remote.Answer(err); try >= fruitlessTries || errors.Is(err, remote.ErrNotFound) || answered && (status < http.StatusInternalServerError || status == http.StatusLoopDetected) {
			return 0, err
		}
		if err := pause.For(ctx, wait); err != nil {
			return 0, err
		}
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
		if errors.Is(err, remote.ErrWrong) || errors.Is(err, errNoRoom) {
			return err
		}
		if w.offset > before {
			fruitless = 0
		}
		if fruitless++; fruitless >= fruitlessTries {
			return fmt.Errorf("got no further than %d of %d bytes in %d tries: %w", w.offset, size, fruitless, err)
		}
		if err := pause.For(ctx, firstPause); err != nil {
			return err
		}
		if _, err := w.open(ctx); err != nil {
			return err
		}
	}
	return w.compare()
}

// compare reports whether what has come has the digest that was asked for.
func (w *way) compare() error {
	if actual := oci.SumDigest(w.fetch.digest.Algorithm(), w.hash); actual != w.fetch.digest {
		return fmt.Errorf("%w: registry %q sent %d bytes with the digest %s for blob %s", remote.ErrWrong, w.fetch.repository.origin.Name, w.offset, actual, w.fetch.digest)
	}
	return nil
}

// errNoRoom says that this gateway cannot take a blob.
var errNoRoom = errors.New("no room for blobs on their way")

// pass reads what the connection brings. Nil says that it was all.
func (w *way) pass(ctx context.Context, buffer []byte, size int64) error {
	idle := w.fetch.repository.cache.options.Idle
	for {
		w.watch.Reset(idle)
		n, err := w.content.Read(buffer)
		w.watch.Stop()
		if size >= 0 && w.offset+int64(n) > size {
			return fmt.Errorf("%w: registry %q sent more than the %d bytes that it told of", remote.ErrWrong, w.fetch.repository.origin.Name, size)
		}
		if n > 0 {
			if _, err := w.Write(buffer[:n]); err != nil {
				return err
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
