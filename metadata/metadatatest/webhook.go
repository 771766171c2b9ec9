package metadatatest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/metadata"
)

func testWebhooks(t *testing.T, f fixture) {
	create := func(w metadata.WebhookPolicy) (created metadata.WebhookPolicy) {
		f.write(t, func(ctx context.Context, tx *metadata.Tx) (err error) {
			created, err = tx.CreateWebhook(ctx, w)
			return err
		})
		return created
	}
	wanted := metadata.WebhookPolicy{
		ProjectID: f.project.ID, Name: "ci", Description: "d", Creator: "alice", Enabled: true, EventTypes: []string{"PUSH_ARTIFACT"}, Base: "https://r",
		Targets: []metadata.WebhookTarget{{Key: "k", Type: "http", Format: "Default", Address: "https://ci", Insecure: true, CA: "c", AuthHeader: []byte{0, 1}, Secret: []byte{2}}},
	}
	made := create(wanted)
	require.NotZero(t, made.ID)
	require.WithinDuration(t, time.Now(), made.CreatedAt, time.Minute)
	wanted.ID, wanted.CreatedAt, wanted.UpdatedAt = made.ID, made.CreatedAt, made.UpdatedAt
	require.Equal(t, wanted, made)
	everywhere := wanted
	everywhere.ProjectID = 0
	system := create(everywhere)
	off := wanted
	off.Name, off.Enabled = "off", false
	create(off)
	require.ErrorIs(t, f.refused(t, func(ctx context.Context, tx *metadata.Tx) error {
		_, err := tx.CreateWebhook(ctx, everywhere)
		return err
	}), metadata.ErrExists)
	stray := wanted
	stray.ProjectID = 1 << 40
	require.Error(t, f.refused(t, func(ctx context.Context, tx *metadata.Tx) error {
		_, err := tx.CreateWebhook(ctx, stray)
		return err
	}))

	for _, c := range []struct {
		projects []int64
		want     []metadata.WebhookPolicy
	}{{nil, []metadata.WebhookPolicy{system}}, {[]int64{f.project.ID, 0}, []metadata.WebhookPolicy{system, made}}, {[]int64{f.project.ID + 1}, []metadata.WebhookPolicy{system}}} {
		found, err := f.WebhooksFor(t.Context(), c.projects)
		require.NoError(t, err)
		require.Equal(t, c.want, found)
	}
	page, total, err := f.Webhooks(t.Context(), f.project.ID, metadata.Query{Limit: 1, Offset: 1})
	require.NoError(t, err)
	require.Equal(t, int64(2), total)
	require.Equal(t, "off", page[0].Name)

	changed := made
	changed.Name, changed.Enabled, changed.Targets = "cd", false, nil
	f.write(t, func(ctx context.Context, tx *metadata.Tx) (err error) {
		changed, err = tx.UpdateWebhook(ctx, changed)
		return err
	})
	found, err := f.Webhook(t.Context(), made.ID)
	require.NoError(t, err)
	require.Equal(t, changed, found)
	require.Equal(t, "cd", found.Name)
	_, err = f.Webhook(t.Context(), 1<<40)
	require.ErrorIs(t, err, metadata.ErrNotFound)

	at := time.Unix(5, 1000).UTC()
	for _, add := range []time.Duration{0, time.Second} {
		f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
			return tx.PutWebhookTriggers(ctx, []metadata.WebhookTrigger{
				{PolicyID: made.ID, EventType: "PUSH_ARTIFACT", At: at.Add(add)}, {PolicyID: 1 << 40, EventType: "PUSH_ARTIFACT", At: at},
			})
		})
	}
	triggers, err := f.WebhookTriggers(t.Context(), []int64{made.ID, system.ID, 1 << 40})
	require.NoError(t, err)
	require.Equal(t, []metadata.WebhookTrigger{{PolicyID: made.ID, EventType: "PUSH_ARTIFACT", At: at.Add(time.Second)}}, triggers)
}

