package api_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/api/apitest"
	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/identity/local"
	"github.com/berth-registry/berth/metadata"
)

type object = map[string]any

func addUsers(t *testing.T, server *apitest.Server, names ...string) {
	t.Helper()
	for _, name := range names {
		_, err := server.Users.Create(t.Context(), event.Actor{}, local.NewUser{Name: name, Password: apitest.AdminPassword})
		require.NoError(t, err)
	}
}

type projectView struct {
	ID        int64 `json:"project_id"`
	Name      string
	OwnerName string `json:"owner_name"`
	RoleID    int    `json:"current_user_role_id"`
	RoleIDs   []int  `json:"current_user_role_ids"`
	Repos     int64  `json:"repo_count"`
	Togglable bool
	Metadata  map[string]string
	Allowlist struct {
		ProjectID int64  `json:"project_id"`
		ExpiresAt *int64 `json:"expires_at"`
		Items     []struct {
			CVE string `json:"cve_id"`
		}
	} `json:"cve_allowlist"`
}

func getProject(t *testing.T, client *apitest.Client, name string) (p projectView) {
	t.Helper()
	client.Must(t, http.StatusOK, http.MethodGet, "/projects/"+name, nil).JSON(t, &p)
	return p
}

func TestProjects_lifeOfOne(t *testing.T) {
	apitest.EachEngine(t, func(t *testing.T, server *apitest.Server) {
		addUsers(t, server, "alice", "eve")
		admin, alice, eve := server.Admin(), server.As("alice", apitest.AdminPassword), server.As("eve", apitest.AdminPassword)

		requireRefusal(t, server.Anonymous().Do(t, http.MethodPost, "/projects", object{"project_name": "team"}), 401, "UNAUTHORIZED")
		made := alice.Must(t, 201, http.MethodPost, "/projects", object{
			"project_name": "team", "storage_limit": 5, "metadata": object{"public": "false", "auto_scan": "1", "severity": "High", "nonsense": "x", "retention_id": "9"},
			"cve_allowlist": object{"items": []object{{"cve_id": "CVE-2"}, {"cve_id": "CVE-1"}}, "expires_at": 4102444800},
		}, "X-Resource-Name-In-Location", "true")
		require.Equal(t, "/api/v2.0/projects/team", made.Header.Get("Location"))
		requireRefusal(t, admin.Do(t, http.MethodPost, "/projects", object{"project_name": "team"}), 409, "CONFLICT")

		team := getProject(t, alice, "team")
		require.Equal(t, map[string]string{"public": "false", "auto_scan": "true", "severity": "high"}, team.Metadata)
		require.Equal(t, "alice", team.OwnerName)
		require.Equal(t, []int{1}, team.RoleIDs)
		require.Equal(t, 1, team.RoleID)
		require.True(t, team.Togglable)
		require.Len(t, team.Allowlist.Items, 2)
		require.Equal(t, "CVE-1", team.Allowlist.Items[0].CVE)
		require.Equal(t, int64(4102444800), *team.Allowlist.ExpiresAt)
		require.Equal(t, team.ID, team.Allowlist.ProjectID)
		requireRefusal(t, eve.Do(t, http.MethodGet, "/projects/team", nil), 403, "FORBIDDEN")

		eve.Must(t, 200, http.MethodHead, "/projects?project_name=team", nil)
		eve.Must(t, 404, http.MethodHead, "/projects?project_name=none", nil)
		eve.Must(t, 400, http.MethodHead, "/projects?project_name=No%00", nil)

		requireRefusal(t, eve.Do(t, http.MethodPut, "/projects/team", object{"metadata": object{"public": "true"}}), 403, "FORBIDDEN")
		alice.Must(t, 200, http.MethodPut, "/projects/team", object{"metadata": object{"public": "true", "auto_scan": "false"}, "cve_allowlist": object{"items": []object{}}})
		team = getProject(t, eve, "team")
		require.Equal(t, map[string]string{"public": "true", "auto_scan": "false", "severity": "high"}, team.Metadata)
		require.Empty(t, team.Allowlist.Items)
		require.Empty(t, team.RoleIDs)
		require.False(t, team.Togglable)
		alice.Must(t, 200, http.MethodPut, "/projects/team", object{"public": false})
		requireRefusal(t, eve.Do(t, http.MethodGet, "/projects/team", nil), 403, "FORBIDDEN")

		var summary struct {
			Repos  int64 `json:"repo_count"`
			Admins int64 `json:"project_admin_count"`
			Quota  struct{ Hard, Used struct{ Storage int64 } }
		}
		alice.Must(t, 200, http.MethodGet, "/projects/team/summary", nil).JSON(t, &summary)
		require.Equal(t, int64(1), summary.Admins)
		require.Equal(t, int64(-1), summary.Quota.Hard.Storage, "only administrators choose the limit")

		server.Write(t, func(ctx context.Context, tx *metadata.Tx) error {
			_, err := tx.EnsureRepository(ctx, team.ID, "team/app")
			return err
		})
		require.Equal(t, int64(1), getProject(t, alice, "team").Repos)
		require.Contains(t, alice.Must(t, 200, http.MethodGet, "/projects/team/_deletable", nil).Body, `"deletable":false`)
		requireRefusal(t, alice.Do(t, http.MethodDelete, "/projects/team", nil), 412, "PRECONDITION")
		server.Write(t, func(ctx context.Context, tx *metadata.Tx) error {
			repository, err := tx.Repository(ctx, "team/app")
			if err != nil {
				return err
			}
			return tx.DeleteRepository(ctx, repository.ID)
		})
		require.Contains(t, alice.Must(t, 200, http.MethodGet, "/projects/team/_deletable", nil).Body, `"deletable":true`)
		require.Empty(t, alice.Must(t, 200, http.MethodDelete, "/projects/team", nil).Body)
		requireRefusal(t, admin.Do(t, http.MethodDelete, "/projects/team", nil), 404, "NOT_FOUND")

		admin.Must(t, 201, http.MethodPost, "/projects", object{"project_name": "limited", "storage_limit": 5, "public": true})
		admin.Must(t, 200, http.MethodGet, "/projects/limited/summary", nil).JSON(t, &summary)
		require.Equal(t, int64(5), summary.Quota.Hard.Storage)
		require.Equal(t, "true", getProject(t, eve, "limited").Metadata["public"])

		hard := func(project string) int64 {
			admin.Must(t, 200, http.MethodGet, "/projects/"+project+"/summary", nil).JSON(t, &summary)
			return summary.Quota.Hard.Storage
		}
		admin.Must(t, 200, http.MethodPut, "/configurations", object{"storage_per_project": 4096})
		alice.Must(t, 201, http.MethodPost, "/projects", object{"project_name": "by-default"})
		admin.Must(t, 201, http.MethodPost, "/projects", object{"project_name": "without", "storage_limit": -1})
		require.Equal(t, int64(4096), hard("by-default"))
		require.Equal(t, int64(-1), hard("without"))
		require.Equal(t, int64(5), hard("limited"), "what there is keeps its limit")

		admin.Must(t, 200, http.MethodPut, "/configurations", object{"project_creation_restriction": "adminonly"})
		requireRefusal(t, alice.Do(t, http.MethodPost, "/projects", object{"project_name": "more"}), 403, "FORBIDDEN")
		admin.Must(t, 201, http.MethodPost, "/projects", object{"project_name": "more"})
	})
}

