package contract_test

import (
	"time"

	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/jobservice"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/purge"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/schedule"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/models"
	"github.com/stretchr/testify/require"
)

func backgroundWork(h *harbor) {
	ctx := h.t.Context()
	var pools []*models.WorkerPool
	require.Eventually(h.t, func() bool {
		pools = ok[*jobservice.GetWorkerPoolsOK](h)(h.Jobservice.GetWorkerPools(ctx, &jobservice.GetWorkerPoolsParams{})).Payload
		return len(pools) == 1
	}, 20*time.Second, 20*time.Millisecond)
	require.Positive(h.t, pools[0].Concurrency)
	require.Positive(h.t, pools[0].Pid)
	for _, id := range []string{pools[0].WorkerPoolID, "all"} {
		workers := ok[*jobservice.GetWorkersOK](h)(h.Jobservice.GetWorkers(ctx, &jobservice.GetWorkersParams{PoolID: id})).Payload
		require.Len(h.t, workers, int(pools[0].Concurrency))
	}
	refused[*jobservice.GetWorkersOK](h, "404")(h.Jobservice.GetWorkers(ctx, &jobservice.GetWorkersParams{PoolID: "none"}))

	act := func(kind, action string) (*jobservice.ActionPendingJobsOK, error) {
		return h.Jobservice.ActionPendingJobs(ctx, &jobservice.ActionPendingJobsParams{JobType: kind, ActionRequest: &models.ActionRequest{Action: action}})
	}
	const kind = "PURGE_AUDIT_LOG"
	ok[*jobservice.ActionPendingJobsOK](h)(act(kind, "pause"))
	ok[*purge.CreatePurgeScheduleCreated](h)(h.Purge.CreatePurgeSchedule(ctx, &purge.CreatePurgeScheduleParams{Schedule: &models.Schedule{
		Schedule: &models.ScheduleObj{Type: "Manual"}, Parameters: map[string]any{"audit_retention_hour": 720, "include_event_types": "create_project", "dry_run": true},
	}}))
	queue := func() *models.JobQueue {
		for _, q := range ok[*jobservice.ListJobQueuesOK](h)(h.Jobservice.ListJobQueues(ctx, &jobservice.ListJobQueuesParams{})).Payload {
			if q.JobType == kind {
				return q
			}
		}
		return nil
	}
	require.True(h.t, queue().Paused)
	require.Equal(h.t, int64(1), queue().Count)
	ok[*jobservice.ActionPendingJobsOK](h)(act(kind, "stop"))
	require.Zero(h.t, queue().Count)
	ok[*jobservice.ActionPendingJobsOK](h)(act("all", "resume"))
	require.False(h.t, queue().Paused)
	refused[*jobservice.ActionPendingJobsOK](h, "422")(act(kind, "burn"))
	refused[*jobservice.ActionPendingJobsOK](h, "404")(act("NONE", "pause"))

	refused[*jobservice.StopRunningJobOK](h, "404")(h.Jobservice.StopRunningJob(ctx, &jobservice.StopRunningJobParams{JobID: "4711"}))
	ok[*jobservice.StopRunningJobOK](h)(h.Jobservice.StopRunningJob(ctx, &jobservice.StopRunningJobParams{JobID: "1"}))
	ok[*jobservice.StopRunningJobOK](h)(h.Jobservice.StopRunningJob(ctx, &jobservice.StopRunningJobParams{JobID: "all"}))
	refused[*jobservice.ActionGetJobLogOK](h, "404")(h.Jobservice.ActionGetJobLog(ctx, &jobservice.ActionGetJobLogParams{JobID: "4711"}))
	ok[*jobservice.ActionGetJobLogOK](h)(h.Jobservice.ActionGetJobLog(ctx, &jobservice.ActionGetJobLogParams{JobID: "1"}))

	schedules := ok[*schedule.ListSchedulesOK](h)(h.Schedule.ListSchedules(ctx, &schedule.ListSchedulesParams{PageSize: new(int64(100))})).Payload
	require.NotEmpty(h.t, schedules, "the audit part has set one")
	require.NotEmpty(h.t, schedules[0].Cron)
	ok[*jobservice.ActionPendingJobsOK](h)(act("SCHEDULER", "pause"))
	paused := func() bool {
		return ok[*schedule.GetSchedulePausedOK](h)(h.Schedule.GetSchedulePaused(ctx, &schedule.GetSchedulePausedParams{JobType: "all"})).Payload.Paused
	}
	require.True(h.t, paused())
	ok[*jobservice.ActionPendingJobsOK](h)(act("SCHEDULER", "resume"))
	require.False(h.t, paused())
	refused[*schedule.GetSchedulePausedOK](h, "404")(h.Schedule.GetSchedulePaused(ctx, &schedule.GetSchedulePausedParams{JobType: "none"}))
}
