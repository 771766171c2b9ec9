package storage

import (
	"context"
	"log/slog"
)

// Opener is what a configured storage module offers: the settings of a backend and the way to open it. The backend outlives
// the configuration that opened it for as long as requests use it, so the module itself holds nothing open.
type Opener interface {
	// OpenStorage opens the backend. A backend that keeps its bytes beside the database does so under dataDir. A backend that is
	// also an io.Closer is closed when its last user is done.
	OpenStorage(ctx context.Context, dataDir string, logger *slog.Logger) (Backend, error)
	// Identity is equal for two modules whose backends would be the same: a hash of the settings with their placeholders
	// resolved, in which no secret can be read.
	Identity() string
}
