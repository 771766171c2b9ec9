package jobs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/metadata"
)

// AllQueues stands for every queue, where a person names one.
const AllQueues = "all"

// appear says that this process lives, twice in the time after which it is taken for dead.
func (j *Jobs) appear(ctx context.Context) error {
	now := time.Now()
	if now.Sub(j.pool.SeenAt) < j.options.Lease/2 {
		return nil
	}
	pool := j.pool
	pool.SeenAt = now
	err := j.options.Store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		if err := tx.DeletePools(ctx, now.Add(-2*j.options.Lease)); err != nil {
			return err
		}
		return tx.PutPool(ctx, pool)
	})
	if err == nil {
		j.pool.SeenAt = now
	}
	return err
}

// leave says that this process does no more work.
func (j *Jobs) leave() {
	ctx, done := context.WithTimeout(context.Background(), 5*time.Second)
	defer done()
	err := j.options.Store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error { return tx.DeletePool(ctx, j.pool.ID) })
	if err != nil {
		j.options.Logger.WarnContext(ctx, "workers are listed for a while after their end", "error", err)
	}
}

// Pools returns the pools of workers that live, those first that have been there for longest.
func (j *Jobs) Pools(ctx context.Context) ([]metadata.Pool, error) {
	pools, err := j.options.Store.Pools(ctx)
	alive := time.Now().Add(-2 * j.options.Lease)
	pools = slices.DeleteFunc(pools, func(p metadata.Pool) bool { return p.SeenAt.Before(alive) })
	slices.SortStableFunc(pools, func(a, b metadata.Pool) int { return a.StartedAt.Compare(b.StartedAt) })
	return pools, err
}

// Alive returns nil when there are workers, of this process or of another one, and an error that says what is wrong otherwise.
func (j *Jobs) Alive(ctx context.Context) error {
	pools, err := j.Pools(ctx)
	if err != nil {
		return err
	}
	if starting := time.Since(j.pool.StartedAt) < j.options.Lease; len(pools) == 0 && !starting {
		return fmt.Errorf("no worker has shown itself for %s", 2*j.options.Lease)
	}
	return nil
}

// Working returns the tasks that run, of all pools or of the one; the error wraps [metadata.ErrNotFound] when there is no such pool.
func (j *Jobs) Working(ctx context.Context, pool string) ([]metadata.Task, error) {
	pools, err := j.Pools(ctx)
	if err != nil {
		return nil, err
	}
	named := func(id string) bool { return pool == AllQueues || pool == id }
	if pool != AllQueues && !slices.ContainsFunc(pools, func(p metadata.Pool) bool { return named(p.ID) }) {
		return nil, fmt.Errorf("pool %q: %w", pool, metadata.ErrNotFound)
	}
	tasks, err := j.options.Store.RunningTasks(ctx)
	return slices.DeleteFunc(tasks, func(t metadata.Task) bool { return !named(t.Holder) }), err
}

// Queues returns the queue of each kind, by their names, and [metadata.SchedulerQueue], which stands for all schedules.
func (j *Jobs) Queues(ctx context.Context) ([]metadata.Queue, error) {
	queues, err := j.options.Store.Queues(ctx)
	if err != nil {
		return nil, err
	}
	for _, name := range append([]string{metadata.SchedulerQueue}, j.urgent...) {
		if !slices.ContainsFunc(queues, func(q metadata.Queue) bool { return q.Kind == name }) {
			queues = append(queues, metadata.Queue{Kind: name})
		}
	}
	slices.SortFunc(queues, func(a, b metadata.Queue) int { return strings.Compare(a.Kind, b.Kind) })
	return queues, nil
}

// named returns the queues of a name, which may be [AllQueues]. The error wraps [metadata.ErrNotFound] when there is none.
func (j *Jobs) named(name string) ([]string, error) {
	all := append([]string{metadata.SchedulerQueue}, j.urgent...)
	if name == AllQueues {
		return all, nil
	}
	if slices.Contains(all, name) {
		return []string{name}, nil
	}
	return nil, fmt.Errorf("queue %q: %w", name, metadata.ErrNotFound)
}

// Paused reports whether the schedules of a queue rest, because a person has paused them all. The error wraps [metadata.ErrNotFound]
// when there is no such queue.
func (j *Jobs) Paused(ctx context.Context, name string) (bool, error) {
	if _, err := j.named(name); err != nil {
		return false, err
	}
	queues, err := j.options.Store.Queues(ctx)
	return slices.ContainsFunc(queues, func(q metadata.Queue) bool { return q.Kind == metadata.SchedulerQueue && q.Paused }), err
}

