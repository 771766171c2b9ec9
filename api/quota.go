package api

import (
	"errors"
	"net/http"

	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/policy"
	quotas "github.com/berth-registry/berth/project/quota"
)

func (a *API) quotaRoutes() []Route {
	return []Route{
		define(Route{
			ID: "listQuotas", Tag: "quota", Method: http.MethodGet, Path: "/quotas", Summary: "Lists the storage quotas of projects",
			Permission: inSystem("quota", policy.List), Statuses: []int{401, 403, 500},
		}, a.listQuotas),
		define(Route{
			ID: "getQuota", Tag: "quota", Method: http.MethodGet, Path: "/quotas/{id}", Summary: "Returns the storage quota of a project",
			Permission: inSystem("quota", policy.Read), Statuses: []int{401, 403, 404, 500},
		}, a.getQuota),
		define(Route{
			ID: "updateQuota", Tag: "quota", Method: http.MethodPut, Path: "/quotas/{id}", Summary: "Sets how much a project may hold",
			Permission: inSystem("quota", policy.Update), Statuses: []int{400, 401, 403, 404, 500},
		}, a.updateQuota),
	}
}

// storageList has the one resource that is limited, as clients read it.
type storageList struct {
	Storage int64 `json:"storage" doc:"bytes; -1 is no limit"`
}

// quotaReference is the project that a quota is of.
type quotaReference struct {
	ID    int64  `json:"id"`
	Name  string `json:"name"`
	Owner string `json:"owner_name"`
}

// quota is a quota as clients read it. Its id is that of the project.
type quota struct {
	ID        int64          `json:"id"`
	Reference quotaReference `json:"ref"`
	Hard      storageList    `json:"hard"`
	Used      storageList    `json:"used"`
	CreatedAt Time           `json:"creation_time"`
	UpdatedAt Time           `json:"update_time"`
}

func viewQuota(q metadata.Quota) quota {
	return quota{
		ID: q.ProjectID, Reference: quotaReference{q.ProjectID, q.Project, q.Owner}, Hard: storageList{q.Limit}, Used: storageList{q.Used},
		CreatedAt: Time(q.CreatedAt), UpdatedAt: Time(q.UpdatedAt),
	}
}

// listQuotasInput are the parameters of listQuotas.
type listQuotasInput struct {
	Paging
	Reference   string `query:"reference" doc:"kind of what has the quota: project"`
	ReferenceID string `query:"reference_id" doc:"id of the project"`
}

func (a *API) listQuotas(c *Call, in listQuotasInput) (Page[quota], error) {
	q, _, err := in.Query()
	if err != nil {
		return Page[quota]{}, err
	}
	if in.Reference != "" && in.Reference != "project" {
		return Page[quota]{Paging: in.Paging}, nil
	}
	if in.ReferenceID != "" {
		q.Conditions = append(q.Conditions, metadata.Condition{Field: "reference_id", Comparison: metadata.Equal, Values: []any{in.ReferenceID}})
	}
	rows, total, err := a.options.Store.ListQuotas(c.Context(), q)
	if err != nil {
		return Page[quota]{}, err
	}
	return NewPage(in.Paging, rows, total, viewQuota), nil
}

// quotaInput names a quota.
type quotaInput struct {
	ID int64 `path:"id"`
}

func (a *API) getQuota(c *Call, in quotaInput) (quota, error) {
	row, err := a.options.Store.Quota(c.Context(), in.ID)
	if errors.Is(err, metadata.ErrNotFound) {
		return quota{}, fault.Because(err, fault.NotFound, "quota %d not found", in.ID)
	}
	if err != nil {
		return quota{}, err
	}
	return viewQuota(row), nil
}

// updateQuotaInput is a new limit.
type updateQuotaInput struct {
	quotaInput
	Body struct {
		Hard map[string]int64 `json:"hard" doc:"the limit by resource, of which there is one: storage"`
	} `body:""`
}

func (a *API) updateQuota(c *Call, in updateQuotaInput) (None, error) {
	limit, given := in.Body.Hard["storage"]
	if !given || len(in.Body.Hard) > 1 {
		return None{}, fault.New(fault.Invalid, "hard must have the limit of storage and of nothing else")
	}
	return None{}, quotas.New(a.options.Store).SetLimit(c.Context(), c.actor(), in.ID, limit)
}
