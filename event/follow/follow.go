// Package follow reads events on behalf of one follower, such as the audit log: in order, each at least once, and, where what is
// made of an event is written to the same database, with the effect of exactly once. Of many gateways one reads, which holds the
// follower's lease; when it dies, another goes on from where it stopped.
package follow

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"time"

	"github.com/berth-registry/berth/metadata"
)

// The defaults of [Options].
const (
	DefaultLease = 30 * time.Second
	DefaultPoll  = 500 * time.Millisecond
	DefaultBatch = 500
)

const (
	// sweepInterval is how often events that all followers have read are deleted, sweepBatch how many in one transaction.
	sweepInterval = time.Minute
	sweepBatch    = 1000
	// maxPause bounds the pause after failures.
	maxPause = 30 * time.Second
)

// Write writes what was made of a batch of events. It may be called more than once; only one call is committed.
type Write func(ctx context.Context, tx *metadata.Tx) error

// Options are what a [Follower] is made of. Store, Name, Handle and Logger are required; what is zero has its default.
type Options struct {
	Store *metadata.Store
	// Name is the follower's, the same on all gateways. A new name begins with the oldest event that is kept.
	Name string
	// Handle makes something of events outside of any transaction and returns what writes it. It is called again with the same
	// events, perhaps with more of them, after a failure, of its own or of the database.
	Handle func(ctx context.Context, events []metadata.Event) (Write, error)
	// Written is called when what Handle made of events is committed; nil does nothing.
	Written func()
	Logger  *slog.Logger
	// Lease is how long after its death a gateway is waited for. Poll is how often the holder of the lease looks for events.
	Lease, Poll time.Duration
	// Batch is how many events are handled at once.
	Batch int
}

// Follower follows the events.
type Follower struct {
	options Options
	holder  string
	// leased is when the lease was last taken or renewed, zero when it is not held; cursor is the place read up to.
	leased time.Time
	cursor metadata.EventCursor
	swept  time.Time
}

// New returns a follower.
func New(options Options) *Follower {
	options.Lease = cmp.Or(options.Lease, DefaultLease)
	options.Poll = cmp.Or(options.Poll, DefaultPoll)
	options.Batch = cmp.Or(options.Batch, DefaultBatch)
	return &Follower{options: options, holder: rand.Text()}
}

// Run follows until the context ends, and gives the lease back.
func (f *Follower) Run(ctx context.Context) {
	pause := f.options.Poll
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			f.release(ctx)
			return
		case <-timer.C:
		}
		full, err := f.step(ctx)
		switch {
		case err != nil && ctx.Err() == nil:
			pause = min(2*pause, maxPause)
			f.options.Logger.WarnContext(ctx, "events are not followed for the moment", "follower", f.options.Name, "error", err, "again_in", pause)
		case f.leased.IsZero():
			pause = f.options.Lease / 4
		default:
			pause = f.options.Poll
		}
		if full {
			timer.Reset(0)
		} else {
			timer.Reset(pause)
		}
	}
}

// step takes or renews the lease and handles one batch. It reports whether there are likely more events.
func (f *Follower) step(ctx context.Context) (full bool, err error) {
	if time.Since(f.leased) > f.options.Lease/2 {
		if held, err := f.lease(ctx); err != nil || !held {
			return false, err
		}
	}
	events, err := f.options.Store.Events(ctx, f.cursor, f.options.Batch)
	if err != nil {
		return false, err
	}
	if len(events) == 0 {
		return false, f.sweep(ctx)
	}
	write, err := f.options.Handle(ctx, events)
	if err != nil {
		return false, err
	}
	last := events[len(events)-1].Cursor()
	err = f.options.Store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		if err := tx.AdvanceFollower(ctx, f.options.Name, f.holder, f.cursor, last); err != nil {
			return err
		}
		return write(ctx, tx)
	})
	if errors.Is(err, metadata.ErrConflict) {
		f.leased = time.Time{} // another gateway holds the lease
		return false, nil
	}
	if err != nil {
		f.leased = time.Time{} // the commit may have taken place all the same: ask where we are
		return false, err
	}
	f.cursor = last
	if f.options.Written != nil {
		f.options.Written()
	}
	return len(events) == f.options.Batch, nil
}

func (f *Follower) lease(ctx context.Context) (held bool, err error) {
	asked := time.Now()
	f.leased = time.Time{}
	err = f.options.Store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) (err error) {
		f.cursor, err = tx.LeaseFollower(ctx, f.options.Name, f.holder, f.options.Lease)
		return err
	})
	if errors.Is(err, metadata.ErrConflict) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	f.leased = asked
	return true, nil
}

func (f *Follower) release(ctx context.Context) {
	if f.leased.IsZero() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	err := f.options.Store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		return tx.ReleaseFollower(ctx, f.options.Name, f.holder)
	})
	if err != nil {
		f.options.Logger.WarnContext(ctx, "the lease of a follower is not given back: it ends by itself", "follower", f.options.Name, "error", err)
	}
}

// sweep deletes, now and then, events that all followers have read.
func (f *Follower) sweep(ctx context.Context) error {
	if time.Since(f.swept) < sweepInterval {
		return nil
	}
	for {
		var deleted int64
		err := f.options.Store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) (err error) {
			deleted, err = tx.DeleteReadEvents(ctx, sweepBatch)
			return err
		})
		if err != nil {
			return err
		}
		if deleted < sweepBatch {
			f.swept = time.Now()
			return nil
		}
	}
}
