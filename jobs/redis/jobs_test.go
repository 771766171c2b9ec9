package redis_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/jobs"
	"github.com/berth-registry/berth/jobs/redis"
	"github.com/berth-registry/berth/jobs/redis/redistest"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/metadata/postgres"
	"github.com/berth-registry/berth/metadata/postgres/postgrestest"
	"github.com/berth-registry/berth/metadata/sqlite/sqlitetest"
)

// lease is short, so that the dead are found out soon.
const lease = 2 * time.Second

func start(t *testing.T, options jobs.Options) *jobs.Jobs {
	t.Helper()
	options.Logger, options.Lease = quiet, lease
	j := jobs.New(options)
	t.Cleanup(func() { require.NoError(t, j.Close()) })
	return j
}

// TestJobs_wakeOtherProcesses has workers that would not look in SQL for hours: what this process is told of while it has no worker left,
// the other one hears of.
func TestJobs_wakeOtherProcesses(t *testing.T) {
	server := redistest.Start(t)
	store := sqlitetest.Open(t)
	const more = 20
	begun := func(where chan<- struct{}) func(ctx context.Context, run *jobs.Run) error {
		return func(ctx context.Context, _ *jobs.Run) error {
			where <- struct{}{}
			<-ctx.Done()
			return ctx.Err()
		}
	}
	busy, elsewhere := make(chan struct{}, 1+more), make(chan struct{}, 1+more)
	here := start(t, jobs.Options{Store: store, Queue: open(t, redis.Options{URL: "redis://" + server.Address}), Poll: time.Hour, Kinds: []jobs.Kind{
		{Name: "WORK", Run: begun(busy)},
	}})
	_, err := here.Submit(t.Context(), jobs.Submission{Kind: "WORK"})
	require.NoError(t, err)
	<-busy
	start(t, jobs.Options{Store: store, Queue: open(t, redis.Options{URL: "redis://" + server.Address}), Poll: time.Hour, Workers: more, Kinds: []jobs.Kind{
		{Name: "WORK", Concurrency: more, Run: begun(elsewhere)},
	}})
	require.Eventually(t, func() bool { return strings.HasSuffix(server.Do("pubsub", "numsub", "berth-passed"), "\n2") }, time.Minute, 10*time.Millisecond)
	for _, tasks := range []int{1, more - 1} { // with the first the other one has looked in SQL for what was there before it listened
		_, err = here.Submit(t.Context(), jobs.Submission{Kind: "WORK", Tasks: make([]jobs.Task, tasks)})
		require.NoError(t, err)
		for range tasks {
			select {
			case <-elsewhere:
			case <-time.After(2 * time.Minute):
				require.Fail(t, "a task that waits was passed over")
			}
		}
	}
}

// TestJobs_loseRedisInTheMiddle takes Redis away in different ways while a thousand tasks are done by two gateways.
func TestJobs_loseRedisInTheMiddle(t *testing.T) {
	const tasks = 1000
	for name, lose := range map[string]func(server *redistest.Server) (back func()){
		"killed for good":  func(s *redistest.Server) func() { s.Kill(); return func() {} },
		"flushed":          func(s *redistest.Server) func() { s.Do("flushall"); return func() {} },
		"restarted empty":  func(s *redistest.Server) func() { s.Kill(); s.Start(); return func() {} },
		"away for a while": func(s *redistest.Server) func() { s.Kill(); return s.Start },
	} {
		t.Run(name, func(t *testing.T) {
			server := redistest.Start(t)
			store := sqlitetest.Open(t)
			var begun, succeeded atomic.Int64
			times := make([]atomic.Int64, tasks)
			options := func() jobs.Options {
				return jobs.Options{
					Store: store, Queue: open(t, redis.Options{URL: "redis://" + server.Address}), Poll: 100 * time.Millisecond,
					Observe: func(_, outcome string, _ time.Duration) {
						if outcome == "success" {
							succeeded.Add(1)
						}
					},
					Kinds: []jobs.Kind{{Name: "WORK", Concurrency: 4, Run: func(_ context.Context, run *jobs.Run) error {
						var n int
						if err := run.Decode(&n); err != nil {
							return err
						}
						begun.Add(1)
						times[n].Add(1)
						return nil
					}}},
				}
			}
			here := start(t, options())
			start(t, options())
			var s jobs.Submission
			for n := range tasks {
				s.Tasks = append(s.Tasks, jobs.Task{Parameters: n})
			}
			s.Kind = "WORK"
			execution, err := here.Submit(t.Context(), s)
			require.NoError(t, err)
			reach := func(n int64) {
				require.Eventually(t, func() bool { return begun.Load() >= n }, 2*time.Minute, time.Millisecond)
			}
			reach(tasks / 4)
			back := lose(server)
			require.Less(t, begun.Load(), int64(tasks), "in the middle")
			reach(tasks / 2)
			back()
			requireEnded(t, store, execution, tasks)
			require.Eventually(t, func() bool { return succeeded.Load() == tasks }, time.Minute, time.Millisecond)
			for n := range times {
				require.Equal(t, int64(1), times[n].Load(), n)
			}
		})
	}
}

