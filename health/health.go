// Package health asks the parts of the registry whether they work.
package health

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// Patience is how long a part may take to answer; Staleness is how old an answer may be that is given again. Anybody may ask, and
// asking a storage costs writing to it.
const (
	Patience  = 5 * time.Second
	Staleness = 3 * time.Second
)

// Check asks one part.
type Check struct {
	// Name is that of the component, as Harbor's clients know it where Harbor has it.
	Name string
	// Ask returns nil when the part works; nil itself is a part that works whenever anybody can ask.
	Ask func(ctx context.Context) error
	// Needs are the names of components without which this one does not work; they come before it.
	Needs []string
}

// Component is the health of one part.
type Component struct {
	Name string
	// Fault is nil, or what a caller may be told; the log has the cause.
	Fault error
}

// Health asks all parts.
type Health struct {
	checks []Check
	logger *slog.Logger

	mu    sync.Mutex
	at    time.Time
	found []Component
}

// New returns what asks the parts, whose order is that of the answer.
func New(logger *slog.Logger, checks ...Check) *Health {
	return &Health{checks: checks, logger: logger}
}

// Components returns the health of all parts, at most [Staleness] old. Callers who ask at once get one answer, which does not hang on
// whether one of them goes away.
func (h *Health) Components(ctx context.Context) []Component {
	ctx = context.WithoutCancel(ctx)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.found != nil && time.Since(h.at) < Staleness {
		return h.found
	}
	found := make([]Component, len(h.checks))
	var asked sync.WaitGroup
	for i, check := range h.checks {
		found[i].Name = check.Name
		if check.Ask != nil {
			asked.Go(func() { found[i].Fault = h.ask(ctx, check) })
		}
	}
	asked.Wait()
	faulty := map[string]bool{}
	for i, check := range h.checks {
		for _, need := range check.Needs {
			if found[i].Fault == nil && faulty[need] {
				found[i].Fault = fmt.Errorf("the %s does not work", need)
			}
		}
		faulty[check.Name] = found[i].Fault != nil
	}
	h.found, h.at = found, time.Now()
	return found
}

// ask gives the check its time, and leaves it alone after that, should it not mind its context.
func (h *Health) ask(ctx context.Context, check Check) error {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	answered := make(chan error, 1)
	go func() {
		defer cancel()
		answered <- check.Ask(ctx)
	}()
	var err error
	select {
	case err = <-answered:
	case <-ctx.Done():
		select {
		case err = <-answered: // both at once
		default:
			err = ctx.Err()
		}
	}
	if err == nil {
		return nil
	}
	h.logger.WarnContext(ctx, "a part of the registry does not work", "component", check.Name, "error", err)
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("no answer within %s", Patience)
	}
	return errors.New("does not work: the registry's log says why")
}
