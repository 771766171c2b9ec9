package s3

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"

	"github.com/minio/minio-go/v7"

	"github.com/berth-registry/berth/storage"
)

// checksumHeader carries the CRC-32C of what is sent; the server refuses bytes that do not match it. Compared with a signature
// over the bytes or an MD5 it costs next to nothing.
const checksumHeader = "x-amz-checksum-crc32c"

// encodeCRC is the checksum as S3 writes it.
func encodeCRC(sum uint32) string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, sum))
}

// sendPart sends a part, after it has created the multipart upload if there is none.
func (b *Backend) sendPart(ctx context.Context, key, uploadID string, secret []byte, number int, bytes content) result {
	if number > MaxParts {
		return result{uploadID: uploadID, err: fmt.Errorf("upload %s: %w: it has more than %d parts, of up to %d bytes each; "+
			"a larger part_size allows larger objects", key, storage.ErrTooLarge, MaxParts, b.config.PartSize)}
	}
	if uploadID == "" {
		var err error
		if uploadID, err = b.create(ctx, key); err != nil {
			return result{err: err}
		}
	}
	mark, err := fingerprint(secret, &body{content: bytes, touch: func() {}})
	if err != nil {
		return result{uploadID: uploadID, err: err}
	}
	sum, err := bytes.crc()
	if err != nil {
		return result{uploadID: uploadID, err: fmt.Errorf("upload %s: %w", key, err)}
	}
	sent := part{CRC: sum, Size: bytes.size, Fingerprint: mark}
	err = b.do(ctx, fmt.Sprintf("send part %d of upload %s", number, key), func(ctx context.Context, touch func()) error {
		source := &body{content: bytes, touch: touch}
		defer source.stop()
		got, err := b.core.PutObjectPart(ctx, b.config.Bucket, b.object(key), uploadID, number, source, bytes.size,
			minio.PutObjectPartOptions{
				CustomHeader:         http.Header{http.CanonicalHeaderKey(checksumHeader): {encodeCRC(sent.CRC)}},
				DisableContentSha256: true,
			})
		if isConnectionError(err) {
			// A server may refuse a part before it has read it, and close the connection; then its answer is lost.
			_, missing := b.core.ListObjectParts(ctx, b.config.Bucket, b.object(key), uploadID, 0, 1)
			if minio.ToErrorResponse(missing).Code == "NoSuchUpload" {
				return missing
			}
		}
		if err != nil {
			return err
		}
		sent.ETag = got.ETag
		return checkPart(got, sent.CRC)
	})
	return result{uploadID: uploadID, part: sent, err: err}
}

// checkPart refuses an answer that cannot be right, so that the part is sent again.
func checkPart(got minio.ObjectPart, sum uint32) error {
	if got.ETag == "" || got.ChecksumCRC32C != "" && got.ChecksumCRC32C != encodeCRC(sum) {
		return &storage.RetryableError{Err: errors.New("the server's answer does not match the part")}
	}
	return nil
}

// create starts a multipart upload.
func (b *Backend) create(ctx context.Context, key string) (uploadID string, err error) {
	err = b.do(ctx, "begin upload "+key, func(ctx context.Context, _ func()) (err error) {
		uploadID, err = b.core.NewMultipartUpload(ctx, b.config.Bucket, b.object(key), minio.PutObjectOptions{
			UserMetadata: map[string]string{"x-amz-checksum-algorithm": "CRC32C"},
		})
		return err
	})
	return uploadID, err
}

// put writes a small object.
func (b *Backend) put(ctx context.Context, key string, bytes content) error {
	checksum, err := bytes.crc()
	if err != nil {
		return fmt.Errorf("write object %s: %w", key, err)
	}
	options := minio.PutObjectOptions{
		UserMetadata:         map[string]string{checksumHeader: encodeCRC(checksum)},
		DisableContentSha256: true,
	}
	return b.do(ctx, "write object "+key, func(ctx context.Context, touch func()) error {
		source := &body{content: bytes, touch: touch}
		defer source.stop()
		_, err := b.core.PutObject(ctx, b.config.Bucket, b.object(key), source, bytes.size, "", "", options)
		return err
	})
}

// smallKey is the key of an object that is written with one PUT. Two requests that resumed the same state may both commit, and
// S3 lets the later PUT win; so once a state was handed out the key is bound to the bytes: the same ones get the same key, and
// other ones cannot replace them.
func (u *upload) smallKey(bytes content) (string, error) {
	if !u.suspended {
		return u.key, nil
	}
	sum := sha256.New()
	sum.Write([]byte(u.key))
	if err := bytes.writeTo(sum); err != nil {
		return "", fmt.Errorf("object %s: %w", u.key, err)
	}
	return storage.DeriveKey(u.key, sum.Sum(nil))
}
