package filesystem

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/berth-registry/berth/storage"
)

// Walk calls fn for every object with a key after the given one, in order. It holds the names of one of the 256 directories at
// a time. Files that are not objects are passed over.
func (b *Backend) Walk(ctx context.Context, after string, fn func(storage.Object) error) error {
	prefixes, err := os.ReadDir(b.blobs)
	if err != nil {
		return classify("walk the storage directory", err)
	}
	for _, prefix := range prefixes {
		// A directory that sorts before the first two characters of after has nothing to show.
		if !prefix.IsDir() || len(after) >= 2 && prefix.Name() < after[:2] {
			continue
		}
		if err := b.walkPrefix(ctx, prefix.Name(), after, fn); err != nil {
			return err
		}
	}
	return nil
}

func (b *Backend) walkPrefix(ctx context.Context, prefix, after string, fn func(storage.Object) error) error {
	entries, err := os.ReadDir(filepath.Join(b.blobs, prefix))
	if err != nil {
		return classify("walk the storage directory", err)
	}
	for _, entry := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		key := prefix + "/" + entry.Name()
		if key <= after || !storage.ValidKey(key) {
			continue
		}
		stat, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted since the directory was read
		}
		if err != nil {
			return classify("walk the storage directory", err)
		}
		if err := fn(storage.Object{Key: key, Size: stat.Size(), Modified: stat.ModTime()}); err != nil {
			return err
		}
	}
	return nil
}

// Sweep removes the files under uploads/ that were last written before the given time.
func (b *Backend) Sweep(ctx context.Context, before time.Time) (int, error) {
	directory, err := os.Open(b.uploads)
	if err != nil {
		return 0, classify("sweep uploads", err)
	}
	defer directory.Close()
	removed := 0
	for {
		entries, err := directory.ReadDir(1000)
		if err != nil && err != io.EOF {
			return removed, classify("sweep uploads", err)
		}
		for _, entry := range entries {
			if err := ctx.Err(); err != nil {
				return removed, err
			}
			swept, err := sweepFile(filepath.Join(b.uploads, entry.Name()), before)
			if err != nil {
				return removed, classify("sweep uploads", err)
			}
			if swept {
				removed++
			}
		}
		if err == io.EOF {
			return removed, nil
		}
	}
}

func sweepFile(path string, before time.Time) (swept bool, err error) {
	stat, err := os.Lstat(path)
	if err == nil && stat.Mode().IsRegular() && stat.ModTime().Before(before) {
		err = os.Remove(path)
		swept = err == nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return swept, err
}
