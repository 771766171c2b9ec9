package command

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// deletion is what was deleted and can be restored, as the API returns it.
type deletion struct {
	ID         int64     `json:"id"`
	Type       string    `json:"type"`
	Repository string    `json:"repository_name"`
	Digest     string    `json:"digest"`
	Tags       []string  `json:"tags"`
	Operator   string    `json:"operator"`
	DeletedAt  time.Time `json:"deletion_time"`
	ExpiresAt  time.Time `json:"expiration_time"`
}

// restoration is what a deletion that was undone has brought back.
type restoration struct {
	Repository string   `json:"repository_name"`
	Digest     string   `json:"digest"`
	Tags       []string `json:"tags"`
	Taken      []string `json:"taken_tags"`
}

func deletionCommands(command *cobra.Command, local Local) {
	deleted := do(command, local, "deleted <project>", "Lists deleted artifacts and tags that can be restored, the newest first", listDeleted)
	deleted.Flags().String("repository", "", "those of a repository, without the project")
	deleted.Flags().Int("limit", 100, "how many at the most; 0 for all")
	do(command, local, "restore <project> <id>", "Restores a deleted artifact with what was deleted with it, or a tag", func(c *call) error {
		found, err := create[restoration](c.Context(), c.API, at("projects", c.arguments[0], "deletions", c.arguments[1], "restore"), nil)
		if err != nil {
			return err
		}
		taken := ""
		if len(found.Taken) > 0 {
			taken = fmt.Sprintf(" Tags that stand for something else by now stay there: %s.", strings.Join(found.Taken, ", "))
		}
		return report(c, found, "Restored %s@%s with tags: %s.%s", found.Repository, found.Digest, orNone(strings.Join(found.Tags, ", ")), taken)
	})
	do(command, local, "purge <project> <id>", "Makes a deletion final, so that its bytes can be freed", func(c *call) error {
		if _, err := c.change(c.Context(), http.MethodDelete, at("projects", c.arguments[0], "deletions", c.arguments[1]), nil); err != nil {
			return err
		}
		return report(c, nil, "Deletion %s cannot be undone any more.", c.arguments[1])
	})
}

func orNone(text string) string {
	if text == "" {
		return "none"
	}
	return text
}

func listDeleted(c *call) error {
	most, err := c.Flags().GetInt("limit")
	if err != nil {
		return err
	}
	query := url.Values{}
	if repository := c.text("repository"); repository != "" {
		query.Set("q", "repository_name="+c.arguments[0]+"/"+repository)
	}
	found, err := list[deletion](c.Context(), c.API, at("projects", c.arguments[0], "deletions"), query, most)
	if err != nil {
		return err
	}
	return printList(c, found,
		column[deletion]{"ID", func(d deletion) any { return d.ID }},
		column[deletion]{"TYPE", func(d deletion) any { return d.Type }},
		column[deletion]{"REPOSITORY", func(d deletion) any { return d.Repository }},
		column[deletion]{"TAGS", func(d deletion) any { return strings.Join(d.Tags, ", ") }},
		column[deletion]{"DIGEST", func(d deletion) any { return d.Digest }},
		column[deletion]{"DELETED", func(d deletion) any { return d.DeletedAt.Format(time.RFC3339) }},
		column[deletion]{"BY", func(d deletion) any { return d.Operator }},
		column[deletion]{"UNTIL", func(d deletion) any { return d.ExpiresAt.Format(time.RFC3339) }})
}