// TestJobs_handedOver has two configurations work at the same time, over one queue as during a reload, of which the first then ends.
func TestJobs_handedOver(t *testing.T) {
	t.Parallel()
	const tasks, lasting = 200, 3
	for _, name := range []string{"embedded", "redis"} {
		t.Run(name, func(t *testing.T) {
			store := sqlitetest.Open(t)
			var queue jobs.Queue
			if name == "redis" {
				queue = open(t, redis.Options{URL: "redis://" + redistest.Start(t).Address})
			}
			var begun, succeeded atomic.Int64
			times := make([]atomic.Int64, tasks)
			options := func(lasts func(ctx context.Context, n int) error) jobs.Options {
				return jobs.Options{
					Store: store, Queue: queue, Logger: quiet, Lease: time.Hour, Poll: 100 * time.Millisecond,
					Observe: func(_, outcome string, _ time.Duration) {
						if outcome == "success" {
							succeeded.Add(1)
						}
					},
					Kinds: []jobs.Kind{{Name: "WORK", Concurrency: lasting + 1, Attempts: 1, Run: func(ctx context.Context, run *jobs.Run) error {
						var n int
						err := run.Decode(&n)
						begun.Add(1)
						if err == nil {
							err = lasts(ctx, n)
						}
						if err == nil {
							times[n].Add(1)
						}
						return err
					}}},
				}
			}
			first := jobs.New(options(func(ctx context.Context, n int) error {
				if n < lasting {
					<-ctx.Done()
				}
				return ctx.Err()
			}))
			var s jobs.Submission
			for n := range tasks {
				s.Tasks = append(s.Tasks, jobs.Task{Parameters: n})
			}
			s.Kind = "WORK"
			execution, err := first.Submit(t.Context(), s)
			require.NoError(t, err)
			require.Eventually(t, func() bool { return begun.Load() >= tasks/10 }, time.Minute, time.Millisecond)
			second := jobs.New(options(func(context.Context, int) error { return nil }))
			require.NoError(t, first.Close())
			for _, task := range requireEnded(t, store, execution, tasks) {
				require.Equal(t, 1, task.Attempts, "what is handed over does not count")
			}
			require.NoError(t, second.Close())
			require.Equal(t, int64(tasks), succeeded.Load())
			for n := range times {
				require.Equal(t, int64(1), times[n].Load(), n)
			}
		})
	}
}

// requireEnded waits for the end of an execution, all of whose tasks have to have succeeded.
func requireEnded(t *testing.T, store *metadata.Store, execution metadata.Execution, tasks int) []metadata.Task {
	t.Helper()
	require.Eventually(t, func() bool {
		var err error
		execution, err = store.Execution(t.Context(), execution.ID)
		require.NoError(t, err)
		return execution.Ended()
	}, 3*time.Minute, 20*time.Millisecond)
	require.Equal(t, metadata.StatusSuccess, execution.Status)
	ended, err := store.Tasks(t.Context(), execution.ID)
	require.NoError(t, err)
	require.Len(t, ended, tasks)
	for _, task := range ended {
		require.Equal(t, metadata.StatusSuccess, task.Status)
	}
	return ended
}

