package api_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/api/apitest"
	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/policy"
)

type execution struct {
	ID         int64
	JobName    string `json:"job_name"`
	JobKind    string `json:"job_kind"`
	Parameters string `json:"job_parameters"`
	Status     string `json:"job_status"`
	Deleted    *bool
	Schedule   struct {
		Type, Cron string
		Next       string `json:"next_scheduled_time"`
	}
	CreatedAt string `json:"creation_time"`
	UpdatedAt string `json:"update_time"`
}

const purgeSchedule = "/system/purgeaudit/schedule"

func schedule(kind, cron string, parameters map[string]any) map[string]any {
	return map[string]any{"schedule": map[string]any{"type": kind, "cron": cron}, "parameters": parameters}
}

// addOldEntries adds n entries that are a year old and one of now.
func addOldEntries(t *testing.T, server *apitest.Server, n int) {
	t.Helper()
	var entries []metadata.AuditEntry
	for i := range n {
		entries = append(entries, metadata.AuditEntry{ID: int64(i + 1), Operation: "pull", ResourceType: "artifact", Resource: "old", At: time.Now().AddDate(-1, 0, 0)})
	}
	entries = append(entries, metadata.AuditEntry{ID: int64(n + 1), Operation: "pull", ResourceType: "artifact", Resource: "new", At: time.Now()})
	server.Write(t, func(ctx context.Context, tx *metadata.Tx) error { return tx.InsertAuditEntries(ctx, entries) })
}

func TestPurge_schedule(t *testing.T) {
	apitest.EachEngine(t, func(t *testing.T, server *apitest.Server) {
		admin := server.Admin()
		none := admin.Must(t, http.StatusOK, http.MethodGet, purgeSchedule, nil)
		require.Empty(t, none.Body, "clients tell by it that they have to create one")
		daily := map[string]any{"audit_retention_hour": 24, "include_event_types": "create_artifact,pull_artifact", "dry_run": true}
		created := admin.Must(t, http.StatusCreated, http.MethodPost, purgeSchedule, schedule("Daily", "0 0 0 * * *", daily))
		require.Equal(t, "/api/v2.0/system/purgeaudit/0", created.Header.Get("Location"))
		var got execution
		admin.Must(t, http.StatusOK, http.MethodGet, purgeSchedule, nil).JSON(t, &got)
		require.Equal(t, "Daily", got.Schedule.Type)
		require.Equal(t, "0 0 0 * * *", got.Schedule.Cron)
		require.NotEmpty(t, got.Schedule.Next)
		require.NotNil(t, got.Deleted)
		require.JSONEq(t, `{"audit_retention_hour":24,"include_event_types":"create_artifact,pull_artifact","dry_run":true}`, got.Parameters)

		hourly := admin.Must(t, http.StatusOK, http.MethodPut, purgeSchedule, schedule("Custom", "0 30 * * * *", map[string]any{"audit_retention_hour": 5, "include_operations": "login"}))
		require.Empty(t, hourly.Body)
		admin.Must(t, http.StatusOK, http.MethodGet, purgeSchedule, nil).JSON(t, &got)
		require.Equal(t, "0 30 * * * *", got.Schedule.Cron)
		require.JSONEq(t, `{"audit_retention_hour":5,"include_event_types":"","include_operations":"login","dry_run":false}`, got.Parameters)

		for _, bad := range []map[string]any{
			schedule("Daily", "0 0 0 * * *", map[string]any{"audit_retention_hour": 24}),
			schedule("Manual", "", map[string]any{"audit_retention_hour": 24}),
			schedule("Manual", "", map[string]any{"audit_retention_hour": 24, "include_operations": "frobnicate"}),
			schedule("Daily", "0 0 0 * * *", map[string]any{"include_event_types": "pull_artifact"}),
			schedule("Daily", "0 0 * * *", daily), schedule("Custom", "", daily), schedule("Yearly", "0 0 0 * * *", daily), schedule("", "", daily),
			schedule("Daily", "", map[string]any{"audit_retention_hour": "x", "include_event_types": "a"}),
			{},
		} {
			requireRefusal(t, admin.Do(t, http.MethodPost, purgeSchedule, bad), http.StatusBadRequest, "BAD_REQUEST")
			requireRefusal(t, admin.Do(t, http.MethodPut, purgeSchedule, bad), http.StatusBadRequest, "BAD_REQUEST")
		}
		for range 2 {
			admin.Must(t, http.StatusOK, http.MethodPut, purgeSchedule, schedule("None", "", nil))
			require.Empty(t, admin.Must(t, http.StatusOK, http.MethodGet, purgeSchedule, nil).Body)
		}
	})
}

