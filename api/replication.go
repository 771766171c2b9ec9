package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/policy"
	"github.com/berth-registry/berth/replicate"
)

func (a *API) replicationRoutes() []Route {
	const policies, executions, tag = "/replication/policies", "/replication/executions", "replication"
	return []Route{
		define(Route{
			ID: "listReplicationPolicies", Tag: tag, Method: http.MethodGet, Path: policies, Summary: "Lists the replication policies",
			Permission: inSystem("replication-policy", policy.List), Statuses: []int{400, 401, 403, 422, 500},
		}, a.listReplicationPolicies),
		define(Route{
			ID: "createReplicationPolicy", Tag: tag, Method: http.MethodPost, Path: policies, Summary: "Adds a replication policy",
			Permission: inSystem("replication-policy", policy.Create), Statuses: []int{400, 401, 403, 404, 409, 500},
		}, a.createReplicationPolicy),
		define(Route{
			ID: "getReplicationPolicy", Tag: tag, Method: http.MethodGet, Path: policies + "/{id}", Summary: "Returns a replication policy",
			Permission: inSystem("replication-policy", policy.Read), Statuses: []int{401, 403, 404, 500},
		}, a.getReplicationPolicy),
		define(Route{
			ID: "updateReplicationPolicy", Tag: tag, Method: http.MethodPut, Path: policies + "/{id}", Summary: "Changes a replication policy",
			Permission: inSystem("replication-policy", policy.Update), Statuses: []int{400, 401, 403, 404, 409, 500},
		}, a.updateReplicationPolicy),
		define(Route{
			ID: "deleteReplicationPolicy", Tag: tag, Method: http.MethodDelete, Path: policies + "/{id}", Summary: "Removes a replication policy and its executions",
			Permission: inSystem("replication-policy", policy.Delete), Statuses: []int{401, 403, 404, 412, 500},
		}, a.deleteReplicationPolicy),
		define(Route{
			ID: "listReplicationExecutions", Tag: tag, Method: http.MethodGet, Path: executions, Summary: "Lists executions of replication policies",
			Permission: inSystem("replication", policy.List), Statuses: []int{400, 401, 403, 422, 500},
		}, a.listReplicationExecutions),
		define(Route{
			ID: "startReplication", Tag: tag, Method: http.MethodPost, Path: executions, Summary: "Executes a replication policy, or lists what it would move",
			Permission: inSystem("replication", policy.Create), Statuses: []int{400, 401, 403, 404, 412, 500},
		}, a.startReplication),
		define(Route{
			ID: "getReplicationExecution", Tag: tag, Method: http.MethodGet, Path: executions + "/{id}", Summary: "Returns an execution",
			Permission: inSystem("replication", policy.Read), Statuses: []int{401, 403, 404, 500},
		}, a.getReplicationExecution),
		define(Route{
			ID: "stopReplication", Tag: tag, Method: http.MethodPut, Path: executions + "/{id}", Summary: "Stops an execution",
			Permission: inSystem("replication", policy.Create), Statuses: []int{401, 403, 404, 500},
		}, a.stopReplication),
		define(Route{
			ID: "retryReplication", Tag: tag, Method: http.MethodPost, Path: executions + "/{id}/retry", Summary: "Begins an execution with what failed in this one",
			Permission: inSystem("replication", policy.Create), Statuses: []int{401, 403, 404, 412, 500},
		}, a.retryReplication),
		define(Route{
			ID: "listReplicationTasks", Tag: tag, Method: http.MethodGet, Path: executions + "/{id}/tasks", Summary: "Lists the tasks of an execution, one for each repository",
			Permission: inSystem("replication", policy.List), Statuses: []int{400, 401, 403, 404, 422, 500},
		}, a.listReplicationTasks),
		define(Route{
			ID: "getReplicationLog", Tag: tag, Method: http.MethodGet, Path: executions + "/{id}/tasks/{task_id}/log", Summary: "Returns the log of a task",
			Permission: inSystem("replication", policy.Read), Statuses: []int{401, 403, 404, 500},
		}, a.getReplicationLog),
	}
}

// replicationFilter is a condition on what is replicated, as clients write it.
type replicationFilter struct {
	Type string `json:"type" doc:"name, tag, label, resource or platform"`
	// Value is a text, or for labels and platforms a list of them.
	Value      any    `json:"value"`
	Decoration string `json:"decoration,omitempty" doc:"matches or excludes"`
}

