package command

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
)

// remoteRegistry is a registry elsewhere as the API returns it.
type remoteRegistry struct {
	ID     int64  `json:"id"`
	Name   string `json:"name"`
	URL    string `json:"url"`
	Type   string `json:"type"`
	Status string `json:"status"`
}

func registryCommands(command *cobra.Command, local Local) {
	connectionFlags(command)
	do(command, local, "list", "Lists the registries elsewhere, and whether they answer", listRegistries)
	create := do(command, local, "create <name> <url>", "Tells of a registry elsewhere, which has to answer", createRegistry)
	create.Flags().String("type", "harbor", "kind of registry; see \"berth registry types\"")
	create.Flags().String("username", "", "name to log in with; the password or token is asked for, or read from standard input")
	create.Flags().String("ca-file", "", "authorities to trust besides the machine's, in PEM")
	create.Flags().Bool("insecure", false, "trust whatever certificate it has")
	create.Flags().String("description", "", "what people should know about it")
	do(command, local, "types", "Lists the kinds of registry", func(c *call) error {
		types, err := get[[]string](c.Context(), c.API, "/replication/adapters", nil)
		if err != nil {
			return err
		}
		return report(c, types, "%s", strings.Join(types, "\n"))
	})
	do(command, local, "ping <name>", "Asks a registry whether it answers and takes the login", func(c *call) error {
		id, err := registryID(c, c.arguments[0])
		if err != nil {
			return err
		}
		if _, err := c.change(c.Context(), http.MethodPost, "/registries/ping", map[string]int64{"id": id}); err != nil {
			return err
		}
		return report(c, nil, "Registry %s answers.", c.arguments[0])
	})
	do(command, local, "delete <name>", "Forgets a registry that nothing uses", func(c *call) error {
		id, err := registryID(c, c.arguments[0])
		if err != nil {
			return err
		}
		if _, err := c.change(c.Context(), http.MethodDelete, at("registries", fmt.Sprint(id)), nil); err != nil {
			return err
		}
		return report(c, nil, "Registry %s is forgotten.", c.arguments[0])
	})
}

func listRegistries(c *call) error {
	registries, err := list[remoteRegistry](c.Context(), c.API, "/registries", nil, 0)
	if err != nil {
		return err
	}
	return printList(c, registries,
		column[remoteRegistry]{"ID", func(r remoteRegistry) any { return r.ID }},
		column[remoteRegistry]{"NAME", func(r remoteRegistry) any { return r.Name }},
		column[remoteRegistry]{"TYPE", func(r remoteRegistry) any { return r.Type }},
		column[remoteRegistry]{"URL", func(r remoteRegistry) any { return r.URL }},
		column[remoteRegistry]{"STATUS", func(r remoteRegistry) any { return r.Status }})
}

func createRegistry(c *call) error {
	wanted := map[string]any{
		"name": c.arguments[0], "url": c.arguments[1], "type": c.text("type"), "insecure": c.on("insecure"), "description": c.text("description"),
	}
	if username := c.text("username"); username != "" {
		secret, err := readPassword(c.Command, false)
		if err != nil {
			return err
		}
		wanted["credential"] = map[string]string{"type": "basic", "access_key": username, "access_secret": secret}
	}
	if file := c.text("ca-file"); file != "" {
		ca, err := os.ReadFile(file) //nolint:gosec // the caller's own file
		if err != nil {
			return err
		}
		wanted["ca_certificate"] = string(ca)
	}
	location, err := c.change(c.Context(), http.MethodPost, "/registries", wanted)
	if err != nil {
		return err
	}
	id := location[strings.LastIndexByte(location, '/')+1:]
	return report(c, map[string]string{"id": id}, "Registry %s is known, with the id %s.", c.arguments[0], id)
}

// registryID finds a registry by its name.
func registryID(c *call, name string) (int64, error) {
	found, err := list[remoteRegistry](c.Context(), c.API, "/registries", url.Values{"q": {"name=" + name}}, 0)
	for _, r := range found {
		if r.Name == name {
			return r.ID, nil
		}
	}
	if err == nil {
		err = &Refusal{Status: http.StatusNotFound, Message: fmt.Sprintf("registry %q not found", name)}
	}
	return 0, err
}

