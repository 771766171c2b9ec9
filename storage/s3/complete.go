package s3

import (
	"context"
	"crypto/md5" // #nosec G501 -- S3 defines the entity tag of a multipart object with it
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/minio/minio-go/v7"

	"github.com/berth-registry/berth/storage"
)

// errInvalidPart is the server's answer to a list of parts that is not the one it has.
var errInvalidPart = errors.New("the server does not have the parts that were sent")

// complete makes an object of the parts. When the server knows the parts otherwise than it said when it took them, it is asked
// once what it has. When it does not know the upload any more, an earlier try may have completed it.
func (b *Backend) complete(ctx context.Context, key, uploadID string, secret []byte, parts []part) error {
	err := b.sendComplete(ctx, key, uploadID, parts)
	if errors.Is(err, errInvalidPart) {
		var corrected []part
		if corrected, err = b.reconcile(ctx, key, uploadID, parts); err == nil {
			err = b.sendComplete(ctx, key, uploadID, corrected)
		}
		if err == nil {
			return b.verify(ctx, key, secret, parts, corrected)
		}
	}
	switch {
	case errors.Is(err, errInvalidPart):
		return fmt.Errorf("%w: %w", storage.ErrNotFound, err)
	case errors.Is(err, storage.ErrNotFound):
		return b.findCompleted(ctx, key, parts, err)
	}
	return err
}

func (b *Backend) sendComplete(ctx context.Context, key, uploadID string, parts []part) error {
	list := make([]minio.CompletePart, len(parts))
	for i, p := range parts {
		list[i] = minio.CompletePart{PartNumber: i + 1, ETag: p.ETag, ChecksumCRC32C: encodeCRC(p.CRC)}
	}
	return b.doRequest(ctx, request{
		doing: "complete upload " + key,
		// A server may take its time to put thousands of parts together.
		timeout: 5 * b.config.Timeout,
		fn: func(ctx context.Context, _ func()) error {
			_, err := b.core.CompleteMultipartUpload(ctx, b.config.Bucket, b.object(key), uploadID, list, minio.PutObjectOptions{})
			if code := minio.ToErrorResponse(err).Code; code == minio.InvalidPart || code == minio.InvalidPartOrder {
				return fmt.Errorf("%w: %w", errInvalidPart, err)
			}
			return err
		},
	})
}

// reconcile takes over the entity tags that the server has, for parts whose size and checksum are those of what was sent.
func (b *Backend) reconcile(ctx context.Context, key, uploadID string, parts []part) ([]part, error) {
	listed, err := b.listParts(ctx, key, uploadID)
	if err != nil {
		return nil, err
	}
	corrected := make([]part, len(parts))
	for i, p := range parts {
		found, ok := listed[i+1]
		if !ok || found.Size != p.Size || found.ChecksumCRC32C != encodeCRC(p.CRC) {
			return nil, fmt.Errorf("upload %s: part %d: %w", key, i+1, errInvalidPart)
		}
		p.ETag = strings.Trim(found.ETag, `"`)
		corrected[i] = p
	}
	return corrected, nil
}

// findCompleted returns nil when the object is there and is made of exactly these parts, else the error that made it look. The
// size alone would not do: another request may have completed the upload with a different end.
func (b *Backend) findCompleted(ctx context.Context, key string, parts []part, cause error) error {
	found, err := b.stat(ctx, key)
	if errors.Is(err, storage.ErrNotFound) {
		return cause
	}
	if err != nil {
		return err
	}
	expected, ok := multipartTag(parts)
	if !ok || !strings.EqualFold(found.ETag, expected) || found.Size != (state{Parts: parts}).offset() {
		return cause
	}
	return nil
}

// multipartTag is the entity tag of an object made of the parts, if theirs are MD5 sums: the MD5 of these, and their number.
func multipartTag(parts []part) (string, bool) {
	sum := md5.New() // #nosec G401 -- see the import
	for _, p := range parts {
		tag, err := hex.DecodeString(p.ETag)
		if err != nil || len(tag) != md5.Size {
			return "", false
		}
		sum.Write(tag)
	}
	return fmt.Sprintf("%x-%d", sum.Sum(nil), len(parts)), true
}