// excludes is the decoration of a filter that is turned round.
const excludes = "excludes"

func viewFilter(f metadata.ReplicationFilter) replicationFilter {
	view := replicationFilter{Type: f.Kind, Value: f.Values}
	if len(f.Values) == 1 && f.Kind != replicate.FilterLabel && f.Kind != replicate.FilterPlatform {
		view.Value = f.Values[0]
	}
	if f.Exclude {
		view.Decoration = excludes
	} else if f.Kind == replicate.FilterTag || f.Kind == replicate.FilterLabel {
		view.Decoration = "matches"
	}
	return view
}

// row returns the filter, and false for one that filters nothing.
func (f replicationFilter) row() (row metadata.ReplicationFilter, filters bool, err error) {
	row.Kind = f.Type
	switch f.Decoration {
	case "", "matches":
	case excludes:
		row.Exclude = true
	default:
		return row, false, fault.New(fault.Invalid, "decoration %q of a filter is neither matches nor excludes", f.Decoration)
	}
	switch value := f.Value.(type) {
	case nil:
	case string:
		row.Values = []string{value}
		if f.Type == replicate.FilterPlatform {
			row.Values = strings.Split(strings.ReplaceAll(value, " ", ""), ",")
		}
	case []any:
		for _, one := range value {
			text, ok := one.(string)
			if !ok {
				return row, false, fault.New(fault.Invalid, "the values of a filter by %s are texts", f.Type)
			}
			row.Values = append(row.Values, text)
		}
	default:
		return row, false, fault.New(fault.Invalid, "the value of a filter by %s is a text or a list of texts", f.Type)
	}
	row.Values = slices.DeleteFunc(row.Values, func(v string) bool { return v == "" })
	return row, len(row.Values) > 0, nil
}

// replicationTrigger is what begins executions.
type replicationTrigger struct {
	Type     string `json:"type" doc:"manual, scheduled or event_based"`
	Settings struct {
		Cron string `json:"cron" doc:"six fields, seconds first, in UTC"`
	} `json:"trigger_settings"`
}

// replicationPolicy is a policy as clients read and write it.
type replicationPolicy struct {
	ID           int64               `json:"id"`
	Name         string              `json:"name"`
	Description  string              `json:"description"`
	Creator      string              `json:"creator"`
	Source       *remoteRegistry     `json:"src_registry" doc:"the registry to copy from; id 0 is this one"`
	Destination  *remoteRegistry     `json:"dest_registry" doc:"the registry to copy to; id 0 is this one"`
	Namespace    string              `json:"dest_namespace"`
	ReplaceCount *int                `json:"dest_namespace_replace_count" doc:"how many parts of a repository's name the namespace takes the place of; -1: of all but the last"`
	Trigger      *replicationTrigger `json:"trigger"`
	Filters      []replicationFilter `json:"filters"`
	// ReplicateDeletion is what earlier clients call Deletion.
	ReplicateDeletion bool  `json:"replicate_deletion"`
	Deletion          bool  `json:"deletion" doc:"delete at the destination what is deleted here"`
	Override          bool  `json:"override" doc:"move tags of the destination that stand for something else"`
	Enabled           bool  `json:"enabled"`
	Speed             int64 `json:"speed" doc:"KiB each second at most; 0 or -1 is no limit"`
	CopyByChunk       bool  `json:"copy_by_chunk" doc:"taken and kept: every transfer goes on where it broke"`
	Single            bool  `json:"single_active_replication" doc:"begin no execution while another one runs; what events begin waits"`
	CreatedAt         Time  `json:"creation_time"`
	UpdatedAt         Time  `json:"update_time"`
}

// localRegistry is this registry as a side of a policy.
var localRegistry = remoteRegistry{Name: "Local", Type: "harbor", Status: replicate.Healthy}

