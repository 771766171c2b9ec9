package api

import (
	"net/http"
	"strconv"
	"time"

	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/policy"
	projects "github.com/berth-registry/berth/project"
)

func (a *API) projectRoutes() []Route {
	const all, one = "/projects", "/projects/{project_name_or_id}"
	return []Route{
		define(Route{
			ID: "listProjects", Tag: "project", Method: http.MethodGet, Path: all, Summary: "Lists the projects that the caller may see",
			Permission: inSystem("project", policy.List), Statuses: []int{400, 401, 422, 500},
		}, a.listProjects),
		define(Route{
			ID: "headProject", Tag: "project", Method: http.MethodHead, Path: all, Summary: "Tells whether a project exists",
			Permission: inSystem("project", policy.Search), Statuses: []int{400, 401, 404, 500},
		}, a.headProject),
		define(Route{
			ID: "createProject", Tag: "project", Method: http.MethodPost, Path: all, Summary: "Creates a project, whose administrator the caller becomes",
			Permission: inSystem("project", policy.Create), Statuses: []int{400, 401, 403, 409, 500},
		}, a.createProject),
		define(Route{
			ID: "getProject", Tag: "project", Method: http.MethodGet, Path: one, Summary: "Returns a project",
			Permission: inProject("project", policy.Read), Statuses: []int{401, 403, 404, 500},
		}, a.getProject),
		define(Route{
			ID: "updateProject", Tag: "project", Method: http.MethodPut, Path: one, Summary: "Sets metadata and the allowlist of a project",
			Permission: inProject("project", policy.Update), Statuses: []int{400, 401, 403, 404, 500},
		}, a.updateProject),
		define(Route{
			ID: "deleteProject", Tag: "project", Method: http.MethodDelete, Path: one, Summary: "Deletes a project without repositories",
			Permission: inProject("project", policy.Delete), Statuses: []int{400, 401, 403, 404, 412, 500},
		}, a.deleteProject),
		define(Route{
			ID: "getProjectDeletable", Tag: "project", Method: http.MethodGet, Path: one + "/_deletable", Summary: "Tells whether a project can be deleted",
			Permission: inProject("project", policy.Delete), Statuses: []int{401, 403, 404, 500},
		}, a.getProjectDeletable),
		define(Route{
			ID: "getProjectSummary", Tag: "project", Method: http.MethodGet, Path: one + "/summary", Summary: "Counts what a project has",
			Permission: inProject("project", policy.Read), Statuses: []int{400, 401, 403, 404, 500},
		}, a.getProjectSummary),
	}
}

// project is a project as clients read it.
type project struct {
	ID        int64  `json:"project_id"`
	Name      string `json:"name"`
	OwnerID   int64  `json:"owner_id"`
	OwnerName string `json:"owner_name"`
	CreatedAt Time   `json:"creation_time"`
	UpdatedAt Time   `json:"update_time"`
	Deleted   bool   `json:"deleted"`
	// Togglable tells consoles that the caller may make the project public.
	Togglable    bool              `json:"togglable"`
	RoleID       int               `json:"current_user_role_id" doc:"the strongest role of the caller, 0 for none"`
	RoleIDs      []int             `json:"current_user_role_ids"`
	Repositories int64             `json:"repo_count"`
	RegistryID   int64             `json:"registry_id,omitempty" doc:"registry that the project is a cache of"`
	Metadata     map[string]string `json:"metadata"`
	Allowlist    cveAllowlist      `json:"cve_allowlist"`
}

// viewProject is a project as the caller sees it.
func (c *Call) viewProject(p metadata.ProjectDetail) project {
	role := policy.Strongest(p.RoleIDs)
	p.Allowlist.ProjectID = p.ID
	view := project{
		ID: p.ID, Name: p.Name, OwnerID: p.OwnerID, OwnerName: p.OwnerName, CreatedAt: Time(p.CreatedAt), UpdatedAt: Time(p.UpdatedAt),
		Togglable: c.Principal.SystemAdmin || role == policy.ProjectAdmin, RoleID: int(role), RoleIDs: p.RoleIDs,
		Repositories: p.RepositoryCount, RegistryID: p.RegistryID, Metadata: projects.Metadata(p), Allowlist: viewAllowlist(p.Allowlist),
	}
	if view.RoleIDs == nil {
		view.RoleIDs = []int{}
	}
	return view
}

// listProjectsInput are the parameters of listProjects.
type listProjectsInput struct {
	Paging
	Name       string `query:"name" doc:"part of the name"`
	Public     *bool  `query:"public" doc:"whether they are public"`
	Owner      string `query:"owner" doc:"name of the owner"`
	WithDetail *bool  `query:"with_detail" doc:"taken for the sake of clients: details are always there"`
}

