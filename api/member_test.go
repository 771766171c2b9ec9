package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/api/apitest"
)

func TestMembers(t *testing.T) {
	apitest.EachEngine(t, func(t *testing.T, server *apitest.Server) {
		addUsers(t, server, "alice", "bob", "eve")
		admin, alice, bob, eve := server.Admin(), server.As("alice", apitest.AdminPassword), server.As("bob", apitest.AdminPassword), server.As("eve", apitest.AdminPassword)
		alice.Must(t, 201, http.MethodPost, "/projects", object{"project_name": "team"})
		const all = "/projects/team/members"
		requireRefusal(t, bob.Do(t, http.MethodGet, all, nil), 403, "FORBIDDEN")

		made := alice.Must(t, 201, http.MethodPost, all, object{"role_id": 2, "member_user": object{"username": "bob"}})
		location := strings.TrimPrefix(made.Header.Get("Location"), "/api/v2.0")
		require.True(t, strings.HasPrefix(location, all+"/"), location)
		requireRefusal(t, alice.Do(t, http.MethodPost, all, object{"role_id": 3, "member_user": object{"username": "bob"}}), 409, "CONFLICT")
		bob.Must(t, 200, http.MethodGet, all, nil) // at once
		requireRefusal(t, bob.Do(t, http.MethodPost, all, object{"role_id": 1, "member_user": object{"username": "eve"}}), 403, "FORBIDDEN")

		ldap := object{"group_name": "devs", "group_type": 1, "ldap_group_dn": "cn=devs,dc=example,dc=com"}
		group := alice.Must(t, 201, http.MethodPost, all, object{"role_id": 4, "member_group": ldap}).Header.Get("Location")
		requireRefusal(t, alice.Do(t, http.MethodPost, all, object{"role_id": 4, "member_group": object{"ldap_group_dn": "CN=devs, dc=example,dc=com"}}), 409, "CONFLICT")
		alice.Must(t, 201, http.MethodPost, all, object{"role_id": 5, "member_group": object{"group_name": "ops", "group_type": 3}})

		var listed []struct {
			ID   int64
			Type string `json:"entity_type"`
			Name string `json:"entity_name"`
			Role string `json:"role_name"`
		}
		answer := alice.Must(t, 200, http.MethodGet, all, nil)
		answer.JSON(t, &listed)
		require.Equal(t, "4", answer.Header.Get("X-Total-Count"))
		described := []string{}
		for _, m := range listed {
			described = append(described, m.Type+" "+m.Name+" "+m.Role)
		}
		require.Equal(t, []string{"u alice projectAdmin", "u bob developer", "g devs maintainer", "g ops limitedGuest"}, described)
		alice.Must(t, 200, http.MethodGet, all+"?entityname=O&page_size=1&page=2", nil).JSON(t, &listed)
		require.Len(t, listed, 1)
		require.Equal(t, "ops", listed[0].Name)

		alice.Must(t, 200, http.MethodPut, location, object{"role_id": 3})
		require.Contains(t, bob.Must(t, 200, http.MethodGet, location, nil).Body, `"role_name":"guest"`)
		for _, role := range []int{0, 6, -1} {
			requireRefusal(t, alice.Do(t, http.MethodPut, location, object{"role_id": role}), 400, "BAD_REQUEST")
			requireRefusal(t, alice.Do(t, http.MethodPost, all, object{"role_id": role, "member_user": object{"username": "eve"}}), 400, "BAD_REQUEST")
		}
		for _, body := range []any{
			"",
			object{"role_id": 1},
			object{"role_id": 1, "member_user": object{"username": "nobody"}},
			object{"role_id": 1, "member_user": object{"user_id": 4711}},
			object{"role_id": 1, "member_user": object{"username": "a\x00"}},
			object{"role_id": 1, "member_group": object{"id": 4711}},
			object{"role_id": 1, "member_group": object{"group_name": "x"}},
			object{"role_id": 1, "member_group": object{"group_name": "x\x00", "group_type": 3}},
		} {
			requireRefusal(t, alice.Do(t, http.MethodPost, all, body), 400, "BAD_REQUEST")
		}

		// A member of another project is none here.
		eve.Must(t, 201, http.MethodPost, "/projects", object{"project_name": "other"})
		foreign := strings.Replace(location, "team", "other", 1)
		for _, method := range []string{http.MethodGet, http.MethodDelete} {
			requireRefusal(t, eve.Do(t, method, foreign, nil), 404, "NOT_FOUND")
		}
		requireRefusal(t, eve.Do(t, http.MethodPut, foreign, object{"role_id": 1}), 404, "NOT_FOUND")

		alice.Must(t, 200, http.MethodDelete, location, nil)
		requireRefusal(t, bob.Do(t, http.MethodGet, all, nil), 403, "FORBIDDEN")
		requireRefusal(t, alice.Do(t, http.MethodDelete, location, nil), 404, "NOT_FOUND")
		alice.Must(t, 200, http.MethodDelete, strings.TrimPrefix(group, "/api/v2.0"), nil)
		requireRefusal(t, admin.Do(t, http.MethodGet, all+"/x", nil), 422, "UNPROCESSABLE_ENTITY")
	})
}

