package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/api/apitest"
	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/identity/local"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/setting"
)

// robotBody is a robot with permissions as "namespace resource:action,action …".
func robotBody(name, level string, permissions ...string) map[string]any {
	list := []any{}
	for _, text := range permissions {
		words := strings.Fields(text)
		kind := "project"
		if words[0] == "/" {
			kind = "system"
		}
		access := []any{}
		for _, word := range words[1:] {
			resource, actions, _ := strings.Cut(word, ":")
			for action := range strings.SplitSeq(actions, ",") {
				access = append(access, map[string]string{"resource": resource, "action": action})
			}
		}
		list = append(list, map[string]any{"kind": kind, "namespace": words[0], "access": access})
	}
	return map[string]any{"name": name, "level": level, "duration": 30, "permissions": list}
}

type createdRobot struct {
	ID        int64  `json:"id"`
	Name      string `json:"name"`
	Secret    string `json:"secret"`
	ExpiresAt int64  `json:"expires_at"`
}

func addRobot(t *testing.T, c *apitest.Client, body map[string]any) createdRobot {
	t.Helper()
	var made createdRobot
	answer := c.Must(t, http.StatusCreated, http.MethodPost, "/robots", body)
	answer.JSON(t, &made)
	require.Equal(t, fmt.Sprintf("/api/v2.0/robots/%d", made.ID), answer.Header.Get("Location"))
	return made
}

// addPerson adds a user with the password of the administrator.
func addPerson(t *testing.T, s *apitest.Server, name string) {
	t.Helper()
	_, err := s.Users.Create(t.Context(), event.Actor{}, local.NewUser{Name: name, Password: apitest.AdminPassword})
	require.NoError(t, err)
}

// withTeam adds the private project "team" with the users boss (projectAdmin) and dev (developer), and returns its id.
func withTeam(t *testing.T, s *apitest.Server) int64 {
	t.Helper()
	var id int64
	addPerson(t, s, "boss")
	addPerson(t, s, "dev")
	s.Write(t, func(ctx context.Context, tx *metadata.Tx) error {
		project, err := tx.CreateProject(ctx, metadata.Project{Name: "team"})
		if err != nil {
			return err
		}
		id = project.ID
		for name, role := range map[string]int{"boss": 1, "dev": 2} {
			user, err := tx.UserByName(ctx, name)
			if err != nil {
				return err
			}
			if _, err := tx.SetMember(ctx, metadata.Member{ProjectID: id, UserID: user.ID, RoleID: role}); err != nil {
				return err
			}
		}
		return nil
	})
	return id
}

