package metadata

import (
	"context"
	"fmt"
	"time"
)

// Schedule begins an execution again and again.
type Schedule struct {
	ID        int64
	Kind      string
	SubjectID int64
	// Cadence is what people call it: "Hourly", "Daily", "Weekly" or "Custom".
	Cadence string
	// Cron has six fields, seconds first.
	Cron string
	// Parameters are those of the executions, a JSON object.
	Parameters string
	NextAt     time.Time
	CreatedAt  time.Time
	UpdatedAt  time.Time
}

const scheduleColumns = `id, kind, subject_id, cadence, cron, parameters, next_at, created_at, updated_at`

var (
	scheduleOf   = define("schedule", `SELECT `+scheduleColumns+` FROM schedules WHERE kind = $1 AND subject_id = $2`)
	dueSchedules = define("due schedules", `
		SELECT `+scheduleColumns+` FROM schedules WHERE next_at <= $1
			AND NOT EXISTS (SELECT 1 FROM queues WHERE kind = '`+SchedulerQueue+`' AND paused)
		ORDER BY next_at, id LIMIT $2`)
	upsertSchedule = define("put schedule", `
		INSERT INTO schedules (kind, subject_id, cadence, cron, parameters, next_at, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $7)
		ON CONFLICT (kind, subject_id) DO UPDATE SET cadence = excluded.cadence, cron = excluded.cron, parameters = excluded.parameters,
			next_at = excluded.next_at, updated_at = excluded.updated_at
		RETURNING `+scheduleColumns)
	advanceSchedule = define("advance schedule", `UPDATE schedules SET next_at = $3 WHERE id = $1 AND next_at = $2`)
	deleteSchedule  = define("delete schedule", `DELETE FROM schedules WHERE kind = $1 AND subject_id = $2`)
)

var scheduleListing = &listing[Schedule]{
	name: "schedules", columns: scheduleColumns, from: "schedules", key: "id", order: "id", scan: scanSchedule,
	fields: map[string]field{
		"id": {"id", numberField}, "vendor_type": {"kind", textField}, "vendor_id": {"subject_id", numberField}, "cron": {"cron", textField},
		"update_time": {"updated_at", momentField},
	},
}

func scanSchedule(r row, s *Schedule) error {
	return r.Scan(&s.ID, &s.Kind, &s.SubjectID, &s.Cadence, &s.Cron, &s.Parameters, moment{&s.NextAt}, moment{&s.CreatedAt}, moment{&s.UpdatedAt})
}

// Schedule returns the schedule of a kind and subject, or [ErrNotFound].
func (r Reader) Schedule(ctx context.Context, kind string, subjectID int64) (Schedule, error) {
	return one(ctx, r, scheduleOf, scanSchedule, kind, subjectID)
}

// Schedules returns a page of all schedules and the number on all pages.
func (r Reader) Schedules(ctx context.Context, q Query) ([]Schedule, int64, error) {
	return scheduleListing.list(ctx, r, q, kept("schedules", 0), "")
}

// DueSchedules returns up to n schedules whose next time has come; none while [SchedulerQueue] is paused.
func (r Reader) DueSchedules(ctx context.Context, at time.Time, n int) ([]Schedule, error) {
	return all(ctx, r, dueSchedules, scanSchedule, micros(at), limit(n))
}

// PutSchedule sets the schedule of a kind and subject and returns the row.
func (t *Tx) PutSchedule(ctx context.Context, s Schedule) (Schedule, error) {
	return one(ctx, t.Reader, upsertSchedule, scanSchedule, s.Kind, s.SubjectID, s.Cadence, s.Cron, s.Parameters, micros(s.NextAt), micros(now()))
}

// AdvanceSchedule moves a schedule on. It returns [ErrConflict] when another gateway has done so, or it was changed.
func (t *Tx) AdvanceSchedule(ctx context.Context, s Schedule, next time.Time) error {
	changed, err := t.exec(ctx, advanceSchedule, s.ID, micros(s.NextAt), micros(next))
	if err == nil && changed == 0 {
		err = fmt.Errorf("schedule of %s: %w", s.Kind, ErrConflict)
	}
	return err
}

// DeleteSchedule removes a schedule, or returns [ErrNotFound].
func (t *Tx) DeleteSchedule(ctx context.Context, kind string, subjectID int64) error {
	return t.execOne(ctx, deleteSchedule, kind, subjectID)
}
