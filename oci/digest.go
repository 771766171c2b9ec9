package oci

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding"
	"fmt"
	"hash"

	"github.com/opencontainers/go-digest"
)

// Digest is an algorithm and the hexadecimal hash of some bytes: "sha256:…" or "sha512:…".
type Digest = digest.Digest

// Algorithm is the name of a hash function.
type Algorithm = digest.Algorithm

// The algorithms of image-spec 1.1 that Berth stores and serves.
const (
	SHA256 = digest.SHA256
	SHA512 = digest.SHA512
)

// ParseDigest checks the form of a digest. The error is an [*Error] with [CodeDigestInvalid]: malformed, or of an algorithm
// other than sha256 and sha512.
func ParseDigest(s string) (Digest, error) {
	d, err := digest.Parse(s)
	if err != nil {
		return "", NewError(CodeDigestInvalid, "digest %q: %v", s, err)
	}
	if d.Algorithm() != SHA256 && d.Algorithm() != SHA512 {
		return "", NewError(CodeDigestInvalid, "digest %q: algorithm %q is not one of sha256, sha512", s, d.Algorithm())
	}
	return d, nil
}

// ParseAlgorithm reads the name of an algorithm, as in "digest-algorithm=sha512". The error is an [*Error] with
// [CodeDigestInvalid].
func ParseAlgorithm(s string) (Algorithm, error) {
	switch a := Algorithm(s); a {
	case SHA256, SHA512:
		return a, nil
	}
	return "", NewError(CodeDigestInvalid, "digest algorithm %q is not one of sha256, sha512", s)
}

// NewHash returns an empty hash of the algorithm, which must be one that [ParseAlgorithm] accepts.
func NewHash(a Algorithm) hash.Hash {
	if a == SHA512 {
		return sha512.New()
	}
	return sha256.New()
}

// SumDigest returns the digest of what was written to h.
func SumDigest(a Algorithm, h hash.Hash) Digest {
	return digest.NewDigest(a, h)
}

// MarshalHash returns the running state of a hash made by [NewHash], for [UnmarshalHash] in another process.
func MarshalHash(h hash.Hash) ([]byte, error) {
	state, err := h.(encoding.BinaryMarshaler).MarshalBinary()
	if err != nil {
		return nil, fmt.Errorf("marshal hash state: %w", err)
	}
	return state, nil
}

// UnmarshalHash restores a hash from its running state. It returns an error when the state is not of that algorithm.
func UnmarshalHash(a Algorithm, state []byte) (hash.Hash, error) {
	h := NewHash(a)
	if err := h.(encoding.BinaryUnmarshaler).UnmarshalBinary(state); err != nil {
		return nil, fmt.Errorf("restore %s state: %w", a, err)
	}
	return h, nil
}
