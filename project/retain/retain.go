// Package retain keeps of a project what its rules say, and deletes the rest: policies, their schedules, and the work in the background
// that follows them, one task for each repository.
package retain

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/jobs"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/policy/retention"
)

// metadataKey is the key of a project's metadata that has the id of its policy.
const metadataKey = "retention_id"

// Policy says what is kept of a project, and when the rest is deleted.
type Policy struct {
	ID        int64
	ProjectID int64
	Rules     []Rule
	// Cron has six fields, seconds first, in UTC; "" is for by hand only.
	Cron string
	// ScheduleID and NextAt are of the schedule; zero without one.
	ScheduleID int64
	NextAt     time.Time
}

// Policies administers the policies of projects. Whether somebody may do it is the caller's to ask. Errors that a person can do
// something about are [*fault.Error].
type Policies struct {
	store *metadata.Store
	jobs  *jobs.Jobs
}

// New returns the policies of a store; the jobs do [Retaining].
func New(store *metadata.Store, j *jobs.Jobs) *Policies { return &Policies{store, j} }

// Get returns a policy. The error wraps [metadata.ErrNotFound] when there is none.
func (p *Policies) Get(ctx context.Context, id int64) (Policy, error) {
	row, err := p.store.RetentionPolicy(ctx, id)
	if err != nil {
		return Policy{}, fmt.Errorf("retention policy %d: %w", id, err)
	}
	policy := Policy{ID: row.ID, ProjectID: row.ProjectID}
	if err := json.Unmarshal([]byte(row.Rules), &policy.Rules); err != nil {
		return Policy{}, fmt.Errorf("rules of retention policy %d: %w", id, err)
	}
	schedule, err := p.store.Schedule(ctx, Kind, id)
	if errors.Is(err, metadata.ErrNotFound) {
		return policy, nil
	}
	policy.Cron, policy.ScheduleID, policy.NextAt = schedule.Cron, schedule.ID, schedule.NextAt
	return policy, err
}

// Create gives a project its policy and returns the id. The error is a [*fault.Error] of Invalid for rules or a cron that cannot be
// meant, and when the project has a policy.
func (p *Policies) Create(ctx context.Context, actor event.Actor, project metadata.Project, policy Policy) (id int64, err error) {
	err = p.store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		id, err = p.CreateWith(ctx, tx, actor, project, policy)
		return err
	})
	return id, err
}

// CreateWith is Create within the transaction of what makes the policy needed.
func (p *Policies) CreateWith(ctx context.Context, tx *metadata.Tx, actor event.Actor, project metadata.Project, policy Policy) (id int64, err error) {
	rules, err := checked(policy.Rules)
	if err != nil {
		return 0, err
	}
	row, err := tx.CreateRetentionPolicy(ctx, metadata.RetentionPolicy{ProjectID: project.ID, Rules: rules})
	if errors.Is(err, metadata.ErrExists) {
		return 0, fault.New(fault.Invalid, "project %s has a retention policy already: change that", project.Name)
	}
	if err != nil {
		return 0, err
	}
	if err := tx.SetProjectMetadata(ctx, project.ID, metadataKey, strconv.FormatInt(row.ID, 10)); err != nil {
		return 0, err
	}
	if err := p.schedule(ctx, tx, row.ID, policy.Cron); err != nil {
		return 0, err
	}
	return row.ID, appendEvent(ctx, tx, actor, project, event.RetentionPolicyCreated)
}

// ForCaches is the policy that a project begins with that is a cache of another registry: what nobody has pulled for a week goes, by
// night, unless it came within the last day.
func ForCaches() Policy {
	rule := func(id int64, template retention.Template, days int) Rule {
		return Rule{
			ID: id, Action: Action, Template: string(template), Params: map[string]any{string(template): float64(days)},
			TagSelectors:   []Selector{{Kind: Doublestar, Decoration: Matches, Pattern: "**", Extras: `{"untagged":true}`}},
			ScopeSelectors: map[string][]Selector{Repository: {{Kind: Doublestar, Decoration: RepoMatches, Pattern: "**"}}},
		}
	}
	return Policy{Rules: []Rule{rule(1, retention.PulledWithin, 7), rule(2, retention.PushedWithin, 1)}, Cron: "0 0 0 * * *"}
}

// Update changes the rules and the schedule of a policy.
func (p *Policies) Update(ctx context.Context, actor event.Actor, project metadata.Project, policy Policy) error {
	return p.change(ctx, actor, project, event.RetentionPolicyUpdated, func(ctx context.Context, tx *metadata.Tx) error {
		rules, err := checked(policy.Rules)
		if err != nil {
			return err
		}
		if err := tx.UpdateRetentionPolicy(ctx, policy.ID, rules); err != nil {
			return err
		}
		return p.schedule(ctx, tx, policy.ID, policy.Cron)
	})
}

// Delete removes a policy with its schedule; from then on everything is kept.
func (p *Policies) Delete(ctx context.Context, actor event.Actor, project metadata.Project, id int64) error {
	return p.change(ctx, actor, project, event.RetentionPolicyDeleted, func(ctx context.Context, tx *metadata.Tx) error {
		if err := tx.DeleteRetentionPolicy(ctx, id); err != nil {
			return err
		}
		if err := tx.DeleteProjectMetadata(ctx, project.ID, metadataKey); err != nil && !errors.Is(err, metadata.ErrNotFound) {
			return err
		}
		return p.schedule(ctx, tx, id, "")
	})
}

func checked(rules []Rule) (string, error) {
	if _, err := parseAll(rules); err != nil {
		return "", err
	}
	return encode(rules)
}

