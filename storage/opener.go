package storage

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
)

// Opener is what a configured storage module offers: the settings of a backend and the way to open it. The backend outlives
// the configuration that opened it for as long as requests use it, so the module itself holds nothing open.
type Opener interface {
	// OpenStorage opens the backend. A backend that keeps its bytes beside the database does so under dataDir. A backend that is
	// also an io.Closer is closed when its last user is done.
	OpenStorage(ctx context.Context, dataDir string, logger *slog.Logger) (Backend, error)
	// Identity is equal for two modules of this process whose backends under the same dataDir would be the same: a hash of the
	// settings with their placeholders resolved, in which no secret can be read.
	Identity() string
}

// identityKey is of this process only, so that an identity that shows up in a log is of no use to whoever guesses secrets.
var identityKey = func() (key [32]byte) {
	// It fails on no platform that Go supports.
	_, _ = rand.Read(key[:])
	return key
}()

// IdentityOf returns what [Opener.Identity] should: a keyed hash of the kind of backend and of its settings, which must be
// something that can be encoded as JSON. It is comparable within one process.
func IdentityOf(kind string, settings any) string {
	encoded, err := json.Marshal([]any{kind, settings})
	if err != nil {
		panic(fmt.Sprintf("storage: the settings of %s are not JSON: %v", kind, err))
	}
	sum := hmac.New(sha256.New, identityKey[:])
	sum.Write(encoded)
	return hex.EncodeToString(sum.Sum(nil))
}
