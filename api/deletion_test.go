package api_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/api/apitest"
	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/policy"
	"github.com/berth-registry/berth/registry"
)

type deletion struct {
	ID         int64
	Type       string
	Repository string `json:"repository_name"`
	Digest     string
	Tags       []string
	Operator   string
	ExpiresAt  time.Time `json:"expiration_time"`
}

const deletions = "/projects/library/deletions"

func listDeleted(t *testing.T, server *apitest.Server) (list []deletion) {
	t.Helper()
	answer := server.Admin().Must(t, http.StatusOK, http.MethodGet, deletions, nil)
	answer.JSON(t, &list)
	require.Equal(t, fmt.Sprint(len(list)), answer.Header.Get("X-Total-Count"))
	return list
}

// keepDeleted switches restoring on.
func keepDeleted(t *testing.T, server *apitest.Server) {
	t.Helper()
	server.Admin().Must(t, http.StatusOK, http.MethodPut, "/configurations", body{"soft_delete_days": 7})
}

// collectAll collects all that nothing needs.
func collectAll(t *testing.T, server *apitest.Server) registry.Collected {
	t.Helper()
	done, err := server.Registry.CollectGarbage(t.Context(), registry.Collect{Grace: -time.Hour})
	require.NoError(t, err)
	return done
}

func TestDeletions_areOffByDefault(t *testing.T) {
	server := apitest.Start(t, "sqlite")
	server.PushImage(t, "library/app", apitest.Image{}, "v1")
	server.Admin().Must(t, http.StatusOK, http.MethodDelete, "/projects/library/repositories/app/artifacts/v1", nil)
	require.Empty(t, listDeleted(t, server))
	require.Positive(t, collectAll(t, server).Blobs)
	answer := server.Admin().Do(t, http.MethodPut, "/configurations", body{"soft_delete_days": 366})
	requireRefusal(t, answer, http.StatusBadRequest, "BAD_REQUEST")
}

func TestDeletions_restoreWholeArtifacts(t *testing.T) {
	apitest.EachEngine(t, func(t *testing.T, server *apitest.Server) {
		keepDeleted(t, server)
		admin := server.Admin()
		child := server.PushImage(t, "library/app", apitest.Image{Layers: []string{"layer"}})
		index := server.PushIndex(t, "library/app", []oci.Descriptor{child}, "v1", "latest")
		sbom := server.PushArtifact(t, "library/app", "application/x.sbom", &child, "sbom of the child")
		usage := func() int64 {
			found, err := server.Store.Quota(t.Context(), projectID(t, server, "library"))
			require.NoError(t, err)
			return found.Used
		}
		before := usage()
		admin.Must(t, http.StatusOK, http.MethodDelete, "/projects/library/repositories/app/artifacts/v1", nil)
		require.Zero(t, usage(), "what is deleted does not count")
		require.Zero(t, collectAll(t, server).Blobs, "what can be restored is not collected")

		list := listDeleted(t, server)
		require.Len(t, list, 1, "the child and its SBOM come with the index")
		require.Equal(t, "artifact library/app "+index.Digest.String()+" [latest v1] admin",
			fmt.Sprint(list[0].Type, " ", list[0].Repository, " ", list[0].Digest, " ", list[0].Tags, " ", list[0].Operator))
		require.WithinDuration(t, time.Now().Add(7*24*time.Hour), list[0].ExpiresAt, time.Minute)
		server.PushImage(t, "library/app", apitest.Image{Layers: []string{"another"}}, "latest")

		path := fmt.Sprintf("%s/%d", deletions, list[0].ID)
		var restored struct {
			Repository string `json:"repository_name"`
			Tags       []string
			Taken      []string `json:"taken_tags"`
		}
		admin.Must(t, http.StatusOK, http.MethodPost, path+"/restore", nil).JSON(t, &restored)
		require.Equal(t, "library/app [v1] [latest]", fmt.Sprint(restored.Repository, " ", restored.Tags, " ", restored.Taken))
		for _, reference := range []string{"v1", child.Digest.String(), sbom.Digest.String()} {
			admin.Must(t, http.StatusOK, http.MethodGet, "/projects/library/repositories/app/artifacts/"+reference, nil)
		}
		require.Greater(t, usage(), before)
		blob, err := server.Registry.Blob(t.Context(), "library/app", oci.SHA256.FromString("layer"))
		require.NoError(t, err)
		require.Equal(t, int64(5), blob.Size)
		require.Empty(t, listDeleted(t, server))
		require.Zero(t, collectAll(t, server).Blobs)
		requireRefusal(t, admin.Do(t, http.MethodPost, path+"/restore", nil), http.StatusNotFound, "NOT_FOUND")
		require.Equal(t, 3, server.CountEvents(t, event.ArtifactRestored))
	})
}