func TestPurge_now(t *testing.T) {
	apitest.EachEngine(t, func(t *testing.T, server *apitest.Server) {
		const old = 9000 // in three ranges of ids
		addOldEntries(t, server, old)
		admin := server.Admin()
		run := func(parameters map[string]any) (path string) {
			created := admin.Must(t, http.StatusCreated, http.MethodPost, purgeSchedule, schedule("Manual", "", parameters))
			path = created.Header.Get("Location")[len("/api/v2.0"):]
			require.Eventually(t, func() bool {
				var got execution
				admin.Must(t, http.StatusOK, http.MethodGet, path, nil).JSON(t, &got)
				return got.Status == "Success"
			}, time.Minute, 10*time.Millisecond)
			return path
		}
		total := func() string {
			return admin.Must(t, http.StatusOK, http.MethodGet, "/auditlog-exts?page_size=1", nil).Header.Get("X-Total-Count")
		}
		dry := run(map[string]any{"audit_retention_hour": 24, "include_event_types": "pull_artifact", "dry_run": true})
		log := admin.Must(t, http.StatusOK, http.MethodGet, dry+"/log", nil)
		require.Equal(t, "text/plain; charset=utf-8", log.Header.Get("Content-Type"))
		require.Contains(t, log.Body, "9000 entries would be deleted")
		run(map[string]any{"audit_retention_hour": 24, "include_event_types": "create_artifact,delete_artifact"})
		require.Equal(t, "9001", total())
		wet := run(map[string]any{"audit_retention_hour": 24, "include_event_types": "*"})
		require.Contains(t, admin.Do(t, http.MethodGet, wet+"/log", nil).Body, "deleted 9000 entries")
		require.Equal(t, "1", total())
		byOperation := run(map[string]any{"audit_retention_hour": 24, "include_operations": "pull,create", "dry_run": true})
		require.Regexp(t, "of the types pull_artifact,create_artifact,", admin.Do(t, http.MethodGet, byOperation+"/log", nil).Body)
		require.Contains(t, admin.Do(t, http.MethodGet, "/auditlog-exts", nil).Body, `"new"`)

		history := admin.Must(t, http.StatusOK, http.MethodGet, "/system/purgeaudit?page_size=2", nil)
		require.Equal(t, "4", history.Header.Get("X-Total-Count"))
		var list []execution
		history.JSON(t, &list)
		require.Len(t, list, 2)
		require.Equal(t, "PURGE_AUDIT_LOG MANUAL Success", list[0].JobName+" "+list[0].JobKind+" "+list[0].Status)
		require.JSONEq(t, `{"audit_retention_hour":24,"include_event_types":"*","dry_run":false}`, list[1].Parameters)
		admin.Must(t, http.StatusOK, http.MethodPut, wet, nil)
		for _, path := range []string{"/system/purgeaudit/99999", "/system/purgeaudit/99999/log"} {
			requireRefusal(t, admin.Do(t, http.MethodGet, path, nil), http.StatusNotFound, "NOT_FOUND")
		}
		requireRefusal(t, admin.Do(t, http.MethodPut, "/system/purgeaudit/99999", nil), http.StatusNotFound, "NOT_FOUND")

		events, err := server.Store.Events(t.Context(), metadata.EventCursor{}, -1)
		require.NoError(t, err)
		started := 0
		for _, e := range events {
			if e.Kind == event.JobStarted {
				started++
				require.Equal(t, "admin PURGE_AUDIT_LOG", e.Actor+" "+e.Subject)
			}
		}
		require.Equal(t, 4, started)
	})
}

func TestPurge_isForAdministratorsAndRefusalsAreRecorded(t *testing.T) {
	server := apitest.Start(t, "sqlite")
	addPeople(t, server, "library", map[string]policy.Role{"eve": policy.ProjectAdmin})
	for _, client := range []*apitest.Client{server.As("eve", apitest.AdminPassword), server.Anonymous()} {
		for _, request := range [][2]string{
			{http.MethodGet, "/system/purgeaudit"},
			{http.MethodGet, "/system/purgeaudit/1"},
			{http.MethodGet, "/system/purgeaudit/1/log"},
			{http.MethodGet, purgeSchedule},
			{http.MethodPut, purgeSchedule},
		} {
			require.Contains(t, []int{http.StatusUnauthorized, http.StatusForbidden}, client.Do(t, request[0], request[1], nil).Status)
		}
	}
	recorded := server.Recorded()
	require.Len(t, recorded, 1, "what reads is not recorded, nor what nobody in particular has asked")
	require.NotEmpty(t, recorded[0].Address)
	recorded[0].Address = ""
	require.Equal(t, event.Event{
		Kind: event.Refused, Attempt: "purge-audit_update", Actor: "eve", Credential: "basic", Subject: "/api/v2.0" + purgeSchedule,
	}, recorded[0])
}
