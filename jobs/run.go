package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"time"

	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/pause"
)

// The causes for which a task's context ends.
var (
	errStopped  = errors.New("stopped")
	errDraining = errors.New("the gateway ends")
	errLost     = errors.New("another worker has taken over")
	errDeadline = errors.New("the attempt took too long")
)

// lastPause bounds the pauses between attempts, which double.
const lastPause = time.Hour

// Run is one attempt at a task.
type Run struct {
	Task metadata.Task
	// Log is read by people while the task runs, and after.
	Log *Log
	// Ended, where the task's function sets it, is called in the transaction that writes down that the task has come to its end, so that
	// what it writes is written if and only if that is. It may be called again when the transaction failed.
	Ended func(ctx context.Context, tx *metadata.Tx, status metadata.Status, message string) error

	outcome outcome
}

// Report says what the task has come to so far. It becomes a JSON object, which is read while the task runs and after; what an
// earlier attempt has reported is in the task.
func (r *Run) Report(value any) {
	encoded, err := json.Marshal(value)
	if err != nil {
		r.Log.Printf("what was done cannot be told: %v", err)
		return
	}
	r.outcome.set(string(encoded))
}

// outcome is what a task has come to and was not written yet.
type outcome struct {
	mu      sync.Mutex
	waiting string
}

func (o *outcome) set(encoded string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.waiting = encoded
}

// write writes what waits, if the task is still this worker's. What cannot be written waits for the next time.
func (r *Run) write(ctx context.Context, store *metadata.Store) {
	r.outcome.mu.Lock()
	encoded := r.outcome.waiting
	r.outcome.waiting = ""
	r.outcome.mu.Unlock()
	if encoded == "" {
		return
	}
	err := store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error { return tx.ReportTask(ctx, r.Task, encoded) })
	if err == nil {
		return
	}
	r.outcome.mu.Lock()
	defer r.outcome.mu.Unlock()
	if r.outcome.waiting == "" {
		r.outcome.waiting = encoded
	}
}

// Decode reads the task's parameters.
func (r *Run) Decode(into any) error {
	if err := json.Unmarshal([]byte(r.Task.Parameters), into); err != nil {
		return Permanent(fmt.Errorf("parameters: %w", err))
	}
	return nil
}

// Permanent marks an error that another attempt would only repeat.
func Permanent(err error) error { return permanentError{err} }

type permanentError struct{ error }

func (e permanentError) Unwrap() error { return e.error }

// Retry is an error of an attempt that says how the next one is to be. There is none where the attempts are used up.
type Retry struct {
	// Cause is why the task is not done.
	Cause error
	// After is how long to wait; 0 means as long as the kind says.
	After time.Duration
	// Lane is where the task takes its turns from now on, by the order of the tasks' ids; "" means where it is.
	Lane string
	// Uncounted says that nothing was attempted: this one does not count among [Kind.Attempts], and is due at once without After.
	Uncounted bool
}

func (r *Retry) Error() string { return r.Cause.Error() }

func (r *Retry) Unwrap() error { return r.Cause }

// work does a task and writes down what came of it.
func (j *Jobs) work(ctx context.Context, cancel context.CancelCauseFunc, kind Kind, task metadata.Task) {
	began := time.Now()
	log := newLog(j.options.Store, task.ID, j.options.Logger)
	run := &Run{Task: task, Log: log}
	if kind.Deadline > 0 {
		var release context.CancelFunc
		ctx, release = context.WithTimeoutCause(ctx, kind.Deadline, errDeadline)
		defer release()
	}
	beating := make(chan struct{})
	quiet := make(chan struct{})
	go func() {
		defer close(quiet)
		j.beat(ctx, cancel, run, kind.Lease, beating)
	}()
	err := attempt(ctx, kind, run)
	close(beating)
	<-quiet
	cause := context.Cause(ctx)
	if errors.Is(cause, errLost) {
		return
	}
	// What came of it has to be written down although the task's own context may have ended.
	ctx, done := context.WithTimeout(context.WithoutCancel(ctx), j.options.Lease)
	defer done()
	run.write(ctx, j.options.Store)
	j.options.Observe(kind.Name, j.conclude(ctx, kind, run, err, cause), time.Since(began))
}

// attempt runs the kind's function, and makes an error of a panic.
func attempt(ctx context.Context, kind Kind, run *Run) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("panic: %v\n%s", cause, debug.Stack())
		}
	}()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return kind.Run(ctx, run)
}