func (a *API) listProjects(c *Call, in listProjectsInput) (Page[project], error) {
	q, _, err := in.Query()
	if err != nil {
		return Page[project]{}, err
	}
	if in.Name != "" {
		q.Conditions = append(q.Conditions, metadata.Condition{Field: "name", Comparison: metadata.Contains, Values: []any{in.Name}})
	}
	if in.Public != nil {
		q.Conditions = append(q.Conditions, metadata.Condition{Field: "public", Comparison: metadata.Equal, Values: []any{*in.Public}})
	}
	if in.Owner != "" {
		q.Conditions = append(q.Conditions, metadata.Condition{Field: "owner", Comparison: metadata.Equal, Values: []any{in.Owner}})
	}
	view, err := c.view(policy.Read, "project")
	if err != nil {
		return Page[project]{}, err
	}
	rows, total, err := a.options.Store.ListProjects(c.Context(), view, q)
	if err != nil {
		return Page[project]{}, err
	}
	details, err := a.options.Store.ProjectDetails(c.Context(), rows, c.Principal.UserID())
	if err != nil {
		return Page[project]{}, err
	}
	return NewPage(in.Paging, details, total, c.viewProject), nil
}

// headProjectInput names a project.
type headProjectInput struct {
	Name string `query:"project_name"`
}

func (a *API) headProject(c *Call, in headProjectInput) (None, error) {
	if err := projects.CheckName(in.Name); err != nil {
		return None{}, err
	}
	_, err := a.options.Store.Project(c.Context(), in.Name)
	return None{}, err
}

// projectBody is a project as clients write it.
type projectBody struct {
	Name string `json:"project_name"`
	// Public is how clients of old say what the metadata say now.
	Public       *bool             `json:"public,omitempty"`
	Metadata     map[string]string `json:"metadata,omitempty"`
	StorageLimit *int64            `json:"storage_limit,omitempty" doc:"bytes, -1 for no limit; only system administrators choose it"`
	RegistryID   *int64            `json:"registry_id,omitempty" doc:"registry that the project is a cache of"`
	Allowlist    *allowlistBody    `json:"cve_allowlist,omitempty"`
}

// metadata returns the metadata with what is said in the way of old.
func (b projectBody) metadata() map[string]string {
	if b.Public == nil || b.Metadata["public"] != "" {
		return b.Metadata
	}
	values := map[string]string{"public": strconv.FormatBool(*b.Public)}
	for key, value := range b.Metadata {
		if value != "" {
			values[key] = value
		}
	}
	return values
}

// createProjectInput is a project that is to be made.
type createProjectInput struct {
	NameInLocation bool        `header:"X-Resource-Name-In-Location" doc:"whether the Location ends in the name instead of the id"`
	Body           projectBody `body:""`
}

func (a *API) createProject(c *Call, in createProjectInput) (Created, error) {
	created, err := a.options.Projects.Create(c.Context(), c.actor(), c.Principal, projects.Wanted{
		Name: in.Body.Name, Metadata: in.Body.metadata(), Limit: in.Body.StorageLimit, Allowlist: in.Body.Allowlist.list(),
		RegistryID: in.Body.RegistryID,
	})
	if err != nil {
		return Created{}, err
	}
	named := strconv.FormatInt(created.ID, 10)
	if in.NameInLocation {
		named = created.Name
	}
	return Created{Location: Prefix + "/projects/" + named}, nil
}

func (a *API) getProject(c *Call, _ struct{}) (project, error) {
	detail, err := c.projectDetail()
	return c.viewProject(detail), err
}

// projectDetail returns what is kept about the project of the path.
func (c *Call) projectDetail() (metadata.ProjectDetail, error) {
	details, err := c.api.options.Store.ProjectDetails(c.Context(), []metadata.Project{c.Project}, c.Principal.UserID())
	if err != nil {
		return metadata.ProjectDetail{}, err
	}
	return details[0], nil
}

// updateProjectInput is what is to change. Name and limit of a project stay.
type updateProjectInput struct {
	Body projectBody `body:""`
}

func (a *API) updateProject(c *Call, in updateProjectInput) (None, error) {
	return None{}, a.options.Projects.Update(c.Context(), c.actor(), c.Project, projects.Edit{
		Metadata: in.Body.metadata(), Allowlist: in.Body.Allowlist.list(), RegistryID: in.Body.RegistryID,
	})
}

