package command

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// robot is a robot account as the API returns it.
type robot struct {
	ID          int64        `json:"id"`
	Name        string       `json:"name"`
	Description string       `json:"description"`
	Level       string       `json:"level"`
	Duration    int64        `json:"duration"`
	Disabled    bool         `json:"disable"`
	ExpiresAt   int64        `json:"expires_at"`
	Secret      string       `json:"secret,omitempty"`
	Permissions []permission `json:"permissions"`
}

// permission is what a robot account may do in one project, or in all of them ("*"), or to the registry itself ("/").
type permission struct {
	Kind      string   `json:"kind"`
	Namespace string   `json:"namespace"`
	Access    []access `json:"access"`
}

type access struct {
	Resource string `json:"resource"`
	Action   string `json:"action"`
}

func robotCommands(command *cobra.Command, local Local) {
	connectionFlags(command)
	create := do(command, local, "create <name>", "Creates a robot account and prints its secret, which is told this once only", createRobot)
	create.Long = `A robot account of a project (--project) may act in that project alone; one of the registry, in the projects that --in names.
What it may do is given as RESOURCE:ACTION[,ACTION…], such as repository:pull,push or artifact:read,list; without --allow it
may pull and push.`
	create.Flags().String("project", "", "the project that the account belongs to")
	create.Flags().StringSlice("in", []string{"*"}, "the projects in which an account of the registry may act; * is all")
	create.Flags().StringArray("allow", []string{"repository:pull,push"}, "what it may do in its projects")
	create.Flags().StringArray("allow-system", nil, "what it may do to the registry itself")
	create.Flags().String("description", "", "what it is for")
	create.Flags().Int64("days", 30, "for how many days it is good; -1 for ever")

	listing := do(command, local, "list", "Lists robot accounts", func(c *call) error {
		robots, err := listRobots(c, c.text("project"))
		if err != nil {
			return err
		}
		return printList(c, robots,
			column[robot]{"NAME", func(r robot) any { return r.Name }},
			column[robot]{"LEVEL", func(r robot) any { return r.Level }},
			column[robot]{"DISABLED", func(r robot) any { return yesNo(r.Disabled) }},
			column[robot]{"EXPIRES", func(r robot) any { return expiry(r.ExpiresAt) }},
			column[robot]{"DESCRIPTION", func(r robot) any { return r.Description }})
	})
	listing.Flags().String("project", "", "those of a project instead of those of the registry")

	set := do(command, local, "set <name>", "Shuts a robot account out or lets it in", func(c *call) error {
		if !c.given("disabled") {
			return usageError("say what to set: --disabled")
		}
		found, err := findRobot(c, c.arguments[0])
		if err != nil {
			return err
		}
		found.Disabled = c.on("disabled")
		if _, err := c.change(c.Context(), http.MethodPut, found.path(), found); err != nil {
			return err
		}
		return report(c, found, "Robot account %s: disabled %s.", found.Name, yesNo(found.Disabled))
	})
	set.Flags().Bool("disabled", false, "cannot log in")

	do(command, local, "refresh <name>", "Gives a robot account a new secret and prints it; the old one is void", func(c *call) error {
		found, err := findRobot(c, c.arguments[0])
		if err != nil {
			return err
		}
		_, body, err := c.send(c.Context(), http.MethodPatch, found.path(), map[string]string{"secret": ""})
		if err != nil {
			return err
		}
		return printSecret(c, found, body)
	})

	do(command, local, "delete <name>", "Deletes a robot account", func(c *call) error {
		found, err := findRobot(c, c.arguments[0])
		if err != nil {
			return err
		}
		if _, err := c.change(c.Context(), http.MethodDelete, found.path(), nil); err != nil {
			return err
		}
		return report(c, nil, "Deleted robot account %s.", found.Name)
	})
}

func (r robot) path() string { return at("robots", strconv.FormatInt(r.ID, 10)) }

func expiry(unix int64) string {
	if unix < 0 {
		return "never"
	}
	return time.Unix(unix, 0).Format(timeLayout)
}

func createRobot(c *call) error {
	allowed, err := c.accesses("allow")
	if err != nil {
		return err
	}
	days, err := c.Flags().GetInt64("days")
	if err != nil {
		return err
	}
	body := robot{Name: c.arguments[0], Description: c.text("description"), Level: "system", Duration: days}
	if name := c.text("project"); name != "" {
		body.Level = "project"
		body.Permissions = []permission{{Kind: "project", Namespace: name, Access: allowed}}
	} else {
		projects, err := c.Flags().GetStringSlice("in")
		if err != nil {
			return err
		}
		for _, name := range projects {
			body.Permissions = append(body.Permissions, permission{Kind: "project", Namespace: name, Access: allowed})
		}
		toSystem, err := c.accesses("allow-system")
		if err != nil {
			return err
		}
		if len(toSystem) > 0 {
			body.Permissions = append(body.Permissions, permission{Kind: "system", Namespace: "/", Access: toSystem})
		}
	}
	created, err := create[robot](c.Context(), c.API, "/robots", body)
	if err != nil {
		return err
	}
	return report(c, created, "Created robot account %s, good until %s. Its secret, which is told this once only:\n%s",
		created.Name, expiry(created.ExpiresAt), created.Secret)
}

// accesses reads what a flag allows.
func (c *call) accesses(flag string) ([]access, error) {
	given, err := c.Flags().GetStringArray(flag)
	if err != nil {
		return nil, err
	}
	var allowed []access
	for _, text := range given {
		resource, actions, found := strings.Cut(text, ":")
		if !found || resource == "" || actions == "" {
			return nil, usageError("--%s is %q: it must be like repository:pull,push", flag, text)
		}
		for action := range strings.SplitSeq(actions, ",") {
			allowed = append(allowed, access{Resource: resource, Action: action})
		}
	}
	return allowed, nil
}

func listRobots(c *call, inProject string) ([]robot, error) {
	query := url.Values{"sort": {"name"}}
	if inProject != "" {
		found, err := get[project](c.Context(), c.API, at("projects", inProject), nil)
		if err != nil {
			return nil, err
		}
		query.Set("q", fmt.Sprintf("Level=project,ProjectID=%d", found.ID))
	}
	return list[robot](c.Context(), c.API, "/robots", query, 0)
}

// findRobot finds a robot account by its full name; what stands between the prefix and a plus sign is its project.
func findRobot(c *call, name string) (robot, error) {
	inProject := ""
	if prefixed, _, ofProject := strings.Cut(name, "+"); ofProject {
		inProject = prefixed[strings.LastIndexByte(prefixed, '$')+1:]
	}
	robots, err := listRobots(c, inProject)
	if err != nil {
		return robot{}, err
	}
	for _, r := range robots {
		if r.Name == name {
			return r, nil
		}
	}
	return robot{}, &Refusal{Status: http.StatusNotFound, Message: fmt.Sprintf("robot account %q not found; names are like robot$ci and robot$project+ci", name)}
}

func printSecret(c *call, r robot, body []byte) error {
	fresh, err := decode[robot](body)
	if err != nil {
		return err
	}
	r.Secret = fresh.Secret
	return report(c, r, "The new secret of %s, which is told this once only:\n%s", r.Name, r.Secret)
}
