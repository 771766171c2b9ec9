package jobs_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/jobs"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/metadata/postgres/postgrestest"
	"github.com/berth-registry/berth/metadata/sqlite/sqlitetest"
)

// lease is short, so that the dead are found out soon.
const lease = time.Second

var quiet = slog.New(slog.DiscardHandler)

func eachEngine(t *testing.T, test func(t *testing.T, store *metadata.Store)) {
	t.Run("sqlite", func(t *testing.T) { test(t, sqlitetest.Open(t)) })
	t.Run("postgres", func(t *testing.T) {
		test(t, postgrestest.Open(t))
	})
}

// start starts a gateway's jobs, which end with the test at the latest.
func start(t *testing.T, store *metadata.Store, kinds ...jobs.Kind) (j *jobs.Jobs, stop func()) {
	t.Helper()
	j = jobs.New(jobs.Options{Store: store, Logger: quiet, Kinds: kinds, Lease: lease, Poll: 10 * time.Millisecond})
	stop = sync.OnceFunc(func() { require.NoError(t, j.Close()) })
	t.Cleanup(stop)
	return j, stop
}

func submit(t *testing.T, j *jobs.Jobs, s jobs.Submission) metadata.Execution {
	t.Helper()
	s.Kind = "WORK"
	execution, err := j.Submit(t.Context(), s)
	require.NoError(t, err)
	return execution
}

func waitFor(t *testing.T, store *metadata.Store, execution metadata.Execution, status metadata.Status) metadata.Execution {
	t.Helper()
	require.Eventually(t, func() bool {
		var err error
		execution, err = store.Execution(t.Context(), execution.ID)
		require.NoError(t, err)
		return execution.Status == status
	}, time.Minute, 5*time.Millisecond, "status")
	return execution
}

func log(t *testing.T, store *metadata.Store, execution metadata.Execution) string {
	t.Helper()
	tasks, err := store.Tasks(t.Context(), execution.ID)
	require.NoError(t, err)
	text, err := store.TaskLog(t.Context(), tasks[0].ID)
	require.NoError(t, err)
	return text
}

func TestJobs_doAllTasksOnceOverTwoGateways(t *testing.T) {
	eachEngine(t, func(t *testing.T, store *metadata.Store) {
		var mu sync.Mutex
		done := map[int]int{}
		kind := jobs.Kind{Name: "WORK", Concurrency: 4, Run: func(_ context.Context, run *jobs.Run) error {
			var p struct{ N int }
			if err := run.Decode(&p); err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			done[p.N]++
			return nil
		}}
		here, _ := start(t, store, kind)
		start(t, store, kind)
		s := jobs.Submission{Cause: jobs.CauseManual, Actor: "alice"}
		for n := range 50 {
			s.Tasks = append(s.Tasks, jobs.Task{Parameters: map[string]int{"n": n}})
		}
		ended := waitFor(t, store, submit(t, here, s), metadata.StatusSuccess)
		require.True(t, ended.Ended())
		require.Len(t, done, 50)
		for n, times := range done {
			require.Equal(t, 1, times, n)
		}
	})
}

func TestJobs_takeOverFromDeadWorker(t *testing.T) {
	eachEngine(t, func(t *testing.T, store *metadata.Store) {
		// A worker that begins and is never heard of again.
		execution := addExecution(t, store)
		tasks, err := store.Tasks(t.Context(), execution.ID)
		require.NoError(t, err)
		require.NoError(t, store.Tx(t.Context(), func(ctx context.Context, tx *metadata.Tx) error {
			_, err := tx.ClaimTask(ctx, tasks[0], "dead", time.Now().Add(50*time.Millisecond))
			return err
		}))
		var attempts atomic.Int64
		start(t, store, jobs.Kind{Name: "WORK", Run: func(_ context.Context, run *jobs.Run) error {
			attempts.Store(int64(run.Task.Attempts))
			return nil
		}})
		waitFor(t, store, execution, metadata.StatusSuccess)
		require.Equal(t, int64(2), attempts.Load())
	})
}

func addExecution(t *testing.T, store *metadata.Store) (execution metadata.Execution) {
	t.Helper()
	require.NoError(t, store.Tx(t.Context(), func(ctx context.Context, tx *metadata.Tx) (err error) {
		if execution, err = tx.CreateExecution(ctx, metadata.Execution{Kind: "WORK", Parameters: "{}"}); err != nil {
			return err
		}
		_, err = tx.CreateTask(ctx, metadata.Task{ExecutionID: execution.ID, Kind: "WORK", Parameters: "{}"})
		return err
	}))
	return execution
}

