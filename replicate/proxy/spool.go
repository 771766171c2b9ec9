package proxy

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"
)

// spool is a blob on its way: a file that one writes and many read meanwhile, each at their own speed. The last byte is held back
// until all of it was found right, so nobody takes wrong bytes for the whole.
type spool struct {
	file *os.File

	mu      sync.Mutex
	grown   chan struct{} // closed, and replaced, when there is more to read
	written int64
	ended   bool
	err     error
	// holders are the writer and the readers; the last one closes the file.
	holders int
}

// newSpool makes an empty spool of a blob in a directory. Its writer calls [spool.end] once.
func newSpool(directory string) (*spool, error) {
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return nil, err
	}
	file, err := os.CreateTemp(directory, "blob-")
	if err != nil {
		return nil, err
	}
	_ = os.Remove(file.Name()) // where files can be removed while they are open, nothing is left whatever happens
	return &spool{file: file, grown: make(chan struct{}), holders: 1}, nil
}

// Write appends to the blob.
func (s *spool) Write(p []byte) (int, error) {
	n, err := s.file.WriteAt(p, s.written)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.written += int64(n)
	s.wake()
	return n, err
}

// wake lets readers look again; the caller has the lock.
func (s *spool) wake() {
	close(s.grown)
	s.grown = make(chan struct{})
}

// end lets readers read to the end, or, after an error, fail where they are.
func (s *spool) end(err error) {
	s.mu.Lock()
	s.ended, s.err = true, err
	s.wake()
	s.mu.Unlock()
	s.release()
}

// hold keeps the file for one more, who calls release.
func (s *spool) hold() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.holders++
}

// release lets go of the file.
func (s *spool) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.holders--; s.holders == 0 {
		_ = s.file.Close() // nobody needs what it may have failed to write
		_ = os.Remove(s.file.Name())
	}
}

// look returns how much may be read, whether that is all, and what is closed when there is more.
func (s *spool) look() (readable int64, ended bool, grown <-chan struct{}, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return s.written, true, nil, s.err
	}
	return max(0, s.written-1), false, s.grown, nil
}

// reader reads a blob of the size from its beginning on, and waits for what is still to come until the context ends. It is nil when the
// writer and all readers have gone, and the file with them.
func (s *spool) reader(ctx context.Context, size int64) *spoolReader {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.holders == 0 {
		return nil
	}
	s.holders++
	return &spoolReader{spool: s, ctx: ctx, size: size}
}

// spoolReader is one who reads a spool.
type spoolReader struct {
	spool  *spool
	ctx    context.Context
	size   int64
	at     int64
	failed error
	closed bool
}

// Read reads what is there, and waits while there is nothing.
func (r *spoolReader) Read(p []byte) (int, error) {
	for {
		readable, ended, grown, err := r.spool.look()
		if err == nil && r.at < readable {
			n, err := r.spool.file.ReadAt(p[:min(int64(len(p)), readable-r.at)], r.at)
			r.at += int64(n)
			if n > 0 {
				return n, nil
			}
			r.failed = err
			return 0, err
		}
		if err != nil {
			r.failed = err
			return 0, err
		}
		if ended {
			return 0, io.EOF
		}
		select {
		case <-grown:
		case <-r.ctx.Done():
			return 0, r.ctx.Err()
		}
	}
}

// Seek sets the position of the next Read.
func (r *spoolReader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += r.at
	case io.SeekEnd:
		offset += r.size
	}
	if offset < 0 {
		return r.at, fmt.Errorf("seek to %d: before the beginning", offset)
	}
	r.at = offset
	return offset, nil
}

// Err returns the error that ended a read before its end: what was sent of the blob is not all of it.
func (r *spoolReader) Err() error { return r.failed }

// Close ends the reading. It may be called again.
func (r *spoolReader) Close() error {
	if !r.closed {
		r.closed = true
		r.spool.release()
	}
	return nil
}
