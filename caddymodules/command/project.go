package command

import (
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"
)

// timeLayout is how tables show times.
const timeLayout = "2006-01-02 15:04"

// project is a project as the API returns it.
type project struct {
	ID           int64             `json:"project_id"`
	Name         string            `json:"name"`
	OwnerName    string            `json:"owner_name"`
	Repositories int64             `json:"repo_count"`
	Metadata     map[string]string `json:"metadata"`
	CreatedAt    time.Time         `json:"creation_time"`
}

func (p project) visibility() string {
	if p.Metadata["public"] == "true" {
		return "public"
	}
	return "private"
}

func projectCommands(command *cobra.Command, local Local) {
	connectionFlags(command)
	create := do(command, local, "create <name>", "Creates a project", func(c *call) error {
		body := map[string]any{"project_name": c.arguments[0], "metadata": map[string]string{"public": boolText(c.on("public"))}}
		if c.given("quota") {
			limit, err := parseSize(c.text("quota"))
			if err != nil {
				return err
			}
			body["storage_limit"] = limit
		}
		if _, err := c.change(c.Context(), http.MethodPost, "/projects", body); err != nil {
			return err
		}
		created, err := get[project](c.Context(), c.API, at("projects", c.arguments[0]), nil)
		if err != nil {
			return err
		}
		return report(c, created, "Created project %s, %s.", created.Name, created.visibility())
	})
	create.Flags().Bool("public", false, "anybody may pull, without logging in")
	create.Flags().String("quota", "", "how much may be stored, such as 20GiB; -1 for no limit (default: that of the configuration)")

	do(command, local, "list", "Lists the projects", func(c *call) error {
		projects, err := list[project](c.Context(), c.API, "/projects", url.Values{"sort": {"name"}}, 0)
		if err != nil {
			return err
		}
		return printList(c, projects,
			column[project]{"NAME", func(p project) any { return p.Name }},
			column[project]{"VISIBILITY", func(p project) any { return p.visibility() }},
			column[project]{"REPOSITORIES", func(p project) any { return p.Repositories }},
			column[project]{"OWNER", func(p project) any { return p.OwnerName }},
			column[project]{"CREATED", func(p project) any { return p.CreatedAt.Format(timeLayout) }})
	})

	set := do(command, local, "set <name>", "Makes a project public or private", func(c *call) error {
		if c.on("public") == c.on("private") {
			return usageError("say what it is to be: --public or --private")
		}
		metadata := map[string]string{"public": boolText(c.on("public"))}
		if _, err := c.change(c.Context(), http.MethodPut, at("projects", c.arguments[0]), map[string]any{"metadata": metadata}); err != nil {
			return err
		}
		updated, err := get[project](c.Context(), c.API, at("projects", c.arguments[0]), nil)
		if err != nil {
			return err
		}
		return report(c, updated, "Project %s is %s now.", updated.Name, updated.visibility())
	})
	set.Flags().Bool("public", false, "anybody may pull, without logging in")
	set.Flags().Bool("private", false, "only members may pull")

	do(command, local, "delete <name>", "Deletes a project without repositories", func(c *call) error {
		if _, err := c.change(c.Context(), http.MethodDelete, at("projects", c.arguments[0]), nil); err != nil {
			return err
		}
		return report(c, nil, "Deleted project %s.", c.arguments[0])
	})
}

func boolText(b bool) string {
	if b {
		return "true"
	}
	return "false"
}
