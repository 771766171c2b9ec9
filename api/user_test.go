package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/api/apitest"
	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/identity/local"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/setting"
)

// person is a user as clients read it.
type person struct {
	ID           int64  `json:"user_id"`
	Username     string `json:"username"`
	Email        string `json:"email"`
	RealName     string `json:"realname"`
	Comment      string `json:"comment"`
	SysadminFlag bool   `json:"sysadmin_flag"`
	Disabled     bool   `json:"disabled"`
}

// addUser makes a user with the usual password and returns their path.
func addUser(t *testing.T, server *apitest.Server, name string) string {
	t.Helper()
	created, err := server.Users.Create(t.Context(), event.Actor{}, local.NewUser{Name: name, Password: apitest.AdminPassword})
	require.NoError(t, err)
	return fmt.Sprintf("/users/%d", created.ID)
}

func set(t *testing.T, server *apitest.Server, changes map[*setting.Key]any) {
	t.Helper()
	require.NoError(t, server.Settings.Update(t.Context(), event.Actor{Name: "admin"}, changes))
}

func TestUsers_lifeOfOne(t *testing.T) {
	apitest.EachEngine(t, func(t *testing.T, server *apitest.Server) {
		admin := server.Admin()
		body := map[string]string{"username": "alice", "email": "alice@example.org", "realname": "Alice", "comment": "new", "password": "Correct-horse2"}
		created := admin.Must(t, http.StatusCreated, http.MethodPost, "/users", body)
		path, ok := strings.CutPrefix(created.Header.Get("Location"), "/api/v2.0")
		require.True(t, ok, created.Header)
		requireRefusal(t, admin.Do(t, http.MethodPost, "/users", body), http.StatusConflict, "CONFLICT")

		var alice person
		answer := admin.Must(t, http.StatusOK, http.MethodGet, path, nil)
		answer.JSON(t, &alice)
		require.Equal(t, person{ID: alice.ID, Username: "alice", Email: "alice@example.org", RealName: "Alice", Comment: "new"}, alice)
		for _, field := range []string{`"sysadmin_flag":false`, `"admin_role_in_auth":false`, `"creation_time":"`, `"update_time":"`} {
			require.Contains(t, answer.Body, field)
		}
		require.NotContains(t, answer.Body, "argon2")

		self := server.As("alice", "Correct-horse2")
		require.Equal(t, answer.Body, self.Must(t, http.StatusOK, http.MethodGet, path, nil).Body)
		require.Equal(t, answer.Body, self.Must(t, http.StatusOK, http.MethodGet, "/users/current", nil).Body)
		require.Empty(t, self.Must(t, http.StatusOK, http.MethodPut, path, map[string]string{"email": "a@example.org", "realname": "A"}).Body)
		self.Must(t, http.StatusOK, http.MethodGet, path, nil).JSON(t, &alice)
		require.Equal(t, []string{"a@example.org", "A", "new"}, []string{alice.Email, alice.RealName, alice.Comment})

		requireRefusal(t, self.Do(t, http.MethodGet, "/users/1", nil), http.StatusForbidden, "FORBIDDEN")
		requireRefusal(t, self.Do(t, http.MethodGet, "/users/4711", nil), http.StatusForbidden, "FORBIDDEN")
		requireRefusal(t, self.Do(t, http.MethodGet, "/users", nil), http.StatusForbidden, "FORBIDDEN")
		requireRefusal(t, self.Do(t, http.MethodPut, path+"/sysadmin", map[string]bool{"sysadmin_flag": true}), http.StatusForbidden, "FORBIDDEN")
		requireRefusal(t, self.Do(t, http.MethodPut, path+"/disabled", map[string]bool{"disabled": false}), http.StatusForbidden, "FORBIDDEN")
		requireRefusal(t, self.Do(t, http.MethodDelete, path, nil), http.StatusForbidden, "FORBIDDEN")

		admin.Must(t, http.StatusOK, http.MethodPut, path+"/sysadmin", map[string]bool{"sysadmin_flag": true})
		self.Must(t, http.StatusOK, http.MethodGet, "/users", nil)
		requireRefusal(t, self.Do(t, http.MethodDelete, path, nil), http.StatusForbidden, "FORBIDDEN")
		admin.Must(t, http.StatusOK, http.MethodPut, path+"/sysadmin", map[string]bool{})
		requireRefusal(t, self.Do(t, http.MethodGet, "/users", nil), http.StatusForbidden, "FORBIDDEN")

		admin.Must(t, http.StatusOK, http.MethodPut, path+"/disabled", map[string]bool{"disabled": true})
		requireRefusal(t, self.Do(t, http.MethodGet, "/users/current", nil), http.StatusUnauthorized, "UNAUTHORIZED")
		admin.Must(t, http.StatusOK, http.MethodPut, path+"/disabled", map[string]bool{"disabled": false})
		self.Must(t, http.StatusOK, http.MethodGet, "/users/current", nil)

		require.Empty(t, admin.Must(t, http.StatusOK, http.MethodDelete, path, nil).Body)
		requireRefusal(t, self.Do(t, http.MethodGet, "/users/current", nil), http.StatusUnauthorized, "UNAUTHORIZED")
		for method, suffix := range map[string]string{http.MethodGet: "", http.MethodDelete: "", http.MethodPut: "/sysadmin"} {
			requireRefusal(t, admin.Do(t, method, path+suffix, "{}"), http.StatusNotFound, "NOT_FOUND")
		}
		again := admin.Must(t, http.StatusCreated, http.MethodPost, "/users", body)
		require.NotEqual(t, created.Header.Get("Location"), again.Header.Get("Location"), "the name is free, the row stays")

		events, err := server.Store.Events(t.Context(), metadata.EventCursor{}, -1)
		require.NoError(t, err)
		last := events[len(events)-1]
		require.Equal(t, event.UserCreated, last.Kind)
		require.Equal(t, []string{"admin", "basic", "alice"}, []string{last.Actor, last.Credential, last.Subject})
	})
}

