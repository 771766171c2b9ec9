package api

import (
	"net/http"

	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/policy"
)

// repositoryPath is where a repository of a project is. Clients encode the slashes in its name once or twice.
const repositoryPath = "/projects/{project_name}/repositories/{repository_name}"

func (a *API) repositoryRoutes() []Route {
	return []Route{
		define(Route{
			ID: "listAllRepositories", Tag: "repository", Method: http.MethodGet, Path: "/repositories",
			Summary:    "Lists the repositories that the caller may see; q=blob_digest=… those that have a blob",
			Permission: inSystem("repository", policy.List), Statuses: []int{400, 500},
		}, a.listAllRepositories),
		define(Route{
			ID: "listRepositories", Tag: "repository", Method: http.MethodGet, Path: "/projects/{project_name}/repositories",
			Summary:    "Lists the repositories of a project",
			Permission: inProject("repository", policy.List), Statuses: []int{400, 401, 403, 404, 422, 500},
		}, a.listRepositories),
		define(Route{
			ID: "getRepository", Tag: "repository", Method: http.MethodGet, Path: repositoryPath, Summary: "Returns a repository",
			Permission: inProject("repository", policy.Read), Statuses: []int{400, 401, 403, 404, 500},
		}, a.getRepository),
		define(Route{
			ID: "updateRepository", Tag: "repository", Method: http.MethodPut, Path: repositoryPath, Summary: "Sets the description of a repository",
			Permission: inProject("repository", policy.Update), Statuses: []int{400, 401, 403, 404, 500},
		}, a.updateRepository),
		define(Route{
			ID: "deleteRepository", Tag: "repository", Method: http.MethodDelete, Path: repositoryPath, Summary: "Deletes a repository with all that it has",
			Permission: inProject("repository", policy.Delete), Statuses: []int{400, 401, 403, 404, 412, 500},
		}, a.deleteRepository),
	}
}

// repository is a repository as clients read it.
type repository struct {
	ID            int64  `json:"id"`
	ProjectID     int64  `json:"project_id"`
	Name          string `json:"name"`
	Description   string `json:"description"`
	ArtifactCount int64  `json:"artifact_count"`
	PullCount     int64  `json:"pull_count"`
	CreatedAt     Time   `json:"creation_time"`
	UpdatedAt     Time   `json:"update_time"`
}

func viewRepository(r metadata.Repository) repository {
	return repository{
		ID: r.ID, ProjectID: r.ProjectID, Name: r.Name.String(), Description: r.Description, ArtifactCount: r.ArtifactCount, PullCount: r.PullCount,
		CreatedAt: Time(r.CreatedAt), UpdatedAt: Time(r.UpdatedAt),
	}
}

// inRepository has the parameters of paths that name a repository.
type inRepository struct {
	Name string `path:"repository_name" doc:"name without the project's, slashes encoded once or twice"`
}

// repository returns the full name of the repository of the path. The error is a [*fault.Error].
func (in inRepository) repository(c *Call) (oci.Repository, error) {
	name, err := oci.ParseRepository(c.Project.Name + "/" + in.Name)
	if err != nil {
		return "", fault.New(fault.NotFound, "repository %s/%s not found", c.Project.Name, in.Name)
	}
	return name, nil
}

func (a *API) listAllRepositories(c *Call, in Paging) (Page[repository], error) {
	return a.pageOfRepositories(c, in, 0)
}

func (a *API) listRepositories(c *Call, in struct{ Paging }) (Page[repository], error) {
	return a.pageOfRepositories(c, in.Paging, c.Project.ID)
}

func (a *API) pageOfRepositories(c *Call, paging Paging, projectID int64) (Page[repository], error) {
	q, _, err := paging.Query()
	if err != nil {
		return Page[repository]{}, err
	}
	view, err := c.view(policy.List, "repository")
	if err != nil {
		return Page[repository]{}, err
	}
	rows, total, err := a.options.Registry.Repositories(c.Context(), view, projectID, q)
	if err != nil {
		return Page[repository]{}, err
	}
	return NewPage(paging, rows, total, viewRepository), nil
}

func (a *API) getRepository(c *Call, in inRepository) (repository, error) {
	name, err := in.repository(c)
	if err != nil {
		return repository{}, err
	}
	row, err := a.options.Registry.Repository(c.Context(), name)
	return viewRepository(row), err
}

// updateRepositoryInput are the parameters of updateRepository. Of the repository, clients may send all that they have read.
type updateRepositoryInput struct {
	inRepository
	Body struct {
		Description string `json:"description"`
	} `body:""`
}

func (a *API) updateRepository(c *Call, in updateRepositoryInput) (None, error) {
	name, err := in.repository(c)
	if err != nil {
		return None{}, err
	}
	return None{}, a.options.Registry.DescribeRepository(c.Context(), c.actor(), name, in.Body.Description)
}

func (a *API) deleteRepository(c *Call, in inRepository) (None, error) {
	name, err := in.repository(c)
	if err != nil {
		return None{}, err
	}
	return None{}, a.options.Registry.DeleteRepository(c.Context(), c.actor(), name)
}
