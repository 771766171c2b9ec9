package s3

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/berth-registry/berth/storage"
)

// pageSize is how many objects, uploads or parts a request lists.
const pageSize = 1000

// Walk calls fn for every object with a key after the given one, in order, a page of requests at a time. Objects under the
// prefix that are not blobs are passed over.
func (b *Backend) Walk(ctx context.Context, after string, fn func(storage.Object) error) error {
	for last := after; ; {
		page, err := b.list(ctx, last)
		if err != nil {
			return err
		}
		for _, object := range page {
			last = strings.TrimPrefix(object.Key, b.folder())
			if !storage.ValidKey(last) {
				continue
			}
			if err := fn(storage.Object{Key: last, Size: object.Size, Modified: object.LastModified}); err != nil {
				return err
			}
		}
		if len(page) < pageSize {
			return nil
		}
	}
}

// list returns a page of the objects with a key after the given one.
func (b *Backend) list(ctx context.Context, after string) (page []minio.ObjectInfo, err error) {
	options := minio.ListObjectsOptions{Prefix: b.folder(), Recursive: true, MaxKeys: pageSize}
	if after != "" {
		options.StartAfter = b.object(after)
	}
	err = b.do(ctx, "list objects", func(ctx context.Context, touch func()) error {
		page = page[:0]
		for object := range b.core.ListObjectsIter(ctx, b.config.Bucket, options) {
			if object.Err != nil {
				return object.Err
			}
			touch()
			if page = append(page, object); len(page) == pageSize {
				break
			}
		}
		return ctx.Err()
	})
	return page, err
}

// Sweep aborts the uploads of this prefix that began before the given time and have had no part since. The list is not
// restricted to the prefix by the server: MinIO would then find an upload only by its exact name.
func (b *Backend) Sweep(ctx context.Context, before time.Time) (int, error) {
	aborted := 0
	keyMarker, idMarker := "", ""
	for {
		var page minio.ListMultipartUploadsResult
		err := b.do(ctx, "list uploads", func(ctx context.Context, _ func()) (err error) {
			page, err = b.core.ListMultipartUploads(ctx, b.config.Bucket, "", keyMarker, idMarker, "", pageSize)
			return err
		})
		if err != nil {
			return aborted, err
		}
		for _, upload := range page.Uploads {
			swept, err := b.sweepUpload(ctx, upload, before)
			if err != nil {
				return aborted, err
			}
			if swept {
				aborted++
			}
		}
		if !page.IsTruncated || page.NextKeyMarker == keyMarker && page.NextUploadIDMarker == idMarker {
			return aborted, nil
		}
		keyMarker, idMarker = page.NextKeyMarker, page.NextUploadIDMarker
	}
}

func (b *Backend) sweepUpload(ctx context.Context, upload minio.ObjectMultipartInfo, before time.Time) (bool, error) {
	key, ours := strings.CutPrefix(upload.Key, b.folder())
	if !ours || !storage.ValidKey(key) || !upload.Initiated.Before(before) {
		return false, nil
	}
	parts, err := b.listParts(ctx, key, upload.UploadID)
	if errors.Is(err, storage.ErrNotFound) {
		return false, nil // finished since the list was made
	}
	if err != nil {
		return false, err
	}
	for _, p := range parts {
		if !p.LastModified.Before(before) {
			return false, nil
		}
	}
	return true, b.abort(ctx, key, upload.UploadID)
}

// listParts returns what the server has of an upload, by part number.
func (b *Backend) listParts(ctx context.Context, key, uploadID string) (map[int]minio.ObjectPart, error) {
	parts := make(map[int]minio.ObjectPart)
	for marker := 0; ; {
		var page minio.ListObjectPartsResult
		err := b.do(ctx, "list the parts of upload "+key, func(ctx context.Context, _ func()) (err error) {
			page, err = b.core.ListObjectParts(ctx, b.config.Bucket, b.object(key), uploadID, marker, pageSize)
			return err
		})
		if err != nil {
			return nil, err
		}
		for _, p := range page.ObjectParts {
			parts[p.PartNumber] = p
		}
		if !page.IsTruncated || page.NextPartNumberMarker <= marker {
			return parts, nil
		}
		marker = page.NextPartNumberMarker
	}
}

// abort forgets an upload and its parts.
func (b *Backend) abort(ctx context.Context, key, uploadID string) error {
	err := b.do(ctx, "abort upload "+key, func(ctx context.Context, _ func()) error {
		return b.core.AbortMultipartUpload(ctx, b.config.Bucket, b.object(key), uploadID)
	})
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	return err
}
