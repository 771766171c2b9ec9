package contract_test

import (
	"time"

	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/gc"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/models"
	"github.com/stretchr/testify/require"
)

func collections(h *harbor) {
	ctx := h.t.Context()
	parameters := map[string]any{"delete_untagged": true, "dry_run": true, "workers": 2}
	made := id(h.t, ok[*gc.CreateGCScheduleCreated](h)(h.GC.CreateGCSchedule(ctx, &gc.CreateGCScheduleParams{
		Schedule: &models.Schedule{Schedule: &models.ScheduleObj{Type: "Manual"}, Parameters: parameters},
	})).Location)
	refused[*gc.CreateGCScheduleCreated](h, "400")(h.GC.CreateGCSchedule(ctx, &gc.CreateGCScheduleParams{
		Schedule: &models.Schedule{Schedule: &models.ScheduleObj{Type: "Manual"}, Parameters: map[string]any{"workers": 1000}},
	}))
	require.Eventually(h.t, func() bool {
		found, err := h.GC.GetGC(ctx, &gc.GetGCParams{GCID: made})
		return err == nil && found.Payload.JobStatus == "Success" && found.Payload.JobName == "GARBAGE_COLLECTION"
	}, 20*time.Second, 50*time.Millisecond)
	require.NotEmpty(h.t, ok[*gc.GetGCHistoryOK](h)(h.GC.GetGCHistory(ctx, &gc.GetGCHistoryParams{})).Payload)
	require.Contains(h.t, ok[*gc.GetGCLogOK](h)(h.GC.GetGCLog(ctx, &gc.GetGCLogParams{GCID: made})).Payload, "dry run")
	ok[*gc.StopGCOK](h)(h.GC.StopGC(ctx, &gc.StopGCParams{GCID: made}))
	refused[*gc.StopGCOK](h, "404")(h.GC.StopGC(ctx, &gc.StopGCParams{GCID: 4711}))
	ok[*gc.UpdateGCScheduleOK](h)(h.GC.UpdateGCSchedule(ctx, &gc.UpdateGCScheduleParams{
		Schedule: &models.Schedule{Schedule: &models.ScheduleObj{Type: "Weekly", Cron: "0 0 0 * * 0"}, Parameters: parameters},
	}))
	require.Equal(h.t, "Weekly", ok[*gc.GetGCScheduleOK](h)(h.GC.GetGCSchedule(ctx, &gc.GetGCScheduleParams{})).Payload.Schedule.Type)
}
