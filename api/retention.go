package api

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/policy"
	"github.com/berth-registry/berth/policy/retention"
	"github.com/berth-registry/berth/project/retain"
)

func (a *API) retentionRoutes() []Route {
	const (
		kind, tag  = "tag-retention", "Retention"
		one        = "/retentions/{id}"
		executions = one + "/executions"
		execution  = executions + "/{eid}"
	)
	return []Route{
		define(Route{
			ID: "getRentenitionMetadata", Tag: tag, Method: http.MethodGet, Path: "/retentions/metadatas", Summary: "Tells what rules can be made of",
			Permission: inSystem("retention-metadata", policy.Read), Statuses: []int{401, 500},
		}, a.getRetentionMetadata),
		define(Route{
			ID: "createRetention", Tag: tag, Method: http.MethodPost, Path: "/retentions", Summary: "Gives a project its rules which artifacts are kept",
			Permission: onRow(kind, policy.Create), Statuses: []int{400, 401, 403, 404, 500},
		}, a.createRetention),
		define(Route{
			ID: "getRetention", Tag: tag, Method: http.MethodGet, Path: one, Summary: "Returns the rules of a project",
			Permission: onRow(kind, policy.Read), Statuses: []int{401, 403, 404, 500},
		}, a.getRetention),
		define(Route{
			ID: "updateRetention", Tag: tag, Method: http.MethodPut, Path: one, Summary: "Changes the rules of a project and their schedule",
			Permission: onRow(kind, policy.Update), Statuses: []int{400, 401, 403, 404, 500},
		}, a.updateRetention),
		define(Route{
			ID: "deleteRetention", Tag: tag, Method: http.MethodDelete, Path: one, Summary: "Removes the rules of a project: from then on everything is kept",
			Permission: onRow(kind, policy.Delete), Statuses: []int{401, 403, 404, 500},
		}, a.deleteRetention),
		define(Route{
			ID: "triggerRetentionExecution", Tag: tag, Method: http.MethodPost, Path: executions, Summary: "Deletes what the rules do not keep, or tells it",
			Permission: onRow(kind, policy.Update), Statuses: []int{400, 401, 403, 404, 500},
		}, a.triggerRetentionExecution),
		define(Route{
			ID: "listRetentionExecutions", Tag: tag, Method: http.MethodGet, Path: executions, Summary: "Lists the executions",
			Permission: onRow(kind, policy.List), Statuses: []int{400, 401, 403, 404, 422, 500},
		}, a.listRetentionExecutions),
		define(Route{
			ID: "operateRetentionExecution", Tag: tag, Method: http.MethodPatch, Path: execution, Summary: "Stops an execution",
			Permission: onRow(kind, policy.Update), Statuses: []int{400, 401, 403, 404, 500},
		}, a.operateRetentionExecution),
		define(Route{
			ID: "listRetentionTasks", Tag: tag, Method: http.MethodGet, Path: execution + "/tasks", Summary: "Lists what an execution does, one task for each repository",
			Permission: onRow(kind, policy.List), Statuses: []int{400, 401, 403, 404, 422, 500},
		}, a.listRetentionTasks),
		define(Route{
			ID: "getRetentionTaskLog", Tag: tag, Method: http.MethodGet, Path: execution + "/tasks/{tid}", Summary: "Returns the log of a task: what was kept and deleted, and why",
			Permission: onRow(kind, policy.Read), Statuses: []int{401, 403, 404, 500},
		}, a.getRetentionTaskLog),
	}
}

// selectorWords are how something can be selected.
type selectorWords struct {
	DisplayText string   `json:"display_text"`
	Kind        string   `json:"kind"`
	Decorations []string `json:"decorations"`
}

// templateParameter is what a template needs.
type templateParameter struct {
	Type     string `json:"type"`
	Unit     string `json:"unit"`
	Required bool   `json:"required"`
}

// templateWords are what a template is.
type templateWords struct {
	Template    string              `json:"rule_template"`
	DisplayText string              `json:"display_text"`
	Action      string              `json:"action"`
	Params      []templateParameter `json:"params"`
}

