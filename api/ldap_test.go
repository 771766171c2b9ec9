package api_test

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/api/apitest"
	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/identity/ldap/ldaptest"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/setting"
)

func TestUserGroups(t *testing.T) {
	apitest.EachEngine(t, func(t *testing.T, server *apitest.Server) {
		admin := server.Admin()
		create := func(name string, kind int, dn string) apitest.Answer {
			return admin.Do(t, http.MethodPost, "/usergroups", map[string]any{"group_name": name, "group_type": kind, "ldap_group_dn": dn})
		}
		made := create("devs", 1, "cn=Devs,dc=example,dc=org")
		require.Equal(t, http.StatusCreated, made.Status, made.Body)
		path := strings.TrimPrefix(made.Header.Get("Location"), "/api/v2.0")
		require.Regexp(t, `^/usergroups/\d+$`, path)
		require.JSONEq(t, `{"id":1,"group_name":"devs","group_type":1,"ldap_group_dn":"cn=Devs,dc=example,dc=org"}`,
			strings.ReplaceAll(admin.Must(t, http.StatusOK, http.MethodGet, path, nil).Body, `"id":`+path[len("/usergroups/"):], `"id":1`))
		require.Equal(t, http.StatusCreated, create("", 1, "cn=Testers,dc=example,dc=org").Status, "the name is that in the distinguished name")
		require.Equal(t, http.StatusCreated, create("devs", 3, "").Status)
		require.Equal(t, http.StatusCreated, create("proxied", 2, "").Status)
		for _, taken := range [][2]string{{"devs", "cn=other,dc=example,dc=org"}, {"others", "CN=devs, DC=example,dc=org"}} {
			requireRefusal(t, create(taken[0], 1, taken[1]), http.StatusConflict, "CONFLICT")
		}
		for _, wrong := range []struct {
			name string
			kind int
			dn   string
		}{{"x", 1, ""}, {"x", 1, "nonsense"}, {"x", 0, ""}, {"x", 4, ""}, {"", 3, ""}, {"x", 3, "cn=x"}, {strings.Repeat("x", 256), 2, ""}, {"a\x00b", 3, ""}} {
			requireRefusal(t, create(wrong.name, wrong.kind, wrong.dn), http.StatusBadRequest, "BAD_REQUEST")
		}

		groups := func(client *apitest.Client, path string) (names []string) {
			var list []struct {
				Name string `json:"group_name"`
			}
			client.Must(t, http.StatusOK, http.MethodGet, path, nil).JSON(t, &list)
			for _, g := range list {
				names = append(names, g.Name)
			}
			return names
		}
		require.Equal(t, []string{"Testers", "devs", "devs", "proxied"}, groups(admin, "/usergroups"))
		require.Equal(t, []string{"Testers"}, groups(admin, "/usergroups?group_name=test"))
		require.Equal(t, []string{"devs"}, groups(admin, "/usergroups?ldap_group_dn="+url.QueryEscape("cn=Devs,dc=example,dc=org")))
		addUser(t, server, "alice")
		alice := server.As("alice", apitest.AdminPassword)
		require.Equal(t, []string{"devs", "devs"}, groups(alice, "/usergroups/search?groupname=DEV"))
		for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete} {
			requireRefusal(t, alice.Do(t, method, path, "{}"), http.StatusForbidden, "FORBIDDEN")
			requireRefusal(t, server.Anonymous().Do(t, method, path, "{}"), http.StatusUnauthorized, "UNAUTHORIZED")
		}
		requireRefusal(t, alice.Do(t, http.MethodGet, "/usergroups", nil), http.StatusForbidden, "FORBIDDEN")

		admin.Must(t, http.StatusOK, http.MethodPut, path, map[string]any{"group_name": "engineers"})
		requireRefusal(t, admin.Do(t, http.MethodPut, path, map[string]any{"group_name": "Testers"}), http.StatusConflict, "CONFLICT")
		requireRefusal(t, admin.Do(t, http.MethodPut, path, map[string]any{"group_name": " "}), http.StatusBadRequest, "BAD_REQUEST")
		admin.Must(t, http.StatusOK, http.MethodDelete, path, nil)
		for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete} {
			requireRefusal(t, admin.Do(t, method, path, map[string]any{"group_name": "x"}), http.StatusNotFound, "NOT_FOUND")
		}
		events, err := server.Store.Events(t.Context(), metadata.EventCursor{}, -1)
		require.NoError(t, err)
		last := events[len(events)-1]
		require.Equal(t, event.GroupDeleted, last.Kind)
		require.Equal(t, "engineers", last.Subject)
	})
}

