package metadata

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// ReplicationFilter is a condition on what is replicated.
type ReplicationFilter struct {
	// Kind is what it looks at: "name", "tag", "label", "resource" or "platform".
	Kind string `json:"type"`
	// Values are a pattern, or words of which each counts.
	Values []string `json:"values"`
	// Exclude turns it round.
	Exclude bool `json:"exclude,omitempty"`
}

// ReplicationPolicy says what is copied from a registry elsewhere to this one, or from this one to another.
type ReplicationPolicy struct {
	ID          int64
	Name        string
	Description string
	// Creator is the name of who made it.
	Creator string
	// SourceID or DestinationID is that of the registry elsewhere; the other one is 0, for this registry.
	SourceID, DestinationID int64
	// Namespace is what takes the place of the first Replaced parts of a repository's name at the destination, -1 of all but the last.
	Namespace string
	Replaced  int
	Filters   []ReplicationFilter
	// Cause is what begins an execution besides people: "manual" for nothing, "scheduled" for Cron, "event_based" for pushes.
	Cause, Cron string
	// Deletes deletes at the destination what is deleted at the source, Overrides moves tags there that stand for something else.
	Deletes, Overrides bool
	Enabled            bool
	// Single keeps an execution from beginning while another one runs: what people and schedules want is refused, what events want waits.
	Single bool
	// ByChunk asks for transfers in pieces.
	ByChunk bool
	// Speed is the most that is transferred, in KiB each second; 0 is no limit.
	Speed     int64
	CreatedAt time.Time
	UpdatedAt time.Time
}

const replicationPolicyColumns = `id, name, description, creator, COALESCE(source_id, 0), COALESCE(destination_id, 0), namespace, replaced, filters, cause, cron,
	deletes, overrides, enabled, single, by_chunk, speed, created_at, updated_at`

var (
	replicationPolicyByID    = define("replication policy", `SELECT `+replicationPolicyColumns+` FROM replication_policies WHERE id = $1`)
	keepReplicationPolicy    = define("keep replication policy", `SELECT `+replicationPolicyColumns+` FROM replication_policies WHERE id = $1 {for key share}`)
	eventReplicationPolicies = define("replication policies of events", `
		SELECT `+replicationPolicyColumns+` FROM replication_policies WHERE cause = 'event_based' AND enabled ORDER BY id`)
	insertReplicationPolicy = define("create replication policy", `
		INSERT INTO replication_policies (name, description, creator, source_id, destination_id, namespace, replaced, filters, cause, cron,
			deletes, overrides, enabled, single, by_chunk, speed, created_at, updated_at)
		VALUES ($1, $2, $3, NULLIF(CAST($4 AS BIGINT), 0), NULLIF(CAST($5 AS BIGINT), 0), $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $17)
		RETURNING `+replicationPolicyColumns)
	updateReplicationPolicy = define("update replication policy", `
		UPDATE replication_policies SET name = $2, description = $3, source_id = NULLIF(CAST($4 AS BIGINT), 0),
			destination_id = NULLIF(CAST($5 AS BIGINT), 0), namespace = $6, replaced = $7, filters = $8, cause = $9, cron = $10, deletes = $11,
			overrides = $12, enabled = $13, single = $14, by_chunk = $15, speed = $16, updated_at = $17
		WHERE id = $1`)
	deleteReplicationPolicy = define("delete replication policy", `DELETE FROM replication_policies WHERE id = $1`)
)

func scanReplicationPolicy(r row, v *ReplicationPolicy) error {
	var filters []byte
	err := r.Scan(&v.ID, &v.Name, &v.Description, &v.Creator, &v.SourceID, &v.DestinationID, &v.Namespace, &v.Replaced, &filters, &v.Cause, &v.Cron,
		&v.Deletes, &v.Overrides, &v.Enabled, &v.Single, &v.ByChunk, &v.Speed, moment{&v.CreatedAt}, moment{&v.UpdatedAt})
	if err != nil {
		return err
	}
	if err := json.Unmarshal(filters, &v.Filters); err != nil {
		return fmt.Errorf("replication policy %d: %w", v.ID, err)
	}
	return nil
}

