package metadata

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// Task is a piece of an execution, which one worker does.
type Task struct {
	ID          int64
	ExecutionID int64
	Kind        string
	Status      Status
	Message     string
	// Parameters are a JSON object.
	Parameters string
	// Outcome is what it has come to so far, a JSON object.
	Outcome string
	// Attempts is how often it was begun.
	Attempts int
	// Holder is the worker that runs it or ran it last.
	Holder string
	// Lane, where it is set, is what the tasks of the kind in the same lane take turns in: one begins when those before it have ended.
	Lane string
	// Stopping says that it is to stop.
	Stopping bool
	// DueAt is when it may be begun; while it runs, when its worker has to be taken for dead.
	DueAt     time.Time
	CreatedAt time.Time
	UpdatedAt time.Time
	StartedAt time.Time // zero before
	EndedAt   time.Time // zero before
}

const taskColumns = `id, execution_id, kind, status, message, parameters, outcome, attempts, holder, stopping, due_at, created_at, updated_at, started_at, ended_at, COALESCE(lane, '')`

var (
	taskByID         = define("task", `SELECT `+taskColumns+` FROM tasks WHERE id = $1`)
	tasksOfExecution = define("tasks", `SELECT `+taskColumns+` FROM tasks WHERE execution_id = $1 ORDER BY id`)
	dueTasks         = define("due tasks", `
		SELECT `+taskColumns+` FROM tasks WHERE ended_at IS NULL AND kind = $1 AND due_at <= $2`+notPaused+` ORDER BY due_at, id LIMIT $3`)
	// The first task of each lane, of which there are few, however many wait behind them.
	dueHeads = define("due heads of lanes", `
		WITH RECURSIVE lanes (called) AS (
			SELECT MIN(lane) FROM tasks WHERE ended_at IS NULL AND kind = $1 AND lane IS NOT NULL
			UNION ALL
			SELECT (SELECT MIN(t.lane) FROM tasks t WHERE t.ended_at IS NULL AND t.kind = $1 AND t.lane > lanes.called) FROM lanes WHERE lanes.called IS NOT NULL
		)
		SELECT `+taskColumns+` FROM lanes
		JOIN tasks ON id = (SELECT MIN(h.id) FROM tasks h WHERE h.ended_at IS NULL AND h.kind = $1 AND h.lane = lanes.called)
		WHERE due_at <= $2`+notPaused+` ORDER BY due_at, id LIMIT $3`)
	// Up to a number: what comes after it is not counted.
	laneLength = define("length of lanes", `
		SELECT COUNT(*) FROM (SELECT 1 FROM tasks WHERE ended_at IS NULL AND kind = $1 AND lane >= $2 AND lane < $3 LIMIT $4) waiting`)
	dueTask = define("due task", `
		SELECT `+taskColumns+` FROM tasks WHERE id = $1 AND ended_at IS NULL AND due_at <= $2`+notPaused)
	insertTask = define("create task", `
		INSERT INTO tasks (execution_id, kind, status, message, parameters, attempts, holder, stopping, due_at, created_at, updated_at, lane)
		VALUES ($1, $2, 'Pending', '', $3, 0, '', FALSE, $4, $5, $5, NULLIF(CAST($6 AS TEXT), '')) RETURNING `+taskColumns)
	claimTask = define("claim task", `
		UPDATE tasks SET status = 'Running', attempts = attempts + 1, holder = $2, due_at = $3, updated_at = $4, started_at = COALESCE(started_at, $4)
		WHERE id = $1 AND ended_at IS NULL AND attempts = $5 AND holder = $6 AND due_at = $7
		RETURNING `+taskColumns)
	holdTask = define("hold task", `
		UPDATE tasks SET due_at = $4 WHERE id = $1 AND holder = $2 AND attempts = $3 AND status = 'Running' RETURNING stopping`)
	releaseTask = define("release task", `
		UPDATE tasks SET status = $4, message = $5, due_at = $6, updated_at = $7, attempts = $8, lane = NULLIF(CAST($9 AS TEXT), '')
		WHERE id = $1 AND holder = $2 AND attempts = $3 AND status = 'Running'`)
	endTask = define("end task", `
		UPDATE tasks SET status = $4, message = $5, updated_at = $6, ended_at = $6
		WHERE id = $1 AND holder = $2 AND attempts = $3 AND ended_at IS NULL`)
	stoppingTasks = define("stopping tasks", `SELECT id FROM tasks WHERE stopping AND ended_at IS NULL AND holder = $1`)
	stopTask      = define("stop task", `UPDATE tasks SET stopping = TRUE, updated_at = $2 WHERE id = $1 AND ended_at IS NULL`)
	stopIdleTask  = define("stop a task that does not run", `
		UPDATE tasks SET status = 'Stopped', ended_at = $2 WHERE id = $1 AND ended_at IS NULL AND status <> 'Running'`)
	stopTasks = define("stop tasks", `UPDATE tasks SET stopping = TRUE, updated_at = $2 WHERE execution_id = $1 AND ended_at IS NULL`)
	stopIdle  = define("stop tasks that do not run", `
		UPDATE tasks SET status = 'Stopped', ended_at = $2 WHERE execution_id = $1 AND ended_at IS NULL AND status <> 'Running'`)
	appendTaskLog = define("append task log", `
		INSERT INTO task_logs (task_id, sequence, lines)
		SELECT CAST($1 AS BIGINT), COALESCE(MAX(sequence), 0) + 1, CAST($2 AS TEXT) FROM task_logs WHERE task_id = $1`)
	reportTask = define("report task", `UPDATE tasks SET outcome = $4 WHERE id = $1 AND holder = $2 AND attempts = $3 AND ended_at IS NULL`)
	outcomes   = define("outcomes of executions", `
		SELECT execution_id, outcome FROM tasks WHERE execution_id {any id of}$1{these ids}`)
	taskLog = define("task log", `SELECT lines FROM task_logs WHERE task_id = $1 ORDER BY sequence`)
)

