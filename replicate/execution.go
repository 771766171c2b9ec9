package replicate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/jobs"
	"github.com/berth-registry/berth/metadata"
)

// Counts are how many tasks of an execution there are, by how far they are.
type Counts struct{ Total, Succeeded, Failed, InProgress, Stopped int64 }

// Execution is one run of a policy.
type Execution struct {
	metadata.Execution
	Counts
}

// Start begins an execution of a policy; a dry run lists in its log what would be moved. The error is a [*fault.Error]: NotFound, or
// Precondition when the policy is disabled.
func (p *Policies) Start(ctx context.Context, actor event.Actor, policyID int64, dryRun bool) (metadata.Execution, error) {
	policy, err := p.enabled(ctx, policyID)
	if err != nil {
		return metadata.Execution{}, err
	}
	return p.submit(ctx, actor, policy, jobs.CauseManual, plan{Policy: policy.ID, DryRun: dryRun})
}

// Retry begins an execution with what failed, or was not done, in another one that has ended. The error is a [*fault.Error]: NotFound,
// or Precondition when the execution runs, nothing of it failed, or the policy is disabled.
func (p *Policies) Retry(ctx context.Context, actor event.Actor, executionID int64) (metadata.Execution, error) {
	execution, err := p.Execution(ctx, executionID)
	if err != nil {
		return metadata.Execution{}, err
	}
	if !execution.Ended() {
		return metadata.Execution{}, fault.New(fault.Precondition, "execution %d is still running", executionID)
	}
	policy, err := p.enabled(ctx, execution.SubjectID)
	if err != nil {
		return metadata.Execution{}, err
	}
	tasks, _, err := p.options.Store.ListTasks(ctx, executionID, MoveKind, metadata.Query{Limit: -1, Conditions: []metadata.Condition{{
		Field: "status", Comparison: metadata.AnyOf, Values: []any{string(metadata.StatusError), string(metadata.StatusStopped)},
	}}})
	if err != nil {
		return metadata.Execution{}, err
	}
	if len(tasks) == 0 {
		return metadata.Execution{}, fault.New(fault.Precondition, "nothing of execution %d has failed", executionID)
	}
	again := plan{Policy: policy.ID}
	for _, task := range tasks {
		move, err := MoveOf(task)
		if err != nil {
			return metadata.Execution{}, err
		}
		if progress := ProgressOf(task); task.Status == metadata.StatusError && len(progress.Failures) == progress.Failed && progress.Failed > 0 {
			move.References = move.References[:0]
			for _, failure := range progress.Failures {
				move.References = append(move.References, failure.Reference)
			}
		}
		again.Moves = append(again.Moves, move)
	}
	return p.submit(ctx, actor, policy, jobs.CauseManual, again)
}

func (p *Policies) enabled(ctx context.Context, policyID int64) (metadata.ReplicationPolicy, error) {
	policy, err := p.options.Store.ReplicationPolicy(ctx, policyID)
	if err != nil {
		return policy, policyError("", err)
	}
	if !policy.Enabled {
		return policy, fault.New(fault.Precondition, "the policy %q is disabled", policy.Name)
	}
	return policy, nil
}

func (p *Policies) submit(ctx context.Context, actor event.Actor, policy metadata.ReplicationPolicy, cause string, parameters plan) (metadata.Execution, error) {
	var execution metadata.Execution
	err := p.change(ctx, actor, event.JobStarted, Kind, func(ctx context.Context, tx *metadata.Tx) (err error) {
		if _, err := tx.KeepReplicationPolicy(ctx, policy.ID); err != nil {
			return err
		}
		execution, err = p.jobs.Begin(ctx, tx, jobs.Submission{Kind: Kind, SubjectID: policy.ID, Cause: cause, Actor: actor.Name, Parameters: parameters})
		return err
	})
	if err == nil {
		p.jobs.Wake()
	}
	return execution, policyError(policy.Name, err)
}