var replicationPolicyListing = &listing[ReplicationPolicy]{
	name: "list replication policies", columns: replicationPolicyColumns, from: "replication_policies", key: "id", order: "name, id", scan: scanReplicationPolicy,
	fields: map[string]field{
		"id": {"id", numberField}, "name": {"name", textField}, "description": {"description", textField}, "enabled": {"enabled", switchField},
		"src_registry_id": {"COALESCE(source_id, 0)", numberField}, "dest_registry_id": {"COALESCE(destination_id, 0)", numberField},
		"creation_time": {"created_at", momentField}, "update_time": {"updated_at", momentField},
	},
}

// ReplicationPolicy returns a policy, or [ErrNotFound].
func (r Reader) ReplicationPolicy(ctx context.Context, id int64) (ReplicationPolicy, error) {
	return one(ctx, r, replicationPolicyByID, scanReplicationPolicy, id)
}

// ListReplicationPolicies returns a page of the policies, by name unless the query orders otherwise, and the number on all pages. The
// error wraps [ErrQuery] when they cannot be filtered like that.
func (r Reader) ListReplicationPolicies(ctx context.Context, q Query) ([]ReplicationPolicy, int64, error) {
	return replicationPolicyListing.list(ctx, r, q, kept("replication policies", 0), "")
}

// EventReplicationPolicies returns the enabled policies that pushes and deletions begin, of which there are few.
func (r Reader) EventReplicationPolicies(ctx context.Context) ([]ReplicationPolicy, error) {
	return all(ctx, r, eventReplicationPolicies, scanReplicationPolicy)
}

// KeepReplicationPolicy returns a policy, or [ErrNotFound], and keeps it from being deleted until the transaction ends.
func (t *Tx) KeepReplicationPolicy(ctx context.Context, id int64) (ReplicationPolicy, error) {
	return one(ctx, t.Reader, keepReplicationPolicy, scanReplicationPolicy, id)
}

// CreateReplicationPolicy adds a policy and returns the row. It returns [ErrExists] when the name is taken, and [ErrNotFound] when
// there is no such registry.
func (t *Tx) CreateReplicationPolicy(ctx context.Context, v ReplicationPolicy) (ReplicationPolicy, error) {
	filters, err := json.Marshal(v.Filters)
	if err != nil {
		return ReplicationPolicy{}, fmt.Errorf("filters of replication policy: %w", err)
	}
	created, err := one(ctx, t.Reader, insertReplicationPolicy, scanReplicationPolicy, v.Name, v.Description, v.Creator, v.SourceID, v.DestinationID,
		v.Namespace, v.Replaced, string(filters), v.Cause, v.Cron, v.Deletes, v.Overrides, v.Enabled, v.Single, v.ByChunk, v.Speed, micros(now()))
	if err != nil {
		return ReplicationPolicy{}, fmt.Errorf("replication policy %q: %w", v.Name, err)
	}
	return created, nil
}

// UpdateReplicationPolicy writes everything of a policy but its creator. It returns [ErrNotFound], also when there is no such
// registry, and [ErrExists] when the new name is taken.
func (t *Tx) UpdateReplicationPolicy(ctx context.Context, v ReplicationPolicy) error {
	filters, err := json.Marshal(v.Filters)
	if err != nil {
		return fmt.Errorf("filters of replication policy: %w", err)
	}
	err = t.execOne(ctx, updateReplicationPolicy, v.ID, v.Name, v.Description, v.SourceID, v.DestinationID, v.Namespace, v.Replaced, string(filters),
		v.Cause, v.Cron, v.Deletes, v.Overrides, v.Enabled, v.Single, v.ByChunk, v.Speed, micros(now()))
	if err != nil {
		return fmt.Errorf("replication policy %q: %w", v.Name, err)
	}
	return nil
}

