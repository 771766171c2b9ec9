package api_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/api/apitest"
	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/metadata"
)

type anyExecution struct {
	ID         int64  `json:"id"`
	VendorType string `json:"vendor_type"`
	Status     string `json:"status"`
	Trigger    string `json:"trigger"`
	Operator   string `json:"operator"`
	EndTime    string `json:"end_time"`
}

type anyTask struct {
	ID        int64  `json:"id"`
	Execution int64  `json:"execution_id"`
	Status    string `json:"status"`
	StartTime string `json:"start_time"`
}

// TestJobs_fromQueueToLog follows one piece of work through all that is to be seen of it.
func TestJobs_fromQueueToLog(t *testing.T) {
	apitest.EachEngine(t, func(t *testing.T, server *apitest.Server) {
		admin := server.Admin()
		admin.Must(t, http.StatusOK, http.MethodPut, "/jobservice/queues/PURGE_AUDIT_LOG", map[string]string{"action": "pause"})
		purge := schedule("Manual", "", map[string]any{"audit_retention_hour": 24, "include_event_types": "pull_artifact", "dry_run": true})
		admin.Must(t, http.StatusCreated, http.MethodPost, purgeSchedule, purge)
		var executions []anyExecution
		admin.Must(t, http.StatusOK, http.MethodGet, "/jobservice/executions?q=vendor_type%3DPURGE_AUDIT_LOG", nil).JSON(t, &executions)
		require.Len(t, executions, 1)
		require.Equal(t, anyExecution{executions[0].ID, "PURGE_AUDIT_LOG", "Pending", "MANUAL", "admin", ""}, executions[0])
		tasksPath := fmt.Sprintf("/jobservice/executions/%d/tasks", executions[0].ID)
		var tasks []anyTask
		answer := admin.Must(t, http.StatusOK, http.MethodGet, tasksPath, nil)
		answer.JSON(t, &tasks)
		require.Equal(t, "1", answer.Header.Get("X-Total-Count"))
		require.Equal(t, anyTask{tasks[0].ID, executions[0].ID, "Pending", ""}, tasks[0])

		admin.Must(t, http.StatusOK, http.MethodPut, "/jobservice/queues/all", map[string]string{"action": "resume"})
		taskPath := fmt.Sprintf("/jobservice/jobs/%d", tasks[0].ID)
		var task anyTask
		require.Eventually(t, func() bool {
			admin.Must(t, http.StatusOK, http.MethodGet, taskPath, nil).JSON(t, &task)
			return task.Status == "Success"
		}, time.Minute, 10*time.Millisecond)
		require.NotEmpty(t, task.StartTime)
		log := admin.Must(t, http.StatusOK, http.MethodGet, taskPath+"/log", nil)
		require.Contains(t, log.Body, "dry run")
		require.Contains(t, log.Header.Get("Content-Type"), "text/plain")

		admin.Must(t, http.StatusOK, http.MethodPut, fmt.Sprintf("/jobservice/executions/%d", executions[0].ID), nil)
		for _, missing := range []string{"/jobservice/executions/4711/tasks", "/jobservice/jobs/4711", "/jobservice/jobs/x", "/jobservice/jobs/x/log", "/jobservice/jobs/99999999999999999999"} {
			requireRefusal(t, admin.Do(t, http.MethodGet, missing, nil), http.StatusNotFound, "NOT_FOUND")
		}
		requireRefusal(t, admin.Do(t, http.MethodPut, "/jobservice/executions/4711", nil), http.StatusNotFound, "NOT_FOUND")
		requireRefusal(t, admin.Do(t, http.MethodPut, "/jobservice/jobs/x", nil), http.StatusNotFound, "NOT_FOUND")
		for body, status := range map[string]int{"": 400, "{": 400, `{"action":"x"}`: 422, "{}": 422} {
			require.Equal(t, status, admin.Do(t, http.MethodPut, "/jobservice/queues/all", body).Status, body)
		}

		events, err := server.Store.Events(t.Context(), metadata.EventCursor{}, 100)
		require.NoError(t, err)
		var kinds []event.Kind
		for _, e := range events {
			if e.Kind != event.ProjectCreated {
				kinds = append(kinds, e.Kind)
			}
		}
		require.Subset(t, kinds, []event.Kind{event.QueuePaused, event.JobStarted, event.QueueResumed, event.JobStopped})
	})
}
