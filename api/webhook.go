package api

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/notify/webhook"
	"github.com/berth-registry/berth/policy"
)

// webhookRoutes are those of the webhooks of projects, and the same ones for webhooks that are told of the events of all.
func (a *API) webhookRoutes() []Route {
	const kind = "notification-policy"
	system := func(id string) string { return "system" + strings.TrimSuffix(id, "OfProject") }
	return append(
		a.webhookRoutesIn("/projects/{project_name_or_id}/webhook", func(id string) string { return id }, func(action policy.Action) Permission { return inProject(kind, action) }),
		a.webhookRoutesIn("/system/webhook", system, func(action policy.Action) Permission { return inSystem(kind, action) })...)
}

func (a *API) webhookRoutesIn(base string, name func(string) string, permission func(policy.Action) Permission) []Route {
	const tag = "webhook"
	all := base + "/policies"
	one := all + "/{webhook_policy_id}"
	executions := one + "/executions"
	tasks := executions + "/{execution_id}/tasks"
	return []Route{
		define(Route{
			ID: name("ListWebhookPoliciesOfProject"), Tag: tag, Method: http.MethodGet, Path: all, Summary: "Lists the webhooks",
			Permission: permission(policy.List), Statuses: []int{400, 401, 403, 404, 422, 500},
		}, a.listWebhooks),
		define(Route{
			ID: name("CreateWebhookPolicyOfProject"), Tag: tag, Method: http.MethodPost, Path: all, Summary: "Adds a webhook",
			Permission: permission(policy.Create), Statuses: []int{400, 401, 403, 404, 409, 500},
		}, a.createWebhook),
		define(Route{
			ID: name("TestWebhookPolicyOfProject"), Tag: tag, Method: http.MethodPost, Path: all + "/test", Summary: "Sends a test to the targets of a webhook at once; with an id, with what is kept secret of that one",
			Permission: permission(policy.Create), Statuses: []int{400, 401, 403, 404, 500},
		}, a.testWebhook),
		define(Route{
			ID: name("GetWebhookPolicyOfProject"), Tag: tag, Method: http.MethodGet, Path: one, Summary: "Returns a webhook",
			Permission: permission(policy.Read), Statuses: []int{400, 401, 403, 404, 422, 500},
		}, a.getWebhook),
		define(Route{
			ID: name("UpdateWebhookPolicyOfProject"), Tag: tag, Method: http.MethodPut, Path: one, Summary: "Changes a webhook",
			Permission: permission(policy.Update), Statuses: []int{400, 401, 403, 404, 409, 422, 500},
		}, a.updateWebhook),
		define(Route{
			ID: name("DeleteWebhookPolicyOfProject"), Tag: tag, Method: http.MethodDelete, Path: one, Summary: "Removes a webhook, and what was to be delivered",
			Permission: permission(policy.Delete), Statuses: []int{400, 401, 403, 404, 422, 500},
		}, a.deleteWebhook),
		define(Route{
			ID: name("ListExecutionsOfWebhookPolicy"), Tag: tag, Method: http.MethodGet, Path: executions, Summary: "Lists the deliveries of a webhook",
			Permission: permission(policy.Read), Statuses: []int{400, 401, 403, 404, 422, 500},
		}, a.listWebhookExecutions),
		define(Route{
			ID: name("RedeliverOfWebhookPolicy"), Tag: tag, Method: http.MethodPost, Path: executions + "/{execution_id}/redeliver", Summary: "Delivers again, with the same id, what has ended",
			Permission: permission(policy.Update), Statuses: []int{400, 401, 403, 404, 412, 422, 500},
		}, a.redeliver),
		define(Route{
			ID: name("ListTasksOfWebhookExecution"), Tag: tag, Method: http.MethodGet, Path: tasks, Summary: "Lists what a delivery has come to, with the receiver's answer",
			Permission: permission(policy.Read), Statuses: []int{400, 401, 403, 404, 422, 500},
		}, a.listWebhookTasks),
		define(Route{
			ID: name("GetLogsOfWebhookTask"), Tag: tag, Method: http.MethodGet, Path: tasks + "/{task_id}/log", Summary: "Returns the log of a delivery",
			Permission: permission(policy.Read), Statuses: []int{400, 401, 403, 404, 422, 500},
		}, a.getWebhookLog),
		define(Route{
			ID: name("LastTrigger"), Tag: tag, Method: http.MethodGet, Path: base + "/lasttrigger", Summary: "Tells when each webhook was last told of each type of event",
			Permission: permission(policy.List), Statuses: []int{400, 401, 403, 404, 500},
		}, a.lastTrigger),
		define(Route{
			ID: name("GetSupportedEventTypes"), Tag: tag, Method: http.MethodGet, Path: base + "/events", Summary: "Lists the types of event, target and payload",
			Permission: permission(policy.Read), Statuses: []int{401, 403, 404, 500},
		}, a.getSupportedEventTypes),
		define(Route{
			ID: name("ListWebhookJobs"), Tag: "webhookjob", Method: http.MethodGet, Path: base + "/jobs", Summary: "Lists the deliveries of a webhook in the form of earlier versions",
			Permission: permission(policy.List), Statuses: []int{400, 401, 403, 404, 422, 500},
		}, a.listWebhookJobs),
	}
}

