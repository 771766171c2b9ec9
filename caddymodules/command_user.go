package caddymodules

import (
	"errors"

	"github.com/spf13/cobra"
)

func userCommand(command *cobra.Command) {
	targetFlags(command)
	create := do(command, "create <name>", "Creates a user", runUserCreate)
	create.Flags().String("email", "", "the user's address")
	create.Flags().String("real-name", "", "the user's real name")
	create.Flags().Bool("admin", false, "may do everything in the registry")

	do(command, "list", "Lists all users", func(c *cobra.Command, t target, _ []string) error {
		var users []userView
		if err := t.run(c.Context(), "user.list", struct{}{}, &users); err != nil {
			return err
		}
		return printList(c, users, []string{"NAME", "EMAIL", "ADMIN", "DISABLED", "CREATED"}, func(u userView) []any {
			return []any{u.Name, u.Email, yesNo(u.Admin), yesNo(u.Disabled), u.CreatedAt.Format(timeLayout)}
		})
	})

	set := do(command, "set <name>", "Makes a user an administrator or not, shuts them out or lets them in", runUserSet)
	set.Flags().Bool("admin", false, "may do everything in the registry")
	set.Flags().Bool("disabled", false, "cannot log in")

	do(command, "set-password <name>", "Gives a user a new password", func(c *cobra.Command, t target, arguments []string) error {
		password, err := readPassword(c)
		if err != nil {
			return err
		}
		if err := t.run(c.Context(), "user.set-password", userArguments{Name: arguments[0], Password: password}, nil); err != nil {
			return err
		}
		return report(c, nil, "Changed the password of %s; what they were logged in with is void.", arguments[0])
	})

	do(command, "delete <name>", "Deletes a user", func(c *cobra.Command, t target, arguments []string) error {
		if err := t.run(c.Context(), "user.delete", userArguments{Name: arguments[0]}, nil); err != nil {
			return err
		}
		return report(c, nil, "Deleted user %s.", arguments[0])
	})
}

func runUserCreate(c *cobra.Command, t target, arguments []string) error {
	request := userArguments{Name: arguments[0]}
	var err error
	if request.Email, err = c.Flags().GetString("email"); err != nil {
		return err
	}
	if request.RealName, err = c.Flags().GetString("real-name"); err != nil {
		return err
	}
	if request.Admin, err = flagIfSet(c, "admin"); err != nil {
		return err
	}
	if request.Password, err = readPassword(c); err != nil {
		return err
	}
	var created userView
	if err := t.run(c.Context(), "user.create", request, &created); err != nil {
		return err
	}
	return report(c, created, "Created user %s.", created.Name)
}

func runUserSet(c *cobra.Command, t target, arguments []string) error {
	request := userArguments{Name: arguments[0]}
	var err error
	if request.Admin, err = flagIfSet(c, "admin"); err != nil {
		return err
	}
	if request.Disabled, err = flagIfSet(c, "disabled"); err != nil {
		return err
	}
	if request.Admin == nil && request.Disabled == nil {
		return errors.New("say what to set: --admin or --disabled")
	}
	var updated userView
	if err := t.run(c.Context(), "user.set", request, &updated); err != nil {
		return err
	}
	return report(c, updated, "User %s: administrator %s, disabled %s.", updated.Name, yesNo(updated.Admin), yesNo(updated.Disabled))
}

// flagIfSet returns nil when the flag was not given.
func flagIfSet(c *cobra.Command, name string) (*bool, error) {
	if !c.Flags().Changed(name) {
		return nil, nil
	}
	value, err := c.Flags().GetBool(name)
	return &value, err
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