// Stop stops an execution: its transfers end at once. The error is a [*fault.Error] of kind NotFound.
func (p *Policies) Stop(ctx context.Context, actor event.Actor, executionID int64) error {
	if _, err := p.known(ctx, executionID); err != nil {
		return err
	}
	return p.jobs.Stop(ctx, executionID, func(ctx context.Context, tx *metadata.Tx) error {
		return appendEvent(ctx, tx, actor, event.JobStopped, Kind)
	})
}

// known returns an execution without its counts.
func (p *Policies) known(ctx context.Context, id int64) (metadata.Execution, error) {
	row, err := p.options.Store.Execution(ctx, id)
	if err == nil && row.Kind != Kind {
		err = metadata.ErrNotFound
	}
	if errors.Is(err, metadata.ErrNotFound) {
		return row, fault.Because(err, fault.NotFound, "execution %d of replication not found", id)
	}
	return row, err
}

// Execution returns an execution. The error is a [*fault.Error] of kind NotFound.
func (p *Policies) Execution(ctx context.Context, id int64) (Execution, error) {
	row, err := p.known(ctx, id)
	if err != nil {
		return Execution{}, err
	}
	counted, err := p.count(ctx, []metadata.Execution{row})
	if err != nil {
		return Execution{}, err
	}
	return counted[0], nil
}

// Executions returns a page of the executions, the newest first, and the number on all pages.
func (p *Policies) Executions(ctx context.Context, q metadata.Query) ([]Execution, int64, error) {
	rows, total, err := p.options.Store.Executions(ctx, Kind, q)
	if err != nil {
		return nil, 0, err
	}
	counted, err := p.count(ctx, rows)
	return counted, total, err
}

func (p *Policies) count(ctx context.Context, rows []metadata.Execution) ([]Execution, error) {
	ids := make([]int64, len(rows))
	for i, row := range rows {
		ids[i] = row.ID
	}
	counts, err := p.options.Store.CountTasks(ctx, MoveKind, ids)
	if err != nil {
		return nil, err
	}
	executions := make([]Execution, len(rows))
	for i, row := range rows {
		executions[i].Execution = row
		c := &executions[i].Counts
		for status, n := range counts[row.ID] {
			c.Total += n
			switch status {
			case metadata.StatusSuccess:
				c.Succeeded += n
			case metadata.StatusError:
				c.Failed += n
			case metadata.StatusStopped:
				c.Stopped += n
			default:
				c.InProgress += n
			}
		}
	}
	return executions, nil
}

// Tasks returns a page of an execution's tasks, and the number on all pages: one for each repository, or the one that found out what
// there is to do where there are none. The error is a [*fault.Error] of kind NotFound.
func (p *Policies) Tasks(ctx context.Context, executionID int64, q metadata.Query) ([]metadata.Task, int64, error) {
	if _, err := p.known(ctx, executionID); err != nil {
		return nil, 0, err
	}
	_, moves, err := p.options.Store.ListTasks(ctx, executionID, MoveKind, metadata.Query{Limit: 1})
	if err != nil {
		return nil, 0, err
	}
	kind := MoveKind
	if moves == 0 {
		kind = Kind
	}
	return p.options.Store.ListTasks(ctx, executionID, kind, q)
}

// Log returns the log of a task as far as it goes. The error is a [*fault.Error] of kind NotFound.
func (p *Policies) Log(ctx context.Context, executionID, taskID int64) (string, error) {
	task, err := p.options.Store.Task(ctx, taskID)
	if errors.Is(err, metadata.ErrNotFound) || err == nil && (task.ExecutionID != executionID || task.Kind != MoveKind && task.Kind != Kind) {
		return "", fault.New(fault.NotFound, "task %d of execution %d of replication not found", taskID, executionID)
	}
	if err != nil {
		return "", err
	}
	return p.options.Store.TaskLog(ctx, taskID)
}

// MoveOf returns what a task does; that of the task which finds out what there is to do is empty.
func MoveOf(task metadata.Task) (Move, error) {
	var move Move
	if task.Kind != MoveKind {
		return move, nil
	}
	if err := json.Unmarshal([]byte(task.Parameters), &move); err != nil {
		return move, fmt.Errorf("task %d: %w", task.ID, err)
	}
	return move, nil
}
