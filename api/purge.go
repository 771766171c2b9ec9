package api

import (
	"encoding/json"
	"net/http"

	"github.com/berth-registry/berth/jobs"
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

// purgeID names a purge.
type purgeID struct {
	ID int64 `path:"purge_id"`
}

// purges are the routes' work.
func (a *API) purges() recurring {
	return recurring{a.options.Purges, func(given map[string]json.RawMessage) (jobs.Parameters, error) {
		return audit.ParsePurgeParameters(given)
	}}
}

func (a *API) getPurgeHistory(c *Call, paging Paging) (Page[executionHistory], error) {
	return a.purges().history(c, paging)
}

func (a *API) getPurgeJob(c *Call, in purgeID) (executionHistory, error) {
	return a.purges().get(c, in.ID)
}

func (a *API) stopPurge(c *Call, in purgeID) (None, error) {
	return None{}, a.options.Purges.Stop(c.Context(), c.actor(), in.ID)
}

func (a *API) getPurgeJobLog(c *Call, in purgeID) (Text, error) {
	text, err := a.options.Purges.Log(c.Context(), in.ID)
	return Text(text), err
}

func (a *API) getPurgeSchedule(c *Call, _ struct{}) (Optional[executionHistory], error) {
	return a.purges().schedule(c)
}

func (a *API) createPurgeSchedule(c *Call, in scheduleInput) (Created, error) {
	return a.purges().create(c, in)
}

func (a *API) updatePurgeSchedule(c *Call, in scheduleInput) (None, error) {
	_, err := a.purges().set(c, in)
	return None{}, err
}
