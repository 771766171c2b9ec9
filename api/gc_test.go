package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/api/apitest"
	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
)

const gcSchedule = "/system/gc/schedule"

// ended waits for the end of an execution and returns it.
func ended(t *testing.T, client *apitest.Client, path string) (got execution) {
	t.Helper()
	require.Eventually(t, func() bool {
		client.Must(t, http.StatusOK, http.MethodGet, path, nil).JSON(t, &got)
		return got.Status == "Success" || got.Status == "Error" || got.Status == "Stopped"
	}, time.Minute, 10*time.Millisecond)
	return got
}

func TestGC_now(t *testing.T) {
	apitest.EachEngine(t, func(t *testing.T, server *apitest.Server) {
		admin := server.Admin()
		doomed := server.PushImage(t, "library/app", apitest.Image{Layers: []string{"only here"}}, "v1")
		server.PushImage(t, "library/app", apitest.Image{Layers: []string{"kept"}}, "v2")
		admin.Must(t, http.StatusOK, http.MethodDelete, "/projects/library/repositories/app/artifacts/"+doomed.Digest.String(), nil)
		run := func(parameters map[string]any) (got execution, outcome map[string]any, said string) {
			created := admin.Must(t, http.StatusCreated, http.MethodPost, gcSchedule, schedule("Manual", "", parameters))
			path := created.Header.Get("Location")[len("/api/v2.0"):]
			got = ended(t, admin, path)
			require.NoError(t, json.Unmarshal([]byte(got.Parameters), &outcome))
			log := admin.Must(t, http.StatusOK, http.MethodGet, path+"/log", nil)
			require.Equal(t, "text/plain; charset=utf-8", log.Header.Get("Content-Type"))
			return got, outcome, log.Body
		}
		_, outcome, said := run(map[string]any{"dry_run": true, "time_window": 0, "workers": 3})
		require.Contains(t, said, "dry run: would free 1 with 9 B")
		require.InDelta(t, 1, outcome["purged_blobs"], 0)
		_, outcome, _ = run(map[string]any{"delete_untagged": false})
		require.InDelta(t, 0, outcome["purged_blobs"], 0, "a push may still be on its way")
		got, outcome, said := run(map[string]any{"time_window": 0})
		require.Equal(t, "GARBAGE_COLLECTION MANUAL Success Manual", fmt.Sprint(got.JobName, " ", got.JobKind, " ", got.Status, " ", got.Schedule.Type))
		require.InDelta(t, 1, outcome["purged_blobs"], 0)
		require.InDelta(t, 9, outcome["freed_space"], 0)
		require.Contains(t, said, "freed 1 with 9 B")
		_, err := server.Store.BlobByDigest(t.Context(), oci.SHA256.FromString("only here"))
		require.ErrorIs(t, err, metadata.ErrNotFound)
		_, err = server.Store.BlobByDigest(t.Context(), oci.SHA256.FromString("kept"))
		require.NoError(t, err)

		history := admin.Must(t, http.StatusOK, http.MethodGet, "/system/gc?page_size=2", nil)
		require.Equal(t, "3", history.Header.Get("X-Total-Count"))
		var list []execution
		history.JSON(t, &list)
		require.Len(t, list, 2)
		require.Equal(t, got, list[0])
		for _, path := range []string{"/system/gc/99999", "/system/gc/99999/log"} {
			requireRefusal(t, admin.Do(t, http.MethodGet, path, nil), http.StatusNotFound, "NOT_FOUND")
		}
		requireRefusal(t, admin.Do(t, http.MethodPut, "/system/gc/99999", nil), http.StatusNotFound, "NOT_FOUND")
		for _, bad := range []map[string]any{{"workers": 11}, {"workers": -1}, {"time_window": -1}, {"dry_run": "x"}, {"time_window": 1e9}} {
			requireRefusal(t, admin.Do(t, http.MethodPost, gcSchedule, schedule("Manual", "", bad)), http.StatusBadRequest, "BAD_REQUEST")
		}
		events, err := server.Store.Events(t.Context(), metadata.EventCursor{}, -1)
		require.NoError(t, err)
		started := 0
		for _, e := range events {
			if e.Kind == event.JobStarted && e.Subject == "GARBAGE_COLLECTION" {
				started++
			}
		}
		require.Equal(t, 3, started)
	})
}

