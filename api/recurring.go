package api

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"

	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/jobs"
	"github.com/berth-registry/berth/metadata"
)

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

// viewExecution shows an execution whose parameters and outcome are JSON objects, which clients read as one.
func viewExecution(e metadata.Execution, outcome string) executionHistory {
	kind := "Manual"
	if e.Cause == "SCHEDULE" {
		kind = "Schedule"
	}
	return executionHistory{
		ID: e.ID, JobName: e.Kind, JobKind: e.Cause, Parameters: merged(e.Parameters, outcome), Status: string(e.Status), Schedule: scheduleObject{Type: kind},
		CreatedAt: Time(e.CreatedAt), UpdatedAt: Time(e.UpdatedAt),
	}
}

// merged joins two JSON objects.
func merged(first, second string) string {
	if second == "" || second == "{}" {
		return first
	}
	fields := map[string]json.RawMessage{}
	if json.Unmarshal([]byte(first), &fields) != nil || json.Unmarshal([]byte(second), &fields) != nil {
		return first
	}
	both, err := json.Marshal(fields)
	if err != nil {
		return first
	}
	return string(both)
}

func viewSchedule(s metadata.Schedule) executionHistory {
	next := Time(s.NextAt)
	return executionHistory{
		ID: s.ID, JobName: s.Kind, JobKind: "SCHEDULE", Parameters: s.Parameters, Schedule: scheduleObject{Type: s.Cadence, Cron: s.Cron, Next: &next},
		CreatedAt: Time(s.CreatedAt), UpdatedAt: Time(s.UpdatedAt),
	}
}

// recurring answers for work that the registry does for itself.
type recurring struct {
	work *jobs.Recurring
	// parse reads the parameters that clients send.
	parse func(given map[string]json.RawMessage) (jobs.Parameters, error)
}

func (w recurring) history(c *Call, paging Paging) (Page[executionHistory], error) {
	q, _, err := paging.Query()
	if err != nil {
		return Page[executionHistory]{}, err
	}
	rows, total, err := w.work.List(c.Context(), q)
	if err != nil {
		return Page[executionHistory]{}, err
	}
	outcomes, err := w.work.Outcomes(c.Context(), rows...)
	if err != nil {
		return Page[executionHistory]{}, err
	}
	return NewPage(paging, rows, total, func(e metadata.Execution) executionHistory { return viewExecution(e, outcomes[e.ID]) }), nil
}

func (w recurring) get(c *Call, id int64) (executionHistory, error) {
	execution, err := w.work.Get(c.Context(), id)
	if err != nil {
		return executionHistory{}, err
	}
	outcomes, err := w.work.Outcomes(c.Context(), execution)
	return viewExecution(execution, outcomes[id]), err
}

func (w recurring) schedule(c *Call) (Optional[executionHistory], error) {
	schedule, err := w.work.Schedule(c.Context())
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

// create is set with the path of what was begun.
func (w recurring) create(c *Call, in scheduleInput) (Created, error) {
	id, err := w.set(c, in)
	return Created{Location: strings.TrimSuffix(c.URL.Path, "/schedule") + "/" + strconv.FormatInt(id, 10)}, err
}

// set does what the schedule says and returns the id of the execution that it began, 0 for none.
func (w recurring) set(c *Call, in scheduleInput) (int64, error) {
	cadence := in.Body.Schedule.Type
	if cadence == "None" {
		return 0, w.work.RemoveSchedule(c.Context(), c.actor())
	}
	parameters, err := w.parse(in.Body.Parameters)
	if err != nil {
		return 0, err
	}
	switch cadence {
	case "Manual":
		execution, err := w.work.Start(c.Context(), c.actor(), parameters)
		return execution.ID, err
	case "Hourly", "Daily", "Weekly", "Custom", "Schedule":
		return 0, w.work.SetSchedule(c.Context(), c.actor(), cadence, in.Body.Schedule.Cron, parameters)
	}
	return 0, fault.New(fault.Invalid, "schedule type %q is none of Hourly, Daily, Weekly, Custom, Manual and None", cadence)
}
