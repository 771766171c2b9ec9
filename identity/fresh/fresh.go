// Package fresh remembers answers for as long as they may be believed: a bounded memory over a source that is slower, asks it
// once for many callers, and falls back on what it knew while the source cannot answer.
package fresh

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"
)

// fetchTimeout ends a fetch that its source does not; the callers' own deadlines end their waiting for it.
const fetchTimeout = 10 * time.Second

// Source answers for a key and says how long the answer may be believed.
type Source[K comparable, V any] func(ctx context.Context, key K) (V, time.Duration, error)

// Options bound a [Memory].
type Options struct {
	// Size is the number of answers kept; the least recently used goes first.
	Size int
	// Stale is how old an answer may be when the source cannot answer; 0 makes such an error the answer.
	Stale time.Duration
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Memory remembers a source's answers. It is safe for concurrent use and runs nothing in the background.
type Memory[K comparable, V any] struct {
	source  Source[K, V]
	stale   time.Duration
	now     func() time.Time
	answers *lru.Cache[K, answer[V]]
	flight  singleflight.Group
	// generation tells an answer that was on its way when Forget was called from one that was asked for after it.
	generation atomic.Uint64
}

type answer[V any] struct {
	value      V
	at, until  time.Time
	generation uint64
}

// New returns an empty memory. It panics when the size is not positive.
func New[K comparable, V any](source Source[K, V], options Options) *Memory[K, V] {
	answers, err := lru.New[K, answer[V]](options.Size)
	if err != nil {
		panic(fmt.Sprintf("fresh: size %d: %v", options.Size, err))
	}
	m := &Memory[K, V]{source: source, stale: options.Stale, now: options.Now, answers: answers}
	if m.now == nil {
		m.now = time.Now
	}
	return m
}

// Get returns the answer for the key, asking the source when none is remembered or it is too old. The error is the source's,
// when there is no answer that is young enough to stand in, or the context's.
func (m *Memory[K, V]) Get(ctx context.Context, key K) (V, error) {
	generation := m.generation.Load()
	known, found := m.answers.Get(key)
	found = found && known.generation == generation
	if found && m.now().Before(known.until) {
		return known.value, nil
	}
	got, err := m.fetch(ctx, key, generation)
	if err != nil && ctx.Err() == nil && found && m.now().Sub(known.at) <= m.stale {
		return known.value, nil
	}
	return got, err
}

// Forget drops every answer, also those on their way: what is asked from now on is asked of the source.
func (m *Memory[K, V]) Forget() {
	m.generation.Add(1)
	m.answers.Purge()
}

// fetch shares one question between callers, and detaches it from the caller who happened to be first: were that one to
// leave, the others would get its cancellation for an answer.
func (m *Memory[K, V]) fetch(ctx context.Context, key K, generation uint64) (V, error) {
	var none V
	name := fmt.Sprintf("%d %#v", generation, key)
	result := m.flight.DoChan(name, func() (any, error) {
		shared, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTimeout)
		defer cancel()
		asked := m.now()
		value, believe, err := m.source(shared, key)
		if err != nil {
			return none, err
		}
		if m.generation.Load() == generation {
			m.answers.Add(key, answer[V]{value: value, at: asked, until: asked.Add(believe), generation: generation})
		}
		return value, nil
	})
	select {
	case r := <-result:
		if r.Err != nil {
			return none, r.Err
		}
		return r.Val.(V), nil
	case <-ctx.Done():
		return none, ctx.Err()
	}
}
