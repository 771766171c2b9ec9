package command

import (
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// auditEntry is an entry of the audit log as the API returns it.
type auditEntry struct {
	ID           int64     `json:"id"`
	Username     string    `json:"username"`
	Operation    string    `json:"operation"`
	ResourceType string    `json:"resource_type"`
	Resource     string    `json:"resource"`
	Description  string    `json:"operation_description"`
	Succeeded    bool      `json:"operation_result"`
	At           time.Time `json:"op_time"`
}

func auditCommands(command *cobra.Command, local Local) {
	connectionFlags(command)
	listing := do(command, local, "list", "Lists entries of the audit log, the newest first", listAudit)
	listing.Flags().String("project", "", "those of a project")
	listing.Flags().String("user", "", "what somebody did")
	listing.Flags().String("operation", "", "create, pull, delete, update, login, logout")
	listing.Flags().String("resource", "", "part of the name of what it was done to")
	listing.Flags().Duration("since", 0, "what happened in the last time, such as 24h")
	listing.Flags().Int("limit", 100, "how many at the most; 0 for all")

	purge := do(command, local, "purge", "Deletes old entries of the audit log", purgeAudit)
	purge.Flags().Duration("older-than", 0, "the age of what is deleted, such as 2160h")
	purge.Flags().StringSlice("events", nil, "the types of what is deleted (default: all)")
	purge.Flags().Bool("dry-run", false, "only count")
}

func listAudit(c *call) error {
	var terms []string
	add := func(flag, form string) {
		if value := c.text(flag); value != "" {
			terms = append(terms, form+value)
		}
	}
	operations := []string{"create", "pull", "delete", "update", "login", "logout"}
	if operation := c.text("operation"); operation != "" && !slices.Contains(operations, operation) {
		return usageError("--operation is %q: it must be one of %s", operation, strings.Join(operations, ", "))
	}
	add("user", "username=")
	add("operation", "operation=")
	add("resource", "resource=~")
	since, err := c.Flags().GetDuration("since")
	if err != nil {
		return err
	}
	if since > 0 {
		terms = append(terms, fmt.Sprintf("op_time=[%s~]", time.Now().Add(-since).UTC().Format("2006-01-02T15:04:05")))
	}
	most, err := c.Flags().GetInt("limit")
	if err != nil {
		return err
	}
	path, query := "/auditlog-exts", url.Values{"sort": {"-op_time"}}
	if name := c.text("project"); name != "" {
		path = at("projects", name, "auditlog-exts")
	}
	if len(terms) > 0 {
		query.Set("q", strings.Join(terms, ","))
	}
	entries, err := list[auditEntry](c.Context(), c.API, path, query, most)
	if err != nil {
		return err
	}
	return printList(c, entries,
		column[auditEntry]{"TIME", func(e auditEntry) any { return e.At.Format(time.RFC3339) }},
		column[auditEntry]{"USER", func(e auditEntry) any { return e.Username }},
		column[auditEntry]{"OPERATION", func(e auditEntry) any { return e.Operation }},
		column[auditEntry]{"TYPE", func(e auditEntry) any { return e.ResourceType }},
		column[auditEntry]{"RESOURCE", func(e auditEntry) any { return e.Resource }},
		column[auditEntry]{"SUCCEEDED", func(e auditEntry) any { return yesNo(e.Succeeded) }})
}

func purgeAudit(c *call) error {
	if !c.given("older-than") {
		return usageError("say how old the entries are that are deleted: --older-than")
	}
	age, err := c.Flags().GetDuration("older-than")
	if err != nil {
		return err
	}
	events, err := c.Flags().GetStringSlice("events")
	if err != nil {
		return err
	}
	if len(events) == 0 {
		known, err := get[[]struct {
			Type string `json:"event_type"`
		}](c.Context(), c.API, "/auditlog-exts/events", nil)
		if err != nil {
			return err
		}
		for _, event := range known {
			events = append(events, event.Type)
		}
	}
	location, err := c.change(c.Context(), http.MethodPost, "/system/purgeaudit/schedule", map[string]any{
		"schedule": map[string]string{"type": "Manual"},
		"parameters": map[string]any{
			"audit_retention_hour": int64(math.Ceil(age.Hours())), "include_event_types": strings.Join(events, ","), "dry_run": c.on("dry-run"),
		},
	})
	if err != nil {
		return err
	}
	id := location[strings.LastIndexByte(location, '/')+1:]
	return report(c, map[string]string{"execution": id}, "Started purging as execution %s; see \"berth job tasks %s\".", id, id)
}