func TestProjects_hostile(t *testing.T) {
	apitest.EachEngine(t, func(t *testing.T, server *apitest.Server) {
		admin := server.Admin()
		for _, name := range []string{"", "A", "a b", "a/b", "-a", "a-", "a..b", "a__b", "a--b", "a\x00", "é", "a' OR 1=1", strings.Repeat("a", 256), "../a", "a%2fb"} {
			requireRefusal(t, admin.Do(t, http.MethodPost, "/projects", object{"project_name": name}), 400, "BAD_REQUEST")
		}
		admin.Must(t, 201, http.MethodPost, "/projects", object{"project_name": strings.Repeat("a", 255)})
		for _, body := range []any{
			"", "{", "[]",
			object{"project_name": "x", "registry_id": 3},
			object{"project_name": "x", "storage_limit": 0},
			object{"project_name": "x", "storage_limit": -2},
			object{"project_name": "x", "metadata": object{"public": "maybe"}},
			object{"project_name": "x", "metadata": object{"severity": "dire"}},
			object{"project_name": "x", "metadata": object{"proxy_speed_kb": "fast"}},
			object{"project_name": "x", "metadata": object{"max_upstream_conn": "0"}},
			object{"project_name": "x", "metadata": object{"proxy_cache_filter_kind": "a\x00"}},
			object{"project_name": "x", "metadata": object{"proxy_cache_filter_pattern": "library/**"}},
			object{"project_name": "x", "cve_allowlist": object{"items": []object{{"cve_id": "a\x00"}}}},
			object{"project_name": "x", "cve_allowlist": object{"expires_at": int64(1) << 60}},
		} {
			requireRefusal(t, admin.Do(t, http.MethodPost, "/projects", body), 400, "BAD_REQUEST")
		}
		admin.Must(t, 404, http.MethodHead, "/projects?project_name=x", nil)
		for _, path := range []string{"/projects/a%00b", "/projects/%25", "/projects/a%2527"} {
			requireRefusal(t, admin.Do(t, http.MethodGet, path, nil), 404, "NOT_FOUND")
		}
		require.Empty(t, names(t, admin.Do(t, http.MethodGet, "/projects?name=a%00", nil)))
		require.Empty(t, names(t, admin.Do(t, http.MethodGet, "/projects?owner=%00", nil)))
	})
}