// retentionMetadata is what rules can be made of.
type retentionMetadata struct {
	Templates      []templateWords `json:"templates"`
	ScopeSelectors []selectorWords `json:"scope_selectors"`
	TagSelectors   []selectorWords `json:"tag_selectors"`
}

func (a *API) getRetentionMetadata(*Call, struct{}) (retentionMetadata, error) {
	words := retentionMetadata{
		ScopeSelectors: []selectorWords{{"Repositories", retain.Doublestar, []string{retain.RepoMatches, retain.RepoExcludes}}},
		TagSelectors: []selectorWords{
			{"Tags", retain.Doublestar, []string{retain.Matches, retain.Excludes}},
			{"Labels", retain.Label, []string{retain.WithLabels, retain.WithoutLabels}},
		},
	}
	for _, t := range []struct {
		template   retention.Template
		text, unit string
	}{
		{retention.LatestPushed, "the most recently pushed # artifacts", "COUNT"},
		{retention.LatestPulled, "the most recently pulled # artifacts", "COUNT"},
		{retention.PushedWithin, "pushed within the last # days", "DAYS"},
		{retention.PulledWithin, "pulled within the last # days", "DAYS"},
		{retention.Always, "always", ""},
	} {
		template := templateWords{Template: string(t.template), DisplayText: t.text, Action: retain.Action, Params: []templateParameter{}}
		if t.template.Counted() {
			template.Params = append(template.Params, templateParameter{Type: "int", Unit: t.unit, Required: true})
		}
		words.Templates = append(words.Templates, template)
	}
	return words, nil
}

// The words of policies that say nothing, as there is but one of each.
const (
	retentionAlgorithm = "or"
	retentionLevel     = "project"
	retentionTrigger   = "Schedule"
)

// retentionTriggerBody is what begins executions by itself.
type retentionTriggerBody struct {
	Kind     string `json:"kind" doc:"Schedule"`
	Settings struct {
		Cron string `json:"cron" doc:"six fields, seconds first, in UTC; empty for by hand only"`
		Next *Time  `json:"next_scheduled_time,omitempty"`
	} `json:"settings"`
	References map[string]any `json:"references,omitempty"`
}

// retentionPolicy is a policy as clients read and write it.
type retentionPolicy struct {
	ID        int64                 `json:"id"`
	Algorithm string                `json:"algorithm" doc:"or: what any rule keeps is kept"`
	Rules     []retain.Rule         `json:"rules"`
	Trigger   *retentionTriggerBody `json:"trigger"`
	Scope     struct {
		Level string `json:"level" doc:"project"`
		Ref   int64  `json:"ref" doc:"id of the project"`
	} `json:"scope"`
}

func viewRetention(p retain.Policy) retentionPolicy {
	view := retentionPolicy{ID: p.ID, Algorithm: retentionAlgorithm, Rules: p.Rules, Trigger: &retentionTriggerBody{Kind: retentionTrigger}}
	view.Scope.Level, view.Scope.Ref = retentionLevel, p.ProjectID
	view.Trigger.Settings.Cron = p.Cron
	view.Trigger.References = map[string]any{}
	if p.Cron != "" {
		next := Time(p.NextAt)
		view.Trigger.Settings.Next = &next
		view.Trigger.References["job_id"] = p.ScheduleID
	}
	return view
}

func (r retentionPolicy) policy() (retain.Policy, error) {
	p := retain.Policy{Rules: r.Rules}
	if r.Algorithm != "" && r.Algorithm != retentionAlgorithm {
		return p, fault.New(fault.Invalid, "algorithm %q is not %s", r.Algorithm, retentionAlgorithm)
	}
	if r.Trigger == nil {
		return p, nil
	}
	if r.Trigger.Kind != "" && r.Trigger.Kind != retentionTrigger {
		return p, fault.New(fault.Invalid, "trigger %q is not %s", r.Trigger.Kind, retentionTrigger)
	}
	p.Cron = strings.TrimSpace(r.Trigger.Settings.Cron)
	return p, nil
}

