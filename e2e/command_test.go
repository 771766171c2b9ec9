package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/e2e/harness"
)

// operator runs berth's commands on a machine that has no registry of its own: what it may do is what its login may.
type operator struct {
	*testing.T
	gateway *harness.Gateway
	home    string
	environ []string
}

func newOperator(t *testing.T, gateway *harness.Gateway, environ ...string) *operator {
	t.Helper()
	home := t.TempDir()
	return &operator{T: t, gateway: gateway, home: home, environ: append([]string{"HOME=" + home, "XDG_CONFIG_HOME="}, environ...)}
}

// run runs a command that has to succeed and returns what it printed.
func (o *operator) run(stdin string, words ...string) string {
	o.Helper()
	said, err := harness.Run(o.Context(), o.environ, stdin, harness.Binary(o.T), words...)
	require.NoError(o, err)
	return said
}

// exits runs a command that has to end with a status, and returns all that it said.
func (o *operator) exits(status int, stdin string, words ...string) string {
	o.Helper()
	_, err := harness.Run(o.Context(), o.environ, stdin, harness.Binary(o.T), words...)
	var ended *exec.ExitError
	require.ErrorAs(o, err, &ended, "%v", words)
	require.Equal(o, status, ended.ExitCode(), "%v", err)
	return err.Error()
}

// logIn logs in over TLS with the gateway's authority.
func (o *operator) logIn(user, password string) {
	o.Helper()
	said := o.run(password+"\n", "login", o.gateway.Host(), "--username", user, "--ca", o.gateway.CA())
	require.Equal(o, fmt.Sprintf("Logged in to %s as %s.\n", o.gateway.URL(), user), said)
}

// logins is the file of logins.
func (o *operator) logins() string { return filepath.Join(o.home, ".config", "berth", "logins.json") }

// TestCommands_login logs in to a server, works without flags, and out again.
func TestCommands_login(t *testing.T) {
	gateway := harness.Start(t, harness.Directory(t))
	gateway.AddUser("clara", callerPassword)
	o := newOperator(t, gateway)
	host := gateway.Host()

	require.Contains(t, o.exits(2, "", "project", "list"), `log in with "berth login"`)
	require.Contains(t, o.exits(4, "Wrong-horse1\n", "login", host, "-u", "clara", "--ca", gateway.CA()), "wrong user name or password")
	require.Contains(t, o.exits(6, callerPassword+"\n", "login", host, "-u", "clara"), "x509", "an authority that nobody named")
	require.Contains(t, o.exits(1, callerPassword+"\n", "login", host, "-u", "clara", "--ca", "absent.pem"), "absent.pem")
	require.Contains(t, o.exits(2, "", "login", host, "-u", "clara", "--ca", gateway.CA()), "no password")
	require.Contains(t, o.exits(2, "", "login", "ftp://"+host), "no address of a registry")
	require.NoFileExists(t, o.logins(), "who is refused leaves nothing")

	o.logIn("clara", callerPassword)
	status, err := os.Stat(o.logins())
	require.NoError(t, err)
	require.EqualValues(t, 0o600, status.Mode().Perm())
	status, err = os.Stat(filepath.Dir(o.logins()))
	require.NoError(t, err)
	require.EqualValues(t, 0o700, status.Mode().Perm())
	content, err := os.ReadFile(o.logins())
	require.NoError(t, err)
	require.NotContains(t, string(content), callerPassword)
	var kept struct {
		Servers map[string]struct{ Username, Secret string }
	}
	require.NoError(t, json.Unmarshal(content, &kept))
	login := kept.Servers[gateway.URL()]
	require.Equal(t, "clara", login.Username)
	api(t, gateway.As("clara", login.Secret), http.MethodGet, "/api/v2.0/users/current", "", http.StatusOK)

	require.Regexp(t, `(?m)^NAME +VISIBILITY +REPOSITORIES +OWNER +CREATED\nlibrary +public `, o.run("", "project", "list"))
	var tokens []struct{ Name, Secret string }
	require.NoError(t, json.Unmarshal([]byte(o.run("", "token", "list", "--output", "json")), &tokens))
	require.Len(t, tokens, 1)
	require.Contains(t, tokens[0].Name, "berth login on ")
	require.Empty(t, tokens[0].Secret)

	// A second login takes the place of the first, whose token is void.
	o.logIn("admin", harness.AdminPassword)
	require.Contains(t, o.run("", "user", "list"), "clara")
	api(t, gateway.As("clara", login.Secret), http.MethodGet, "/api/v2.0/users/current", "", http.StatusUnauthorized)
	require.Equal(t, fmt.Sprintf("Logged out of %s.\n", gateway.URL()), o.run("", "logout"))
	o.logIn("clara", callerPassword)
	content, err = os.ReadFile(o.logins())
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(content, &kept))
	secret := kept.Servers[gateway.URL()].Secret
	o.run("", "logout", host)
	api(t, gateway.As("clara", secret), http.MethodGet, "/api/v2.0/users/current", "", http.StatusUnauthorized)
	content, err = os.ReadFile(o.logins())
	require.NoError(t, err)
	require.NotContains(t, string(content), secret)
	o.exits(2, "", "project", "list")
	require.Contains(t, o.exits(2, "", "logout"), "not logged in")
	require.NotContains(t, gateway.Process().Log(), callerPassword)
}

