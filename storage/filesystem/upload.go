package filesystem

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/berth-registry/berth/storage"
)

// bufferSize is the memory that an upload costs while it appends.
const bufferSize = 256 << 10

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// errFinished is what writing to an upload after Commit, Abort or Close gives: a mistake of the caller.
var errFinished = errors.New("the upload is finished")

// upload is one file under uploads/. Its mutex is held for each write and sync but not while the caller's reader is waited for,
// so that a request on a dead connection can be shut out by the one that takes its upload over.
type upload struct {
	backend *Backend
	key     string

	mu     sync.Mutex
	file   *os.File // nil once the file was committed or closed
	offset int64
	// named is set when a sync made the file's name under uploads/ durable, and suspended when a state of it exists.
	named, suspended bool
	// moved is set when the file has its final name, committed when that is durable.
	moved, committed bool
	// failed is returned by whatever is tried next: after a failed sync nobody knows which bytes the disk holds.
	failed error
}

// state is what Suspend returns, as JSON.
type state struct {
	Key  string `json:"key"`
	Size int64  `json:"size"`
}

// Begin makes an empty file under uploads/.
func (b *Backend) Begin(ctx context.Context) (storage.Upload, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	key, err := storage.NewKey()
	if err != nil {
		return nil, err
	}
	file, err := os.OpenFile(b.uploadPath(key), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("begin an upload: %w: the directory %s is gone", storage.ErrDenied, b.uploads)
		}
		return nil, classify("begin an upload", err)
	}
	if err := lock(file); err != nil {
		return nil, errors.Join(classify("begin an upload", err), file.Close(), os.Remove(file.Name()))
	}
	u := &upload{backend: b, key: key, file: file}
	b.active.Store(key, u)
	return u, nil
}

// Resume opens the file of a suspended upload and drops what was appended after the state. Another request of this process
// that still writes to it gets [storage.ErrTakenOver]; when another process does, Resume fails with a
// [*storage.RetryableError].
func (b *Backend) Resume(ctx context.Context, encoded []byte) (storage.Upload, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var s state
	if err := json.Unmarshal(encoded, &s); err != nil {
		return nil, fmt.Errorf("resume an upload: read its state: %w", err)
	}
	if !storage.ValidKey(s.Key) || s.Size < 0 {
		return nil, errors.New("resume an upload: its state names no upload of a directory")
	}
	u := &upload{backend: b, key: s.Key, offset: s.Size, named: true, suspended: true}
	// Whoever resumes next waits on the mutex until this upload is open, and then shuts it out.
	u.mu.Lock()
	defer u.mu.Unlock()
	if previous, active := b.active.Swap(s.Key, u); active {
		previous.(*upload).shutOut()
	}
	if err := u.reopen(); err != nil {
		b.active.CompareAndDelete(s.Key, u)
		return nil, classify("resume upload "+s.Key, err)
	}
	return u, nil
}

// reopen opens the file at the state's size, or finds that it was moved to its final place by a commit whose outcome the
// caller never learnt. An object of another size is not touched: SQL may name it.
func (u *upload) reopen() error {
	file, err := os.OpenFile(u.backend.uploadPath(u.key), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		stat, err := os.Stat(u.backend.blobPath(u.key))
		if err != nil {
			return err
		}
		if stat.Size() != u.offset {
			return fmt.Errorf("it was committed with more bytes: %w", storage.ErrNotFound)
		}
		u.moved = true
		return nil
	}
	if err != nil {
		return err
	}
	if err := u.cutBack(file); err != nil {
		return errors.Join(err, file.Close())
	}
	u.file = file
	return nil
}

func (u *upload) cutBack(file *os.File) error {
	if err := lock(file); err != nil {
		return err
	}
	stat, err := file.Stat()
	if err != nil {
		return err
	}
	if stat.Size() < u.offset {
		return fmt.Errorf("%w: of %d bytes only %d are left", storage.ErrNotFound, u.offset, stat.Size())
	}
	return file.Truncate(u.offset)
}

// shutOut ends this side of an upload that another request continues.
func (u *upload) shutOut() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.failed == nil {
		u.failed = storage.ErrTakenOver
	}
	u.closeFile()
}

