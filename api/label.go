package api

import (
	"errors"
	"net/http"
	"strconv"

	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/identity"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/policy"
)

func (a *API) labelRoutes() []Route {
	const all, one = "/labels", "/labels/{label_id}"
	return []Route{
		define(Route{
			ID: "ListLabels", Tag: "label", Method: http.MethodGet, Path: all, Summary: "Lists the labels of the registry or of a project",
			Permission: onRow("label", policy.List), Statuses: []int{400, 401, 403, 404, 422, 500},
		}, a.listLabels),
		define(Route{
			ID: "CreateLabel", Tag: "label", Method: http.MethodPost, Path: all, Summary: "Adds a label to the registry or to a project",
			Permission: onRow("label", policy.Create), Statuses: []int{400, 401, 403, 404, 409, 415, 500},
		}, a.createLabel),
		define(Route{
			ID: "GetLabelByID", Tag: "label", Method: http.MethodGet, Path: one, Summary: "Returns a label",
			Permission: onRow("label", policy.Read), Statuses: []int{401, 403, 404, 422, 500},
		}, a.getLabel),
		define(Route{
			ID: "UpdateLabel", Tag: "label", Method: http.MethodPut, Path: one, Summary: "Gives a label another name, description and color",
			Permission: onRow("label", policy.Update), Statuses: []int{400, 401, 403, 404, 409, 422, 500},
		}, a.updateLabel),
		define(Route{
			ID: "DeleteLabel", Tag: "label", Method: http.MethodDelete, Path: one, Summary: "Takes a label from all artifacts and removes it",
			Permission: onRow("label", policy.Delete), Statuses: []int{400, 401, 403, 404, 422, 500},
		}, a.deleteLabel),
	}
}

// The scopes of labels.
const (
	labelOfRegistry = "g"
	labelOfProject  = "p"
)

// label is a label as clients read it.
type label struct {
	ID          int64  `json:"id"`
	Name        string `json:"name"`
	Description string `json:"description"`
	Color       string `json:"color"`
	Scope       string `json:"scope" doc:"g for the registry, p for a project"`
	ProjectID   int64  `json:"project_id"`
	CreatedAt   Time   `json:"creation_time"`
	UpdatedAt   Time   `json:"update_time"`
}

func viewLabel(l metadata.Label) label {
	view := label{
		ID: l.ID, Name: l.Name, Description: l.Description, Color: l.Color, Scope: labelOfRegistry, ProjectID: l.ProjectID,
		CreatedAt: Time(l.CreatedAt), UpdatedAt: Time(l.UpdatedAt),
	}
	if l.ProjectID != 0 {
		view.Scope = labelOfProject
	}
	return view
}

// listLabelsInput are the parameters of ListLabels.
type listLabelsInput struct {
	Paging
	Name      string `query:"name" doc:"part of the name"`
	Scope     string `query:"scope" doc:"g for the registry, p for a project"`
	ProjectID int64  `query:"project_id" doc:"id of the project, for scope p"`
}

func (a *API) listLabels(c *Call, in listLabelsInput) (Page[label], error) {
	q, _, err := in.Query()
	if err != nil {
		return Page[label]{}, err
	}
	if in.Scope == "" && in.ProjectID != 0 {
		in.Scope = labelOfProject
	}
	project, err := c.enterLabels(in.Scope, in.ProjectID, policy.List)
	if err != nil {
		return Page[label]{}, err
	}
	if in.Name != "" {
		q.Conditions = append(q.Conditions, metadata.Condition{Field: "name", Comparison: metadata.Contains, Values: []any{in.Name}})
	}
	rows, total, err := a.options.Store.ListLabels(c.Context(), project.ID, q)
	if err != nil {
		return Page[label]{}, err
	}
	return NewPage(in.Paging, rows, total, viewLabel), nil
}

// enterLabels asks for the permission on the labels of a scope, and returns the project, which has no id for the registry.
func (c *Call) enterLabels(scope string, projectID int64, action policy.Action) (metadata.Project, error) {
	c.asked = true // to say that the request cannot be meant tells nothing
	switch scope {
	case labelOfRegistry, "":
		return metadata.Project{}, c.Authorize(action, policy.Resource{Kind: "label"})
	case labelOfProject:
		if projectID <= 0 {
			return metadata.Project{}, fault.New(fault.Invalid, "scope p needs the project_id of a project")
		}
		return c.enterProjectByID(projectID, policy.Resource{Kind: "label"}, action)
	}
	return metadata.Project{}, fault.New(fault.Invalid, "scope %q is neither g, for the registry, nor p, for a project", scope)
}