// testWebhookDeliveries has what was to be delivered go with the webhook, and with the project.
func testWebhookDeliveries(t *testing.T, f fixture) {
	var project metadata.Project
	f.write(t, func(ctx context.Context, tx *metadata.Tx) (err error) {
		project, err = tx.CreateProject(ctx, metadata.Project{Name: "told"})
		return err
	})
	for name, remove := range map[string]func(tx *metadata.Tx, ctx context.Context, webhook int64) error{
		"webhook": (*metadata.Tx).DeleteWebhook,
		"project": func(tx *metadata.Tx, ctx context.Context, _ int64) error { return tx.DeleteProject(ctx, project.ID) },
	} {
		var w metadata.WebhookPolicy
		f.write(t, func(ctx context.Context, tx *metadata.Tx) (err error) {
			if _, err := tx.ProjectByID(ctx, project.ID); err != nil {
				if project, err = tx.CreateProject(ctx, metadata.Project{Name: "told"}); err != nil {
					return err
				}
			}
			w, err = tx.CreateWebhook(ctx, metadata.WebhookPolicy{ProjectID: project.ID, Name: name})
			return err
		})
		execution, tasks := f.newExecution(t, metadata.Execution{Kind: "WEBHOOK", SubjectID: w.ID, Parameters: "{}"}, metadata.Task{Parameters: "{}", Lane: "l"},
			metadata.Task{Parameters: "{}", Lane: "m"})
		other, _ := f.newExecution(t, metadata.Execution{Kind: "OTHER", SubjectID: w.ID, Parameters: "{}"})
		for _, status := range []int{500, 200} {
			f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
				return tx.PutWebhookAnswer(ctx, metadata.WebhookAnswer{TaskID: tasks[0].ID, Status: status, Body: "b", Duration: 1500 * time.Microsecond})
			})
		}
		answers, err := f.WebhookAnswers(t.Context(), execution.ID)
		require.NoError(t, err)
		require.Equal(t, []metadata.WebhookAnswer{{TaskID: tasks[0].ID, Status: 200, Body: "b", Duration: 1500 * time.Microsecond}}, answers)
		for range 2 {
			f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
				return tx.SetWebhookAside(ctx, tasks[0].ID, []string{"a", "b"})
			})
		}
		before := func(task metadata.Task, topics ...string) string {
			lane, err := f.WebhookLaneBefore(t.Context(), task, topics)
			if err != nil {
				require.ErrorIs(t, err, metadata.ErrNotFound)
			}
			return lane
		}
		require.Equal(t, "l", before(tasks[1], "c", "b"))
		require.Empty(t, before(tasks[1], "c"), "about something else")
		require.Empty(t, before(tasks[1]), "about nothing")
		require.Empty(t, before(tasks[0], "a"), "itself")
		require.Empty(t, before(metadata.Task{ID: tasks[1].ID, Lane: "l"}, "a"), "in the lane already")
		f.write(t, func(ctx context.Context, tx *metadata.Tx) error { return tx.StopTask(ctx, tasks[0].ID) })
		require.Empty(t, before(tasks[1], "a"), "it has ended")
		var until time.Time
		for after := range 3 {
			rest, err := f.WebhookRest(t.Context(), w.ID, "target")
			require.NoError(t, err)
			require.True(t, rest.Equal(until), rest)
			until = time.UnixMicro(int64(after + 1))
			f.write(t, func(ctx context.Context, tx *metadata.Tx) error { return tx.RestWebhook(ctx, w.ID, "target", until) })
		}
		f.write(t, func(ctx context.Context, tx *metadata.Tx) error { return remove(tx, ctx, w.ID) })
		require.Error(t, f.refused(t, func(ctx context.Context, tx *metadata.Tx) error { return tx.RestWebhook(ctx, w.ID, "target", until) }))
		_, err = f.Execution(t.Context(), execution.ID)
		require.ErrorIs(t, err, metadata.ErrNotFound, name)
		_, err = f.Task(t.Context(), tasks[0].ID)
		require.ErrorIs(t, err, metadata.ErrNotFound, name)
		_, err = f.Execution(t.Context(), other.ID)
		require.NoError(t, err, name)
		require.ErrorIs(t, f.refused(t, func(ctx context.Context, tx *metadata.Tx) error { return tx.DeleteWebhook(ctx, w.ID) }), metadata.ErrNotFound)
	}
}
