package api_test

import (
	"context"
	"net/http"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/api/apitest"
	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/metadata"
)

func TestQuotas(t *testing.T) {
	apitest.EachEngine(t, func(t *testing.T, server *apitest.Server) {
		addProjects(t, server, "a", "b")
		var b metadata.Project
		server.Write(t, func(ctx context.Context, tx *metadata.Tx) (err error) {
			if b, err = tx.Project(ctx, "b"); err != nil {
				return err
			}
			_, err = tx.AddUsage(ctx, b.ID, 4096, true)
			return err
		})
		admin := server.Admin()
		type entry struct {
			ID  int64
			Ref struct {
				ID        int64
				Name      string
				OwnerName string `json:"owner_name"`
			}
			Hard, Used   map[string]int64
			CreationTime string `json:"creation_time"`
		}
		list := func(query string) (names []string) {
			var entries []entry
			admin.Must(t, http.StatusOK, http.MethodGet, "/quotas/"+query, nil).JSON(t, &entries)
			for _, e := range entries {
				require.Equal(t, e.Ref.ID, e.ID)
				names = append(names, e.Ref.Name)
			}
			return names
		}
		require.Equal(t, []string{"library", "a", "b"}, list(""))
		require.Equal(t, []string{"library", "a", "b"}, list("?page_size=0"))
		require.Equal(t, []string{"b"}, list("?sort=-used.storage&page_size=1"))
		require.Equal(t, []string{"b"}, list("?reference=project&reference_id="+strconv.FormatInt(b.ID, 10)))
		require.Empty(t, list("?reference=robot"))
		require.Equal(t, "[]\n", admin.Must(t, http.StatusOK, http.MethodGet, "/quotas?page=2", nil).Body)

		admin.Must(t, http.StatusOK, http.MethodPut, "/quotas/"+strconv.FormatInt(b.ID, 10), map[string]any{"hard": map[string]any{"storage": 8192}})
		require.Equal(t, "b", list("?sort=-hard.storage")[0])
		var got entry
		admin.Must(t, http.StatusOK, http.MethodGet, "/quotas/"+strconv.FormatInt(b.ID, 10), nil).JSON(t, &got)
		require.Equal(t, map[string]int64{"storage": 8192}, got.Hard)
		require.Equal(t, map[string]int64{"storage": 4096}, got.Used)
		require.NotEmpty(t, got.CreationTime)
		admin.Must(t, http.StatusOK, http.MethodPut, "/quotas/"+strconv.FormatInt(b.ID, 10), `{"hard":{"storage":1}}`)
		admin.Must(t, http.StatusOK, http.MethodPut, "/quotas/"+strconv.FormatInt(b.ID, 10), `{"hard":{"storage":-1}}`)

		for _, bad := range []string{`{"hard":{"storage":0}}`, `{"hard":{"storage":-2}}`, `{"hard":{"storage":9223372036854775807}}`, `{"hard":{"storage":1,"count":1}}`, `{"hard":{}}`, `{}`, `{"hard":{"storage":"1"}}`, `[`, ``} {
			requireRefusal(t, admin.Do(t, http.MethodPut, "/quotas/"+strconv.FormatInt(b.ID, 10), bad), http.StatusBadRequest, "BAD_REQUEST")
		}
		requireRefusal(t, admin.Do(t, http.MethodGet, "/quotas/4711", nil), http.StatusNotFound, "NOT_FOUND")
		requireRefusal(t, admin.Do(t, http.MethodPut, "/quotas/4711", `{"hard":{"storage":1}}`), http.StatusNotFound, "NOT_FOUND")
		requireRefusal(t, server.Anonymous().Do(t, http.MethodGet, "/quotas", nil), http.StatusUnauthorized, "UNAUTHORIZED")

		events, err := server.Store.Events(t.Context(), metadata.EventCursor{}, -1)
		require.NoError(t, err)
		var limits []int64
		for _, e := range events {
			if e.Kind == event.QuotaUpdated {
				require.Equal(t, "admin b", e.Actor+" "+e.Project)
				limits = append(limits, e.Size)
			}
		}
		require.Equal(t, []int64{8192, 1, -1}, limits, "changes that were refused are none")
	})
}
