package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/metadata"
)

// dueAtOnce is how many schedules are fired in one turn.
const dueAtOnce = 100

// six fields, seconds first.
var sixFields = cron.NewParser(cron.Second | cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow)

// Next returns the first time after a time at which an expression of six fields, seconds first, in UTC, fires. The error is a
// [*fault.Error] of kind Invalid when it is none, or never fires.
func Next(expression string, after time.Time) (time.Time, error) {
	if fields := strings.Fields(expression); len(fields) != 6 || strings.Contains(expression, "=") {
		return time.Time{}, fault.New(fault.Invalid, "cron %q must have six fields: second, minute, hour, day of month, month, day of week", expression)
	}
	parsed, err := sixFields.Parse(expression)
	if err != nil {
		return time.Time{}, fault.New(fault.Invalid, "cron %q: %v", expression, err)
	}
	next := parsed.Next(after.UTC())
	if next.IsZero() {
		return time.Time{}, fault.New(fault.Invalid, "cron %q never fires", expression)
	}
	return next, nil
}

// Scheduling is a schedule that is to be set.
type Scheduling struct {
	Kind      string
	SubjectID int64
	// Cadence is what people call it; see [metadata.Schedule].
	Cadence, Cron string
	// Parameters become a JSON object.
	Parameters any
}

// SetSchedule sets the one schedule of a kind and subject, within the transaction of what asks for it. The error is a
// [*fault.Error] of kind Invalid when its expression is none.
func (j *Jobs) SetSchedule(ctx context.Context, tx *metadata.Tx, s Scheduling) (metadata.Schedule, error) {
	next, err := Next(s.Cron, time.Now())
	if err != nil {
		return metadata.Schedule{}, err
	}
	parameters, err := json.Marshal(s.Parameters)
	if err != nil {
		return metadata.Schedule{}, fmt.Errorf("parameters of %s: %w", s.Kind, err)
	}
	return tx.PutSchedule(ctx, metadata.Schedule{
		Kind: s.Kind, SubjectID: s.SubjectID, Cadence: s.Cadence, Cron: s.Cron, Parameters: string(parameters), NextAt: next,
	})
}

// fire begins the executions of schedules whose time has come: of all gateways the one whose transaction moves the schedule on.
// Times that were missed while nobody ran are made up for once.
func (j *Jobs) fire(ctx context.Context) error {
	now := time.Now()
	due, err := j.options.Store.DueSchedules(ctx, now, dueAtOnce)
	if err != nil {
		return err
	}
	var failures []error
	for _, schedule := range due {
		if _, known := j.kinds[schedule.Kind]; !known {
			continue // of a newer version, which another gateway runs
		}
		err := j.options.Store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
			next, err := Next(schedule.Cron, now)
			if err != nil {
				return err
			}
			if err := tx.AdvanceSchedule(ctx, schedule, next); err != nil {
				return err
			}
			_, err = j.Begin(ctx, tx, Submission{
				Kind: schedule.Kind, SubjectID: schedule.SubjectID, Cause: CauseSchedule, Actor: "schedule", Parameters: json.RawMessage(schedule.Parameters),
			})
			return err
		})
		if err != nil && !errors.Is(err, metadata.ErrConflict) {
			failures = append(failures, fmt.Errorf("schedule of %s: %w", schedule.Kind, err))
		}
	}
	return errors.Join(failures...)
}
