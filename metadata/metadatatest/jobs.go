package metadatatest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
)

// newExecution adds an execution with tasks.
func (f fixture) newExecution(t *testing.T, e metadata.Execution, tasks ...metadata.Task) (metadata.Execution, []metadata.Task) {
	t.Helper()
	var created metadata.Execution
	var made []metadata.Task
	f.write(t, func(ctx context.Context, tx *metadata.Tx) (err error) {
		made = nil
		if created, err = tx.CreateExecution(ctx, e); err != nil {
			return err
		}
		for _, task := range tasks {
			task.ExecutionID, task.Kind = created.ID, e.Kind
			one, err := tx.CreateTask(ctx, task)
			if err != nil {
				return err
			}
			made = append(made, one)
		}
		return nil
	})
	return created, made
}

func testExecutions(t *testing.T, f fixture) {
	purge := metadata.Execution{Kind: "PURGE", SubjectID: 7, Cause: "MANUAL", Parameters: `{"a":1}`, Actor: "alice", UniqueKey: "one"}
	first, tasks := f.newExecution(t, purge, metadata.Task{Parameters: "{}"}, metadata.Task{Parameters: "{}"})
	require.Equal(t, metadata.StatusPending, first.Status)
	require.False(t, first.Ended())
	require.ErrorIs(t, f.refused(t, func(ctx context.Context, tx *metadata.Tx) error {
		_, err := tx.CreateExecution(ctx, purge)
		return err
	}), metadata.ErrExists)

	until := time.Now().Add(time.Hour)
	end := func(task metadata.Task, status metadata.Status, message string) {
		f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
			claimed, err := tx.ClaimTask(ctx, task, "w", until)
			if err != nil {
				return err
			}
			return tx.EndTask(ctx, claimed, status, message)
		})
	}
	get := func() metadata.Execution {
		e, err := f.Execution(t.Context(), first.ID)
		require.NoError(t, err)
		return e
	}
	end(tasks[0], metadata.StatusError, "it broke")
	require.Equal(t, metadata.StatusRunning, get().Status)
	require.False(t, get().StartedAt.IsZero())
	end(tasks[1], metadata.StatusSuccess, "")
	require.Equal(t, metadata.StatusError, get().Status)
	require.Equal(t, "it broke", get().Message)
	require.True(t, get().Ended())

	second, tasks := f.newExecution(t, purge, metadata.Task{Parameters: "{}"})
	end(tasks[0], metadata.StatusSuccess, "")
	third, _ := f.newExecution(t, metadata.Execution{Kind: "PURGE", SubjectID: 7, Parameters: "{}"}, metadata.Task{Parameters: "{}"})
	page, total, err := f.Executions(t.Context(), "PURGE", metadata.Query{Limit: 2})
	require.NoError(t, err)
	require.Equal(t, int64(3), total)
	require.Equal(t, []int64{third.ID, second.ID}, []int64{page[0].ID, page[1].ID})
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error { return tx.DeleteExecutions(ctx, "PURGE", 7, 1) })
	_, err = f.Execution(t.Context(), first.ID)
	require.ErrorIs(t, err, metadata.ErrNotFound)
	_, err = f.Task(t.Context(), tasks[0].ID)
	require.NoError(t, err)
	_, total, err = f.Executions(t.Context(), "PURGE", metadata.Query{})
	require.NoError(t, err)
	require.Equal(t, int64(2), total)
}

