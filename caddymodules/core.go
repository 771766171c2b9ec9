package caddymodules

import (
	"context"
	"errors"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// cores holds the cores of the configurations that are loaded, by what cannot change while a core lives.
var cores = caddy.NewUsagePool()

// openCores counts the cores that are open; more than one means that requests of an earlier configuration still run.
var openCores atomic.Int64

// startPatience is how long a request waits for the registry to open before it is told to come again.
const startPatience = 5 * time.Second

// closingPatience is how long the end of the process waits for a core to close after its requests were cut off.
const closingPatience = 10 * time.Second

// errClosed: the core was closed because its configuration is gone.
var errClosed = errors.New("this configuration has ended")

// core is what requests work with. Each configuration that uses it and each request that runs holds the lease; the last one to
// let go closes it. Making one has no effects: the first [App.Start] opens it.
type core struct {
	*lease
	open func(context.Context) (*services, error)

	mu       sync.Mutex
	ready    chan struct{}
	services atomic.Pointer[services]
	// running has the [cutter] of each request.
	running sync.Map
}

func newCore(open func(context.Context) (*services, error)) *core {
	c := &core{open: open, ready: make(chan struct{})}
	c.lease = newLease(c.shut)
	return c
}

// start opens the core unless it is open. After an error the next start tries again.
func (c *core) start(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.services.Load() != nil {
		return nil
	}
	opened, err := c.open(ctx)
	if err != nil {
		return err
	}
	openCores.Add(1)
	c.services.Store(opened)
	close(c.ready)
	debug.FreeOSMemory() // configuration, migrations and the first password took most of what the heap has by now
	return nil
}

// use waits until the core is open and leases it; the caller calls the returned function when done.
// Caddy starts its apps in any order, so that a request can come before the core is open. It returns [errClosed] when it never will
// be again, and the error of the context that has ended first.
func (c *core) use(ctx context.Context) (*services, func(), error) {
	if !c.acquire() {
		return nil, nil, errClosed
	}
	if opened := c.services.Load(); opened != nil {
		return opened, c.release, nil
	}
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	select {
	case <-c.ready:
		return c.services.Load(), c.release, nil
	case <-ctx.Done():
		c.release()
		return nil, nil, ctx.Err()
	}
}

// cutter is a request that can be ended from outside.
type cutter interface{ cut() }

// serve notes that a request runs, until the returned function is called, so that it can be cut off at the end of the process.
func (c *core) serve(request cutter) func() {
	c.running.Store(request, nil)
	return func() { c.running.Delete(request) }
}

// cut ends the requests that still run. Their handlers see the body fail and acknowledge what has arrived, so that an upload goes
// on from there after the next start.
func (c *core) cut() {
	c.running.Range(func(request, _ any) bool {
		request.(cutter).cut()
		return true
	})
}

// shut closes what start opened.
func (c *core) shut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if opened := c.services.Load(); opened != nil {
		opened.close()
		openCores.Add(-1)
		newLogger().Debug("core closed", slog.Int64("open", openCores.Load()))
	}
}

// Destruct gives up the share of the configurations; Caddy's pool calls it when the last one is cleaned up. It does not wait for
// requests, because reloads would wait for it, but at the end of the process nothing else keeps the database from being cut off.
func (c *core) Destruct() error {
	c.release()
	if !caddy.Exiting() {
		return nil
	}
	c.cut()
	select {
	case <-c.closed:
		return nil
	case <-time.After(closingPatience):
		return errors.New("requests still use the core: leaving it to the operating system")
	}
}
