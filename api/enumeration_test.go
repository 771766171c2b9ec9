package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/api/apitest"
	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/identity/ldap/ldaptest"
	"github.com/berth-registry/berth/identity/local"
	"github.com/berth-registry/berth/identity/oidc/oidctest"
	"github.com/berth-registry/berth/setting"
)

// TestLogin_tellsNobodyWho refuses people of every kind, people who are none, and names that would say more than a name in a search of
// the directory, all in the same words, whichever way of logging in comes first.
func TestLogin_tellsNobodyWho(t *testing.T) {
	directory := ldaptest.Start(t)
	settings := directorySettings(directory)
	delete(settings, setting.AuthMode)
	server, provider := startOIDC(t, "sqlite", settings, clara)
	newBrowser(t, server).loginOIDC(t, provider, clara.Name)
	admin := server.Admin()
	admin.Must(t, http.StatusOK, http.MethodPut, fmt.Sprintf("/users/%d/cli_secret", user(t, server, clara.Name).ID), map[string]string{"secret": "Command-line1"})
	server.As("alice", ldaptest.Password("alice")).Must(t, http.StatusOK, http.MethodGet, "/users/current", nil)
	robot := addRobot(t, admin, robotBody("ci", "system", "/ user:list"))
	for _, name := range []string{"dora", "shut-out", "gone"} {
		addPerson(t, server, name)
	}
	yes := true
	require.NoError(t, server.Users.Update(t.Context(), event.Actor{}, user(t, server, "shut-out").ID, local.Edit{Disabled: &yes}))
	require.NoError(t, server.Users.Remove(t.Context(), event.Actor{}, user(t, server, "gone").ID))

	names := map[string]string{
		"dora": "Wrong-horse1", "shut-out": apitest.AdminPassword, "gone": apitest.AdminPassword, "nobody": "Wrong-horse1", // here
		"alice": "Wrong-horse1", "bob": "Wrong-horse1", // there
		clara.Name: oidctest.Password, robot.Name: "Wrong-horse1", "robot-ci": "Wrong-horse1",
	}
	for _, injected := range []string{"*", "ali*", "alice)(uid=*", "*)(objectClass=*", "alice\\2a", "(&(uid=alice))", "uid=alice,ou=people,dc=example,dc=org"} {
		names[injected] = ldaptest.Password("alice")
	}
	for mode, want := range map[string]int{"db_auth": http.StatusUnauthorized, "oidc_auth": http.StatusForbidden} {
		require.NoError(t, server.Settings.Update(t.Context(), event.Actor{}, map[*setting.Key]any{setting.AuthMode: mode}))
		said := ""
		for name, password := range names {
			answer := newBrowser(t, server).login(t, name, password)
			require.Equal(t, want, answer.Status, "%s in %s: %s", name, mode, answer.Body)
			require.Empty(t, answer.Header.Values("Set-Cookie"))
			if said == "" {
				said = answer.Body
			}
			require.Equal(t, said, answer.Body, "%s in %s", name, mode)
		}
		require.Equal(t, mode == "oidc_auth", strings.Contains(said, `"redirect_location":"`+server.URL+`/c/oidc/login"`), said)
	}
	for name, password := range names {
		require.Equal(t, http.StatusUnauthorized, server.As(name, password).Do(t, http.MethodGet, "/users/current", nil).Status, name)
	}
}

var (
	// identifier is the id of a row in a path, or in a body.
	identifier = regexp.MustCompile(`(/|=|%3D|_id":)\d+`)
	number     = regexp.MustCompile(`\d+`)
)

// elsewhere is the same request for what is not there.
func (r request) elsewhere(t *testing.T) request {
	t.Helper()
	gone := func(text string) string {
		return identifier.ReplaceAllString(strings.ReplaceAll(text, "hidden", "absent"), "${1}987654321")
	}
	other := request{r.route, gone(r.path), r.body}
	if named, ok := r.body.(map[string]any); ok {
		encoded, err := json.Marshal(named)
		require.NoError(t, err)
		other.body = gone(string(encoded))
	}
	return other
}

// TestWalk_whatIsHiddenIsAsIfItWereNot asks for each route of a private project, and for rows that others have, as people who may not
// see them, and for the same of what is not there.
func TestWalk_whatIsHiddenIsAsIfItWereNot(t *testing.T) {
	apitest.EachEngine(t, func(t *testing.T, server *apitest.Server) {
		w := &walker{Server: server, t: t}
		compared := 0
		for _, c := range w.callers() {
			if c.name != "nobody" && c.name != "stranger" && c.name != "foreigner" {
				continue
			}
			w.projects()
			for _, route := range server.API.Routes() {
				project := ""
				if slices.Contains(places(route), "hidden") {
					project = "hidden"
				}
				if c.may(t, route, project) {
					continue
				}
				there := w.request(route, project)
				gone := there.elsewhere(t)
				_, shown := w.send(c.client, there)
				_, other := w.send(c.client, gone)
				where := fmt.Sprintf("%s: %s %s and %s", c.name, route.Method, there.path, gone.path)
				require.Equal(t, shown.Status, other.Status, "%s: %s, %s", where, shown.Body, other.Body)
				plain := func(text string) string {
					return number.ReplaceAllString(strings.ReplaceAll(text, "absent", "hidden"), "1")
				}
				require.Equal(t, plain(shown.Body), plain(other.Body), where)
				compared++
			}
		}
		t.Logf("%d pairs", compared)
	})
}

// TestUserSearch_tellsNamesOnly has people find others, and nothing about them but their names.
func TestUserSearch_tellsNamesOnly(t *testing.T) {
	server := apitest.Start(t, "sqlite")
	_, err := server.Users.Create(t.Context(), event.Actor{}, local.NewUser{
		Name: "alice", Email: "alice@example.org", RealName: "Alice Example", Comment: "on leave", Password: apitest.AdminPassword,
	})
	require.NoError(t, err)
	addPerson(t, server, "eve")
	eve := server.As("eve", apitest.AdminPassword)
	search := func(query string) string {
		return eve.Must(t, http.StatusOK, http.MethodGet, "/users/search?"+query, nil).Body
	}
	require.JSONEq(t, fmt.Sprintf(`[{"user_id":%d,"username":"alice"}]`, user(t, server, "alice").ID), search("username=lic"))
	for _, query := range []string{
		"username=" + url.QueryEscape("%"), "username=_", "username=example.org", "username=" + url.QueryEscape("' OR 1=1 --"),
		"username=zzz&q=email=~alice", "username=zzz&q=realname=~Alice", "username=zzz&sort=password",
	} {
		require.Equal(t, "[]\n", search(query), query)
	}
	require.Equal(t, http.StatusUnauthorized, server.Anonymous().Do(t, http.MethodGet, "/users/search?username=a", nil).Status)
}
