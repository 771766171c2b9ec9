package command

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/berth-registry/berth/pause"
)

// jobExecution is an execution of any kind of work as the API returns it.
type jobExecution struct {
	ID        int64      `json:"id"`
	Kind      string     `json:"vendor_type"`
	Status    string     `json:"status"`
	Message   string     `json:"status_message"`
	Trigger   string     `json:"trigger"`
	Operator  string     `json:"operator"`
	CreatedAt time.Time  `json:"creation_time"`
	EndedAt   *time.Time `json:"end_time"`
}

// jobTask is a task as the API returns it.
type jobTask struct {
	ID          int64      `json:"id"`
	ExecutionID int64      `json:"execution_id"`
	Kind        string     `json:"kind"`
	Status      string     `json:"status"`
	Message     string     `json:"status_message"`
	Attempts    int        `json:"attempts"`
	StartedAt   *time.Time `json:"start_time"`
	EndedAt     *time.Time `json:"end_time"`
}

type jobQueue struct {
	Kind    string `json:"job_type"`
	Count   int64  `json:"count"`
	Latency int64  `json:"latency"`
	Paused  bool   `json:"paused"`
}

type jobPool struct {
	ID      string    `json:"worker_pool_id"`
	Host    string    `json:"host"`
	PID     int64     `json:"pid"`
	Workers int64     `json:"concurrency"`
	StartAt time.Time `json:"start_at"`
}

type jobSchedule struct {
	ID      int64     `json:"id"`
	Kind    string    `json:"vendor_type"`
	Subject int64     `json:"vendor_id"`
	Cron    string    `json:"cron"`
	Next    time.Time `json:"next_scheduled_time"`
}

// followPause is how often a log that is followed is looked at.
const followPause = time.Second

func jobCommands(command *cobra.Command, local Local) {
	connectionFlags(command)
	executions := do(command, local, "list", "Lists what was done in the background, the newest first", listJobs)
	executions.Flags().String("kind", "", "of one kind of work, such as GARBAGE_COLLECTION")
	executions.Flags().String("status", "", "Pending, Running, Success, Error or Stopped")
	executions.Flags().Int("limit", 20, "how many at the most; 0 for all")
	do(command, local, "tasks <execution>", "Lists the tasks of an execution", listJobTasks)
	log := do(command, local, "log <task>", "Prints the log of a task", printJobLog)
	log.Flags().BoolP("follow", "f", false, "go on until the task has ended")
	stop := do(command, local, "stop <execution>", "Stops an execution", func(c *call) error {
		if c.on("task") {
			return changeJob(c, at("jobservice", "jobs", c.arguments[0]), nil, "Task %s stops.")
		}
		return changeJob(c, at("jobservice", "executions", c.arguments[0]), nil, "Execution %s stops.")
	})
	stop.Flags().Bool("task", false, "the number is that of a task, and only that one is stopped")

	do(command, local, "queues", "Lists what waits, by kind of work", listJobQueues)
	for _, action := range []struct{ name, short, done string }{
		{"pause", "Keeps tasks of a kind from being begun; what runs goes on", "%s is paused."},
		{"resume", "Lets tasks of a kind begin again", "%s goes on."},
		{"clear", "Stops the tasks of a kind that have not begun", "What waited of %s is stopped."},
	} {
		of := do(command, local, action.name+" <kind>", action.short, func(c *call) error {
			name := strings.Replace(action.name, "clear", "stop", 1)
			return changeJob(c, at("jobservice", "queues", c.arguments[0]), map[string]string{"action": name}, action.done)
		})
		of.Long = action.short + ".\n\n\"all\" stands for every kind, \"SCHEDULER\" for all schedules."
	}
	do(command, local, "workers", "Lists the pools of workers, one of each gateway", listJobPools)
	do(command, local, "schedules", "Lists what is done by the clock, and when next", listJobSchedules)
}

func listJobs(c *call) error {
	most, err := c.Flags().GetInt("limit")
	if err != nil {
		return err
	}
	var terms []string
	if kind := c.text("kind"); kind != "" {
		terms = append(terms, "vendor_type="+kind)
	}
	if status := c.text("status"); status != "" {
		if statuses := []string{"Pending", "Running", "Success", "Error", "Stopped"}; !slices.Contains(statuses, status) {
			return usageError("--status is %q: it must be one of %s", status, strings.Join(statuses, ", "))
		}
		terms = append(terms, "status="+status)
	}
	query := url.Values{}
	if len(terms) > 0 {
		query.Set("q", strings.Join(terms, ","))
	}
	found, err := list[jobExecution](c.Context(), c.API, "/jobservice/executions", query, most)
	if err != nil {
		return err
	}
	return printList(c, found,
		column[jobExecution]{"ID", func(e jobExecution) any { return e.ID }},
		column[jobExecution]{"KIND", func(e jobExecution) any { return e.Kind }},
		column[jobExecution]{"CAUSE", func(e jobExecution) any { return strings.ToLower(e.Trigger) }},
		column[jobExecution]{"BY", func(e jobExecution) any { return e.Operator }},
		column[jobExecution]{"BEGUN", func(e jobExecution) any { return e.CreatedAt.Format(time.RFC3339) }},
		column[jobExecution]{"ENDED", func(e jobExecution) any { return timeText(e.EndedAt) }},
		column[jobExecution]{"STATUS", func(e jobExecution) any { return e.Status }},
		column[jobExecution]{"MESSAGE", func(e jobExecution) any { return e.Message }})
}