// Append copies r to the end of the file.
func (u *upload) Append(ctx context.Context, r io.Reader) (int64, error) {
	buffer := buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(buffer)
	var total int64
	for {
		n, readErr := fill(ctx, r, buffer[:])
		written, err := u.write(buffer[:n])
		total += written
		switch {
		case err != nil:
			return total, err
		case readErr == io.EOF: //nolint:errorlint // one that wraps io.EOF is a connection that broke
			return total, nil
		case readErr != nil:
			return total, readErr
		}
	}
}

// fill reads until the buffer is full, r fails or the context ends, and returns what it has with the error. It keeps the
// number of writes down: a connection gives 16 KiB at a time.
func fill(ctx context.Context, r io.Reader, buffer []byte) (n int, err error) {
	for idle := 0; n < len(buffer) && err == nil; {
		if err = ctx.Err(); err != nil {
			break
		}
		var m int
		m, err = r.Read(buffer[n:])
		n += m
		if m > 0 {
			idle = 0
		} else if idle++; idle == 100 && err == nil {
			err = io.ErrNoProgress
		}
	}
	return n, err
}

func (u *upload) write(p []byte) (int64, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if err := u.writable(); err != nil {
		return 0, err
	}
	n, err := u.file.WriteAt(p, u.offset)
	u.offset += int64(n)
	return int64(n), classify("write upload "+u.key, err)
}

func (u *upload) writable() error {
	switch {
	case u.failed != nil:
		return fmt.Errorf("upload %s: %w", u.key, u.failed)
	case u.file == nil:
		return fmt.Errorf("upload %s: %w", u.key, errFinished)
	}
	return nil
}

// Offset returns the size of the upload.
func (u *upload) Offset() int64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.offset
}

// Suspend syncs the file, and the first time its name.
func (u *upload) Suspend(context.Context) ([]byte, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if err := u.writable(); err != nil {
		return nil, err
	}
	if err := syncContent(u.file); err != nil {
		return nil, u.fail("suspend", err)
	}
	if !u.named {
		if err := syncDirectory(u.backend.uploads); err != nil {
			return nil, u.fail("suspend", err)
		}
		u.named = true
	}
	u.suspended = true
	return json.Marshal(state{Key: u.key, Size: u.offset})
}

// Commit moves the file to its final name and syncs both. The move comes first because nothing knows the name until Commit
// returns, and because the sync of the file then carries the move with it on a journaling file system: one flush, not two.
func (u *upload) Commit(context.Context) (string, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case u.committed:
		return u.key, nil
	case u.failed != nil:
		return "", u.writable()
	case u.file == nil && !u.moved:
		return "", u.writable()
	}
	target := u.backend.blobPath(u.key)
	if !u.moved {
		if err := u.move(target); err != nil {
			return "", classify("commit upload "+u.key, err)
		}
		u.moved = true
	}
	if u.file != nil {
		if err := u.file.Sync(); err != nil {
			return "", u.fail("commit", err)
		}
	}
	if err := syncDirectory(filepath.Dir(target)); err != nil {
		return "", u.fail("commit", err)
	}
	u.committed = true
	u.closeFile()
	return u.key, nil
}

func (u *upload) move(target string) error {
	source := u.backend.uploadPath(u.key)
	err := os.Rename(source, target)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := makeDirectory(filepath.Dir(target)); err != nil {
		return err
	}
	return os.Rename(source, target)
}

// fail makes the upload unusable: after a failed sync the kernel may count bytes as written that are not. The caller goes
// back to the last state.
func (u *upload) fail(doing string, err error) error {
	u.failed = classify(doing+" upload "+u.key, err)
	return u.failed
}

// Abort removes the file, unless it was committed.
func (u *upload) Abort(context.Context) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.committed || errors.Is(u.failed, storage.ErrTakenOver) {
		return nil
	}
	u.closeFile()
	path := u.backend.uploadPath(u.key)
	if u.moved && u.failed != nil {
		path = u.backend.blobPath(u.key)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return classify("abort upload "+u.key, err)
	}
	return nil
}

// Close closes the file, and removes one that nobody can resume.
func (u *upload) Close() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.backend.active.CompareAndDelete(u.key, u)
	orphan := u.file != nil && !u.suspended && !u.moved
	u.closeFile()
	if orphan {
		if err := os.Remove(u.backend.uploadPath(u.key)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return classify("close upload "+u.key, err)
		}
	}
	return nil
}

// closeFile gives the descriptor and its lock back. What has to be durable was synced; a close has nothing to add.
func (u *upload) closeFile() {
	if u.file != nil {
		_ = u.file.Close()
		u.file = nil
	}
}
