// Package jobs does work in the background: executions, which people start, schedules or events cause, made of tasks, which workers
// do. SQL is the truth about all of them, so any gateway's workers can do any task, a task whose worker died is taken over, and
// nothing that was asked for is lost. Workers of the same process are woken at once; those of others look every few seconds.
package jobs

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/metadata"
)

// The defaults of [Options] and [Kind].
const (
	DefaultWorkers  = 8
	DefaultLease    = time.Minute
	DefaultPoll     = 2 * time.Second
	DefaultAttempts = 3
	DefaultPause    = 10 * time.Second
	DefaultHistory  = 50
)

// The causes of an execution.
const (
	CauseManual   = "MANUAL"
	CauseSchedule = "SCHEDULE"
	CauseEvent    = "EVENT"
)

// Kind is a kind of work. Its name is the kind of its executions and tasks.
type Kind struct {
	Name string
	// Run does a task. Its context ends when the task is to stop or is no longer this worker's. It may be called again for the same
	// task, after an error and after a worker died, so what it has done already must do no harm.
	Run func(ctx context.Context, run *Run) error
	// Attempts is how often a task is begun at most; 0 means [DefaultAttempts].
	Attempts int
	// Concurrency is how many tasks one process does at a time; 0 means 1.
	Concurrency int
	// Pause is the one before the second attempt, which doubles before each further one; 0 means [DefaultPause].
	Pause time.Duration
	// Lanes says that its tasks have a [Task.Lane].
	Lanes bool
	// Waits says that its tasks do little but wait for others, so that they do not count among [Options.Workers].
	Waits bool
	// Lease is how long after the death of its worker a task is taken over; 0 means [Options.Lease].
	Lease time.Duration
	// Everywhere is how many tasks all processes together do at a time; 0 is no limit.
	Everywhere int
	// Priority says whose tasks are begun first when there are fewer workers than tasks.
	Priority Priority
	// Deadline is how long an attempt may take: after it the context ends, and the attempt has failed. 0 is no limit.
	Deadline time.Duration
	// History is how many ended executions are kept for each subject; 0 means [DefaultHistory].
	History int
}

// Priority is how urgent a kind of work is.
type Priority int

// The priorities. What is zero is Normal.
const (
	Low    Priority = -1
	Normal Priority = 0
	High   Priority = 1
)

// Options are what [Jobs] are made of. Store and Logger are required; what is zero has its default.
type Options struct {
	Store  *metadata.Store
	Logger *slog.Logger
	Kinds  []Kind
	// Workers is how many tasks of all kinds one process does at a time.
	Workers int
	// Lease is how long after the death of its worker a task is taken over. Poll is how often due tasks are looked for that nobody
	// in this process has told of.
	Lease, Poll time.Duration
	// Queue wakes the workers of all processes at once; nil leaves them to look every Poll.
	Queue Queue
	// Observe is told of each attempt that has ended: its kind, how long it took, and what came of it, "success", "error", "retry",
	// "postponed", "stopped" or "handed over". Nil tells nobody.
	Observe func(kind, outcome string, took time.Duration)
}

// Jobs submit, run and stop executions. They are safe for concurrent use.
type Jobs struct {
	options Options
	kinds   map[string]Kind
	// urgent are the names of the kinds, those first whose tasks are to begin first.
	urgent []string
	pool   metadata.Pool
	wake   chan struct{}

	mu      sync.Mutex
	running map[int64]running
	// taken is how many workers each kind has, those included that are about to begin.
	taken map[string]int
	// missed are the kinds of which others had tasks to pass while all workers were taken here.
	missed map[string]bool
	// wakeups are what the queue is to be told of, passes the kinds that others are to look for; noted tells that there are some.
	wakeups []Wakeup
	passes  []string
	noted   chan struct{}

	stop context.CancelFunc
	// attendants find work, workers do it.
	attendants, workers sync.WaitGroup
}

// running is a task that this process does.
type running struct {
	task   metadata.Task
	cancel context.CancelCauseFunc
}

// New returns the jobs and begins to work, until [Jobs.Close].
func New(options Options) *Jobs {
	options.Workers = cmp.Or(options.Workers, DefaultWorkers)
	options.Lease = cmp.Or(options.Lease, DefaultLease)
	options.Poll = cmp.Or(options.Poll, DefaultPoll)
	if options.Observe == nil {
		options.Observe = func(string, string, time.Duration) {}
	}
	host, _ := os.Hostname() // for people to read: none is none
	ctx, stop := context.WithCancel(context.Background())
	j := &Jobs{
		options: options, kinds: map[string]Kind{}, wake: make(chan struct{}, 1),
		pool:    metadata.Pool{ID: rand.Text(), Host: host, PID: int64(os.Getpid()), Workers: int64(options.Workers), StartedAt: time.Now()},
		running: map[int64]running{}, taken: map[string]int{}, missed: map[string]bool{}, noted: make(chan struct{}, 1), stop: stop,
	}
	for _, kind := range options.Kinds {
		kind.Attempts = cmp.Or(kind.Attempts, DefaultAttempts)
		kind.Concurrency = cmp.Or(kind.Concurrency, 1)
		kind.Pause = cmp.Or(kind.Pause, DefaultPause)
		kind.Lease = cmp.Or(kind.Lease, options.Lease)
		kind.History = cmp.Or(kind.History, DefaultHistory)
		j.kinds[kind.Name] = kind
	}
	j.urgent = slices.SortedFunc(maps.Keys(j.kinds), func(a, b string) int {
		return cmp.Or(cmp.Compare(j.kinds[b].Priority, j.kinds[a].Priority), cmp.Compare(a, b))
	})
	j.attendants.Go(func() { j.dispatch(ctx) })
	if options.Queue != nil {
		j.attendants.Go(func() { j.announce(ctx) })
		j.attendants.Go(func() { options.Queue.Listen(ctx, options.Workers, j.offered, j.passed) })
	}
	return j
}

