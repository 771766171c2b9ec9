package caddymodules

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/berth-registry/berth/jobs"
)

// taskBuckets reach from a task that finds nothing to do to a replication of a day.
var taskBuckets = []float64{.01, .05, .1, .5, 1, 5, 10, 30, 60, 300, 900, 3600, 14400, 86400}

// scrapePatience bounds what a scrape waits for the database.
const scrapePatience = 2 * time.Second

// waiting tells how much waits in the queues, which a scrape reads from the database.
type waiting struct {
	tasks, age, paused *prometheus.Desc

	mu   sync.Mutex
	jobs map[*jobs.Jobs]struct{}
}

func newWaiting() *waiting {
	describe := func(name, help string) *prometheus.Desc { return prometheus.NewDesc(name, help, []string{"kind"}, nil) }
	return &waiting{
		tasks:  describe("berth_job_queue_tasks", "Tasks that are due and do not run, over all gateways."),
		age:    describe("berth_job_queue_age_seconds", "For how long the first of them has been due."),
		paused: describe("berth_job_queue_paused", "Whether somebody has paused the queue."),
		jobs:   map[*jobs.Jobs]struct{}{},
	}
}

// watch adds jobs to those whose queues are told of.
func (c *collectors) watch(j *jobs.Jobs) {
	c.waiting.mu.Lock()
	defer c.waiting.mu.Unlock()
	c.waiting.jobs[j] = struct{}{}
}

// unwatch lets go of jobs.
func (c *collectors) unwatch(j *jobs.Jobs) {
	c.waiting.mu.Lock()
	defer c.waiting.mu.Unlock()
	delete(c.waiting.jobs, j)
}

// Describe implements [prometheus.Collector].
func (w *waiting) Describe(descriptions chan<- *prometheus.Desc) {
	descriptions <- w.tasks
	descriptions <- w.age
	descriptions <- w.paused
}

// Collect implements [prometheus.Collector]. Kinds are few, and each is told of once: during a reload two configurations may have the
// same.
func (w *waiting) Collect(collected chan<- prometheus.Metric) {
	w.mu.Lock()
	defer w.mu.Unlock()
	ctx, done := context.WithTimeout(context.Background(), scrapePatience)
	defer done()
	told := map[string]bool{}
	for j := range w.jobs {
		queues, err := j.Queues(ctx)
		if err != nil {
			continue // the database's own metrics tell of it
		}
		for _, q := range queues {
			if told[q.Kind] {
				continue
			}
			told[q.Kind] = true
			age, paused := 0.0, 0.0
			if !q.Since.IsZero() {
				age = max(time.Since(q.Since).Seconds(), 0)
			}
			if q.Paused {
				paused = 1
			}
			collected <- prometheus.MustNewConstMetric(w.tasks, prometheus.GaugeValue, float64(q.Waiting), q.Kind)
			collected <- prometheus.MustNewConstMetric(w.age, prometheus.GaugeValue, age, q.Kind)
			collected <- prometheus.MustNewConstMetric(w.paused, prometheus.GaugeValue, paused, q.Kind)
		}
	}
}

// expectTasks has the attempts of each kind from the start, so that an alarm sees the first error as an increase.
func expectTasks(kinds []jobs.Kind) {
	for _, kind := range kinds {
		for _, outcome := range []string{"success", "error"} {
			metrics.taskAttempts.WithLabelValues(kind.Name, outcome)
		}
		metrics.taskDurations.WithLabelValues(kind.Name)
	}
}

// observeTask counts an attempt at a task.
func observeTask(kind, outcome string, took time.Duration) {
	metrics.taskAttempts.WithLabelValues(kind, outcome).Inc()
	metrics.taskDurations.WithLabelValues(kind).Observe(took.Seconds())
}
