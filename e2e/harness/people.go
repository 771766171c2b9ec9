package harness

import (
	"context"

	"github.com/stretchr/testify/require"
)

// AddUser creates a user through the command line, while the gateway runs.
func (g *Gateway) AddUser(name, password string) {
	g.t.Helper()
	g.must(password, "user", "create", name)
}

// SetPassword gives a user another password.
func (g *Gateway) SetPassword(name, password string) {
	g.t.Helper()
	g.must(password, "user", "set-password", name)
}

// Disable shuts a user out.
func (g *Gateway) Disable(name string) {
	g.t.Helper()
	g.must("", "user", "set", name, "--disabled")
}

// AddProject creates a project.
func (g *Gateway) AddProject(name string, public bool) {
	g.t.Helper()
	arguments := []string{"project", "create", name}
	if public {
		arguments = append(arguments, "--public")
	}
	g.must("", arguments...)
}

// SetMember gives a user a role in a project.
func (g *Gateway) SetMember(project, user, role string) {
	g.t.Helper()
	g.must("", "member", "add", project, user, role)
}

// RemoveMember takes a user's role in a project away.
func (g *Gateway) RemoveMember(project, user string) {
	g.t.Helper()
	g.must("", "member", "remove", project, user)
}

func (g *Gateway) must(stdin string, arguments ...string) {
	g.t.Helper()
	_, err := g.CommandWith(stdin, arguments...)
	require.NoError(g.t, err)
}

// CommandWith runs one of Berth's own commands with the gateway's Caddyfile and a standard input.
func (g *Gateway) CommandWith(stdin string, arguments ...string) (string, error) {
	return Run(context.Background(), g.environ(), stdin, Binary(g.t), append(arguments, "--config", g.config)...)
}