func (a *API) viewPolicies(c *Call, rows []metadata.ReplicationPolicy) ([]replicationPolicy, error) {
	views, known := make([]replicationPolicy, 0, len(rows)), map[int64]*remoteRegistry{0: &localRegistry}
	for _, row := range rows {
		for _, id := range []int64{row.SourceID, row.DestinationID} {
			if known[id] != nil {
				continue
			}
			registry, err := a.options.Store.RemoteRegistry(c.Context(), id)
			if err != nil && !isMissing(err) {
				return nil, err
			}
			view := viewRemoteRegistry(registry)
			known[id] = &view
		}
		view := replicationPolicy{
			ID: row.ID, Name: row.Name, Description: row.Description, Creator: row.Creator, Source: known[row.SourceID], Destination: known[row.DestinationID],
			Namespace: row.Namespace, ReplaceCount: &row.Replaced, Trigger: &replicationTrigger{Type: row.Cause}, Filters: []replicationFilter{},
			ReplicateDeletion: row.Deletes, Deletion: row.Deletes, Override: row.Overrides, Enabled: row.Enabled, Speed: row.Speed, CopyByChunk: row.ByChunk,
			Single: row.Single, CreatedAt: Time(row.CreatedAt), UpdatedAt: Time(row.UpdatedAt),
		}
		view.Trigger.Settings.Cron = row.Cron
		for _, filter := range row.Filters {
			view.Filters = append(view.Filters, viewFilter(filter))
		}
		views = append(views, view)
	}
	return views, nil
}

// row returns the policy that a body wants.
func (p replicationPolicy) row() (metadata.ReplicationPolicy, error) {
	row := metadata.ReplicationPolicy{
		ID: p.ID, Name: p.Name, Description: p.Description, Namespace: p.Namespace, Replaced: -1, Cause: replicate.CauseManual, Deletes: p.Deletion || p.ReplicateDeletion,
		Overrides: p.Override, Enabled: p.Enabled, Speed: p.Speed, ByChunk: p.CopyByChunk, Single: p.Single,
	}
	take(&row.Replaced, p.ReplaceCount)
	if p.Source != nil {
		row.SourceID = p.Source.ID
	}
	if p.Destination != nil {
		row.DestinationID = p.Destination.ID
	}
	if p.Trigger != nil && p.Trigger.Type != "" {
		row.Cause = p.Trigger.Type
		if row.Cause == replicate.CauseScheduled {
			row.Cron = p.Trigger.Settings.Cron
		}
	}
	for _, given := range p.Filters {
		filter, filters, err := given.row()
		if err != nil {
			return row, err
		}
		if filters {
			row.Filters = append(row.Filters, filter)
		}
	}
	return row, nil
}

// listPoliciesInput are the parameters of listReplicationPolicies.
type listPoliciesInput struct {
	Paging
	Name string `query:"name" doc:"part of the name"`
}

func (a *API) listReplicationPolicies(c *Call, in listPoliciesInput) (Page[replicationPolicy], error) {
	q, _, err := in.Query()
	if err != nil {
		return Page[replicationPolicy]{}, err
	}
	if in.Name != "" {
		q.Conditions = append(q.Conditions, metadata.Condition{Field: "name", Comparison: metadata.Contains, Values: []any{in.Name}})
	}
	rows, total, err := a.options.Store.ListReplicationPolicies(c.Context(), q)
	if err != nil {
		return Page[replicationPolicy]{}, err
	}
	views, err := a.viewPolicies(c, rows)
	return Page[replicationPolicy]{Items: views, Total: total, Paging: in.Paging}, err
}

func (a *API) createReplicationPolicy(c *Call, in struct {
	Body replicationPolicy `body:""`
},
) (Created, error) {
	row, err := in.Body.row()
	if err != nil {
		return Created{}, err
	}
	created, err := a.options.Replication.Create(c.Context(), c.actor(), row)
	return Created{Location: Prefix + "/replication/policies/" + strconv.FormatInt(created.ID, 10)}, err
}

// replicationInput names a policy or an execution.
type replicationInput struct {
	ID int64 `path:"id"`
}

func (a *API) getReplicationPolicy(c *Call, in replicationInput) (replicationPolicy, error) {
	row, err := a.options.Store.ReplicationPolicy(c.Context(), in.ID)
	if isMissing(err) {
		err = fault.New(fault.NotFound, "replication policy %d not found", in.ID)
	}
	if err != nil {
		return replicationPolicy{}, err
	}
	views, err := a.viewPolicies(c, []metadata.ReplicationPolicy{row})
	if err != nil {
		return replicationPolicy{}, err
	}
	return views[0], nil
}

func (a *API) updateReplicationPolicy(c *Call, in struct {
	replicationInput
	Body replicationPolicy `body:""`
},
) (None, error) {
	row, err := in.Body.row()
	if err != nil {
		return None{}, err
	}
	row.ID = in.ID
	return None{}, a.options.Replication.Update(c.Context(), c.actor(), row)
}

