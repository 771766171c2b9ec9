package caddymodules

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
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

	"github.com/berth-registry/berth/caddymodules/command"
	_ "github.com/berth-registry/berth/jobs/embedded"
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
	run := command.New(words[0], connect)
	if words[0] == "doctor" {
		run = &cobra.Command{Use: "doctor"}
		doctorCommand(run)
	}
	run.SilenceErrors, run.SilenceUsage = true, true
	var output bytes.Buffer
	run.SetOut(&output)
	run.SetErr(&output)
	run.SetIn(strings.NewReader(stdin))
	run.SetArgs(append(words[1:], "--config", s.config, "--adapter", "caddyfile"))
	err := run.ExecuteContext(s.t.Context())
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

			var users []struct {
				Name     string `json:"username"`
				Admin    bool   `json:"sysadmin_flag"`
				Disabled bool   `json:"disabled"`
			}
			require.NoError(t, json.Unmarshal([]byte(s.run("", "user", "list", "-o", "json")), &users))
			require.Len(t, users, 2)
			require.Equal(t, "clara", users[1].Name)
			require.True(t, users[1].Admin)
			require.True(t, users[1].Disabled)
			var members []struct {
				Name string `json:"entity_name"`
				Role string `json:"role_name"`
			}
			require.NoError(t, json.Unmarshal([]byte(s.run("", "member", "list", "team", "-o", "json")), &members))
			require.Len(t, members, 1)
			require.Equal(t, "clara maintainer", members[0].Name+" "+members[0].Role)
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
		{"", "member add library nobody guest", "does not exist"},
		{"", "member remove library admin", "is not a member"},
		{"", "member list none", "not found"},
		{"", "project list --output xml", "table or json"},
		{"", "project create", "usage: project create <name>"},
	} {
		_, err := s.try(c.stdin, strings.Fields(c.words)...)
		require.ErrorContains(t, err, c.want, c.words)
	}
}

func TestCommands_wholeConfiguration(t *testing.T) {
	s := newShell(t)
	s.run("Passw0rd-of-clara\n", "user", "create", "clara")
	wanted := filepath.Join(filepath.Dir(s.config), "wanted.yaml")
	require.NoError(t, os.WriteFile(wanted, []byte(`
settings:
  session_timeout: 45
labels:
  - {name: stable, color: "#48960C", description: to be kept}
vulnerability_allowlist:
  items: [CVE-2026-1]
projects:
  - name: team
    public: true
    quota: 20GiB
    members:
      - {user: admin, role: projectAdmin}
      - {user: clara, role: developer}
    labels:
      - {name: ours, color: "#FFFFFF"}
    immutable_tags:
      - {repositories: "**", tags: "v*"}
      - {repositories: "app", except_tags: "dev-*", disabled: true}
`), 0o600))
	planned, err := s.try("", "config", "import", wanted)
	require.ErrorContains(t, err, "make them with --yes")
	require.Contains(t, planned, "+ project team")
	require.Contains(t, planned, "~ setting session_timeout: 60 → 45")
	require.NotContains(t, s.run("", "project", "list"), "team", "it only shows")

	require.Contains(t, s.run("", "config", "import", wanted, "--yes"), "Made")
	require.Contains(t, s.run("", "config", "import", wanted), "Nothing to change.")
	require.Contains(t, s.run("", "quota", "show", "team"), "20 GiB")
	require.Contains(t, s.run("", "config", "get", "session_timeout"), "45")

	exported := filepath.Join(filepath.Dir(s.config), "exported.yaml")
	require.NoError(t, os.WriteFile(exported, []byte(s.run("", "config", "export")), 0o600))
	require.Contains(t, s.run("", "config", "import", exported), "Nothing to change.")

	require.NoError(t, os.WriteFile(wanted, []byte("projects: [{name: team, members: [{user: admin, role: projectAdmin}]}]"), 0o600))
	require.Contains(t, s.run("", "config", "import", wanted, "--yes"), "- project team: user clara")
	require.NoError(t, os.WriteFile(wanted, []byte("projects: [{name: team, mebmers: []}]"), 0o600))
	_, err = s.try("", "config", "import", wanted)
	require.ErrorContains(t, err, "mebmers")
	t.Setenv("LDAP_PASSWORD", "hush")
	require.NoError(t, os.WriteFile(wanted, []byte("settings: {ldap_search_password: {env: LDAP_PASSWORD}}"), 0o600))
	said := s.run("", "config", "import", wanted, "--yes")
	require.NotContains(t, said, "hush")
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

func TestAdmin_servesTheAPIToTheOperator(t *testing.T) {
	s := newShell(t)
	s.serve()
	t.Cleanup(func() { require.NoError(t, caddy.Stop()) })
	way, err := target{admin: "unix/" + filepath.Join(filepath.Dir(s.config), "data", adminSocket)}.throughAdmin(t.Context())
	require.NoError(t, err)
	require.NoError(t, ping(t.Context(), way))
	for path, want := range map[string]int{"/api/v2.0/users": http.StatusOK, "/api/v2.0/nothing": http.StatusNotFound, "/v2/": http.StatusNotFound} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, way.Base+path, nil)
		require.NoError(t, err)
		response, err := way.Transport.RoundTrip(request)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.Equal(t, want, response.StatusCode, path)
	}
}