const gatewayArgument = "gateway-that-is-killed"

// doneElsewhere is how many tasks the other process does before it stands still.
const doneElsewhere = 50

// gateway is another process that does some tasks, then begins others and never ends them: it tells of each, and waits to be killed.
func gateway() {
	store, err := postgres.Open(postgres.Options{URL: os.Args[2]}, quiet)
	if err != nil {
		panic(err)
	}
	options := jobs.Options{Store: store, Logger: quiet, Lease: lease, Poll: 50 * time.Millisecond}
	if url := os.Args[3]; url != "" {
		if options.Queue, err = redis.Open(redis.Options{URL: url}, quiet); err != nil {
			panic(err)
		}
	}
	var begun, done atomic.Int64
	all := make(chan struct{})
	options.Observe = func(string, string, time.Duration) {
		if done.Add(1) == doneElsewhere {
			close(all)
		}
	}
	options.Kinds = []jobs.Kind{{Name: "WORK", Concurrency: 4, Run: func(_ context.Context, run *jobs.Run) error {
		if begun.Add(1) <= doneElsewhere {
			return nil
		}
		<-all // the ends of the others are written down by now
		fmt.Println(run.Task.ID)
		select {}
	}}}
	jobs.New(options)
	select {}
}

// TestJobs_gatewayKilled kills one of two processes with kill -9 while it does tasks, which the other takes over.
func TestJobs_gatewayKilled(t *testing.T) {
	for queue, tasks := range map[string]int{"embedded": 200, "redis": 1000} {
		t.Run(queue, func(t *testing.T) {
			url, redisURL := postgrestest.Migrated(t), ""
			store, err := postgres.Open(postgres.Options{URL: url}, quiet)
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, store.Close()) })
			options := jobs.Options{Store: store, Poll: 50 * time.Millisecond}
			if queue == "redis" {
				redisURL = "redis://" + redistest.Start(t).Address
				options.Queue = open(t, redis.Options{URL: redisURL})
			}
			program, err := os.Executable()
			require.NoError(t, err)
			process := exec.Command(program, gatewayArgument, url, redisURL)
			process.Stderr = os.Stderr
			output, err := process.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, process.Start())
			kill := sync.OnceFunc(func() {
				require.NoError(t, process.Process.Kill())
				_ = process.Wait() // it was killed
			})
			t.Cleanup(kill)

			var succeeded atomic.Int64
			begin := make(chan struct{})
			options.Observe = func(_, outcome string, _ time.Duration) {
				if outcome == "success" {
					succeeded.Add(1)
				}
			}
			options.Kinds = []jobs.Kind{{Name: "WORK", Concurrency: 4, Run: func(context.Context, *jobs.Run) error { <-begin; return nil }}}
			here := start(t, options)
			execution, err := here.Submit(t.Context(), jobs.Submission{Kind: "WORK", Tasks: make([]jobs.Task, tasks)})
			require.NoError(t, err)
			said := bufio.NewScanner(output)
			held := map[string]bool{}
			for range 4 {
				require.True(t, said.Scan(), "the other process begins four tasks")
				held[said.Text()] = true
			}
			kill()
			close(begin)
			again := 0
			for _, task := range requireEnded(t, store, execution, tasks) {
				if held[fmt.Sprint(task.ID)] {
					require.Equal(t, 2, task.Attempts)
					again++
				} else {
					require.Equal(t, 1, task.Attempts)
				}
			}
			require.Equal(t, 4, again, "taken over")
			require.Eventually(t, func() bool { return succeeded.Load() == int64(tasks-doneElsewhere) }, time.Minute, time.Millisecond)
		})
	}
}