// enterRetention reads a policy and asks for the route's permission in its project. One that does not exist is told to nobody but
// system administrators.
func (c *Call) enterRetention(id int64) (retain.Policy, error) {
	found, err := c.api.options.Retentions.Get(c.Context(), id)
	if err != nil {
		if !isMissing(err) {
			return found, err
		}
		return found, c.admit(metadata.Project{}, metadata.ErrNotFound, fmt.Sprintf("of retention policy %d", id), c.route.Permission)
	}
	project, err := c.api.options.Store.ProjectByID(c.Context(), found.ProjectID)
	return found, c.admit(project, err, strconv.FormatInt(found.ProjectID, 10), c.route.Permission)
}

func (a *API) createRetention(c *Call, in struct {
	Body retentionPolicy `body:""`
},
) (Created, error) {
	c.asked = true // to say that the request cannot be meant tells nothing
	scope := in.Body.Scope
	if scope.Level != retentionLevel || scope.Ref <= 0 {
		return Created{}, fault.New(fault.Invalid, "the scope must have the level %s and the id of a project", retentionLevel)
	}
	project, err := a.options.Store.ProjectByID(c.Context(), scope.Ref)
	if err := c.admit(project, err, strconv.FormatInt(scope.Ref, 10), c.route.Permission); err != nil {
		return Created{}, err
	}
	policy, err := in.Body.policy()
	if err != nil {
		return Created{}, err
	}
	id, err := a.options.Retentions.Create(c.Context(), c.actor(), project, policy)
	return Created{Location: fmt.Sprintf("%s/retentions/%d", Prefix, id)}, err
}

// retentionID names a policy.
type retentionID struct {
	ID int64 `path:"id"`
}

func (a *API) getRetention(c *Call, in retentionID) (retentionPolicy, error) {
	found, err := c.enterRetention(in.ID)
	return viewRetention(found), err
}

func (a *API) updateRetention(c *Call, in struct {
	retentionID
	Body retentionPolicy `body:""`
},
) (None, error) {
	found, err := c.enterRetention(in.ID)
	if err != nil {
		return None{}, err
	}
	policy, err := in.Body.policy()
	if err != nil {
		return None{}, err
	}
	if ref := in.Body.Scope.Ref; ref != 0 && ref != found.ProjectID {
		return None{}, fault.New(fault.Invalid, "retention policy %d is of project %d and stays there", in.ID, found.ProjectID)
	}
	policy.ID = found.ID
	return None{}, a.options.Retentions.Update(c.Context(), c.actor(), c.Project, policy)
}

func (a *API) deleteRetention(c *Call, in retentionID) (None, error) {
	found, err := c.enterRetention(in.ID)
	if err != nil {
		return None{}, err
	}
	return None{}, a.options.Retentions.Delete(c.Context(), c.actor(), c.Project, found.ID)
}

func (a *API) triggerRetentionExecution(c *Call, in struct {
	retentionID
	Body struct {
		DryRun bool `json:"dry_run" doc:"only tells what would be deleted"`
	} `body:""`
},
) (Created, error) {
	found, err := c.enterRetention(in.ID)
	if err != nil {
		return Created{}, err
	}
	execution, err := a.options.Retentions.Start(c.Context(), c.actor(), c.Project, found, in.Body.DryRun)
	return Created{Location: fmt.Sprintf("%s/retentions/%d/executions/%d", Prefix, found.ID, execution.ID)}, err
}

// retentionExecution is an execution as clients read it.
type retentionExecution struct {
	ID        int64  `json:"id"`
	PolicyID  int64  `json:"policy_id"`
	DryRun    bool   `json:"dry_run"`
	Trigger   string `json:"trigger"`
	Status    string `json:"status"`
	StartTime string `json:"start_time"`
	EndTime   string `json:"end_time"`
}

