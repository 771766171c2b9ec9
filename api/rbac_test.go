package api_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/api"
	"github.com/berth-registry/berth/api/apitest"
	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/identity/local"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/policy"
)

// matrix is what each role may do in a project, as Harbor has it: C create, R read, U update, D delete, L list, P pull, W push,
// S stop, O operate. The columns are projectAdmin, maintainer, developer, guest, limitedGuest, and anyone in a public project.
const matrix = `
project             RUD     R       R      R    R   R
member              CRUDL   RL      RL     RL   -   -
metadata            CRUDL   R       -      -    -   -
log                 L       -       -      -    -   -
label               CRUDL   CRUDL   RL     RL   -   RL
quota               R       R       R      R    R   -
repository          CRUDLPW CRUDLPW CRULPW RLP  RLP LP
tag-retention       CRUDLO  CRUDLO  CRUDLO -    -   -
immutable-tag       CUDL    CUDL    -      -    -   -
configuration       RU      R       R      R    R   -
robot               CRUDL   RL      RL     RL   -   -
notification-policy CRUDL   RL      -      -    -   -
scan                CRS     CRS     R      R    R   R
sbom                CRS     CRS     R      R    R   -
scanner             CR      R       R      R    R   R
artifact            CRDL    CRDL    CRL    RL   RL  RL
artifact-addition   R       R       R      R    R   R
tag                 CDL     CDL     CL     L    L   L
accessory           L       L       L      L    L   L
artifact-label      CD      CD      CD     -    -   -
preheat-policy      CRUDL   -       -      -    -   -
export-cve          CRL     CRL     CRL    -    -   -
`

var letters = map[policy.Action]string{
	policy.Create: "C", policy.Read: "R", policy.Update: "U", policy.Delete: "D", policy.List: "L",
	policy.Pull: "P", policy.Push: "W", policy.Stop: "S", policy.Operate: "O",
}

var walkRoles = []policy.Role{policy.ProjectAdmin, policy.Maintainer, policy.Developer, policy.Guest, policy.LimitedGuest}

// allowedTo reports whether the matrix has the action for the column: a role's, or that of anyone behind the last.
func allowedTo(t *testing.T, column int, resource string, action policy.Action) bool {
	t.Helper()
	for line := range strings.Lines(matrix) {
		fields := strings.Fields(line)
		if len(fields) > 0 && fields[0] == resource {
			return strings.Contains(fields[1+column], letters[action])
		}
	}
	return false
}

// toSystem is what others than system administrators may do to the registry itself.
var toSystem = map[string]string{
	"ping read": "anyone", "description read": "anyone", "health read": "anyone", "project list": "anyone", "search read": "anyone", "repository list": "anyone", "icon read": "anyone",
	"system-info read": "anyone", "catalog list": "anyone",
	"project create": "authenticated", "statistics read": "authenticated", "user search": "authenticated", "user-group search": "authenticated",
	"current-user read": "authenticated", "session delete": "authenticated", "audit-log-type list": "authenticated", "retention-metadata read": "authenticated",
	"cve-allowlist read": "authenticated", "project search": "authenticated", "label list": "authenticated", "label read": "authenticated",
}

// walker asks for every route as everybody. Who may not is told so before anything is looked at, so parameters and bodies need not
// make sense: all that counts is whether the answer is a refusal.
type walker struct {
	*apitest.Server
	t    *testing.T
	made int
	// makesRobots tells that who asks may make robots and has no other permission.
	makesRobots bool
}

