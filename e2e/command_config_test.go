package e2e_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/e2e/harness"
)

// wholeConfiguration is what the tests import.
const wholeConfiguration = `
settings:
  session_timeout: 45
  banner_message: "closed on Sundays\n'really'"
  ldap_search_password: {env: LDAP_PASSWORD}
labels:
  - {name: stable, color: "#48960C", description: to be kept}
vulnerability_allowlist:
  items: [CVE-2026-1]
projects:
  - name: team
    public: true
    quota: 20GiB
    metadata: {auto_scan: "true"}
    members:
      - {user: admin, role: projectAdmin}
      - {user: clara, role: developer}
      - {group: devs, kind: oidc, role: guest}
    labels:
      - {name: ours, color: "#FFFFFF"}
    immutable_tags:
      - {repositories: "**", tags: "v*"}
      - {repositories: "app", except_tags: "dev-*", disabled: true}
    vulnerability_allowlist:
      items: [CVE-2026-2]
      expires_at: 1900000000
`

// TestCommands_config moves a whole configuration through a file, with the differences shown first.
func TestCommands_config(t *testing.T) {
	onEachStack(t, func(t *testing.T, stack *harness.Stack) {
		gateway := harness.Start(t, stack)
		gateway.AddUser("clara", callerPassword)
		o := newOperator(t, gateway, "LDAP_PASSWORD=hush-hush")
		o.logIn("admin", harness.AdminPassword)
		empty := o.run("", "config", "export")

		planned := o.exits(1, wholeConfiguration, "config", "import", "-")
		for _, line := range []string{
			"~ setting session_timeout: 60 → 45", "~ setting ldap_search_password, which is not shown", "+ label stable", "~ vulnerability allowlist",
			"+ project team", "~ project team: quota 20 GiB", "+ project team: user clara as developer", "+ project team: group devs as guest",
			"+ project team: label ours", "+ project team: immutable tags: repositories **, tags v*",
		} {
			require.Contains(t, planned, line+"\n")
		}
		require.Contains(t, planned, "make them with --yes")
		require.Equal(t, empty, o.run("", "config", "export"), "it only shows")

		made := o.run(wholeConfiguration, "config", "import", "-", "--yes")
		require.NotContains(t, made, "hush-hush")
		whole := o.run("", "config", "export")
		require.NotContains(t, whole, "hush-hush")
		require.NotContains(t, gateway.Process().Log(), "hush-hush")
		file := filepath.Join(t.TempDir(), "registry.yaml")
		require.NoError(t, os.WriteFile(file, []byte(whole), 0o600))
		require.Equal(t, "Nothing to change.\n", o.run("", "config", "import", file))
		require.Equal(t, "Nothing to change.\n", o.run("", "config", "import", file, "--yes"))

		less := `projects: [{name: team, members: [{user: admin, role: projectAdmin}], immutable_tags: [{tags: "v*", disabled: true}], labels: []}]`
		planned = o.run(less, "config", "import", "-", "--yes")
		for _, line := range []string{
			"- project team: user clara", "- project team: group devs", "- project team: label ours",
			"~ project team: immutable tags: repositories **, tags v*", "- project team: immutable tags: repositories app, tags except dev-*",
		} {
			require.Contains(t, planned, line+"\n")
		}
		o.run("", "config", "import", file, "--yes")
		require.Equal(t, whole, o.run("", "config", "export"), "and back")

		clara := newOperator(t, gateway)
		clara.logIn("clara", callerPassword)
		clara.exits(4, less, "config", "import", "-", "--yes")
	})
}