// enterProjectByID asks for a permission in a project that a parameter names. One that does not exist is told to nobody but system
// administrators.
func (c *Call) enterProjectByID(id int64, resource policy.Resource, action policy.Action) (metadata.Project, error) {
	project, err := c.api.options.Store.ProjectByID(c.Context(), id)
	if errors.Is(err, metadata.ErrNotFound) {
		c.asked = true
		if c.Principal.SystemAdmin {
			return project, fault.New(fault.NotFound, "project %d not found", id)
		}
		return project, c.refusal()
	}
	if err != nil {
		return project, err
	}
	resource.Project = project.Name
	return project, c.Authorize(action, resource)
}

// labelBody is a label as clients write it.
type labelBody struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	Color       string `json:"color"`
	Scope       string `json:"scope" doc:"g for the registry, p for a project; it stays"`
	ProjectID   int64  `json:"project_id" doc:"id of the project, for scope p; it stays"`
}

func (a *API) createLabel(c *Call, in struct {
	Body labelBody `body:""`
},
) (Created, error) {
	if in.Body.Scope == "" {
		in.Body.Scope = "none"
	}
	project, err := c.enterLabels(in.Body.Scope, in.Body.ProjectID, policy.Create)
	if err != nil {
		return Created{}, err
	}
	created, err := a.options.Projects.CreateLabel(c.Context(), c.actor(), project, metadata.Label{
		Name: in.Body.Name, Description: in.Body.Description, Color: in.Body.Color,
	})
	return Created{Location: Prefix + "/labels/" + strconv.FormatInt(created.ID, 10)}, err
}

// labelInput names a label.
type labelInput struct {
	ID int64 `path:"label_id"`
}

// enterLabel reads a label and asks for the permission on it. One that the caller may not read does not exist for them.
func (c *Call) enterLabel(id int64, action policy.Action) (metadata.Project, metadata.Label, error) {
	c.asked = true
	missing := error(fault.New(fault.NotFound, "label %d not found", id))
	if c.Principal.Kind == identity.KindAnonymous {
		missing = errUnauthorized
	}
	store := c.api.options.Store
	label, err := store.Label(c.Context(), id)
	if errors.Is(err, metadata.ErrNotFound) {
		return metadata.Project{}, label, missing
	}
	if err != nil {
		return metadata.Project{}, label, err
	}
	var project metadata.Project
	if label.ProjectID != 0 {
		if project, err = store.ProjectByID(c.Context(), label.ProjectID); errors.Is(err, metadata.ErrNotFound) {
			return project, label, missing
		} else if err != nil {
			return project, label, err
		}
	}
	resource := policy.Resource{Project: project.Name, Kind: "label"}
	readable, err := c.Allows(policy.Read, resource)
	if err != nil {
		return project, label, err
	}
	if refused := c.Authorize(action, resource); refused != nil {
		if !readable {
			return project, label, missing
		}
		return project, label, refused
	}
	return project, label, nil
}

func (a *API) getLabel(c *Call, in labelInput) (label, error) {
	_, label, err := c.enterLabel(in.ID, policy.Read)
	return viewLabel(label), err
}

// updateLabelInput is a label as it shall be.
type updateLabelInput struct {
	labelInput
	Body labelBody `body:""`
}

func (a *API) updateLabel(c *Call, in updateLabelInput) (None, error) {
	project, label, err := c.enterLabel(in.ID, policy.Update)
	if err != nil {
		return None{}, err
	}
	label.Name, label.Description, label.Color = in.Body.Name, in.Body.Description, in.Body.Color
	return None{}, a.options.Projects.UpdateLabel(c.Context(), c.actor(), project, label)
}

func (a *API) deleteLabel(c *Call, in labelInput) (None, error) {
	project, label, err := c.enterLabel(in.ID, policy.Delete)
	if err != nil {
		return None{}, err
	}
	return None{}, a.options.Projects.DeleteLabel(c.Context(), c.actor(), project, label)
}
