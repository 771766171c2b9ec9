package jobs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/berth-registry/berth/metadata"
)

// dispatch fires schedules, hands out tasks and stops those that others have stopped.
func (j *Jobs) dispatch(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-j.wake:
		}
		err := errors.Join(j.appear(ctx), j.fire(ctx), j.heed(ctx), j.handOut(ctx))
		if err != nil && ctx.Err() == nil {
			j.options.Logger.WarnContext(ctx, "work in the background rests for the moment", "error", err)
		}
		timer.Reset(j.pause())
	}
}

// handOut begins due tasks for as long as there are workers, the urgent ones first.
func (j *Jobs) handOut(ctx context.Context) error {
	for _, name := range j.urgent {
		free := j.free(name)
		if free <= 0 {
			continue
		}
		dueTasks := j.options.Store.DueTasks
		if j.kinds[name].Lanes {
			dueTasks = j.options.Store.DueHeads
		}
		due, err := dueTasks(ctx, name, time.Now(), free)
		if err != nil {
			return err
		}
		for _, task := range due {
			if _, err := j.begin(ctx, task); err != nil && !errors.Is(err, metadata.ErrConflict) {
				return err
			}
		}
	}
	return nil
}

// heed stops the tasks of this process that were stopped elsewhere.
func (j *Jobs) heed(ctx context.Context) error {
	j.mu.Lock()
	idle := len(j.running) == 0
	j.mu.Unlock()
	if idle {
		return nil
	}
	stopping, err := j.options.Store.StoppingTasks(ctx, j.pool.ID)
	if err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, id := range stopping {
		if r, ours := j.running[id]; ours {
			r.cancel(errStopped)
		}
	}
	return nil
}

// free is how many more tasks of the kind this process may do.
func (j *Jobs) free(kind string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.freeLocked(kind)
}

func (j *Jobs) freeLocked(kind string) int {
	free := j.kinds[kind].Concurrency - j.taken[kind]
	if j.kinds[kind].Waits {
		return free
	}
	working := 0
	for name, n := range j.taken {
		if !j.kinds[name].Waits {
			working += n
		}
	}
	return min(free, j.options.Workers-working)
}

// take takes a worker for the kind, and reports whether there was one.
func (j *Jobs) take(kind string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.freeLocked(kind) <= 0 {
		return false
	}
	j.taken[kind]++
	return true
}

// giveBack gives the kind's worker back that had nothing to do.
func (j *Jobs) giveBack(kind string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.taken[kind]--
	if j.missed[kind] {
		delete(j.missed, kind)
		signal(j.wake)
	}
}

// errNoWorker says that no worker is free for a task.
var errNoWorker = fmt.Errorf("no worker is free: %w", metadata.ErrConflict)

// begin claims a task and does it; the channel is closed at its end. The error is [metadata.ErrConflict] when another was faster, or
// no worker is free.
func (j *Jobs) begin(ctx context.Context, task metadata.Task) (ended <-chan struct{}, err error) {
	kind := j.kinds[task.Kind]
	if !j.take(kind.Name) {
		return nil, errNoWorker
	}
	dead := task.Status == metadata.StatusRunning && task.Attempts >= kind.Attempts
	claimed := time.Now()
	err = j.options.Store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		taken, err := tx.ClaimTask(ctx, task, j.pool.ID, claimed.Add(kind.Lease))
		if err == nil && kind.Everywhere > 0 && !dead {
			err = tx.EnterQueue(ctx, taken, kind.Everywhere)
		}
		if err == nil && dead {
			err = tx.EndTask(ctx, taken, metadata.StatusError, fmt.Sprintf("its worker died at each of %d attempts", kind.Attempts))
		}
		if err != nil {
			return err
		}
		task = taken
		return nil
	})
	done := make(chan struct{})
	if err != nil || dead {
		j.giveBack(kind.Name)
		close(done)
		return done, err
	}
	// The task goes on while the dispatcher is told to end: Close cancels it with a cause of its own.
	own, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	j.mu.Lock()
	defer j.mu.Unlock()
	j.running[task.ID] = running{task, cancel}
	if task.Stopping {
		cancel(errStopped)
	}
	j.workers.Go(func() {
		defer close(done)
		defer cancel(nil)
		j.work(own, cancel, kind, task)
		j.mu.Lock()
		delete(j.running, task.ID)
		j.taken[kind.Name]--
		j.mu.Unlock()
		j.Wake()
	})
	return done, nil
}
