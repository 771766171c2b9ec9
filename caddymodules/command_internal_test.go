package caddymodules

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	_ "github.com/berth-registry/berth/metadata/sqlite"
	_ "github.com/berth-registry/berth/storage/filesystem"
)

// shell runs Berth's commands on a Caddyfile, as somebody does who sits at the server.
type shell struct {
	t      *testing.T
	config string
}

// newShell keeps the directory short: the path of a socket may have no more than some hundred characters.
func newShell(t *testing.T) *shell {
	t.Helper()
	directory, err := os.MkdirTemp("", "berth")
	require.NoError(t, err)
	// Caddy may still be writing a certificate when it has stopped.
	t.Cleanup(func() {
		require.Eventually(t, func() bool { return os.RemoveAll(directory) == nil }, 10*time.Second, 10*time.Millisecond)
	})
	config := filepath.Join(directory, "Caddyfile")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, `{
	admin unix/%[1]s/data/admin.sock
	persist_config off
	storage file_system %[1]s/caddy
	skip_install_trust
	auto_https disable_redirects
	log default {
		output discard
	}
	berth {
		data_dir %[1]s/data
		admin_password Correct-horse-1
	}
}
https://localhost:%[2]d {
	bind 127.0.0.1
	tls internal
	berth
}
`, directory, listener.Addr().(*net.TCPAddr).Port), 0o600))
	return &shell{t: t, config: config}
}

// serve starts a server with the Caddyfile, in this process.
func (s *shell) serve() {
	s.t.Helper()
	text, err := os.ReadFile(s.config)
	require.NoError(s.t, err)
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt(text, map[string]any{"filename": "Caddyfile"})
	require.NoError(s.t, err)
	require.NoError(s.t, caddy.Load(adapted, true))
}

// try runs a command and returns what it printed.
func (s *shell) try(stdin string, words ...string) (string, error) {
	commands := map[string]func(*cobra.Command){
		"user": userCommand, "project": projectCommand, "member": memberCommand, "doctor": doctorCommand,
	}
	command := &cobra.Command{Use: words[0], SilenceErrors: true, SilenceUsage: true}
	commands[words[0]](command)
	var output bytes.Buffer
	command.SetOut(&output)
	command.SetErr(&output)
	command.SetIn(strings.NewReader(stdin))
	command.SetArgs(append(words[1:], "--config", s.config, "--adapter", "caddyfile"))
	err := command.ExecuteContext(s.t.Context())
	return output.String(), err
}

func (s *shell) run(stdin string, words ...string) string {
	s.t.Helper()
	output, err := s.try(stdin, words...)
	require.NoError(s.t, err, output)
	return output
}

func TestCommands_workOnARunningAndAStoppedServer(t *testing.T) {
	for _, running := range []bool{true, false} {
		t.Run(fmt.Sprintf("running %t", running), func(t *testing.T) {
			s := newShell(t)
			if running {
				s.serve()
				defer func() { require.NoError(t, caddy.Stop()) }()
			}
			require.Contains(t, s.run("Passw0rd-of-clara\n", "user", "create", "clara", "--email", "clara@example.com"), "Created user clara")
			require.Contains(t, s.run("", "project", "create", "team"), "team, private")
			require.Contains(t, s.run("", "member", "add", "team", "clara", "maintainer"), "clara is maintainer")
			require.Contains(t, s.run("", "project", "set", "team", "--public"), "public")
			s.run("N3w-password", "user", "set-password", "clara")
			s.run("", "user", "set", "clara", "--admin", "--disabled")

			var users []userView
			require.NoError(t, json.Unmarshal([]byte(s.run("", "user", "list", "-o", "json")), &users))
			require.Len(t, users, 2)
			require.Equal(t, "clara", users[1].Name)
			require.True(t, users[1].Admin)
			require.True(t, users[1].Disabled)
			var members []memberView
			require.NoError(t, json.Unmarshal([]byte(s.run("", "member", "list", "team", "-o", "json")), &members))
			require.Equal(t, []memberView{{User: "clara", Role: "maintainer"}}, members)
			require.Regexp(t, `(?m)^team +public`, s.run("", "project", "list"))

			s.run("", "member", "remove", "team", "clara")
			s.run("", "user", "delete", "clara")
			s.run("", "project", "delete", "team")
			findings := s.run("", "doctor")
			require.NotContains(t, findings, "FAIL")
			if running {
				require.Regexp(t, `(?m)^ok    certificate .*of an authority that this machine does not know`, findings)
			}
		})
	}
}

func TestCommands_sayWhatIsWrong(t *testing.T) {
	s := newShell(t)
	for _, c := range []struct {
		stdin, words, want string
	}{
		{"short", "user create clara", "password must be"},
		{"", "user create clara", "no password"},
		{"Passw0rd-of-x", "user create a/b", "user name must"},
		{"Passw0rd-of-x", "user create admin", "already exists"},
		{"", "user delete nobody", "not found"},
		{"", "user delete admin", "can be neither deleted"},
		{"", "user set admin", "--admin or --disabled"},
		{"", "project create Team", "project name"},
		{"", "project create a/b", "project name"},
		{"", "project create library", "already exists"},
		{"", "project delete none", "not found"},
		{"", "project set library", "public"},
		{"", "member add library admin king", "role"},
		{"", "member add library nobody guest", "not found"},
		{"", "member remove library admin", "is not a member"},
		{"", "member list none", "not found"},
		{"", "project list --output xml", "table or json"},
		{"", "project create", "accepts 1 arg"},
	} {
		_, err := s.try(c.stdin, strings.Fields(c.words)...)
		require.ErrorContains(t, err, c.want, c.words)
	}
}

func TestDoctor_failsWithWhatToDo(t *testing.T) {
	s := newShell(t)
	text, err := os.ReadFile(s.config)
	require.NoError(t, err)
	broken := bytes.Replace(text, []byte("admin_password"), []byte("storage filesystem /dev/null/blobs\n\t\tadmin_password"), 1)
	require.NoError(t, os.WriteFile(s.config, broken, 0o600))
	output, err := s.try("", "doctor")
	require.ErrorContains(t, err, "1 of")
	require.Regexp(t, `(?m)^FAIL  storage .*check the storage option`, output)
	require.Regexp(t, `(?m)^ok    database`, output)
}

func TestAdmin_refusesWhatIsNoOperation(t *testing.T) {
	s := newShell(t)
	s.serve()
	t.Cleanup(func() { require.NoError(t, caddy.Stop()) })
	target := target{admin: "unix/" + filepath.Join(filepath.Dir(s.config), "data", adminSocket)}
	for _, c := range []struct{ name, arguments, want string }{
		{"no.such", `{}`, "no such operation"},
		{"project.create", `{"nmae":"x"}`, "unknown field"},
		{"project.create", `not json`, "arguments"},
		{"project.create", `{"name":"` + strings.Repeat("x", maxArguments) + `"}`, "too large"},
	} {
		_, err := target.runRemotely(t.Context(), c.name, []byte(c.arguments))
		require.ErrorContains(t, err, c.want)
	}
}
