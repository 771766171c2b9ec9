package contract_test

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/auditlog"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/project"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/purge"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/models"
	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/event/follow"
	auditlogs "github.com/berth-registry/berth/notify/audit"
)

// followEvents has the audit log written, as a running registry does.
func (h *harbor) followEvents() {
	log := auditlogs.New(h.server.Settings, nil)
	follower := follow.New(follow.Options{
		Store: h.server.Store, Name: "audit", Handle: log.Handle, Logger: slog.New(slog.DiscardHandler), Poll: 10 * time.Millisecond,
	})
	ctx, stop := context.WithCancel(context.Background())
	var following sync.WaitGroup
	following.Go(func() { follower.Run(ctx) })
	h.t.Cleanup(func() {
		stop()
		following.Wait()
	})
}

func audit(h *harbor) {
	ctx := h.t.Context()
	h.followEvents()
	h.newProject("watched")
	require.Eventually(h.t, func() bool {
		found, err := h.Auditlog.ListAuditLogExts(ctx, &auditlog.ListAuditLogExtsParams{Q: new("operation=create,resource_type=project,resource=watched")})
		return err == nil && len(found.Payload) == 1 && found.Payload[0].Username == "admin"
	}, 20*time.Second, 50*time.Millisecond)
	ok[*auditlog.ListAuditLogsOK](h)(h.Auditlog.ListAuditLogs(ctx, &auditlog.ListAuditLogsParams{}))
	require.NotEmpty(h.t, ok[*auditlog.ListAuditLogEventTypesOK](h)(h.Auditlog.ListAuditLogEventTypes(ctx, &auditlog.ListAuditLogEventTypesParams{})).Payload)
	ok[*project.GetLogsOK](h)(h.Project.GetLogs(ctx, &project.GetLogsParams{ProjectName: "watched"}))
	require.NotEmpty(h.t, ok[*project.GetLogExtsOK](h)(h.Project.GetLogExts(ctx, &project.GetLogExtsParams{ProjectName: "watched"})).Payload)

	parameters := map[string]any{"audit_retention_hour": 720, "include_event_types": "create_project", "dry_run": true}
	ok[*purge.CreatePurgeScheduleCreated](h)(h.Purge.CreatePurgeSchedule(ctx, &purge.CreatePurgeScheduleParams{
		Schedule: &models.Schedule{Schedule: &models.ScheduleObj{Type: "Manual"}, Parameters: parameters},
	}))
	refused[*purge.CreatePurgeScheduleCreated](h, "400")(h.Purge.CreatePurgeSchedule(ctx, &purge.CreatePurgeScheduleParams{
		Schedule: &models.Schedule{Schedule: &models.ScheduleObj{Type: "Manual"}, Parameters: map[string]any{"audit_retention_hour": 720}},
	}))
	history := ok[*purge.GetPurgeHistoryOK](h)(h.Purge.GetPurgeHistory(ctx, &purge.GetPurgeHistoryParams{})).Payload
	require.NotEmpty(h.t, history)
	require.Eventually(h.t, func() bool {
		found, err := h.Purge.GetPurgeJob(ctx, &purge.GetPurgeJobParams{PurgeID: history[0].ID})
		return err == nil && found.Payload.JobStatus == "Success"
	}, 20*time.Second, 50*time.Millisecond)
	require.NotEmpty(h.t, ok[*purge.GetPurgeJobLogOK](h)(h.Purge.GetPurgeJobLog(ctx, &purge.GetPurgeJobLogParams{PurgeID: history[0].ID})).Payload)
	refused[*purge.StopPurgeOK](h, "404")(h.Purge.StopPurge(ctx, &purge.StopPurgeParams{PurgeID: 4711}))
	ok[*purge.UpdatePurgeScheduleOK](h)(h.Purge.UpdatePurgeSchedule(ctx, &purge.UpdatePurgeScheduleParams{
		Schedule: &models.Schedule{Schedule: &models.ScheduleObj{Type: "Daily", Cron: "0 0 0 * * *"}, Parameters: parameters},
	}))
	require.Equal(h.t, "Daily", ok[*purge.GetPurgeScheduleOK](h)(h.Purge.GetPurgeSchedule(ctx, &purge.GetPurgeScheduleParams{})).Payload.Schedule.Type)
}
