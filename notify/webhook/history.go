package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/jobs"
	"github.com/berth-registry/berth/metadata"
)

// Delivered is a delivery as a person reads it: the task, and what the receiver has said last, with status 0 when it has said nothing.
type Delivered struct {
	metadata.Task
	Answer metadata.WebhookAnswer
}

// Executions returns a page of the deliveries of a webhook, the newest first unless the query orders otherwise, and the number on all
// pages. The error is a [*fault.Error] of NotFound for the webhook.
func (p *Policies) Executions(ctx context.Context, project metadata.Project, id int64, q metadata.Query) ([]metadata.Execution, int64, error) {
	if _, err := p.Get(ctx, project, id); err != nil {
		return nil, 0, err
	}
	q.Conditions = append([]metadata.Condition{{Field: "subject_id", Comparison: metadata.Equal, Values: []any{id}}}, q.Conditions...)
	return p.options.Store.Executions(ctx, Kind, q)
}

// Tasks returns the tasks of an execution, of which there is one for the receiver. The error is a [*fault.Error] of NotFound.
func (p *Policies) Tasks(ctx context.Context, project metadata.Project, id, executionID int64) ([]Delivered, error) {
	if err := p.checkExecution(ctx, project, id, executionID); err != nil {
		return nil, err
	}
	tasks, err := p.options.Store.Tasks(ctx, executionID)
	if err != nil {
		return nil, err
	}
	answers, err := p.options.Store.WebhookAnswers(ctx, executionID)
	if err != nil {
		return nil, err
	}
	of := map[int64]metadata.WebhookAnswer{}
	for _, answer := range answers {
		of[answer.TaskID] = answer
	}
	delivered := make([]Delivered, len(tasks))
	for i, task := range tasks {
		delivered[i] = Delivered{task, of[task.ID]}
	}
	return delivered, nil
}

// Log returns the log of a task. The error is a [*fault.Error] of NotFound.
func (p *Policies) Log(ctx context.Context, project metadata.Project, id, executionID, taskID int64) (string, error) {
	if err := p.checkExecution(ctx, project, id, executionID); err != nil {
		return "", err
	}
	task, err := p.options.Store.Task(ctx, taskID)
	if errors.Is(err, metadata.ErrNotFound) || err == nil && task.ExecutionID != executionID {
		return "", fault.New(fault.NotFound, "task %d not found", taskID)
	}
	if err != nil {
		return "", err
	}
	return p.options.Store.TaskLog(ctx, taskID)
}

// checkExecution refuses an execution that is not one of the webhook's.
func (p *Policies) checkExecution(ctx context.Context, project metadata.Project, id, executionID int64) error {
	if _, err := p.Get(ctx, project, id); err != nil {
		return err
	}
	execution, err := p.options.Store.Execution(ctx, executionID)
	if errors.Is(err, metadata.ErrNotFound) || err == nil && (execution.Kind != Kind || execution.SubjectID != id) {
		return fault.New(fault.NotFound, "execution %d not found", executionID)
	}
	return err
}

