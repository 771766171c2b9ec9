package api

import (
	"net/http"

	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/policy"
	"github.com/berth-registry/berth/registry"
)

func (a *API) searchRoutes() []Route {
	return []Route{
		define(Route{
			ID: "search", Tag: "search", Method: http.MethodGet, Path: "/search",
			Summary:    "Finds the projects and repositories that the caller may see by a part of their names, at most 100 of each",
			Permission: inSystem("search", policy.Read), Statuses: []int{500},
		}, a.search),
	}
}

// found is what a search has found.
type found struct {
	Projects     []project         `json:"project"`
	Repositories []foundRepository `json:"repository"`
}

// foundRepository is a repository that a search has found.
type foundRepository struct {
	ProjectID     int64  `json:"project_id"`
	ProjectName   string `json:"project_name"`
	ProjectPublic bool   `json:"project_public"`
	Name          string `json:"repository_name"`
	PullCount     int64  `json:"pull_count"`
	ArtifactCount int64  `json:"artifact_count"`
}

func (a *API) search(c *Call, in struct {
	Q string `query:"q" doc:"part of a name"`
},
) (found, error) {
	result := found{Projects: []project{}, Repositories: []foundRepository{}}
	view, err := c.view(policy.Read, "project")
	if err != nil {
		return result, err
	}
	projects, _, err := a.options.Store.ListProjects(c.Context(), view, metadata.Query{
		Limit: registry.MaxFound, Conditions: []metadata.Condition{{Field: "name", Comparison: metadata.Contains, Values: []any{in.Q}}},
	})
	if err != nil {
		return result, err
	}
	details, err := a.options.Store.ProjectDetails(c.Context(), projects, c.Principal.UserID())
	if err != nil {
		return result, err
	}
	for _, p := range details {
		result.Projects = append(result.Projects, c.viewProject(p))
	}
	if view, err = c.view(policy.List, "repository"); err != nil {
		return result, err
	}
	repositories, err := a.options.Registry.Search(c.Context(), view, in.Q)
	for _, r := range repositories {
		result.Repositories = append(result.Repositories, foundRepository{
			ProjectID: r.ProjectID, ProjectName: r.Project, ProjectPublic: r.Public, Name: r.Name.String(), PullCount: r.PullCount, ArtifactCount: r.ArtifactCount,
		})
	}
	return result, err
}
