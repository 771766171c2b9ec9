package ldap

import (
	"sync"
	"time"
)

// How long a failure is remembered: a few times as long as it took to notice it, so that a server that refuses at once is tried at
// once again, and one that says nothing costs nearly nobody its timeout.
const (
	memoryFactor = 3
	maxMemory    = 15 * time.Second
)

// health remembers that the directory does not answer, so that not every caller waits for its timeout to learn it.
type health struct {
	mu    sync.Mutex
	cause error
	// at is when the failure was noticed, until how long it is remembered.
	at, until time.Time
	// trying tells that somebody is finding out whether it answers again.
	trying bool
}

// enter returns the remembered failure, or lets the caller try; they tell how it went then.
func (h *health) enter() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.cause == nil {
		return nil
	}
	if h.trying || time.Now().Before(h.until) {
		return h.cause
	}
	h.trying = true
	return nil
}

// succeeded notes that the directory answers.
func (h *health) succeeded() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cause, h.trying = nil, false
}

// failed notes that it does not, which the caller noticed after a while.
func (h *health) failed(cause error, after time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cause, h.trying = cause, false
	h.at = time.Now()
	h.until = h.at.Add(min(memoryFactor*after, maxMemory))
}

// failedSince returns the failure that somebody has noticed since a time, nil when there was none.
func (h *health) failedSince(began time.Time) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.cause != nil && h.at.After(began) {
		return h.cause
	}
	return nil
}

// abandoned notes that the caller left before anything was known.
func (h *health) abandoned() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.trying = false
}
