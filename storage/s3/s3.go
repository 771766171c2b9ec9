// Package s3 keeps blobs in a bucket of a server that speaks S3. An object gets its final name when its upload begins, so that
// a commit neither copies nor lists: a large blob costs its parts and two requests, a small one a single PUT.
package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"golang.org/x/sync/semaphore"

	"github.com/berth-registry/berth/storage"
)

// deleteBatch is the most keys that one request may delete.
const deleteBatch = 1000

// Backend is a [storage.Backend] on a bucket. It is also a [storage.Redirector], a [storage.Walker] and a [storage.Sweeper].
type Backend struct {
	config    Config
	core      minio.Core
	public    *minio.Client
	transport *http.Transport
	// slots bounds the parts in memory.
	slots *semaphore.Weighted
}

// New returns the backend. It sends no request: whether the bucket can be used is for [Backend.Check] to say.
func New(config Config) (*Backend, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	config = config.withDefaults()
	transport, err := newTransport(config)
	if err != nil {
		return nil, err
	}
	client, err := newClient(config, config.Endpoint, transport)
	if err != nil {
		return nil, err
	}
	public, err := newClient(config, config.PublicEndpoint, transport)
	if err != nil {
		return nil, err
	}
	return &Backend{
		config:    config,
		core:      minio.Core{Client: client},
		public:    public,
		transport: transport,
		slots:     semaphore.NewWeighted(int64(config.Concurrency)),
	}, nil
}

func newClient(config Config, endpoint string, transport *http.Transport) (*minio.Client, error) {
	host, secure, err := parseEndpoint(endpoint)
	if err != nil {
		return nil, fmt.Errorf("s3 storage: endpoint: %w", err)
	}
	lookup := minio.BucketLookupAuto
	if config.PathStyle {
		lookup = minio.BucketLookupPath
	}
	client, err := minio.New(host, &minio.Options{
		Creds:        credentials.NewStaticV4(config.AccessKey, config.SecretKey, ""),
		Secure:       secure,
		Transport:    retryAfterTransport{transport},
		Region:       config.Region,
		BucketLookup: lookup,
		// The backend repeats requests itself, within its own bounds.
		MaxRetries: 1,
	})
	if err != nil {
		return nil, fmt.Errorf("s3 storage: %w", err)
	}
	return client, nil
}

// Close closes the idle connections.
func (b *Backend) Close() error {
	b.transport.CloseIdleConnections()
	return nil
}

// Check writes, reads and deletes a small object.
func (b *Backend) Check(ctx context.Context) error {
	if err := storage.Probe(ctx, b); err != nil {
		return fmt.Errorf("check bucket %s at %s: %w", b.config.Bucket, b.config.Endpoint, err)
	}
	return nil
}

// object is the name of a key's object in the bucket.
func (b *Backend) object(key string) string { return b.folder() + key }

func (b *Backend) folder() string { return b.config.Prefix + "blobs/" }

// Open reads a range of an object with one request. It fails with [storage.ErrNotFound] when no object has this key.
func (b *Backend) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	if offset < 0 {
		return nil, fmt.Errorf("open object %q: negative offset %d", key, offset)
	}
	if !storage.ValidKey(key) {
		return nil, fmt.Errorf("open object %q: %w", key, storage.ErrNotFound)
	}
	if length == 0 {
		if _, err := b.stat(ctx, key); err != nil {
			return nil, err
		}
		return http.NoBody, nil
	}
	options := minio.GetObjectOptions{}
	switch {
	case length > 0:
		// A range that ends past the largest number would wrap around.
		last := offset + length - 1
		if last < offset {
			last = 1<<63 - 1
		}
		_ = options.SetRange(offset, last)
	case offset > 0:
		_ = options.SetRange(offset, 0)
	}
	var opened *objectReader
	err := b.do(ctx, "open object "+key, func(context.Context, func()) error {
		reader, err := b.get(ctx, key, options)
		if minio.ToErrorResponse(err).Code == minio.InvalidRange {
			return nil // the range begins at the end or after it
		}
		opened = reader
		return err
	})
	if err != nil {
		return nil, err
	}
	if opened == nil {
		return http.NoBody, nil
	}
	return opened, nil
}

