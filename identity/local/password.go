// Package local proves the registry's own users by the password hashes in the database, and administers those users.
package local

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"

	"github.com/berth-registry/berth/fault"
)

// The lengths of a password, in characters.
const (
	MinPassword = 8
	MaxPassword = 128
)

// ErrPassword says that the password does not follow the rule, which its text tells.
var ErrPassword = fault.New(fault.Invalid, "password must be 8 to 128 characters with at least one upper-case letter, one lower-case letter and one digit")

// CheckPassword returns [ErrPassword] when a new password does not follow the rule.
func CheckPassword(password string) error {
	length := utf8.RuneCountInString(password)
	if length < MinPassword || length > MaxPassword || !utf8.ValidString(password) ||
		!strings.ContainsFunc(password, unicode.IsUpper) || !strings.ContainsFunc(password, unicode.IsLower) ||
		!strings.ContainsFunc(password, unicode.IsDigit) {
		return ErrPassword
	}
	return nil
}

// Params are the cost of argon2id (RFC 9106).
type Params struct {
	// Memory is in KiB.
	Memory  uint32
	Time    uint32
	Threads uint8
}

// DefaultParams cost some 75 ms and 32 MiB on one core.
var DefaultParams = Params{Memory: 32 << 10, Time: 2, Threads: 1}

// The limits of what a stored hash may ask for, so that no row can take the process down.
const (
	maxMemory  = 1 << 20
	maxTime    = 64
	maxThreads = 16
)

const (
	saltLength = 16
	hashLength = 32
)

// Hash returns the encoded hash of a password with a fresh salt: "$argon2id$v=19$m=…,t=…,p=…$salt$hash".
func Hash(password string, p Params) string {
	salt := make([]byte, saltLength)
	rand.Read(salt) //nolint:errcheck // crypto/rand.Read never fails
	sum := derive(password, salt, p, hashLength)
	encode := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, p.Memory, p.Time, p.Threads, encode(salt), encode(sum))
}

// verify reports whether the password is that of the encoded hash, and what parameters it was made with. It returns an error
// when the hash cannot be read.
func verify(encoded, password string) (bool, Params, error) {
	p, salt, want, err := parseHash(encoded)
	if err != nil {
		return false, Params{}, err
	}
	got := derive(password, salt, p, len(want))
	return subtle.ConstantTimeCompare(got, want) == 1, p, nil
}

// derive runs argon2id and gives its memory back to the system at once, for half as much time again: verified credentials are
// remembered, so it runs seldom, and else its megabytes would make up a third of an idle process.
func derive(password string, salt []byte, p Params, length int) []byte {
	sum := argon2.IDKey([]byte(password), salt, p.Time, p.Memory, p.Threads, uint32(length)) //nolint:gosec // 64 at most
	debug.FreeOSMemory()
	return sum
}

func parseHash(encoded string) (p Params, salt, sum []byte, err error) {
	fields := strings.Split(encoded, "$")
	if len(fields) != 6 || fields[0] != "" || fields[1] != "argon2id" || fields[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return Params{}, nil, nil, errors.New("stored password hash is not an encoded argon2id hash of version 19")
	}
	if _, err := fmt.Sscanf(fields[3], "m=%d,t=%d,p=%d", &p.Memory, &p.Time, &p.Threads); err != nil {
		return Params{}, nil, nil, fmt.Errorf("parameters of stored password hash: %w", err)
	}
	if p.Memory < 8 || p.Memory > maxMemory || p.Time < 1 || p.Time > maxTime || p.Threads < 1 || p.Threads > maxThreads {
		return Params{}, nil, nil, fmt.Errorf("parameters of stored password hash are out of bounds: %s", fields[3])
	}
	if salt, err = base64.RawStdEncoding.DecodeString(fields[4]); err != nil {
		return Params{}, nil, nil, fmt.Errorf("salt of stored password hash: %w", err)
	}
	if sum, err = base64.RawStdEncoding.DecodeString(fields[5]); err != nil {
		return Params{}, nil, nil, fmt.Errorf("stored password hash: %w", err)
	}
	if len(salt) < 8 || len(sum) < 16 || len(sum) > 64 {
		return Params{}, nil, nil, errors.New("stored password hash is too short or too long")
	}
	return p, salt, sum, nil
}

// passwordLetters leave out what is easily misread.
const passwordLetters = "abcdefghjkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"

// RandomPassword returns a password of 20 characters, some 115 bits, that follows the rule.
func RandomPassword() string {
	const length = 20
	// The largest multiple of the alphabet that fits a byte: what is above it would favour the first letters.
	const fair = 256 / len(passwordLetters) * len(passwordLetters)
	for {
		password := make([]byte, 0, length)
		for len(password) < length {
			var random [length]byte
			rand.Read(random[:]) //nolint:errcheck // crypto/rand.Read never fails
			for _, b := range random {
				if int(b) < fair && len(password) < length {
					password = append(password, passwordLetters[int(b)%len(passwordLetters)])
				}
			}
		}
		if CheckPassword(string(password)) == nil {
			return string(password)
		}
	}
}