// DeleteReplicationPolicy removes a policy, or returns [ErrNotFound].
func (t *Tx) DeleteReplicationPolicy(ctx context.Context, id int64) error {
	return t.execOne(ctx, deleteReplicationPolicy, id)
}

var (
	activeExecutions = define("active executions", `
		SELECT id FROM executions WHERE kind = $1 AND subject_id = $2 AND ended_at IS NULL ORDER BY id`)
	countTasks = define("count tasks", `
		SELECT execution_id, status, COUNT(*) FROM tasks
		WHERE execution_id {any id of}$1{these ids} AND kind = $2 GROUP BY execution_id, status`)
)

// Few tasks need no counts.
var keepTaskCounts = define("keep counts of tasks", `
	INSERT INTO list_counts (list, owner, part, entries, fresh)
	SELECT 'tasks of ' || CAST($2 AS TEXT), CAST($1 AS BIGINT), id / 1024, COUNT(*), FALSE FROM tasks
	WHERE execution_id = $1 AND kind = $2
		AND EXISTS (SELECT 1 FROM tasks few WHERE few.execution_id = $1 AND few.kind = $2 ORDER BY few.id LIMIT 1 OFFSET 1000)
	GROUP BY id / 1024 ORDER BY id / 1024
	ON CONFLICT (list, owner, part) WHERE NOT fresh DO UPDATE SET entries = excluded.entries`)

var taskListing = &listing[Task]{
	name: "list tasks", columns: taskColumns, from: "tasks", key: "id", order: "id", scan: scanTask,
	fields: map[string]field{
		"id": {"id", numberField}, "status": {"status", textField}, "parameters": {"parameters", textField},
		"start_time": {"started_at", momentField}, "creation_time": {"created_at", momentField},
	},
}

// ActiveExecutions returns the ids of the executions of a kind and subject that have not ended.
func (r Reader) ActiveExecutions(ctx context.Context, kind string, subjectID int64) ([]int64, error) {
	return all(ctx, r, activeExecutions, value[int64], kind, subjectID)
}

// ListTasks returns a page of an execution's tasks of a kind, "" for all, in the order of their ids unless the query orders otherwise,
// and the number on all pages.
func (r Reader) ListTasks(ctx context.Context, executionID int64, kind string, q Query) ([]Task, int64, error) {
	if kind == "" {
		return taskListing.list(ctx, r, q, nil, "execution_id = $1", executionID)
	}
	const where = "execution_id = $1 AND kind = $2"
	parts, err := all(ctx, r, listParts, scanListPart(partWidth), "tasks of "+kind, executionID)
	if err != nil {
		return nil, 0, err
	}
	var whole length
	if len(parts) > 0 {
		whole = known(parts)
	}
	return taskListing.list(ctx, r, q, whole, where, executionID, kind)
}

// KeepTaskCounts counts the tasks of a kind that an execution has, to which no others are added any more, so that pages of many are found
// by their number.
func (t *Tx) KeepTaskCounts(ctx context.Context, executionID int64, kind string) error {
	_, err := t.exec(ctx, keepTaskCounts, executionID, kind)
	return err
}

// counted is a row of countTasks.
type counted struct {
	executionID int64
	status      Status
	n           int64
}

// CountTasks returns how many tasks of a kind each of the executions has, by status.
func (r Reader) CountTasks(ctx context.Context, kind string, executions []int64) (map[int64]map[Status]int64, error) {
	ids, err := idList(executions)
	if err != nil {
		return nil, err
	}
	rows, err := all(ctx, r, countTasks, func(r row, c *counted) error { return r.Scan(&c.executionID, &c.status, &c.n) }, ids, kind)
	counts := map[int64]map[Status]int64{}
	for _, c := range rows {
		if counts[c.executionID] == nil {
			counts[c.executionID] = map[Status]int64{}
		}
		counts[c.executionID][c.status] = c.n
	}
	return counts, err
}