func scanTask(r row, t *Task) error {
	return r.Scan(&t.ID, &t.ExecutionID, &t.Kind, &t.Status, &t.Message, &t.Parameters, &t.Outcome, &t.Attempts, &t.Holder, &t.Stopping,
		moment{&t.DueAt}, moment{&t.CreatedAt}, moment{&t.UpdatedAt}, moment{&t.StartedAt}, moment{&t.EndedAt}, &t.Lane)
}

// Task returns a task, or [ErrNotFound].
func (r Reader) Task(ctx context.Context, id int64) (Task, error) {
	return one(ctx, r, taskByID, scanTask, id)
}

// Tasks returns the tasks of an execution in the order of their ids.
func (r Reader) Tasks(ctx context.Context, executionID int64) ([]Task, error) {
	return all(ctx, r, tasksOfExecution, scanTask, executionID)
}

// DueTasks returns up to n tasks of the kind that may be begun at the time, those first that have been due for longest.
func (r Reader) DueTasks(ctx context.Context, kind string, at time.Time, n int) ([]Task, error) {
	return all(ctx, r, dueTasks, scanTask, kind, micros(at), limit(n))
}

// DueHeads is DueTasks for a kind whose tasks are in lanes: none is among them that has one before it in its lane which has not ended.
func (r Reader) DueHeads(ctx context.Context, kind string, at time.Time, n int) ([]Task, error) {
	return all(ctx, r, dueHeads, scanTask, kind, micros(at), limit(n))
}

// LaneLength returns how many tasks of the kind have not ended in the lanes whose names begin with the prefix, which is ASCII; it counts
// up to n.
func (r Reader) LaneLength(ctx context.Context, kind, prefix string, n int) (int64, error) {
	return one(ctx, r, laneLength, value[int64], kind, prefix, prefix+"\x7f", limit(n))
}

// DueTask returns a task that may be begun at the time, or [ErrNotFound].
func (r Reader) DueTask(ctx context.Context, id int64, at time.Time) (Task, error) {
	return one(ctx, r, dueTask, scanTask, id, micros(at))
}

// StoppingTasks returns the ids of the holder's tasks that are to stop.
func (r Reader) StoppingTasks(ctx context.Context, holder string) ([]int64, error) {
	return all(ctx, r, stoppingTasks, value[int64], holder)
}

// CreateTask adds a task to an execution and returns the row. One without a time is due at once.
func (t *Tx) CreateTask(ctx context.Context, task Task) (Task, error) {
	at := now()
	if task.DueAt.IsZero() {
		task.DueAt = at
	}
	return one(ctx, t.Reader, insertTask, scanTask, task.ExecutionID, task.Kind, task.Parameters, micros(task.DueAt), micros(at), task.Lane)
}

// ClaimTask makes the holder the one who runs the task until the time, and returns the row. It returns [ErrConflict] when the task
// is not any more as it was read.
func (t *Tx) ClaimTask(ctx context.Context, task Task, holder string, until time.Time) (Task, error) {
	// Whoever takes several of these rows takes the execution's first.
	if _, err := one(ctx, t.Reader, lockExecution, value[int64], task.ExecutionID); err != nil {
		return Task{}, fmt.Errorf("execution %d: %w", task.ExecutionID, err)
	}
	at := micros(now())
	claimed, err := all(ctx, t.Reader, claimTask, scanTask, task.ID, holder, micros(until), at, task.Attempts, task.Holder, micros(task.DueAt))
	if err != nil {
		return Task{}, err
	}
	if len(claimed) == 0 {
		return Task{}, fmt.Errorf("task %d: %w", task.ID, ErrConflict)
	}
	_, err = t.exec(ctx, startExecution, task.ExecutionID, at)
	return claimed[0], err
}

