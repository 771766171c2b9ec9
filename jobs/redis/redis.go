// Package redis wakes the workers of all gateways through Redis, by asynq: what is put there are the ids of tasks, with their
// priorities. A Redis that is lost, flushed or restarted empty loses nothing, because SQL has the tasks.
package redis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	goredis "github.com/redis/go-redis/v9"

	"github.com/berth-registry/berth/jobs"
)

const (
	// wakeupType is the type of the tasks of asynq.
	wakeupType = "task"
	// pingInterval is how often Redis is asked whether it is there, pingPatience how long it may take to answer.
	pingInterval = time.Second
	pingPatience = 2 * time.Second
	// lookInterval is how often an idle gateway asks for wakeups.
	lookInterval = 500 * time.Millisecond
	// delayedInterval is how often wakeups for a later time are looked at.
	delayedInterval = 2 * time.Second
	// longest is longer than any task takes: what bounds a task is its kind, and not asynq.
	longest = 365 * 24 * time.Hour
	// closing bounds what asynq waits for at its end, when everything has been told to end.
	closing = 5 * time.Second
)

// Queue is a [jobs.Queue] in Redis. It is safe for concurrent use, and shared by all who listen in one process.
type Queue struct {
	client goredis.UniversalClient
	tasks  *asynq.Client
	prefix string
	logger *slog.Logger

	mu    sync.Mutex
	works bool
	// changed is closed when works changes.
	changed chan struct{}

	stop    context.CancelFunc
	watched sync.WaitGroup
}

// Open returns the queue, whether or not Redis can be reached: it says in the log whether it can, and when that changes.
func Open(options Options, logger *slog.Logger) (*Queue, error) {
	universal, err := options.universal()
	if err != nil {
		return nil, err
	}
	quiet.Do(func() { goredis.SetLogger(silence{}) })
	client := goredis.NewUniversalClient(universal)
	ctx, stop := context.WithCancel(context.Background())
	q := &Queue{
		client: client, tasks: asynq.NewClientFromRedisClient(client), prefix: options.prefix(), logger: logger,
		changed: make(chan struct{}), stop: stop,
	}
	if err := q.Ping(ctx); err != nil {
		logger.Warn("Redis does not answer: tasks are found in the database, and begin some seconds later", "error", err)
	} else {
		q.works = true
	}
	q.watched.Go(func() { q.watch(ctx) })
	return q, nil
}

// Close ends the connections. Who listens has stopped before.
func (q *Queue) Close() error {
	q.stop()
	q.watched.Wait()
	return q.client.Close()
}

// Ping implements [jobs.Queue].
func (q *Queue) Ping(ctx context.Context) error {
	ctx, done := context.WithTimeout(ctx, pingPatience)
	defer done()
	if err := q.client.Ping(ctx).Err(); err != nil {
		return fmt.Errorf("ping Redis: %w", err)
	}
	return nil
}

// Works implements [jobs.Queue].
func (q *Queue) Works() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.works
}

// watch asks Redis whether it is there until the context ends.
func (q *Queue) watch(ctx context.Context) {
	ticker := time.NewTicker(pingInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		err := q.Ping(ctx)
		if ctx.Err() != nil {
			return
		}
		if !q.turn(err == nil) {
			continue
		}
		if err != nil {
			q.logger.Warn("Redis does not answer: tasks are found in the database, and begin some seconds later", "error", err)
		} else {
			q.logger.Info("Redis answers again")
		}
	}
}

// turn notes whether Redis answers, and reports whether that is new.
func (q *Queue) turn(works bool) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.works == works {
		return false
	}
	q.works = works
	close(q.changed)
	q.changed = make(chan struct{})
	return true
}

// await waits until Redis works, or until it does not, and reports false when the context ends first.
func (q *Queue) await(ctx context.Context, works bool) bool {
	for ctx.Err() == nil {
		q.mu.Lock()
		now, changed := q.works, q.changed
		q.mu.Unlock()
		if now == works {
			return true
		}
		select {
		case <-ctx.Done():
		case <-changed:
		}
	}
	return false
}

