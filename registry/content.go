package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/storage"
)

// Range is a part of a blob.
type Range struct {
	Start, Length int64
}

// OpenBlob opens a blob for reading, beginning with the first of the ranges that will be read, all of it when there is none. On a
// file system the content is an [*os.File], which the kernel can send; else it asks the storage for each range as it is reached.
// The error is an [*oci.Error].
func (r *Registry) OpenBlob(ctx context.Context, repository oci.Repository, blob metadata.Blob, ranges []Range) (io.ReadSeekCloser, error) {
	content, err := r.open(ctx, blob, ranges)
	if errors.Is(err, storage.ErrNotFound) {
		// The row may be a cached one, and the blob deleted and pushed again under another key since.
		r.blobs.drop(contentKey{repository, blob.Digest})
		fresh, statErr := r.Blob(ctx, repository, blob.Digest)
		if statErr != nil {
			return nil, statErr
		}
		if fresh.StorageKey != blob.StorageKey {
			content, err = r.open(ctx, fresh, ranges)
		}
	}
	if errors.Is(err, storage.ErrNotFound) {
		return nil, &oci.Error{Code: oci.CodeUnknown, Message: "the blob's bytes are missing in storage: the operator has to restore them", Err: fmt.Errorf("blob %s: %w", blob.Digest, err)}
	}
	return content, storageError("open blob "+blob.Digest.String(), err)
}

// ReadBlob opens the blob of a repository to be read from an offset on. The errors are those of [Registry.Blob] and [Registry.OpenBlob].
func (r *Registry) ReadBlob(ctx context.Context, repository oci.Repository, digest oci.Digest, offset int64) (io.ReadCloser, error) {
	blob, err := r.Blob(ctx, repository, digest)
	if err != nil {
		return nil, err
	}
	content, err := r.OpenBlob(ctx, repository, blob, []Range{{Start: offset, Length: blob.Size - offset}})
	if err != nil {
		return nil, err
	}
	if _, err := content.Seek(offset, io.SeekStart); err != nil {
		return nil, errors.Join(err, content.Close())
	}
	return content, nil
}

func (r *Registry) open(ctx context.Context, blob metadata.Blob, ranges []Range) (io.ReadSeekCloser, error) {
	// Asking a remote storage for all of an object to read a part of it wastes a connection; a backend that can redirect is one.
	if _, remote := r.storage.(storage.Redirector); !remote || len(ranges) == 0 {
		reader, err := r.storage.Open(ctx, blob.StorageKey, 0, -1)
		if err != nil {
			return nil, err
		}
		if file, ok := reader.(*os.File); ok {
			return file, nil
		}
		return &content{ctx: ctx, storage: r.storage, blob: blob, ranges: ranges, reader: reader}, nil
	}
	c := &content{ctx: ctx, storage: r.storage, blob: blob, ranges: ranges, at: ranges[0].Start}
	return c, c.open()
}

// content reads an object of a remote storage, and seeks by asking for another part of it.
type content struct {
	ctx     context.Context
	storage storage.Backend
	blob    metadata.Blob
	ranges  []Range
	// at is the position of the next Read; reader is nil or stands at opened.
	at     int64
	opened int64
	reader io.ReadCloser
	// failed is the error that the storage gave while the content was sent.
	failed error
}

// open asks for the range that begins here, or for the rest of the object.
func (c *content) open() error {
	length := int64(-1)
	for _, r := range c.ranges {
		if r.Start == c.at {
			length = max(length, r.Length)
		}
	}
	reader, err := c.storage.Open(c.ctx, c.blob.StorageKey, c.at, length)
	c.reader, c.opened = reader, c.at
	return err
}

// Err returns the error that ended a read before its end: the response has then been begun, and can only be broken off.
func (c *content) Err() error { return storageError("read blob "+c.blob.Digest.String(), c.failed) }

// Read reads from the storage.
func (c *content) Read(p []byte) (int, error) {
	n, err := c.read(p)
	if err != nil && err != io.EOF { //nolint:errorlint // one that wraps io.EOF is a connection that broke
		c.failed = err
	}
	return n, err
}

func (c *content) read(p []byte) (int, error) {
	if c.at >= c.blob.Size {
		return 0, io.EOF
	}
	if c.reader != nil && c.opened != c.at {
		c.reader.Close()
		c.reader = nil
	}
	if c.reader == nil {
		if err := c.open(); err != nil {
			return 0, fmt.Errorf("open blob %s at %d: %w", c.blob.Digest, c.at, err)
		}
	}
	n, err := c.reader.Read(p)
	c.at += int64(n)
	c.opened = c.at
	if err == io.EOF && c.at < c.blob.Size {
		// The end of a range, or of an object that is shorter than it should be; the next Read tells.
		c.reader.Close()
		c.reader = nil
		if n == 0 {
			return 0, io.ErrUnexpectedEOF
		}
		err = nil
	}
	return n, err
}

// Seek sets the position and asks for nothing.
func (c *content) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += c.at
	case io.SeekEnd:
		offset += c.blob.Size
	}
	if offset < 0 {
		return c.at, fmt.Errorf("seek blob %s to %d: before its beginning", c.blob.Digest, offset)
	}
	c.at = offset
	return offset, nil
}

// Close ends the read.
func (c *content) Close() error {
	if c.reader == nil {
		return nil
	}
	return c.reader.Close()
}
