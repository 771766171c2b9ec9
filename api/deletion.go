package api

import (
	"net/http"

	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/policy"
)

func (a *API) deletionRoutes() []Route {
	const all, tag = "/projects/{project_name_or_id}/deletions", "deletion"
	const one = all + "/{deletion_id}"
	return []Route{
		define(Route{
			ID: "listDeletions", Tag: tag, Method: http.MethodGet, Path: all, Summary: "Lists deleted artifacts and tags that can be restored",
			Permission: inProject("artifact", policy.Delete), Statuses: []int{400, 401, 403, 404, 422, 500},
		}, a.listDeletions),
		define(Route{
			ID: "restoreDeletion", Tag: tag, Method: http.MethodPost, Path: one + "/restore", Summary: "Restores a deleted artifact with what was deleted with it, or a tag",
			Permission: inProject("artifact", policy.Delete), Statuses: []int{401, 403, 404, 409, 412, 500},
		}, a.restoreDeletion),
		define(Route{
			ID: "purgeDeletion", Tag: tag, Method: http.MethodDelete, Path: one, Summary: "Makes a deletion final",
			Permission: inProject("artifact", policy.Delete), Statuses: []int{401, 403, 404, 500},
		}, a.purgeDeletion),
	}
}

// deletion is what was deleted and can be restored.
type deletion struct {
	ID         int64    `json:"id"`
	Type       string   `json:"type" doc:"artifact, or tag where the artifact stayed"`
	Repository string   `json:"repository_name" doc:"with the project"`
	Digest     string   `json:"digest"`
	MediaType  string   `json:"manifest_media_type"`
	Tags       []string `json:"tags"`
	Operator   string   `json:"operator" doc:"who deleted it"`
	DeletedAt  Time     `json:"deletion_time"`
	ExpiresAt  Time     `json:"expiration_time" doc:"when it cannot be restored any more"`
}

func viewDeletion(d metadata.Deletion) deletion {
	kind := "artifact"
	if d.TagOnly {
		kind = "tag"
	}
	return deletion{
		ID: d.ID, Type: kind, Repository: d.Repository.String(), Digest: d.Digest.String(), MediaType: d.MediaType, Tags: d.Tags, Operator: d.Actor,
		DeletedAt: Time(d.DeletedAt), ExpiresAt: Time(d.ExpiresAt),
	}
}

func (a *API) listDeletions(c *Call, paging Paging) (Page[deletion], error) {
	q, _, err := paging.Query()
	if err != nil {
		return Page[deletion]{}, err
	}
	rows, total, err := a.options.Registry.Deletions(c.Context(), c.Project, q)
	if err != nil {
		return Page[deletion]{}, err
	}
	return NewPage(paging, rows, total, viewDeletion), nil
}

// deletionID names a deletion.
type deletionID struct {
	ID int64 `path:"deletion_id"`
}

// restoration is what was brought back.
type restoration struct {
	Repository string   `json:"repository_name"`
	Digest     string   `json:"digest"`
	Tags       []string `json:"tags" doc:"tags that stand for it again"`
	Taken      []string `json:"taken_tags" doc:"tags that stand for something else by now, and stay there"`
}

func (a *API) restoreDeletion(c *Call, in deletionID) (restoration, error) {
	restored, err := a.options.Registry.Restore(c.Context(), c.actor(), c.Project, in.ID)
	return restoration{
		Repository: restored.Repository.String(), Digest: restored.Digest.String(),
		Tags: append([]string{}, restored.Tags...), Taken: append([]string{}, restored.Taken...),
	}, err
}

func (a *API) purgeDeletion(c *Call, in deletionID) (None, error) {
	return None{}, a.options.Registry.PurgeDeletion(c.Context(), c.actor(), c.Project, in.ID)
}