func TestRobots_life(t *testing.T) {
	apitest.EachEngine(t, func(t *testing.T, s *apitest.Server) {
		project := withTeam(t, s)
		admin, boss := s.Admin(), s.As("boss", apitest.AdminPassword)
		ci := addRobot(t, admin, robotBody("ci", "system", "* repository:pull,push", "/ project:list,create robot:create"))
		require.Equal(t, "robot$ci", ci.Name)
		require.InDelta(t, time.Now().Add(30*24*time.Hour).Unix(), ci.ExpiresAt, 60)
		own := addRobot(t, boss, robotBody("ci", "project", "team repository:push tag:list"))
		require.Equal(t, "robot$team+ci", own.Name)

		var list []map[string]any
		answer := admin.Must(t, http.StatusOK, http.MethodGet, "/robots", nil)
		answer.JSON(t, &list)
		require.Equal(t, "1", answer.Header.Get("X-Total-Count"))
		require.Equal(t, "robot$ci", list[0]["name"])
		require.NotContains(t, answer.Body, ci.Secret)
		answer = boss.Must(t, http.StatusOK, http.MethodGet, fmt.Sprintf("/robots?q=Level%%253Dproject%%252CProjectID%%253D%d", project), nil)
		answer.JSON(t, &list)
		require.Len(t, list, 1)
		require.Equal(t, map[string]any{
			"kind": "project", "namespace": "team", "access": []any{
				map[string]any{"resource": "repository", "action": "push", "effect": "allow"},
				map[string]any{"resource": "tag", "action": "list", "effect": "allow"},
			},
		}, list[0]["permissions"].([]any)[0])
		for _, field := range []string{"disable", "editable", "creator_type", "creator_ref", "creation_time", "update_time", "duration", "level", "description"} {
			require.Contains(t, list[0], field)
		}

		path := fmt.Sprintf("/robots/%d", own.ID)
		robot := s.As(own.Name, own.Secret)
		robot.Must(t, http.StatusOK, http.MethodGet, "/projects", nil)
		require.Equal(t, http.StatusPreconditionFailed, robot.Do(t, http.MethodGet, "/users/current", nil).Status)

		whole := list[0]
		whole["description"], whole["disable"] = "rests", true
		boss.Must(t, http.StatusOK, http.MethodPut, path, whole)
		whole["name"] = "robot$team+other"
		boss.Must(t, http.StatusBadRequest, http.MethodPut, path, whole)
		whole["name"], whole["level"] = own.Name, "system"
		boss.Must(t, http.StatusBadRequest, http.MethodPut, path, whole)
		require.Equal(t, http.StatusUnauthorized, robot.Do(t, http.MethodGet, "/users/current", nil).Status, "disabled")
		whole["level"], whole["disable"] = "project", false
		boss.Must(t, http.StatusOK, http.MethodPut, path, whole)
		require.Equal(t, http.StatusPreconditionFailed, robot.Do(t, http.MethodGet, "/users/current", nil).Status)

		var refreshed struct{ Secret string }
		boss.Must(t, http.StatusOK, http.MethodPatch, path, map[string]string{"secret": ""}).JSON(t, &refreshed)
		require.NotEqual(t, own.Secret, refreshed.Secret)
		require.Equal(t, http.StatusUnauthorized, robot.Do(t, http.MethodGet, "/users/current", nil).Status, "the old secret")
		require.Equal(t, http.StatusPreconditionFailed, s.As("robot-team+ci", refreshed.Secret).Do(t, http.MethodGet, "/users/current", nil).Status)
		boss.Must(t, http.StatusBadRequest, http.MethodPatch, path, map[string]string{"secret": "too-simple"})
		require.JSONEq(t, `{"secret":""}`, boss.Must(t, http.StatusOK, http.MethodPatch, path, map[string]string{"secret": "Chosen-secret1"}).Body)
		require.Equal(t, http.StatusPreconditionFailed, s.As(own.Name, "Chosen-secret1").Do(t, http.MethodGet, "/users/current", nil).Status)

		boss.Must(t, http.StatusOK, http.MethodDelete, path, nil)
		require.Equal(t, http.StatusUnauthorized, s.As(own.Name, "Chosen-secret1").Do(t, http.MethodGet, "/users/current", nil).Status)
		boss.Must(t, http.StatusForbidden, http.MethodGet, path, nil)
		admin.Must(t, http.StatusNotFound, http.MethodGet, path, nil)

		var kinds []event.Kind
		events, err := s.Store.Events(t.Context(), metadata.EventCursor{}, -1)
		require.NoError(t, err)
		for _, e := range events {
			if e.Subject == own.Name {
				require.Equal(t, "team", e.Project)
				require.Equal(t, "boss", e.Actor)
				kinds = append(kinds, e.Kind)
			}
		}
		require.Equal(t, []event.Kind{"robot_created", "robot_updated", "robot_updated", "robot_updated", "robot_updated", "robot_deleted"}, kinds)
	})
}

func TestRobots_whoMay(t *testing.T) {
	s := apitest.Start(t, "sqlite")
	project := withTeam(t, s)
	boss, dev, nobody := s.As("boss", apitest.AdminPassword), s.As("dev", apitest.AdminPassword), s.Anonymous()
	system, own := robotBody("a", "system", "* repository:pull"), robotBody("a", "project", "team repository:pull")
	made := addRobot(t, s.Admin(), system)
	path, inTeam := fmt.Sprintf("/robots/%d", made.ID), fmt.Sprintf("/robots?q=Level=project,ProjectID=%d", project)
	for _, c := range []struct {
		who          *apitest.Client
		method, path string
		body         any
		status       int
	}{
		{nobody, http.MethodPost, "/robots", system, http.StatusUnauthorized},
		{nobody, http.MethodPost, "/robots", own, http.StatusUnauthorized},
		{nobody, http.MethodGet, "/robots", nil, http.StatusUnauthorized},
		{nobody, http.MethodGet, path, nil, http.StatusUnauthorized},
		{boss, http.MethodPost, "/robots", system, http.StatusForbidden},
		{boss, http.MethodPost, "/robots", robotBody("a", "project", "library repository:pull"), http.StatusForbidden},
		{boss, http.MethodPost, "/robots", robotBody("a", "project", "none repository:pull"), http.StatusForbidden},
		{boss, http.MethodGet, "/robots", nil, http.StatusForbidden},
		{boss, http.MethodGet, inTeam, nil, http.StatusOK},
		{boss, http.MethodGet, path, nil, http.StatusForbidden},
		{boss, http.MethodDelete, path, nil, http.StatusForbidden},
		{boss, http.MethodPatch, path, map[string]string{}, http.StatusForbidden},
		{boss, http.MethodGet, "/robots?q=Level=project,ProjectID=4711", nil, http.StatusForbidden},
		{s.Admin(), http.MethodGet, "/robots?q=Level=project,ProjectID=4711", nil, http.StatusNotFound},
		{s.Admin(), http.MethodGet, "/robots?q=Level=project", nil, http.StatusBadRequest},
		{s.Admin(), http.MethodGet, "/robots?q=Level=galaxy", nil, http.StatusBadRequest},
		{dev, http.MethodPost, "/robots", own, http.StatusForbidden},
		{dev, http.MethodGet, inTeam, nil, http.StatusOK},
		{s.Admin(), http.MethodPost, "/robots", robotBody("a", "project", "none repository:pull"), http.StatusNotFound},
		{s.Admin(), http.MethodPost, "/robots", robotBody("b", "system", "none repository:pull"), http.StatusNotFound},
	} {
		answer := c.who.Do(t, c.method, c.path, c.body)
		require.Equal(t, c.status, answer.Status, "%s %s %v: %s", c.method, c.path, c.body, answer.Body)
	}
}

