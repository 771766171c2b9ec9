//go:build !unix

package sqlite

import (
	"fmt"
	"os"

	"github.com/berth-registry/berth/metadata"
)

// lockFile is held for as long as the database is open. Systems without flock refuse to remove a file that is open, so a lock
// that a dead process left behind can be removed and that of a living one cannot.
type lockFile struct{ file *os.File }

// acquire locks the file, or returns [metadata.ErrLocked].
func acquire(path string) (*lockFile, error) {
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("%w: SQLite serves one gateway; stop the other one, or use PostgreSQL for several", metadata.ErrLocked)
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return &lockFile{file}, nil
}

func (l *lockFile) release() error { return l.file.Close() }
