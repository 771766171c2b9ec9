package metadatatest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/metadata"
)

// addConfigured makes n registries, policies, schedules, webhooks and deletions, whose ids lie apart. Of the deletions every seventh has
// expired at now, and every fifth came with another.
func (f fixture) addConfigured(t *testing.T, n int, now time.Time) {
	t.Helper()
	for _, text := range []string{
		`INSERT INTO registries (id, name, url, kind, description, login, username, insecure, ca_certificate, status, created_at, updated_at)
		{numbers} SELECT 1000 + i * 300, 'r' || (i * 37 % 100), '', '', '', '', '', FALSE, '', '', i, i FROM s`,
		`INSERT INTO replication_policies (id, name, description, creator, source_id, namespace, replaced, filters, cause, cron, deletes, overrides, enabled, single,
			by_chunk, speed, created_at, updated_at)
		{numbers} SELECT 1000 + i * 300, 'p' || (i * 37 % 100), '', '', 1300, '', 0, '[]', 'manual', '', FALSE, FALSE, FALSE, FALSE, FALSE, -1, i, 1000 - i FROM s`,
		`INSERT INTO schedules (id, kind, subject_id, cadence, cron, parameters, next_at, created_at, updated_at)
		{numbers} SELECT 1000 + i * 300, 'k', i, '', '', '{}', 1, 1, 1 FROM s`,
		`INSERT INTO webhook_policies (id, project_id, name, description, creator, enabled, event_types, targets, base, created_at, updated_at)
		{numbers} SELECT 1000 + i * 300, CASE WHEN i % 9 = 0 THEN NULL ELSE {project} END, 'w' || i, '', '', FALSE, '[]', '[]', '', 1, 1 FROM s`,
		`INSERT INTO deletions (id, project_id, root_id, repository, digest, media_type, tags, actor, deleted_at, expires_at)
		{numbers} SELECT 1000 + i * 1300, {project}, CASE WHEN i % 5 = 0 THEN 2300 END, 'r', 'd' || i, '', '[]', '', 1, CASE WHEN i % 7 = 0 THEN {now} ELSE {now} + 1 END FROM s`,
	} {
		text = strings.NewReplacer("{numbers}", fmt.Sprintf("WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < %d)", n),
			"{project}", fmt.Sprint(f.project.ID), "{now}", fmt.Sprint(now.UnixMicro())).Replace(text)
		_, err := f.database.DB.ExecContext(t.Context(), text)
		require.NoError(t, err, text)
	}
}

// testConfiguredLists compares each page of lists of what is configured and of deletions with the whole, before and after some are gone.
func testConfiguredLists(t *testing.T, f fixture) {
	now := time.Now().UTC()
	f.addConfigured(t, 60, now)
	f.recountLists(t)
	ids := func(n int, id func(i int) int64) (found []int64) {
		for i := range n {
			found = append(found, id(i))
		}
		return found
	}
	lists := map[string]func(q metadata.Query) ([]int64, int64, error){
		"registries": func(q metadata.Query) ([]int64, int64, error) {
			rows, total, err := f.ListRemoteRegistries(t.Context(), q)
			return ids(len(rows), func(i int) int64 { return rows[i].ID }), total, err
		},
		"policies": func(q metadata.Query) ([]int64, int64, error) {
			rows, total, err := f.ListReplicationPolicies(t.Context(), q)
			return ids(len(rows), func(i int) int64 { return rows[i].ID }), total, err
		},
		"schedules": func(q metadata.Query) ([]int64, int64, error) {
			rows, total, err := f.Schedules(t.Context(), q)
			return ids(len(rows), func(i int) int64 { return rows[i].ID }), total, err
		},
		"webhooks": func(q metadata.Query) ([]int64, int64, error) {
			rows, total, err := f.Webhooks(t.Context(), f.project.ID, q)
			return ids(len(rows), func(i int) int64 { return rows[i].ID }), total, err
		},
		"webhooks of all": func(q metadata.Query) ([]int64, int64, error) {
			rows, total, err := f.Webhooks(t.Context(), 0, q)
			return ids(len(rows), func(i int) int64 { return rows[i].ID }), total, err
		},
		"deletions": func(q metadata.Query) ([]int64, int64, error) {
			rows, total, err := f.ListDeletions(t.Context(), f.project.ID, now, q)
			return ids(len(rows), func(i int) int64 { return rows[i].ID }), total, err
		},
	}
	requirePages := func(lengths map[string]int, orders ...[]metadata.Order) {
		t.Helper()
		for name, list := range lists {
			for _, orders := range append(orders, nil) {
				whole, total, err := list(metadata.Query{Order: orders, Limit: -1})
				require.NoError(t, err)
				require.EqualValues(t, lengths[name], total, name)
				require.Len(t, whole, lengths[name], name)
				for offset := 0; offset < len(whole)+4; offset += 9 {
					for _, limit := range []int{1, 12} {
						page, counted, err := list(metadata.Query{Order: orders, Offset: int64(offset), Limit: int64(limit)})
						require.NoError(t, err)
						require.Equal(t, total, counted)
						n := len(whole)
						require.Equal(t, slices.Clone(whole[min(offset, n):min(offset+limit, n)]), append([]int64{}, page...), "%s by %v from %d", name, orders, offset)
					}
				}
			}
		}
	}
	requirePages(map[string]int{"registries": 60, "policies": 60, "schedules": 60, "webhooks": 54, "webhooks of all": 6, "deletions": 41},
		[]metadata.Order{{Field: "name", Descending: true}}, []metadata.Order{{Field: "id"}}, []metadata.Order{{Field: "update_time"}, {Field: "id", Descending: true}})
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
		for i := range int64(30) {
			if err := tx.DeleteReplicationPolicy(ctx, 1300+i*600); err != nil {
				return err
			}
			if err := tx.DeleteWebhook(ctx, 1300+i*300); err != nil {
				return err
			}
			if err := tx.DeleteSchedule(ctx, "k", 1+i*2); err != nil {
				return err
			}
		}
		if err := tx.DeleteRemoteRegistry(ctx, 1600); err != nil {
			return err
		}
		expired, err := tx.ExpiredDeletions(ctx, now, 100)
		if err != nil {
			return err
		}
		return tx.PurgeDeletions(ctx, append(expired[2:], 3600, 6200)...)
	})
	f.recountLists(t)
	requirePages(map[string]int{"registries": 59, "policies": 30, "schedules": 30, "webhooks": 27, "webhooks of all": 3, "deletions": 39})
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
		if err := tx.DeleteRepository(ctx, f.repository.ID); err != nil {
			return err
		}
		return tx.DeleteProject(ctx, f.project.ID)
	})
	f.recountLists(t)
	var left int
	require.NoError(t, f.database.DB.QueryRowContext(t.Context(), fmt.Sprintf(`SELECT COALESCE(SUM(entries), 0) FROM list_counts WHERE list = 'webhooks' AND owner = %d`, f.project.ID)).Scan(&left))
	require.Zero(t, left)
}