// rows have each route whose permission is asked for on a row, or depends on what is shown.
var rows = map[string]row{
	"listAuditLogs":    {who: "authenticated", path: func(*walker, string) string { return "/audit-logs" }},
	"listAuditLogExts": {who: "authenticated", path: func(*walker, string) string { return "/auditlog-exts" }},

	"ListLabels": {inProjects: true, path: func(w *walker, project string) string {
		if project == "" {
			return "/labels?scope=g"
		}
		return fmt.Sprintf("/labels?scope=p&project_id=%d", w.projectID(project))
	}},
	"CreateLabel":  {inProjects: true, path: func(*walker, string) string { return "/labels" }, body: labelOf},
	"GetLabelByID": {inProjects: true, path: someLabel},
	"UpdateLabel":  {inProjects: true, path: someLabel, body: labelOf},
	"DeleteLabel":  {inProjects: true, path: someLabel},

	"ListRobot": {inProjects: true, path: func(w *walker, project string) string {
		if project == "" {
			return "/robots"
		}
		return fmt.Sprintf("/robots?q=Level%%3Dproject,ProjectID%%3D%d", w.projectID(project))
	}},
	"CreateRobot":               {inProjects: true, path: func(*walker, string) string { return "/robots" }, body: robotOf},
	"GetRobotByID":              {inProjects: true, path: someRobot},
	"UpdateRobot":               {inProjects: true, path: someRobot, body: robotOf},
	"RefreshSec":                {inProjects: true, path: someRobot},
	"DeleteRobot":               {inProjects: true, path: someRobot},
	"getPermissions":            {who: "project administrator", path: func(*walker, string) string { return "/permissions" }},
	"getCurrentUserPermissions": {who: "authenticated", path: func(*walker, string) string { return "/users/current/permissions" }},

	"createRetention": {ofProject: true, path: func(*walker, string) string { return "/retentions" }, body: func(w *walker, project string) any {
		return retentionOf(w.projectID(project), "")
	}},
	"getRetention":              {ofProject: true, path: someRetention("")},
	"updateRetention":           {ofProject: true, path: someRetention("")},
	"deleteRetention":           {ofProject: true, path: someRetention("")},
	"triggerRetentionExecution": {ofProject: true, path: someRetention("/executions")},
	"listRetentionExecutions":   {ofProject: true, path: someRetention("/executions")},
	"operateRetentionExecution": {ofProject: true, path: someRetention("/executions/4711"), missing: true},
	"listRetentionTasks":        {ofProject: true, path: someRetention("/executions/4711/tasks"), missing: true},
	"getRetentionTaskLog":       {ofProject: true, path: someRetention("/executions/4711/tasks/1"), missing: true},

	"createUser":         {who: "nobody", path: func(*walker, string) string { return "/users" }},
	"getCurrentUserInfo": {who: "authenticated", path: func(*walker, string) string { return "/users/current" }},
	"getUser":            {who: "nobody", path: somebody("")},
	"updateUserProfile":  {who: "nobody", path: somebody("")},
	"deleteUser":         {who: "nobody", path: somebody("")},
	"updateUserPassword": {who: "nobody", path: somebody("/password")},

	"listCurrentUserTokens":  {who: "authenticated", path: func(*walker, string) string { return "/users/current/tokens" }},
	"createCurrentUserToken": {who: "authenticated", path: func(*walker, string) string { return "/users/current/tokens" }},
	"revokeCurrentUserToken": {who: "authenticated", path: func(*walker, string) string { return "/users/current/tokens/4711" }, missing: true},
	"listUserTokens":         {who: "nobody", path: somebody("/tokens")},
	"revokeUserToken":        {who: "nobody", path: someToken},
	"setCliSecret":           {who: "nobody", path: somebody("/cli_secret")},
}

// somebody is a path below a user whom nobody else has met.
func somebody(below string) func(*walker, string) string {
	return func(w *walker, _ string) string {
		w.made++
		made, err := w.Users.Create(w.t.Context(), event.Actor{}, local.NewUser{Name: fmt.Sprint("somebody-", w.made), Password: apitest.AdminPassword})
		require.NoError(w.t, err)
		return fmt.Sprintf("/users/%d%s", made.ID, below)
	}
}

// someToken is the path of a personal access token of a user whom nobody else has met.
func someToken(w *walker, project string) string {
	user := somebody("")(w, project)
	made := w.As(fmt.Sprint("somebody-", w.made), apitest.AdminPassword).Must(w.t, http.StatusCreated, http.MethodPost, "/users/current/tokens",
		map[string]any{"name": "some", "scopes": []string{"pull"}})
	return user + strings.TrimPrefix(made.Header.Get("Location"), api.Prefix+"/users/current")
}

// row says how a path is filled in for a row that is made for it, and who may: "anyone", "authenticated", "project administrator" for
// who administers any project, "nobody" but system administrators, or, where it is empty, who may by their role in the project, or to
// the registry itself.
type row struct {
	who string
	// inProjects tells that there are such rows in projects too; the project of the others is "".
	inProjects bool
	// ofProject tells that there are such rows in projects only.
	ofProject bool
	path      func(w *walker, project string) string
	// body is that of a request that changes something; nil sends an empty object.
	body func(w *walker, project string) any
	// missing says that there is no such row, so that 404 hides nothing.
	missing bool
}