// Redeliver delivers what a delivery that has ended was to deliver, once more and with the same id, and returns the new execution. The
// error is a [*fault.Error]: NotFound, or Precondition for one that has not ended, or whose payload was never made.
func (p *Policies) Redeliver(ctx context.Context, actor event.Actor, project metadata.Project, id, executionID int64) (metadata.Execution, error) {
	if err := p.checkExecution(ctx, project, id, executionID); err != nil {
		return metadata.Execution{}, err
	}
	tasks, err := p.options.Store.Tasks(ctx, executionID)
	if err != nil {
		return metadata.Execution{}, err
	}
	before, err := p.options.Store.Execution(ctx, executionID)
	if err != nil {
		return metadata.Execution{}, err
	}
	if !before.Ended() {
		return metadata.Execution{}, fault.New(fault.Precondition, "delivery %d has not ended: it is tried again by itself", executionID)
	}
	again := jobs.Submission{Kind: Kind, SubjectID: id, Cause: jobs.CauseManual, Actor: actor.Name, Parameters: json.RawMessage(before.Parameters)}
	for _, task := range tasks {
		var d delivery
		if err := json.Unmarshal([]byte(task.Parameters), &d); err != nil {
			return metadata.Execution{}, fmt.Errorf("parameters of task %d: %w", task.ID, err)
		}
		if d.TurnedAway > 0 {
			return metadata.Execution{}, fault.New(fault.Precondition, "execution %d stands for %d events that were not kept", executionID, d.TurnedAway)
		}
		again.Tasks = append(again.Tasks, jobs.Task{Lane: task.Lane, Parameters: d})
	}
	var execution metadata.Execution
	err = p.options.Store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		begun, err := p.options.Jobs.Begin(ctx, tx, again)
		if err != nil {
			return err
		}
		execution = begun
		e := actor.Event(event.JobStarted)
		e.Project, e.Subject = project.Name, Kind
		return tx.AppendEvent(ctx, e)
	})
	if err == nil {
		p.options.Jobs.Wake()
	}
	return execution, err
}

// Trigger is when a webhook was last told of a type of event.
type Trigger struct {
	Policy    metadata.WebhookPolicy
	EventType string
	// Last is that of the event, zero when there was none.
	Last metadata.WebhookTrigger
}

// Triggers returns when the webhooks of a project, or with no project those of the registry, were last told of each type that they are
// for.
func (p *Policies) Triggers(ctx context.Context, project metadata.Project) ([]Trigger, error) {
	policies, _, err := p.options.Store.Webhooks(ctx, project.ID, metadata.Query{Limit: -1})
	if err != nil {
		return nil, err
	}
	ids := make([]int64, len(policies))
	for i, policy := range policies {
		ids[i] = policy.ID
	}
	rows, err := p.options.Store.WebhookTriggers(ctx, ids)
	if err != nil {
		return nil, err
	}
	type key struct {
		policyID  int64
		eventType string
	}
	last := map[key]metadata.WebhookTrigger{}
	for _, row := range rows {
		last[key{row.PolicyID, row.EventType}] = row
	}
	var triggers []Trigger
	for _, policy := range policies {
		for _, eventType := range policy.EventTypes {
			triggers = append(triggers, Trigger{policy, eventType, last[key{policy.ID, eventType}]})
		}
	}
	return triggers, nil
}

// Trial is what came of trying a target.
type Trial struct {
	Address string
	Answer  metadata.WebhookAnswer
	// Err says why it has not arrived; nil when it has.
	Err error
}

// Try sends a test to each target of a webhook that somebody wants to have, at once. With the id of one that there is, what it keeps
// secret is used where nothing else is given. The error is a [*fault.Error]: Invalid, NotFound for the id.
func (p *Policies) Try(ctx context.Context, actor event.Actor, project metadata.Project, id int64, wanted Wanted) ([]Trial, error) {
	row := metadata.WebhookPolicy{ProjectID: project.ID}
	if id != 0 {
		var err error
		if row, err = p.Get(ctx, project, id); err != nil {
			return nil, err
		}
	}
	row, err := p.settle(wanted, row)
	if err != nil {
		return nil, err
	}
	o := trial(actor, project.Name)
	trials := make([]Trial, len(row.Targets))
	var trying sync.WaitGroup
	for i, target := range row.Targets {
		body, contentType, err := encode(o, row, target, hostOf(row.Base))
		if err != nil {
			return nil, err
		}
		trying.Go(func() {
			answer, err := p.options.Sender.post(ctx, target, delivery{
				ID: o.ID + "-" + target.Key, EventType: o.Type, ContentType: contentType, Body: string(body),
			})
			trials[i] = Trial{target.Address, answer, err}
		})
	}
	trying.Wait()
	return trials, ctx.Err()
}