// webhookTarget is a receiver as clients read and write it.
type webhookTarget struct {
	Type          string  `json:"type" doc:"http or slack"`
	Address       string  `json:"address"`
	AuthHeader    *string `json:"auth_header,omitempty" doc:"the Authorization header; not told, but for that there is one; absent or so told it stays for the same address"`
	SkipVerify    bool    `json:"skip_cert_verify"`
	Format        string  `json:"payload_format" doc:"Default or CloudEvents"`
	Secret        *string `json:"secret,omitempty" doc:"signs the body in the header X-Berth-Signature; kept as auth_header is"`
	CACertificate string  `json:"ca_certificate,omitempty" doc:"authorities to trust besides the machine's, in PEM"`
}

// webhookPolicy is a webhook as clients read and write it.
type webhookPolicy struct {
	ID          int64           `json:"id"`
	Name        string          `json:"name"`
	Description string          `json:"description"`
	ProjectID   int64           `json:"project_id" doc:"0 for one that is told of all"`
	Targets     []webhookTarget `json:"targets"`
	EventTypes  []string        `json:"event_types"`
	Creator     string          `json:"creator"`
	Enabled     bool            `json:"enabled"`
	CreatedAt   Time            `json:"creation_time"`
	UpdatedAt   Time            `json:"update_time"`
}

func viewWebhook(row metadata.WebhookPolicy) webhookPolicy {
	view := webhookPolicy{
		ID: row.ID, Name: row.Name, Description: row.Description, ProjectID: row.ProjectID, EventTypes: row.EventTypes, Creator: row.Creator,
		Enabled: row.Enabled, CreatedAt: Time(row.CreatedAt), UpdatedAt: Time(row.UpdatedAt), Targets: make([]webhookTarget, len(row.Targets)),
	}
	for i, target := range row.Targets {
		view.Targets[i] = webhookTarget{
			Type: target.Type, Address: target.Address, SkipVerify: target.Insecure, Format: target.Format, CACertificate: target.CA,
			AuthHeader: hidden(target.AuthHeader), Secret: hidden(target.Secret),
		}
	}
	return view
}

// hidden stands for a secret where there is one.
func hidden(sealed []byte) *string {
	if len(sealed) == 0 {
		return nil
	}
	stars := hiddenSecret
	return &stars
}

// shown returns a secret that is given, nil for one that stands for what there is.
func shown(given *string) *string {
	if given != nil && *given == hiddenSecret {
		return nil
	}
	return given
}

// wanted is the webhook that the body asks for.
func (p webhookPolicy) wanted(c *Call) webhook.Wanted {
	wanted := webhook.Wanted{
		Name: p.Name, Description: p.Description, Enabled: p.Enabled, EventTypes: p.EventTypes, Base: c.api.options.Base(c.Request),
	}
	for _, target := range p.Targets {
		wanted.Targets = append(wanted.Targets, webhook.WantedTarget{
			Type: target.Type, Format: target.Format, Address: target.Address, Insecure: target.SkipVerify, CA: target.CACertificate,
			AuthHeader: shown(target.AuthHeader), Secret: shown(target.Secret),
		})
	}
	return wanted
}

