package caddymodules

import (
	"io"
	"sync"

	"github.com/caddyserver/caddy/v2"
)

// databases, storages and queues hold what is open, by identity. Cores share them, so that a configuration with another storage does not
// open a SQLite database a second time, which its lock would refuse.
var (
	databases = newPool()
	storages  = newPool()
	queues    = newPool()
)

// pool is Caddy's pool with one opening or closing at a time: what is about to be opened may be what is about to be closed.
type pool struct {
	mu     sync.Mutex
	shares *caddy.UsagePool
}

func newPool() *pool { return &pool{shares: caddy.NewUsagePool()} }

// opened is something open in a pool.
type opened[T any] struct {
	value T
}

// Destruct closes it where it can be closed; the pool calls it after the last share was given back.
func (o opened[T]) Destruct() error {
	if closer, ok := any(o.value).(io.Closer); ok {
		return closer.Close()
	}
	return nil
}

// share returns what is open under the identity, opening it when it is not, and the function that gives the share back.
func share[T any](pool *pool, identity string, open func() (T, error)) (T, func() error, error) {
	pool.mu.Lock()
	defer pool.mu.Unlock()
	pooled, _, err := pool.shares.LoadOrNew(identity, func() (caddy.Destructor, error) {
		value, err := open()
		if err != nil {
			return nil, err
		}
		return opened[T]{value}, nil
	})
	if err != nil {
		var none T
		return none, nil, err
	}
	giveBack := func() error {
		pool.mu.Lock()
		defer pool.mu.Unlock()
		_, err := pool.shares.Delete(identity)
		return err
	}
	return pooled.(opened[T]).value, giveBack, nil
}
