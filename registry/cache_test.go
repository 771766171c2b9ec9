package registry

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

func one(string) int64 { return 1 }

func TestCache_forgetsWhatIsOldOrLeastUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache[int](time.Second, 2, one, time.Now)
		put := func(key int, value string) {
			_, epoch, _ := c.get(key)
			c.put(key, value, epoch)
		}
		has := func(key int) bool { _, _, found := c.get(key); return found }
		put(1, "a")
		put(2, "b")
		assert.True(t, has(1))
		put(3, "c")
		assert.True(t, has(1))
		assert.False(t, has(2), "the least recently used goes first")
		time.Sleep(time.Second) // the bubble's clock: no time passes
		assert.False(t, has(1))
		assert.EqualValues(t, 1, c.used, "only what was asked for again is known to be old")
	})
}

func TestCache_doesNotKeepWhatWasReadBeforeADrop(t *testing.T) {
	c := newCache[int](time.Hour, 10, one, time.Now)
	_, epoch, _ := c.get(1)
	c.drop(1)
	c.put(1, "read before the drop", epoch)
	_, epoch, found := c.get(1)
	assert.False(t, found)
	c.dropIf(func(int, string) bool { return false })
	c.put(1, "read before the drop", epoch)
	_, _, found = c.get(1)
	assert.False(t, found)
}

func TestCache_refusesWhatIsLargerThanItself(t *testing.T) {
	c := newCache[int](time.Hour, 10, func(s string) int64 { return int64(len(s)) }, time.Now)
	c.put(1, "0123456789", 0)
	c.put(2, "0123456789a", 0)
	_, _, found := c.get(2)
	assert.False(t, found)
	_, _, found = c.get(1)
	assert.True(t, found)
}