// directorySettings ask the directory of the tests.
func directorySettings(server *ldaptest.Server) map[*setting.Key]any {
	return map[*setting.Key]any{
		setting.AuthMode: "ldap_auth", setting.LDAPURL: server.URL, setting.LDAPBaseDN: ldaptest.BaseDN, setting.LDAPUID: "uid", setting.LDAPTimeout: 2.0,
		setting.LDAPSearchDN: ldaptest.ReaderDN, setting.LDAPSearchPassword: ldaptest.ReaderPassword,
		setting.LDAPGroupBaseDN: ldaptest.GroupBaseDN, setting.LDAPGroupAdminDN: ldaptest.AdminDN,
	}
}

func TestLDAP(t *testing.T) {
	directory := ldaptest.Start(t)
	apitest.EachEngine(t, func(t *testing.T, server *apitest.Server) {
		admin := server.Admin()
		alice, root := server.As("alice", ldaptest.Password("alice")), server.As("root", ldaptest.Password("root"))
		requireRefusal(t, alice.Do(t, http.MethodGet, "/users/current", nil), http.StatusUnauthorized, "UNAUTHORIZED")
		require.Contains(t, admin.Must(t, http.StatusOK, http.MethodPost, "/ldap/ping", nil).Body, `"success":false`)
		requireRefusal(t, admin.Do(t, http.MethodGet, "/ldap/users/search", nil), http.StatusBadRequest, "BAD_REQUEST")

		set(t, server, directorySettings(directory))
		require.JSONEq(t, `{"success":true,"message":""}`, admin.Must(t, http.StatusOK, http.MethodPost, "/ldap/ping", nil).Body)
		said := alice.Must(t, http.StatusOK, http.MethodGet, "/users/current", nil).Body
		for _, part := range []string{`"username":"alice"`, `"source":"ldap"`, `"email":"alice@example.org"`, `"admin_role_in_auth":false`} {
			require.Contains(t, said, part)
		}
		require.Contains(t, root.Must(t, http.StatusOK, http.MethodGet, "/users/current", nil).Body, `"admin_role_in_auth":true`)
		root.Must(t, http.StatusOK, http.MethodGet, "/users", nil)

		found := admin.Must(t, http.StatusOK, http.MethodGet, "/ldap/users/search?username=bo", nil)
		require.JSONEq(t, `[{"username":"bob","realname":"Bob (the builder) *","email":"bob@example.org"}]`, found.Body)
		require.Equal(t, "[]\n", admin.Must(t, http.StatusOK, http.MethodGet, "/ldap/users/search?username=*", nil).Body)
		groups := admin.Must(t, http.StatusOK, http.MethodGet, "/ldap/groups/search?groupname=developers", nil)
		require.Contains(t, groups.Body, `"ldap_group_dn":"cn=Developers,ou=groups,dc=example,dc=org"`)

		admin.Must(t, http.StatusOK, http.MethodPost, "/ldap/users/import", map[string]any{"ldap_uid_list": []string{"bob"}})
		failed := admin.Must(t, http.StatusNotFound, http.MethodPost, "/ldap/users/import", map[string]any{"ldap_uid_list": []string{"bob", "nobody", "b*"}})
		require.Contains(t, failed.Body, `{"uid":"nobody","error":"`)
		require.NotContains(t, failed.Body, `"uid":"bob"`)
		requireRefusal(t, admin.Do(t, http.MethodPost, "/ldap/users/import", map[string]any{}), http.StatusBadRequest, "BAD_REQUEST")

		path := "/users/" + strings.Split(strings.Split(said, `"user_id":`)[1], ",")[0]
		requireRefusal(t, alice.Do(t, http.MethodPut, path+"/password", map[string]string{"old_password": ldaptest.Password("alice"), "new_password": "Correct-horse2"}), http.StatusForbidden, "FORBIDDEN")
		requireRefusal(t, alice.Do(t, http.MethodPut, path, map[string]string{"email": "other@example.org"}), http.StatusForbidden, "FORBIDDEN")
		alice.Must(t, http.StatusOK, http.MethodPut, path, map[string]string{"email": "alice@example.org", "comment": "hello"})

		for _, path := range []string{"/ldap/users/search", "/ldap/groups/search"} {
			requireRefusal(t, alice.Do(t, http.MethodGet, path, nil), http.StatusForbidden, "FORBIDDEN")
			requireRefusal(t, server.Anonymous().Do(t, http.MethodGet, path, nil), http.StatusUnauthorized, "UNAUTHORIZED")
		}
		for _, path := range []string{"/ldap/ping", "/ldap/users/import"} {
			requireRefusal(t, alice.Do(t, http.MethodPost, path, nil), http.StatusForbidden, "FORBIDDEN")
			requireRefusal(t, server.Anonymous().Do(t, http.MethodPost, path, nil), http.StatusUnauthorized, "UNAUTHORIZED")
		}
	})
}

