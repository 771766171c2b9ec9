package api

import (
	"net/http"

	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/policy"
	projects "github.com/berth-registry/berth/project"
)

func (a *API) projectMetadataRoutes() []Route {
	const all, one = "/projects/{project_name_or_id}/metadatas", "/projects/{project_name_or_id}/metadatas/{meta_name}"
	return []Route{
		define(Route{
			ID: "listProjectMetadatas", Tag: "projectMetadata", Method: http.MethodGet, Path: all, Summary: "Returns the metadata of a project",
			Permission: inProject("metadata", policy.Read), Statuses: []int{400, 401, 403, 404, 500},
		}, a.listProjectMetadatas),
		define(Route{
			ID: "addProjectMetadatas", Tag: "projectMetadata", Method: http.MethodPost, Path: all, Summary: "Sets one key that is not set",
			Permission: inProject("metadata", policy.Create), Statuses: []int{400, 401, 403, 404, 409, 500},
		}, a.addProjectMetadatas),
		define(Route{
			ID: "getProjectMetadata", Tag: "projectMetadata", Method: http.MethodGet, Path: one, Summary: "Returns the value of a key",
			Permission: inProject("metadata", policy.Read), Statuses: []int{400, 401, 403, 404, 500},
		}, a.getProjectMetadata),
		define(Route{
			ID: "updateProjectMetadata", Tag: "projectMetadata", Method: http.MethodPut, Path: one, Summary: "Sets a key to another value",
			Permission: inProject("metadata", policy.Update), Statuses: []int{400, 401, 403, 404, 409, 500},
		}, a.updateProjectMetadata),
		define(Route{
			ID: "deleteProjectMetadata", Tag: "projectMetadata", Method: http.MethodDelete, Path: one, Summary: "Takes a key away",
			Permission: inProject("metadata", policy.Delete), Statuses: []int{400, 401, 403, 404, 409, 500},
		}, a.deleteProjectMetadata),
	}
}

func (a *API) listProjectMetadatas(c *Call, _ struct{}) (map[string]string, error) {
	detail, err := c.projectDetail()
	return projects.Metadata(detail), err
}

// metadataKey names a key.
type metadataKey struct {
	Key string `path:"meta_name"`
}

func (a *API) getProjectMetadata(c *Call, in metadataKey) (map[string]string, error) {
	detail, err := c.projectDetail()
	if err != nil {
		return nil, err
	}
	value, set := projects.Metadata(detail)[in.Key]
	if !set {
		return nil, fault.New(fault.NotFound, "metadata %q not found", in.Key)
	}
	return map[string]string{in.Key: value}, nil
}

// addProjectMetadatasInput is a key with its value.
type addProjectMetadatasInput struct {
	Body map[string]string `body:""`
}

func (a *API) addProjectMetadatas(c *Call, in addProjectMetadatasInput) (None, error) {
	if len(in.Body) != 1 {
		return None{}, fault.New(fault.Invalid, "the body must have one key with its value, not %d", len(in.Body))
	}
	for key, value := range in.Body {
		return None{}, a.options.Projects.AddMetadata(c.Context(), c.actor(), c.Project, key, value)
	}
	return None{}, nil
}

// updateProjectMetadataInput is a key with its value.
type updateProjectMetadataInput struct {
	metadataKey
	Body map[string]string `body:""`
}

func (a *API) updateProjectMetadata(c *Call, in updateProjectMetadataInput) (None, error) {
	value, given := in.Body[in.Key]
	if !given || len(in.Body) != 1 {
		return None{}, fault.New(fault.Invalid, "the body must have the key %q with its value, and nothing else", in.Key)
	}
	return None{}, a.options.Projects.SetMetadata(c.Context(), c.actor(), c.Project, in.Key, value)
}

func (a *API) deleteProjectMetadata(c *Call, in metadataKey) (None, error) {
	return None{}, a.options.Projects.RemoveMetadata(c.Context(), c.actor(), c.Project, in.Key)
}
