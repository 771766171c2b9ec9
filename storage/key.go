package storage

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"

	"github.com/oklog/ulid/v2"
)

// keyLength is two hexadecimal characters, a slash and a ULID.
const keyLength = 3 + ulid.EncodedSize

// NewKey returns a key that was never used before: a ULID under one of 256 prefixes, so that neither a directory nor a
// partition of a bucket gets all of them. Backends use the same shape, so that a tree of files can be copied into a bucket.
func NewKey() (string, error) {
	id, err := ulid.New(ulid.Now(), rand.Reader)
	if err != nil {
		return "", fmt.Errorf("make a storage key: %w", err)
	}
	return keyOf(id), nil
}

// DeriveKey returns a key that is bound to a key that was never committed and to a digest of at least 10 bytes: the same for the
// same two, and another one for any others. A backend uses it where two requests may commit one upload with different bytes.
func DeriveKey(key string, digest []byte) (string, error) {
	var id ulid.ULID
	if !ValidKey(key) || len(digest) < len(id.Entropy()) {
		return "", fmt.Errorf("derive a storage key from %q and %d bytes", key, len(digest))
	}
	id, err := ulid.ParseStrict(key[3:])
	if err != nil {
		return "", fmt.Errorf("derive a storage key from %q: %w", key, err)
	}
	copy(id[len(id)-len(id.Entropy()):], digest)
	return keyOf(id), nil
}

// ValidKey tells whether key is one that [NewKey] can have made. Keys come back from a database or a caller, and become paths.
func ValidKey(key string) bool {
	if len(key) != keyLength {
		return false
	}
	id, err := ulid.ParseStrict(key[3:])
	return err == nil && keyOf(id) == key
}

func keyOf(id ulid.ULID) string {
	return hex.EncodeToString(id[len(id)-1:]) + "/" + id.String()
}