func TestLDAP_groupIsMember(t *testing.T) {
	directory := ldaptest.Start(t)
	server := apitest.Start(t, "sqlite")
	set(t, server, directorySettings(directory))
	admin, alice, carol := server.Admin(), server.As("alice", ldaptest.Password("alice")), server.As("carol", ldaptest.Password("carol"))
	admin.Must(t, http.StatusCreated, http.MethodPost, "/usergroups", map[string]any{
		"group_name": "devs", "group_type": 1, "ldap_group_dn": "CN=developers,OU=groups,DC=example,DC=org",
	})
	server.Write(t, func(ctx context.Context, tx *metadata.Tx) error {
		project, err := tx.CreateProject(ctx, metadata.Project{Name: "engines"})
		if err != nil {
			return err
		}
		_, err = tx.SetMember(ctx, metadata.Member{ProjectID: project.ID, GroupID: 1, RoleID: 2})
		return err
	})
	requireRefusal(t, carol.Do(t, http.MethodGet, "/projects/engines", nil), http.StatusForbidden, "FORBIDDEN")
	alice.Must(t, http.StatusOK, http.MethodGet, "/projects/engines", nil)
	admin.Must(t, http.StatusOK, http.MethodDelete, "/usergroups/1", nil)
	requireRefusal(t, alice.Do(t, http.MethodGet, "/projects/engines", nil), http.StatusForbidden, "FORBIDDEN")
}

func TestLDAP_pingWithPostedConfiguration(t *testing.T) {
	directory := ldaptest.Start(t)
	server := apitest.Start(t, "sqlite")
	admin := server.Admin()
	ping := func(changes map[string]any) string {
		body := map[string]any{
			"ldap_url": directory.URL, "ldap_base_dn": ldaptest.BaseDN, "ldap_uid": "uid", "ldap_scope": 2, "ldap_search_dn": ldaptest.ReaderDN,
			"ldap_search_password": ldaptest.ReaderPassword, "ldap_connection_timeout": 2, "ldap_verify_cert": true,
		}
		maps.Copy(body, changes)
		answer := admin.Must(t, http.StatusOK, http.MethodPost, "/ldap/ping", body).Body
		require.NotContains(t, answer, ldaptest.ReaderPassword)
		require.NotContains(t, answer, "Secret-search1")
		return answer
	}
	require.Contains(t, ping(nil), `"success":true`)
	for part, changes := range map[string]map[string]any{
		"ldap_search_password":   {"ldap_search_password": "Secret-search1"},
		"refuses ldap_search_dn": {"ldap_search_dn": "cn=nobody,dc=example,dc=org"},
		"ou=nowhere":             {"ldap_base_dn": "ou=nowhere,dc=example,dc=org"},
		"connect":                {"ldap_url": "ldap://127.0.0.1:1"},
		"certificate":            {"ldap_url": directory.TLSURL},
		"is not a filter":        {"ldap_filter": "(("},
		"distinguished name":     {"ldap_base_dn": "nonsense"},
		"empty":                  {"ldap_url": ""},
		"ldaps://":               {"ldap_url": "http://127.0.0.1"},
	} {
		answer := ping(changes)
		require.Contains(t, answer, `"success":false`)
		require.Contains(t, answer, part)
	}
	require.Contains(t, ping(map[string]any{"ldap_url": directory.TLSURL, "ldap_verify_cert": false}), `"success":true`)

	// The configured password goes where it is configured to go, and nowhere else.
	set(t, server, directorySettings(directory))
	require.Contains(t, ping(map[string]any{"ldap_search_password": ""}), `"success":true`)
	require.Contains(t, ping(map[string]any{"ldap_search_password": "", "ldap_url": directory.TLSURL, "ldap_verify_cert": false}), `"success":false`)
}