// beat keeps the task this worker's, and writes its log and outcome, until told to end.
func (j *Jobs) beat(ctx context.Context, cancel context.CancelCauseFunc, run *Run, lease time.Duration, end <-chan struct{}) {
	ticker := time.NewTicker(min(lease/4, logInterval))
	defer ticker.Stop()
	held := time.Now()
	lost := held.Add(lease)
	for {
		select {
		case <-end:
			return
		case <-ticker.C:
		}
		run.Log.flush(context.WithoutCancel(ctx))
		run.write(context.WithoutCancel(ctx), j.options.Store)
		now := time.Now()
		if now.Sub(held) < lease/4 {
			continue
		}
		var stopping bool
		err := j.options.Store.Tx(context.WithoutCancel(ctx), func(ctx context.Context, tx *metadata.Tx) (err error) {
			stopping, err = tx.HoldTask(ctx, run.Task, now.Add(lease))
			return err
		})
		switch {
		case err == nil:
			held, lost = now, now.Add(lease)
		case errors.Is(err, metadata.ErrConflict) || now.After(lost):
			cancel(errLost)
			return
		}
		if stopping {
			cancel(errStopped)
		}
	}
}

// conclude writes down what came of an attempt, and returns what that is called.
func (j *Jobs) conclude(ctx context.Context, kind Kind, run *Run, failure, cause error) (outcome string) {
	task, log := run.Task, run.Log
	status, message, due, attempts := metadata.StatusSuccess, "", time.Time{}, task.Attempts
	if failure != nil && errors.Is(cause, errDeadline) {
		failure = fmt.Errorf("not done within %s: %w", kind.Deadline, failure)
	}
	_, permanent := errors.AsType[permanentError](failure)
	retry, told := errors.AsType[*Retry](failure)
	switch {
	case failure == nil:
		outcome = "success"
	case errors.Is(cause, errStopped):
		outcome, status = "stopped", metadata.StatusStopped
		log.Printf("stopped")
	case errors.Is(cause, errDraining):
		outcome, status, due, attempts = "handed over", metadata.StatusPending, time.Now(), task.Attempts-1
		log.Printf("the gateway ends: another goes on")
	case told && retry.Uncounted:
		outcome, status, message, due, attempts = "postponed", metadata.StatusScheduled, failure.Error(), time.Now().Add(retry.After), task.Attempts-1
	case permanent, task.Attempts >= kind.Attempts:
		outcome, status, message = "error", metadata.StatusError, failure.Error()
		log.Printf("failed: %v", failure)
	default:
		wait := min(kind.Pause<<min(task.Attempts-1, 20), lastPause)
		if told && retry.After > 0 {
			wait = retry.After
		}
		wait += rand.N(wait/5 + 1) //nolint:gosec // jitter need not be secret
		outcome, status, message, due = "retry", metadata.StatusScheduled, failure.Error(), time.Now().Add(wait)
		log.Printf("failed, and is tried again in %s: %v", wait.Round(time.Second), failure)
	}
	lane := task.Lane
	if told && retry.Lane != "" {
		lane = retry.Lane
	}
	log.flush(ctx)
	for try := 1; ; try++ {
		err := j.options.Store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
			if !due.IsZero() {
				return tx.ReleaseTask(ctx, task, status, message, due, attempts, lane)
			}
			if err := tx.EndTask(ctx, task, status, message); err != nil {
				return err
			}
			if run.Ended != nil {
				if err := run.Ended(ctx, tx, status, message); err != nil {
					return err
				}
			}
			execution, err := tx.Execution(ctx, task.ExecutionID)
			if err != nil || !execution.Ended() {
				return err
			}
			return tx.DeleteExecutions(ctx, execution.Kind, execution.SubjectID, kind.History)
		})
		if err == nil && !due.IsZero() {
			j.note(task, due)
		}
		if err == nil || errors.Is(err, metadata.ErrConflict) || errors.Is(err, metadata.ErrNotFound) { // another's, or removed meanwhile
			return outcome
		}
		if pause.For(ctx, min(time.Duration(try)*100*time.Millisecond, 5*time.Second)) != nil {
			j.options.Logger.ErrorContext(ctx, "the end of a task is not written down: it will be done again", slog.Int64("task", task.ID), slog.Any("error", err))
			return outcome
		}
	}
}

// Stopped reports whether the context of a task ended because somebody has stopped it.
func Stopped(ctx context.Context) bool { return errors.Is(context.Cause(ctx), errStopped) }