func TestJobs_workerThatDiesEachTimeIsGivenUp(t *testing.T) {
	store := sqlitetest.Open(t)
	execution := addExecution(t, store)
	for range 2 {
		tasks, err := store.Tasks(t.Context(), execution.ID)
		require.NoError(t, err)
		require.NoError(t, store.Tx(t.Context(), func(ctx context.Context, tx *metadata.Tx) error {
			_, err := tx.ClaimTask(ctx, tasks[0], "dead", time.Now().Add(-time.Second))
			return err
		}))
	}
	start(t, store, jobs.Kind{Name: "WORK", Attempts: 2, Run: func(context.Context, *jobs.Run) error { panic("not reached") }})
	ended := waitFor(t, store, execution, metadata.StatusError)
	require.Equal(t, "its worker died at each of 2 attempts", ended.Message)
}

// TestJobs_heartbeatKeepsLongTask has a task that takes longer than leases, which nobody may take over.
func TestJobs_heartbeatKeepsLongTask(t *testing.T) {
	t.Parallel() // it waits for time to pass
	eachEngine(t, func(t *testing.T, store *metadata.Store) {
		var began atomic.Int64
		release := make(chan struct{})
		kind := jobs.Kind{Name: "WORK", Run: func(ctx context.Context, run *jobs.Run) error {
			began.Add(1)
			run.Log.Printf("begun %s", "now")
			select {
			case <-release:
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}}
		here, _ := start(t, store, kind)
		start(t, store, kind)
		execution := submit(t, here, jobs.Submission{})
		require.Eventually(t, func() bool { return strings.Contains(log(t, store, execution), "begun now\n") }, time.Minute, 5*time.Millisecond, "readable while it runs")
		require.Eventually(t, func() bool {
			tasks, err := store.Tasks(t.Context(), execution.ID)
			require.NoError(t, err)
			return tasks[0].DueAt.Sub(tasks[0].StartedAt) > 4*lease
		}, time.Minute, 5*time.Millisecond)
		close(release)
		waitFor(t, store, execution, metadata.StatusSuccess)
		require.Equal(t, int64(1), began.Load())
	})
}

func TestJobs_stop(t *testing.T) {
	eachEngine(t, func(t *testing.T, store *metadata.Store) {
		began := make(chan struct{}, 9)
		kind := jobs.Kind{Name: "WORK", Run: func(ctx context.Context, _ *jobs.Run) error {
			began <- struct{}{}
			<-ctx.Done()
			return context.Cause(ctx)
		}}
		here, _ := start(t, store, kind)
		elsewhere := jobs.New(jobs.Options{Store: store, Logger: quiet})
		t.Cleanup(func() { require.NoError(t, elsewhere.Close()) })
		for _, from := range []*jobs.Jobs{here, elsewhere} {
			execution := submit(t, here, jobs.Submission{Tasks: []jobs.Task{{}, {}}})
			<-began
			require.NoError(t, from.Stop(t.Context(), execution.ID, nil))
			stopped := waitFor(t, store, execution, metadata.StatusStopped)
			require.NoError(t, from.Stop(t.Context(), execution.ID, nil), "again")
			require.Contains(t, log(t, store, stopped), "stopped\n")
		}
		require.ErrorIs(t, here.Stop(t.Context(), 1<<40, nil), metadata.ErrNotFound)
	})
}

// TestJobs_writesWithTheEnd has what belongs to the end of a task, and to a stop, be written in the same transaction or not at all.
func TestJobs_writesWithTheEnd(t *testing.T) {
	eachEngine(t, func(t *testing.T, store *metadata.Store) {
		tell := func(ctx context.Context, tx *metadata.Tx, what string) error {
			return tx.AppendEvent(ctx, event.Event{Kind: event.JobStopped, Subject: what})
		}
		told := func(want ...string) {
			t.Helper()
			var all []string
			require.Eventually(t, func() bool { // PostgreSQL shows events when those before them are settled
				all = nil
				events, err := store.Events(t.Context(), metadata.EventCursor{}, 100)
				require.NoError(t, err)
				for _, e := range events {
					all = append(all, e.Subject)
				}
				return len(all) >= len(want)
			}, time.Minute, 5*time.Millisecond)
			require.Equal(t, want, all)
		}
		var tries atomic.Int64
		began := make(chan struct{}, 1)
		j, _ := start(t, store, jobs.Kind{Name: "WORK", Run: func(ctx context.Context, run *jobs.Run) error {
			run.Ended = func(ctx context.Context, tx *metadata.Tx, status metadata.Status, message string) error {
				if err := tell(ctx, tx, string(status)+" "+message); err != nil {
					return err
				}
				if tries.Add(1) == 1 {
					return errors.New("not now")
				}
				return nil
			}
			switch run.Task.Parameters {
			case `"fails"`:
				return jobs.Permanent(errors.New("no"))
			case `"lasts"`:
				began <- struct{}{}
				<-ctx.Done()
				return context.Cause(ctx)
			}
			return nil
		}})
		waitFor(t, store, submit(t, j, jobs.Submission{Parameters: "ends"}), metadata.StatusSuccess)
		told("Success ")
		require.EqualValues(t, 2, tries.Load())
		waitFor(t, store, submit(t, j, jobs.Submission{Parameters: "fails"}), metadata.StatusError)

		lasts := submit(t, j, jobs.Submission{Parameters: "lasts"})
		<-began
		require.ErrorContains(t, j.Stop(t.Context(), lasts.ID, func(ctx context.Context, tx *metadata.Tx) error {
			return errors.Join(tell(ctx, tx, "stop"), errors.New("no room"))
		}), "no room")
		running, err := store.Execution(t.Context(), lasts.ID)
		require.NoError(t, err)
		require.Equal(t, metadata.StatusRunning, running.Status)
		require.NoError(t, j.Stop(t.Context(), lasts.ID, func(ctx context.Context, tx *metadata.Tx) error { return tell(ctx, tx, "stop") }))
		waitFor(t, store, lasts, metadata.StatusStopped)
		told("Success ", "Error no", "stop", "Stopped ")
	})
}

func TestJobs_failures(t *testing.T) {
	store := sqlitetest.Open(t)
	j, _ := start(t, store, jobs.Kind{Name: "WORK", Attempts: 2, Concurrency: 9, Run: func(_ context.Context, run *jobs.Run) error {
		switch run.Task.Parameters {
		case `"permanent"`:
			return jobs.Permanent(errors.New("no such thing"))
		case `"panic"`:
			panic("oh")
		}
		return errors.New("not now")
	}})
	permanent := waitFor(t, store, submit(t, j, jobs.Submission{Parameters: "permanent"}), metadata.StatusError)
	require.Equal(t, "no such thing", permanent.Message)
	for parameters, said := range map[string]string{"panic": "panic: oh", "again": "not now"} {
		execution := submit(t, j, jobs.Submission{Parameters: parameters})
		var task metadata.Task
		require.Eventually(t, func() bool {
			tasks, err := store.Tasks(t.Context(), execution.ID)
			require.NoError(t, err)
			task = tasks[0]
			return task.Status == metadata.StatusScheduled
		}, time.Minute, 5*time.Millisecond)
		require.Contains(t, task.Message, said)
		require.Greater(t, time.Until(task.DueAt), 5*time.Second)
		require.Contains(t, log(t, store, execution), "is tried again in 1")
		require.NoError(t, j.Stop(t.Context(), execution.ID, nil))
		waitFor(t, store, execution, metadata.StatusStopped)
	}
	_, err := j.Submit(t.Context(), jobs.Submission{Kind: "UNKNOWN"})
	require.Error(t, err)
}

func TestJobs_closeHandsOver(t *testing.T) {
	eachEngine(t, func(t *testing.T, store *metadata.Store) {
		began := make(chan int, 9)
		first, stop := start(t, store, jobs.Kind{Name: "WORK", Attempts: 1, Run: func(ctx context.Context, run *jobs.Run) error {
			began <- run.Task.Attempts
			<-ctx.Done()
			return ctx.Err()
		}})
		execution := submit(t, first, jobs.Submission{})
		<-began
		stop()
		start(t, store, jobs.Kind{Name: "WORK", Attempts: 1, Run: func(_ context.Context, run *jobs.Run) error {
			began <- run.Task.Attempts
			return nil
		}})
		waitFor(t, store, execution, metadata.StatusSuccess)
		require.Equal(t, 1, <-began, "what was handed over does not count as an attempt")
	})
}

func TestJobs_uniqueKeyAndHistory(t *testing.T) {
	store := sqlitetest.Open(t)
	release := make(chan struct{})
	j, _ := start(t, store, jobs.Kind{Name: "WORK", History: 3, Run: func(context.Context, *jobs.Run) error {
		<-release
		return nil
	}})
	execution := submit(t, j, jobs.Submission{UniqueKey: "one"})
	_, err := j.Submit(t.Context(), jobs.Submission{Kind: "WORK", UniqueKey: "one"})
	require.Equal(t, fault.Conflict, fault.Of(err))
	close(release)
	waitFor(t, store, execution, metadata.StatusSuccess)
	for range 6 {
		waitFor(t, store, submit(t, j, jobs.Submission{UniqueKey: "one"}), metadata.StatusSuccess)
	}
	require.Eventually(t, func() bool {
		_, total, err := store.Executions(t.Context(), "WORK", metadata.Query{})
		require.NoError(t, err)
		return total == 3
	}, time.Minute, time.Millisecond)
}

func TestLog_isCapped(t *testing.T) {
	store := sqlitetest.Open(t)
	j, _ := start(t, store, jobs.Kind{Name: "WORK", Run: func(_ context.Context, run *jobs.Run) error {
		for range 3000 {
			run.Log.Printf("%s\x00\xff", strings.Repeat("x", 1000))
		}
		return nil
	}})
	execution := waitFor(t, store, submit(t, j, jobs.Submission{}), metadata.StatusSuccess)
	text := log(t, store, execution)
	require.Less(t, len(text), jobs.MaxLog+1000)
	require.Contains(t, text, "the log is full")
}

func TestSchedule_firesOnceOverTwoGateways(t *testing.T) {
	t.Parallel() // it waits for time to pass
	eachEngine(t, func(t *testing.T, store *metadata.Store) {
		kind := jobs.Kind{Name: "WORK", Run: func(context.Context, *jobs.Run) error { return nil }}
		here, _ := start(t, store, kind)
		start(t, store, kind)
		began := time.Now()
		require.NoError(t, store.Tx(t.Context(), func(ctx context.Context, tx *metadata.Tx) error {
			_, err := here.SetSchedule(ctx, tx, jobs.Scheduling{Kind: "WORK", Cadence: "Custom", Cron: "* * * * * *", Parameters: map[string]bool{"dry_run": true}})
			return err
		}))
		var executions []metadata.Execution
		require.Eventually(t, func() bool {
			var err error
			executions, _, err = store.Executions(t.Context(), "WORK", metadata.Query{Limit: -1})
			require.NoError(t, err)
			return len(executions) >= 3
		}, time.Minute, 10*time.Millisecond)
		require.LessOrEqual(t, len(executions), int(time.Since(began)/time.Second)+1, "once each second")
		require.Equal(t, jobs.CauseSchedule, executions[0].Cause)
		require.JSONEq(t, `{"dry_run":true}`, executions[0].Parameters)
	})
}

func TestNext(t *testing.T) {
	at := time.Date(2026, 11, 24, 10, 30, 0, 0, time.UTC)
	for expression, want := range map[string]string{
		"0 0 * * * *": "2026-11-24T11:00:00Z", "0 0 0 * * *": "2026-11-25T00:00:00Z", "0 0 0 * * 0": "2026-11-29T00:00:00Z", "*/15 * * * * *": "2026-11-24T10:30:15Z",
	} {
		next, err := jobs.Next(expression, at)
		require.NoError(t, err)
		require.Equal(t, want, next.Format(time.RFC3339), expression)
	}
	for _, expression := range []string{"", "* * * * *", "@daily", "TZ= * * * * *", "0 0 0 31 2 *", "61 * * * * *", "* * * * * * *", "a b c d e f"} {
		_, err := jobs.Next(expression, at)
		require.Equal(t, fault.Invalid, fault.Of(err), fmt.Sprintf("%q", expression))
	}
}

func FuzzNext(f *testing.F) {
	f.Add("0 0 0 * * *")
	f.Add("TZ=UTC 0 0 0 * *")
	f.Add("1-2/3 ? * JAN MON-FRI 7")
	f.Fuzz(func(t *testing.T, expression string) {
		at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		if next, err := jobs.Next(expression, at); err == nil {
			require.True(t, next.After(at))
		}
	})
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestJobs_lanesKeepOrder has tasks that fail now and then in lanes, done by two gateways.
func TestJobs_lanesKeepOrder(t *testing.T) {
	eachEngine(t, func(t *testing.T, store *metadata.Store) {
		var mu sync.Mutex
		ended, busy := map[string][]int{}, map[string]int{}
		kind := jobs.Kind{
			Name: "WORK", Concurrency: 9, Lanes: true, Waits: true, Attempts: 2, Pause: time.Millisecond, Run: func(_ context.Context, run *jobs.Run) error {
				var n int
				if err := run.Decode(&n); err != nil {
					return err
				}
				mu.Lock()
				defer mu.Unlock()
				lane := run.Task.Lane
				if busy[lane]++; busy[lane] > 1 {
					return jobs.Permanent(errors.New("two at a time in one lane"))
				}
				defer func() { busy[lane]-- }()
				if n%3 == 0 && run.Task.Attempts == 1 {
					return errors.New("not yet")
				}
				ended[lane] = append(ended[lane], n)
				return nil
			},
		}
		here, _ := start(t, store, kind)
		start(t, store, kind)
		var s jobs.Submission
		for n := range 60 {
			s.Tasks = append(s.Tasks, jobs.Task{Parameters: n, Lane: fmt.Sprint("lane ", n%4)})
		}
		waitFor(t, store, submit(t, here, s), metadata.StatusSuccess)
		require.Len(t, ended, 4)
		for lane, order := range ended {
			require.Len(t, order, 15, lane)
			require.IsIncreasing(t, order, lane)
		}
	})
}

// TestJobs_retryAsTheErrorSays has tasks step out of the way of those behind them, and some that wait without having tried.
func TestJobs_retryAsTheErrorSays(t *testing.T) {
	eachEngine(t, func(t *testing.T, store *metadata.Store) {
		var mu sync.Mutex
		var order []string
		postponed := map[string]int{}
		j, _ := start(t, store, jobs.Kind{
			Name: "WORK", Concurrency: 9, Lanes: true, Waits: true, Attempts: 2, Pause: time.Hour, Run: func(_ context.Context, run *jobs.Run) error {
				var name string
				if err := run.Decode(&name); err != nil {
					return err
				}
				mu.Lock()
				defer mu.Unlock()
				switch {
				case name == "first" && run.Task.Lane == "main":
					return &jobs.Retry{Cause: errors.New("not yet"), After: time.Millisecond, Lane: "aside"}
				case name == "first" && !slices.Contains(order, "second"): // until what was behind it is done
					return &jobs.Retry{Cause: errors.New("not tried"), Uncounted: true, After: time.Millisecond}
				case name == "second" && postponed[name] < 5:
					postponed[name]++
					return &jobs.Retry{Cause: errors.New("not tried"), Uncounted: true}
				}
				order = append(order, name)
				return nil
			},
		})
		execution := submit(t, j, jobs.Submission{Tasks: []jobs.Task{{Parameters: "first", Lane: "main"}, {Parameters: "second", Lane: "main"}}})
		waitFor(t, store, execution, metadata.StatusSuccess)
		require.Equal(t, []string{"second", "first"}, order)
		tasks, err := store.Tasks(t.Context(), execution.ID)
		require.NoError(t, err)
		require.Equal(t, "aside", tasks[0].Lane)
		require.Equal(t, 2, tasks[0].Attempts)
		require.Equal(t, 1, tasks[1].Attempts)
	})
}

// TestJobs_whatWaitsKeepsNobodyFromWorking has more tasks that stand still than there are workers.
func TestJobs_whatWaitsKeepsNobodyFromWorking(t *testing.T) {
	store := sqlitetest.Open(t)
	release := make(chan struct{})
	var standing atomic.Int64
	j := jobs.New(jobs.Options{Store: store, Logger: quiet, Workers: 1, Poll: 10 * time.Millisecond, Kinds: []jobs.Kind{
		{Name: "STAND", Concurrency: 3, Waits: true, Run: func(context.Context, *jobs.Run) error { standing.Add(1); <-release; return nil }},
		{Name: "WORK", Run: func(context.Context, *jobs.Run) error { return nil }},
	}})
	t.Cleanup(func() { require.NoError(t, j.Close()) })
	defer close(release)
	_, err := j.Submit(t.Context(), jobs.Submission{Kind: "STAND", Tasks: make([]jobs.Task, 5)})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return standing.Load() == 3 }, time.Minute, 5*time.Millisecond)
	waitFor(t, store, submit(t, j, jobs.Submission{}), metadata.StatusSuccess)
}
