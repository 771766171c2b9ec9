package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/berth-registry/berth/metadata"
)

// Queue tells the workers of all processes at once of tasks that may be begun. It is no more than that: what it forgets is found in
// SQL by all who look there every while, and of those who are told of the same task one begins it.
type Queue interface {
	// Announce tells of tasks. After an error some were not told of.
	Announce(ctx context.Context, wakeups []Wakeup) error
	// Pass tells all who listen that a task of the kind was announced to one who has no worker for it.
	Pass(ctx context.Context, kind string) error
	// Listen calls begin with the tasks that are announced, of up to n at a time and the urgent ones first, and passed with the kinds
	// that others pass, "" for any while some may not have been heard, until the context ends and each call has returned. While the
	// queue does not work it waits until it does.
	Listen(ctx context.Context, n int, begin func(ctx context.Context, taskID int64), passed func(kind string))
	// Works reports whether the queue could be reached lately.
	Works() bool
	// Ping reports why the queue does not answer.
	Ping(ctx context.Context) error
}

// Wakeup tells of a task.
type Wakeup struct {
	TaskID   int64
	Priority Priority
	// At is when it may be begun; zero for now.
	At time.Time
}

// Opener opens the configured queue.
type Opener interface {
	// OpenQueue opens it, whether or not it can be reached; nil is none, where workers look in SQL alone.
	OpenQueue(logger *slog.Logger) (Queue, error)
	// Workers is how many tasks one process does at a time; 0 is [DefaultWorkers].
	Workers() int
	// Identity is equal for equal settings and tells none of them.
	Identity() string
}

const (
	// maxWakeups is how many tasks are told of at once; who looks finds the others in SQL.
	maxWakeups = 10_000
	// announcePatience is how long it may take to tell of them.
	announcePatience = 30 * time.Second
	// restful is by how much longer a process that has a queue, and nothing to do, waits until it looks in SQL.
	restful = 5
)

// note remembers to tell of a task, once it is committed.
func (j *Jobs) note(task metadata.Task, at time.Time) {
	kind := j.kinds[task.Kind]
	if j.options.Queue == nil || kind.Lanes { // whose turn it is in a lane is found in SQL
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.wakeups) < maxWakeups {
		j.wakeups = append(j.wakeups, Wakeup{TaskID: task.ID, Priority: kind.Priority, At: at})
	}
}

// announce tells the queue of what was noted and of what others may do, until the context ends.
func (j *Jobs) announce(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-j.noted:
		}
		j.mu.Lock()
		wakeups, passes := j.wakeups, j.passes
		j.wakeups, j.passes = nil, nil
		j.mu.Unlock()
		if len(wakeups)+len(passes) == 0 || !j.options.Queue.Works() {
			continue
		}
		patient, done := context.WithTimeout(ctx, announcePatience)
		err := j.options.Queue.Announce(patient, wakeups)
		for _, kind := range passes {
			err = errors.Join(err, j.options.Queue.Pass(patient, kind))
		}
		if err != nil {
			j.options.Logger.DebugContext(ctx, "tasks are not announced, and found later", "error", err)
		}
		done()
	}
}

// offered begins a task that the queue has told of, and returns at its end.
func (j *Jobs) offered(ctx context.Context, taskID int64) {
	task, err := j.options.Store.DueTask(ctx, taskID, time.Now())
	if err != nil {
		return // another was faster, or SQL is down and will tell of it when it is back
	}
	if _, known := j.kinds[task.Kind]; !known {
		j.pass(task.Kind) // of a newer version, which another gateway runs
		return
	}
	ended, err := j.begin(ctx, task)
	if errors.Is(err, errNoWorker) {
		j.pass(task.Kind) // the worker here that ends next looks in SQL, another may be free now
		return
	}
	if err != nil {
		return // as above
	}
	select {
	case <-ended:
	case <-ctx.Done():
	}
}

// pass has the others told of a task that this process has no worker for.
func (j *Jobs) pass(kind string) {
	j.mu.Lock()
	if !slices.Contains(j.passes, kind) {
		j.passes = append(j.passes, kind)
	}
	j.mu.Unlock()
	signal(j.noted)
}

// passed looks for tasks of the kind that another process has no worker for; "" is any kind.
func (j *Jobs) passed(kind string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if kind == "" || j.freeLocked(kind) > 0 {
		signal(j.wake)
	} else {
		j.missed[kind] = true
	}
}

// pause is how long to wait until SQL is looked in again.
func (j *Jobs) pause() time.Duration {
	if j.options.Queue == nil || !j.options.Queue.Works() {
		return j.options.Poll
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.running) > 0 {
		return j.options.Poll
	}
	return restful * j.options.Poll
}

// MaxWorkers is the most that one process may have.
const MaxWorkers = 1000

// CheckWorkers refuses a number of workers that nobody can mean; 0 stands for the default.
func CheckWorkers(n int) error {
	if n < 0 || n > MaxWorkers {
		return fmt.Errorf("workers of the queue is %d: it must be from 1 to %d", n, MaxWorkers)
	}
	return nil
}
