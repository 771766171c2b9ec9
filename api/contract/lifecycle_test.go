package contract_test

import (
	"strconv"
	"time"

	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/gc"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/retention"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/models"
	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/api/apitest"
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

func retentions(h *harbor) {
	ctx := h.t.Context()
	words := ok[*retention.GetRentenitionMetadataOK](h)(h.Retention.GetRentenitionMetadata(ctx, &retention.GetRentenitionMetadataParams{})).Payload
	require.Len(h.t, words.Templates, 5)
	require.Equal(h.t, "doublestar", words.TagSelectors[0].Kind)
	project := h.newProject("retained")
	ref, err := strconv.ParseInt(project, 10, 64)
	require.NoError(h.t, err)
	policy := &models.RetentionPolicy{
		Algorithm: "or", Scope: &models.RetentionPolicyScope{Level: "project", Ref: ref},
		Trigger: &models.RetentionRuleTrigger{Kind: "Schedule", Settings: map[string]any{"cron": "0 0 0 * * *"}},
		Rules: []*models.RetentionRule{{
			Action: "retain", Template: "latestPushedK", Params: map[string]any{"latestPushedK": 1},
			ScopeSelectors: map[string][]models.RetentionSelector{"repository": {{Kind: "doublestar", Decoration: "repoMatches", Pattern: "**"}}},
			TagSelectors:   []*models.RetentionSelector{{Kind: "doublestar", Decoration: "matches", Pattern: "**", Extras: `{"untagged":false}`}},
		}},
	}
	made := id(h.t, ok[*retention.CreateRetentionCreated](h)(h.Retention.CreateRetention(ctx, &retention.CreateRetentionParams{Policy: policy})).Location)
	refused[*retention.CreateRetentionCreated](h, "400")(h.Retention.CreateRetention(ctx, &retention.CreateRetentionParams{Policy: policy}))
	read := ok[*retention.GetRetentionOK](h)(h.Retention.GetRetention(ctx, &retention.GetRetentionParams{ID: made})).Payload
	require.Equal(h.t, "latestPushedK", read.Rules[0].Template)
	require.Equal(h.t, "0 0 0 * * *", read.Trigger.Settings.(map[string]any)["cron"])
	ok[*retention.UpdateRetentionOK](h)(h.Retention.UpdateRetention(ctx, &retention.UpdateRetentionParams{ID: made, Policy: read}))

	h.server.PushImage(h.t, "retained/app", apitest.Image{Layers: []string{"one"}}, "v1")
	h.server.PushImage(h.t, "retained/app", apitest.Image{Layers: []string{"two"}}, "v2")
	_, begun, err := h.Retention.TriggerRetentionExecution(ctx, &retention.TriggerRetentionExecutionParams{ID: made, Body: retention.TriggerRetentionExecutionBody{DryRun: true}})
	require.NoError(h.t, err)
	require.NotNil(h.t, begun)
	var execution *models.RetentionExecution
	require.Eventually(h.t, func() bool {
		found, err := h.Retention.ListRetentionExecutions(ctx, &retention.ListRetentionExecutionsParams{ID: made})
		if err != nil || len(found.Payload) != 1 {
			return false
		}
		execution = found.Payload[0]
		return execution.Status == "Success"
	}, 20*time.Second, 50*time.Millisecond)
	require.True(h.t, execution.DryRun)
	tasks := ok[*retention.ListRetentionTasksOK](h)(h.Retention.ListRetentionTasks(ctx, &retention.ListRetentionTasksParams{ID: made, Eid: execution.ID})).Payload
	require.Len(h.t, tasks, 1)
	require.Equal(h.t, "app", tasks[0].Repository)
	require.Equal(h.t, [2]int64{1, 2}, [2]int64{tasks[0].Retained, tasks[0].Total})
	require.Contains(h.t, ok[*retention.GetRetentionTaskLogOK](h)(h.Retention.GetRetentionTaskLog(ctx, &retention.GetRetentionTaskLogParams{
		ID: made, Eid: execution.ID, Tid: tasks[0].ID,
	})).Payload, "would delete")
	ok[*retention.OperateRetentionExecutionOK](h)(h.Retention.OperateRetentionExecution(ctx, &retention.OperateRetentionExecutionParams{
		ID: made, Eid: execution.ID, Body: retention.OperateRetentionExecutionBody{Action: "stop"},
	}))
	told := tellAll(h, "TAG_RETENTION", "DELETE_ARTIFACT")
	_, _, err = h.Retention.TriggerRetentionExecution(ctx, &retention.TriggerRetentionExecutionParams{ID: made})
	require.NoError(h.t, err)
	payloads := map[string]toldPayload{}
	for len(payloads) < 2 {
		payload := told()
		if payload.Type == "TAG_RETENTION" || payload.EventData.Repository["repo_full_name"] == "retained/app" { // others are of before
			payloads[payload.Type] = payload
		}
	}
	require.Equal(h.t, "v1", payloads["DELETE_ARTIFACT"].EventData.Resources[0]["tag"])
	kept := payloads["TAG_RETENTION"].EventData.Retention
	require.Equal(h.t, "SUCCESS", kept["result"])
	require.Equal(h.t, "retained", kept["project_name"])
	require.InDelta(h.t, made, kept["retention_policy_id"], 0)
	require.Equal(h.t, [2]any{2.0, 1.0}, [2]any{kept["total"], kept["retained"]})
	require.Len(h.t, kept["deleted_artifact"], 1)
	require.Equal(h.t, "retained/app:v1", kept["deleted_artifact"].([]any)[0].(map[string]any)["name_tag"])
	require.NotEmpty(h.t, kept["retention_rule"])
	ok[*retention.DeleteRetentionOK](h)(h.Retention.DeleteRetention(ctx, &retention.DeleteRetentionParams{ID: made}))
}