// schedule sets or removes the schedule of a policy.
func (p *Policies) schedule(ctx context.Context, tx *metadata.Tx, id int64, cron string) error {
	if cron == "" {
		if err := tx.DeleteSchedule(ctx, Kind, id); err != nil && !errors.Is(err, metadata.ErrNotFound) {
			return err
		}
		return nil
	}
	_, err := p.jobs.SetSchedule(ctx, tx, jobs.Scheduling{Kind: Kind, SubjectID: id, Cadence: "Custom", Cron: cron, Parameters: parameters{}})
	return err
}

func (p *Policies) change(ctx context.Context, actor event.Actor, project metadata.Project, kind event.Kind, fn func(ctx context.Context, tx *metadata.Tx) error) error {
	return p.store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		if err := fn(ctx, tx); err != nil {
			return err
		}
		return appendEvent(ctx, tx, actor, project, kind)
	})
}

func appendEvent(ctx context.Context, tx *metadata.Tx, actor event.Actor, project metadata.Project, kind event.Kind) error {
	e := actor.Event(kind)
	e.Project = project.Name
	return tx.AppendEvent(ctx, e)
}

// Start begins to delete what the rules do not keep, or, in a dry run, to tell it.
func (p *Policies) Start(ctx context.Context, actor event.Actor, project metadata.Project, policy Policy, dryRun bool) (metadata.Execution, error) {
	var execution metadata.Execution
	err := p.change(ctx, actor, project, event.JobStarted, func(ctx context.Context, tx *metadata.Tx) (err error) {
		execution, err = p.jobs.Begin(ctx, tx, jobs.Submission{
			Kind: Kind, SubjectID: policy.ID, Cause: jobs.CauseManual, Actor: actor.Name, Parameters: parameters{DryRun: dryRun},
		})
		return err
	})
	if err == nil {
		p.jobs.Wake()
	}
	return execution, err
}

// Stop stops an execution; what is deleted stays so. The error wraps [metadata.ErrNotFound] when the policy has no such execution.
func (p *Policies) Stop(ctx context.Context, actor event.Actor, project metadata.Project, policyID, id int64) error {
	if _, err := p.Execution(ctx, policyID, id); err != nil {
		return err
	}
	return p.jobs.Stop(ctx, id, func(ctx context.Context, tx *metadata.Tx) error {
		return appendEvent(ctx, tx, actor, project, event.JobStopped)
	})
}

// Execution returns an execution of a policy. The error wraps [metadata.ErrNotFound] when the policy has none of that id.
func (p *Policies) Execution(ctx context.Context, policyID, id int64) (metadata.Execution, error) {
	execution, err := p.store.Execution(ctx, id)
	if err == nil && (execution.Kind != Kind || execution.SubjectID != policyID) {
		err = metadata.ErrNotFound
	}
	if err != nil {
		return metadata.Execution{}, fmt.Errorf("execution %d of retention policy %d: %w", id, policyID, err)
	}
	return execution, nil
}

// Executions returns a page of the executions of a policy, the newest first, and how many there are.
func (p *Policies) Executions(ctx context.Context, policyID int64, q metadata.Query) ([]metadata.Execution, int64, error) {
	q.Conditions = append([]metadata.Condition{{Field: "subject_id", Comparison: metadata.Equal, Values: []any{policyID}}}, q.Conditions...)
	return p.store.Executions(ctx, Kind, q)
}

// Task is what an execution does about one repository.
type Task struct {
	metadata.Task
	Result
	// Repository is the name within the project.
	Repository string
}

// Tasks returns a page of the tasks of an execution, and how many there are.
func (p *Policies) Tasks(ctx context.Context, policyID, executionID int64, q metadata.Query) ([]Task, int64, error) {
	if _, err := p.Execution(ctx, policyID, executionID); err != nil {
		return nil, 0, err
	}
	rows, total, err := p.store.ListTasks(ctx, executionID, RepositoryKind, q)
	if err != nil {
		return nil, 0, err
	}
	tasks := make([]Task, len(rows))
	for i, row := range rows {
		if tasks[i], err = taskOf(row); err != nil {
			return nil, 0, err
		}
	}
	return tasks, total, nil
}

func taskOf(row metadata.Task) (Task, error) {
	task := Task{Task: row}
	var p parameters
	if err := json.Unmarshal([]byte(row.Parameters), &p); err != nil {
		return task, fmt.Errorf("parameters of task %d: %w", row.ID, err)
	}
	task.Repository = p.Repository
	if err := json.Unmarshal([]byte(row.Outcome), &task.Result); err != nil {
		return task, fmt.Errorf("outcome of task %d: %w", row.ID, err)
	}
	return task, nil
}

// Log returns what a task of an execution has to say. The error wraps [metadata.ErrNotFound] when there is no such task.
func (p *Policies) Log(ctx context.Context, policyID, executionID, taskID int64) (string, error) {
	if _, err := p.Execution(ctx, policyID, executionID); err != nil {
		return "", err
	}
	task, err := p.store.Task(ctx, taskID)
	if err == nil && task.ExecutionID != executionID {
		err = metadata.ErrNotFound
	}
	if err != nil {
		return "", fmt.Errorf("task %d of execution %d: %w", taskID, executionID, err)
	}
	return p.store.TaskLog(ctx, taskID)
}

// IsDryRun reports whether an execution deletes nothing.
func IsDryRun(e metadata.Execution) bool {
	var p parameters
	return json.Unmarshal([]byte(e.Parameters), &p) == nil && p.DryRun
}