func TestLDAP_down(t *testing.T) {
	directory := ldaptest.Start(t)
	server := apitest.Start(t, "sqlite")
	set(t, server, directorySettings(directory))
	addUser(t, server, "dora")
	alice := server.As("alice", ldaptest.Password("alice"))
	alice.Must(t, http.StatusOK, http.MethodGet, "/users/current", nil)
	token := server.As("alice", addToken(t, alice, "laptop", nil, "read").Secret)
	account := addRobot(t, server.Admin(), robotBody("ci", "system", "/ user:list"))
	browser := newBrowser(t, server)
	require.Equal(t, http.StatusOK, browser.login(t, "alice", ldaptest.Password("alice")).Status)
	directory.Stop()
	alice.Must(t, http.StatusOK, http.MethodGet, "/users/current", nil)
	token.Must(t, http.StatusOK, http.MethodGet, "/users/current", nil)
	server.As(account.Name, account.Secret).Must(t, http.StatusOK, http.MethodGet, "/users", nil)
	require.Equal(t, http.StatusOK, browser.do(t, http.MethodGet, "/api/v2.0/users/current", nil).Status)
	server.Admin().Must(t, http.StatusOK, http.MethodGet, "/users/current", nil)
	server.As("dora", apitest.AdminPassword).Must(t, http.StatusOK, http.MethodGet, "/users/current", nil)
	refused := server.As("bob", ldaptest.Password("bob")).Do(t, http.MethodGet, "/users/current", nil)
	requireRefusal(t, refused, http.StatusServiceUnavailable, "SERVICE_UNAVAILABLE")
	require.Contains(t, refused.Body, "directory (LDAP) does not answer")
	require.NotEmpty(t, refused.Header.Get("Retry-After"))
	requireRefusal(t, server.Admin().Do(t, http.MethodGet, "/ldap/users/search", nil), http.StatusServiceUnavailable, "SERVICE_UNAVAILABLE")
	directory.Restart(t)
	server.As("bob", ldaptest.Password("bob")).Must(t, http.StatusOK, http.MethodGet, "/users/current", nil)
}

// TestLogin_allWaysAtOnce has people of the registry, of a directory and of a provider, and robots, come in by the same door, whichever
// way is said to be the first.
func TestLogin_allWaysAtOnce(t *testing.T) {
	directory := ldaptest.Start(t)
	server, provider := startOIDC(t, "sqlite", directorySettings(directory), clara)
	addUser(t, server, "dora")
	account := addRobot(t, server.Admin(), robotBody("ci", "system", "/ user:list"))
	for _, mode := range []string{"db_auth", "ldap_auth", "oidc_auth"} {
		set(t, server, map[*setting.Key]any{setting.AuthMode: mode})
		require.Contains(t, server.Anonymous().Must(t, http.StatusOK, http.MethodGet, "/systeminfo", nil).Body, `"auth_mode":"`+mode+`"`)
		for name, password := range map[string]string{"admin": apitest.AdminPassword, "dora": apitest.AdminPassword, "alice": ldaptest.Password("alice")} {
			server.As(name, password).Must(t, http.StatusOK, http.MethodGet, "/users/current", nil)
			require.Equal(t, http.StatusOK, newBrowser(t, server).login(t, name, password).Status, "%s in %s", name, mode)
		}
		server.As(account.Name, account.Secret).Must(t, http.StatusOK, http.MethodGet, "/users", nil)
		require.Equal(t, http.StatusFound, newBrowser(t, server).loginOIDC(t, provider, clara.Name).Status, mode)
	}
}
