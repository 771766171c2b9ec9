package api

import (
	"encoding/json"
	"net/http"

	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/jobs"
	"github.com/berth-registry/berth/policy"
	"github.com/berth-registry/berth/registry"
)

func (a *API) gcRoutes() []Route {
	const path, kind, tag = "/system/gc", "garbage-collection", "gc"
	return []Route{
		define(Route{
			ID: "getGCHistory", Tag: tag, Method: http.MethodGet, Path: path, Summary: "Lists the garbage collections",
			Permission: inSystem(kind, policy.List), Statuses: []int{400, 401, 403, 422, 500},
		}, a.getGCHistory),
		define(Route{
			ID: "getGC", Tag: tag, Method: http.MethodGet, Path: path + "/{gc_id}", Summary: "Returns a garbage collection, with what it has freed so far",
			Permission: inSystem(kind, policy.Read), Statuses: []int{401, 403, 404, 500},
		}, a.getGC),
		define(Route{
			ID: "stopGC", Tag: tag, Method: http.MethodPut, Path: path + "/{gc_id}", Summary: "Stops a garbage collection; the next one goes on",
			Permission: inSystem(kind, policy.Stop), Statuses: []int{401, 403, 404, 500},
		}, a.stopGC),
		define(Route{
			ID: "getGCLog", Tag: tag, Method: http.MethodGet, Path: path + "/{gc_id}/log", Summary: "Returns the log of a garbage collection",
			Permission: inSystem(kind, policy.Read), Statuses: []int{400, 401, 403, 404, 500},
		}, a.getGCLog),
		define(Route{
			ID: "getGCSchedule", Tag: tag, Method: http.MethodGet, Path: path + "/schedule", Summary: "Returns the schedule of garbage collections; nothing where there is none",
			Permission: inSystem(kind, policy.Read), Statuses: []int{401, 403, 500},
		}, a.getGCSchedule),
		define(Route{
			ID: "createGCSchedule", Tag: tag, Method: http.MethodPost, Path: path + "/schedule", Summary: "Sets the schedule of garbage collections, or collects now",
			Permission: inSystem(kind, policy.Create), Statuses: []int{400, 401, 403, 409, 500},
		}, a.createGCSchedule),
		define(Route{
			ID: "updateGCSchedule", Tag: tag, Method: http.MethodPut, Path: path + "/schedule", Summary: "Changes or removes the schedule of garbage collections, or collects now",
			Permission: inSystem(kind, policy.Update), Statuses: []int{400, 401, 403, 500},
		}, a.updateGCSchedule),
	}
}

// gcID names a garbage collection.
type gcID struct {
	ID int64 `path:"gc_id"`
}

// collections are the routes' work.
func (a *API) collections() recurring {
	return recurring{a.options.Collections, func(given map[string]json.RawMessage) (jobs.Parameters, error) {
		encoded, err := json.Marshal(given)
		if err != nil {
			return nil, fault.New(fault.Invalid, "parameters: %v", err)
		}
		var parameters registry.CollectionParameters
		if err := json.Unmarshal(encoded, &parameters); err != nil {
			return nil, fault.New(fault.Invalid, "parameters: %v", err)
		}
		return parameters, nil
	}}
}

func (a *API) getGCHistory(c *Call, paging Paging) (Page[executionHistory], error) {
	return a.collections().history(c, paging)
}

func (a *API) getGC(c *Call, in gcID) (executionHistory, error) {
	return a.collections().get(c, in.ID)
}

func (a *API) stopGC(c *Call, in gcID) (None, error) {
	return None{}, a.options.Collections.Stop(c.Context(), c.actor(), in.ID)
}

func (a *API) getGCLog(c *Call, in gcID) (Text, error) {
	text, err := a.options.Collections.Log(c.Context(), in.ID)
	return Text(text), err
}

func (a *API) getGCSchedule(c *Call, _ struct{}) (Optional[executionHistory], error) {
	return a.collections().schedule(c)
}

func (a *API) createGCSchedule(c *Call, in scheduleInput) (Created, error) {
	return a.collections().create(c, in)
}

func (a *API) updateGCSchedule(c *Call, in scheduleInput) (None, error) {
	_, err := a.collections().set(c, in)
	return None{}, err
}
