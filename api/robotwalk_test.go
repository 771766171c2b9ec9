package api_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/api"
	"github.com/berth-registry/berth/api/apitest"
	"github.com/berth-registry/berth/identity/robot"
)

// openToRobots are the routes that robots need no permission for, besides those that are open to anyone: these show each caller what
// is theirs.
var openToRobots = []string{"listAuditLogs", "listAuditLogExts", "getCurrentUserPermissions"}

// robots are the accounts of the walk by what they hold, so that each is made once.
type robots struct {
	*walker
	clients map[string]*apitest.Client
}

// holding is a robot with rights in a namespace: of the level "system", or of the project that the namespace is.
func (r robots) holding(level, name string, grants map[string][]robot.Right) *apitest.Client {
	r.t.Helper()
	key := level + " " + name
	for namespace := range grants {
		if namespace != "/" && namespace != "*" {
			key += fmt.Sprint(" ", r.projectID(namespace)) // it may have been made anew
		}
	}
	if client, made := r.clients[key]; made {
		return client
	}
	var permissions []string
	for namespace, rights := range grants {
		text := namespace
		for _, right := range rights {
			text += " " + right.Resource + ":" + right.Action
		}
		permissions = append(permissions, text)
	}
	r.made++
	made := addRobot(r.t, r.Admin(), robotBody(fmt.Sprint("walker-", r.made), level, permissions...))
	r.clients[key] = r.As(made.Name, made.Secret)
	return r.clients[key]
}

// without are all rights but one.
func without(rights []robot.Right, right robot.Right) []robot.Right {
	return slices.DeleteFunc(slices.Clone(rights), func(r robot.Right) bool { return r == right })
}

// TestWalk_everyRouteAsRobots asks for each route as robots that hold its permission and nothing else, as robots that hold all others,
// and as robots that hold everything where it does not count.
func TestWalk_everyRouteAsRobots(t *testing.T) {
	apitest.EachEngine(t, func(t *testing.T, server *apitest.Server) {
		w := robots{&walker{Server: server, t: t}, map[string]*apitest.Client{}}
		w.callers() // who have roles in the projects
		w.projects()
		cells := 0
		for _, route := range server.API.Routes() {
			for _, project := range places(route) {
				if project == "shown" {
					continue // what anyone may there, robots may
				}
				asks := func(who string, client *apitest.Client, let bool) {
					t.Helper()
					w.makesRobots = strings.HasPrefix(who, "just")
					refused, answer := w.ask(client, route, project)
					refused = refused || route.ID == "getCurrentUserInfo" && answer.Status == http.StatusPreconditionFailed
					require.Equal(t, let, !refused, "a robot with %s in %q: %s (%s %s): %d %s",
						who, project, route.ID, route.Permission.Action, route.Permission.Resource, answer.Status, answer.Body)
					require.NotEqual(t, http.StatusUnauthorized, answer.Status, "%s %s", who, route.ID)
					cells++
				}
				w.asEach(route, project, asks)
			}
		}
		t.Logf("%d cells, %d robots", cells, len(w.clients))
	})
}

// asEach has a route asked for by each robot.
func (r robots) asEach(route api.Route, project string, asks func(who string, client *apitest.Client, let bool)) {
	right := robot.Right{Resource: route.Permission.Resource, Action: string(route.Permission.Action)}
	system, inProjects := robot.SystemRights(), robot.ProjectRights()
	open := slices.Contains(openToRobots, route.ID) || project == "" && toSystem[right.Resource+" "+right.Action] == "anyone"
	only := []robot.Right{right}
	all := r.holding("system", "everything", map[string][]robot.Right{"/": system, "*": inProjects})
	switch {
	case project == "" && !slices.Contains(system, right), project != "" && !slices.Contains(inProjects, right):
		asks("everything", all, open)
		asks("everything in a project", r.holding("project", "everything", map[string][]robot.Right{"hidden": inProjects}), open)
		return
	case project == "":
		elsewhere := inProjects
		if route.ID == "getPermissions" { // it is for who may make robots anywhere
			elsewhere = without(inProjects, right)
		}
		asks("just that", r.holding("system", fmt.Sprint("just ", right), map[string][]robot.Right{"/": only}), true)
		asks("all but that", r.holding("system", fmt.Sprint("all but ", right, len(elsewhere)), map[string][]robot.Right{"/": without(system, right), "*": elsewhere}), open)
		asks("everything in a project", r.holding("project", fmt.Sprint("elsewhere ", len(elsewhere)), map[string][]robot.Right{"hidden": elsewhere}), open)
		return
	}
	asks("just that everywhere", r.holding("system", fmt.Sprint("just * ", right), map[string][]robot.Right{"*": only}), true)
	asks("just that there", r.holding("system", fmt.Sprint("just there ", right), map[string][]robot.Right{"hidden": only}), true)
	asks("just that as the project's", r.holding("project", fmt.Sprint("just ", right), map[string][]robot.Right{"hidden": only}), true)
	asks("all but that", r.holding("system", fmt.Sprint("all but in projects ", right), map[string][]robot.Right{"/": system, "*": without(inProjects, right)}), false)
	asks("all but that as the project's", r.holding("project", fmt.Sprint("all but ", right), map[string][]robot.Right{"hidden": without(inProjects, right)}), false)
	asks("everything in another project", r.holding("project", "everything", map[string][]robot.Right{"another": inProjects}), false)
}
