package jobs

import (
	"context"
	"errors"
	"fmt"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/metadata"
)

// cadences are the schedules that have a name.
var cadences = map[string]string{"Hourly": "0 0 * * * *", "Daily": "0 0 0 * * *", "Weekly": "0 0 0 * * 0"}

// Parameters are those of work that people may ask for.
type Parameters interface {
	// Check returns a [*fault.Error] of kind Invalid for what cannot be meant.
	Check() error
}

// Recurring is a kind of work that the registry does for itself, and that people start, stop and schedule.
type Recurring struct {
	jobs *Jobs
	kind string
}

// Recurring returns the work of a kind.
func (j *Jobs) Recurring(kind string) *Recurring { return &Recurring{j, kind} }

// Start begins the work now.
func (w *Recurring) Start(ctx context.Context, actor event.Actor, parameters Parameters) (metadata.Execution, error) {
	if err := parameters.Check(); err != nil {
		return metadata.Execution{}, err
	}
	var execution metadata.Execution
	err := w.change(ctx, actor, event.JobStarted, func(ctx context.Context, tx *metadata.Tx) (err error) {
		execution, err = w.jobs.Begin(ctx, tx, Submission{Kind: w.kind, Cause: CauseManual, Actor: actor.Name, Parameters: parameters})
		return err
	})
	if err == nil {
		w.jobs.Wake()
	}
	return execution, err
}

// Stop stops an execution. The error wraps [metadata.ErrNotFound] when there is none of that id.
func (w *Recurring) Stop(ctx context.Context, actor event.Actor, id int64) error {
	if _, err := w.Get(ctx, id); err != nil {
		return err
	}
	return w.jobs.Stop(ctx, id, func(ctx context.Context, tx *metadata.Tx) error {
		return appendEvent(ctx, tx, actor, event.JobStopped, w.kind)
	})
}

// Get returns an execution. The error wraps [metadata.ErrNotFound] when there is none of that id.
func (w *Recurring) Get(ctx context.Context, id int64) (metadata.Execution, error) {
	execution, err := w.jobs.options.Store.Execution(ctx, id)
	if err == nil && execution.Kind != w.kind {
		err = metadata.ErrNotFound
	}
	if err != nil {
		return metadata.Execution{}, fmt.Errorf("execution %d of %s: %w", id, w.kind, err)
	}
	return execution, nil
}

// List returns a page of the executions, the newest first, and the number on all pages.
func (w *Recurring) List(ctx context.Context, q metadata.Query) ([]metadata.Execution, int64, error) {
	return w.jobs.options.Store.Executions(ctx, w.kind, q)
}

// Outcomes returns what each of the executions has come to so far, a JSON object, by their ids.
func (w *Recurring) Outcomes(ctx context.Context, executions ...metadata.Execution) (map[int64]string, error) {
	ids := make([]int64, len(executions))
	for i, execution := range executions {
		ids[i] = execution.ID
	}
	return w.jobs.options.Store.Outcomes(ctx, ids)
}

// Log returns what an execution has to say.
func (w *Recurring) Log(ctx context.Context, id int64) (string, error) {
	if _, err := w.Get(ctx, id); err != nil {
		return "", err
	}
	tasks, err := w.jobs.options.Store.Tasks(ctx, id)
	if err != nil || len(tasks) == 0 {
		return "", err
	}
	return w.jobs.options.Store.TaskLog(ctx, tasks[0].ID)
}

// Schedule returns the schedule, or [metadata.ErrNotFound].
func (w *Recurring) Schedule(ctx context.Context) (metadata.Schedule, error) {
	return w.jobs.options.Store.Schedule(ctx, w.kind, 0)
}

// SetSchedule sets when the work is done. The cadence is "Hourly", "Daily", "Weekly", whose cron may be "", or "Custom".
func (w *Recurring) SetSchedule(ctx context.Context, actor event.Actor, cadence, cron string, parameters Parameters) error {
	if err := parameters.Check(); err != nil {
		return err
	}
	return w.change(ctx, actor, event.ScheduleUpdated, func(ctx context.Context, tx *metadata.Tx) error {
		return w.schedule(ctx, tx, cadence, cron, parameters)
	})
}

func (w *Recurring) schedule(ctx context.Context, tx *metadata.Tx, cadence, cron string, parameters Parameters) error {
	if cron == "" {
		cron = cadences[cadence]
	}
	_, err := w.jobs.SetSchedule(ctx, tx, Scheduling{Kind: w.kind, Cadence: cadence, Cron: cron, Parameters: parameters})
	return err
}

// RemoveSchedule ends the schedule; where there is none, nothing happens.
func (w *Recurring) RemoveSchedule(ctx context.Context, actor event.Actor) error {
	err := w.change(ctx, actor, event.ScheduleUpdated, func(ctx context.Context, tx *metadata.Tx) error {
		return tx.DeleteSchedule(ctx, w.kind, 0)
	})
	if errors.Is(err, metadata.ErrNotFound) {
		return nil
	}
	return err
}

// ScheduleDefault makes a schedule once in the life of a registry, which the setting of the name remembers: whoever changes or
// removes it has the last word.
func (w *Recurring) ScheduleDefault(ctx context.Context, setting, cadence string, parameters Parameters) error {
	if _, err := w.jobs.options.Store.Setting(ctx, setting); !errors.Is(err, metadata.ErrNotFound) {
		return err
	}
	return w.jobs.options.Store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		if _, err := tx.Setting(ctx, setting); !errors.Is(err, metadata.ErrNotFound) {
			return err
		}
		if err := tx.PutSetting(ctx, setting, "true"); err != nil {
			return err
		}
		return w.schedule(ctx, tx, cadence, "", parameters)
	})
}

// change runs a transaction with the event of a change.
func (w *Recurring) change(ctx context.Context, actor event.Actor, kind event.Kind, fn func(ctx context.Context, tx *metadata.Tx) error) error {
	return w.jobs.options.Store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		if err := fn(ctx, tx); err != nil {
			return err
		}
		return appendEvent(ctx, tx, actor, kind, w.kind)
	})
}
