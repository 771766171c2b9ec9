package jobs_test

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/jobs"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/metadata/sqlite/sqlitetest"
)

var alice = event.Actor{Name: "alice", Credential: "basic"}

// untilStopped is a task that waits for its end.
func untilStopped(began chan<- metadata.Task) func(context.Context, *jobs.Run) error {
	return func(ctx context.Context, run *jobs.Run) error {
		began <- run.Task
		<-ctx.Done()
		return context.Cause(ctx)
	}
}

func TestKind_deadlineEndsAttempt(t *testing.T) {
	store := sqlitetest.Open(t)
	began := make(chan metadata.Task, 9)
	j, _ := start(t, store, jobs.Kind{Name: "WORK", Attempts: 1, Deadline: 50 * time.Millisecond, Run: untilStopped(began)})
	ended := waitFor(t, store, submit(t, j, jobs.Submission{}), metadata.StatusError)
	require.Equal(t, "not done within 50ms: the attempt took too long", ended.Message)
}

// TestKind_everywhereBoundsAllProcesses has two gateways that could do four tasks each.
func TestKind_everywhereBoundsAllProcesses(t *testing.T) {
	eachEngine(t, func(t *testing.T, store *metadata.Store) {
		var most atomic.Int64
		kind := jobs.Kind{Name: "WORK", Concurrency: 4, Everywhere: 2, Lease: time.Minute, Run: func(ctx context.Context, _ *jobs.Run) error {
			running, err := store.RunningTasks(ctx)
			for seen := most.Load(); int64(len(running)) > seen && !most.CompareAndSwap(seen, int64(len(running))); seen = most.Load() {
			}
			return err
		}}
		here, _ := start(t, store, kind)
		start(t, store, kind)
		waitFor(t, store, submit(t, here, jobs.Submission{Tasks: make([]jobs.Task, 40)}), metadata.StatusSuccess)
		require.LessOrEqual(t, most.Load(), int64(2))
	})
}

func TestKind_priorityBeginsFirst(t *testing.T) {
	store := sqlitetest.Open(t)
	release := make(chan struct{})
	var mu sync.Mutex
	var order []string
	kind := func(name string, priority jobs.Priority) jobs.Kind {
		return jobs.Kind{Name: name, Priority: priority, Run: func(context.Context, *jobs.Run) error {
			if name == "WORK" {
				<-release
			}
			mu.Lock()
			defer mu.Unlock()
			order = append(order, name)
			return nil
		}}
	}
	j := jobs.New(jobs.Options{
		Store: store, Logger: quiet, Workers: 1, Poll: 10 * time.Millisecond,
		Kinds: []jobs.Kind{kind("A", jobs.Low), kind("B", jobs.Normal), kind("C", jobs.High), kind("WORK", jobs.Normal)},
	})
	t.Cleanup(func() { require.NoError(t, j.Close()) })
	submit(t, j, jobs.Submission{})
	require.Eventually(t, func() bool {
		running, err := j.Working(t.Context(), jobs.AllQueues)
		require.NoError(t, err)
		return len(running) == 1
	}, time.Minute, time.Millisecond)
	var last metadata.Execution
	for _, name := range []string{"A", "B", "C"} {
		made, err := j.Submit(t.Context(), jobs.Submission{Kind: name, Tasks: make([]jobs.Task, 2)})
		require.NoError(t, err)
		if name == "A" {
			last = made
		}
	}
	close(release)
	waitFor(t, store, last, metadata.StatusSuccess)
	require.Equal(t, []string{"WORK", "C", "C", "B", "B", "A", "A"}, order)
}

func TestQueue_pauseResumeStop(t *testing.T) {
	eachEngine(t, func(t *testing.T, store *metadata.Store) {
		var done atomic.Int64
		j, _ := start(t, store, jobs.Kind{Name: "WORK", Run: func(context.Context, *jobs.Run) error {
			done.Add(1)
			return nil
		}})
		require.NoError(t, j.PauseQueue(t.Context(), alice, "WORK", true))
		execution := submit(t, j, jobs.Submission{Tasks: make([]jobs.Task, 3)})
		require.Eventually(t, func() bool {
			queues, err := j.Queues(t.Context())
			require.NoError(t, err)
			return slices.ContainsFunc(queues, func(q metadata.Queue) bool {
				return q.Kind == "WORK" && q.Paused && q.Waiting == 3 && time.Since(q.Since) > 100*time.Millisecond
			})
		}, time.Minute, 5*time.Millisecond)
		require.Zero(t, done.Load())
		require.NoError(t, j.PauseQueue(t.Context(), alice, "WORK", false))
		waitFor(t, store, execution, metadata.StatusSuccess)

		require.NoError(t, j.PauseQueue(t.Context(), alice, jobs.AllQueues, true))
		execution = submit(t, j, jobs.Submission{Tasks: make([]jobs.Task, 3)})
		require.NoError(t, j.StopQueue(t.Context(), alice, jobs.AllQueues))
		waitFor(t, store, execution, metadata.StatusStopped)
		require.NoError(t, j.PauseQueue(t.Context(), alice, jobs.AllQueues, false))
		waitFor(t, store, submit(t, j, jobs.Submission{}), metadata.StatusSuccess)

		require.ErrorIs(t, j.PauseQueue(t.Context(), alice, "NONE", true), metadata.ErrNotFound)
		events, err := store.Events(t.Context(), metadata.EventCursor{}, 100)
		require.NoError(t, err)
		var kinds []event.Kind
		for _, e := range events {
			kinds = append(kinds, e.Kind)
		}
		require.Equal(t, []event.Kind{event.QueuePaused, event.QueueResumed, event.QueuePaused, event.JobStopped, event.QueueResumed}, kinds)
	})
}

