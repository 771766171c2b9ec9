package api_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/api/apitest"
)

func TestStorage_usageAndVerification(t *testing.T) {
	apitest.EachEngine(t, func(t *testing.T, server *apitest.Server) {
		keepDeleted(t, server)
		admin := server.Admin()
		server.PushImage(t, "library/app", apitest.Image{Config: "{}", Layers: []string{"kept for now"}}, "v1")
		server.PushImage(t, "library/app", apitest.Image{Config: "{}", Layers: []string{"live"}}, "v2")
		admin.Must(t, http.StatusOK, http.MethodDelete, "/projects/library/repositories/app/artifacts/v1", nil)
		collectAll(t, server)
		var usage map[string]int64
		admin.Must(t, http.StatusOK, http.MethodGet, "/system/storage/usage", nil).JSON(t, &usage)
		require.Equal(t, [4]int64{3, 18, 1, 12}, [4]int64{usage["blobs"], usage["bytes"], usage["kept_blobs"], usage["kept_bytes"]})
		require.Equal(t, int64(1), usage["given_up_objects"], "the config came twice")

		made := admin.Must(t, http.StatusCreated, http.MethodPost, "/system/storage/verifications", body{"digests": true})
		path := strings.TrimPrefix(made.Header.Get("Location"), "/api/v2.0")
		got := ended(t, admin, path)
		require.Equal(t, "Success", got.Status)
		require.JSONEq(t, `{"digests":true,"repair":false,"blobs":3,"bytes":18,"missing":0,"wrong":0,"unknown":0,"unknown_bytes":0,"repaired":0}`, got.Parameters)
		require.Contains(t, admin.Must(t, http.StatusOK, http.MethodGet, path+"/log", nil).Body, "compared 3 blobs")
		require.Equal(t, "1", admin.Must(t, http.StatusOK, http.MethodGet, "/system/storage/verifications", nil).Header.Get("X-Total-Count"))
		admin.Must(t, http.StatusOK, http.MethodPut, path, nil)
		requireRefusal(t, admin.Do(t, http.MethodGet, "/system/storage/verifications/4711", nil), http.StatusNotFound, "NOT_FOUND")
	})
}