// replicationPolicy is a policy as the API returns it.
type replicationPolicy struct {
	ID          int64          `json:"id"`
	Name        string         `json:"name"`
	Enabled     bool           `json:"enabled"`
	Source      remoteRegistry `json:"src_registry"`
	Destination remoteRegistry `json:"dest_registry"`
	Trigger     struct {
		Type     string `json:"type"`
		Settings struct {
			Cron string `json:"cron"`
		} `json:"trigger_settings"`
	} `json:"trigger"`
}

// replication is an execution of a policy as the API returns it.
type replication struct {
	ID         int64     `json:"id"`
	PolicyID   int64     `json:"policy_id"`
	Status     string    `json:"status"`
	Text       string    `json:"status_text"`
	Trigger    string    `json:"trigger"`
	StartedAt  time.Time `json:"start_time"`
	Total      int64     `json:"total"`
	Succeeded  int64     `json:"succeed"`
	Failed     int64     `json:"failed"`
	InProgress int64     `json:"in_progress"`
}

func (r replication) ended() bool { return r.Status != "InProgress" }

// replicationTask is a task of an execution.
type replicationTask struct {
	ID          int64  `json:"id"`
	Status      string `json:"status"`
	Operation   string `json:"operation"`
	Source      string `json:"src_resource"`
	Destination string `json:"dst_resource"`
	Percent     int    `json:"percent"`
	Progress    struct {
		Bytes int64 `json:"bytes"`
	} `json:"progress"`
}

func replicationCommands(command *cobra.Command, local Local) {
	connectionFlags(command)
	do(command, local, "list", "Lists the replication policies", listPolicies)
	run := do(command, local, "run <policy>", "Executes a policy, and waits for the end", runPolicy)
	run.Flags().Bool("dry-run", false, "only list what would be moved")
	run.Flags().Bool("no-wait", false, "only begin")
	do(command, local, "executions <policy>", "Lists the executions of a policy, the newest first", listReplications)
	do(command, local, "tasks <execution>", "Lists the tasks of an execution, one for each repository", listReplicationTasks)
	do(command, local, "log <execution>", "Prints the logs of an execution's tasks", func(c *call) error { return printReplicationLogs(c, c.arguments[0]) })
	do(command, local, "stop <execution>", "Stops an execution, in the middle of a blob too", func(c *call) error {
		if _, err := c.change(c.Context(), http.MethodPut, at("replication", "executions", c.arguments[0]), nil); err != nil {
			return err
		}
		return report(c, nil, "Execution %s stops.", c.arguments[0])
	})
	do(command, local, "retry <execution>", "Begins an execution with what failed in another, and waits for the end", func(c *call) error {
		location, err := c.change(c.Context(), http.MethodPost, at("replication", "executions", c.arguments[0], "retry"), nil)
		if err != nil {
			return err
		}
		return awaitReplication(c, location[strings.LastIndexByte(location, '/')+1:])
	})
}

func listPolicies(c *call) error {
	policies, err := list[replicationPolicy](c.Context(), c.API, "/replication/policies", nil, 0)
	if err != nil {
		return err
	}
	side := func(r remoteRegistry) string {
		if r.ID == 0 {
			return "here"
		}
		return r.Name
	}
	return printList(c, policies,
		column[replicationPolicy]{"ID", func(p replicationPolicy) any { return p.ID }},
		column[replicationPolicy]{"NAME", func(p replicationPolicy) any { return p.Name }},
		column[replicationPolicy]{"FROM", func(p replicationPolicy) any { return side(p.Source) }},
		column[replicationPolicy]{"TO", func(p replicationPolicy) any { return side(p.Destination) }},
		column[replicationPolicy]{"WHEN", func(p replicationPolicy) any {
			return strings.TrimSpace(p.Trigger.Type + " " + p.Trigger.Settings.Cron)
		}},
		column[replicationPolicy]{"ENABLED", func(p replicationPolicy) any { return yesNo(p.Enabled) }})
}