func listJobTasks(c *call) error {
	found, err := list[jobTask](c.Context(), c.API, at("jobservice", "executions", c.arguments[0], "tasks"), nil, 0)
	if err != nil {
		return err
	}
	return printList(c, found,
		column[jobTask]{"ID", func(t jobTask) any { return t.ID }},
		column[jobTask]{"STATUS", func(t jobTask) any { return t.Status }},
		column[jobTask]{"ATTEMPTS", func(t jobTask) any { return t.Attempts }},
		column[jobTask]{"BEGUN", func(t jobTask) any { return timeText(t.StartedAt) }},
		column[jobTask]{"ENDED", func(t jobTask) any { return timeText(t.EndedAt) }},
		column[jobTask]{"MESSAGE", func(t jobTask) any { return t.Message }})
}

// timeText is a time in a table, "-" for one that is missing.
func timeText(at *time.Time) string {
	if at == nil {
		return "-"
	}
	return at.Format(time.RFC3339)
}

// printJobLog prints a log, and with --follow what is added to it until the task has ended.
func printJobLog(c *call) error {
	path, printed := at("jobservice", "jobs", c.arguments[0]), 0
	for {
		// Whether it has ended is asked before its log, or the last lines were missed.
		task, err := get[jobTask](c.Context(), c.API, path, nil)
		if err != nil {
			return err
		}
		_, text, err := c.send(c.Context(), http.MethodGet, path+"/log", nil)
		if err != nil {
			return err
		}
		if len(text) > printed {
			if _, err := c.OutOrStdout().Write(text[printed:]); err != nil {
				return err
			}
			printed = len(text)
		}
		if !c.on("follow") || task.EndedAt != nil {
			return nil
		}
		if err := pause.For(c.Context(), followPause); err != nil {
			return err
		}
	}
}

// changeJob sends a change and tells that it is done.
func changeJob(c *call, path string, body any, done string) error {
	if _, err := c.change(c.Context(), http.MethodPut, path, body); err != nil {
		return err
	}
	return report(c, nil, done, c.arguments[0])
}

func listJobQueues(c *call) error {
	found, err := get[[]jobQueue](c.Context(), c.API, "/jobservice/queues", nil)
	if err != nil {
		return err
	}
	return printList(c, found,
		column[jobQueue]{"KIND", func(q jobQueue) any { return q.Kind }},
		column[jobQueue]{"WAITING", func(q jobQueue) any { return q.Count }},
		column[jobQueue]{"FOR", func(q jobQueue) any { return (time.Duration(q.Latency) * time.Second).String() }},
		column[jobQueue]{"PAUSED", func(q jobQueue) any { return yesNo(q.Paused) }})
}

func listJobPools(c *call) error {
	found, err := get[[]jobPool](c.Context(), c.API, "/jobservice/pools", nil)
	if err != nil {
		return err
	}
	busy := map[string]int{}
	workers, err := get[[]struct {
		Pool string `json:"pool_id"`
		Job  string `json:"job_id"`
	}](c.Context(), c.API, "/jobservice/pools/all/workers", nil)
	if err != nil {
		return err
	}
	for _, w := range workers {
		if w.Job != "" {
			busy[w.Pool]++
		}
	}
	return printList(c, found,
		column[jobPool]{"POOL", func(p jobPool) any { return p.ID }},
		column[jobPool]{"HOST", func(p jobPool) any { return p.Host }},
		column[jobPool]{"PROCESS", func(p jobPool) any { return p.PID }},
		column[jobPool]{"SINCE", func(p jobPool) any { return p.StartAt.Format(time.RFC3339) }},
		column[jobPool]{"BUSY", func(p jobPool) any { return fmt.Sprintf("%d of %d", busy[p.ID], p.Workers) }})
}

func listJobSchedules(c *call) error {
	found, err := list[jobSchedule](c.Context(), c.API, "/schedules", nil, 0)
	if err != nil {
		return err
	}
	return printList(c, found,
		column[jobSchedule]{"KIND", func(s jobSchedule) any { return s.Kind }},
		column[jobSchedule]{"OF", func(s jobSchedule) any {
			if s.Subject == 0 {
				return "-"
			}
			return strconv.FormatInt(s.Subject, 10)
		}},
		column[jobSchedule]{"CRON", func(s jobSchedule) any { return s.Cron }},
		column[jobSchedule]{"NEXT", func(s jobSchedule) any { return s.Next.Format(time.RFC3339) }})
}
