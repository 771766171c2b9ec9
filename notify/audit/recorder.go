package audit

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/flush"
	"github.com/berth-registry/berth/metadata"
)

// The defaults of [RecorderOptions].
const (
	DefaultFlushInterval = 2 * time.Second
	DefaultCapacity      = 20_000
)

const (
	// recordBatch is how many events are written at once.
	recordBatch = 500
	// suspectRate bounds, in each second, the events that anybody can cause without being let in; suspectBurst is how many come
	// through at once.
	suspectRate  = 20
	suspectBurst = 500
	// maxText bounds each text of an event that strangers choose, in bytes.
	maxText = 512
)

// RecorderOptions are what a [Recorder] is made of. Store and Logger are required; what is zero has its default.
type RecorderOptions struct {
	Store  *metadata.Store
	Logger *slog.Logger
	// FlushInterval is how long an event waits at most, and what a crash loses. Capacity is how many wait while the database does
	// not answer; those beyond are counted and not kept.
	FlushInterval time.Duration
	Capacity      int
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Recorder writes the events of acts that write nothing themselves: pulls, logins, refusals. They wait in memory, so that the act
// does not wait for a write. A flood neither fills the memory nor the database: what is too much is counted, and the count is
// written as an event too.
type Recorder struct {
	options RecorderOptions
	suspect *rate.Limiter

	mu      sync.Mutex
	waiting []event.Event
	// pulls has the places of the pulls among those that wait: a client that pulls the same a thousand times in two seconds, as load
	// tests and loops do, is one event that says so.
	pulls   map[pull]int
	dropped map[event.Kind]int64

	loop *flush.Loop
}

// pull is what equal pulls have in common.
type pull struct{ actor, credential, address, repository, tag, digest string }

// NewRecorder returns a recorder, whose goroutine [Recorder.Close] ends.
func NewRecorder(options RecorderOptions) *Recorder {
	options.FlushInterval = cmp.Or(options.FlushInterval, DefaultFlushInterval)
	options.Capacity = cmp.Or(options.Capacity, DefaultCapacity)
	if options.Now == nil {
		options.Now = time.Now
	}
	r := &Recorder{
		options: options, suspect: rate.NewLimiter(suspectRate, suspectBurst), pulls: map[pull]int{}, dropped: map[event.Kind]int64{},
	}
	r.loop = flush.Start(options.FlushInterval, options.Logger, "events of pulls and logins", r.flush)
	return r
}

// Record takes an event, and never waits.
func (r *Recorder) Record(e event.Event) {
	now := r.options.Now()
	if e.At.IsZero() {
		e.At = now
	}
	for _, text := range []*string{&e.Actor, &e.Credential, &e.RequestID, &e.Address, &e.Repository, &e.Tag, &e.Digest, &e.Subject, &e.Project} {
		*text = storable(*text)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	same := pull{e.Actor, e.Credential, e.Address, e.Repository, e.Tag, e.Digest}
	pulled := e.Kind == event.ManifestPulled && e.Digest != ""
	if at, known := r.pulls[same]; pulled && known {
		r.waiting[at].Repeated++
		return
	}
	suspicious := e.Kind == event.LoginFailed || e.Kind == event.Refused
	if suspicious && !r.suspect.AllowN(now, 1) || len(r.waiting) >= r.options.Capacity {
		r.drop(e)
		return
	}
	if pulled {
		r.pulls[same] = len(r.waiting)
	}
	r.waiting = append(r.waiting, e)
	if len(r.waiting) == recordBatch {
		r.loop.Wake()
	}
}

// drop counts an event that is not kept. The caller holds the lock.
func (r *Recorder) drop(e event.Event) {
	if e.Kind == event.Refused {
		r.dropped[e.Attempt]++
		return
	}
	r.dropped[e.Kind]++
}

// storable is a text as every database takes it: valid, without NUL, and no longer than a sane one.
func storable(text string) string {
	if len(text) > maxText {
		text = text[:maxText]
	}
	return strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD")
}

// Close ends the goroutine and writes what waits; the error is that of this write.
func (r *Recorder) Close() error { return r.loop.Close() }

// flush writes all that waits, a batch in each transaction. What could not be written waits on.
func (r *Recorder) flush(ctx context.Context) error {
	for {
		batch, dropped := r.take()
		if len(batch) == 0 {
			return nil
		}
		err := r.options.Store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error { return tx.AppendEvents(ctx, batch) })
		if err != nil {
			r.restore(batch[:len(batch)-len(dropped)], dropped)
			return fmt.Errorf("write %d events: %w", len(batch), err)
		}
	}
}

// take returns the oldest events, and after them those that tell what was dropped.
func (r *Recorder) take() (batch []event.Event, dropped map[event.Kind]int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := min(len(r.waiting), recordBatch)
	batch = append(batch, r.waiting[:n]...)
	r.waiting = append(r.waiting[:0], r.waiting[n:]...)
	clear(r.pulls)
	dropped, r.dropped = r.dropped, map[event.Kind]int64{}
	for kind, count := range dropped {
		batch = append(batch, event.Event{Kind: event.EventsDropped, Attempt: kind, Size: count, Actor: "berth", At: r.options.Now()})
	}
	return batch, dropped
}

func (r *Recorder) restore(batch []event.Event, dropped map[event.Kind]int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting = append(batch, r.waiting...)
	clear(r.pulls)
	for kind, count := range dropped {
		r.dropped[kind] += count
	}
	if excess := len(r.waiting) - r.options.Capacity; excess > 0 {
		for _, e := range r.waiting[r.options.Capacity:] {
			r.drop(e)
		}
		r.waiting = r.waiting[:r.options.Capacity]
	}
}