func TestRobots_refused(t *testing.T) {
	s := apitest.Start(t, "sqlite")
	withTeam(t, s)
	admin := s.Admin()
	with := func(field string, value any) map[string]any {
		body := robotBody("fine", "system", "* repository:pull")
		body[field] = value
		return body
	}
	for _, name := range []string{"", "A", "a b", "a$b", "a+b", "-a", "a..b", "a/b", "ä", "a\n", strings.Repeat("a", 250), "robot$a"} {
		admin.Must(t, http.StatusBadRequest, http.MethodPost, "/robots", with("name", name))
	}
	for _, duration := range []int64{-2, 1 << 40, 40000} {
		admin.Must(t, http.StatusBadRequest, http.MethodPost, "/robots", with("duration", duration))
	}
	for _, body := range []any{
		with("level", "galaxy"), with("permissions", []any{}), with("permissions", nil), with("description", strings.Repeat("x", 2000)),
		robotBody("a", "system", "* repository:invented"), robotBody("a", "system", "* invented:pull"), robotBody("a", "system", "*"),
		robotBody("a", "system", "* repository:create"), robotBody("a", "system", "/ repository:pull"), robotBody("a", "system", "* robot:update"),
		robotBody("a", "project", "* repository:pull"), robotBody("a", "project", "/ project:list"),
		robotBody("a", "project", "team repository:pull", "library repository:pull"), robotBody("a", "project"),
		`{"name":"a","level":"system","permissions":[{"kind":"project","namespace":"*","access":[{"resource":"repository","action":"pull","effect":"deny"}]}]}`,
		`{"name":"a","level":"system","permissions":[{"kind":"galaxy","namespace":"*","access":[{"resource":"repository","action":"pull"}]}]}`,
		`{"name":"a","level":"system","permissions":[null]}`, `[]`, `{`, ``,
	} {
		answer := admin.Do(t, http.MethodPost, "/robots", body)
		require.Contains(t, []int{http.StatusBadRequest, http.StatusNotFound}, answer.Status, "%v: %s", body, answer.Body)
	}
	// The same permission over and over is one; a body that is too long is not read.
	rights := strings.Repeat(" repository:pull", 2000)
	addRobot(t, admin, robotBody("repetitive", "system", "*"+rights))
	answer := admin.Do(t, http.MethodPost, "/robots", robotBody("huge", "system", "*"+strings.Repeat(rights, 20)))
	require.Equal(t, http.StatusRequestEntityTooLarge, answer.Status)

	answer = admin.Do(t, http.MethodPost, "/robots", robotBody("repetitive", "system", "* repository:pull"))
	require.Equal(t, http.StatusConflict, answer.Status)
	admin.Must(t, http.StatusUnprocessableEntity, http.MethodGet, "/robots/one", nil)
}

func TestRobots_createdAtOnce(t *testing.T) {
	apitest.EachEngine(t, func(t *testing.T, s *apitest.Server) {
		var wg sync.WaitGroup
		statuses := make([]int, 8)
		for i := range statuses {
			wg.Go(func() {
				statuses[i] = s.Admin().Do(t, http.MethodPost, "/robots", robotBody("race", "system", "* repository:pull")).Status
			})
		}
		wg.Wait()
		slices.Sort(statuses)
		require.Equal(t, []int{201, 409, 409, 409, 409, 409, 409, 409}, statuses)
	})
}

