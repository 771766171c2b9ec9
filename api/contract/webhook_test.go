package contract_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/webhook"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/webhookjob"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/models"
	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/api"
	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/metadata"
)

func webhooks(h *harbor) {
	ctx := h.t.Context()
	h.server.FollowWebhooks(h.t)
	h.newProject("told")
	const project = "told"
	heard := make(chan http.Header, 1)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		heard <- r.Header
		_, _ = w.Write([]byte("thanks"))
	}))
	defer receiver.Close()

	supported := ok[*webhook.GetSupportedEventTypesOK](h)(h.Webhook.GetSupportedEventTypes(ctx, &webhook.GetSupportedEventTypesParams{ProjectNameOrID: project})).Payload
	require.Contains(h.t, supported.EventType, models.EventType("PUSH_ARTIFACT"))
	require.Contains(h.t, supported.NotifyType, models.NotifyType("slack"))
	require.Len(h.t, supported.PayloadFormats, 2)

	wanted := &models.WebhookPolicy{
		Name: "ci", Enabled: true, EventTypes: []string{"PUSH_ARTIFACT"},
		Targets: []*models.WebhookTargetObject{{Type: "http", Address: receiver.URL, AuthHeader: "Bearer hush", PayloadFormat: "CloudEvents", SkipCertVerify: true}},
	}
	created := ok[*webhook.CreateWebhookPolicyOfProjectCreated](h)(h.Webhook.CreateWebhookPolicyOfProject(ctx, &webhook.CreateWebhookPolicyOfProjectParams{ProjectNameOrID: project, Policy: wanted}))
	policyID := id(h.t, created.Location)
	refused[*webhook.CreateWebhookPolicyOfProjectCreated](h, "400")(h.Webhook.CreateWebhookPolicyOfProject(ctx, &webhook.CreateWebhookPolicyOfProjectParams{ProjectNameOrID: project, Policy: &models.WebhookPolicy{}}))
	got := ok[*webhook.GetWebhookPolicyOfProjectOK](h)(h.Webhook.GetWebhookPolicyOfProject(ctx, &webhook.GetWebhookPolicyOfProjectParams{ProjectNameOrID: project, WebhookPolicyID: policyID})).Payload
	require.Equal(h.t, "ci", got.Name)
	require.Equal(h.t, "admin", got.Creator)
	require.True(h.t, got.Enabled)
	require.NotZero(h.t, got.ProjectID)
	require.False(h.t, time.Time(got.CreationTime).IsZero())
	require.Equal(h.t, &models.WebhookTargetObject{Type: "http", Address: receiver.URL, AuthHeader: "*****", PayloadFormat: "CloudEvents", SkipCertVerify: true}, got.Targets[0])
	got.Description = "changed"
	ok[*webhook.UpdateWebhookPolicyOfProjectOK](h)(h.Webhook.UpdateWebhookPolicyOfProject(ctx, &webhook.UpdateWebhookPolicyOfProjectParams{ProjectNameOrID: project, WebhookPolicyID: policyID, Policy: got}))
	listed := ok[*webhook.ListWebhookPoliciesOfProjectOK](h)(h.Webhook.ListWebhookPoliciesOfProject(ctx, &webhook.ListWebhookPoliciesOfProjectParams{ProjectNameOrID: project, Q: new("name=ci")}))
	require.Len(h.t, listed.Payload, 1)
	require.Equal(h.t, int64(1), listed.XTotalCount)
	require.Equal(h.t, "changed", listed.Payload[0].Description)

	require.NoError(h.t, h.server.Store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		return tx.AppendEvent(ctx, event.Event{Kind: event.ManifestPushed, Actor: "alice", Project: project, Repository: project + "/app", Digest: "sha256:1", Tag: "v1"})
	}))
	require.Equal(h.t, "Bearer hush", (<-heard).Get("Authorization"))
	var executions []*models.Execution
	require.Eventually(h.t, func() bool {
		executions = ok[*webhook.ListExecutionsOfWebhookPolicyOK](h)(h.Webhook.ListExecutionsOfWebhookPolicy(ctx, &webhook.ListExecutionsOfWebhookPolicyParams{ProjectNameOrID: project, WebhookPolicyID: policyID})).Payload
		return len(executions) == 1 && executions[0].Status == "Success"
	}, 20*time.Second, 50*time.Millisecond)
	require.Equal(h.t, "WEBHOOK", executions[0].VendorType)
	require.Equal(h.t, policyID, executions[0].VendorID)
	require.Equal(h.t, "EVENT", executions[0].Trigger)
	require.Equal(h.t, int64(1), executions[0].Metrics.SuccessTaskCount)
	tasks := ok[*webhook.ListTasksOfWebhookExecutionOK](h)(h.Webhook.ListTasksOfWebhookExecution(ctx, &webhook.ListTasksOfWebhookExecutionParams{ProjectNameOrID: project, WebhookPolicyID: policyID, ExecutionID: executions[0].ID})).Payload
	require.Len(h.t, tasks, 1)
	require.Equal(h.t, "Success", tasks[0].Status)
	require.Equal(h.t, "thanks", tasks[0].ExtraAttrs["response"])
	log := ok[*webhook.GetLogsOfWebhookTaskOK](h)(h.Webhook.GetLogsOfWebhookTask(ctx, &webhook.GetLogsOfWebhookTaskParams{ProjectNameOrID: project, WebhookPolicyID: policyID, ExecutionID: executions[0].ID, TaskID: tasks[0].ID})).Payload
	require.Contains(h.t, log, "answered 200")
	refused[*webhook.GetLogsOfWebhookTaskOK](h, "404")(h.Webhook.GetLogsOfWebhookTask(ctx, &webhook.GetLogsOfWebhookTaskParams{ProjectNameOrID: project, WebhookPolicyID: policyID, ExecutionID: executions[0].ID, TaskID: 4711}))
	again := h.call(http.MethodPost, fmt.Sprintf("/projects/told/webhook/policies/%d/executions/%d/redeliver", policyID, executions[0].ID), "", http.StatusCreated)
	require.Contains(h.t, again.Header.Get("Location"), fmt.Sprintf("%s/projects/told/webhook/policies/%d/executions/", api.Prefix, policyID))
	require.Equal(h.t, "Bearer hush", (<-heard).Get("Authorization"))
	h.call(http.MethodPost, fmt.Sprintf("/projects/told/webhook/policies/%d/executions/4711/redeliver", policyID), "", http.StatusNotFound)
	triggers := ok[*webhook.LastTriggerOK](h)(h.Webhook.LastTrigger(ctx, &webhook.LastTriggerParams{ProjectNameOrID: project})).Payload
	require.Len(h.t, triggers, 1)
	require.Equal(h.t, "ci", triggers[0].PolicyName)
	require.False(h.t, time.Time(triggers[0].LastTriggerTime).IsZero())
	jobs := ok[*webhookjob.ListWebhookJobsOK](h)(h.Webhookjob.ListWebhookJobs(ctx, &webhookjob.ListWebhookJobsParams{ProjectNameOrID: project, PolicyID: policyID, Status: []string{"Success"}})).Payload
	require.NotEmpty(h.t, jobs)
	require.Equal(h.t, "PUSH_ARTIFACT", jobs[0].EventType)
	require.Empty(h.t, ok[*webhookjob.ListWebhookJobsOK](h)(h.Webhookjob.ListWebhookJobs(ctx, &webhookjob.ListWebhookJobsParams{ProjectNameOrID: project, PolicyID: policyID, Status: []string{"Error"}})).Payload)

	ok[*webhook.DeleteWebhookPolicyOfProjectOK](h)(h.Webhook.DeleteWebhookPolicyOfProject(ctx, &webhook.DeleteWebhookPolicyOfProjectParams{ProjectNameOrID: project, WebhookPolicyID: policyID}))
	refused[*webhook.GetWebhookPolicyOfProjectOK](h, "404")(h.Webhook.GetWebhookPolicyOfProject(ctx, &webhook.GetWebhookPolicyOfProjectParams{ProjectNameOrID: project, WebhookPolicyID: policyID}))
}

