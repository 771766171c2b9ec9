package personal

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"hash/crc32"
	"math/big"
	"strings"
)

// Prefix begins every personal access token, so that programs that look for leaked secrets find them, and few others: the last
// characters are a checksum of those before.
const Prefix = "berth_pat_"

// A token has some 178 random bits after its prefix.
const (
	randomLength   = 30
	checksumLength = 6
	alphabet       = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// newSecret returns a fresh token.
func newSecret() string {
	letters := make([]byte, randomLength)
	for i := range letters {
		n, err := rand.Int(rand.Reader, big.NewInt(int64(len(alphabet))))
		if err != nil {
			panic(err) // crypto/rand.Reader never fails
		}
		letters[i] = alphabet[n.Int64()]
	}
	return Prefix + string(letters) + checksum(string(letters))
}

// wellFormed reports whether a text is a token by its looks, so that nobody need be asked about others.
func wellFormed(text string) bool {
	rest, prefixed := strings.CutPrefix(text, Prefix)
	return prefixed && len(rest) == randomLength+checksumLength && checksum(rest[:randomLength]) == rest[randomLength:]
}

// checksum is the CRC-32 of the letters, in letters.
func checksum(letters string) string {
	sum := crc32.ChecksumIEEE([]byte(letters))
	text := make([]byte, checksumLength)
	for i := range text {
		text[checksumLength-1-i] = alphabet[sum%uint32(len(alphabet))]
		sum /= uint32(len(alphabet))
	}
	return string(text)
}

// hash stands for a token in the database. It is fast, because there is nothing to guess.
func hash(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return "sha256:" + hex.EncodeToString(sum[:])
}
