package api_test

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/api"
	"github.com/berth-registry/berth/api/apitest"
)

// description is what the tests read of the OpenAPI description, which is made from the route table: so no new route is forgotten.
type description struct {
	Paths map[string]map[string]struct {
		ID         string `json:"operationId"`
		Parameters []struct{ Name, In string }
	}
}

// lists returns the path of each list that the description has, with what it needs filled in, by the name of its operation. Those
// below a row that would have to be made are left out.
func lists(t *testing.T, server *apitest.Server, reference string) map[string]string {
	t.Helper()
	var described description
	server.Anonymous().Must(t, http.StatusOK, http.MethodGet, "/openapi.json", nil).JSON(t, &described)
	found := map[string]string{}
	fill := strings.NewReplacer("{project_name}", "library", "{project_name_or_id}", "library", "{repository_name}", "app", "{reference}", reference, "{user_id}", "1")
	needs := map[string]string{"ListLabels": "?scope=g", "searchUserGroups": "?groupname=d", "searchUsers": "?username=d"}
	for path, operations := range described.Paths {
		for _, operation := range operations {
			filled := fill.Replace(path)
			has := func(name string) bool {
				return slices.ContainsFunc(operation.Parameters, func(p struct{ Name, In string }) bool { return p.Name == name })
			}
			if has("page_size") && !has("policy_id") && !strings.Contains(filled, "{") {
				found[operation.ID] = filled + needs[operation.ID]
			}
		}
	}
	require.Greater(t, len(found), 20)
	return found
}

// TestQuirks_everyList asks each list for what clients ask: for the page after the last one until there is nothing, for everything
// at once, by fields that it may not know.
func TestQuirks_everyList(t *testing.T) {
	server := apitest.Start(t, "sqlite")
	server.PushImage(t, "library/app", apitest.Image{}, "v1", "v2")
	admin := server.Admin()
	for operation, path := range lists(t, server, "v1") {
		t.Run(operation, func(t *testing.T) {
			separator := "?"
			if strings.Contains(path, "?") {
				separator = "&"
			}
			get := func(query string) apitest.Answer {
				return admin.Do(t, http.MethodGet, path+separator+query, nil)
			}
			entries := func(query string) (n int, answer apitest.Answer) {
				answer = get(query)
				require.Equal(t, http.StatusOK, answer.Status, "%s: %s", query, answer.Body)
				require.True(t, strings.HasPrefix(answer.Body, "["), "an array and never null: %s", answer.Body)
				var list []any
				answer.JSON(t, &list)
				return len(list), answer
			}
			first, answer := entries("")
			require.LessOrEqual(t, first, 10)
			total, err := strconv.Atoi(answer.Header.Get("X-Total-Count"))
			require.NoError(t, err)
			require.GreaterOrEqual(t, total, first)
			for _, everything := range []string{"page_size=0", "page=0&page_size=0"} {
				all, answer := entries(everything)
				require.Equal(t, total, all, everything)
				require.Empty(t, answer.Header.Get("Link"), everything)
			}
			none, answer := entries("page=9999&page_size=100")
			require.Zero(t, none)
			require.Equal(t, "[]\n", answer.Body)
			require.Equal(t, strconv.Itoa(total), answer.Header.Get("X-Total-Count"))
			_, answer = entries("page_size=1&q=frobnicated%3Dx&sort=-frobnicated")
			require.Equal(t, strconv.Itoa(total), answer.Header.Get("X-Total-Count"), "fields that nobody knows choose nothing")
			if total > 1 {
				require.Regexp(t, regexp.MustCompile(`^<`+api.Prefix+`/[^>]*page=2&page_size=1[^>]*>; rel="next"$`), answer.Header.Get("Link"))
			}
			for _, bad := range []string{"page_size=101", "page_size=-1", "page=-1", "page_size=x"} {
				requireRefusal(t, get(bad), http.StatusUnprocessableEntity, "UNPROCESSABLE_ENTITY")
			}
			requireRefusal(t, get("q=name"), http.StatusBadRequest, "BAD_REQUEST")
		})
	}
}

