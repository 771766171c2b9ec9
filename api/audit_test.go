package api_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/api/apitest"
	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/identity/local"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/policy"
)

// addPeople makes users, each a member of the project with the role.
func addPeople(t *testing.T, server *apitest.Server, project string, roles map[string]policy.Role) {
	t.Helper()
	for name, role := range roles {
		user, err := server.Users.Create(t.Context(), event.Actor{}, local.NewUser{Name: name, Password: apitest.AdminPassword})
		require.NoError(t, err)
		if role == 0 {
			continue
		}
		server.Write(t, func(ctx context.Context, tx *metadata.Tx) error {
			p, err := tx.Project(ctx, project)
			if err != nil {
				return err
			}
			_, err = tx.SetMember(ctx, metadata.Member{ProjectID: p.ID, UserID: user.ID, RoleID: int(role)})
			return err
		})
	}
}

type auditEntry struct {
	ID           int64
	Username     string
	Resource     string
	ResourceType string `json:"resource_type"`
	Operation    string
	At           string `json:"op_time"`
	Result       *bool  `json:"operation_result"`
}

func resources(t *testing.T, answer apitest.Answer) string {
	t.Helper()
	require.Equal(t, http.StatusOK, answer.Status, answer.Body)
	var list []auditEntry
	answer.JSON(t, &list)
	var found []string
	for _, e := range list {
		found = append(found, e.Resource)
	}
	return strings.Join(found, " ")
}

func TestAuditLog(t *testing.T) {
	apitest.EachEngine(t, func(t *testing.T, server *apitest.Server) {
		addProjects(t, server, "mine", "other")
		addPeople(t, server, "mine", map[string]policy.Role{"boss": policy.ProjectAdmin, "dev": policy.Developer, "eve": 0})
		server.Write(t, func(ctx context.Context, tx *metadata.Tx) error {
			var entries []metadata.AuditEntry
			for i, name := range []string{"", "mine", "other", "mine"} {
				entry := metadata.AuditEntry{
					ID: int64(i + 1), Operation: "create", ResourceType: "artifact", Resource: fmt.Sprintf("r%d", i+1), Username: "u" + name,
					Succeeded: i != 2, At: time.Date(2026, 1, 1+i, 0, 0, 0, 123456000, time.UTC), Address: "192.0.2.1", Credential: "robot",
				}
				if name != "" {
					project, err := tx.Project(ctx, name)
					if err != nil {
						return err
					}
					entry.ProjectID = project.ID
				}
				entries = append(entries, entry)
			}
			return tx.InsertAuditEntries(ctx, entries)
		})
		admin, boss := server.Admin(), server.As("boss", apitest.AdminPassword)
		get := func(client *apitest.Client, path, q string) apitest.Answer {
			if q != "" {
				path += "?q=" + url.QueryEscape(q)
			}
			return client.Do(t, http.MethodGet, path, nil)
		}
		for _, path := range []string{"/audit-logs", "/auditlog-exts"} {
			answer := get(admin, path, "")
			require.Equal(t, "r4 r3 r2 r1", resources(t, answer))
			require.Equal(t, "4", answer.Header.Get("X-Total-Count"))
			require.Equal(t, "r4 r2", resources(t, get(boss, path, "")), "the logs of projects in which they may read it")
			for _, name := range []string{"dev", "eve"} {
				require.Equal(t, "[]\n", get(server.As(name, apitest.AdminPassword), path, "").Body)
			}
			requireRefusal(t, get(server.Anonymous(), path, ""), http.StatusUnauthorized, "UNAUTHORIZED")
			requireRefusal(t, get(admin, path, "operation"), http.StatusBadRequest, "BAD_REQUEST")
			require.Equal(t, "r1 r2", resources(t, admin.Do(t, http.MethodGet, path+"?sort=op_time&page_size=2", nil)))
			require.Equal(t, "r4 r3 r2 r1", resources(t, admin.Do(t, http.MethodGet, path+"?page_size=0", nil)))
		}
		for q, want := range map[string]string{
			"username=umine": "r4 r2", "username=~UM": "r4 r2", "operation=create,resource_type=artifact,resource=r3": "r3",
			"operation_result=false": "r3", "op_time=[2026-01-02T00:00:00~2026-01-03T23:59:59]": "r3 r2", "project_id=0": "r1", "nothing=x": "r4 r3 r2 r1",
			"resource={r1 r4 r9}": "r4 r1", "operation=delete": "",
		} {
			require.Equal(t, want, resources(t, get(admin, "/auditlog-exts", q)), q)
		}
		for _, path := range []string{"/projects/mine/logs", "/projects/mine/auditlog-exts"} {
			require.Equal(t, "r4 r2", resources(t, get(boss, path, "")))
			require.Equal(t, "r2", resources(t, get(boss, path, "resource=r2")))
			requireRefusal(t, get(server.As("dev", apitest.AdminPassword), path, ""), http.StatusForbidden, "FORBIDDEN")
		}
		requireRefusal(t, get(boss, "/projects/other/logs", ""), http.StatusForbidden, "FORBIDDEN")
		for i, robot := range []struct{ level, permission, whole, other, mine string }{
			{"system", "/ audit-log:list", "r4 r3 r2 r1", "", ""},
			{"system", "* log:list", "r4 r3 r2", "r3", "r4 r2"},
			{"system", "other log:list", "r3", "r3", ""},
			{"project", "mine log:list", "r4 r2", "", "r4 r2"},
			{"system", "* artifact:list", "", "", ""},
		} {
			made := addRobot(t, admin, robotBody(fmt.Sprint("auditor-", i), robot.level, robot.permission))
			client := server.As(made.Name, made.Secret)
			for _, path := range []string{"/audit-logs", "/auditlog-exts"} {
				require.Equal(t, robot.whole, resources(t, get(client, path, "")), robot.permission)
				require.NotContains(t, resources(t, get(client, path, "username=umine")), "r3", robot.permission)
			}
			for project, want := range map[string]string{"other": robot.other, "mine": robot.mine} {
				answer := get(client, "/projects/"+project+"/logs", "")
				if want == "" {
					requireRefusal(t, answer, http.StatusForbidden, "FORBIDDEN")
					continue
				}
				require.Equal(t, want, resources(t, answer), robot.permission)
			}
		}

		require.JSONEq(t, `{"id":3,"username":"uother","resource":"r3","resource_type":"artifact","operation":"create","op_time":"2026-01-03T00:00:00.123Z",
			"operation_description":"","operation_result":false,"credential":"robot","client_address":"192.0.2.1","request_id":""}`,
			strings.Trim(get(admin, "/auditlog-exts", "resource=r3").Body, "[]\n"))
		require.NotContains(t, get(admin, "/audit-logs", "").Body, "operation_result")
		var types []struct {
			Type string `json:"event_type"`
		}
		get(boss, "/auditlog-exts/events", "").JSON(t, &types)
		require.GreaterOrEqual(t, len(types), 18)
		require.Equal(t, "create_artifact", types[0].Type)
		requireRefusal(t, get(server.Anonymous(), "/auditlog-exts/events", ""), http.StatusUnauthorized, "UNAUTHORIZED")
	})
}