// PauseQueue keeps the tasks of a queue, or of all, from being begun, and those of [metadata.SchedulerQueue] from being submitted,
// until it is resumed. What runs goes on. The error wraps [metadata.ErrNotFound] when there is no such queue.
func (j *Jobs) PauseQueue(ctx context.Context, actor event.Actor, name string, paused bool) error {
	names, err := j.named(name)
	if err != nil {
		return err
	}
	kind := event.QueueResumed
	if paused {
		kind = event.QueuePaused
	}
	err = j.options.Store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		for _, name := range names {
			if err := tx.PauseQueue(ctx, name, paused); err != nil {
				return err
			}
		}
		return appendEvent(ctx, tx, actor, kind, name)
	})
	if err == nil {
		j.Wake()
	}
	return err
}

// StopQueue stops the tasks of a queue, or of all, that have not begun. What runs goes on. The error wraps [metadata.ErrNotFound] when
// there is no such queue.
func (j *Jobs) StopQueue(ctx context.Context, actor event.Actor, name string) error {
	names, err := j.named(name)
	if err != nil {
		return err
	}
	for _, name := range names {
		executions, err := j.options.Store.WaitingExecutions(ctx, name)
		if err != nil {
			return err
		}
		for _, id := range executions {
			err := j.options.Store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error { return tx.StopWaiting(ctx, id) })
			if err != nil && !errors.Is(err, metadata.ErrNotFound) { // deleted by now
				return err
			}
		}
	}
	return j.options.Store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		return appendEvent(ctx, tx, actor, event.JobStopped, name)
	})
}

// StopTask stops one task: one that has not begun at once, one that this process does at once as well, one of others as soon as they
// look. The error wraps [metadata.ErrNotFound] when there is none.
func (j *Jobs) StopTask(ctx context.Context, actor event.Actor, id int64) error {
	err := j.options.Store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		task, err := tx.Task(ctx, id)
		if err != nil {
			return fmt.Errorf("task %d: %w", id, err)
		}
		if err := tx.StopTask(ctx, id); err != nil {
			return err
		}
		return appendEvent(ctx, tx, actor, event.JobStopped, task.Kind)
	})
	if err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if r, ours := j.running[id]; ours {
		r.cancel(errStopped)
	}
	return nil
}

// TaskLog returns the log of a task as far as it goes. The error wraps [metadata.ErrNotFound] when there is no such task.
func (j *Jobs) TaskLog(ctx context.Context, id int64) (string, error) {
	if _, err := j.options.Store.Task(ctx, id); err != nil {
		return "", fmt.Errorf("task %d: %w", id, err)
	}
	return j.options.Store.TaskLog(ctx, id)
}

// Schedules returns a page of all schedules and the number on all pages.
func (j *Jobs) Schedules(ctx context.Context, q metadata.Query) ([]metadata.Schedule, int64, error) {
	return j.options.Store.Schedules(ctx, q)
}

// Task returns a task. The error wraps [metadata.ErrNotFound] when there is none.
func (j *Jobs) Task(ctx context.Context, id int64) (metadata.Task, error) {
	task, err := j.options.Store.Task(ctx, id)
	if err != nil {
		err = fmt.Errorf("task %d: %w", id, err)
	}
	return task, err
}

// Executions returns a page of the executions of all kinds, the newest first, and the number on all pages.
func (j *Jobs) Executions(ctx context.Context, q metadata.Query) ([]metadata.Execution, int64, error) {
	return j.options.Store.Executions(ctx, "", q)
}

// Tasks returns a page of the tasks of an execution and the number on all pages. The error wraps [metadata.ErrNotFound] when there is
// no such execution.
func (j *Jobs) Tasks(ctx context.Context, executionID int64, q metadata.Query) ([]metadata.Task, int64, error) {
	if _, err := j.options.Store.Execution(ctx, executionID); err != nil {
		return nil, 0, fmt.Errorf("execution %d: %w", executionID, err)
	}
	return j.options.Store.ListTasks(ctx, executionID, "", q)
}

// StopExecution is Stop, asked for by a person.
func (j *Jobs) StopExecution(ctx context.Context, actor event.Actor, id int64) error {
	execution, err := j.options.Store.Execution(ctx, id)
	if err != nil {
		return fmt.Errorf("execution %d: %w", id, err)
	}
	return j.Stop(ctx, id, func(ctx context.Context, tx *metadata.Tx) error {
		return appendEvent(ctx, tx, actor, event.JobStopped, execution.Kind)
	})
}

// StopRunning stops all tasks that run.
func (j *Jobs) StopRunning(ctx context.Context, actor event.Actor) error {
	tasks, err := j.options.Store.RunningTasks(ctx)
	if err != nil {
		return err
	}
	for _, task := range tasks {
		if err := j.StopTask(ctx, actor, task.ID); err != nil && !errors.Is(err, metadata.ErrNotFound) {
			return err
		}
	}
	return j.options.Store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		return appendEvent(ctx, tx, actor, event.JobStopped, AllQueues)
	})
}

func appendEvent(ctx context.Context, tx *metadata.Tx, actor event.Actor, kind event.Kind, subject string) error {
	e := actor.Event(kind)
	e.Subject = subject
	return tx.AppendEvent(ctx, e)
}