func TestUsers_refusedBodies(t *testing.T) {
	server := apitest.Start(t, "sqlite")
	admin := server.Admin()
	path := addUser(t, server, "bob")
	long := strings.Repeat("x", 256)
	for _, body := range []map[string]string{
		{"username": "", "password": "Correct-horse2"},
		{"username": "a b", "password": "Correct-horse2"},
		{"username": "robot$a", "password": "Correct-horse2"},
		{"username": long, "password": "Correct-horse2"},
		{"username": "c", "password": "short1A"},
		{"username": "c", "password": "nouppercase1"},
		{"username": "c", "password": "Correct-horse2", "email": "nonsense"},
		{"username": "c", "password": "Correct-horse2", "email": "C <c@example.org>"},
		{"username": "c", "password": "Correct-horse2", "email": long + "@example.org"},
		{"username": "c", "password": "Correct-horse2", "comment": long},
		{"username": "c", "password": "Correct-horse2", "realname": "a\x00b"},
	} {
		requireRefusal(t, admin.Do(t, http.MethodPost, "/users", body), http.StatusBadRequest, "BAD_REQUEST")
	}
	for _, body := range []any{"", "{", "[]", `{"username":1}`} {
		requireRefusal(t, admin.Do(t, http.MethodPost, "/users", body), http.StatusBadRequest, "BAD_REQUEST")
	}
	requireRefusal(t, admin.Do(t, http.MethodPut, path, map[string]string{"email": "nonsense"}), http.StatusBadRequest, "BAD_REQUEST")
	requireRefusal(t, admin.Do(t, http.MethodGet, "/users/bob", nil), http.StatusUnprocessableEntity, "UNPROCESSABLE_ENTITY")
	for _, first := range []string{"/users/1/sysadmin", "/users/1"} {
		method := map[bool]string{true: http.MethodPut, false: http.MethodDelete}[strings.HasSuffix(first, "sysadmin")]
		requireRefusal(t, admin.Do(t, method, first, "{}"), http.StatusForbidden, "FORBIDDEN")
	}
	operator := addUser(t, server, "second")
	admin.Must(t, http.StatusOK, http.MethodPut, operator+"/sysadmin", map[string]bool{"sysadmin_flag": true})
	requireRefusal(t, server.As("second", apitest.AdminPassword).Do(t, http.MethodDelete, "/users/1", nil), http.StatusForbidden, "FORBIDDEN")
}

