package command

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/berth-registry/berth/policy"
)

// member is a member as the API returns it.
type member struct {
	ID   int64  `json:"id"`
	Name string `json:"entity_name"`
	// Type is "u" for a user and "g" for a group.
	Type   string      `json:"entity_type"`
	RoleID policy.Role `json:"role_id"`
	Role   string      `json:"role_name"`
	// EntityID is the user's or group's own id.
	EntityID int64 `json:"entity_id"`
}

// userGroup is a group as the API returns it.
type userGroup struct {
	ID   int64  `json:"id"`
	Name string `json:"group_name"`
	Kind int    `json:"group_type"`
	DN   string `json:"ldap_group_dn"`
}

// named reports whether a name, as --group goes with, is that of the group: an LDAP group's may be its distinguished name.
func (g userGroup) named(name string) bool { return g.Name == name || g.DN != "" && g.DN == name }

// groupBody names a group in a request.
func groupBody(kind int, name string) map[string]any {
	if kind == groupKinds["ldap"] && strings.Contains(name, "=") {
		return map[string]any{"ldap_group_dn": name, "group_type": kind}
	}
	return map[string]any{"group_name": name, "group_type": kind}
}

// groupKinds are the numbers of the kinds of group by the word that --group takes.
var groupKinds = map[string]int{"ldap": 1, "http": 2, "oidc": 3}

func memberCommands(command *cobra.Command, local Local) {
	connectionFlags(command)
	add := do(command, local, "add <project> <name> <role>", "Gives a user or group a role in a project, instead of the one they have", addMember)
	add.Long = "The roles are projectAdmin, maintainer, developer, guest and limitedGuest."
	add.Flags().String("group", "", "the name is that of a group from ldap, oidc or http")

	do(command, local, "list <project>", "Lists the members of a project", func(c *call) error {
		members, err := list[member](c.Context(), c.API, at("projects", c.arguments[0], "members"), nil, 0)
		if err != nil {
			return err
		}
		return printList(c, members,
			column[member]{"NAME", func(m member) any { return m.Name }},
			column[member]{"TYPE", func(m member) any { return map[string]string{"u": "user", "g": "group"}[m.Type] }},
			column[member]{"ROLE", func(m member) any { return m.Role }})
	})

	remove := do(command, local, "remove <project> <name>", "Takes the role of a user or group in a project away", func(c *call) error {
		found, err := findMember(c, c.on("group"))
		if err != nil {
			return err
		}
		path := at("projects", c.arguments[0], "members", strconv.FormatInt(found.ID, 10))
		if _, err := c.change(c.Context(), http.MethodDelete, path, nil); err != nil {
			return err
		}
		return report(c, nil, "%s is not a member of project %s any more.", found.Name, c.arguments[0])
	})
	remove.Flags().Bool("group", false, "the name is that of a group")
}

func addMember(c *call) error {
	name := c.arguments[1]
	role, err := policy.ParseRole(c.arguments[2])
	if err != nil {
		return usageError("%v", err)
	}
	body := map[string]any{"role_id": role, "member_user": map[string]string{"username": name}}
	if c.given("group") {
		kind, known := groupKinds[c.text("group")]
		if !known {
			return usageError("--group is %q: it must be ldap, oidc or http", c.text("group"))
		}
		body = map[string]any{"role_id": role, "member_group": groupBody(kind, name)}
	}
	_, err = c.change(c.Context(), http.MethodPost, at("projects", c.arguments[0], "members"), body)
	if statusOf(err) == exitConflict {
		var found member
		if found, err = findMember(c, c.given("group")); err == nil {
			path := at("projects", c.arguments[0], "members", strconv.FormatInt(found.ID, 10))
			_, err = c.change(c.Context(), http.MethodPut, path, map[string]any{"role_id": role})
		}
	}
	if err != nil {
		return err
	}
	return report(c, map[string]string{"name": name, "role": role.String()}, "%s is %s in project %s now.", name, role, c.arguments[0])
}

// findMember finds the member that the second argument names.
func findMember(c *call, group bool) (member, error) {
	name := c.arguments[1]
	members, err := list[member](c.Context(), c.API, at("projects", c.arguments[0], "members"), url.Values{"entityname": {name}}, 0)
	if err != nil {
		return member{}, err
	}
	for _, m := range members {
		if m.Name == name && (m.Type == "g") == group {
			return m, nil
		}
	}
	return member{}, &Refusal{Status: http.StatusNotFound, Message: fmt.Sprintf("%s is not a member of project %s", name, c.arguments[0])}
}