func TestLabels(t *testing.T) {
	apitest.EachEngine(t, func(t *testing.T, server *apitest.Server) {
		addUsers(t, server, "alice", "eve")
		admin, alice, eve := server.Admin(), server.As("alice", apitest.AdminPassword), server.As("eve", apitest.AdminPassword)
		alice.Must(t, 201, http.MethodPost, "/projects", object{"project_name": "team"})
		team := getProject(t, alice, "team").ID
		of := func(path string) string { return strings.TrimPrefix(path, "/api/v2.0") }

		global := of(admin.Must(t, 201, http.MethodPost, "/labels", object{"name": "good", "scope": "g", "color": "#0f0"}).Header.Get("Location"))
		own := of(alice.Must(t, 201, http.MethodPost, "/labels", object{"name": "good", "scope": "p", "project_id": team, "description": "a\nb"}).Header.Get("Location"))
		requireRefusal(t, admin.Do(t, http.MethodPost, "/labels", object{"name": "good", "scope": "g"}), 409, "CONFLICT")
		requireRefusal(t, alice.Do(t, http.MethodPost, "/labels", object{"name": "good", "scope": "p", "project_id": team}), 409, "CONFLICT")
		requireRefusal(t, alice.Do(t, http.MethodPost, "/labels", object{"name": "x", "scope": "g"}), 403, "FORBIDDEN")
		requireRefusal(t, eve.Do(t, http.MethodPost, "/labels", object{"name": "x", "scope": "p", "project_id": team}), 403, "FORBIDDEN")
		requireRefusal(t, eve.Do(t, http.MethodPost, "/labels", object{"name": "x", "scope": "p", "project_id": 4711}), 403, "FORBIDDEN")
		requireRefusal(t, server.Anonymous().Do(t, http.MethodPost, "/labels", object{"name": "x", "scope": "g"}), 401, "UNAUTHORIZED")
		for _, bad := range []any{
			"",
			object{"scope": "g"},
			object{"name": "x"},
			object{"name": "x", "scope": "q"},
			object{"name": "x", "scope": "p"},
			object{"name": "x\x00", "scope": "g"},
			object{"name": strings.Repeat("x", 129), "scope": "g"},
			object{"name": "x", "scope": "g", "description": "\x00"},
		} {
			requireRefusal(t, admin.Do(t, http.MethodPost, "/labels", bad), 400, "BAD_REQUEST")
		}

		list := func(client *apitest.Client, query string) []string {
			return names(t, client.Do(t, http.MethodGet, "/labels?"+query, nil))
		}
		require.Equal(t, []string{"good"}, list(eve, "scope=g&name=GO"))
		require.Empty(t, list(eve, "scope=g&name=bad"))
		require.Equal(t, []string{"good"}, list(alice, fmt.Sprintf("scope=p&project_id=%d", team)))
		requireRefusal(t, eve.Do(t, http.MethodGet, fmt.Sprintf("/labels?scope=p&project_id=%d", team), nil), 403, "FORBIDDEN")
		requireRefusal(t, server.Anonymous().Do(t, http.MethodGet, "/labels?scope=g", nil), 401, "UNAUTHORIZED")
		require.Empty(t, list(server.Anonymous(), "scope=p&project_id=1"), "of a public project")
		requireRefusal(t, eve.Do(t, http.MethodGet, "/labels?scope=x", nil), 400, "BAD_REQUEST")
		requireRefusal(t, eve.Do(t, http.MethodGet, "/labels?scope=p", nil), 400, "BAD_REQUEST")

		require.Contains(t, eve.Must(t, 200, http.MethodGet, global, nil).Body, `"scope":"g"`)
		require.Contains(t, alice.Must(t, 200, http.MethodGet, own, nil).Body, `"scope":"p"`)
		for _, method := range []string{http.MethodGet, http.MethodDelete} { // what they may not see does not exist for them
			foreign, missing := eve.Do(t, method, own, nil), eve.Do(t, method, "/labels/4711", nil)
			requireRefusal(t, foreign, 404, "NOT_FOUND")
			requireRefusal(t, missing, 404, "NOT_FOUND")
			requireRefusal(t, server.Anonymous().Do(t, method, own, nil), 401, "UNAUTHORIZED")
			requireRefusal(t, server.Anonymous().Do(t, method, "/labels/4711", nil), 401, "UNAUTHORIZED")
		}
		requireRefusal(t, eve.Do(t, http.MethodDelete, global, nil), 403, "FORBIDDEN")
		requireRefusal(t, alice.Do(t, http.MethodPut, global, object{"name": "x"}), 403, "FORBIDDEN")

		alice.Must(t, 201, http.MethodPost, "/labels", object{"name": "taken", "scope": "p", "project_id": team})
		requireRefusal(t, alice.Do(t, http.MethodPut, own, object{"name": "taken"}), 409, "CONFLICT")
		requireRefusal(t, alice.Do(t, http.MethodPut, own, object{"name": ""}), 400, "BAD_REQUEST")
		alice.Must(t, 200, http.MethodPut, own, object{"name": "better", "color": "#fff", "scope": "g", "project_id": 1})
		require.Contains(t, alice.Must(t, 200, http.MethodGet, own, nil).Body, fmt.Sprintf(`"name":"better","description":"","color":"#fff","scope":"p","project_id":%d`, team))
		alice.Must(t, 200, http.MethodDelete, own, nil)
		requireRefusal(t, alice.Do(t, http.MethodGet, own, nil), 404, "NOT_FOUND")
	})
}

