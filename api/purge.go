package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/notify/audit"
	"github.com/berth-registry/berth/policy"
)

func (a *API) purgeRoutes() []Route {
	const path, kind, tag = "/system/purgeaudit", "purge-audit", "purge"
	return []Route{
		define(Route{
			ID: "getPurgeHistory", Tag: tag, Method: http.MethodGet, Path: path, Summary: "Lists the purges of the audit log",
			Permission: inSystem(kind, policy.List), Statuses: []int{400, 401, 403, 422, 500},
		}, a.getPurgeHistory),
		define(Route{
			ID: "getPurgeJob", Tag: tag, Method: http.MethodGet, Path: path + "/{purge_id}", Summary: "Returns a purge",
			Permission: inSystem(kind, policy.Read), Statuses: []int{401, 403, 404, 500},
		}, a.getPurgeJob),
		define(Route{
			ID: "stopPurge", Tag: tag, Method: http.MethodPut, Path: path + "/{purge_id}", Summary: "Stops a purge",
			Permission: inSystem(kind, policy.Stop), Statuses: []int{401, 403, 404, 500},
		}, a.stopPurge),
		define(Route{
			ID: "getPurgeJobLog", Tag: tag, Method: http.MethodGet, Path: path + "/{purge_id}/log", Summary: "Returns the log of a purge",
			Permission: inSystem(kind, policy.Read), Statuses: []int{400, 401, 403, 404, 500},
		}, a.getPurgeJobLog),
		define(Route{
			ID: "getPurgeSchedule", Tag: tag, Method: http.MethodGet, Path: path + "/schedule", Summary: "Returns the schedule of purges; nothing where there is none",
			Permission: inSystem(kind, policy.Read), Statuses: []int{401, 403, 500},
		}, a.getPurgeSchedule),
		define(Route{
			ID: "createPurgeSchedule", Tag: tag, Method: http.MethodPost, Path: path + "/schedule", Summary: "Sets the schedule of purges, or purges now",
			Permission: inSystem(kind, policy.Create), Statuses: []int{400, 401, 403, 500},
		}, a.createPurgeSchedule),
		define(Route{
			ID: "updatePurgeSchedule", Tag: tag, Method: http.MethodPut, Path: path + "/schedule", Summary: "Changes or removes the schedule of purges, or purges now",
			Permission: inSystem(kind, policy.Update), Statuses: []int{400, 401, 403, 500},
		}, a.updatePurgeSchedule),
	}
}

// scheduleObject is when something happens.
type scheduleObject struct {
	Type string `json:"type" doc:"Hourly, Daily, Weekly or Custom; Manual for now, None for never"`
	Cron string `json:"cron" doc:"six fields, seconds first, in UTC"`
	Next *Time  `json:"next_scheduled_time,omitempty"`
}

// executionHistory is an execution, or a schedule, as clients read it.
type executionHistory struct {
	ID         int64          `json:"id"`
	JobName    string         `json:"job_name"`
	JobKind    string         `json:"job_kind"`
	Parameters string         `json:"job_parameters" doc:"a JSON object as text"`
	Status     string         `json:"job_status"`
	Deleted    bool           `json:"deleted"`
	Schedule   scheduleObject `json:"schedule"`
	CreatedAt  Time           `json:"creation_time"`
	UpdatedAt  Time           `json:"update_time"`
}

func viewExecution(e metadata.Execution) executionHistory {
	kind := "Manual"
	if e.Cause == "SCHEDULE" {
		kind = "Schedule"
	}
	return executionHistory{
		ID: e.ID, JobName: e.Kind, JobKind: e.Cause, Parameters: e.Parameters, Status: string(e.Status), Schedule: scheduleObject{Type: kind},
		CreatedAt: Time(e.CreatedAt), UpdatedAt: Time(e.UpdatedAt),
	}
}

func viewSchedule(s metadata.Schedule) executionHistory {
	next := Time(s.NextAt)
	return executionHistory{
		ID: s.ID, JobName: s.Kind, JobKind: "SCHEDULE", Parameters: s.Parameters, Schedule: scheduleObject{Type: s.Cadence, Cron: s.Cron, Next: &next},
		CreatedAt: Time(s.CreatedAt), UpdatedAt: Time(s.UpdatedAt),
	}
}

// purgeID names a purge.
type purgeID struct {
	ID int64 `path:"purge_id"`
}

func (a *API) getPurgeHistory(c *Call, paging Paging) (Page[executionHistory], error) {
	q, _, err := paging.Query()
	if err != nil {
		return Page[executionHistory]{}, err
	}
	rows, total, err := a.options.Purges.List(c.Context(), q)
	if err != nil {
		return Page[executionHistory]{}, err
	}
	return NewPage(paging, rows, total, viewExecution), nil
}

func (a *API) getPurgeJob(c *Call, in purgeID) (executionHistory, error) {
	execution, err := a.options.Purges.Get(c.Context(), in.ID)
	return viewExecution(execution), err
}

func (a *API) stopPurge(c *Call, in purgeID) (None, error) {
	return None{}, a.options.Purges.Stop(c.Context(), c.actor(), in.ID)
}

func (a *API) getPurgeJobLog(c *Call, in purgeID) (Text, error) {
	text, err := a.options.Purges.Log(c.Context(), in.ID)
	return Text(text), err
}

func (a *API) getPurgeSchedule(c *Call, _ struct{}) (Optional[executionHistory], error) {
	schedule, err := a.options.Purges.Schedule(c.Context())
	if errors.Is(err, metadata.ErrNotFound) {
		return Optional[executionHistory]{}, nil
	}
	if err != nil {
		return Optional[executionHistory]{}, err
	}
	view := viewSchedule(schedule)
	return Optional[executionHistory]{&view}, nil
}

// scheduleInput is the body of a schedule that is to be set.
type scheduleInput struct {
	Body struct {
		Parameters map[string]json.RawMessage `json:"parameters"`
		Schedule   scheduleObject             `json:"schedule"`
	} `body:""`
}

func (a *API) createPurgeSchedule(c *Call, in scheduleInput) (Created, error) {
	id, err := a.setPurgeSchedule(c, in)
	return Created{Location: strings.TrimSuffix(c.URL.Path, "/schedule") + "/" + strconv.FormatInt(id, 10)}, err
}

func (a *API) updatePurgeSchedule(c *Call, in scheduleInput) (None, error) {
	_, err := a.setPurgeSchedule(c, in)
	return None{}, err
}

// setPurgeSchedule does what the schedule says and returns the id of the execution that it began, 0 for none.
func (a *API) setPurgeSchedule(c *Call, in scheduleInput) (int64, error) {
	cadence := in.Body.Schedule.Type
	if cadence == "None" {
		return 0, a.options.Purges.RemoveSchedule(c.Context(), c.actor())
	}
	parameters, err := audit.ParsePurgeParameters(in.Body.Parameters)
	if err != nil {
		return 0, err
	}
	switch cadence {
	case "Manual":
		execution, err := a.options.Purges.Start(c.Context(), c.actor(), parameters)
		return execution.ID, err
	case "Hourly", "Daily", "Weekly", "Custom", "Schedule":
		return 0, a.options.Purges.SetSchedule(c.Context(), c.actor(), cadence, in.Body.Schedule.Cron, parameters)
	}
	return 0, fault.New(fault.Invalid, "schedule type %q is none of Hourly, Daily, Weekly, Custom, Manual and None", cadence)
}
