package command

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
)

// quota is a quota as the API returns it; sizes are in bytes, a limit of -1 is none.
type quota struct {
	ID  int64 `json:"id"`
	Ref struct {
		ID   int64  `json:"id"`
		Name string `json:"name"`
	} `json:"ref"`
	Hard struct {
		Storage int64 `json:"storage"`
	} `json:"hard"`
	Used struct {
		Storage int64 `json:"storage"`
	} `json:"used"`
}

func quotaCommands(command *cobra.Command, local Local) {
	connectionFlags(command)
	columns := []column[quota]{
		{"PROJECT", func(q quota) any { return q.Ref.Name }},
		{"USED", func(q quota) any { return sizeText(q.Used.Storage) }},
		{"LIMIT", func(q quota) any { return sizeText(q.Hard.Storage) }},
	}
	do(command, local, "list", "Lists what projects store and may store, the fullest first", func(c *call) error {
		quotas, err := list[quota](c.Context(), c.API, "/quotas", url.Values{"reference": {"project"}, "sort": {"-used.storage"}}, 0)
		if err != nil {
			return err
		}
		return printList(c, quotas, columns...)
	})
	do(command, local, "show <project>", "Shows what a project stores and may store", func(c *call) error {
		found, err := findQuota(c, c.arguments[0])
		if err != nil {
			return err
		}
		return printList(c, []quota{found}, columns...)
	})
	set := do(command, local, "set <project> <size>", "Sets how much a project may store", func(c *call) error {
		limit, err := parseSize(c.arguments[1])
		if err != nil {
			return err
		}
		found, err := findQuota(c, c.arguments[0])
		if err != nil {
			return err
		}
		path := at("quotas", strconv.FormatInt(found.ID, 10))
		if _, err := c.change(c.Context(), http.MethodPut, path, map[string]any{"hard": map[string]int64{"storage": limit}}); err != nil {
			return err
		}
		found.Hard.Storage = limit
		return report(c, found, "Project %s may store %s and stores %s.", found.Ref.Name, sizeText(limit), sizeText(found.Used.Storage))
	})
	set.Long = `Sizes are like 500MB, 20GiB or a number of bytes; "unlimited" takes the limit away.`
}

func findQuota(c *call, name string) (quota, error) {
	found, err := get[project](c.Context(), c.API, at("projects", name), nil)
	if err != nil {
		return quota{}, err
	}
	query := url.Values{"reference": {"project"}, "reference_id": {strconv.FormatInt(found.ID, 10)}}
	quotas, err := list[quota](c.Context(), c.API, "/quotas", query, 1)
	if err != nil {
		return quota{}, err
	}
	if len(quotas) == 0 {
		return quota{}, &Refusal{Status: http.StatusNotFound, Message: "project " + name + " has no quota"}
	}
	return quotas[0], nil
}

// parseSize reads a size in bytes; -1 is no limit.
func parseSize(text string) (int64, error) {
	if text == "-1" || strings.EqualFold(text, "unlimited") {
		return -1, nil
	}
	size, err := humanize.ParseBytes(text)
	if err != nil || size > 1<<62 {
		return 0, usageError("%q is no size, such as 500MB, 20GiB or unlimited", text)
	}
	return int64(size), nil //nolint:gosec // bounded above
}

func sizeText(size int64) string {
	if size < 0 {
		return "unlimited"
	}
	return humanize.IBytes(uint64(size))
}
