package api_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/api/apitest"
	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/oci"
)

// TestRepository_tellsItsLastChange does each thing that changes what a repository has, and looks at its update_time.
func TestRepository_tellsItsLastChange(t *testing.T) {
	apitest.EachEngine(t, func(t *testing.T, server *apitest.Server) {
		keepDeleted(t, server)
		admin := server.Admin()
		const app, artifacts = "/projects/library/repositories/app", "/projects/library/repositories/app/artifacts"
		server.PushImage(t, "library/other", apitest.Image{Layers: []string{"other"}}, "v1")
		image := server.PushImage(t, "library/app", apitest.Image{}, "v1")
		type shown struct {
			Name    string
			Changed time.Time `json:"update_time"`
		}
		changed := func() time.Time {
			t.Helper()
			var found shown
			admin.Must(t, http.StatusOK, http.MethodGet, app, nil).JSON(t, &found)
			return found.Changed
		}
		restore := func() {
			path := fmt.Sprintf("%s/%d/restore", deletions, listDeleted(t, server)[0].ID)
			admin.Must(t, http.StatusOK, http.MethodPost, path, nil)
		}
		unversioned := func(reference oci.Reference) {
			require.NoError(t, server.Registry.DeleteManifest(t.Context(), event.Actor{Name: "admin"}, "library/app", reference))
		}
		last := changed()
		for _, step := range []struct {
			name string
			run  func()
		}{
			{"push", func() { server.PushImage(t, "library/app", apitest.Image{Layers: []string{"more"}}, "v2") }},
			{"push again", func() { server.PushImage(t, "library/app", apitest.Image{}, "v1") }},
			{"push that moves a tag", func() { server.PushImage(t, "library/app", apitest.Image{}, "v2") }},
			{"new tag", func() { admin.Must(t, http.StatusCreated, http.MethodPost, artifacts+"/v1/tags", body{"name": "v3"}) }},
			{"deleted tag", func() { admin.Must(t, http.StatusOK, http.MethodDelete, artifacts+"/v1/tags/v3", nil) }},
			{"restored tag", restore},
			{"deleted tag by /v2", func() { unversioned(oci.Reference{Tag: "v3"}) }},
			{"deleted artifact", func() { admin.Must(t, http.StatusOK, http.MethodDelete, artifacts+"/v1", nil) }},
			{"restored artifact", restore},
			{"deleted artifact by /v2", func() { unversioned(oci.Reference{Digest: image.Digest}) }},
			{"copy", func() { admin.Must(t, http.StatusCreated, http.MethodPost, artifacts+"?from=library/other:v1", nil) }},
			{"description", func() { admin.Must(t, http.StatusOK, http.MethodPut, app, body{"description": "text"}) }},
		} {
			step.run()
			now := changed()
			require.Greater(t, now, last, step.name)
			require.WithinDuration(t, time.Now(), now, time.Minute)
			require.NoError(t, server.Store.FoldCounts(t.Context()))
			require.Equal(t, now, changed(), step.name)
			last = now

			var newest []shown
			admin.Must(t, http.StatusOK, http.MethodGet, "/repositories?sort=-update_time", nil).JSON(t, &newest)
			require.Equal(t, []string{"library/app", "library/other"}, []string{newest[0].Name, newest[1].Name}, step.name)
		}
		admin.Must(t, http.StatusOK, http.MethodGet, artifacts, nil)
		_, err := server.Registry.Manifest(t.Context(), "library/app", oci.Reference{Tag: "v1"})
		require.NoError(t, err)
		require.Equal(t, last, changed(), "pulls change nothing")
	})
}