func (a *API) listWebhooks(c *Call, paging Paging) (Page[webhookPolicy], error) {
	q, _, err := paging.Query()
	if err != nil {
		return Page[webhookPolicy]{}, err
	}
	rows, total, err := a.options.Store.Webhooks(c.Context(), c.Project.ID, q)
	if err != nil {
		return Page[webhookPolicy]{}, err
	}
	return NewPage(paging, rows, total, viewWebhook), nil
}

// webhookInput is a webhook as it shall be.
type webhookInput struct {
	Body webhookPolicy `body:""`
}

func (a *API) createWebhook(c *Call, in webhookInput) (Created, error) {
	row, err := a.options.Webhooks.Create(c.Context(), c.actor(), c.Project, in.Body.wanted(c))
	return Created{Location: c.URL.EscapedPath() + "/" + strconv.FormatInt(row.ID, 10)}, err
}

// webhookTrial is what came of trying a target.
type webhookTrial struct {
	Address    string `json:"address"`
	Succeeded  bool   `json:"succeeded"`
	StatusCode int    `json:"status_code" doc:"that of the answer, 0 when there was none"`
	Response   string `json:"response" doc:"how the answer begins"`
	Error      string `json:"error"`
	Duration   int64  `json:"duration_ms"`
}

func (a *API) testWebhook(c *Call, in webhookInput) ([]webhookTrial, error) {
	wanted := in.Body.wanted(c)
	if wanted.Name == "" {
		wanted.Name = "test"
	}
	if len(wanted.EventTypes) == 0 {
		wanted.EventTypes = []string{string(webhook.PushArtifact)}
	}
	tried, err := a.options.Webhooks.Try(c.Context(), c.actor(), c.Project, in.Body.ID, wanted)
	if err != nil {
		return nil, err
	}
	trials := make([]webhookTrial, len(tried))
	for i, t := range tried {
		trials[i] = webhookTrial{
			Address: t.Address, Succeeded: t.Err == nil, StatusCode: t.Answer.Status, Response: t.Answer.Body, Duration: t.Answer.Duration.Milliseconds(),
		}
		if t.Err != nil {
			trials[i].Error = t.Err.Error()
		}
	}
	return trials, nil
}

// webhookID names a webhook.
type webhookID struct {
	ID int64 `path:"webhook_policy_id"`
}

func (a *API) getWebhook(c *Call, in webhookID) (webhookPolicy, error) {
	row, err := a.options.Webhooks.Get(c.Context(), c.Project, in.ID)
	return viewWebhook(row), err
}

func (a *API) updateWebhook(c *Call, in struct {
	webhookID
	webhookInput
},
) (None, error) {
	return None{}, a.options.Webhooks.Update(c.Context(), c.actor(), c.Project, in.ID, in.Body.wanted(c))
}

func (a *API) deleteWebhook(c *Call, in webhookID) (None, error) {
	return None{}, a.options.Webhooks.Delete(c.Context(), c.actor(), c.Project, in.ID)
}

// taskMetrics are how many tasks of an execution are how far.
type taskMetrics struct {
	Tasks     int `json:"task_count"`
	Succeeded int `json:"success_task_count"`
	Failed    int `json:"error_task_count"`
	Pending   int `json:"pending_task_count"`
	Running   int `json:"running_task_count"`
	Scheduled int `json:"scheduled_task_count"`
	Stopped   int `json:"stopped_task_count"`
}

// webhookExecution is a delivery as clients read it.
type webhookExecution struct {
	ID         int64          `json:"id"`
	VendorType string         `json:"vendor_type"`
	VendorID   int64          `json:"vendor_id"`
	Status     string         `json:"status"`
	Message    string         `json:"status_message"`
	Metrics    taskMetrics    `json:"metrics"`
	Trigger    string         `json:"trigger"`
	Extra      map[string]any `json:"extra_attrs"`
	StartedAt  Time           `json:"start_time"`
	EndedAt    *Time          `json:"end_time,omitempty"`
}

