package command

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/berth-registry/berth/pause"
)

// execution is one run of work as the API returns it.
type execution struct {
	ID         int64     `json:"id"`
	Cause      string    `json:"job_kind"`
	Status     string    `json:"job_status"`
	Parameters string    `json:"job_parameters"`
	CreatedAt  time.Time `json:"creation_time"`
	UpdatedAt  time.Time `json:"update_time"`
}

func (e execution) ended() bool {
	return e.Status == "Success" || e.Status == "Error" || e.Status == "Stopped"
}

// collected is what a garbage collection has come to.
type collected struct {
	DryRun    bool  `json:"dry_run"`
	Manifests int64 `json:"purged_manifests"`
	Blobs     int64 `json:"purged_blobs"`
	Bytes     int64 `json:"freed_space"`
	Reviewed  int64 `json:"reviewed"`
	Due       int64 `json:"due"`
}

func (e execution) collected() (c collected) {
	_ = json.Unmarshal([]byte(e.Parameters), &c) // a newer server may say something else
	return c
}

const gcPath = "/system/gc"

func gcCommands(command *cobra.Command, local Local) {
	connectionFlags(command)
	run := do(command, local, "run", "Collects garbage now, and waits for the end", runGC)
	gcFlags(run)
	run.Flags().Bool("no-wait", false, "only begin")

	do(command, local, "list", "Lists the garbage collections, the newest first", listGC).Flags().Int("limit", 20, "how many at the most; 0 for all")
	do(command, local, "log <id>", "Prints the log of a garbage collection", func(c *call) error {
		_, body, err := c.send(c.Context(), http.MethodGet, at("system", "gc", c.arguments[0], "log"), nil)
		if err == nil {
			_, err = c.OutOrStdout().Write(body)
		}
		return err
	})
	do(command, local, "stop <id>", "Stops a garbage collection; the next one goes on", func(c *call) error {
		path := at("system", "gc", c.arguments[0])
		if _, err := c.change(c.Context(), http.MethodPut, path, nil); err != nil {
			return err
		}
		ended, err := await(c.Context(), c.API, path, execution.ended)
		if err != nil {
			return err
		}
		return report(c, nil, "Garbage collection %s has ended: %s.", c.arguments[0], ended.Status)
	})
	schedule := do(command, local, "schedule [hourly|daily|weekly|none|cron]", "Shows or sets when garbage is collected", scheduleGC)
	gcFlags(schedule)
	schedule.Long = `A cron expression has six fields, seconds first, in UTC: "0 30 3 * * 6" is each Saturday at 3:30.`
}

func gcFlags(command *cobra.Command) {
	command.Flags().Bool("delete-untagged", false, "first delete artifacts that have no tag, that no index lists and that are attached to nothing")
	command.Flags().Bool("dry-run", false, "only tell what would be freed")
	command.Flags().Duration("grace", 2*time.Hour, "how long what nothing needs is kept for a push that may be on its way")
	command.Flags().Bool("reconcile", false, "also look for bytes in storage that the database never heard of; that is done once a week anyway")
}

func gcParameters(c *call) (map[string]any, error) {
	parameters := map[string]any{"delete_untagged": c.on("delete-untagged"), "dry_run": c.on("dry-run")}
	if c.given("grace") {
		grace, err := c.Flags().GetDuration("grace")
		if err != nil {
			return nil, err
		}
		parameters["time_window"] = grace.Hours()
	}
	if c.given("reconcile") {
		parameters["reconcile"] = c.on("reconcile")
	}
	return parameters, nil
}

