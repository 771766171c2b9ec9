package remote

import (
	"context"
	"errors"
	"io"

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

// counter counts what is sent, and keeps the fault of the side that it comes from.
type counter struct {
	reader io.Reader
	sent   *int64
	fault  error
}

// Read reads on.
func (c *counter) Read(p []byte) (int, error) {
	n, err := c.reader.Read(p)
	*c.sent += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		c.fault = err
	}
	return n, err
}

// statusOf is the status of an error that is an answer.
func statusOf(err error) (int, bool) {
	response, ok := errors.AsType[*errcode.ErrorResponse](err)
	if !ok {
		return 0, false
	}
	return response.StatusCode, true
}