func labelOf(w *walker, project string) any {
	w.made++
	label := map[string]any{"name": fmt.Sprint("label-", w.made), "scope": "g"}
	if project != "" {
		label["scope"], label["project_id"] = "p", w.projectID(project)
	}
	return label
}

// robotOf is a robot account with a permission that who makes it has, should that be a robot too.
func robotOf(w *walker, project string) any {
	w.made++
	level, namespace, right := "project", project, "repository:pull"
	if project == "" {
		level, namespace, right = "system", "/", "quota:read"
	}
	if w.makesRobots {
		right = "robot:create"
	}
	return robotBody(fmt.Sprint("robot-", w.made), level, namespace+" "+right)
}

// someRetention is a path below the retention policy of the project.
func someRetention(below string) func(*walker, string) string {
	return func(w *walker, project string) string {
		found, err := w.Store.RetentionPolicyOf(w.t.Context(), w.projectID(project))
		if err != nil {
			w.Admin().Must(w.t, http.StatusCreated, http.MethodPost, "/retentions", retentionOf(w.projectID(project), ""))
			found, err = w.Store.RetentionPolicyOf(w.t.Context(), w.projectID(project))
			require.NoError(w.t, err)
		}
		return fmt.Sprintf("/retentions/%d%s", found.ID, below)
	}
}

// someRobot is the path of a robot account.
func someRobot(w *walker, project string) string {
	made := w.Admin().Must(w.t, http.StatusCreated, http.MethodPost, "/robots", robotOf(w, project))
	return strings.TrimPrefix(made.Header.Get("Location"), api.Prefix)
}

// someLabel is the path of a label.
func someLabel(w *walker, project string) string {
	made := w.Admin().Must(w.t, http.StatusCreated, http.MethodPost, "/labels", labelOf(w, project))
	return strings.TrimPrefix(made.Header.Get("Location"), api.Prefix)
}

func (w *walker) projectID(name string) int64 {
	w.t.Helper()
	found, err := w.Store.Project(w.t.Context(), name)
	require.NoError(w.t, err)
	return found.ID
}

// places are where a route is asked for: the private and the public project of the walk, and "", the registry itself.
func places(route api.Route) []string {
	switch {
	case route.Permission.Scope == api.ScopeProject:
		return []string{"hidden", "shown"}
	case rows[route.ID].ofProject:
		return []string{"hidden", "shown"}
	case rows[route.ID].inProjects:
		return []string{"", "hidden", "shown"}
	}
	return []string{""}
}

// path fills the parameters of a route in.
func (w *walker) path(route api.Route, project string) string {
	if route.Permission.Scope == api.ScopeRow {
		made, known := rows[route.ID]
		require.True(w.t, known, "route %s asks policy about a row: say in rows how one is made", route.ID)
		return made.path(w, project)
	}
	path := strings.NewReplacer("{project_name}", project, "{project_name_or_id}", project).Replace(route.Path)
	for strings.Contains(path, "{") {
		open, closing := strings.IndexByte(path, '{'), strings.IndexByte(path, '}')
		path = path[:open] + "4711" + path[closing+1:]
	}
	return path
}

// request is one for a route, filled in.
type request struct {
	route api.Route
	path  string
	body  any
}

// request fills a route in, with rows that are made for it.
func (w *walker) request(route api.Route, project string) request {
	made := request{route: route, path: w.path(route, project)}
	if route.Method == http.MethodGet || route.Method == http.MethodHead {
		return made
	}
	made.body = "{"
	if route.Permission.Scope == api.ScopeRow {
		made.body = "{}" // it is read before the row
	}
	if of := rows[route.ID].body; of != nil {
		made.body = of(w, project)
	}
	return made
}

// send sends a request and reports whether it was refused.
func (w *walker) send(client *apitest.Client, r request, headers ...string) (refused bool, answer apitest.Answer) {
	answer = client.Do(w.t, r.route.Method, r.path, r.body, append(headers, "X-Is-Resource-Name", "true")...)
	require.NotEqual(w.t, http.StatusInternalServerError, answer.Status, "%s: %s", r.route.ID, answer.Body)
	if r.route.ID == "deleteProject" && answer.Status == http.StatusOK {
		w.projects()
	}
	// A row that is there and is not found is one that the caller may not see.
	hidden := r.route.Permission.Scope == api.ScopeRow && !rows[r.route.ID].missing && answer.Status == http.StatusNotFound
	return hidden || answer.Status == http.StatusUnauthorized || answer.Status == http.StatusForbidden, answer
}