// TestQuirks_addresses has paths as clients write them.
func TestQuirks_addresses(t *testing.T) {
	server := apitest.Start(t, "sqlite")
	server.PushImage(t, "library/group/deep/app", apitest.Image{}, "v1")
	addProjects(t, server, "42")
	admin := server.Admin()
	for _, path := range []string{
		"/projects/library/repositories/group%252Fdeep%252Fapp/artifacts/v1", // Terraform and replication
		"/projects/library/repositories/group%2Fdeep%2Fapp/artifacts/v1",     // harbor-cli
		"/projects/library/repositories/group%25252Fdeep%252Fapp/artifacts/v1/",
		"//projects//library/repositories/group%2Fdeep%2Fapp//artifacts/v1",
		"/quotas/?page=1", "/projects/library/metadatas/", "/labels/?scope=g", "/projects/library/members/", "/ping/",
	} {
		admin.Must(t, http.StatusOK, http.MethodGet, path, nil)
	}
	for path, name := range map[string]string{"/projects/2": "42", "/projects/42": ""} {
		answer := admin.Do(t, http.MethodGet, path, nil)
		require.Equal(t, name == "", answer.Status == http.StatusNotFound, "digits are an id: %s", answer.Body)
		require.Contains(t, answer.Body, name)
	}
	require.Contains(t, admin.Must(t, http.StatusOK, http.MethodGet, "/projects/42", nil, "X-Is-Resource-Name", "true").Body, `"42"`)
	requireRefusal(t, admin.Do(t, http.MethodGet, "/projects/2", nil, "X-Is-Resource-Name", "true"), http.StatusNotFound, "NOT_FOUND")

	var artifact artifactAnswer
	admin.Must(t, http.StatusOK, http.MethodGet, "/projects/library/repositories/group%2Fdeep%2Fapp/artifacts/v1", nil).JSON(t, &artifact)
	link := artifact.AdditionLinks["build_history"]
	require.Equal(t, "/api/v2.0/projects/library/repositories/group%252Fdeep%252Fapp/artifacts/"+artifact.Digest+"/additions/build_history", link.Href)
	require.False(t, link.Absolute)
	admin.Must(t, http.StatusOK, http.MethodGet, strings.TrimPrefix(link.Href, api.Prefix), nil)
}

// TestQuirks_locations has what stands in the Location of all that can be made: a path, which Terraform takes apart.
func TestQuirks_locations(t *testing.T) {
	server := apitest.Start(t, "sqlite")
	server.PushImage(t, "library/app", apitest.Image{}, "v1")
	admin := server.Admin()
	access := []object{{"resource": "repository", "action": "pull"}}
	for _, c := range []struct {
		path     string
		body     object
		location string
	}{
		{"/projects", object{"project_name": "team"}, "/projects/2"},
		{"/users", object{"username": "clara", "email": "clara@example.com", "realname": "Clara", "password": apitest.AdminPassword}, "/users/2"},
		{"/projects/team/members", object{"role_id": 2, "member_user": object{"username": "clara"}}, "/projects/team/members/2"},
		{"/projects/2/members", object{"role_id": 2, "member_group": object{"group_name": "devs", "group_type": 3}}, "/projects/2/members/3"},
		{"/usergroups", object{"group_name": "ops", "group_type": 3}, "/usergroups/2"},
		{"/labels", object{"name": "stable", "scope": "g"}, "/labels/1"},
		{"/robots", object{"name": "ci", "level": "project", "duration": 1, "permissions": []object{{"kind": "project", "namespace": "team", "access": access}}}, "/robots/1"},
		{"/projects/team/immutabletagrules", object{
			"action": "immutable", "template": "immutable_template", "tag_selectors": []object{{"kind": "doublestar", "decoration": "matches", "pattern": "v*"}},
			"scope_selectors": object{"repository": []object{{"kind": "doublestar", "decoration": "repoMatches", "pattern": "**"}}},
		}, "/projects/team/immutabletagrules/1"},
		{"/projects/team/repositories/copied/artifacts?from=library/app:v1", nil, "/projects/team/repositories/copied/artifacts/v1"},
		{"/projects/library/repositories/app/artifacts/v1/tags", object{"name": "v2"}, ""},
		{"/system/purgeaudit/schedule", object{"schedule": object{"type": "Daily", "cron": "0 0 0 * * *"}, "parameters": object{"audit_retention_hour": 24, "include_event_types": "*"}}, "/system/purgeaudit/0"},
	} {
		made := admin.Must(t, http.StatusCreated, http.MethodPost, c.path, c.body)
		if c.location == "" {
			require.NotContains(t, made.Header, "Location", c.path)
			continue
		}
		require.Equal(t, api.Prefix+c.location, made.Header.Get("Location"), c.path)
		if !strings.HasSuffix(c.location, "/0") {
			admin.Must(t, http.StatusOK, http.MethodGet, strings.TrimSuffix(c.location, "/immutabletagrules/1"), nil)
		}
	}
}

