package proxy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/berth-registry/berth/oci"
)

// BlobSize asks the registry elsewhere for the size of a blob that is not here, in bytes. The error is an [*oci.Error].
func (r *Repository) BlobSize(ctx context.Context, digest oci.Digest) (int64, error) {
	size, err := r.shared(ctx, "size "+r.name.String()+" "+digest.String(), askTimeout, func(ctx context.Context) (any, error) {
		size, err := r.origin.Remote.BlobSize(ctx, r.there, digest)
		r.state.heard(err)
		return size, err
	})
	if err != nil {
		return 0, r.failure(err, oci.CodeBlobUnknown, "blob "+digest.String())
	}
	return size.(int64), nil
}

// Arrival is a blob that is on its way from the registry elsewhere. It is read while it comes, from any offset.
type Arrival struct {
	// Size is in bytes.
	Size int64
	*spoolReader
}

// fetch is a blob that is fetched once for all who ask for it.
type fetch struct {
	repository *Repository
	digest     oci.Digest
	// ready is closed when it is known what comes: size bytes in the spool, an error, or, without either, nothing, as it is here.
	ready chan struct{}
	spool *spool
	size  int64
	err   error
	// kept is true when it was stored; it is set before the last holder of the spool lets go.
	kept bool
}

// FetchBlob returns a blob that is not here, as it arrives and is stored; the caller closes it. It goes on arriving when the caller has
// left. Nil says that the blob is here now. The error is an [*oci.Error].
func (r *Repository) FetchBlob(ctx context.Context, digest oci.Digest) (*Arrival, error) {
	for {
		f := r.cache.join(ctx, r, digest)
		if f == nil {
			return nil, context.Canceled
		}
		select {
		case <-f.ready:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if f.err != nil || f.spool == nil {
			return nil, r.failure(f.err, oci.CodeBlobUnknown, "blob "+digest.String())
		}
		if _, _, _, broken := f.spool.look(); broken != nil {
			return nil, r.failure(broken, oci.CodeBlobUnknown, "blob "+digest.String())
		}
		if reader := f.spool.reader(ctx, f.size); reader != nil {
			return &Arrival{Size: f.size, spoolReader: reader}, nil
		}
		if f.kept {
			return nil, nil
		}
	}
}

// join returns the fetch of a blob that is under way, or begins it; nil when the cache has been closed.
func (c *Cache) join(ctx context.Context, r *Repository, digest oci.Digest) *fetch {
	key := contentKey{r.name, digest}
	c.mu.Lock()
	defer c.mu.Unlock()
	if known := c.fetches[key]; known != nil {
		return known
	}
	if c.ctx.Err() != nil {
		return nil
	}
	f := &fetch{repository: r, digest: digest, ready: make(chan struct{})}
	c.fetches[key] = f
	ctx, cancel := c.detached(ctx, longestFetch)
	c.running.Go(func() {
		defer cancel()
		f.run(ctx, c)
	})
	return f
}

// longestFetch bounds a fetch that gets on, however slowly.
const longestFetch = 24 * time.Hour

// run fetches the blob, unless another gateway does.
func (f *fetch) run(ctx context.Context, c *Cache) {
	name := f.repository.name
	err := c.alone(ctx, "blob "+name.String()+"@"+f.digest.String(), func(ctx context.Context) (bool, error) {
		_, err := c.options.Content.Blob(ctx, name, f.digest)
		if oci.HasCode(err, oci.CodeBlobUnknown) {
			return false, nil
		}
		return err == nil, err
	}, f.transfer)
	c.mu.Lock()
	delete(c.fetches, contentKey{name, f.digest})
	c.mu.Unlock()
	if f.spool != nil {
		f.spool.release()
		return
	}
	f.err = err
	close(f.ready)
}

// transfer brings the blob here, for everybody who waits for it, and stores it meanwhile.
func (f *fetch) transfer(ctx context.Context) error {
	r, c := f.repository, f.repository.cache
	limiter, turns := r.state.limits(r.origin)
	if err := turns.Acquire(ctx, 1); err != nil {
		return err
	}
	defer turns.Release(1)
	way := &way{fetch: f, limiter: limiter, hash: oci.NewHash(f.digest.Algorithm())}
	defer way.close()
	size, err := way.open(ctx)
	if err != nil {
		return err
	}
	spool, err := newSpool(c.options.Directory)
	if err != nil {
		return fmt.Errorf("%w: %w", errNoRoom, err)
	}
	way.spool = spool
	stored := make(chan error, 1)
	if c.options.Keep(ctx) {
		reader := spool.reader(ctx, size)
		go func() {
			err := c.options.Content.KeepBlob(ctx, r.name, f.digest, reader)
			f.kept = err == nil
			stored <- errors.Join(err, reader.Close())
		}()
	} else {
		stored <- nil
	}
	spool.hold() // for the fetch itself, until nobody finds it any more
	if size >= 0 {
		f.publish(spool, size)
	}
	fetched := way.travel(ctx, size)
	spool.end(fetched)
	if size < 0 {
		if fetched != nil {
			spool.release()
		} else {
			f.publish(spool, way.offset)
		}
	}
	kept := <-stored
	if err := errors.Join(fetched, kept); err != nil {
		c.options.Logger.WarnContext(ctx, "a blob of a registry elsewhere is not kept", "repository", r.name, "digest", f.digest, "bytes", way.offset, "error", err)
	}
	return fetched
}

// publish lets those who wait read.
func (f *fetch) publish(spool *spool, size int64) {
	f.spool, f.size = spool, size
	close(f.ready)
}
