package registry

import "sync"

// keylock is a mutex per key, for the short steps in which one writer of an upload reads or advances its row; the bytes flow
// outside of it.
type keylock struct {
	mu    sync.Mutex
	locks map[string]*keyholders
}

type keyholders struct {
	sync.Mutex
	holders int
}

// hold keeps the key's mutex in being; active reports it until release.
func (k *keylock) hold(key string) *keyholders {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.locks == nil {
		k.locks = make(map[string]*keyholders)
	}
	lock, ok := k.locks[key]
	if !ok {
		lock = &keyholders{}
		k.locks[key] = lock
	}
	lock.holders++
	return lock
}

func (k *keylock) release(key string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	lock := k.locks[key]
	if lock.holders--; lock.holders == 0 {
		delete(k.locks, key)
	}
}

func (k *keylock) active(key string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.locks[key] != nil
}
