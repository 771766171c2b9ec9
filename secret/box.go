// Package secret seals small secrets at rest: signing keys, passwords of remote registries and directories, webhook headers.
package secret

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
)

// MinKeyLength is the shortest master key that is accepted, in bytes.
const MinKeyLength = 32

// version is the first byte of what [Box.Seal] returns, so that another construction can be told apart later.
const version = 1

// ErrOpen says that the sealed bytes do not open. The message of what wraps it says what to do.
var ErrOpen = errors.New("secret does not open")

// Box seals and opens secrets under one master key. It is safe for concurrent use.
type Box struct {
	aead cipher.AEAD
}

// New returns a box under the master key, which may be of any form. It returns an error when the key is shorter than
// [MinKeyLength].
func New(master []byte) (*Box, error) {
	if len(master) < MinKeyLength {
		return nil, fmt.Errorf("master key is %d bytes long, at least %d are needed", len(master), MinKeyLength)
	}
	key, err := hkdf.Key(sha256.New, master, nil, "berth secret box 1", 32)
	if err != nil {
		return nil, fmt.Errorf("derive key: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("make cipher: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("make cipher: %w", err)
	}
	return &Box{aead: aead}, nil
}

// Seal encrypts a secret for a purpose, such as "signing key 01J…". Sealed bytes open for the same purpose only, so that a row
// copied over another does not become that other's secret.
func (b *Box) Seal(purpose string, plaintext []byte) []byte {
	return b.aead.Seal([]byte{version}, nil, plaintext, []byte(purpose)) //nolint:gosec // the cipher makes a random nonce itself
}

// Open returns what was sealed for the purpose. The error wraps [ErrOpen] and names the remedy.
func (b *Box) Open(purpose string, sealed []byte) ([]byte, error) {
	if len(sealed) == 0 {
		return nil, fmt.Errorf("open %s: %w: it is empty; set the secret again", purpose, ErrOpen)
	}
	if sealed[0] != version {
		return nil, fmt.Errorf("open %s: %w: format %d is not known to this version of Berth; upgrade it, or set the secret again",
			purpose, ErrOpen, sealed[0])
	}
	plaintext, err := b.aead.Open(nil, nil, sealed[1:], []byte(purpose))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w: it was changed, or sealed under another master key; restore the master key "+
			"(the configured one, or the file %s in the data directory), the same on every gateway, or set the secret again",
			purpose, ErrOpen, KeyFile)
	}
	return plaintext, nil
}
