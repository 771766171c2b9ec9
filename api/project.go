package api

import (
	"net/http"

	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/policy"
)

func (a *API) projectRoutes() []Route {
	return []Route{
		define(Route{
			ID: "listProjects", Tag: "project", Method: http.MethodGet, Path: "/projects", Summary: "Lists the projects that the caller may see",
			Permission: inSystem("project", policy.List), Statuses: []int{400, 401, 422, 500},
		}, a.listProjects),
		define(Route{
			ID: "getProject", Tag: "project", Method: http.MethodGet, Path: "/projects/{project_name_or_id}", Summary: "Returns a project",
			Permission: inProject("project", policy.Read), Statuses: []int{401, 403, 404, 500},
		}, a.getProject),
	}
}

// project is a project as clients read it.
type project struct {
	ID        int64  `json:"project_id"`
	Name      string `json:"name"`
	OwnerID   int64  `json:"owner_id"`
	CreatedAt Time   `json:"creation_time"`
	UpdatedAt Time   `json:"update_time"`
}

func viewProject(p metadata.Project) project {
	return project{ID: p.ID, Name: p.Name, OwnerID: p.OwnerID, CreatedAt: Time(p.CreatedAt), UpdatedAt: Time(p.UpdatedAt)}
}

// listProjectsInput are the parameters of listProjects.
type listProjectsInput struct {
	Paging
	Name string `query:"name" doc:"part of the name"`
}

func (a *API) listProjects(c *Call, in listProjectsInput) (Page[project], error) {
	q, _, err := in.Query()
	if err != nil {
		return Page[project]{}, err
	}
	if in.Name != "" {
		q.Conditions = append(q.Conditions, metadata.Condition{Field: "name", Comparison: metadata.Contains, Values: []any{in.Name}})
	}
	view, err := c.view(policy.Read, "project")
	if err != nil {
		return Page[project]{}, err
	}
	rows, total, err := a.options.Store.ListProjects(c.Context(), view, q)
	if err != nil {
		return Page[project]{}, err
	}
	return NewPage(in.Paging, rows, total, viewProject), nil
}

func (a *API) getProject(c *Call, _ struct{}) (project, error) { return viewProject(c.Project), nil }