// testManyTasks lists the tasks of executions with few and with many, whose ids lie apart.
func testManyTasks(t *testing.T, f fixture) {
	many, _ := f.newExecution(t, metadata.Execution{Kind: "MANY", SubjectID: 1, Parameters: "{}"}, metadata.Task{Parameters: "{}"})
	few, _ := f.newExecution(t, metadata.Execution{Kind: "MANY", SubjectID: 1, Parameters: "{}"}, metadata.Task{Parameters: "{}"})
	_, err := f.database.DB.ExecContext(t.Context(), fmt.Sprintf(`
		INSERT INTO tasks (id, execution_id, kind, status, message, parameters, attempts, holder, stopping, due_at, created_at, updated_at, started_at, ended_at)
		WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < 1200)
		SELECT 1000 + i * 7, CASE WHEN i %% 12 = 0 THEN %d ELSE %d END, 'MOVE', 'Success', '', '{}', 1, '', FALSE, 1, 1, 1, 1, 1 FROM s`, few.ID, many.ID))
	require.NoError(t, err)
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
		for range 2 { // also by another attempt
			for _, e := range []metadata.Execution{many, few} {
				if err := tx.KeepTaskCounts(ctx, e.ID, "MOVE"); err != nil {
					return err
				}
			}
		}
		return nil
	})
	for _, c := range []struct {
		execution int64
		kind      string
		length    int
	}{{many.ID, "MOVE", 1_100}, {few.ID, "MOVE", 100}, {many.ID, "MANY", 1}, {many.ID, "", 1_101}, {many.ID, "NONE", 0}} {
		whole, _, err := f.ListTasks(t.Context(), c.execution, c.kind, metadata.Query{Limit: -1})
		require.NoError(t, err)
		require.Len(t, whole, c.length)
		for _, offset := range []int{0, 90, 500, 996, 1_090, 1_095, 1_200} {
			page, total, err := f.ListTasks(t.Context(), c.execution, c.kind, metadata.Query{Offset: int64(offset), Limit: 10})
			require.NoError(t, err)
			require.Equal(t, append([]metadata.Task{}, whole[min(offset, c.length):min(offset+10, c.length)]...), append([]metadata.Task{}, page...), "%s from %d", c.kind, offset)
			if c.kind == "MOVE" {
				require.EqualValues(t, c.length, total)
			}
		}
	}
	count := func() (n int) {
		require.NoError(t, f.database.DB.QueryRowContext(t.Context(), `SELECT COUNT(*) FROM list_counts WHERE list LIKE 'tasks of %'`).Scan(&n))
		return n
	}
	require.Greater(t, count(), 5)
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error { return tx.StopExecution(ctx, many.ID) })
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error { return tx.DeleteExecutions(ctx, "MANY", 1, 0) })
	require.Zero(t, count())
}