func runGC(c *call) error {
	parameters, err := gcParameters(c)
	if err != nil {
		return err
	}
	location, err := c.change(c.Context(), http.MethodPost, gcPath+"/schedule", map[string]any{
		"schedule": map[string]string{"type": "Manual"}, "parameters": parameters,
	})
	if err != nil {
		return err
	}
	id := location[strings.LastIndexByte(location, '/')+1:]
	if c.on("no-wait") {
		return report(c, map[string]string{"execution": id}, "Garbage collection %s has begun; see \"berth gc log %s\".", id, id)
	}
	ended, err := await(c.Context(), c.API, at("system", "gc", id), execution.ended)
	if err != nil {
		return err
	}
	if ended.Status != "Success" {
		return fmt.Errorf("garbage collection %s ended as %s: see \"berth gc log %s\"", id, ended.Status, id)
	}
	found, verb := ended.collected(), "Freed"
	if found.DryRun {
		verb = "Dry run: would free"
	}
	return report(c, found, "%s %s: %d blobs, and %d artifacts without a tag.", verb, humanize.IBytes(uint64(found.Bytes)), found.Blobs, found.Manifests) //nolint:gosec // not negative
}

// await asks for an execution until it has ended.
func await[T any](ctx context.Context, a *API, path string, ended func(T) bool) (T, error) {
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		found, err := get[T](ctx, a, path, nil)
		if err != nil || ended(found) {
			return found, err
		}
		if err := pause.For(ctx, wait); err != nil {
			return found, err
		}
	}
}

func listGC(c *call) error {
	most, err := c.Flags().GetInt("limit")
	if err != nil {
		return err
	}
	executions, err := list[execution](c.Context(), c.API, gcPath, nil, most)
	if err != nil {
		return err
	}
	return printList(c, executions,
		column[execution]{"ID", func(e execution) any { return e.ID }},
		column[execution]{"BEGUN", func(e execution) any { return e.CreatedAt.Format(time.RFC3339) }},
		column[execution]{"BY", func(e execution) any { return strings.ToLower(e.Cause) }},
		column[execution]{"STATUS", func(e execution) any { return e.Status }},
		column[execution]{"DRY RUN", func(e execution) any { return yesNo(e.collected().DryRun) }},
		column[execution]{"LOOKED AT", func(e execution) any {
			return strconv.FormatInt(e.collected().Reviewed, 10) + " of " + strconv.FormatInt(e.collected().Due, 10)
		}},
		column[execution]{"BLOBS", func(e execution) any { return e.collected().Blobs }},
		column[execution]{"FREED", func(e execution) any { return humanize.IBytes(uint64(max(e.collected().Bytes, 0))) }}) //nolint:gosec // not negative
}

// scheduled is a schedule as the API returns it.
type scheduled struct {
	Parameters string `json:"job_parameters"`
	Schedule   struct {
		Type string     `json:"type"`
		Cron string     `json:"cron"`
		Next *time.Time `json:"next_scheduled_time"`
	} `json:"schedule"`
}

func scheduleGC(c *call) error {
	_, body, err := c.send(c.Context(), http.MethodGet, gcPath+"/schedule", nil)
	if err != nil {
		return err
	}
	if len(c.arguments) == 0 {
		if len(body) == 0 {
			return report(c, nil, "Garbage is not collected by itself: set a schedule with \"berth gc schedule weekly\".")
		}
		found, err := decode[scheduled](body)
		if err != nil {
			return err
		}
		return report(c, found, "%s (%s), next at %s, with %s.", found.Schedule.Type, found.Schedule.Cron, found.Schedule.Next.Format(time.RFC3339), found.Parameters)
	}
	parameters, err := gcParameters(c)
	if err != nil {
		return err
	}
	kind, cron := "Custom", c.arguments[0]
	for _, name := range []string{"Hourly", "Daily", "Weekly", "None"} {
		if strings.EqualFold(name, c.arguments[0]) {
			kind, cron = name, ""
		}
	}
	method := http.MethodPut
	if len(body) == 0 {
		method = http.MethodPost
	}
	_, err = c.change(c.Context(), method, gcPath+"/schedule", map[string]any{
		"schedule": map[string]string{"type": kind, "cron": cron}, "parameters": parameters,
	})
	if err != nil {
		return err
	}
	return report(c, nil, "The schedule of garbage collection is set: %s.", c.arguments[0])
}