// testReplicationUploads has what a task remembers of its uploads.
func testReplicationUploads(t *testing.T, f fixture) {
	_, tasks := f.newExecution(t, metadata.Execution{Kind: "UPLOAD", SubjectID: 9, Parameters: "{}"}, metadata.Task{Parameters: "{}"})
	id := tasks[0].ID
	location := func(digest oci.Digest) (string, error) {
		found, err := f.ReplicationUpload(t.Context(), id, digest)
		return string(found), err
	}
	for _, put := range []string{"one", "two"} {
		f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
			return tx.PutReplicationUpload(ctx, id, "a", []byte(put))
		})
		found, err := location("a")
		require.NoError(t, err)
		require.Equal(t, put, found)
	}
	_, err := location("b")
	require.ErrorIs(t, err, metadata.ErrNotFound)
	for range 2 {
		f.write(t, func(ctx context.Context, tx *metadata.Tx) error { return tx.DeleteReplicationUpload(ctx, id, "a") })
	}
	_, err = location("a")
	require.ErrorIs(t, err, metadata.ErrNotFound)
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
		if err := tx.PutReplicationUpload(ctx, id, "a", []byte("three")); err != nil {
			return err
		}
		if err := tx.StopTask(ctx, id); err != nil {
			return err
		}
		return tx.DeleteExecutions(ctx, "UPLOAD", 9, 0)
	})
	_, err = location("a")
	require.ErrorIs(t, err, metadata.ErrNotFound, "it goes with the task")
}

// testTurns has executions of which one at a time may run, and one that waits for its turn.
func testTurns(t *testing.T, f fixture) {
	turn := func(e metadata.Execution) error {
		return f.Tx(t.Context(), func(ctx context.Context, tx *metadata.Tx) error { return tx.TakeKey(ctx, e.ID, "turn") })
	}
	one, _ := f.newExecution(t, metadata.Execution{Kind: "TURN", Parameters: "{}"}, metadata.Task{Parameters: "{}"})
	two, tasks := f.newExecution(t, metadata.Execution{Kind: "TURN", Parameters: "{}"}, metadata.Task{Parameters: "{}"})
	require.NoError(t, turn(one))
	require.NoError(t, turn(one), "again")
	require.ErrorIs(t, turn(two), metadata.ErrExists)

	f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
		first, err := tx.FirstTask(ctx, two.ID)
		if err != nil {
			return err
		}
		return tx.PutParameters(ctx, first, `{"more":1}`)
	})
	changed, err := f.Execution(t.Context(), two.ID)
	require.NoError(t, err)
	require.JSONEq(t, `{"more":1}`, changed.Parameters)
	further := func() error {
		return f.refused(t, func(ctx context.Context, tx *metadata.Tx) error {
			_, err := tx.FirstTask(ctx, two.ID)
			return err
		})
	}
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
		claimed, err := tx.ClaimTask(ctx, tasks[0], "w", time.Now().Add(time.Hour))
		require.JSONEq(t, `{"more":1}`, claimed.Parameters)
		tasks[0] = claimed
		return err
	})
	require.ErrorIs(t, further(), metadata.ErrNotFound, "it runs")
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
		if _, err := tx.CreateTask(ctx, metadata.Task{ExecutionID: two.ID, Kind: "TURN", Parameters: "{}"}); err != nil {
			return err
		}
		return tx.ReleaseTask(ctx, tasks[0], metadata.StatusScheduled, "", time.Now(), 0, "")
	})
	require.ErrorIs(t, further(), metadata.ErrNotFound, "it has others")

	f.write(t, func(ctx context.Context, tx *metadata.Tx) error { return tx.StopExecution(ctx, one.ID) })
	require.NoError(t, turn(two))
	require.ErrorIs(t, turn(one), metadata.ErrNotFound, "it has ended")
}