// TestQuirks_bodies has what clients send besides what is asked for, and the empty bodies that they tell success by.
func TestQuirks_bodies(t *testing.T) {
	server := apitest.Start(t, "sqlite")
	admin := server.Admin()
	admin.Must(t, http.StatusCreated, http.MethodPost, "/projects", object{
		"project_name": "team", "registry_id": nil, "payload_format:omitempty": "x", "creation_time": "0001-01-01T00:00:00Z", "dest_registry": object{}, "speed": -1,
		"metadata": object{"public": "true", "frobnicated": "x"},
	})
	admin.Must(t, http.StatusCreated, http.MethodPost, "/labels", object{"name": "a", "scope": "g", "id": 99, "update_time": "0001-01-01T00:00:00.000Z", "deleted": false})
	for _, c := range []struct {
		method, path string
		body         any
	}{
		{http.MethodPut, "/projects/team", object{"metadata": object{"auto_scan": "true"}, "project_id": 7}},
		{http.MethodPut, "/labels/1", object{"name": "b", "id": 7}},
		{http.MethodPut, "/configurations", object{"session_timeout": 61, "frobnicated": 1}},
		{http.MethodPut, "/system/CVEAllowlist", object{"id": 0, "items": []object{{"cve_id": "CVE-1"}}, "creation_time": "0001-01-01T00:00:00.000Z"}},
		{http.MethodHead, "/projects?project_name=team", nil},
		{http.MethodDelete, "/labels/1", nil},
		{http.MethodDelete, "/projects/team", nil},
		{http.MethodGet, "/system/gc/schedule", nil},
	} {
		answer := admin.Must(t, http.StatusOK, c.method, c.path, c.body)
		require.Empty(t, answer.Body, "%s %s", c.method, c.path)
	}
	require.Equal(t, http.StatusNotFound, admin.Do(t, http.MethodHead, "/projects?project_name=team", nil).Status)
	require.Equal(t, "text/plain; charset=utf-8", admin.Must(t, http.StatusOK, http.MethodGet, "/ping", nil).Header.Get("Content-Type"))

	// Times are of UTC with milliseconds, and there although nothing happened yet.
	moment := regexp.MustCompile(`"(creation_time|update_time|push_time|pull_time)":"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z"`)
	server.PushImage(t, "library/app", apitest.Image{}, "v1")
	for path, times := range map[string]int{"/projects/library": 2, "/projects/library/repositories/app": 2, appArtifacts + "/v1": 4, "/users/1": 2, "/quotas/1": 2} {
		body := admin.Must(t, http.StatusOK, http.MethodGet, path, nil).Body
		require.GreaterOrEqual(t, len(moment.FindAllString(body, -1)), times, body)
		require.NotRegexp(t, `_time":"[^"]*[^Z]"`, body)
	}
}