// policyID finds a policy by its name.
func policyID(c *call, name string) (int64, error) {
	found, err := list[replicationPolicy](c.Context(), c.API, "/replication/policies", url.Values{"q": {"name=" + name}}, 0)
	for _, p := range found {
		if p.Name == name {
			return p.ID, nil
		}
	}
	if err == nil {
		err = &Refusal{Status: http.StatusNotFound, Message: fmt.Sprintf("replication policy %q not found", name)}
	}
	return 0, err
}

func runPolicy(c *call) error {
	policy, err := policyID(c, c.arguments[0])
	if err != nil {
		return err
	}
	location, err := c.change(c.Context(), http.MethodPost, "/replication/executions", map[string]any{"policy_id": policy, "dry_run": c.on("dry-run")})
	if err != nil {
		return err
	}
	id := location[strings.LastIndexByte(location, '/')+1:]
	if c.on("no-wait") {
		return report(c, map[string]string{"execution": id}, "Execution %s has begun; see \"berth replication log %s\".", id, id)
	}
	if err := awaitReplication(c, id); err != nil || !c.on("dry-run") {
		return err
	}
	return printReplicationLogs(c, id)
}

// awaitReplication waits for the end of an execution.
func awaitReplication(c *call, id string) error {
	ended, err := await(c.Context(), c.API, at("replication", "executions", id), replication.ended)
	if err != nil {
		return err
	}
	if ended.Status != "Succeed" {
		return fmt.Errorf("execution %s ended as %s: %s; see \"berth replication log %s\"", id, ended.Status, ended.Text, id)
	}
	return report(c, ended, "Execution %s is done: %d repositories.", id, ended.Succeeded)
}

func listReplications(c *call) error {
	policy, err := policyID(c, c.arguments[0])
	if err != nil {
		return err
	}
	executions, err := list[replication](c.Context(), c.API, "/replication/executions", url.Values{"policy_id": {strconv.FormatInt(policy, 10)}}, 0)
	if err != nil {
		return err
	}
	return printList(c, executions,
		column[replication]{"ID", func(e replication) any { return e.ID }},
		column[replication]{"BEGUN", func(e replication) any { return e.StartedAt.Format(time.RFC3339) }},
		column[replication]{"BY", func(e replication) any { return e.Trigger }},
		column[replication]{"STATUS", func(e replication) any { return e.Status }},
		column[replication]{"REPOSITORIES", func(e replication) any { return e.Total }},
		column[replication]{"FAILED", func(e replication) any { return e.Failed }},
		column[replication]{"IN PROGRESS", func(e replication) any { return e.InProgress }})
}

func tasksOf(c *call, execution string) ([]replicationTask, error) {
	return list[replicationTask](c.Context(), c.API, at("replication", "executions", execution, "tasks"), nil, 0)
}

func listReplicationTasks(c *call) error {
	tasks, err := tasksOf(c, c.arguments[0])
	if err != nil {
		return err
	}
	return printList(c, tasks,
		column[replicationTask]{"ID", func(t replicationTask) any { return t.ID }},
		column[replicationTask]{"OPERATION", func(t replicationTask) any { return t.Operation }},
		column[replicationTask]{"FROM", func(t replicationTask) any { return t.Source }},
		column[replicationTask]{"TO", func(t replicationTask) any { return t.Destination }},
		column[replicationTask]{"STATUS", func(t replicationTask) any { return t.Status }},
		column[replicationTask]{"DONE", func(t replicationTask) any { return fmt.Sprint(t.Percent, "%") }},
		column[replicationTask]{"SENT", func(t replicationTask) any { return humanize.IBytes(uint64(max(t.Progress.Bytes, 0))) }}) //nolint:gosec // not negative
}

func printReplicationLogs(c *call, execution string) error {
	tasks, err := tasksOf(c, execution)
	if err != nil {
		return err
	}
	for _, task := range tasks {
		_, body, err := c.send(c.Context(), http.MethodGet, at("replication", "executions", execution, "tasks", fmt.Sprint(task.ID), "log"), nil)
		if err != nil {
			return err
		}
		if _, err := c.OutOrStdout().Write(body); err != nil {
			return err
		}
	}
	return nil
}