// clock is a time as the texts of these resources have it; "" for none.
func clock(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

func (a *API) listRetentionExecutions(c *Call, in struct {
	retentionID
	Paging
},
) (Page[retentionExecution], error) {
	found, err := c.enterRetention(in.ID)
	if err != nil {
		return Page[retentionExecution]{}, err
	}
	q, _, err := in.Query()
	if err != nil {
		return Page[retentionExecution]{}, err
	}
	rows, total, err := a.options.Retentions.Executions(c.Context(), found.ID, q)
	if err != nil {
		return Page[retentionExecution]{}, err
	}
	return NewPage(in.Paging, rows, total, func(e metadata.Execution) retentionExecution {
		started := e.StartedAt
		if started.IsZero() {
			started = e.CreatedAt
		}
		return retentionExecution{
			ID: e.ID, PolicyID: e.SubjectID, DryRun: retain.IsDryRun(e), Trigger: e.Cause, Status: string(e.Status), StartTime: clock(started), EndTime: clock(e.EndedAt),
		}
	}), nil
}

// retentionExecutionID names an execution.
type retentionExecutionID struct {
	retentionID
	Execution int64 `path:"eid"`
}

func (a *API) operateRetentionExecution(c *Call, in struct {
	retentionExecutionID
	Body struct {
		Action string `json:"action" doc:"stop"`
	} `body:""`
},
) (None, error) {
	found, err := c.enterRetention(in.ID)
	if err != nil {
		return None{}, err
	}
	if in.Body.Action != "stop" {
		return None{}, fault.New(fault.Invalid, "action %q is not stop", in.Body.Action)
	}
	return None{}, a.options.Retentions.Stop(c.Context(), c.actor(), c.Project, found.ID, in.Execution)
}

// retentionTask is a task as clients read it.
type retentionTask struct {
	ID             int64  `json:"id"`
	ExecutionID    int64  `json:"execution_id"`
	Repository     string `json:"repository" doc:"name within the project"`
	JobID          string `json:"job_id"`
	Status         string `json:"status"`
	StatusCode     int64  `json:"status_code"`
	StatusRevision int64  `json:"status_revision"`
	StartTime      string `json:"start_time"`
	EndTime        string `json:"end_time"`
	Total          int64  `json:"total" doc:"artifacts that were looked at"`
	Retained       int64  `json:"retained" doc:"those that stay"`
}

// statusCodes say how far a task is.
var statusCodes = map[metadata.Status]int64{metadata.StatusPending: 0, metadata.StatusScheduled: 1, metadata.StatusRunning: 2}

func viewRetentionTask(t retain.Task) retentionTask {
	code, open := statusCodes[t.Status]
	if !open {
		code = 3
	}
	started := t.StartedAt
	if started.IsZero() {
		started = t.CreatedAt
	}
	return retentionTask{
		ID: t.ID, ExecutionID: t.ExecutionID, Repository: t.Repository, JobID: strconv.FormatInt(t.ID, 10), Status: string(t.Status),
		StatusCode: code, StatusRevision: t.CreatedAt.Unix(), StartTime: clock(started), EndTime: clock(t.EndedAt), Total: t.Total, Retained: t.Retained,
	}
}

func (a *API) listRetentionTasks(c *Call, in struct {
	retentionExecutionID
	Paging
},
) (Page[retentionTask], error) {
	found, err := c.enterRetention(in.ID)
	if err != nil {
		return Page[retentionTask]{}, err
	}
	q, _, err := in.Query()
	if err != nil {
		return Page[retentionTask]{}, err
	}
	rows, total, err := a.options.Retentions.Tasks(c.Context(), found.ID, in.Execution, q)
	if err != nil {
		return Page[retentionTask]{}, err
	}
	return NewPage(in.Paging, rows, total, viewRetentionTask), nil
}

func (a *API) getRetentionTaskLog(c *Call, in struct {
	retentionExecutionID
	Task int64 `path:"tid"`
},
) (Text, error) {
	found, err := c.enterRetention(in.ID)
	if err != nil {
		return "", err
	}
	text, err := a.options.Retentions.Log(c.Context(), found.ID, in.Execution, in.Task)
	return Text(text), err
}