func (a *API) deleteReplicationPolicy(c *Call, in replicationInput) (None, error) {
	return None{}, a.options.Replication.Delete(c.Context(), c.actor(), in.ID)
}

// replicationExecution is an execution as clients read it.
type replicationExecution struct {
	ID         int64  `json:"id"`
	PolicyID   int64  `json:"policy_id"`
	Status     string `json:"status" doc:"InProgress, Succeed, Failed or Stopped"`
	StatusText string `json:"status_text"`
	Trigger    string `json:"trigger" doc:"manual, scheduled or event_based"`
	StartedAt  Time   `json:"start_time"`
	EndedAt    *Time  `json:"end_time,omitempty"`
	Total      int64  `json:"total"`
	Failed     int64  `json:"failed"`
	Succeed    int64  `json:"succeed"`
	InProgress int64  `json:"in_progress"`
	Stopped    int64  `json:"stopped"`
	Percent    int64  `json:"percent" doc:"how many of its tasks have ended"`
}

// replicationStatuses are the statuses of executions and tasks in clients' words.
var replicationStatuses = map[metadata.Status]string{
	metadata.StatusPending: "InProgress", metadata.StatusRunning: "InProgress", metadata.StatusScheduled: "InProgress",
	metadata.StatusSuccess: "Succeed", metadata.StatusError: "Failed", metadata.StatusStopped: "Stopped",
}

func viewReplicationExecution(e replicate.Execution) replicationExecution {
	view := replicationExecution{
		ID: e.ID, PolicyID: e.SubjectID, Status: replicationStatuses[e.Status], StatusText: e.Message, Trigger: replicate.TriggerOf(e.Cause), StartedAt: Time(e.CreatedAt),
		Total: e.Total, Failed: e.Failed, Succeed: e.Succeeded, InProgress: e.InProgress, Stopped: e.Stopped,
	}
	if e.Ended() {
		end := Time(e.EndedAt)
		view.EndedAt, view.Percent = &end, 100
	} else if e.Total > 0 {
		view.Percent = 100 * (e.Total - e.InProgress) / e.Total
	}
	return view
}

// listExecutionsInput are the parameters of listReplicationExecutions.
type listExecutionsInput struct {
	Paging
	PolicyID int64  `query:"policy_id" doc:"id of the policy"`
	Status   string `query:"status" doc:"InProgress, Succeed, Failed or Stopped"`
	Trigger  string `query:"trigger" doc:"manual, scheduled or event_based"`
}

func (a *API) listReplicationExecutions(c *Call, in listExecutionsInput) (Page[replicationExecution], error) {
	q, _, err := in.Query()
	if err != nil {
		return Page[replicationExecution]{}, err
	}
	if in.PolicyID != 0 {
		q.Conditions = append(q.Conditions, metadata.Condition{Field: "subject_id", Comparison: metadata.Equal, Values: []any{in.PolicyID}})
	}
	if in.Status != "" {
		q.Conditions = append(q.Conditions, statusCondition(in.Status))
	}
	if in.Trigger != "" {
		cause := ""
		for _, known := range []string{"MANUAL", "SCHEDULE", "EVENT"} {
			if replicate.TriggerOf(known) == in.Trigger {
				cause = known
			}
		}
		q.Conditions = append(q.Conditions, metadata.Condition{Field: "trigger", Comparison: metadata.Equal, Values: []any{cause}})
	}
	rows, total, err := a.options.Replication.Executions(c.Context(), q)
	if err != nil {
		return Page[replicationExecution]{}, err
	}
	return NewPage(in.Paging, rows, total, viewReplicationExecution), nil
}

// statusCondition is the condition of a status in clients' words.
func statusCondition(word string) metadata.Condition {
	condition := metadata.Condition{Field: "status", Comparison: metadata.AnyOf, Values: []any{}}
	for status, known := range replicationStatuses {
		if known == word || string(status) == word {
			condition.Values = append(condition.Values, string(status))
		}
	}
	return condition
}

func (a *API) startReplication(c *Call, in struct {
	Body struct {
		PolicyID int64 `json:"policy_id"`
		DryRun   bool  `json:"dry_run" doc:"list in the log what would be moved, and move nothing"`
	} `body:""`
},
) (Created, error) {
	execution, err := a.options.Replication.Start(c.Context(), c.actor(), in.Body.PolicyID, in.Body.DryRun)
	return Created{Location: Prefix + "/replication/executions/" + strconv.FormatInt(execution.ID, 10)}, err
}