func (a *API) deleteProject(c *Call, _ struct{}) (None, error) {
	return None{}, a.options.Projects.Delete(c.Context(), c.actor(), c.Project)
}

// projectDeletable tells whether a project can be deleted.
type projectDeletable struct {
	Deletable bool   `json:"deletable"`
	Message   string `json:"message" doc:"why not"`
}

func (a *API) getProjectDeletable(c *Call, _ struct{}) (projectDeletable, error) {
	detail, err := c.projectDetail()
	reason := projects.Deletable(detail)
	return projectDeletable{Deletable: reason == "", Message: reason}, err
}

// projectSummary are the numbers of a project. Those of members and the quota are for who may see them.
type projectSummary struct {
	Repositories  int64                `json:"repo_count"`
	ProjectAdmins int64                `json:"project_admin_count,omitempty"`
	Maintainers   int64                `json:"maintainer_count,omitempty"`
	Developers    int64                `json:"developer_count,omitempty"`
	Guests        int64                `json:"guest_count,omitempty"`
	LimitedGuests int64                `json:"limited_guest_count,omitempty"`
	Quota         *projectSummaryQuota `json:"quota,omitempty"`
	// Registry is the one that the project is a cache of; how it is logged in to is not told.
	Registry *remoteRegistry `json:"registry,omitempty"`
}

type projectSummaryQuota struct {
	Hard storageList `json:"hard"`
	Used storageList `json:"used"`
}

func (a *API) getProjectSummary(c *Call, _ struct{}) (projectSummary, error) {
	summary, err := a.options.Projects.Summary(c.Context(), c.Project)
	if err != nil {
		return projectSummary{}, err
	}
	view := projectSummary{Repositories: summary.Repositories}
	if c.Project.RegistryID != 0 {
		row, err := a.options.Store.RemoteRegistry(c.Context(), c.Project.RegistryID)
		if err != nil {
			return projectSummary{}, err
		}
		registry := viewRemoteRegistry(row)
		registry.Credential = nil
		view.Registry = &registry
	}
	members, err := c.Allows(policy.List, policy.Resource{Project: c.Project.Name, Kind: "member"})
	if err != nil {
		return projectSummary{}, err
	}
	if members {
		view.ProjectAdmins, view.Maintainers = summary.Members[policy.ProjectAdmin], summary.Members[policy.Maintainer]
		view.Developers, view.Guests = summary.Members[policy.Developer], summary.Members[policy.Guest]
		view.LimitedGuests = summary.Members[policy.LimitedGuest]
	}
	quota, err := c.Allows(policy.Read, policy.Resource{Project: c.Project.Name, Kind: "quota"})
	if quota {
		view.Quota = &projectSummaryQuota{Hard: storageList{summary.Quota.Limit}, Used: storageList{summary.Quota.Used}}
	}
	return view, err
}

// cveAllowlist is a list of vulnerabilities that are let through, as clients read it.
type cveAllowlist struct {
	ID        int64              `json:"id"`
	ProjectID int64              `json:"project_id" doc:"0 for the list of the registry"`
	ExpiresAt *int64             `json:"expires_at,omitempty" doc:"in seconds since 1970, absent for never"`
	Items     []cveAllowlistItem `json:"items"`
	CreatedAt Time               `json:"creation_time"`
	UpdatedAt Time               `json:"update_time"`
}

type cveAllowlistItem struct {
	ID string `json:"cve_id"`
}

func viewAllowlist(l metadata.CVEAllowlist) cveAllowlist {
	view := cveAllowlist{ID: l.ID, ProjectID: l.ProjectID, Items: []cveAllowlistItem{}, CreatedAt: Time(l.CreatedAt), UpdatedAt: Time(l.UpdatedAt)}
	for _, cve := range l.CVEs {
		view.Items = append(view.Items, cveAllowlistItem{cve})
	}
	if !l.ExpiresAt.IsZero() {
		seconds := l.ExpiresAt.Unix()
		view.ExpiresAt = &seconds
	}
	return view
}

// allowlistBody is such a list as clients write it.
type allowlistBody struct {
	ExpiresAt *int64             `json:"expires_at,omitempty" doc:"in seconds since 1970, absent for never"`
	Items     []cveAllowlistItem `json:"items"`
}

func (b *allowlistBody) list() *projects.Allowlist {
	if b == nil {
		return nil
	}
	list := &projects.Allowlist{}
	for _, item := range b.Items {
		list.CVEs = append(list.CVEs, item.ID)
	}
	if b.ExpiresAt != nil {
		list.ExpiresAt = time.Unix(*b.ExpiresAt, 0)
	}
	return list
}