// systemWebhooks drives the routes that Harbor does not have: those of webhooks for all projects, and the trial of targets.
func systemWebhooks(h *harbor) {
	ctx := h.t.Context()
	h.server.FollowWebhooks(h.t)
	heard := make(chan http.Header, 9)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		heard <- r.Header
		_, _ = w.Write([]byte("thanks"))
	}))
	defer receiver.Close()
	wanted := fmt.Sprintf(`{"name": "all", "enabled": true, "event_types": ["DELETE_ARTIFACT"], "targets": [{"type": "http", "address": %q, "secret": "hush"}]}`, receiver.URL)
	const base = "/system/webhook"
	h.call(http.MethodGet, base+"/events", "", http.StatusOK)
	for _, routes := range []string{base, "/projects/told/webhook"} {
		var trials []struct {
			Succeeded bool   `json:"succeeded"`
			Status    int    `json:"status_code"`
			Response  string `json:"response"`
		}
		decode(h, h.call(http.MethodPost, routes+"/policies/test", wanted, http.StatusOK), &trials)
		require.Len(h.t, trials, 1)
		require.True(h.t, trials[0].Succeeded)
		require.Equal(h.t, http.StatusOK, trials[0].Status)
		require.Equal(h.t, "thanks", trials[0].Response)
		require.Equal(h.t, "TEST", (<-heard).Get("X-Berth-Event"))
	}
	h.call(http.MethodPost, base+"/policies", `{}`, http.StatusBadRequest)
	policyID := id(h.t, h.call(http.MethodPost, base+"/policies", wanted, http.StatusCreated).Header.Get("Location"))
	one := base + "/policies/" + fmt.Sprint(policyID)
	h.call(http.MethodPost, base+"/policies", wanted, http.StatusConflict)
	h.call(http.MethodPut, one, strings.Replace(wanted, `"name"`, `"description": "changed", "name"`, 1), http.StatusOK)
	var got models.WebhookPolicy
	decode(h, h.call(http.MethodGet, one, "", http.StatusOK), &got)
	require.Equal(h.t, "changed", got.Description)
	require.Zero(h.t, got.ProjectID)
	listed := h.call(http.MethodGet, base+"/policies?q=name%3Dall", "", http.StatusOK)
	require.Equal(h.t, "1", listed.Header.Get("X-Total-Count"))

	require.NoError(h.t, h.server.Store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		return tx.AppendEvent(ctx, event.Event{Kind: event.ManifestDeleted, Actor: "alice", Project: "told", Repository: "told/app", Digest: "sha256:1", Details: `{"tags":["v1"]}`})
	}))
	require.NotEmpty(h.t, (<-heard).Get("X-Berth-Signature"))
	var executions []models.Execution
	require.Eventually(h.t, func() bool {
		decode(h, h.call(http.MethodGet, one+"/executions", "", http.StatusOK), &executions)
		return len(executions) == 1 && executions[0].Status == "Success"
	}, time.Minute, 50*time.Millisecond)
	execution := fmt.Sprint(one, "/executions/", executions[0].ID)
	var tasks []models.Task
	decode(h, h.call(http.MethodGet, execution+"/tasks", "", http.StatusOK), &tasks)
	require.Equal(h.t, "thanks", tasks[0].ExtraAttrs["response"])
	h.call(http.MethodGet, fmt.Sprint(execution, "/tasks/", tasks[0].ID, "/log"), "", http.StatusOK)
	h.call(http.MethodPost, execution+"/redeliver", "", http.StatusCreated)
	require.NotEmpty(h.t, (<-heard).Get("X-Berth-Signature"))
	var triggers []models.WebhookLastTrigger
	decode(h, h.call(http.MethodGet, base+"/lasttrigger", "", http.StatusOK), &triggers)
	require.Len(h.t, triggers, 1)
	var jobs []models.WebhookJob
	decode(h, h.call(http.MethodGet, base+"/jobs?policy_id="+fmt.Sprint(policyID), "", http.StatusOK), &jobs)
	require.Equal(h.t, "DELETE_ARTIFACT", jobs[0].EventType)
	h.call(http.MethodDelete, one, "", http.StatusOK)
	h.call(http.MethodGet, one, "", http.StatusNotFound)
}

