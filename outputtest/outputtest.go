// Package outputtest keeps what programs and loggers say while a test runs.
package outputtest

import (
	"bytes"
	"sync"
)

// Output is what was said so far. The zero value is ready for use; it is safe for concurrent use.
type Output struct {
	mu   sync.Mutex
	said bytes.Buffer
}

// Write implements [io.Writer].
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.said.Write(p)
}

// String returns all of it.
func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.said.String()
}