func rule(repositories, tags string) object {
	return object{
		"disabled": true, "action": "immutable", "template": "immutable_template",
		"tag_selectors":   []object{{"kind": "doublestar", "decoration": "matches", "pattern": tags}},
		"scope_selectors": object{"repository": []object{{"kind": "doublestar", "decoration": "repoExcludes", "pattern": repositories}}},
	}
}

func TestImmutableRules(t *testing.T) {
	apitest.EachEngine(t, func(t *testing.T, server *apitest.Server) {
		addUsers(t, server, "alice", "eve")
		alice, eve := server.As("alice", apitest.AdminPassword), server.As("eve", apitest.AdminPassword)
		alice.Must(t, 201, http.MethodPost, "/projects", object{"project_name": "team"})
		eve.Must(t, 201, http.MethodPost, "/projects", object{"project_name": "other"})
		const all = "/projects/team/immutabletagrules"
		requireRefusal(t, eve.Do(t, http.MethodGet, all, nil), 403, "FORBIDDEN")
		location := strings.TrimPrefix(alice.Must(t, 201, http.MethodPost, all, rule("x", "v*")).Header.Get("Location"), "/api/v2.0")
		require.True(t, strings.HasPrefix(location, all+"/"))
		requireRefusal(t, alice.Do(t, http.MethodPost, all, rule("x", "v*")), 400, "BAD_REQUEST")

		var listed []struct {
			ID       int64
			Disabled bool
			Template string
			Tags     []object            `json:"tag_selectors"`
			Scope    map[string][]object `json:"scope_selectors"`
		}
		answer := alice.Must(t, 200, http.MethodGet, all+"?page=1&page_size=15", nil)
		answer.JSON(t, &listed)
		require.Equal(t, "1", answer.Header.Get("X-Total-Count"))
		require.False(t, listed[0].Disabled, "a new rule holds")
		require.Equal(t, "immutable_template", listed[0].Template)
		require.Equal(t, object{"kind": "doublestar", "decoration": "matches", "pattern": "v*", "extras": ""}, listed[0].Tags[0])
		require.Equal(t, "repoExcludes", listed[0].Scope["repository"][0]["decoration"])
		require.Equal(t, "[]\n", alice.Must(t, 200, http.MethodGet, all+"?page=2&page_size=15", nil).Body)

		alice.Must(t, 200, http.MethodPut, location, object{"id": listed[0].ID, "disabled": true})
		alice.Must(t, 200, http.MethodGet, all, nil).JSON(t, &listed)
		require.True(t, listed[0].Disabled)
		require.Equal(t, "v*", listed[0].Tags[0]["pattern"])
		alice.Must(t, 200, http.MethodPut, location, rule("y", "w*"))
		alice.Must(t, 200, http.MethodGet, all, nil).JSON(t, &listed)
		require.Equal(t, "w*", listed[0].Tags[0]["pattern"])

		broken := func(change func(o object)) object {
			o := rule("a", "b")
			change(o)
			return o
		}
		for _, bad := range []any{
			"",
			object{},
			rule("[", "b"), rule("a", ""), rule("a", strings.Repeat("x", 2000)), rule("a\x00", "b"),
			broken(func(o object) { o["action"] = "retain" }), broken(func(o object) { o["template"] = "x" }),
			broken(func(o object) { delete(o, "tag_selectors") }), broken(func(o object) { o["tag_selectors"] = []object{{"decoration": "near", "pattern": "a"}} }),
			broken(func(o object) {
				o["tag_selectors"] = []object{{"kind": "regex", "decoration": "matches", "pattern": "a"}}
			}),
		} {
			requireRefusal(t, alice.Do(t, http.MethodPost, all, bad), 400, "BAD_REQUEST")
		}
		foreign := strings.Replace(location, "team", "other", 1)
		requireRefusal(t, eve.Do(t, http.MethodPut, foreign, rule("a", "b")), 404, "NOT_FOUND")
		requireRefusal(t, eve.Do(t, http.MethodDelete, foreign, nil), 404, "NOT_FOUND")

		for i := range 14 {
			alice.Must(t, 201, http.MethodPost, all, rule("x", fmt.Sprint(i)))
		}
		requireRefusal(t, alice.Do(t, http.MethodPost, all, rule("x", "one too many")), 400, "BAD_REQUEST")
		alice.Must(t, 200, http.MethodDelete, location, nil)
		requireRefusal(t, alice.Do(t, http.MethodDelete, location, nil), 404, "NOT_FOUND")
	})
}
