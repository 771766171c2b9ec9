package api_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/api"
	"github.com/berth-registry/berth/api/apitest"
	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/identity/local"
	"github.com/berth-registry/berth/metadata"
)

type refusal struct {
	Errors []struct{ Code, Message string }
}

func requireRefusal(t *testing.T, answer apitest.Answer, status int, code string) {
	t.Helper()
	require.Equal(t, status, answer.Status, answer.Body)
	require.Equal(t, "application/json; charset=utf-8", answer.Header.Get("Content-Type"))
	var body refusal
	answer.JSON(t, &body)
	require.Len(t, body.Errors, 1)
	require.Equal(t, code, body.Errors[0].Code)
	require.NotEmpty(t, body.Errors[0].Message)
}

func addProjects(t *testing.T, server *apitest.Server, names ...string) {
	t.Helper()
	server.Write(t, func(ctx context.Context, tx *metadata.Tx) error {
		for _, name := range names {
			if _, err := tx.CreateProject(ctx, metadata.Project{Name: name, Public: strings.HasPrefix(name, "open")}); err != nil {
				return err
			}
		}
		return nil
	})
}

func names(t *testing.T, answer apitest.Answer) []string {
	t.Helper()
	require.Equal(t, http.StatusOK, answer.Status, answer.Body)
	var list []struct{ Name string }
	answer.JSON(t, &list)
	found := []string{}
	for _, entry := range list {
		found = append(found, entry.Name)
	}
	return found
}

func TestLists(t *testing.T) {
	apitest.EachEngine(t, func(t *testing.T, server *apitest.Server) {
		var made []string
		for i := range 24 {
			made = append(made, fmt.Sprintf("p%02d", i))
		}
		addProjects(t, server, append(made, "open1")...)
		admin := server.Admin()

		first := admin.Do(t, http.MethodGet, "/projects?q=name=~P&page_size=5", nil)
		require.Equal(t, []string{"open1", "p00", "p01", "p02", "p03"}, names(t, first))
		require.Equal(t, "25", first.Header.Get("X-Total-Count"))
		require.Equal(t, `</api/v2.0/projects?page=2&page_size=5&q=name=~P>; rel="next"`, first.Header.Get("Link"))
		second := admin.Do(t, http.MethodGet, "/projects?page=2&page_size=5&q=name%3D~P&sort=-name", nil)
		require.Equal(t, []string{"p18", "p17", "p16", "p15", "p14"}, names(t, second))
	})
}

func TestLists_pages(t *testing.T) {
	server := apitest.Start(t, "sqlite")
	addProjects(t, server, "a", "b", "c", "open1")
	admin := server.Admin()
	require.Equal(t, []string{"a", "b", "c", "library", "open1"}, names(t, admin.Do(t, http.MethodGet, "/projects", nil)))
	require.Equal(t, []string{"library", "open1"}, names(t, server.Anonymous().Do(t, http.MethodGet, "/projects", nil)))

	all := admin.Do(t, http.MethodGet, "/projects?page=0&page_size=0", nil)
	require.Len(t, names(t, all), 5)
	require.Empty(t, all.Header.Get("Link"))
	beyond := admin.Do(t, http.MethodGet, "/projects?page=9", nil)
	require.Equal(t, "[]\n", beyond.Body)
	require.Equal(t, "5", beyond.Header.Get("X-Total-Count"))
	middle := admin.Do(t, http.MethodGet, "/projects?page=2&page_size=2", nil)
	require.Equal(t, []string{"c", "library"}, names(t, middle))
	require.Equal(t, `</api/v2.0/projects?page=1&page_size=2>; rel="prev" , </api/v2.0/projects?page=3&page_size=2>; rel="next"`, middle.Header.Get("Link"))

	require.Equal(t, []string{"open1", "library", "c", "b", "a"}, names(t, admin.Do(t, http.MethodGet, "/projects?sort=-name,unknown", nil)))
	require.Equal(t, []string{"a", "c"}, names(t, admin.Do(t, http.MethodGet, "/projects?q=name%3D%7B%27a%27+c+x%7D", nil)))
	require.Equal(t, []string{"library", "open1"}, names(t, admin.Do(t, http.MethodGet, "/projects?q=public%253Dtrue%252Cunknown%253D1", nil)), "encoded once more")
	require.Empty(t, names(t, admin.Do(t, http.MethodGet, "/projects?q=project_id%3Dx", nil)))

	for _, bad := range []string{"page_size=101", "page_size=-1", "page=-1", "page=x"} {
		requireRefusal(t, admin.Do(t, http.MethodGet, "/projects?"+bad, nil), http.StatusUnprocessableEntity, "UNPROCESSABLE_ENTITY")
	}
	for _, bad := range []string{"q=name", "q=name%3D%5B1", "q=project_id%3D~1", "q=" + strings.Repeat("a", 5000)} {
		requireRefusal(t, admin.Do(t, http.MethodGet, "/projects?"+bad, nil), http.StatusBadRequest, "BAD_REQUEST")
	}
}

