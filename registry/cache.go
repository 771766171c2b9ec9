package registry

import (
	"container/list"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"
)

// cache remembers values for a bounded time and up to a bounded cost, and forgets the least recently used first.
//
// A reader that misses takes the key's epoch before it asks the database, and hands it back with the value: if the key was
// dropped in between, the value is from before the drop and is not kept. So a change on this gateway is seen at once.
type cache[K comparable, V any] struct {
	ttl      time.Duration
	capacity int64
	cost     func(V) int64
	now      func() time.Time
	seed     maphash.Seed

	mu      sync.Mutex
	entries map[K]*list.Element
	order   *list.List
	used    int64
	epochs  [256]uint64

	hits, misses atomic.Uint64
}

type cacheEntry[K comparable, V any] struct {
	key     K
	value   V
	cost    int64
	expires time.Time
}

func newCache[K comparable, V any](ttl time.Duration, capacity int64, cost func(V) int64, now func() time.Time) *cache[K, V] {
	return &cache[K, V]{
		ttl: ttl, capacity: capacity, cost: cost, now: now,
		seed: maphash.MakeSeed(), entries: make(map[K]*list.Element), order: list.New(),
	}
}

// get returns the value, or false and the epoch to hand to put.
func (c *cache[K, V]) get(key K) (value V, epoch uint64, found bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if element, ok := c.entries[key]; ok {
		entry := element.Value.(*cacheEntry[K, V])
		if c.now().Before(entry.expires) {
			c.order.MoveToFront(element)
			c.hits.Add(1)
			return entry.value, 0, true
		}
		c.remove(element)
	}
	c.misses.Add(1)
	return value, c.epochs[c.slot(key)], false
}

// put keeps a value that was read after get returned the epoch.
func (c *cache[K, V]) put(key K, value V, epoch uint64) {
	cost := c.cost(value)
	if cost > c.capacity {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.epochs[c.slot(key)] != epoch {
		return
	}
	if element, ok := c.entries[key]; ok {
		c.remove(element)
	}
	c.entries[key] = c.order.PushFront(&cacheEntry[K, V]{key: key, value: value, cost: cost, expires: c.now().Add(c.ttl)})
	c.used += cost
	for c.used > c.capacity {
		c.remove(c.order.Back())
	}
}

// drop forgets the key, and whatever a reader is about to put under it.
func (c *cache[K, V]) drop(key K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.epochs[c.slot(key)]++
	if element, ok := c.entries[key]; ok {
		c.remove(element)
	}
}

// dropIf forgets every entry that matches, and whatever any reader is about to put. It costs a walk over the cache.
func (c *cache[K, V]) dropIf(match func(K, V) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.epochs {
		c.epochs[i]++
	}
	for element := c.order.Front(); element != nil; {
		next := element.Next()
		if entry := element.Value.(*cacheEntry[K, V]); match(entry.key, entry.value) {
			c.remove(element)
		}
		element = next
	}
}

func (c *cache[K, V]) remove(element *list.Element) {
	entry := element.Value.(*cacheEntry[K, V])
	c.order.Remove(element)
	delete(c.entries, entry.key)
	c.used -= entry.cost
}

func (c *cache[K, V]) slot(key K) uint64 {
	return maphash.Comparable(c.seed, key) % uint64(len(c.epochs))
}