func testTasks(t *testing.T, f fixture) {
	past := time.Now().Add(-time.Hour).UTC().Truncate(time.Microsecond)
	execution, tasks := f.newExecution(t, metadata.Execution{Kind: "COPY", Parameters: "{}"},
		metadata.Task{Parameters: "{}", DueAt: past}, metadata.Task{Parameters: "{}", DueAt: past.Add(-time.Second)}, metadata.Task{Parameters: "{}", DueAt: time.Now().Add(time.Hour)})
	due := func() (ids []int64) {
		found, err := f.DueTasks(t.Context(), "COPY", time.Now(), 10)
		require.NoError(t, err)
		for _, task := range found {
			ids = append(ids, task.ID)
		}
		return ids
	}
	require.Equal(t, []int64{tasks[1].ID, tasks[0].ID}, due(), "the one first that has been due for longer")
	claim := func(task metadata.Task, holder string, until time.Time) (claimed metadata.Task, err error) {
		err = f.Tx(t.Context(), func(ctx context.Context, tx *metadata.Tx) (err error) {
			claimed, err = tx.ClaimTask(ctx, task, holder, until)
			return err
		})
		return claimed, err
	}
	one, err := claim(tasks[0], "one", past)
	require.NoError(t, err)
	require.Equal(t, 1, one.Attempts)
	_, err = claim(tasks[0], "two", past)
	require.ErrorIs(t, err, metadata.ErrConflict)
	require.Contains(t, due(), one.ID, "its worker is late")
	two, err := claim(one, "two", time.Now().Add(time.Hour))
	require.NoError(t, err)
	hold := func(task metadata.Task) (stopping bool, err error) {
		err = f.Tx(t.Context(), func(ctx context.Context, tx *metadata.Tx) (err error) {
			stopping, err = tx.HoldTask(ctx, task, time.Now().Add(time.Hour))
			return err
		})
		return stopping, err
	}
	_, err = hold(one)
	require.ErrorIs(t, err, metadata.ErrConflict, "another has taken over")
	require.ErrorIs(t, f.refused(t, func(ctx context.Context, tx *metadata.Tx) error {
		return tx.EndTask(ctx, one, metadata.StatusSuccess, "")
	}), metadata.ErrConflict)
	stopping, err := hold(two)
	require.NoError(t, err)
	require.False(t, stopping)

	for _, text := range []string{"a\n", "b\n"} {
		f.write(t, func(ctx context.Context, tx *metadata.Tx) error { return tx.AppendTaskLog(ctx, two.ID, text) })
	}
	log, err := f.TaskLog(t.Context(), two.ID)
	require.NoError(t, err)
	require.Equal(t, "a\nb\n", log)

	f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
		return tx.ReleaseTask(ctx, two, metadata.StatusScheduled, "later", past, two.Attempts, two.Lane)
	})
	later, err := f.Task(t.Context(), two.ID)
	require.NoError(t, err)
	three, err := claim(later, "three", time.Now().Add(time.Hour))
	require.NoError(t, err)
	require.Equal(t, 3, three.Attempts)
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error { return tx.StopExecution(ctx, execution.ID) })
	stopping, err = hold(three)
	require.NoError(t, err)
	require.True(t, stopping)
	all, err := f.Tasks(t.Context(), execution.ID)
	require.NoError(t, err)
	require.Equal(t, []metadata.Status{metadata.StatusRunning, metadata.StatusStopped, metadata.StatusStopped}, []metadata.Status{all[0].Status, all[1].Status, all[2].Status})
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
		return tx.EndTask(ctx, three, metadata.StatusStopped, "")
	})
	ended, err := f.Execution(t.Context(), execution.ID)
	require.NoError(t, err)
	require.Equal(t, metadata.StatusStopped, ended.Status)
	require.ErrorIs(t, f.refused(t, func(ctx context.Context, tx *metadata.Tx) error { return tx.StopExecution(ctx, 1<<40) }), metadata.ErrNotFound)
}