func TestDeletions_tags(t *testing.T) {
	apitest.EachEngine(t, func(t *testing.T, server *apitest.Server) {
		keepDeleted(t, server)
		admin := server.Admin()
		const tags = "/projects/library/repositories/app/artifacts/v1/tags/v2"
		image := server.PushImage(t, "library/app", apitest.Image{}, "v1", "v2")
		admin.Must(t, http.StatusOK, http.MethodDelete, tags, nil)
		list := listDeleted(t, server)
		require.Equal(t, "tag [v2]", fmt.Sprint(list[0].Type, " ", list[0].Tags))
		path := fmt.Sprintf("%s/%d/restore", deletions, list[0].ID)

		server.PushImage(t, "library/app", apitest.Image{Layers: []string{"another"}}, "v2")
		requireRefusal(t, admin.Do(t, http.MethodPost, path, nil), http.StatusConflict, "CONFLICT")
		admin.Must(t, http.StatusOK, http.MethodDelete, "/projects/library/repositories/app/artifacts/v2", nil)
		admin.Must(t, http.StatusOK, http.MethodDelete, "/projects/library/repositories/app/artifacts/v1", nil)
		admin.Must(t, http.StatusOK, http.MethodPost, path, nil)
		for _, tag := range []string{"v1", "v2"} {
			answer := admin.Must(t, http.StatusOK, http.MethodGet, "/projects/library/repositories/app/artifacts/"+tag, nil)
			require.Contains(t, answer.Body, image.Digest.String(), "the artifact came back with it")
		}
	})
}

func TestDeletions_ofRepositories(t *testing.T) {
	apitest.EachEngine(t, func(t *testing.T, server *apitest.Server) {
		keepDeleted(t, server)
		admin := server.Admin()
		child := server.PushImage(t, "library/app", apitest.Image{Layers: []string{"layer"}})
		index := server.PushIndex(t, "library/app", []oci.Descriptor{child}, "v1")
		admin.Must(t, http.StatusOK, http.MethodDelete, "/projects/library/repositories/app", nil)
		require.Zero(t, collectAll(t, server).Blobs)
		list := listDeleted(t, server)
		require.Len(t, list, 2)
		for _, d := range list {
			if d.Digest == index.Digest.String() {
				admin.Must(t, http.StatusOK, http.MethodPost, fmt.Sprintf("%s/%d/restore", deletions, d.ID), nil)
			}
		}
		admin.Must(t, http.StatusOK, http.MethodGet, "/projects/library/repositories/app/artifacts/"+child.Digest.String(), nil)
		require.Empty(t, listDeleted(t, server), "what the index lists came with it")
	})
}

func TestDeletions_end(t *testing.T) {
	apitest.EachEngine(t, func(t *testing.T, server *apitest.Server) {
		keepDeleted(t, server)
		admin := server.Admin()
		for _, tag := range []string{"v1", "v2"} {
			server.PushImage(t, "library/app", apitest.Image{Layers: []string{tag}}, tag)
			admin.Must(t, http.StatusOK, http.MethodDelete, "/projects/library/repositories/app/artifacts/"+tag, nil)
		}
		require.Zero(t, collectAll(t, server).Blobs)
		list := listDeleted(t, server)
		purged := fmt.Sprintf("%s/%d", deletions, list[0].ID)
		admin.Must(t, http.StatusOK, http.MethodDelete, purged, nil)
		requireRefusal(t, admin.Do(t, http.MethodPost, purged+"/restore", nil), http.StatusNotFound, "NOT_FOUND")
		require.Equal(t, int64(1), collectAll(t, server).Blobs, "one layer; the other artifact has the config as well")

		expired, err := server.Store.ExpiredDeletions(t.Context(), time.Now().AddDate(0, 0, 8), -1)
		require.NoError(t, err)
		require.Equal(t, []int64{list[1].ID}, expired)
		server.Write(t, func(ctx context.Context, tx *metadata.Tx) error { return tx.PurgeDeletions(ctx, expired...) })
		require.Equal(t, int64(2), collectAll(t, server).Blobs)
		requireRefusal(t, admin.Do(t, http.MethodDelete, "/projects/library/deletions/4711", nil), http.StatusNotFound, "NOT_FOUND")
	})
}

func TestDeletions_stayInTheirProject(t *testing.T) {
	server := apitest.Start(t, "sqlite")
	keepDeleted(t, server)
	addProjects(t, server, "other")
	addPeople(t, server, "other", map[string]policy.Role{"eve": policy.ProjectAdmin})
	server.PushImage(t, "library/app", apitest.Image{}, "v1")
	server.Admin().Must(t, http.StatusOK, http.MethodDelete, "/projects/library/repositories/app/artifacts/v1", nil)
	id := listDeleted(t, server)[0].ID
	eve := server.As("eve", apitest.AdminPassword)
	require.Equal(t, http.StatusForbidden, eve.Do(t, http.MethodGet, deletions, nil).Status)
	for _, request := range [][2]string{{http.MethodPost, "/restore"}, {http.MethodDelete, ""}} {
		requireRefusal(t, eve.Do(t, request[0], fmt.Sprintf("/projects/other/deletions/%d%s", id, request[1]), nil), http.StatusNotFound, "NOT_FOUND")
	}
}
