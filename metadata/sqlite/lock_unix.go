//go:build unix

package sqlite

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/berth-registry/berth/metadata"
)

// lockFile is held for as long as the database is open. The kernel lets go of it when the process dies, however it dies.
type lockFile struct{ file *os.File }

// acquire locks the file, or returns [metadata.ErrLocked].
func acquire(path string) (*lockFile, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) //nolint:gosec // beside the configured database
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return &lockFile{file}, nil
	}
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = fmt.Errorf("%w: SQLite serves one gateway; stop the other one, or use PostgreSQL for several", metadata.ErrLocked)
	}
	return nil, errors.Join(err, file.Close())
}

// release leaves the file where it is: removing it would let two others lock two files of the same name.
func (l *lockFile) release() error { return l.file.Close() }
