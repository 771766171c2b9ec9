package proxy

import (
	"context"
	"errors"
	"math"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"

	"github.com/berth-registry/berth/replicate/remote"
)

// burst is the most that a limit of bandwidth lets through at once, in bytes.
const burst = 256 << 10

// longestRest bounds how long a registry elsewhere is left alone because it said so.
const longestRest = 5 * time.Minute

// state is what this gateway knows of the registry that a project is a cache of, and how much of it it uses.
type state struct {
	mu sync.Mutex
	// rest is until when the registry is not asked about what can be served without it.
	rest        time.Time
	limiter     *rate.Limiter
	turns       *semaphore.Weighted
	connections int64
}

// stateOf returns the state of a project.
func (c *Cache) stateOf(project string) *state {
	if known, ok := c.states.Get(project); ok {
		return known
	}
	fresh := &state{limiter: rate.NewLimiter(rate.Inf, burst)}
	if known, ok, _ := c.states.PeekOrAdd(project, fresh); ok {
		return known
	}
	return fresh
}

// resting reports whether the registry is left alone for the moment.
func (s *state) resting() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Now().Before(s.rest)
}

// heard takes note of how the registry answered.
func (s *state) heard(err error) {
	if errors.Is(err, context.Canceled) {
		return // it was not listened to
	}
	var rest time.Time
	if status, wait, answered := remote.Answer(err); tired(err, status, answered) {
		rest = time.Now().Add(min(max(wait, goneTTL), longestRest))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rest = rest
}

// slow takes note that the registry keeps people waiting.
func (s *state) slow() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rest = time.Now().Add(goneTTL)
}

// tired reports whether an error is one of those that many requests make worse.
func tired(err error, status int, answered bool) bool {
	switch {
	case err == nil || errors.Is(err, remote.ErrNotFound) || errors.Is(err, remote.ErrWrong):
		return false
	case answered:
		return status == http.StatusTooManyRequests || status >= http.StatusInternalServerError
	}
	return true
}

// limits returns the limits of the origin.
func (s *state) limits(origin *Origin) (*rate.Limiter, *semaphore.Weighted) {
	s.mu.Lock()
	defer s.mu.Unlock()
	speed := rate.Inf
	if origin.BytesPerSecond > 0 {
		speed = rate.Limit(origin.BytesPerSecond)
	}
	if s.limiter.Limit() != speed {
		s.limiter.SetLimit(speed)
	}
	connections := origin.Connections
	switch {
	case connections == 0:
		connections = DefaultConnections
	case connections < 0:
		connections = math.MaxInt64
	}
	if s.turns == nil || s.connections != connections {
		s.turns, s.connections = semaphore.NewWeighted(connections), connections
	}
	return s.limiter, s.turns
}
