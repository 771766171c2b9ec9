package api

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/berth-registry/berth/jobs"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/policy"
)

func (a *API) jobRoutes() []Route {
	const path, kind, tag = "/jobservice", "jobservice-monitor", "jobservice"
	list, stop := inSystem(kind, policy.List), inSystem(kind, policy.Stop)
	return []Route{
		define(Route{
			ID: "getWorkerPools", Tag: tag, Method: http.MethodGet, Path: path + "/pools", Summary: "Lists the pools of workers, one of each gateway",
			Permission: list, Statuses: []int{401, 403, 500},
		}, a.getWorkerPools),
		define(Route{
			ID: "getWorkers", Tag: tag, Method: http.MethodGet, Path: path + "/pools/{pool_id}/workers", Summary: "Lists the workers of a pool, or of all, and what they do",
			Permission: list, Statuses: []int{401, 403, 404, 500},
		}, a.getWorkers),
		define(Route{
			ID: "getJob", Tag: tag, Method: http.MethodGet, Path: path + "/jobs/{job_id}", Summary: "Returns a task",
			Permission: list, Statuses: []int{401, 403, 404, 500},
		}, a.getJob),
		define(Route{
			ID: "stopRunningJob", Tag: tag, Method: http.MethodPut, Path: path + "/jobs/{job_id}", Summary: "Stops a task, or all that run",
			Permission: stop, Statuses: []int{401, 403, 404, 500},
		}, a.stopRunningJob),
		define(Route{
			ID: "actionGetJobLog", Tag: tag, Method: http.MethodGet, Path: path + "/jobs/{job_id}/log", Summary: "Returns the log of a task as far as it goes",
			Permission: list, Statuses: []int{401, 403, 404, 500},
		}, a.getJobLog),
		define(Route{
			ID: "listJobQueues", Tag: tag, Method: http.MethodGet, Path: path + "/queues", Summary: "Lists how much waits, by kind of work",
			Permission: list, Statuses: []int{401, 403, 404, 500},
		}, a.listJobQueues),
		define(Route{
			ID: "actionPendingJobs", Tag: tag, Method: http.MethodPut, Path: path + "/queues/{job_type}",
			Summary:    "Pauses or resumes a queue, or all, or stops what waits in it; what runs goes on",
			Permission: stop, Statuses: []int{400, 401, 403, 404, 422, 500},
		}, a.actionPendingJobs),
		define(Route{
			ID: "listExecutions", Tag: tag, Method: http.MethodGet, Path: path + "/executions", Summary: "Lists executions of all kinds of work, the newest first",
			Permission: list, Statuses: []int{400, 401, 403, 422, 500},
		}, a.listExecutions),
		define(Route{
			ID: "stopExecution", Tag: tag, Method: http.MethodPut, Path: path + "/executions/{execution_id}", Summary: "Stops an execution",
			Permission: stop, Statuses: []int{401, 403, 404, 422, 500},
		}, a.stopExecution),
		define(Route{
			ID: "listTasks", Tag: tag, Method: http.MethodGet, Path: path + "/executions/{execution_id}/tasks", Summary: "Lists the tasks of an execution",
			Permission: list, Statuses: []int{400, 401, 403, 404, 422, 500},
		}, a.listTasks),
		define(Route{
			ID: "listSchedules", Tag: "schedule", Method: http.MethodGet, Path: "/schedules", Summary: "Lists all schedules",
			Permission: list, Statuses: []int{400, 401, 403, 404, 422, 500},
		}, a.listSchedules),
		define(Route{
			ID: "getSchedulePaused", Tag: "schedule", Method: http.MethodGet, Path: "/schedules/{job_type}/paused", Summary: "Tells whether schedules are paused",
			Permission: list, Statuses: []int{400, 401, 403, 404, 500},
		}, a.getSchedulePaused),
	}
}

// workerPool is the workers of one process.
type workerPool struct {
	ID          string `json:"worker_pool_id"`
	Host        string `json:"host"`
	PID         int64  `json:"pid"`
	Concurrency int64  `json:"concurrency" doc:"how many tasks it does at a time"`
	StartAt     Time   `json:"start_at"`
	HeartbeatAt Time   `json:"heartbeat_at"`
}

// worker is one of a pool. What does nothing has no job.
type worker struct {
	ID        string `json:"id"`
	PoolID    string `json:"pool_id"`
	JobID     string `json:"job_id"`
	JobName   string `json:"job_name"`
	CheckIn   string `json:"check_in" doc:"what the task has come to so far"`
	StartAt   *Time  `json:"start_at" nullable:"true"`
	CheckinAt *Time  `json:"checkin_at" nullable:"true"`
}

// jobQueue is what waits of one kind of work.
type jobQueue struct {
	JobType string `json:"job_type"`
	Count   int64  `json:"count" doc:"tasks that are due and do not run"`
	Latency int64  `json:"latency" doc:"how long the first of them has been due, in seconds"`
	Paused  bool   `json:"paused"`
}