// TestCommands_configRefuses changes nothing by files that have anything wrong in them, wherever that is found.
func TestCommands_configRefuses(t *testing.T) {
	gateway := harness.Start(t, harness.Directory(t))
	gateway.AddUser("clara", callerPassword)
	o := newOperator(t, gateway, "LDAP_PASSWORD=hush-hush")
	o.logIn("admin", harness.AdminPassword)
	o.run(wholeConfiguration, "config", "import", "-", "--yes")
	whole := o.run("", "config", "export")

	require.Contains(t, o.exits(2, "", "config", "set", "frobnicated", "1"), "there is no setting")

	// What is right comes before what is wrong, and would be made if nobody looked.
	const begin = `
settings: {session_timeout: 50}
labels: [{name: stable, color: "#000000"}, {name: fresh}]
vulnerability_allowlist: {items: []}
projects:
  - {name: first, members: [{user: clara, role: guest}], labels: [{name: one}], immutable_tags: [{tags: "*", disabled: true}]}
  - name: team
    public: false
    quota: 1GiB
    metadata: {auto_scan: "false", severity: low}
    members: [{user: admin, role: projectAdmin}, {user: clara, role: maintainer}, {group: devs, role: guest}]
    immutable_tags: [{repositories: "**", tags: "v*", disabled: true}, {repositories: "app", except_tags: "dev-*"}]
    vulnerability_allowlist: {items: [CVE-2026-3]}
`
	for _, c := range []struct{ document, wanted string }{
		{"projects: [", "yaml"},
		{"projects: {}", "cannot unmarshal"},
		{"prjects: []", "prjects"},
		{"labels: []\n---\nlabels: []", "one document"},
		{"settings: {sesion_timeout: 45}", "sesion_timeout"},
		{"settings: {session_timeout: often}", "session_timeout"},
		{"settings: {session_timeout: -1}", "session_timeout"},
		{"settings: {session_timeout: 50, skip_audit_log_database: true}", "skip_audit_log_database"},
		{"settings: {ldap_search_password: {env: NOT_SET}}", "NOT_SET is not set"},
		{"settings: {ldap_search_password: {file: x}}", "{env: NAME}"},
		{begin + "  - {name: Upper}", "project name"},
		{begin + "  - {quota: 1GiB}", "no name"},
		{begin + "  - {name: team}", "twice"},
		{begin + "  - {name: last, quota: much}", "no size"},
		{begin + "  - {name: last, public: perhaps}", "perhaps"},
		{begin + "  - {name: last, metadata: {auto_scna: \"true\"}}", "auto_scna"},
		{begin + "  - {name: last, metadata: {auto_scan: perhaps}}", "auto_scan"},
		{begin + "  - {name: last, members: [{user: nobody, role: guest}]}", "nobody"},
		{begin + "  - {name: last, members: [{user: clara, role: captain}]}", "captain"},
		{begin + "  - {name: last, members: [{user: clara, group: devs, role: guest}]}", "a user or a group"},
		{begin + "  - {name: last, members: [{group: strangers, role: guest}]}", "needs a kind"},
		{begin + "  - {name: last, members: [{group: strangers, kind: unix, role: guest}]}", "unix"},
		{begin + "  - {name: last, members: [{user: clara, role: guest}, {user: clara, role: developer}]}", "twice"},
		{begin + "  - {name: last, labels: [{name: \"\"}]}", "a label has a name"},
		{begin + "  - {name: last, labels: [{name: a}, {name: a}]}", "twice"},
		{begin + "  - {name: last, immutable_tags: [{tags: \"[\"}]}", "pattern"},
		{begin + "  - {name: last, vulnerability_allowlist: {items: [\"\"]}}", "names no vulnerability"},
	} {
		said := o.exits(2, c.document, "config", "import", "-", "--yes")
		require.Contains(t, said, c.wanted, c.document)
		require.NotContains(t, said, "taken back", c.document)
		require.Equal(t, whole, o.run("", "config", "export"), c.document)
	}
	require.Contains(t, o.exits(2, "", "config", "import", "absent.yaml"), "absent.yaml")
}

// TestCommands_completion has every shell read its script, and bash complete by it.
func TestCommands_completion(t *testing.T) {
	environ := []string{"HOME=" + t.TempDir()}
	scripts := map[string]string{}
	for shell, check := range map[string]string{"bash": "-n", "zsh": "-n", "fish": "--no-execute"} {
		script, err := harness.Run(t.Context(), environ, "", harness.Binary(t), "completion", shell)
		require.NoError(t, err)
		file := filepath.Join(t.TempDir(), "berth."+shell)
		require.NoError(t, os.WriteFile(file, []byte(script), 0o600))
		_, err = harness.Run(t.Context(), environ, "", harness.Tool(t, shell), check, file)
		require.NoError(t, err, shell)
		scripts[shell] = file
	}
	// The package bash-completion, which users have and tests need not, finds the words.
	const complete = `source "$1"
_get_comp_words_by_ref() { words=("${COMP_WORDS[@]}"); cword=$COMP_CWORD; cur=${words[cword]}; prev=${words[cword-1]}; }
__ltrim_colon_completions() { :; }
COMP_WORDS=("${@:2}") COMP_CWORD=$(($# - 2))
__start_berth
echo "${COMPREPLY[@]}"`
	for words, wanted := range map[string]string{
		"project": "create delete list set", "config i": "import", "project list --outp": "--output= --output", "project list --output": "table json",
	} {
		typed := strings.Fields(words)
		if !strings.ContainsAny(words, " ") || strings.HasSuffix(words, "--output") {
			typed = append(typed, "")
		}
		arguments := append([]string{"-c", complete, "bash", scripts["bash"], harness.Binary(t)}, typed...)
		said, err := harness.Run(t.Context(), environ, "", harness.Tool(t, "bash"), arguments...)
		require.NoError(t, err)
		require.Equal(t, wanted, strings.TrimSpace(said), words)
	}
}
