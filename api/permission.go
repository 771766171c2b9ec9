package api

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/identity"
	"github.com/berth-registry/berth/identity/robot"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/policy"
)

func (a *API) permissionRoutes() []Route {
	return []Route{
		define(Route{
			ID: "getPermissions", Tag: "permissions", Method: http.MethodGet, Path: "/permissions",
			Summary:    "Returns what robot accounts can be allowed to do",
			Permission: onRow("robot", policy.Create), Statuses: []int{401, 403, 404, 500},
		}, a.getPermissions),
		define(Route{
			ID: "getCurrentUserPermissions", Tag: "user", Method: http.MethodGet, Path: "/users/current/permissions",
			Summary:    "Returns what the caller may do in a project, or to the registry itself",
			Permission: onRow("current-user", policy.Read), Statuses: []int{400, 401, 403, 500},
		}, a.getCurrentUserPermissions),
	}
}

// permission is an action on a kind of resource.
type permission struct {
	Resource string `json:"resource"`
	Action   string `json:"action"`
}

// permissions are those that can be given.
type permissions struct {
	System  []permission `json:"system"`
	Project []permission `json:"project"`
}

func viewRights(rights []robot.Right) []permission {
	view := make([]permission, 0, len(rights))
	for _, right := range rights {
		view = append(view, permission(right))
	}
	return view
}

// getPermissions shows to each what they could give: everything to who may make robots of the registry, the part of projects to who
// may make robots of some project.
func (a *API) getPermissions(c *Call, _ struct{}) (permissions, error) {
	answer := permissions{System: []permission{}, Project: viewRights(robot.ProjectRights())}
	c.asked = true
	system, err := c.Allows(policy.Create, policy.Resource{Kind: "robot"})
	if err != nil {
		return permissions{}, err
	}
	if system {
		answer.System = viewRights(robot.SystemRights())
		return answer, nil
	}
	view, err := c.view(policy.Create, "robot")
	if err != nil {
		return permissions{}, err
	}
	somewhere := view.All || len(view.Projects) > 0
	if !somewhere && view.UserID != 0 {
		of, err := a.options.Store.ProjectsOfMember(c.Context(), view.UserID)
		if err != nil {
			return permissions{}, err
		}
		for _, p := range of {
			if somewhere, err = c.Allows(policy.Create, policy.Resource{Project: p.Name, Kind: "robot"}); err != nil || somewhere {
				break
			}
		}
		if err != nil {
			return permissions{}, err
		}
	}
	if !somewhere {
		return permissions{}, c.refusal()
	}
	return answer, nil
}

// currentPermissionsInput are the parameters of getCurrentUserPermissions.
type currentPermissionsInput struct {
	Scope    string `query:"scope" doc:"/project/ID; without it the registry itself"`
	Relative bool   `query:"relative" doc:"name resources without the scope"`
}

func (a *API) getCurrentUserPermissions(c *Call, in currentPermissionsInput) ([]permission, error) {
	c.asked = true
	if c.Principal.Kind == identity.KindAnonymous {
		return nil, errUnauthorized
	}
	resource, rights, prefix := policy.Resource{}, viewRights(robot.SystemRights()), "/"
	if in.Scope != "" && in.Scope != "/" {
		project, err := a.scopedProject(c, in.Scope)
		if isMissing(err) {
			return []permission{}, nil
		}
		if err != nil {
			return nil, err
		}
		resource.Project, prefix = project.Name, "/project/"+strconv.FormatInt(project.ID, 10)+"/"
		rights = rights[:0]
		for _, p := range policy.ProjectPermissions() {
			rights = append(rights, permission{p.Kind, string(p.Action)})
		}
	}
	if in.Relative {
		prefix = ""
	}
	held := []permission{}
	for _, right := range rights {
		resource.Kind = right.Resource
		allowed, err := c.Allows(policy.Action(right.Action), resource)
		if err != nil {
			return nil, err
		}
		if allowed {
			held = append(held, permission{prefix + right.Resource, right.Action})
		}
	}
	return held, nil
}

// scopedProject returns the project of "/project/ID".
func (a *API) scopedProject(c *Call, scope string) (metadata.Project, error) {
	id, err := strconv.ParseInt(strings.TrimPrefix(scope, "/project/"), 10, 64)
	if err != nil {
		return metadata.Project{}, fault.New(fault.Invalid, "scope is %q: it must be like /project/1", scope)
	}
	return a.options.Store.ProjectByID(c.Context(), id)
}