// told reads what an execution has about its delivery.
func told(e metadata.Execution) (t webhook.Told) {
	_ = json.Unmarshal([]byte(e.Parameters), &t) // of a newer version it may be something else
	return t
}

func viewWebhookExecution(e metadata.Execution) webhookExecution {
	t := told(e)
	view := webhookExecution{
		ID: e.ID, VendorType: webhook.Kind, VendorID: e.SubjectID, Status: string(e.Status), Message: e.Message, Trigger: e.Cause,
		StartedAt: Time(e.CreatedAt), EndedAt: moment(e.EndedAt), Metrics: taskMetrics{Tasks: 1},
		Extra: map[string]any{"event_type": t.EventType, "notify_type": t.NotifyType, "payload": t.Payload, "operator": e.Actor},
	}
	if t.NotifyType == webhook.TargetSlack {
		view.VendorType = "SLACK"
	}
	switch e.Status {
	case metadata.StatusSuccess:
		view.Metrics.Succeeded = 1
	case metadata.StatusError:
		view.Metrics.Failed = 1
	case metadata.StatusStopped:
		view.Metrics.Stopped = 1
	case metadata.StatusRunning:
		view.Metrics.Running = 1
	default:
		view.Metrics.Pending = 1
	}
	return view
}

func (a *API) listWebhookExecutions(c *Call, in struct {
	webhookID
	Paging
},
) (Page[webhookExecution], error) {
	q, _, err := in.Query()
	if err != nil {
		return Page[webhookExecution]{}, err
	}
	rows, total, err := a.options.Webhooks.Executions(c.Context(), c.Project, in.ID, q)
	if err != nil {
		return Page[webhookExecution]{}, err
	}
	return NewPage(in.Paging, rows, total, viewWebhookExecution), nil
}

// webhookExecutionID names a delivery.
type webhookExecutionID struct {
	webhookID
	Execution int64 `path:"execution_id"`
}

func (a *API) redeliver(c *Call, in webhookExecutionID) (Created, error) {
	execution, err := a.options.Webhooks.Redeliver(c.Context(), c.actor(), c.Project, in.ID, in.Execution)
	path := c.URL.EscapedPath()
	executions := path[:strings.LastIndex(path, "/executions/")] + "/executions/"
	return Created{Location: executions + strconv.FormatInt(execution.ID, 10)}, err
}

// webhookTask is the work on a delivery as clients read it.
type webhookTask struct {
	ID          int64          `json:"id"`
	ExecutionID int64          `json:"execution_id"`
	Status      string         `json:"status"`
	Message     string         `json:"status_message"`
	Runs        int            `json:"run_count"`
	Extra       map[string]any `json:"extra_attrs"`
	CreatedAt   Time           `json:"creation_time"`
	UpdatedAt   Time           `json:"update_time"`
	StartedAt   *Time          `json:"start_time,omitempty"`
	EndedAt     *Time          `json:"end_time,omitempty"`
}

func viewWebhookTask(d webhook.Delivered) webhookTask {
	view := webhookTask{
		ID: d.ID, ExecutionID: d.ExecutionID, Status: string(d.Status), Message: d.Message, Runs: d.Attempts, Extra: map[string]any{},
		CreatedAt: Time(d.CreatedAt), UpdatedAt: Time(d.UpdatedAt), StartedAt: moment(d.StartedAt), EndedAt: moment(d.EndedAt),
	}
	if d.Answer.TaskID != 0 {
		view.Extra = map[string]any{"status_code": d.Answer.Status, "response": d.Answer.Body, "duration_ms": d.Answer.Duration.Milliseconds()}
	}
	return view
}

func (a *API) listWebhookTasks(c *Call, in struct {
	webhookExecutionID
	Paging
},
) (Page[webhookTask], error) {
	rows, err := a.options.Webhooks.Tasks(c.Context(), c.Project, in.ID, in.Execution)
	if err != nil {
		return Page[webhookTask]{}, err
	}
	return pageOf(in.Paging, rows, viewWebhookTask)
}

