package command

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"
)

// user is a user as the API returns it.
type user struct {
	ID        int64     `json:"user_id"`
	Name      string    `json:"username"`
	Email     string    `json:"email"`
	RealName  string    `json:"realname"`
	Admin     bool      `json:"sysadmin_flag"`
	Disabled  bool      `json:"disabled"`
	CreatedAt time.Time `json:"creation_time"`
}

func userCommands(command *cobra.Command, local Local) {
	connectionFlags(command)
	create := do(command, local, "create <name>", "Creates a user", createUser)
	create.Flags().String("email", "", "the user's address")
	create.Flags().String("real-name", "", "the user's real name")
	create.Flags().Bool("admin", false, "may do everything in the registry")

	do(command, local, "list", "Lists all users", func(c *call) error {
		users, err := list[user](c.Context(), c.API, "/users", url.Values{"sort": {"username"}}, 0)
		if err != nil {
			return err
		}
		return printList(c, users,
			column[user]{"NAME", func(u user) any { return u.Name }},
			column[user]{"EMAIL", func(u user) any { return u.Email }},
			column[user]{"ADMIN", func(u user) any { return yesNo(u.Admin) }},
			column[user]{"DISABLED", func(u user) any { return yesNo(u.Disabled) }},
			column[user]{"CREATED", func(u user) any { return u.CreatedAt.Format(timeLayout) }})
	})

	set := do(command, local, "set <name>", "Makes a user an administrator or not, shuts them out or lets them in", setUser)
	set.Flags().Bool("admin", false, "may do everything in the registry")
	set.Flags().Bool("disabled", false, "cannot log in")

	do(command, local, "set-password <name>", "Gives a user a new password", func(c *call) error {
		password, err := readPassword(c.Command, true)
		if err != nil {
			return err
		}
		found, err := findUser(c, c.arguments[0])
		if err != nil {
			return err
		}
		if _, err := c.change(c.Context(), http.MethodPut, found.path("password"), map[string]string{"new_password": password}); err != nil {
			return err
		}
		return report(c, nil, "Changed the password of %s; what they were logged in with is void.", found.Name)
	})

	do(command, local, "delete <name>", "Deletes a user", func(c *call) error {
		found, err := findUser(c, c.arguments[0])
		if err != nil {
			return err
		}
		if _, err := c.change(c.Context(), http.MethodDelete, found.path(), nil); err != nil {
			return err
		}
		return report(c, nil, "Deleted user %s.", found.Name)
	})
}

// path is the user's path, and what is below it.
func (u user) path(below ...string) string {
	return at(append([]string{"users", strconv.FormatInt(u.ID, 10)}, below...)...)
}

func createUser(c *call) error {
	password, err := readPassword(c.Command, true)
	if err != nil {
		return err
	}
	name := c.arguments[0]
	body := map[string]string{"username": name, "email": c.text("email"), "realname": c.text("real-name"), "password": password}
	if _, err := c.change(c.Context(), http.MethodPost, "/users", body); err != nil {
		return err
	}
	created, err := findUser(c, name)
	if err != nil {
		return err
	}
	if c.on("admin") {
		if _, err := c.change(c.Context(), http.MethodPut, created.path("sysadmin"), map[string]bool{"sysadmin_flag": true}); err != nil {
			return err
		}
		created.Admin = true
	}
	return report(c, created, "Created user %s.", created.Name)
}

func setUser(c *call) error {
	if !c.given("admin") && !c.given("disabled") {
		return usageError("say what to set: --admin or --disabled")
	}
	found, err := findUser(c, c.arguments[0])
	if err != nil {
		return err
	}
	if c.given("admin") {
		if _, err := c.change(c.Context(), http.MethodPut, found.path("sysadmin"), map[string]bool{"sysadmin_flag": c.on("admin")}); err != nil {
			return err
		}
		found.Admin = c.on("admin")
	}
	if c.given("disabled") {
		if _, err := c.change(c.Context(), http.MethodPut, found.path("disabled"), map[string]bool{"disabled": c.on("disabled")}); err != nil {
			return err
		}
		found.Disabled = c.on("disabled")
	}
	return report(c, found, "User %s: administrator %s, disabled %s.", found.Name, yesNo(found.Admin), yesNo(found.Disabled))
}

func findUser(c *call, name string) (user, error) {
	users, err := list[user](c.Context(), c.API, "/users", url.Values{"q": {"username=" + name}}, 0)
	if err != nil {
		return user{}, err
	}
	for _, u := range users {
		if u.Name == name {
			return u, nil
		}
	}
	return user{}, &Refusal{Status: http.StatusNotFound, Message: fmt.Sprintf("user %q not found", name)}
}