func (a *API) getReplicationExecution(c *Call, in replicationInput) (replicationExecution, error) {
	execution, err := a.options.Replication.Execution(c.Context(), in.ID)
	return viewReplicationExecution(execution), err
}

func (a *API) stopReplication(c *Call, in replicationInput) (None, error) {
	return None{}, a.options.Replication.Stop(c.Context(), c.actor(), in.ID)
}

func (a *API) retryReplication(c *Call, in replicationInput) (Created, error) {
	execution, err := a.options.Replication.Retry(c.Context(), c.actor(), in.ID)
	return Created{Location: Prefix + "/replication/executions/" + strconv.FormatInt(execution.ID, 10)}, err
}

// replicationTask is a task as clients read it.
type replicationTask struct {
	ID           int64              `json:"id"`
	ExecutionID  int64              `json:"execution_id"`
	Status       string             `json:"status" doc:"Pending, InProgress, Succeed, Failed or Stopped"`
	JobID        string             `json:"job_id"`
	Operation    string             `json:"operation" doc:"copy, deletion or tag deletion; plan for what finds out what there is to do"`
	ResourceType string             `json:"resource_type"`
	Source       string             `json:"src_resource"`
	Destination  string             `json:"dst_resource"`
	References   string             `json:"references" doc:"tags and digests, with commas between"`
	StartedAt    Time               `json:"start_time"`
	EndedAt      *Time              `json:"end_time,omitempty"`
	Message      string             `json:"status_text"`
	Percent      int                `json:"percent"`
	Progress     replicate.Progress `json:"progress"`
}

func viewReplicationTask(t metadata.Task) replicationTask {
	move, err := replicate.MoveOf(t)
	if err != nil {
		t.Message = err.Error()
	}
	view := replicationTask{
		ID: t.ID, ExecutionID: t.ExecutionID, Status: replicationStatuses[t.Status], JobID: strconv.FormatInt(t.ID, 10), Operation: move.Operation,
		ResourceType: move.Type, Source: move.From, Destination: move.To, References: strings.Join(move.References, ","), StartedAt: Time(t.StartedAt), Message: t.Message,
		Progress: replicate.ProgressOf(t),
	}
	if move.Operation == "" {
		view.Operation = "plan"
	} else {
		view.Source = fmt.Sprintf("%s [%d item(s) in total]", move.From, len(move.References))
	}
	if t.Status == metadata.StatusPending {
		view.Status = "Pending"
	}
	if t.StartedAt.IsZero() {
		view.StartedAt = Time(t.CreatedAt)
	}
	if !t.EndedAt.IsZero() {
		end := Time(t.EndedAt)
		view.EndedAt = &end
	}
	if view.Progress.Total > 0 || !t.EndedAt.IsZero() {
		view.Percent = view.Progress.Percent()
	}
	return view
}

// listTasksInput are the parameters of listReplicationTasks.
type listTasksInput struct {
	replicationInput
	Paging
	Status       string `query:"status" doc:"Pending, InProgress, Succeed, Failed or Stopped"`
	ResourceType string `query:"resource_type" doc:"image or artifact"`
}

func (a *API) listReplicationTasks(c *Call, in listTasksInput) (Page[replicationTask], error) {
	q, _, err := in.Query()
	if err != nil {
		return Page[replicationTask]{}, err
	}
	if in.Status != "" {
		q.Conditions = append(q.Conditions, statusCondition(in.Status))
	}
	if in.ResourceType != "" {
		text, err := json.Marshal(in.ResourceType)
		if err != nil {
			return Page[replicationTask]{}, err
		}
		q.Conditions = append(q.Conditions, metadata.Condition{Field: "parameters", Comparison: metadata.Contains, Values: []any{`"resource_type":` + string(text)}})
	}
	rows, total, err := a.options.Replication.Tasks(c.Context(), in.ID, q)
	if err != nil {
		return Page[replicationTask]{}, err
	}
	return NewPage(in.Paging, rows, total, viewReplicationTask), nil
}

func (a *API) getReplicationLog(c *Call, in struct {
	ID     int64 `path:"id"`
	TaskID int64 `path:"task_id"`
},
) (Text, error) {
	text, err := a.options.Replication.Log(c.Context(), in.ID, in.TaskID)
	return Text(text), err
}
