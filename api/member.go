package api

import (
	"fmt"
	"net/http"
	"net/url"

	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/policy"
	projects "github.com/berth-registry/berth/project"
)

func (a *API) memberRoutes() []Route {
	const all, one = "/projects/{project_name_or_id}/members", "/projects/{project_name_or_id}/members/{mid}"
	return []Route{
		define(Route{
			ID: "listProjectMembers", Tag: "member", Method: http.MethodGet, Path: all, Summary: "Lists the members of a project",
			Permission: inProject("member", policy.List), Statuses: []int{400, 401, 403, 404, 422, 500},
		}, a.listProjectMembers),
		define(Route{
			ID: "createProjectMember", Tag: "member", Method: http.MethodPost, Path: all, Summary: "Gives a user or group a role in a project",
			Permission: inProject("member", policy.Create), Statuses: []int{400, 401, 403, 404, 409, 500},
		}, a.createProjectMember),
		define(Route{
			ID: "getProjectMember", Tag: "member", Method: http.MethodGet, Path: one, Summary: "Returns a member of a project",
			Permission: inProject("member", policy.Read), Statuses: []int{400, 401, 403, 404, 422, 500},
		}, a.getProjectMember),
		define(Route{
			ID: "updateProjectMember", Tag: "member", Method: http.MethodPut, Path: one, Summary: "Gives a member another role",
			Permission: inProject("member", policy.Update), Statuses: []int{400, 401, 403, 404, 422, 500},
		}, a.updateProjectMember),
		define(Route{
			ID: "deleteProjectMember", Tag: "member", Method: http.MethodDelete, Path: one, Summary: "Takes a member's role away",
			Permission: inProject("member", policy.Delete), Statuses: []int{400, 401, 403, 404, 422, 500},
		}, a.deleteProjectMember),
	}
}

// member is a member as clients read it.
type member struct {
	ID         int64  `json:"id"`
	ProjectID  int64  `json:"project_id"`
	EntityName string `json:"entity_name"`
	EntityType string `json:"entity_type" doc:"u for a user, g for a group"`
	EntityID   int64  `json:"entity_id"`
	RoleID     int    `json:"role_id"`
	RoleName   string `json:"role_name"`
}

func viewMember(m metadata.Member) member {
	view := member{
		ID: m.ID, ProjectID: m.ProjectID, EntityName: m.Name, EntityType: "u", EntityID: m.UserID,
		RoleID: m.RoleID, RoleName: policy.Role(m.RoleID).String(),
	}
	if m.GroupID != 0 {
		view.EntityType, view.EntityID = "g", m.GroupID
	}
	return view
}

// listProjectMembersInput are the parameters of listProjectMembers.
type listProjectMembersInput struct {
	Paging
	Name string `query:"entityname" doc:"part of the name of the user or group"`
}

func (a *API) listProjectMembers(c *Call, in listProjectMembersInput) (Page[member], error) {
	q, _, err := in.Query()
	if err != nil {
		return Page[member]{}, err
	}
	if in.Name != "" {
		q.Conditions = append(q.Conditions, metadata.Condition{Field: "entity_name", Comparison: metadata.Contains, Values: []any{in.Name}})
	}
	rows, total, err := a.options.Store.ListMembers(c.Context(), c.Project.ID, q)
	if err != nil {
		return Page[member]{}, err
	}
	return NewPage(in.Paging, rows, total, viewMember), nil
}

// createProjectMemberInput names who becomes a member.
type createProjectMemberInput struct {
	Project string `path:"project_name_or_id"`
	Body    struct {
		RoleID int `json:"role_id" doc:"1 projectAdmin, 2 developer, 3 guest, 4 maintainer, 5 limitedGuest"`
		User   *struct {
			ID   int64  `json:"user_id,omitempty"`
			Name string `json:"username,omitempty"`
		} `json:"member_user,omitempty"`
		Group *struct {
			ID   int64  `json:"id,omitempty"`
			Name string `json:"group_name,omitempty"`
			Kind int    `json:"group_type,omitempty" doc:"1 LDAP, 2 HTTP, 3 OIDC"`
			DN   string `json:"ldap_group_dn,omitempty"`
		} `json:"member_group,omitempty"`
	} `body:""`
}

func (a *API) createProjectMember(c *Call, in createProjectMemberInput) (Created, error) {
	var candidate projects.Candidate
	if user := in.Body.User; user != nil {
		candidate.UserID, candidate.UserName = user.ID, user.Name
	}
	if group := in.Body.Group; group != nil {
		candidate.GroupID, candidate.GroupName, candidate.GroupKind, candidate.GroupDN = group.ID, group.Name, group.Kind, group.DN
	}
	id, err := a.options.Projects.AddMember(c.Context(), c.actor(), c.Project, candidate, policy.Role(in.Body.RoleID))
	return Created{Location: fmt.Sprintf("%s/projects/%s/members/%d", Prefix, url.PathEscape(in.Project), id)}, err
}

// memberInput names a member.
type memberInput struct {
	ID int64 `path:"mid"`
}

func (a *API) getProjectMember(c *Call, in memberInput) (member, error) {
	found, err := a.options.Store.Member(c.Context(), c.Project.ID, in.ID)
	return viewMember(found), err
}

// updateProjectMemberInput is a new role.
type updateProjectMemberInput struct {
	memberInput
	Body struct {
		RoleID int `json:"role_id"`
	} `body:""`
}

func (a *API) updateProjectMember(c *Call, in updateProjectMemberInput) (None, error) {
	return None{}, a.options.Projects.SetRole(c.Context(), c.actor(), c.Project, in.ID, policy.Role(in.Body.RoleID))
}

func (a *API) deleteProjectMember(c *Call, in memberInput) (None, error) {
	return None{}, a.options.Projects.RemoveMember(c.Context(), c.actor(), c.Project, in.ID)
}
