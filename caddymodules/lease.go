package caddymodules

import "sync/atomic"

// lease counts the users of something and closes it when the last one has gone. The zero value is not usable; see [newLease].
type lease struct {
	users  atomic.Int64
	closed chan struct{}
	close  func()
}

// newLease returns a lease with one user. close runs once, in a goroutine of its own, because the last user may be a request or
// a reload, and neither may wait for it.
func newLease(closeFn func()) *lease {
	l := &lease{closed: make(chan struct{}), close: closeFn}
	l.users.Store(1)
	return l
}

// acquire adds a user. It reports false when the last one has gone already.
func (l *lease) acquire() bool {
	for {
		users := l.users.Load()
		if users == 0 {
			return false
		}
		if l.users.CompareAndSwap(users, users+1) {
			return true
		}
	}
}

// release takes a user away; each acquire needs exactly one.
func (l *lease) release() {
	switch users := l.users.Add(-1); {
	case users == 0:
		go func() {
			defer close(l.closed)
			l.close()
		}()
	case users < 0:
		panic("berth: lease released more often than acquired")
	}
}
