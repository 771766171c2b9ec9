package registry

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/storage"
)

const (
	// sweepBatch is how many rows one step of the sweep takes.
	sweepBatch = 100
	// tombstoneBatch is how many objects one request to the storage deletes.
	tombstoneBatch = 1000
	// orphanAge is how long an unfinished upload of the storage outlives every row that could name it, and orphanInterval how often
	// the storage is searched for such, which a crash leaves; on S3 that is a listing.
	orphanAge      = 7 * 24 * time.Hour
	orphanInterval = time.Hour
	// maxSweepBackoff bounds the pause after failures.
	maxSweepBackoff = 30 * time.Minute
)

// sweepLoop removes expired uploads and the bytes of deleted blobs. Many gateways may sweep at once: each step is a success when
// another has done it.
func (r *Registry) sweepLoop(ctx context.Context, interval time.Duration) {
	pause := interval
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if err := r.Sweep(ctx); err != nil && ctx.Err() == nil {
			pause = min(2*pause, maxSweepBackoff)
			r.log.ErrorContext(ctx, "sweeping failed", "error", err, "again_in", pause)
		} else {
			pause = interval
		}
		timer.Reset(pause)
	}
}

// foldLoop adds up the changes of counts that transactions have noted.
func (r *Registry) foldLoop(ctx context.Context, interval time.Duration) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if err := r.metadata.FoldCounts(ctx); err != nil && ctx.Err() == nil {
			r.log.WarnContext(ctx, "counts of lists are not added up yet", "error", err)
		}
	}
}

// Sweep removes once all uploads that have expired, all deletions that cannot be undone any more, all bytes of deleted blobs, and at most once an hour what crashes left in
// storage. It runs by itself every sweep interval.
func (r *Registry) Sweep(ctx context.Context) error {
	return errors.Join(r.sweepUploads(ctx), r.sweepDeletions(ctx), r.sweepTombstones(ctx), r.sweepOrphans(ctx))
}

func (r *Registry) sweepOrphans(ctx context.Context) error {
	sweeper, ok := r.storage.(storage.Sweeper)
	last, now := r.orphansSwept.Load(), r.now()
	if !ok || now.Sub(time.Unix(last, 0)) < orphanInterval || !r.orphansSwept.CompareAndSwap(last, now.Unix()) {
		return nil
	}
	n, err := sweeper.Sweep(ctx, now.Add(-r.expiry-orphanAge))
	if n > 0 {
		r.log.InfoContext(ctx, "removed unfinished uploads that nothing names", "count", n)
	}
	if err != nil {
		return fmt.Errorf("sweep the storage: %w", err)
	}
	return nil
}

func (r *Registry) sweepUploads(ctx context.Context) error {
	for {
		rows, err := r.metadata.ExpiredUploads(ctx, r.now(), sweepBatch)
		if err != nil {
			return fmt.Errorf("list expired uploads: %w", err)
		}
		removed := 0
		var failures []error
		for _, row := range rows {
			if r.writers.active(row.ID) {
				continue // its request has been running for longer than the expiry, and is the activity that would renew it
			}
			if err := r.expire(ctx, row); err != nil {
				failures = append(failures, err)
				continue
			}
			removed++
		}
		if len(failures) > 0 {
			return errors.Join(failures...)
		}
		if removed == 0 || len(rows) < sweepBatch {
			return nil
		}
	}
}

func (r *Registry) expire(ctx context.Context, row metadata.Upload) error {
	w := r.hold(row.ID)
	defer w.close(ctx)
	w.lock.Lock()
	defer w.lock.Unlock()
	w.row = row
	return w.discard(ctx)
}

func (r *Registry) sweepTombstones(ctx context.Context) error {
	for {
		rows, err := r.metadata.Tombstones(ctx, r.now().Add(-r.tombstoneGrace), tombstoneBatch)
		if err != nil {
			return fmt.Errorf("list deleted keys: %w", err)
		}
		if len(rows) == 0 {
			return nil
		}
		keys, unnamed := make([]string, len(rows)), make([]string, 0, len(rows))
		for i, row := range rows {
			keys[i] = row.Key
			if !row.Named {
				unnamed = append(unnamed, row.Key)
			}
		}
		if err := r.storage.Delete(ctx, unnamed); err != nil {
			return fmt.Errorf("delete %d keys from storage: %w", len(unnamed), err)
		}
		err = r.metadata.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
			return tx.DeleteTombstones(ctx, keys)
		})
		if err != nil {
			return fmt.Errorf("forget %d deleted keys: %w", len(keys), err)
		}
	}
}
