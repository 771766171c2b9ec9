package s3

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/berth-registry/berth/storage"
)

// secretSize is the size of the key of an upload's fingerprints, which are as long.
const secretSize = 16

func newSecret() ([]byte, error) {
	secret := make([]byte, secretSize)
	if _, err := rand.Read(secret); err != nil {
		return nil, fmt.Errorf("make the secret of an upload: %w", err)
	}
	return secret, nil
}

// fingerprint is a keyed hash of what r holds, at several gigabytes a second: the authentication tags of its chunks under
// AES-GCM, put together. A checksum of S3 would not do, for a client can find other bytes with the same CRC. The tags are never
// shown to anybody, so that a chunk's number will do for its nonce.
func fingerprint(secret []byte, r io.Reader) ([]byte, error) {
	block, err := aes.NewCipher(secret)
	if err != nil {
		return nil, fmt.Errorf("fingerprint: %w", err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("fingerprint: %w", err)
	}
	chunk := chunks.Get().(*[chunkSize]byte)
	defer chunks.Put(chunk)
	sum := sha256.New()
	nonce := make([]byte, gcm.NonceSize())
	for number := uint64(0); ; number++ {
		n, err := io.ReadFull(r, chunk[:])
		if n > 0 {
			binary.BigEndian.PutUint64(nonce, number)
			sum.Write(gcm.Seal(nil, nonce, nil, chunk[:n])) //nolint:gosec // see above for the nonce
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return sum.Sum(nil)[:secretSize], nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// verify reads those parts of a new object whose entity tags were taken from the server's list, and removes the object when
// they are not what was sent: another request may have put its own part in the place of one, with the same checksum.
func (b *Backend) verify(ctx context.Context, key string, secret []byte, sent, corrected []part) error {
	offset := int64(0)
	for i, p := range corrected {
		if p.ETag != sent[i].ETag {
			reader, err := b.Open(ctx, key, offset, p.Size)
			if err != nil {
				return err
			}
			found, err := fingerprint(secret, reader)
			_ = reader.Close()
			if err != nil {
				return err
			}
			if !bytes.Equal(found, p.Fingerprint) {
				if err := b.Delete(ctx, []string{key}); err != nil {
					return err
				}
				return fmt.Errorf("upload %s: part %d was replaced: %w", key, i+1, storage.ErrNotFound)
			}
		}
		offset += p.Size
	}
	return nil
}