func TestProjects_lists(t *testing.T) {
	apitest.EachEngine(t, func(t *testing.T, server *apitest.Server) {
		addUsers(t, server, "alice")
		alice, admin := server.As("alice", apitest.AdminPassword), server.Admin()
		for _, name := range []string{"a1", "a2"} {
			alice.Must(t, 201, http.MethodPost, "/projects", object{"project_name": name, "metadata": object{"public": fmt.Sprint(name == "a2")}})
		}
		admin.Must(t, 201, http.MethodPost, "/projects", object{"project_name": "hidden"})
		require.Equal(t, []string{"a1", "a2", "library"}, names(t, alice.Do(t, http.MethodGet, "/projects", nil)))
		require.Equal(t, []string{"a1", "a2"}, names(t, admin.Do(t, http.MethodGet, "/projects?owner=alice", nil)))
		require.Equal(t, []string{"a1", "hidden"}, names(t, admin.Do(t, http.MethodGet, "/projects?public=false", nil)))
		require.Equal(t, []string{"a2"}, names(t, alice.Do(t, http.MethodGet, "/projects?public=true&name=A2", nil)))
		require.Equal(t, []string{"hidden"}, names(t, admin.Do(t, http.MethodGet, "/projects?with_detail=false&q=name=%7B'hidden'%20'none'%7D", nil)))
		var listed []projectView
		alice.Must(t, 200, http.MethodGet, "/projects?owner=alice", nil).JSON(t, &listed)
		for _, p := range listed {
			require.Equal(t, 1, p.RoleID)
			require.Equal(t, "alice", p.OwnerName)
			require.Equal(t, fmt.Sprint(p.Name == "a2"), p.Metadata["public"])
		}
	})
}

func TestProjects_concurrent(t *testing.T) {
	apitest.EachEngine(t, func(t *testing.T, server *apitest.Server) {
		admin := server.Admin()
		for round := range 5 {
			name := fmt.Sprintf("p%d", round)
			statuses := make([]int, 4)
			var wait sync.WaitGroup
			for i := range statuses {
				wait.Go(func() { statuses[i] = admin.Do(t, http.MethodPost, "/projects", object{"project_name": name}).Status })
			}
			wait.Wait()
			require.ElementsMatch(t, []int{201, 409, 409, 409}, statuses)

			// Either the project goes, or it gets its repository: never a repository without a project.
			id := getProject(t, admin, name).ID
			deleted, ensured := 0, error(nil)
			wait.Go(func() { deleted = admin.Do(t, http.MethodDelete, "/projects/"+name, nil).Status })
			wait.Go(func() {
				ensured = server.Store.Tx(t.Context(), func(ctx context.Context, tx *metadata.Tx) error {
					_, err := tx.EnsureRepository(ctx, id, "p/app")
					return err
				})
			})
			wait.Wait()
			if deleted == 200 {
				require.ErrorIs(t, ensured, metadata.ErrNotFound)
				admin.Must(t, 404, http.MethodGet, "/projects/"+name, nil)
				continue
			}
			require.Equal(t, 412, deleted)
			require.NoError(t, ensured)
			require.Equal(t, int64(1), getProject(t, admin, name).Repos)
			server.Write(t, func(ctx context.Context, tx *metadata.Tx) error {
				repository, err := tx.Repository(ctx, "p/app")
				if err != nil {
					return err
				}
				return tx.DeleteRepository(ctx, repository.ID)
			})
		}
	})
}