func (a *API) getWebhookLog(c *Call, in struct {
	webhookExecutionID
	Task int64 `path:"task_id"`
},
) (Text, error) {
	text, err := a.options.Webhooks.Log(c.Context(), c.Project, in.ID, in.Execution, in.Task)
	return Text(text), err
}

// webhookTrigger is when a webhook was last told of a type of event.
type webhookTrigger struct {
	PolicyName string `json:"policy_name"`
	EventType  string `json:"event_type"`
	Enabled    bool   `json:"enabled"`
	CreatedAt  Time   `json:"creation_time"`
	Last       *Time  `json:"last_trigger_time,omitempty"`
}

func (a *API) lastTrigger(c *Call, _ struct{}) ([]webhookTrigger, error) {
	rows, err := a.options.Webhooks.Triggers(c.Context(), c.Project)
	if err != nil {
		return nil, err
	}
	triggers := make([]webhookTrigger, len(rows))
	for i, row := range rows {
		triggers[i] = webhookTrigger{
			PolicyName: row.Policy.Name, EventType: row.EventType, Enabled: row.Policy.Enabled, CreatedAt: Time(row.Policy.CreatedAt), Last: moment(row.Last.At),
		}
	}
	return triggers, nil
}

// supportedEventTypes is what webhooks can be made of.
type supportedEventTypes struct {
	EventTypes  []webhook.Type     `json:"event_type"`
	NotifyTypes []string           `json:"notify_type"`
	Formats     []supportedFormats `json:"payload_formats"`
}

// supportedFormats are the formats of payloads for a type of target.
type supportedFormats struct {
	NotifyType string   `json:"notify_type"`
	Formats    []string `json:"formats"`
}

func (a *API) getSupportedEventTypes(*Call, struct{}) (supportedEventTypes, error) {
	supported := supportedEventTypes{EventTypes: webhook.Types(), NotifyTypes: webhook.TargetTypes()}
	for _, t := range webhook.TargetTypes() {
		supported.Formats = append(supported.Formats, supportedFormats{t, webhook.Formats(t)})
	}
	return supported, nil
}

// webhookJob is a delivery in the form of earlier versions.
type webhookJob struct {
	ID         int64  `json:"id"`
	PolicyID   int64  `json:"policy_id"`
	EventType  string `json:"event_type"`
	NotifyType string `json:"notify_type"`
	Status     string `json:"status"`
	Detail     string `json:"job_detail"`
	CreatedAt  Time   `json:"creation_time"`
	UpdatedAt  Time   `json:"update_time"`
}

func viewWebhookJob(e metadata.Execution) webhookJob {
	t := told(e)
	return webhookJob{
		ID: e.ID, PolicyID: e.SubjectID, EventType: string(t.EventType), NotifyType: t.NotifyType, Status: string(e.Status), Detail: t.Payload,
		CreatedAt: Time(e.CreatedAt), UpdatedAt: Time(e.UpdatedAt),
	}
}

func (a *API) listWebhookJobs(c *Call, in struct {
	Paging
	PolicyID int64    `query:"policy_id"`
	Status   []string `query:"status" doc:"leaves others out; may be repeated"`
},
) (Page[webhookJob], error) {
	q, _, err := in.Query()
	if err != nil {
		return Page[webhookJob]{}, err
	}
	if len(in.Status) > 0 {
		condition := metadata.Condition{Field: "status", Comparison: metadata.AnyOf}
		for _, status := range in.Status {
			for word := range strings.SplitSeq(status, ",") { // as clients send lists
				condition.Values = append(condition.Values, word)
			}
		}
		q.Conditions = append(q.Conditions, condition)
	}
	rows, total, err := a.options.Webhooks.Executions(c.Context(), c.Project, in.PolicyID, q)
	if err != nil {
		return Page[webhookJob]{}, err
	}
	return NewPage(in.Paging, rows, total, viewWebhookJob), nil
}