// Close ends the work. Tasks that run are handed back, so that other gateways, or this one after its next start, go on with them at
// once.
func (j *Jobs) Close() error {
	j.stop()
	j.attendants.Wait()
	j.mu.Lock()
	for _, r := range j.running {
		r.cancel(errDraining)
	}
	j.mu.Unlock()
	j.workers.Wait()
	j.leave()
	return nil
}

// Submission is an execution that is to begin.
type Submission struct {
	Kind string
	// SubjectID is what it is for, such as a rule; 0 for the registry itself.
	SubjectID int64
	// Cause is one of the Cause constants, Actor the name of who began it.
	Cause, Actor string
	// Parameters become a JSON object.
	Parameters any
	// UniqueKey keeps another execution of the kind with the same key from beginning before this one has ended; "" does not.
	UniqueKey string
	// Tasks are what is to be done; none stands for one with the parameters of the execution.
	Tasks []Task
}

// Task is a task of a [Submission].
type Task struct {
	// Parameters become a JSON object.
	Parameters any
	// Lane, of a kind that has them, is where the task takes turns: it begins when those before it in the same lane have ended. The
	// lanes in use bound what is done at a time, and should be few.
	Lane string
}

// Submit begins an execution. The error is a [*fault.Error] of kind Conflict while another one has its key.
func (j *Jobs) Submit(ctx context.Context, s Submission) (metadata.Execution, error) {
	var execution metadata.Execution
	err := j.options.Store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) (err error) {
		execution, err = j.Begin(ctx, tx, s)
		return err
	})
	if err != nil {
		return execution, err
	}
	j.Wake()
	return execution, nil
}

// Begin is Submit within the transaction of what causes the execution; call [Jobs.Wake] after its commit.
func (j *Jobs) Begin(ctx context.Context, tx *metadata.Tx, s Submission) (metadata.Execution, error) {
	if _, known := j.kinds[s.Kind]; !known {
		return metadata.Execution{}, fmt.Errorf("no kind of work is called %s", s.Kind)
	}
	parameters, err := json.Marshal(s.Parameters)
	if err != nil {
		return metadata.Execution{}, fmt.Errorf("parameters of %s: %w", s.Kind, err)
	}
	execution, err := tx.CreateExecution(ctx, metadata.Execution{
		Kind: s.Kind, SubjectID: s.SubjectID, Cause: s.Cause, Parameters: string(parameters), Actor: s.Actor, UniqueKey: s.UniqueKey,
	})
	if errors.Is(err, metadata.ErrExists) {
		return execution, fault.Because(err, fault.Conflict, "this is running already: wait for its end, or stop it")
	}
	if err != nil {
		return execution, err
	}
	tasks := s.Tasks
	if len(tasks) == 0 {
		tasks = []Task{{Parameters: s.Parameters}}
	}
	for _, task := range tasks {
		parameters, err := json.Marshal(task.Parameters)
		if err != nil {
			return execution, fmt.Errorf("parameters of %s: %w", s.Kind, err)
		}
		created, err := tx.CreateTask(ctx, metadata.Task{ExecutionID: execution.ID, Kind: s.Kind, Parameters: string(parameters), Lane: task.Lane})
		if err != nil {
			return execution, fmt.Errorf("task of %s: %w", s.Kind, err)
		}
		j.note(created, time.Time{})
	}
	return execution, nil
}

// Wake lets the workers of this process look for tasks at once, and has those of others told.
func (j *Jobs) Wake() {
	signal(j.wake)
	signal(j.noted)
}

// signal has the one who hears look once more, after what it may be doing.
func signal(ear chan<- struct{}) {
	select {
	case ear <- struct{}{}:
	default:
	}
}

// Stop stops an execution: what has not begun at once, what this process does at once as well, what others do within their next
// heartbeat. One that has ended stays as it is. What is to be written with that is written by with, in the same transaction; nil writes
// nothing. The error wraps [metadata.ErrNotFound] when there is no such execution.
func (j *Jobs) Stop(ctx context.Context, executionID int64, with func(ctx context.Context, tx *metadata.Tx) error) error {
	err := j.options.Store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		if err := tx.StopExecution(ctx, executionID); err != nil || with == nil {
			return err
		}
		return with(ctx, tx)
	})
	if err != nil {
		return fmt.Errorf("stop: %w", err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, r := range j.running {
		if r.task.ExecutionID == executionID {
			r.cancel(errStopped)
		}
	}
	return nil
}