func TestUsers_passwords(t *testing.T) {
	server := apitest.Start(t, "sqlite")
	path := addUser(t, server, "alice") + "/password"
	alice, admin := server.As("alice", apitest.AdminPassword), server.Admin()
	change := func(client *apitest.Client, path, was, now string) apitest.Answer {
		return client.Do(t, http.MethodPut, path, map[string]string{"old_password": was, "new_password": now})
	}
	requireRefusal(t, change(alice, path, "", "Correct-horse2"), http.StatusForbidden, "FORBIDDEN")
	wrong := change(alice, path, "Wrong-horse1", "Correct-horse2")
	requireRefusal(t, wrong, http.StatusForbidden, "FORBIDDEN")
	require.NotContains(t, wrong.Body, "Wrong-horse1")
	requireRefusal(t, change(alice, path, apitest.AdminPassword, "weak"), http.StatusBadRequest, "BAD_REQUEST")
	requireRefusal(t, change(alice, path, apitest.AdminPassword, apitest.AdminPassword), http.StatusBadRequest, "BAD_REQUEST")
	requireRefusal(t, change(alice, "/users/1/password", apitest.AdminPassword, "Correct-horse2"), http.StatusForbidden, "FORBIDDEN")
	require.Equal(t, http.StatusOK, change(alice, path, apitest.AdminPassword, "Correct-horse2").Status)
	requireRefusal(t, alice.Do(t, http.MethodGet, "/users/current", nil), http.StatusUnauthorized, "UNAUTHORIZED")

	require.Equal(t, http.StatusOK, change(admin, path, "", "Correct-horse3").Status, "administrators need no old one")
	server.As("alice", "Correct-horse3").Must(t, http.StatusOK, http.MethodGet, "/users/current", nil)
	requireRefusal(t, change(admin, "/users/1/password", "", "Correct-horse4"), http.StatusForbidden, "FORBIDDEN")
	requireRefusal(t, change(admin, "/users/4711/password", "", "Correct-horse4"), http.StatusNotFound, "NOT_FOUND")

	// Guessing the old one is throttled like guessing at the door.
	throttled := false
	for range 20 {
		status := change(server.As("alice", "Correct-horse3"), path, "Wrong-horse1", "Correct-horse5").Status
		throttled = throttled || status == http.StatusTooManyRequests
	}
	require.True(t, throttled)
}

func TestUsers_selfRegistration(t *testing.T) {
	server := apitest.Start(t, "sqlite")
	body := map[string]any{"username": "eve", "password": "Correct-horse2", "sysadmin_flag": true, "source": "ldap"}
	requireRefusal(t, server.Anonymous().Do(t, http.MethodPost, "/users", body), http.StatusUnauthorized, "UNAUTHORIZED")
	set(t, server, map[*setting.Key]any{setting.SelfRegistration: true})
	server.Anonymous().Must(t, http.StatusCreated, http.MethodPost, "/users", body)
	eve := server.As("eve", "Correct-horse2")
	var self person
	eve.Must(t, http.StatusOK, http.MethodGet, "/users/current", nil).JSON(t, &self)
	require.False(t, self.SysadminFlag)
	requireRefusal(t, eve.Do(t, http.MethodPost, "/users", map[string]string{"username": "mallory", "password": "Correct-horse2"}), http.StatusForbidden, "FORBIDDEN")
	requireRefusal(t, server.Anonymous().Do(t, http.MethodPost, "/users", body), http.StatusConflict, "CONFLICT")
	requireRefusal(t, server.Anonymous().Do(t, http.MethodGet, "/users", nil), http.StatusUnauthorized, "UNAUTHORIZED")
}

func TestUsers_lists(t *testing.T) {
	apitest.EachEngine(t, func(t *testing.T, server *apitest.Server) {
		for _, name := range []string{"zoe", "alice", "alina"} {
			addUser(t, server, name)
		}
		list := func(client *apitest.Client, path string) (names []string, answer apitest.Answer) {
			answer = client.Must(t, http.StatusOK, http.MethodGet, path, nil)
			var people []person
			answer.JSON(t, &people)
			for _, p := range people {
				names = append(names, p.Username)
			}
			return names, answer
		}
		names, answer := list(server.Admin(), "/users?page_size=2")
		require.Equal(t, []string{"admin", "alice"}, names)
		require.Equal(t, "4", answer.Header.Get("X-Total-Count"))
		require.Contains(t, answer.Header.Get("Link"), `rel="next"`)
		names, _ = list(server.Admin(), "/users?q=username%3D~ALI&sort=-username")
		require.Equal(t, []string{"alina", "alice"}, names)
		names, _ = list(server.Admin(), "/users?q=username=alice")
		require.Equal(t, []string{"alice"}, names)
		names, _ = list(server.Admin(), "/users?q=sysadmin_flag=true")
		require.Equal(t, []string{"admin"}, names)
		requireRefusal(t, server.Admin().Do(t, http.MethodGet, "/users?page_size=1000", nil), http.StatusUnprocessableEntity, "UNPROCESSABLE_ENTITY")

		zoe := server.As("zoe", apitest.AdminPassword)
		names, answer = list(zoe, "/users/search?username=Ali&q=email=~a")
		require.Equal(t, []string{"alice", "alina"}, names)
		require.NotContains(t, answer.Body, "email")
		names, _ = list(zoe, "/users/search?username=_")
		require.Empty(t, names)
		requireRefusal(t, server.Anonymous().Do(t, http.MethodGet, "/users/search?username=a", nil), http.StatusUnauthorized, "UNAUTHORIZED")
		requireRefusal(t, server.Anonymous().Do(t, http.MethodGet, "/users/current", nil), http.StatusUnauthorized, "UNAUTHORIZED")
	})
}