// queueOf is the name of the queue of a priority.
func (q *Queue) queueOf(priority jobs.Priority) string {
	switch {
	case priority > jobs.Normal:
		return q.prefix + "-high"
	case priority < jobs.Normal:
		return q.prefix + "-low"
	}
	return q.prefix + "-normal"
}

// Announce implements [jobs.Queue].
func (q *Queue) Announce(ctx context.Context, wakeups []jobs.Wakeup) error {
	for _, w := range wakeups {
		options := []asynq.Option{asynq.Queue(q.queueOf(w.Priority)), asynq.Timeout(longest)}
		if !w.At.IsZero() {
			options = append(options, asynq.ProcessAt(w.At))
		}
		_, err := q.tasks.EnqueueContext(ctx, asynq.NewTask(wakeupType, strconv.AppendInt(nil, w.TaskID, 10)), options...)
		if err != nil {
			return fmt.Errorf("announce task %d: %w", w.TaskID, err)
		}
	}
	return nil
}

// passChannel is the name of the channel that kinds are passed on.
func (q *Queue) passChannel() string { return q.prefix + "-passed" }

// Pass implements [jobs.Queue].
func (q *Queue) Pass(ctx context.Context, kind string) error {
	if err := q.client.Publish(ctx, q.passChannel(), kind).Err(); err != nil {
		return fmt.Errorf("pass a task of %s: %w", kind, err)
	}
	return nil
}

// Listen implements [jobs.Queue].
func (q *Queue) Listen(ctx context.Context, n int, begin func(ctx context.Context, taskID int64), passed func(kind string)) {
	for q.await(ctx, true) {
		q.serve(ctx, n, begin, passed)
	}
}

// hear calls passed with what the subscription brings until it is closed.
func hear(passes *goredis.PubSub, passed func(kind string)) {
	for message := range passes.ChannelWithSubscriptions() {
		switch message := message.(type) {
		case *goredis.Subscription: // the first one, or one after the connection was lost
			passed("")
		case *goredis.Message:
			passed(message.Payload)
		}
	}
}

// serve takes wakeups until Redis is lost or the context ends: asynq itself would try again without a pause.
func (q *Queue) serve(ctx context.Context, n int, begin func(ctx context.Context, taskID int64), passed func(kind string)) {
	round, end := context.WithCancel(ctx)
	defer end()
	passes := q.client.Subscribe(round, q.passChannel())
	var hearing sync.WaitGroup
	hearing.Go(func() { hear(passes, passed) })
	defer hearing.Wait()
	defer passes.Close() //nolint:errcheck // nothing is heard any more
	server := asynq.NewServerFromRedisClient(q.client, asynq.Config{
		Concurrency: n, Logger: asynqLogger{q.logger}, LogLevel: asynq.WarnLevel, ShutdownTimeout: closing, TaskCheckInterval: lookInterval, DelayedTaskCheckInterval: delayedInterval,
		Queues: map[string]int{q.queueOf(jobs.High): 6, q.queueOf(jobs.Normal): 3, q.queueOf(jobs.Low): 1},
	})
	err := server.Start(asynq.HandlerFunc(func(_ context.Context, task *asynq.Task) error {
		id, err := strconv.ParseInt(string(task.Payload()), 10, 64)
		if err != nil {
			return errors.Join(err, asynq.RevokeTask) // of somebody else
		}
		begin(round, id)
		return nil
	}))
	if err != nil {
		q.logger.Warn("wakeups are not taken from Redis", "error", err)
		q.turn(false) // the next ping tries again
		return
	}
	q.await(ctx, false)
	end()
	server.Shutdown()
}

// Interface guard.
var _ jobs.Queue = (*Queue)(nil)