func testSchedules(t *testing.T, f fixture) {
	next := time.Now().Add(-time.Minute).UTC().Truncate(time.Microsecond)
	put := func(s metadata.Schedule) (stored metadata.Schedule) {
		f.write(t, func(ctx context.Context, tx *metadata.Tx) (err error) {
			stored, err = tx.PutSchedule(ctx, s)
			return err
		})
		return stored
	}
	first := put(metadata.Schedule{Kind: "PURGE", Cadence: "Daily", Cron: "0 0 0 * * *", Parameters: "{}", NextAt: next})
	second := put(metadata.Schedule{Kind: "PURGE", Cadence: "Hourly", Cron: "0 0 * * * *", Parameters: `{"a":1}`, NextAt: next})
	require.Equal(t, first.ID, second.ID)
	found, err := f.Schedule(t.Context(), "PURGE", 0)
	require.NoError(t, err)
	require.Equal(t, second, found)
	due, err := f.DueSchedules(t.Context(), time.Now(), 10)
	require.NoError(t, err)
	require.Equal(t, []metadata.Schedule{second}, due)
	advance := func(ctx context.Context, tx *metadata.Tx) error {
		return tx.AdvanceSchedule(ctx, second, next.Add(time.Hour))
	}
	f.write(t, advance)
	require.ErrorIs(t, f.refused(t, advance), metadata.ErrConflict)
	remove := func(ctx context.Context, tx *metadata.Tx) error { return tx.DeleteSchedule(ctx, "PURGE", 0) }
	f.write(t, remove)
	require.ErrorIs(t, f.refused(t, remove), metadata.ErrNotFound)
	_, err = f.Schedule(t.Context(), "PURGE", 0)
	require.ErrorIs(t, err, metadata.ErrNotFound)
}

// testLanes has tasks that wait for those before them in their lane.
func testLanes(t *testing.T, f fixture) {
	_, tasks := f.newExecution(t, metadata.Execution{Kind: "LANED", Parameters: "{}"},
		metadata.Task{Parameters: "1", Lane: "b"}, metadata.Task{Parameters: "2", Lane: "b"}, metadata.Task{Parameters: "3", Lane: "a"}, metadata.Task{Parameters: "4", Lane: "c"})
	f.newExecution(t, metadata.Execution{Kind: "OTHER", Parameters: "{}"}, metadata.Task{Parameters: "5", Lane: "b"})
	require.Equal(t, "b", tasks[0].Lane)
	heads := func(n int) (parameters []string) {
		due, err := f.DueHeads(t.Context(), "LANED", time.Now(), n)
		require.NoError(t, err)
		for _, task := range due {
			parameters = append(parameters, task.Parameters)
		}
		return parameters
	}
	require.Equal(t, []string{"1", "3", "4"}, heads(9))
	require.Equal(t, []string{"1", "3"}, heads(2))
	var running metadata.Task
	f.write(t, func(ctx context.Context, tx *metadata.Tx) (err error) {
		running, err = tx.ClaimTask(ctx, tasks[0], "w", time.Now().Add(time.Hour))
		return err
	})
	require.Equal(t, []string{"3", "4"}, heads(9), "what is behind one that runs waits")
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
		return tx.ReleaseTask(ctx, running, metadata.StatusScheduled, "later", time.Now().Add(time.Hour), 1, "b")
	})
	require.Equal(t, []string{"3", "4"}, heads(9), "and behind one that is tried again later")
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
		again, err := tx.Task(ctx, running.ID)
		if err != nil {
			return err
		}
		claimed, err := tx.ClaimTask(ctx, again, "w", time.Now().Add(time.Hour))
		if err != nil {
			return err
		}
		return tx.EndTask(ctx, claimed, metadata.StatusError, "given up")
	})
	require.Equal(t, []string{"2", "3", "4"}, heads(9))
	length := func(prefix string, n int) int64 {
		length, err := f.LaneLength(t.Context(), "LANED", prefix, n)
		require.NoError(t, err)
		return length
	}
	require.Equal(t, int64(1), length("b", 9))
	require.Equal(t, int64(3), length("", 9))
	require.Equal(t, int64(2), length("", 2), "no more than asked for")
	require.Zero(t, length("bb", 9))
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
		claimed, err := tx.ClaimTask(ctx, tasks[1], "w", time.Now().Add(time.Hour))
		if err != nil {
			return err
		}
		return tx.ReleaseTask(ctx, claimed, metadata.StatusScheduled, "elsewhere", time.Now().Add(-time.Second), 0, "c")
	})
	require.Equal(t, []string{"2", "3"}, heads(9), "the older one first in the lane that it came to")
	require.Zero(t, length("b", 9))
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error { return tx.StopExecution(ctx, tasks[0].ExecutionID) })
	require.Empty(t, heads(9))
}