func TestGC_untagged(t *testing.T) {
	server := apitest.Start(t, "sqlite")
	admin := server.Admin()
	loose := server.PushImage(t, "library/app", apitest.Image{Layers: []string{"first"}}, "v1")
	server.PushImage(t, "library/app", apitest.Image{Layers: []string{"second"}}, "v1")
	created := admin.Must(t, http.StatusCreated, http.MethodPost, gcSchedule, schedule("Manual", "", map[string]any{"delete_untagged": true, "time_window": 0}))
	got := ended(t, admin, created.Header.Get("Location")[len("/api/v2.0"):])
	require.Contains(t, got.Parameters, `"purged_manifests":1`)
	requireRefusal(t, admin.Do(t, http.MethodGet, "/projects/library/repositories/app/artifacts/"+loose.Digest.String(), nil), http.StatusNotFound, "NOT_FOUND")
	admin.Must(t, http.StatusOK, http.MethodGet, "/projects/library/repositories/app/artifacts/v1", nil)
}

func TestGC_stopped(t *testing.T) {
	server := apitest.Start(t, "sqlite")
	admin := server.Admin()
	var row metadata.Execution
	server.Write(t, func(ctx context.Context, tx *metadata.Tx) (err error) {
		row, err = tx.CreateExecution(ctx, metadata.Execution{Kind: "GARBAGE_COLLECTION", Cause: "MANUAL", Parameters: "{}"})
		if err != nil {
			return err
		}
		_, err = tx.CreateTask(ctx, metadata.Task{ExecutionID: row.ID, Kind: "GARBAGE_COLLECTION", Parameters: "{}", DueAt: time.Now().Add(time.Hour)})
		return err
	})
	path := fmt.Sprintf("/system/gc/%d", row.ID)
	admin.Must(t, http.StatusOK, http.MethodPut, path, nil)
	require.Equal(t, "Stopped", ended(t, admin, path).Status)
	requireRefusal(t, admin.Do(t, http.MethodGet, "/system/purgeaudit"+path[len("/system/gc"):], nil), http.StatusNotFound, "NOT_FOUND")
}

func TestGC_schedule(t *testing.T) {
	apitest.EachEngine(t, func(t *testing.T, server *apitest.Server) {
		admin := server.Admin()
		require.Empty(t, admin.Must(t, http.StatusOK, http.MethodGet, gcSchedule, nil).Body)
		weekly := admin.Must(t, http.StatusCreated, http.MethodPost, gcSchedule, schedule("Weekly", "0 0 0 * * 0", map[string]any{"delete_untagged": true, "workers": 2}))
		require.Equal(t, "/api/v2.0/system/gc/0", weekly.Header.Get("Location"))
		var got execution
		admin.Must(t, http.StatusOK, http.MethodGet, gcSchedule, nil).JSON(t, &got)
		require.Equal(t, "Weekly 0 0 0 * * 0", got.Schedule.Type+" "+got.Schedule.Cron)
		require.JSONEq(t, `{"delete_untagged":true,"dry_run":false,"workers":2}`, got.Parameters)
		admin.Must(t, http.StatusOK, http.MethodPut, gcSchedule, schedule("Custom", "0 30 3 * * *", nil))
		admin.Must(t, http.StatusOK, http.MethodGet, gcSchedule, nil).JSON(t, &got)
		require.Equal(t, "0 30 3 * * *", got.Schedule.Cron)
		requireRefusal(t, admin.Do(t, http.MethodPut, gcSchedule, schedule("Custom", "x", nil)), http.StatusBadRequest, "BAD_REQUEST")
		admin.Must(t, http.StatusOK, http.MethodPut, gcSchedule, schedule("None", "", nil))
		require.Empty(t, admin.Must(t, http.StatusOK, http.MethodGet, gcSchedule, nil).Body)
	})
}
