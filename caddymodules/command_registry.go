package caddymodules

import (
	"github.com/spf13/cobra"
)

func projectCommand(command *cobra.Command) {
	targetFlags(command)
	create := do(command, "create <name>", "Creates a project", func(c *cobra.Command, t target, arguments []string) error {
		public, err := c.Flags().GetBool("public")
		if err != nil {
			return err
		}
		var created projectView
		if err := t.run(c.Context(), "project.create", projectArguments{Name: arguments[0], Public: public}, &created); err != nil {
			return err
		}
		return report(c, created, "Created project %s, %s.", created.Name, visibility(created.Public))
	})
	create.Flags().Bool("public", false, "anybody may pull, without logging in")

	do(command, "list", "Lists all projects", func(c *cobra.Command, t target, _ []string) error {
		var projects []projectView
		if err := t.run(c.Context(), "project.list", struct{}{}, &projects); err != nil {
			return err
		}
		return printList(c, projects, []string{"NAME", "VISIBILITY", "CREATED"}, func(p projectView) []any {
			return []any{p.Name, visibility(p.Public), p.CreatedAt.Format(timeLayout)}
		})
	})

	set := do(command, "set <name>", "Makes a project public or private", func(c *cobra.Command, t target, arguments []string) error {
		public, err := c.Flags().GetBool("public")
		if err != nil {
			return err
		}
		var updated projectView
		if err := t.run(c.Context(), "project.set", projectArguments{Name: arguments[0], Public: public}, &updated); err != nil {
			return err
		}
		return report(c, updated, "Project %s is %s now.", updated.Name, visibility(updated.Public))
	})
	set.Flags().Bool("public", false, "anybody may pull, without logging in")
	set.Flags().Bool("private", false, "only members may pull")
	set.MarkFlagsOneRequired("public", "private")
	set.MarkFlagsMutuallyExclusive("public", "private")

	do(command, "delete <name>", "Deletes a project without repositories", func(c *cobra.Command, t target, arguments []string) error {
		if err := t.run(c.Context(), "project.delete", projectArguments{Name: arguments[0]}, nil); err != nil {
			return err
		}
		return report(c, nil, "Deleted project %s.", arguments[0])
	})
}

func memberCommand(command *cobra.Command) {
	targetFlags(command)
	add := do(command, "add <project> <user> <role>", "Gives a user a role in a project, instead of the one they have", func(c *cobra.Command, t target, arguments []string) error {
		var added memberView
		request := memberArguments{Project: arguments[0], User: arguments[1], Role: arguments[2]}
		if err := t.run(c.Context(), "member.add", request, &added); err != nil {
			return err
		}
		return report(c, added, "%s is %s in project %s now.", added.User, added.Role, arguments[0])
	})
	add.Long = "The roles are projectAdmin, maintainer, developer, guest and limitedGuest."

	do(command, "list <project>", "Lists the members of a project", func(c *cobra.Command, t target, arguments []string) error {
		var members []memberView
		if err := t.run(c.Context(), "member.list", memberArguments{Project: arguments[0]}, &members); err != nil {
			return err
		}
		return printList(c, members, []string{"USER", "ROLE"}, func(m memberView) []any { return []any{m.User, m.Role} })
	})

	do(command, "remove <project> <user>", "Takes a user's role in a project away", func(c *cobra.Command, t target, arguments []string) error {
		request := memberArguments{Project: arguments[0], User: arguments[1]}
		if err := t.run(c.Context(), "member.remove", request, nil); err != nil {
			return err
		}
		return report(c, nil, "%s is not a member of project %s any more.", arguments[1], arguments[0])
	})
}

const timeLayout = "2006-01-02 15:04"

func visibility(public bool) string {
	if public {
		return "public"
	}
	return "private"
}
