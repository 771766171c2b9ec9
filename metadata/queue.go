package metadata

import (
	"context"
	"fmt"
	"time"
)

// SchedulerQueue is the queue that stands for all schedules: while it is paused none fires.
const SchedulerQueue = "SCHEDULER"

// Queue is what waits of one kind of work.
type Queue struct {
	Kind string
	// Paused says that no task of the kind is begun.
	Paused bool
	// Waiting is how many tasks are due and not running; Since is when the first of them became due, zero without any.
	Waiting int64
	Since   time.Time
}

// Pool is the workers of one process.
type Pool struct {
	ID   string
	Host string
	PID  int64
	// Workers is how many tasks it does at a time.
	Workers   int64
	StartedAt time.Time
	// SeenAt is when it last said that it lives.
	SeenAt time.Time
}

const (
	poolColumns = `id, host, pid, workers, started_at, seen_at`
	// notPaused leaves out the tasks of the kind $1 while its queue is paused.
	notPaused = ` AND NOT EXISTS (SELECT 1 FROM queues q WHERE q.kind = tasks.kind AND q.paused)`
)

var (
	waitingTasks = define("waiting tasks", `
		SELECT kind, FALSE, COUNT(*), MIN(due_at) FROM tasks WHERE ended_at IS NULL AND due_at <= $1 GROUP BY kind`)
	pausedQueues = define("paused queues", `SELECT kind FROM queues WHERE paused`)
	putQueue     = define("put queue", `
		INSERT INTO queues (kind, paused, updated_at) VALUES ($1, $2, $3)
		ON CONFLICT (kind) DO UPDATE SET paused = excluded.paused, updated_at = excluded.updated_at`)
	addQueue     = define("add queue", `INSERT INTO queues (kind, paused, updated_at) VALUES ($1, FALSE, $2) ON CONFLICT (kind) DO NOTHING`)
	lockQueue    = define("lock queue", `SELECT kind FROM queues WHERE kind = $1 {for update}`)
	countRunning = define("count running tasks", `
		SELECT COUNT(*) FROM tasks WHERE status = 'Running' AND kind = $1 AND id <> $2 AND due_at > $3`)
	runningTasks      = define("running tasks", `SELECT `+taskColumns+` FROM tasks WHERE status = 'Running' ORDER BY kind, id`)
	waitingExecutions = define("executions with waiting tasks", `
		SELECT DISTINCT execution_id FROM tasks WHERE kind = $1 AND ended_at IS NULL AND status <> 'Running'`)
	putPool = define("put pool", `
		INSERT INTO pools (`+poolColumns+`) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at`)
	allPools       = define("pools", `SELECT `+poolColumns+` FROM pools ORDER BY id`)
	deletePool     = define("delete pool", `DELETE FROM pools WHERE id = $1`)
	deleteOldPools = define("delete old pools", `DELETE FROM pools WHERE seen_at < $1`)
)

// Queues returns what waits, by kind, and the queues that are paused; kinds of which nothing waits and that are not paused are left out.
func (r Reader) Queues(ctx context.Context) ([]Queue, error) {
	queues, err := all(ctx, r, waitingTasks, func(r row, q *Queue) error {
		return r.Scan(&q.Kind, &q.Paused, &q.Waiting, moment{&q.Since})
	}, micros(now()))
	if err != nil {
		return nil, err
	}
	paused, err := all(ctx, r, pausedQueues, value[string])
	if err != nil {
		return nil, err
	}
	places := map[string]int{}
	for i, q := range queues {
		places[q.Kind] = i
	}
	for _, kind := range paused {
		if i, known := places[kind]; known {
			queues[i].Paused = true
		} else {
			queues = append(queues, Queue{Kind: kind, Paused: true})
		}
	}
	return queues, nil
}

// PauseQueue pauses the queue of a kind, or lets it go on.
func (t *Tx) PauseQueue(ctx context.Context, kind string, paused bool) error {
	_, err := t.exec(ctx, putQueue, kind, paused, micros(now()))
	return err
}

// EnterQueue returns [ErrConflict] when as many tasks of the kind run elsewhere as may run at all. Until the end of the transaction
// no other can begin one.
func (t *Tx) EnterQueue(ctx context.Context, task Task, most int) error {
	at := micros(now())
	if _, err := t.exec(ctx, addQueue, task.Kind, at); err != nil {
		return err
	}
	if _, err := one(ctx, t.Reader, lockQueue, value[string], task.Kind); err != nil {
		return fmt.Errorf("queue %s: %w", task.Kind, err)
	}
	running, err := one(ctx, t.Reader, countRunning, value[int64], task.Kind, task.ID, at)
	if err == nil && running >= int64(most) {
		err = fmt.Errorf("%d tasks of %s run: %w", running, task.Kind, ErrConflict)
	}
	return err
}

// RunningTasks returns the tasks that run anywhere.
func (r Reader) RunningTasks(ctx context.Context) ([]Task, error) {
	return all(ctx, r, runningTasks, scanTask)
}

// WaitingExecutions returns the ids of the executions that have tasks of the kind which do not run.
func (r Reader) WaitingExecutions(ctx context.Context, kind string) ([]int64, error) {
	return all(ctx, r, waitingExecutions, value[int64], kind)
}

// PutPool says that a pool lives.
func (t *Tx) PutPool(ctx context.Context, p Pool) error {
	_, err := t.exec(ctx, putPool, p.ID, p.Host, p.PID, p.Workers, micros(p.StartedAt), micros(p.SeenAt))
	return err
}

// Pools returns all pools, those included that have died without a word.
func (r Reader) Pools(ctx context.Context) ([]Pool, error) {
	return all(ctx, r, allPools, func(r row, p *Pool) error {
		return r.Scan(&p.ID, &p.Host, &p.PID, &p.Workers, moment{&p.StartedAt}, moment{&p.SeenAt})
	})
}

// DeletePool forgets a pool; that it is gone already is no error.
func (t *Tx) DeletePool(ctx context.Context, id string) error {
	_, err := t.exec(ctx, deletePool, id)
	return err
}

// DeletePools forgets the pools that have not been seen since the time.
func (t *Tx) DeletePools(ctx context.Context, before time.Time) error {
	_, err := t.exec(ctx, deleteOldPools, micros(before))
	return err
}
