package metadata

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"time"
)

// Status says how far an execution or a task is, in the words of Harbor's clients.
type Status string

// The statuses. An execution is Pending until its first task begins, Running until its last one ends, and then what its tasks are:
// Error when one failed, else Stopped when one was stopped, else Success.
const (
	StatusPending Status = "Pending"
	StatusRunning Status = "Running"
	// StatusScheduled is a task that failed and waits to be tried again.
	StatusScheduled Status = "Scheduled"
	StatusSuccess   Status = "Success"
	StatusError     Status = "Error"
	StatusStopped   Status = "Stopped"
)

// Execution is one run of work in the background.
type Execution struct {
	ID   int64
	Kind string
	// SubjectID is what it is done for, such as a rule; 0 for the registry itself.
	SubjectID int64
	// Cause is what began it: "MANUAL", "SCHEDULE" or "EVENT".
	Cause   string
	Status  Status
	Message string
	// Parameters are a JSON object.
	Parameters string
	Actor      string
	// UniqueKey is held by at most one execution of the kind that has not ended; "" is no key.
	UniqueKey string
	CreatedAt time.Time
	UpdatedAt time.Time
	StartedAt time.Time // zero before
	EndedAt   time.Time // zero before
}

// Ended reports whether nothing more will happen.
func (e Execution) Ended() bool { return !e.EndedAt.IsZero() }

const executionColumns = `id, kind, subject_id, cause, status, message, parameters, actor, COALESCE(unique_key, ''), created_at, updated_at, started_at, ended_at`

var (
	executionByID   = define("execution", `SELECT `+executionColumns+` FROM executions WHERE id = $1`)
	insertExecution = define("create execution", `
		INSERT INTO executions (kind, subject_id, cause, status, message, parameters, actor, unique_key, created_at, updated_at)
		VALUES ($1, $2, $3, 'Pending', '', $4, $5, $6, $7, $7) RETURNING `+executionColumns)
	lockExecution  = define("lock execution", `SELECT id FROM executions WHERE id = $1 {for update}`)
	startExecution = define("start execution", `
		UPDATE executions SET status = 'Running', started_at = $2, updated_at = $2 WHERE id = $1 AND status = 'Pending'`)
	endExecution = define("end execution", `
		UPDATE executions SET status = (SELECT CASE
				WHEN SUM(CASE WHEN t.status = 'Error' THEN 1 ELSE 0 END) > 0 THEN 'Error'
				WHEN SUM(CASE WHEN t.status = 'Stopped' THEN 1 ELSE 0 END) > 0 THEN 'Stopped'
				ELSE 'Success' END FROM tasks t WHERE t.execution_id = executions.id),
			message = COALESCE((SELECT t.message FROM tasks t WHERE t.execution_id = executions.id AND t.message <> '' ORDER BY t.id LIMIT 1), ''),
			updated_at = $2, ended_at = $2
		WHERE id = $1 AND ended_at IS NULL
			AND NOT EXISTS (SELECT 1 FROM tasks t WHERE t.execution_id = executions.id AND t.ended_at IS NULL)`)
	takeKey = define("take key", `UPDATE executions SET unique_key = $2 WHERE id = $1 AND ended_at IS NULL`)
	// The first task of an execution that has got no further.
	firstTask = define("first task of an execution that waits", `
		SELECT `+taskColumns+` FROM tasks WHERE execution_id = $1 AND ended_at IS NULL AND status <> 'Running'
			AND NOT EXISTS (SELECT 1 FROM tasks other WHERE other.execution_id = $1 AND other.id <> tasks.id)`)
	putTaskParameters      = define("put parameters of a task", `UPDATE tasks SET parameters = $2, updated_at = $3 WHERE id = $1`)
	putExecutionParameters = define("put parameters of an execution", `UPDATE executions SET parameters = $2, updated_at = $3 WHERE id = $1`)

	deleteExecutions = define("delete executions", `
		DELETE FROM executions WHERE id IN (
			SELECT id FROM executions WHERE kind = $1 AND subject_id = $2 AND ended_at IS NOT NULL ORDER BY id DESC LIMIT $3 OFFSET $4)`)

	deleteTaskCounts = define("delete counts of tasks", `
		DELETE FROM list_counts WHERE list >= 'tasks of ' AND list < 'tasks of~' AND owner IN (
			SELECT id FROM executions WHERE kind = $1 AND subject_id = $2 AND ended_at IS NOT NULL ORDER BY id DESC LIMIT $3 OFFSET $4)`)

	executionListing = &listing[Execution]{
		name: "executions", columns: executionColumns, from: "executions", key: "id", order: "id DESC", scan: scanExecution,
		fields: map[string]field{
			"id": {"id", numberField}, "kind": {"kind", textField}, "vendor_type": {"kind", textField}, "subject_id": {"subject_id", numberField}, "status": {"status", textField},
			"job_status": {"status", textField}, "trigger": {"cause", textField}, "creation_time": {"created_at", momentField}, "update_time": {"updated_at", momentField},
		},
	}
)

