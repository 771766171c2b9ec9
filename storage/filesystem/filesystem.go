// Package filesystem keeps blobs as files in one directory tree: uploads/<id> while they are written, blobs/<xx>/<id> for good.
// The tree may be shared by several gateways if the file system has coherent locks and renames.
package filesystem

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/berth-registry/berth/storage"
)

// Config is what the backend needs to know.
type Config struct {
	// Root is the directory that holds the tree. It is made when it is missing.
	Root string
}

// Backend is a [storage.Backend] on a directory. It is also a [storage.Walker] and a [storage.Sweeper].
type Backend struct {
	blobs   string
	uploads string
	// active holds the upload of this process that may write, by key; a resumed upload shuts out the one it takes over.
	active sync.Map
}

// New makes the directories under the root, durably, and returns the backend on them. It fails with [storage.ErrDenied] or
// [storage.ErrNoSpace] when they cannot be made; whether the tree can be written is for [Backend.Check] to say.
func New(config Config) (*Backend, error) {
	if config.Root == "" {
		return nil, errors.New("filesystem storage: no root directory was given")
	}
	root, err := filepath.Abs(config.Root)
	if err != nil {
		return nil, fmt.Errorf("filesystem storage: %w", err)
	}
	b := &Backend{blobs: filepath.Join(root, "blobs"), uploads: filepath.Join(root, "uploads")}
	for _, directory := range []string{b.blobs, b.uploads} {
		if err := makeDirectory(directory); err != nil {
			return nil, classify("make the storage directory", err)
		}
	}
	return b, nil
}

// Check writes, reads and deletes a small object.
func (b *Backend) Check(ctx context.Context) error {
	if err := storage.Probe(ctx, b); err != nil {
		return fmt.Errorf("check the storage directory %s: %w", filepath.Dir(b.blobs), err)
	}
	return nil
}

// Open opens an object. From any offset to the end the reader is an *os.File; of a bounded length it is one whose WriteTo lets
// the kernel send the file. It fails with [storage.ErrNotFound] when no object has this key, and with [storage.ErrDenied] when
// the whole tree is gone, as it is when a volume is not mounted.
func (b *Backend) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if offset < 0 {
		return nil, fmt.Errorf("open object %q: negative offset %d", key, offset)
	}
	if !storage.ValidKey(key) {
		return nil, fmt.Errorf("open object %q: %w", key, storage.ErrNotFound)
	}
	file, err := os.Open(b.blobPath(key))
	if err != nil {
		return nil, b.openError(key, err)
	}
	if offset > 0 {
		if _, err := file.Seek(offset, io.SeekStart); err != nil {
			return nil, errors.Join(classify("open object "+key, err), file.Close())
		}
	}
	if length < 0 {
		return file, nil
	}
	return &section{LimitedReader: io.LimitedReader{R: file, N: length}, file: file}, nil
}

// openError tells a missing object from a missing tree: the first is the caller's affair, the second the operator's.
func (b *Backend) openError(key string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		if _, treeErr := os.Stat(b.blobs); errors.Is(treeErr, fs.ErrNotExist) {
			return fmt.Errorf("open object %s: %w: the directory %s is gone", key, storage.ErrDenied, b.blobs)
		}
	}
	return classify("open object "+key, err)
}

// Delete removes objects. Keys that are gone, or that no object can have, count as removed.
func (b *Backend) Delete(ctx context.Context, keys []string) error {
	for _, key := range keys {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !storage.ValidKey(key) {
			continue
		}
		if err := os.Remove(b.blobPath(key)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return classify("delete object "+key, err)
		}
	}
	return nil
}

func (b *Backend) blobPath(key string) string {
	return filepath.Join(b.blobs, filepath.FromSlash(key))
}

func (b *Backend) uploadPath(key string) string {
	return filepath.Join(b.uploads, key[3:])
}

// section is a bounded part of a file. Copied to a connection it shows the writer a limited *os.File, which is what sendfile
// needs to see.
type section struct {
	io.LimitedReader
	file *os.File
}

// WriteTo writes the rest of the section to w.
func (s *section) WriteTo(w io.Writer) (int64, error) {
	return io.Copy(w, &s.LimitedReader)
}

// Close closes the file.
func (s *section) Close() error { return s.file.Close() }

// Interface guards.
var (
	_ storage.Backend = (*Backend)(nil)
	_ storage.Walker  = (*Backend)(nil)
	_ storage.Sweeper = (*Backend)(nil)
)