// TestQuirks_refusals has every code of a refusal, in the one form that clients read.
func TestQuirks_refusals(t *testing.T) {
	server := apitest.Start(t, "sqlite")
	server.PushImage(t, "library/app", apitest.Image{}, "v1")
	addProjects(t, server, "team")
	admin := server.Admin()
	admin.Must(t, http.StatusCreated, http.MethodPost, "/users", object{"username": "clara", "email": "c@example.com", "realname": "C", "password": apitest.AdminPassword})
	codes := map[int]string{
		400: "BAD_REQUEST", 401: "UNAUTHORIZED", 403: "FORBIDDEN", 404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED", 409: "CONFLICT", 412: "PRECONDITION",
		413: "REQUEST_ENTITY_TOO_LARGE", 422: "UNPROCESSABLE_ENTITY", 503: "SERVICE_UNAVAILABLE",
	}
	refused := func(client *apitest.Client, status int, method, path string, body any) {
		t.Helper()
		answer := client.Do(t, method, path, body)
		requireRefusal(t, answer, status, codes[status])
		require.True(t, strings.HasPrefix(answer.Body, `{"errors":[{"code":"`) && strings.HasSuffix(answer.Body, "\"}]}\n"), answer.Body)
		require.Empty(t, answer.Header.Get("WWW-Authenticate"), "browsers would ask for a password")
	}
	refused(admin, 400, http.MethodPost, "/projects", `{"project_name":`)
	refused(admin, 400, http.MethodPost, "/projects", "")
	refused(server.Anonymous(), 401, http.MethodGet, "/users/current", nil)
	refused(server.As("admin", "Wrong-horse1"), 401, http.MethodGet, "/users/current", nil)
	refused(server.As("clara", apitest.AdminPassword), 403, http.MethodGet, "/projects/team", nil)
	refused(server.As("clara", apitest.AdminPassword), 403, http.MethodGet, "/projects/none", nil)
	refused(admin, 404, http.MethodGet, "/projects/none", nil)
	refused(admin, 404, http.MethodGet, "/frobnicate", nil)
	refused(admin, 405, http.MethodPatch, "/projects", nil)
	refused(admin, 409, http.MethodPost, "/projects", object{"project_name": "team"})
	refused(admin, 412, http.MethodDelete, "/projects/library", nil)
	refused(admin, 413, http.MethodPost, "/projects", fmt.Sprintf(`{"project_name":%q}`, strings.Repeat("x", 2<<20)))
	refused(admin, 422, http.MethodGet, "/projects?page=x", nil)
	admin.Must(t, http.StatusOK, http.MethodPut, "/configurations", object{"read_only": true})
	requireRefusal(t, admin.Do(t, http.MethodPost, "/projects", object{"project_name": "late"}), 403, "DENIED")
	require.NoError(t, server.Store.Close())
	answer := admin.Do(t, http.MethodGet, "/projects", nil)
	require.Contains(t, []int{http.StatusInternalServerError, http.StatusServiceUnavailable}, answer.Status)
	require.NotContains(t, answer.Body, "sql", "what happened is in the log alone")
}

// TestQuirks_replication asks for all that a Harbor asks that replicates from or to us, in its order and words.
func TestQuirks_replication(t *testing.T) {
	server := apitest.Start(t, "sqlite")
	image := server.PushImage(t, "library/group/app", apitest.Image{Layers: []string{"layer"}}, "v1")
	server.PushArtifact(t, "library/group/app", "application/vnd.dev.cosign.artifact.sig.v1+json", &image, "signature")
	admin := server.Admin()
	const artifacts = "/projects/library/repositories/group%252Fapp/artifacts"
	require.JSONEq(t, "[]", admin.Must(t, http.StatusOK, http.MethodGet, "/labels?scope=g", nil).Body)
	found := names(t, admin.Do(t, http.MethodGet, "/projects?q=name=%7B%27library%27%20%27none%27%7D&with_detail=false", nil))
	require.Equal(t, []string{"library"}, found)
	require.Contains(t, names(t, admin.Do(t, http.MethodGet, "/projects?name=library", nil)), "library")
	admin.Must(t, http.StatusCreated, http.MethodPost, "/projects", object{"project_name": "mirror", "metadata": object{"public": "true"}})
	repositories := admin.Do(t, http.MethodGet, "/projects/library/repositories?page=1&page_size=1", nil)
	require.Equal(t, []string{"library/group/app"}, names(t, repositories))
	listed := digests(t, admin.Do(t, http.MethodGet, artifacts+"?page_size=100&with_label=true&with_accessory=true", nil))
	require.True(t, slices.Contains(listed, image.Digest.String()))
	for _, query := range []string{"?with_accessory=true", "?with_accessory=true&with_tag=true"} {
		var got artifactAnswer
		admin.Must(t, http.StatusOK, http.MethodGet, artifacts+"/"+image.Digest.String()+query, nil).JSON(t, &got)
		require.Len(t, got.Accessories, 1)
		require.Equal(t, "signature.cosign", got.Accessories[0].Type, "one of the words that a Harbor can decode")
	}
	blob := "/repositories?q=blob_digest=" + image.Digest.String() + "&page_size=1&page_number=1"
	require.Equal(t, http.StatusOK, admin.Do(t, http.MethodGet, blob, nil).Status)
	admin.Must(t, http.StatusOK, http.MethodDelete, artifacts+"/v1/tags/v1", nil)
}