func scanExecution(r row, e *Execution) error {
	return r.Scan(&e.ID, &e.Kind, &e.SubjectID, &e.Cause, &e.Status, &e.Message, &e.Parameters, &e.Actor, &e.UniqueKey,
		moment{&e.CreatedAt}, moment{&e.UpdatedAt}, moment{&e.StartedAt}, moment{&e.EndedAt})
}

// Execution returns an execution, or [ErrNotFound].
func (r Reader) Execution(ctx context.Context, id int64) (Execution, error) {
	return one(ctx, r, executionByID, scanExecution, id)
}

// Executions returns a page of the executions of a kind, "" for all, the newest first unless the query orders otherwise, and the number
// on all pages.
func (r Reader) Executions(ctx context.Context, kind string, q Query) ([]Execution, int64, error) {
	if kind == "" {
		return executionListing.list(ctx, r, q, kept("executions", 0), "")
	}
	return executionListing.list(ctx, r, q, kept("executions of "+kind, 0), "kind = $1", kind)
}

// CreateExecution adds an execution without tasks and returns the row. It returns [ErrExists] while another one holds its key.
func (t *Tx) CreateExecution(ctx context.Context, e Execution) (Execution, error) {
	key := sql.NullString{String: e.UniqueKey, Valid: e.UniqueKey != ""}
	created, err := one(ctx, t.Reader, insertExecution, scanExecution, e.Kind, e.SubjectID, e.Cause, e.Parameters, e.Actor, key, micros(now()))
	if err != nil {
		return Execution{}, fmt.Errorf("execution of %s: %w", e.Kind, err)
	}
	return created, nil
}

// TakeKey gives an execution that has not ended the key of those of its kind of which one at a time may run. It returns [ErrExists]
// while another one holds it, and [ErrNotFound] for an execution that has ended.
func (t *Tx) TakeKey(ctx context.Context, executionID int64, key string) error {
	if err := t.execOne(ctx, takeKey, executionID, key); err != nil {
		return fmt.Errorf("key of execution %d: %w", executionID, err)
	}
	return nil
}

// FirstTask returns the only task that an execution has so far, while it does not run, and keeps it from being begun until the
// transaction ends. It returns [ErrNotFound] when the execution has got further.
func (t *Tx) FirstTask(ctx context.Context, executionID int64) (Task, error) {
	if _, err := one(ctx, t.Reader, lockExecution, value[int64], executionID); err != nil {
		return Task{}, fmt.Errorf("execution %d: %w", executionID, err)
	}
	return one(ctx, t.Reader, firstTask, scanTask, executionID)
}

// PutParameters changes what an execution is to do, whose first task [Tx.FirstTask] has returned.
func (t *Tx) PutParameters(ctx context.Context, first Task, parameters string) error {
	at := micros(now())
	if _, err := t.exec(ctx, putTaskParameters, first.ID, parameters, at); err != nil {
		return err
	}
	_, err := t.exec(ctx, putExecutionParameters, first.ExecutionID, parameters, at)
	return err
}

// settleExecution ends an execution whose tasks have all ended. The caller has locked it.
func (t *Tx) settleExecution(ctx context.Context, id int64) error {
	_, err := t.exec(ctx, endExecution, id, micros(now()))
	return err
}

// DeleteExecutions deletes, with their tasks and logs, the ended executions of a kind and subject but for the newest.
func (t *Tx) DeleteExecutions(ctx context.Context, kind string, subjectID int64, keep int) error {
	if _, err := t.exec(ctx, deleteTaskCounts, kind, subjectID, int64(math.MaxInt32), int64(keep)); err != nil {
		return err
	}
	_, err := t.exec(ctx, deleteExecutions, kind, subjectID, int64(math.MaxInt32), int64(keep))
	return err
}