// get sends one request for an object; its watchdog goes on to watch the body.
func (b *Backend) get(ctx context.Context, key string, options minio.GetObjectOptions) (*objectReader, error) {
	watched, cancel := context.WithCancelCause(ctx)
	watchdog := time.AfterFunc(b.config.Timeout, func() { cancel(errStalled) })
	reader, _, _, err := b.core.GetObject(watched, b.config.Bucket, b.object(key), options)
	watchdog.Stop()
	if err != nil {
		if errors.Is(context.Cause(watched), errStalled) {
			err = errStalled
		}
		cancel(nil)
		return nil, err
	}
	return &objectReader{
		ctx: ctx, watched: watched, cancel: cancel, watchdog: watchdog, timeout: b.config.Timeout, key: key, body: reader,
	}, nil
}

// stat returns what a HEAD says of an object.
func (b *Backend) stat(ctx context.Context, key string) (found minio.ObjectInfo, err error) {
	err = b.do(ctx, "look at object "+key, func(ctx context.Context, _ func()) (err error) {
		found, err = b.core.StatObject(ctx, b.config.Bucket, b.object(key), minio.StatObjectOptions{})
		return err
	})
	return found, err
}

// Delete removes objects, a thousand with each request. Keys that are gone, or that no object can have, count as removed.
func (b *Backend) Delete(ctx context.Context, keys []string) error {
	objects := make([]minio.ObjectInfo, 0, min(len(keys), deleteBatch))
	for i, key := range keys {
		if storage.ValidKey(key) {
			objects = append(objects, minio.ObjectInfo{Key: b.object(key)})
		}
		if len(objects) == deleteBatch || i == len(keys)-1 && len(objects) > 0 {
			if err := b.deleteObjects(ctx, objects); err != nil {
				return err
			}
			objects = objects[:0]
		}
	}
	return nil
}

func (b *Backend) deleteObjects(ctx context.Context, objects []minio.ObjectInfo) error {
	return b.do(ctx, "delete objects", func(ctx context.Context, _ func()) error {
		each := func(yield func(minio.ObjectInfo) bool) {
			for _, object := range objects {
				if !yield(object) {
					return
				}
			}
		}
		results, err := b.core.RemoveObjectsWithIter(ctx, b.config.Bucket, each, minio.RemoveObjectsOptions{})
		if err != nil {
			return err
		}
		for result := range results {
			code := minio.ToErrorResponse(result.Err).Code
			if err == nil && result.Err != nil && code != minio.NoSuchKey {
				err = result.Err
			}
		}
		return errors.Join(err, ctx.Err())
	})
}

// Redirect signs a URL for the public endpoint; it sends no request.
func (b *Backend) Redirect(ctx context.Context, key string, options storage.RedirectOptions) (string, error) {
	if !b.config.Redirect {
		return "", nil
	}
	if !storage.ValidKey(key) {
		return "", fmt.Errorf("redirect to object %q: %w", key, storage.ErrNotFound)
	}
	parameters := url.Values{}
	if options.ContentType != "" {
		parameters.Set("response-content-type", options.ContentType)
	}
	signed, err := b.public.PresignedGetObject(ctx, b.config.Bucket, b.object(key), b.config.RedirectExpiry, parameters)
	if err != nil {
		return "", classify(ctx, "redirect to object "+key, err, 0)
	}
	return signed.String(), nil
}

// objectReader is the body of a GET. Its watchdog runs while a read waits, and not while the caller is busy.
type objectReader struct {
	ctx, watched context.Context
	cancel       context.CancelCauseFunc
	watchdog     *time.Timer
	timeout      time.Duration
	key          string
	body         io.ReadCloser
}

// Read gives typed errors: a connection that breaks is a *storage.RetryableError.
func (r *objectReader) Read(p []byte) (int, error) {
	r.watchdog.Reset(r.timeout)
	n, err := r.body.Read(p)
	r.watchdog.Stop()
	if err == nil || err == io.EOF {
		return n, err
	}
	if errors.Is(context.Cause(r.watched), errStalled) {
		err = errStalled
	}
	return n, classify(r.ctx, "read object "+r.key, err, 0)
}

// Close ends the request.
func (r *objectReader) Close() error {
	r.watchdog.Stop()
	err := r.body.Close()
	r.cancel(nil)
	return err
}

// Interface guards.
var (
	_ storage.Backend    = (*Backend)(nil)
	_ storage.Redirector = (*Backend)(nil)
	_ storage.Walker     = (*Backend)(nil)
	_ storage.Sweeper    = (*Backend)(nil)
)