// taskView is a task.
type taskView struct {
	ID          int64  `json:"id"`
	ExecutionID int64  `json:"execution_id"`
	Kind        string `json:"kind"`
	Status      string `json:"status"`
	Message     string `json:"status_message"`
	Attempts    int    `json:"attempts"`
	Worker      string `json:"worker_pool_id"`
	Parameters  string `json:"parameters" doc:"a JSON object as text"`
	Outcome     string `json:"outcome" doc:"a JSON object as text"`
	DueAt       *Time  `json:"due_time"`
	CreatedAt   Time   `json:"creation_time"`
	UpdatedAt   Time   `json:"update_time"`
	StartedAt   *Time  `json:"start_time"`
	EndedAt     *Time  `json:"end_time"`
}

// executionView is an execution of any kind of work.
type executionView struct {
	ID         int64  `json:"id"`
	VendorType string `json:"vendor_type"`
	VendorID   int64  `json:"vendor_id"`
	Status     string `json:"status"`
	Message    string `json:"status_message"`
	Trigger    string `json:"trigger"`
	Actor      string `json:"operator"`
	Parameters string `json:"parameters" doc:"a JSON object as text"`
	CreatedAt  Time   `json:"creation_time"`
	UpdatedAt  Time   `json:"update_time"`
	StartedAt  *Time  `json:"start_time"`
	EndedAt    *Time  `json:"end_time"`
}

// scheduleTask is a schedule of any kind of work.
type scheduleTask struct {
	ID         int64  `json:"id"`
	VendorType string `json:"vendor_type"`
	VendorID   int64  `json:"vendor_id"`
	Cron       string `json:"cron"`
	Next       Time   `json:"next_scheduled_time"`
	UpdatedAt  Time   `json:"update_time"`
}

// schedulerStatus tells whether schedules are paused.
type schedulerStatus struct {
	Paused bool `json:"paused"`
}

// present is a time that may be missing.
func present(at time.Time) *Time {
	if at.IsZero() {
		return nil
	}
	shown := Time(at)
	return &shown
}

func (a *API) getWorkerPools(c *Call, _ struct{}) ([]workerPool, error) {
	pools, err := a.options.Jobs.Pools(c.Context())
	shown := make([]workerPool, 0, len(pools))
	for _, p := range pools {
		shown = append(shown, workerPool{
			ID: p.ID, Host: p.Host, PID: p.PID, Concurrency: p.Workers, StartAt: Time(p.StartedAt), HeartbeatAt: Time(p.SeenAt),
		})
	}
	return shown, err
}

// poolID names a pool, or "all".
type poolID struct {
	ID string `path:"pool_id"`
}

func (a *API) getWorkers(c *Call, in poolID) ([]worker, error) {
	tasks, err := a.options.Jobs.Working(c.Context(), in.ID)
	if err != nil {
		return nil, err
	}
	pools, err := a.options.Jobs.Pools(c.Context())
	if err != nil {
		return nil, err
	}
	workers := []worker{}
	for _, pool := range pools {
		if in.ID != jobs.AllQueues && in.ID != pool.ID {
			continue
		}
		busy := 0
		for _, t := range tasks {
			if t.Holder != pool.ID {
				continue
			}
			busy++
			workers = append(workers, worker{
				ID: fmt.Sprintf("%s-%d", pool.ID, busy), PoolID: pool.ID, JobID: strconv.FormatInt(t.ID, 10), JobName: t.Kind, CheckIn: t.Outcome,
				StartAt: present(t.StartedAt), CheckinAt: present(t.UpdatedAt),
			})
		}
		for n := busy + 1; n <= int(pool.Workers); n++ {
			workers = append(workers, worker{ID: fmt.Sprintf("%s-%d", pool.ID, n), PoolID: pool.ID})
		}
	}
	return workers, nil
}

// jobID names a task, or "all".
type jobID struct {
	ID string `path:"job_id"`
}

// number is the id of a task; what is no number names none.
func (in jobID) number() (int64, error) {
	id, err := strconv.ParseInt(in.ID, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("task %q: %w", in.ID, metadata.ErrNotFound)
	}
	return id, nil
}

func viewTask(t metadata.Task) taskView {
	return taskView{
		ID: t.ID, ExecutionID: t.ExecutionID, Kind: t.Kind, Status: string(t.Status), Message: t.Message, Attempts: t.Attempts, Worker: t.Holder,
		Parameters: t.Parameters, Outcome: t.Outcome, DueAt: present(t.DueAt), CreatedAt: Time(t.CreatedAt), UpdatedAt: Time(t.UpdatedAt),
		StartedAt: present(t.StartedAt), EndedAt: present(t.EndedAt),
	}
}

