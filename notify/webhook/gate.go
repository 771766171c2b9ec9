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

// gates keep deliveries from receivers that cannot take them now. They know what this process has seen.
type gates struct {
	mu sync.Mutex
	of map[string]*gate
}

// gate is that of one target.
type gate struct {
	// busy is how many deliveries are under way, silent how many in a row had no answer.
	busy, silent int
	// closed is until when the receiver asks to be left alone.
	closed time.Time
	// complained is when the log was last told that too many deliveries wait.
	complained time.Time
}

// enter lets a delivery to the target pass, which has to leave again, or says how long it has to wait and why.
func (g *gates) enter(target string, now time.Time) (wait time.Duration, why string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	own := g.to(target, now)
	switch {
	case now.Before(own.closed):
		return own.closed.Sub(now), "waits because the receiver has asked for it until " + own.closed.UTC().Format(time.RFC3339)
	case own.silent >= silences && own.busy > 0:
		return knock, "waits because the receiver does not answer, until it does again"
	}
	own.busy++
	return 0, ""
}

// complain reports whether the log is to be told that too many deliveries wait for the target, which it is once in a while.
func (g *gates) complain(target string, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	own := g.to(target, now)
	if now.Sub(own.complained) < complaints {
		return false
	}
	own.complained = now
	return true
}

// to returns the gate of a target. The caller holds the lock.
func (g *gates) to(target string, now time.Time) *gate {
	own := g.of[target]
	if own == nil {
		g.prune(now)
		own = &gate{}
		g.of[target] = own
	}
	return own
}

// leave notes what came of a delivery that has entered; failed says that it could not reach the receiver or was refused by it.
func (g *gates) leave(target string, now time.Time, answer metadata.WebhookAnswer, failed bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	own := g.of[target]
	own.busy--
	if answer.RetryAfter > 0 {
		own.closed = now.Add(answer.RetryAfter)
	}
	switch {
	case answer.Status != 0:
		own.silent = 0
	case failed:
		own.silent++
	}
}

// prune forgets gates that nothing has entered when there are many. The caller holds the lock.
func (g *gates) prune(now time.Time) {
	if len(g.of) < maxGates {
		return
	}
	for target, own := range g.of {
		if own.busy == 0 && !now.Before(own.closed) {
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