// TestCommands_scripts has what scripts build on: variables instead of a login, JSON, and the status that a command ends with.
func TestCommands_scripts(t *testing.T) {
	gateway := harness.Start(t, harness.Directory(t))
	gateway.AddUser("clara", callerPassword)
	admin := newOperator(t, gateway, "SSL_CERT_FILE="+gateway.CA(), "BERTH_SERVER="+gateway.URL(), "BERTH_USERNAME=admin", "BERTH_PASSWORD="+harness.AdminPassword)
	clara := newOperator(t, gateway, "SSL_CERT_FILE="+gateway.CA(), "BERTH_SERVER="+gateway.URL(), "BERTH_USERNAME=clara", "BERTH_PASSWORD="+callerPassword)

	require.Equal(t, "Created project team, private.\n", admin.run("", "project", "create", "team", "--quota", "20GiB"))
	require.Equal(t, "clara is developer in project team now.\n", admin.run("", "member", "add", "team", "clara", "developer"))
	require.Regexp(t, `(?m)^PROJECT +USED +LIMIT\nteam +0 B +20 GiB$`, admin.run("", "quota", "show", "team"))
	require.NoError(t, gateway.As("clara", callerPassword).Push(t.Context(), "team/app", "v1", harness.NewImage(1, 1000)))
	for _, c := range []struct{ words, wanted string }{
		{"project list", `"name": "team"`},
		{"member list team", `"role_name": "developer"`},
		{"user list", `"username": "clara"`},
		{"quota list", `"storage": 21474836480`},
		{"robot create ci --project team --days 1", `"secret": "`},
		{"robot list --project team", `"name": "robot$team+ci"`},
		{"token create script", `"secret": "`},
		{"token list", `"name": "script"`},
		{"artifact repositories team", `"name": "team/app"`},
		{"artifact list team/app", `"digest": "sha256:`},
		{"audit list --limit 5", `"operation"`},
		{"config get session_timeout", `60`},
	} {
		said := admin.run("", append(strings.Fields(c.words), "-o", "json")...)
		require.True(t, json.Valid([]byte(said)), "%s: %s", c.words, said)
		require.Contains(t, said, c.wanted, c.words)
	}

	for _, c := range []struct {
		who    *operator
		status int
		words  string
	}{
		{admin, 2, "project create"},
		{admin, 2, "project create Team"},
		{admin, 2, "project create a b"},
		{admin, 2, "project frobnicate"},
		{admin, 2, "project list --frobnicate"},
		{admin, 2, "project list -o xml"},
		{admin, 2, "project set team"},
		{admin, 2, "project set team --public --private"},
		{admin, 2, "audit purge"},
		{admin, 2, "robot set robot$team+ci"},
		{admin, 2, "member add team clara captain"},
		{admin, 2, "quota set team much"},
		{admin, 2, "config set session_timeout often"},
		{admin, 2, "project list --config absent --server " + gateway.URL()},
		{admin, 3, "project delete none"},
		{admin, 3, "member list none"},
		{admin, 3, "artifact show team/app:v2"},
		{admin, 3, "config get none"},
		{admin, 3, "token revoke none"},
		{clara, 4, "user list"},
		{clara, 4, "config get"},
		{clara, 4, "project delete team"},
		{newOperator(t, gateway, "SSL_CERT_FILE="+gateway.CA(), "BERTH_SERVER="+gateway.URL(), "BERTH_USERNAME=clara", "BERTH_PASSWORD=Wrong-horse1"), 4, "token list"},
		{newOperator(t, gateway, "SSL_CERT_FILE="+gateway.CA(), "BERTH_SERVER="+gateway.URL()), 4, "token list"},
		{admin, 5, "project create team"},
		{admin, 5, "project delete team"},
		{admin, 6, "project list --server https://localhost:1"},
		{newOperator(t, gateway, "BERTH_SERVER="+gateway.URL(), "BERTH_USERNAME=clara", "BERTH_PASSWORD="+callerPassword), 6, "token list"},
	} {
		said := c.who.exits(c.status, "", strings.Fields(c.words)...)
		require.Equal(t, 1, strings.Count(said, "Error: "), said)
		require.NotContains(t, said, `"level"`, "people read it, not a collector of logs")
		require.NotContains(t, said, callerPassword, c.words)
	}
}