func TestQueue_pausedSchedulerFiresNothing(t *testing.T) {
	store := sqlitetest.Open(t)
	j, _ := start(t, store, jobs.Kind{Name: "WORK", Run: func(context.Context, *jobs.Run) error { return nil }})
	require.NoError(t, j.PauseQueue(t.Context(), alice, metadata.SchedulerQueue, true))
	past := time.Now().Add(-time.Hour)
	require.NoError(t, store.Tx(t.Context(), func(ctx context.Context, tx *metadata.Tx) error {
		_, err := tx.PutSchedule(ctx, metadata.Schedule{Kind: "WORK", SubjectID: 1, Cron: "0 0 0 * * *", Parameters: "{}", NextAt: past})
		return err
	}))
	waitFor(t, store, submit(t, j, jobs.Submission{}), metadata.StatusSuccess) // a turn or more later
	paused, err := j.Paused(t.Context(), jobs.AllQueues)
	require.NoError(t, err)
	require.True(t, paused)
	schedules, total, err := j.Schedules(t.Context(), metadata.Query{Limit: 10})
	require.NoError(t, err)
	require.Equal(t, int64(1), total)
	require.True(t, schedules[0].NextAt.Before(time.Now()))
	require.NoError(t, j.PauseQueue(t.Context(), alice, metadata.SchedulerQueue, false))
	require.Eventually(t, func() bool {
		found, err := store.Schedule(t.Context(), "WORK", 1)
		require.NoError(t, err)
		return found.NextAt.After(time.Now())
	}, time.Minute, 5*time.Millisecond)
	_, err = j.Paused(t.Context(), "NONE")
	require.ErrorIs(t, err, metadata.ErrNotFound)
}

// TestJobs_workersAreSeen looks at two gateways from either, one of which then closes.
func TestJobs_workersAreSeen(t *testing.T) {
	eachEngine(t, func(t *testing.T, store *metadata.Store) {
		began := make(chan metadata.Task, 9)
		here, stopHere := start(t, store, jobs.Kind{Name: "WORK", Run: untilStopped(began)})
		elsewhere, stop := start(t, store)
		execution := submit(t, here, jobs.Submission{})
		task := <-began
		require.Eventually(t, func() bool {
			pools, err := elsewhere.Pools(t.Context())
			require.NoError(t, err)
			return len(pools) == 2 && slices.ContainsFunc(pools, func(p metadata.Pool) bool {
				return p.ID == task.Holder && p.Workers == jobs.DefaultWorkers && p.PID > 0
			})
		}, time.Minute, 5*time.Millisecond)
		working, err := elsewhere.Working(t.Context(), task.Holder)
		require.NoError(t, err)
		require.Len(t, working, 1)
		require.Equal(t, task.ID, working[0].ID)
		_, err = here.Working(t.Context(), "none")
		require.ErrorIs(t, err, metadata.ErrNotFound)

		require.NoError(t, elsewhere.StopTask(t.Context(), alice, task.ID))
		waitFor(t, store, execution, metadata.StatusStopped)
		require.NoError(t, here.StopTask(t.Context(), alice, task.ID), "again")
		require.ErrorIs(t, here.StopTask(t.Context(), alice, 1<<40), metadata.ErrNotFound)
		text, err := here.TaskLog(t.Context(), task.ID)
		require.NoError(t, err)
		require.Contains(t, text, "stopped\n")
		_, err = here.TaskLog(t.Context(), 1<<40)
		require.ErrorIs(t, err, metadata.ErrNotFound)
		stop()
		pools, err := here.Pools(t.Context())
		require.NoError(t, err)
		require.Len(t, pools, 1)
		require.NoError(t, elsewhere.Alive(t.Context()), "there are workers, if not its own")
		stopHere()
		require.Eventually(t, func() bool { return elsewhere.Alive(t.Context()) != nil }, time.Minute, 5*time.Millisecond, "there are none")
		require.NoError(t, store.Close())
		require.Error(t, elsewhere.Alive(t.Context()))
	})
}