func TestRobots_giveOnlyWhatTheyHave(t *testing.T) {
	s := apitest.Start(t, "sqlite")
	withTeam(t, s)
	parent := addRobot(t, s.Admin(), robotBody("parent", "system", "* repository:pull,push robot:create", "/ robot:create,read,list project:list"))
	robot := s.As(parent.Name, parent.Secret)
	child := addRobot(t, robot, robotBody("child", "system", "team repository:pull", "/ project:list"))
	addRobot(t, robot, robotBody("child", "project", "team repository:push"))
	for _, more := range []string{"* repository:delete", "team artifact:list", "/ user:create", "/ robot:delete"} {
		robot.Must(t, http.StatusForbidden, http.MethodPost, "/robots", robotBody("more", "system", more))
	}
	robot.Must(t, http.StatusForbidden, http.MethodPatch, fmt.Sprintf("/robots/%d", child.ID), map[string]string{"secret": ""})
	robot.Must(t, http.StatusForbidden, http.MethodPatch, fmt.Sprintf("/robots/%d", parent.ID), map[string]string{"secret": ""})
	var read map[string]any
	robot.Must(t, http.StatusOK, http.MethodGet, fmt.Sprintf("/robots/%d", child.ID), nil).JSON(t, &read)
	require.Equal(t, "robot", read["creator_type"])
	require.EqualValues(t, parent.ID, read["creator_ref"])
	s.As(child.Name, child.Secret).Must(t, http.StatusForbidden, http.MethodPost, "/robots", robotBody("grandchild", "system", "team repository:pull"))
}

func TestRobots_prefixAndDuration(t *testing.T) {
	s := apitest.Start(t, "sqlite")
	admin := s.Admin()
	old := addRobot(t, admin, robotBody("ci", "system", "/ project:list"))
	require.NoError(t, s.Settings.Update(t.Context(), event.Actor{}, map[*setting.Key]any{setting.RobotNamePrefix: "bot_", setting.RobotTokenDuration: int64(7)}))
	body := robotBody("ci", "system", "/ project:list")
	delete(body, "duration")
	made := addRobot(t, admin, body)
	require.Equal(t, "bot_ci", made.Name)
	require.InDelta(t, time.Now().Add(7*24*time.Hour).Unix(), made.ExpiresAt, 60, "what the settings say")
	forever := robotBody("forever", "system", "/ project:list")
	forever["duration"] = -1
	require.EqualValues(t, -1, addRobot(t, admin, forever).ExpiresAt)
	for _, robot := range []createdRobot{old, made} {
		require.Equal(t, http.StatusPreconditionFailed, s.As(robot.Name, robot.Secret).Do(t, http.MethodGet, "/users/current", nil).Status, robot.Name)
	}
	// A user may be called as a robot is in its other spelling; each has their own secret.
	addPerson(t, s, "robot-ci")
	require.Equal(t, http.StatusOK, s.As("robot-ci", apitest.AdminPassword).Do(t, http.MethodGet, "/users/current", nil).Status)
	require.Equal(t, http.StatusPreconditionFailed, s.As("robot-ci", old.Secret).Do(t, http.MethodGet, "/users/current", nil).Status)
	require.Equal(t, http.StatusUnauthorized, s.As("robot-ci", "neither").Do(t, http.MethodGet, "/users/current", nil).Status)
}

func TestPermissions_catalogue(t *testing.T) {
	s := apitest.Start(t, "sqlite")
	project := withTeam(t, s)
	var all, part struct {
		System, Project []struct{ Resource, Action string }
	}
	s.Admin().Must(t, http.StatusOK, http.MethodGet, "/permissions", nil).JSON(t, &all)
	require.Len(t, all.System, 70)
	require.Len(t, all.Project, 70)
	s.As("boss", apitest.AdminPassword).Must(t, http.StatusOK, http.MethodGet, "/permissions", nil).JSON(t, &part)
	require.Empty(t, part.System)
	require.Equal(t, all.Project, part.Project)
	s.As("dev", apitest.AdminPassword).Must(t, http.StatusForbidden, http.MethodGet, "/permissions", nil)
	s.Anonymous().Must(t, http.StatusUnauthorized, http.MethodGet, "/permissions", nil)

	held := func(c *apitest.Client, query string) (list []map[string]string) {
		t.Helper()
		require.NoError(t, json.Unmarshal([]byte(c.Must(t, http.StatusOK, http.MethodGet, "/users/current/permissions"+query, nil).Body), &list))
		return list
	}
	dev := s.As("dev", apitest.AdminPassword)
	scope := fmt.Sprintf("?scope=/project/%d", project)
	require.Contains(t, held(dev, scope+"&relative=true"), map[string]string{"resource": "repository", "action": "push"})
	require.NotContains(t, held(dev, scope+"&relative=true"), map[string]string{"resource": "repository", "action": "delete"})
	require.Contains(t, held(dev, scope), map[string]string{"resource": fmt.Sprintf("/project/%d/repository", project), "action": "push"})
	require.Contains(t, held(dev, ""), map[string]string{"resource": "/project", "action": "create"})
	require.NotContains(t, held(dev, ""), map[string]string{"resource": "/robot", "action": "create"})
	require.Empty(t, held(dev, "?scope=/project/4711"))
	dev.Must(t, http.StatusBadRequest, http.MethodGet, "/users/current/permissions?scope=galaxy", nil)
	s.Anonymous().Must(t, http.StatusUnauthorized, http.MethodGet, "/users/current/permissions", nil)
}