// ask asks for a route and reports whether it was refused.
func (w *walker) ask(client *apitest.Client, route api.Route, project string) (refused bool, answer apitest.Answer) {
	return w.send(client, w.request(route, project))
}

// caller is somebody who walks.
type caller struct {
	name   string
	client *apitest.Client
	// column is that of the role in the matrix, -1 for none.
	column        int
	authenticated bool
	administers   bool
}

// may reports whether the caller may use a route in a project, or of the registry itself.
func (c caller) may(t *testing.T, route api.Route, project string) bool {
	if c.administers {
		return true
	}
	p, who := route.Permission, rows[route.ID].who
	if project == "" && who == "" {
		who = toSystem[p.Resource+" "+string(p.Action)]
	}
	switch {
	case who == "anyone":
		return true
	case who == "authenticated":
		return c.authenticated
	case who == "project administrator":
		return c.name == "projectAdmin" || c.name == "foreigner"
	case who != "" || project == "":
		return false
	}
	return c.column >= 0 && allowedTo(t, c.column, p.Resource, p.Action) || project == "shown" && allowedTo(t, len(walkRoles), p.Resource, p.Action)
}

// projects makes the projects of the walk anew where an earlier step has deleted them: hidden and shown have a member for each
// role, and somebody administers another one.
func (w *walker) projects() {
	w.t.Helper()
	w.Write(w.t, func(ctx context.Context, tx *metadata.Tx) error {
		for _, name := range []string{"hidden", "shown", "another"} {
			if _, err := tx.Project(ctx, name); err == nil {
				continue
			}
			made, err := tx.CreateProject(ctx, metadata.Project{Name: name, Public: name == "shown"})
			if err != nil {
				return err
			}
			roles := map[string]policy.Role{"foreigner": policy.ProjectAdmin}
			if name != "another" {
				roles = map[string]policy.Role{}
				for _, role := range walkRoles {
					roles[role.String()] = role
				}
			}
			for user, role := range roles {
				row, err := tx.UserByName(ctx, user)
				if err != nil {
					return err
				}
				if _, err := tx.SetMember(ctx, metadata.Member{ProjectID: made.ID, UserID: row.ID, RoleID: int(role)}); err != nil {
					return err
				}
			}
		}
		return nil
	})
	for _, name := range []string{"hidden", "shown", "another"} {
		w.Policy.Invalidate(name)
	}
}

// callers are everybody.
func (w *walker) callers() []caller {
	w.t.Helper()
	callers := []caller{
		{name: "nobody", client: w.Anonymous(), column: -1},
		{name: "admin", client: w.Admin(), column: -1, authenticated: true, administers: true},
	}
	users := []string{"stranger", "foreigner"}
	for _, role := range walkRoles {
		users = append(users, role.String())
	}
	for _, name := range users {
		_, err := w.Users.Create(w.t.Context(), event.Actor{}, local.NewUser{Name: name, Password: apitest.AdminPassword})
		require.NoError(w.t, err)
		column := slices.IndexFunc(walkRoles, func(role policy.Role) bool { return role.String() == name })
		callers = append(callers, caller{name: name, client: w.As(name, apitest.AdminPassword), column: column, authenticated: true})
	}
	return callers
}

// TestWalk_everyRouteAsEverybody is made from the route table, so that a new route cannot be forgotten.
func TestWalk_everyRouteAsEverybody(t *testing.T) {
	apitest.EachEngine(t, func(t *testing.T, server *apitest.Server) {
		w := &walker{Server: server, t: t}
		cells := 0
		for _, c := range w.callers() {
			w.projects()
			for _, route := range server.API.Routes() {
				for _, project := range places(route) {
					refused, answer := w.ask(c.client, route, project)
					cells++
					name := fmt.Sprintf("%s in %q: %s (%s %s)", c.name, project, route.ID, route.Permission.Action, route.Permission.Resource)
					require.Equal(t, !c.may(t, route, project), refused, "%s: %d %s", name, answer.Status, answer.Body)
					if refused {
						require.Equal(t, !c.authenticated, answer.Status == http.StatusUnauthorized, name)
					}
				}
			}
		}
		t.Logf("%d cells", cells)
	})
}