func TestProjectMetadata(t *testing.T) {
	apitest.EachEngine(t, func(t *testing.T, server *apitest.Server) {
		admin := server.Admin()
		const all = "/projects/library/metadatas"
		require.JSONEq(t, `{"public":"true"}`, admin.Must(t, 200, http.MethodGet, all+"/", nil).Body)
		admin.Must(t, 200, http.MethodPost, all+"/", object{"auto_scan": "TRUE"})
		requireRefusal(t, admin.Do(t, http.MethodPost, all, object{"auto_scan": "false"}), 409, "CONFLICT")
		requireRefusal(t, admin.Do(t, http.MethodPost, all, object{"public": "false"}), 409, "CONFLICT")
		for _, bad := range []any{object{}, object{"a": "b"}, object{"prevent_vul": "x"}, object{"prevent_vul": "true", "severity": "low"}, object{"retention_id": "1"}} {
			requireRefusal(t, admin.Do(t, http.MethodPost, all, bad), 400, "BAD_REQUEST")
		}
		require.JSONEq(t, `{"auto_scan":"true"}`, admin.Must(t, 200, http.MethodGet, all+"/auto_scan", nil).Body)
		admin.Must(t, 200, http.MethodPut, all+"/auto_scan", object{"auto_scan": "false"})
		requireRefusal(t, admin.Do(t, http.MethodPut, all+"/auto_scan", object{"severity": "low"}), 400, "BAD_REQUEST")
		requireRefusal(t, admin.Do(t, http.MethodPut, all+"/severity", object{"severity": "low"}), 404, "NOT_FOUND")
		admin.Must(t, 200, http.MethodPut, all+"/public", object{"public": "false"})
		require.JSONEq(t, `{"public":"false","auto_scan":"false"}`, admin.Must(t, 200, http.MethodGet, all, nil).Body)
		server.Anonymous().Must(t, 401, http.MethodGet, "/projects/library", nil)
		admin.Must(t, 200, http.MethodDelete, all+"/auto_scan", nil)
		for _, key := range []string{"auto_scan", "nonsense", "a%00"} {
			requireRefusal(t, admin.Do(t, http.MethodDelete, all+"/"+key, nil), 404, "NOT_FOUND")
			requireRefusal(t, admin.Do(t, http.MethodGet, all+"/"+key, nil), 404, "NOT_FOUND")
		}
	})
}

func TestSystemAllowlist(t *testing.T) {
	apitest.EachEngine(t, func(t *testing.T, server *apitest.Server) {
		addUsers(t, server, "eve")
		const path = "/system/CVEAllowlist"
		eve, admin := server.As("eve", apitest.AdminPassword), server.Admin()
		server.Anonymous().Must(t, 401, http.MethodGet, path, nil)
		require.Contains(t, eve.Must(t, 200, http.MethodGet, path, nil).Body, `"items":[]`)
		requireRefusal(t, eve.Do(t, http.MethodPut, path, object{"items": []object{}}), 403, "FORBIDDEN")
		for _, cves := range [][]object{{{"cve_id": "CVE-2"}, {"cve_id": "CVE-1"}, {"cve_id": "CVE-1"}}, {{"cve_id": "CVE-3"}}} {
			admin.Must(t, 200, http.MethodPut, path, object{"items": cves, "expires_at": 4102444800})
		}
		var list struct {
			ExpiresAt int64 `json:"expires_at"`
			Items     []object
		}
		eve.Must(t, 200, http.MethodGet, path, nil).JSON(t, &list)
		require.Equal(t, []object{{"cve_id": "CVE-3"}}, list.Items)
		require.Equal(t, int64(4102444800), list.ExpiresAt)
		requireRefusal(t, admin.Do(t, http.MethodPut, path, object{"items": []object{{"cve_id": ""}}}), 400, "BAD_REQUEST")
	})
}