func TestProjects_byNameOrID(t *testing.T) {
	server := apitest.Start(t, "sqlite")
	addProjects(t, server, "1", "hidden")
	admin := server.Admin()
	get := func(path string, headers ...string) apitest.Answer {
		return admin.Do(t, http.MethodGet, path, nil, headers...)
	}
	require.Contains(t, get("/projects/1").Body, `"library"`)
	require.Contains(t, get("/projects/1", "X-Is-Resource-Name", "true").Body, `"name":"1"`)
	require.Contains(t, get("/projects/hidden/").Body, `"hidden"`)
	require.Contains(t, get("//projects//hidden").Body, `"hidden"`)
	requireRefusal(t, get("/projects/absent"), http.StatusNotFound, "NOT_FOUND")

	_, err := server.Users.Create(t.Context(), event.Actor{}, local.NewUser{Name: "eve", Password: apitest.AdminPassword})
	require.NoError(t, err)
	eve := server.As("eve", apitest.AdminPassword)
	hidden := eve.Do(t, http.MethodGet, "/projects/hidden", nil)
	requireRefusal(t, hidden, http.StatusForbidden, "FORBIDDEN")
	require.Equal(t, hidden.Body, eve.Do(t, http.MethodGet, "/projects/absent", nil).Body, "the same for what does not exist")
	for _, client := range []*apitest.Client{server.Anonymous(), server.As("eve", "Wrong-horse1")} {
		refused := client.Do(t, http.MethodGet, "/projects/hidden", nil)
		requireRefusal(t, refused, http.StatusUnauthorized, "UNAUTHORIZED")
		require.Empty(t, refused.Header.Get("WWW-Authenticate"))
		client.Must(t, http.StatusOK, http.MethodGet, "/projects/library", nil)
	}
}

func TestRoutes_unknown(t *testing.T) {
	server := apitest.Start(t, "sqlite")
	requireRefusal(t, server.Admin().Do(t, http.MethodGet, "/nothing", nil), http.StatusNotFound, "NOT_FOUND")
	refused := server.Admin().Do(t, http.MethodDelete, "/ping", nil)
	requireRefusal(t, refused, http.StatusMethodNotAllowed, "METHOD_NOT_ALLOWED")
	require.Contains(t, refused.Header.Get("Allow"), http.MethodGet)
	require.Equal(t, "Pong", server.Anonymous().Must(t, http.StatusOK, http.MethodGet, "/ping", nil).Body)
}

func TestDescription_isTheRouteTable(t *testing.T) {
	server := apitest.Start(t, "sqlite")
	var described struct {
		OpenAPI string
		Paths   map[string]map[string]struct {
			OperationID string
			Responses   map[string]any
		}
	}
	server.Anonymous().Must(t, http.StatusOK, http.MethodGet, "/openapi.json", nil).JSON(t, &described)
	require.Equal(t, "3.1.0", described.OpenAPI)
	count := 0
	for _, methods := range described.Paths {
		count += len(methods)
	}
	require.Len(t, server.API.Routes(), count)
	for _, route := range server.API.Routes() {
		operation := described.Paths[route.Path][strings.ToLower(route.Method)]
		require.Equal(t, route.ID, operation.OperationID)
		require.NotEmpty(t, route.Permission.Resource, route.ID)
		require.NotEmpty(t, route.Permission.Action, route.ID)
		require.NotZero(t, route.Permission.Scope, route.ID)
		require.NotEmpty(t, route.Summary, route.ID)
	}
	page := server.Anonymous().Must(t, http.StatusOK, http.MethodGet, "/docs", nil)
	require.Contains(t, page.Body, "/api/v2.0/projects/{project_name_or_id}")
}

func TestOperator_needsNoAccount(t *testing.T) {
	server := apitest.Start(t, "sqlite")
	request := httptest.NewRequest(http.MethodGet, api.Prefix+"/projects/absent", nil)
	answer := httptest.NewRecorder()
	server.API.ServeHTTP(answer, request.WithContext(api.AsOperator(t.Context())))
	require.Equal(t, http.StatusNotFound, answer.Code, "a system administrator is told so: %s", answer.Body)
	answer = httptest.NewRecorder()
	server.API.ServeHTTP(answer, request)
	require.Equal(t, http.StatusUnauthorized, answer.Code)
}
