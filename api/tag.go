package api

import (
	"hash/fnv"
	"net/http"
	"strconv"

	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/policy"
)

func (a *API) tagRoutes() []Route {
	return []Route{
		define(Route{
			ID: "createTag", Tag: "artifact", Method: http.MethodPost, Path: artifactPath + "/tags", Summary: "Gives an artifact a tag",
			Permission: inProject("tag", policy.Create), Statuses: []int{400, 401, 403, 404, 405, 409, 500},
		}, a.createTag),
		define(Route{
			ID: "listTags", Tag: "artifact", Method: http.MethodGet, Path: artifactPath + "/tags", Summary: "Lists the tags of an artifact",
			Permission: inProject("tag", policy.List), Statuses: []int{400, 401, 403, 404, 422, 500},
		}, a.listTags),
		define(Route{
			ID: "deleteTag", Tag: "artifact", Method: http.MethodDelete, Path: artifactPath + "/tags/{tag_name}",
			Summary:    "Takes a tag away from an artifact, which stays",
			Permission: inProject("tag", policy.Delete), Statuses: []int{401, 403, 404, 412, 500},
		}, a.deleteTag),
	}
}

// tag is a tag as clients read it.
type tag struct {
	ID           int64  `json:"id"`
	RepositoryID int64  `json:"repository_id"`
	ArtifactID   int64  `json:"artifact_id"`
	Name         string `json:"name"`
	PushedAt     Time   `json:"push_time"`
	PulledAt     Time   `json:"pull_time"`
	Immutable    bool   `json:"immutable"`
}

func viewTag(t metadata.ArtifactTag, immutable bool) tag {
	return tag{
		ID: tagID(t), RepositoryID: t.RepositoryID, ArtifactID: t.ManifestID, Name: t.Name,
		PushedAt: Time(t.UpdatedAt), PulledAt: Time(t.PulledAt), Immutable: immutable,
	}
}

// tagID is a number for clients that tell tags by it, which are known by their names here. It has as many bits as a JavaScript
// number keeps.
func tagID(t metadata.ArtifactTag) int64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(strconv.FormatInt(t.RepositoryID, 10) + ":" + t.Name)) // a hash takes everything
	return int64(h.Sum64() >> 11)
}

// createTagInput are the parameters of createTag.
type createTagInput struct {
	inArtifact
	Body struct {
		Name string `json:"name"`
	} `body:""`
}

func (a *API) createTag(c *Call, in createTagInput) (Created, error) {
	name, reference, err := in.artifact(c)
	if err != nil {
		return Created{}, err
	}
	return Created{}, a.options.Registry.CreateTag(c.Context(), c.actor(), name, reference, in.Body.Name)
}

// listTagsInput are the parameters of listTags.
type listTagsInput struct {
	listOfArtifactInput
	WithImmutableStatus bool `query:"with_immutable_status" doc:"whether the tags are immutable"`
}

func (a *API) listTags(c *Call, in listTagsInput) (Page[tag], error) {
	name, reference, err := in.artifact(c)
	if err != nil {
		return Page[tag]{}, err
	}
	q, _, err := in.Query()
	if err != nil {
		return Page[tag]{}, err
	}
	rows, total, err := a.options.Registry.ArtifactTags(c.Context(), name, reference, q)
	if err != nil {
		return Page[tag]{}, err
	}
	var protected map[string]bool
	if in.WithImmutableStatus && len(rows) > 0 {
		names := make([]string, len(rows))
		for i, row := range rows {
			names[i] = row.Name
		}
		owner := metadata.Repository{ID: rows[0].RepositoryID, ProjectID: c.Project.ID, Name: name}
		if protected, err = a.options.Registry.Protected(c.Context(), owner, names); err != nil {
			return Page[tag]{}, err
		}
	}
	return NewPage(in.Paging, rows, total, func(t metadata.ArtifactTag) tag { return viewTag(t, protected[t.Name]) }), nil
}

// deleteTagInput are the parameters of deleteTag.
type deleteTagInput struct {
	inArtifact
	Tag string `path:"tag_name"`
}

func (a *API) deleteTag(c *Call, in deleteTagInput) (None, error) {
	name, reference, err := in.artifact(c)
	if err != nil {
		return None{}, err
	}
	return None{}, a.options.Registry.DeleteTag(c.Context(), c.actor(), name, reference, in.Tag)
}
