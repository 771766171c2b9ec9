package proxy

import (
	"context"
	"time"

	"github.com/berth-registry/berth/oci"
)

// BlobSize asks the registry elsewhere for the size of a blob that is not here, in bytes. The error is an [*oci.Error].
func (r *Repository) BlobSize(ctx context.Context, digest oci.Digest) (int64, error) {
	r.served(ContentBlob, Miss)
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
	r.served(ContentBlob, Miss)
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

// run brings the blob here: from the registry elsewhere, or, while another gateway fetches it, from what that one has told of.
func (f *fetch) run(ctx context.Context, c *Cache) {
	w := &way{fetch: f, hash: oci.NewHash(f.digest.Algorithm())}
	err := c.alone(ctx, f.name(), w.follow, w.transfer)
	w.end(err)
	c.mu.Lock()
	delete(c.fetches, contentKey{f.repository.name, f.digest})
	c.mu.Unlock()
	if w.spool != nil {
		w.spool.release()
	}
	if f.spool == nil {
		f.err = err
		close(f.ready)
	}
}

// name is what all gateways call the fetch.
func (f *fetch) name() string { return "blob " + f.repository.name.String() + "@" + f.digest.String() }

// publish lets those who wait read.
func (f *fetch) publish(spool *spool, size int64) {
	f.spool, f.size = spool, size
	close(f.ready)
}