// TestCommands_webhook adds a webhook for all projects, tries it, and has it told of a push.
func TestCommands_webhook(t *testing.T) {
	calls := make(chan http.Header, 9)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls <- r.Header
		_, _ = w.Write([]byte("thanks"))
	}))
	defer receiver.Close()
	gateway := harness.Start(t, harness.Directory(t))
	o := newOperator(t, gateway)
	o.logIn("admin", harness.AdminPassword)
	require.Equal(t, "Added the webhook ci.\n", o.run("very secret\n", "webhook", "add", "ci", receiver.URL, "--event", "PUSH_ARTIFACT", "--with-secret"))
	require.Contains(t, o.run("", "webhook", "list"), receiver.URL)
	require.NotContains(t, o.run("", "webhook", "list", "--output", "json"), "very secret")
	require.Contains(t, o.run("", "webhook", "test", "ci"), "thanks")
	require.NotEmpty(t, (<-calls).Get("X-Berth-Signature"))
	require.NoError(t, gateway.Admin().Push(t.Context(), "library/told", "v1", harness.NewImage(1)))
	require.Equal(t, "PUSH_ARTIFACT", (<-calls).Get("X-Berth-Event"))
	require.Eventually(t, func() bool { return strings.Contains(o.run("", "webhook", "deliveries", "ci"), "Success") }, time.Minute, 100*time.Millisecond)
	var deliveries []struct{ ID int64 }
	require.NoError(t, json.Unmarshal([]byte(o.run("", "webhook", "deliveries", "ci", "--output", "json")), &deliveries))
	require.Len(t, deliveries, 1)
	delivery := strconv.FormatInt(deliveries[0].ID, 10)
	require.Contains(t, o.run("", "webhook", "log", "ci", delivery), "answered 200")
	require.Contains(t, o.run("", "webhook", "redeliver", "ci", delivery), "Delivers again as delivery ")
	require.Equal(t, "PUSH_ARTIFACT", (<-calls).Get("X-Berth-Event"))
	o.exits(3, "", "webhook", "redeliver", "ci", "4711")
	o.run("", "webhook", "add", "nobody", "http://127.0.0.1:1/")
	require.Contains(t, o.exits(1, "", "webhook", "test", "nobody"), "the test has not arrived")
	o.exits(3, "", "webhook", "delete", "other")
	o.exits(2, "", "webhook", "add", "bad", "ftp://example.com")
	o.run("", "webhook", "delete", "ci")
	require.NotContains(t, o.run("", "webhook", "list"), "ci")
}