// HoldTask lets a worker that lives go on until the time, and reports whether it is to stop. It returns [ErrConflict] when the task
// is another's.
func (t *Tx) HoldTask(ctx context.Context, task Task, until time.Time) (stopping bool, err error) {
	held, err := all(ctx, t.Reader, holdTask, value[bool], task.ID, task.Holder, task.Attempts, micros(until))
	if err == nil && len(held) == 0 {
		err = fmt.Errorf("task %d: %w", task.ID, ErrConflict)
	}
	if err != nil {
		return false, err
	}
	return held[0], nil
}

// ReleaseTask gives a task back that another attempt is to follow at the time: with the status and message, as often begun as attempts
// says, and in the lane, "" for none. It returns [ErrConflict] when the task is another's.
func (t *Tx) ReleaseTask(ctx context.Context, task Task, status Status, message string, due time.Time, attempts int, lane string) error {
	changed, err := t.exec(ctx, releaseTask, task.ID, task.Holder, task.Attempts, string(status), message, micros(due), micros(now()), attempts, lane)
	if err == nil && changed == 0 {
		err = fmt.Errorf("task %d: %w", task.ID, ErrConflict)
	}
	return err
}

// EndTask ends a task, and its execution with the last one. It returns [ErrConflict] when the task is another's.
func (t *Tx) EndTask(ctx context.Context, task Task, status Status, message string) error {
	if _, err := one(ctx, t.Reader, lockExecution, value[int64], task.ExecutionID); err != nil {
		return fmt.Errorf("execution %d: %w", task.ExecutionID, err)
	}
	changed, err := t.exec(ctx, endTask, task.ID, task.Holder, task.Attempts, string(status), message, micros(now()))
	if err == nil && changed == 0 {
		err = fmt.Errorf("task %d: %w", task.ID, ErrConflict)
	}
	if err != nil {
		return err
	}
	return t.settleExecution(ctx, task.ExecutionID)
}

// StopTask ends a task that does not run and asks one that runs to stop. It returns [ErrNotFound].
func (t *Tx) StopTask(ctx context.Context, id int64) error {
	task, err := t.Task(ctx, id)
	if err == nil {
		_, err = one(ctx, t.Reader, lockExecution, value[int64], task.ExecutionID)
	}
	if err != nil {
		return fmt.Errorf("task %d: %w", id, err)
	}
	at := micros(now())
	if _, err := t.exec(ctx, stopTask, id, at); err != nil {
		return err
	}
	if _, err := t.exec(ctx, stopIdleTask, id, at); err != nil {
		return err
	}
	return t.settleExecution(ctx, task.ExecutionID)
}

// StopWaiting ends the tasks of an execution that do not run; those that run go on. It returns [ErrNotFound].
func (t *Tx) StopWaiting(ctx context.Context, id int64) error {
	if _, err := one(ctx, t.Reader, lockExecution, value[int64], id); err != nil {
		return fmt.Errorf("execution %d: %w", id, err)
	}
	if _, err := t.exec(ctx, stopIdle, id, micros(now())); err != nil {
		return err
	}
	return t.settleExecution(ctx, id)
}

// StopExecution ends the tasks that do not run and asks those that run to stop. It returns [ErrNotFound].
func (t *Tx) StopExecution(ctx context.Context, id int64) error {
	if _, err := one(ctx, t.Reader, lockExecution, value[int64], id); err != nil {
		return fmt.Errorf("execution %d: %w", id, err)
	}
	at := micros(now())
	if _, err := t.exec(ctx, stopTasks, id, at); err != nil {
		return err
	}
	if _, err := t.exec(ctx, stopIdle, id, at); err != nil {
		return err
	}
	return t.settleExecution(ctx, id)
}

// AppendTaskLog adds whole lines to the log of a task.
func (t *Tx) AppendTaskLog(ctx context.Context, taskID int64, lines string) error {
	_, err := t.exec(ctx, appendTaskLog, taskID, lines)
	return err
}

// TaskLog returns the log of a task as far as it goes.
func (r Reader) TaskLog(ctx context.Context, taskID int64) (string, error) {
	parts, err := all(ctx, r, taskLog, value[string], taskID)
	return strings.Join(parts, ""), err
}

// ReportTask writes what a task has come to so far, a JSON object; nothing when the task is another's.
func (t *Tx) ReportTask(ctx context.Context, task Task, outcome string) error {
	_, err := t.exec(ctx, reportTask, task.ID, task.Holder, task.Attempts, outcome)
	return err
}

// executionOutcome is that of an execution's task.
type executionOutcome struct {
	executionID int64
	outcome     string
}

// Outcomes returns what executions of one task each have come to so far, by the ids of the executions.
func (r Reader) Outcomes(ctx context.Context, executions []int64) (map[int64]string, error) {
	list, err := idList(executions)
	if err != nil || len(executions) == 0 {
		return nil, err
	}
	rows, err := all(ctx, r, outcomes, func(r row, v *executionOutcome) error { return r.Scan(&v.executionID, &v.outcome) }, list)
	found := make(map[int64]string, len(rows))
	for _, row := range rows {
		found[row.executionID] = row.outcome
	}
	return found, err
}
