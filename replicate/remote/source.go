package remote

import (
	"context"
	"errors"
	"io"
	"sync"

	"oras.land/oras-go/v2/registry/remote/errcode"
)

// source reads a blob on, and opens it anew where it broke.
type source struct {
	upload *upload
	reader io.ReadCloser
	offset int64
}

// at returns what reads from the offset on.
func (s *source) at(ctx context.Context, offset int64) (io.Reader, error) {
	if s.reader != nil && s.offset == offset {
		return s.reader, nil
	}
	s.close()
	reader, err := s.upload.open(ctx, offset)
	if err != nil {
		return nil, err
	}
	s.reader, s.offset = reader, offset
	return reader, nil
}

func (s *source) close() {
	if s.reader != nil {
		_ = s.reader.Close() // what was read of it was read
		s.reader = nil
	}
}

// counter counts what is sent, and keeps the fault of the side that it comes from. The transport may read on, in another goroutine, when
// the answer is there already.
type counter struct {
	mu     sync.Mutex
	reader io.Reader
	sent   int64
	fault  error
}

// errAnswered ends a body when the answer did not wait for its end.
var errAnswered = errors.New("the registry has answered already")

// Read reads on.
func (c *counter) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reader == nil {
		return 0, errAnswered
	}
	n, err := c.reader.Read(p)
	c.sent += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		c.fault = err
	}
	return n, err
}

// end ends the body. It waits for a read that is on its way.
func (c *counter) end() (sent int64, fault error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reader = nil
	return c.sent, c.fault
}

// statusOf is the status of an error that is an answer.
func statusOf(err error) (int, bool) {
	response, ok := errors.AsType[*errcode.ErrorResponse](err)
	if !ok {
		return 0, false
	}
	return response.StatusCode, true
}
