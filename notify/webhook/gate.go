package webhook

import (
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/berth-registry/berth/metadata"
)

const (
	// maxRetryAfter bounds for how long a receiver is left alone that asks for it.
	maxRetryAfter = 15 * time.Minute
	// silences is after how many attempts in a row without an answer a receiver is asked by one delivery at a time, so that those that
	// hang do not take the turns of others; knock is how long another delivery to it waits until it looks again.
	silences = 3
	knock    = 2 * time.Second
	// complaints is how often the log is told of one target that too many deliveries wait for it.
	complaints = time.Minute
	// maxGates is from how many targets on those are forgotten to which nothing is under way.
	maxGates = 1024
)

// gates keep deliveries from receivers that do not answer. They know what this process has seen.
type gates struct {
	mu sync.Mutex
	of map[string]*gate
}

// gate is that of one target.
type gate struct {
	// busy is how many deliveries are under way, silent how many in a row had no answer.
	busy, silent int
	// complained is when the log was last told that too many deliveries wait.
	complained time.Time
}

// enter reports whether a delivery to the target may pass, which has to leave again, or has to wait as the receiver does not answer.
func (g *gates) enter(target string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	own := g.to(target)
	if own.silent >= silences && own.busy > 0 {
		return false
	}
	own.busy++
	return true
}

// complain reports whether the log is to be told that too many deliveries wait for the target, which it is once in a while.
func (g *gates) complain(target string, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	own := g.to(target)
	if now.Sub(own.complained) < complaints {
		return false
	}
	own.complained = now
	return true
}

// to returns the gate of a target. The caller holds the lock.
func (g *gates) to(target string) *gate {
	own := g.of[target]
	if own == nil {
		g.prune()
		own = &gate{}
		g.of[target] = own
	}
	return own
}

// leave notes what came of a delivery that has entered; failed says that it could not reach the receiver or was refused by it.
func (g *gates) leave(target string, answer metadata.WebhookAnswer, failed bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	own := g.of[target]
	own.busy--
	switch {
	case answer.Status != 0:
		own.silent = 0
	case failed:
		own.silent++
	}
}

// prune forgets gates that nothing has entered when there are many. The caller holds the lock.
func (g *gates) prune() {
	if len(g.of) < maxGates {
		return
	}
	for target, own := range g.of {
		if own.busy == 0 {
			delete(g.of, target)
		}
	}
}

// retryAfter is for how long an answer asks not to be called, 0 when it does not.
func retryAfter(response *http.Response, now time.Time) time.Duration {
	if response.StatusCode != http.StatusTooManyRequests && response.StatusCode != http.StatusServiceUnavailable {
		return 0
	}
	asked := response.Header.Get("Retry-After")
	seconds, err := strconv.ParseInt(asked, 10, 32)
	after := time.Duration(seconds) * time.Second
	if err != nil {
		at, _ := http.ParseTime(asked) // zero, which is past, for what is neither
		after = at.Sub(now)
	}
	return max(0, min(after, maxRetryAfter))
}
