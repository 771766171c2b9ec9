package filesystem

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// makeDirectory makes a directory and its missing parents so that they survive a crash: a directory is durable when the one
// above it was synced.
func makeDirectory(path string) error {
	err := os.Mkdir(path, 0o700)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeDirectory(filepath.Dir(path)); err != nil {
			return err
		}
		err = os.Mkdir(path, 0o700)
	}
	if errors.Is(err, fs.ErrExist) {
		stat, err := os.Stat(path)
		if err == nil && !stat.IsDir() {
			return &fs.PathError{Op: "mkdir", Path: path, Err: errors.New("a file is in the way")}
		}
		return err
	}
	if err != nil {
		return err
	}
	return syncDirectory(filepath.Dir(path))
}

// syncDirectory makes the names in a directory durable.
func syncDirectory(path string) error {
	directory, err := os.Open(path) //nolint:gosec // the configured directory, or one that was made in it
	if err != nil {
		return err
	}
	return errors.Join(directory.Sync(), directory.Close())
}