// toldPayload is what a receiver is told, as far as it is looked at.
type toldPayload struct {
	Type      string `json:"type"`
	Operator  string `json:"operator"`
	EventData struct {
		Resources   []map[string]any `json:"resources"`
		Repository  map[string]any   `json:"repository"`
		Replication map[string]any   `json:"replication"`
		Retention   map[string]any   `json:"retention"`
	} `json:"event_data"`
}

// tellAll has a receiver told of events of some types, of all projects, until the test ends, and returns what waits for the next payload.
func tellAll(h *harbor, types ...string) (next func() toldPayload) {
	h.t.Helper()
	told := make(chan toldPayload, 9)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var payload toldPayload
		if json.NewDecoder(r.Body).Decode(&payload) == nil {
			told <- payload
		}
	}))
	h.t.Cleanup(receiver.Close)
	h.server.FollowWebhooks(h.t)
	wanted, err := json.Marshal(models.WebhookPolicy{
		Name: h.t.Name(), Enabled: true, EventTypes: types, Targets: []*models.WebhookTargetObject{{Type: "http", Address: receiver.URL}},
	})
	require.NoError(h.t, err)
	h.call(http.MethodPost, "/system/webhook/policies", string(wanted), http.StatusCreated)
	return func() toldPayload {
		h.t.Helper()
		select {
		case payload := <-told:
			return payload
		case <-time.After(time.Minute):
			require.Fail(h.t, "nobody calls")
			return toldPayload{}
		}
	}
}