func (a *API) getJob(c *Call, in jobID) (taskView, error) {
	id, err := in.number()
	if err != nil {
		return taskView{}, err
	}
	task, err := a.options.Jobs.Task(c.Context(), id)
	return viewTask(task), err
}

func (a *API) stopRunningJob(c *Call, in jobID) (None, error) {
	if in.ID == jobs.AllQueues {
		return None{}, a.options.Jobs.StopRunning(c.Context(), c.actor())
	}
	id, err := in.number()
	if err != nil {
		return None{}, err
	}
	return None{}, a.options.Jobs.StopTask(c.Context(), c.actor(), id)
}

func (a *API) getJobLog(c *Call, in jobID) (Text, error) {
	id, err := in.number()
	if err != nil {
		return "", err
	}
	text, err := a.options.Jobs.TaskLog(c.Context(), id)
	return Text(text), err
}

func (a *API) listJobQueues(c *Call, _ struct{}) ([]jobQueue, error) {
	queues, err := a.options.Jobs.Queues(c.Context())
	shown := make([]jobQueue, 0, len(queues))
	for _, q := range queues {
		view := jobQueue{JobType: q.Kind, Count: q.Waiting, Paused: q.Paused}
		if !q.Since.IsZero() {
			view.Latency = int64(max(time.Since(q.Since), 0) / time.Second)
		}
		shown = append(shown, view)
	}
	return shown, err
}

// actionInput is what to do with a queue.
type actionInput struct {
	JobType string `path:"job_type"`
	Body    struct {
		Action string `json:"action" doc:"stop, pause or resume"`
	} `body:""`
}

func (a *API) actionPendingJobs(c *Call, in actionInput) (None, error) {
	if actions := []string{"stop", "pause", "resume"}; !slices.Contains(actions, in.Body.Action) {
		return None{}, unprocessable("action %q is none of stop, pause and resume", in.Body.Action)
	}
	if in.Body.Action == "stop" {
		return None{}, a.options.Jobs.StopQueue(c.Context(), c.actor(), in.JobType)
	}
	return None{}, a.options.Jobs.PauseQueue(c.Context(), c.actor(), in.JobType, in.Body.Action == "pause")
}

func viewAnyExecution(e metadata.Execution) executionView {
	return executionView{
		ID: e.ID, VendorType: e.Kind, VendorID: e.SubjectID, Status: string(e.Status), Message: e.Message, Trigger: e.Cause, Actor: e.Actor,
		Parameters: e.Parameters, CreatedAt: Time(e.CreatedAt), UpdatedAt: Time(e.UpdatedAt), StartedAt: present(e.StartedAt), EndedAt: present(e.EndedAt),
	}
}

func (a *API) listExecutions(c *Call, paging Paging) (Page[executionView], error) {
	q, _, err := paging.Query()
	if err != nil {
		return Page[executionView]{}, err
	}
	rows, total, err := a.options.Jobs.Executions(c.Context(), q)
	if err != nil {
		return Page[executionView]{}, err
	}
	return NewPage(paging, rows, total, viewAnyExecution), nil
}

// executionID names an execution.
type executionID struct {
	ID int64 `path:"execution_id"`
}

func (a *API) stopExecution(c *Call, in executionID) (None, error) {
	return None{}, a.options.Jobs.StopExecution(c.Context(), c.actor(), in.ID)
}

// tasksInput names an execution and a page of its tasks.
type tasksInput struct {
	Paging
	ID int64 `path:"execution_id"`
}

func (a *API) listTasks(c *Call, in tasksInput) (Page[taskView], error) {
	q, _, err := in.Query()
	if err != nil {
		return Page[taskView]{}, err
	}
	rows, total, err := a.options.Jobs.Tasks(c.Context(), in.ID, q)
	if err != nil {
		return Page[taskView]{}, err
	}
	return NewPage(in.Paging, rows, total, viewTask), nil
}

func (a *API) listSchedules(c *Call, paging Paging) (Page[scheduleTask], error) {
	q, _, err := paging.Query()
	if err != nil {
		return Page[scheduleTask]{}, err
	}
	rows, total, err := a.options.Jobs.Schedules(c.Context(), q)
	if err != nil {
		return Page[scheduleTask]{}, err
	}
	return NewPage(paging, rows, total, func(s metadata.Schedule) scheduleTask {
		return scheduleTask{ID: s.ID, VendorType: s.Kind, VendorID: s.SubjectID, Cron: s.Cron, Next: Time(s.NextAt), UpdatedAt: Time(s.UpdatedAt)}
	}), nil
}

// jobType names a queue, or "all".
type jobType struct {
	Name string `path:"job_type"`
}

func (a *API) getSchedulePaused(c *Call, in jobType) (schedulerStatus, error) {
	paused, err := a.options.Jobs.Paused(c.Context(), in.Name)
	return schedulerStatus{paused}, err
}
