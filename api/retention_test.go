package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/api/apitest"
	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
)

type retentionTask struct {
	ID              int64
	Repository      string
	Status          string
	StatusCode      int64 `json:"status_code"`
	Total, Retained int64
	JobID           string `json:"job_id"`
}

type body = map[string]any

func selectorOf(decoration, pattern, extras string) body {
	return body{"kind": "doublestar", "decoration": decoration, "pattern": pattern, "extras": extras}
}

// keepRule is a rule of the project as Harbor's console sends it.
func keepRule(template string, number any, repositories, tags body) body {
	params := body{}
	if number != nil {
		params[template] = number
	}
	return body{
		"action": "retain", "template": template, "params": params, "disabled": false, "priority": 0,
		"scope_selectors": body{"repository": []body{repositories}}, "tag_selectors": []body{tags},
	}
}

func retentionOf(projectID int64, cron string, rules ...body) body {
	return body{
		"algorithm": "or", "rules": append([]body{}, rules...), "scope": body{"level": "project", "ref": projectID},
		"trigger": body{"kind": "Schedule", "settings": body{"cron": cron}, "references": body{}},
	}
}

func projectID(t *testing.T, server *apitest.Server, name string) int64 {
	t.Helper()
	project, err := server.Store.Project(t.Context(), name)
	require.NoError(t, err)
	return project.ID
}

// follow runs a policy and returns its tasks by repository, with the log of each.
func follow(t *testing.T, client *apitest.Client, policy string, dryRun bool) (tasks map[string]retentionTask, logs map[string]string) {
	t.Helper()
	made := client.Must(t, http.StatusCreated, http.MethodPost, policy+"/executions", body{"dry_run": dryRun})
	path := strings.TrimPrefix(made.Header.Get("Location"), "/api/v2.0")
	require.Eventually(t, func() bool {
		var executions []struct {
			ID     int64
			Status string
			DryRun bool `json:"dry_run"`
		}
		client.Must(t, http.StatusOK, http.MethodGet, policy+"/executions", nil).JSON(t, &executions)
		require.Equal(t, dryRun, executions[0].DryRun)
		require.NotEqual(t, "Error", executions[0].Status)
		return strings.HasSuffix(path, fmt.Sprintf("/%d", executions[0].ID)) && executions[0].Status == "Success"
	}, time.Minute, 10*time.Millisecond)
	var list []retentionTask
	answer := client.Must(t, http.StatusOK, http.MethodGet, path+"/tasks?page_size=100", nil)
	answer.JSON(t, &list)
	require.Equal(t, fmt.Sprint(len(list)), answer.Header.Get("X-Total-Count"))
	tasks, logs = map[string]retentionTask{}, map[string]string{}
	for _, task := range list {
		require.Equal(t, "Success 3", fmt.Sprint(task.Status, " ", task.StatusCode))
		tasks[task.Repository] = task
		logs[task.Repository] = client.Must(t, http.StatusOK, http.MethodGet, fmt.Sprintf("%s/tasks/%d", path, task.ID), nil).Body
	}
	return tasks, logs
}

func (r retentionTask) counts() string { return fmt.Sprintf("%d of %d", r.Retained, r.Total) }

func TestRetention_keepsWhatTheRulesSay(t *testing.T) {
	apitest.EachEngine(t, func(t *testing.T, server *apitest.Server) {
		admin := server.Admin()
		push := func(repository, tag string) string {
			return server.PushImage(t, repository, apitest.Image{Layers: []string{repository + tag}}, tag).Digest.String()
		}
		push("library/app", "v1")
		push("library/app", "v2")
		push("library/app", "v3")
		push("library/app", "dev")
		push("library/deep/app", "dev")
		push("library/other", "dev")
		child := server.PushImage(t, "library/app", apitest.Image{Layers: []string{"child"}})
		signed := server.PushIndex(t, "library/app", []oci.Descriptor{child}, "v4")
		server.PushArtifact(t, "library/app", "application/x.sbom", &child, "sbom of the child")
		server.PushArtifact(t, "library/app", "application/x.signature", nil, "as cosign does", "sha256-"+signed.Digest.Encoded()+".sig")
		doomed := server.PushImage(t, "library/app", apitest.Image{Layers: []string{"doomed"}}, "old")
		server.PushArtifact(t, "library/app", "application/x.sbom", &doomed, "sbom of the doomed")
		loose := server.PushImage(t, "library/app", apitest.Image{Layers: []string{"loose"}}, "moved")
		server.PushImage(t, "library/app", apitest.Image{Layers: []string{"loose no more"}}, "moved")
		admin.Must(t, http.StatusCreated, http.MethodPost, "/projects/library/immutabletagrules", body{
			"scope_selectors": body{"repository": []body{selectorOf("repoMatches", "**", "")}}, "tag_selectors": []body{selectorOf("matches", "dev", "")},
		})

		id := projectID(t, server, "library")
		rule := keepRule("latestPushedK", 2, selectorOf("repoMatches", "{app,deep/**}", ""), selectorOf("matches", "v*", ""))
		made := admin.Must(t, http.StatusCreated, http.MethodPost, "/retentions", retentionOf(id, "", rule))
		policy := strings.TrimPrefix(made.Header.Get("Location"), "/api/v2.0")
		requireRefusal(t, admin.Do(t, http.MethodPost, "/retentions", retentionOf(id, "", rule)), http.StatusBadRequest, "BAD_REQUEST")
		var project struct{ Metadata map[string]string }
		admin.Must(t, http.StatusOK, http.MethodGet, "/projects/library", nil).JSON(t, &project)
		require.Equal(t, strings.TrimPrefix(policy, "/retentions/"), project.Metadata["retention_id"])

		tasks, logs := follow(t, admin, policy, true)
		require.Len(t, tasks, 2, "no rule is about the other")
		// Kept are v3, v4 with its child, the child's SBOM and the index's signature, and dev.
		require.Equal(t, "6 of 12", tasks["app"].counts(), logs["app"])
		require.Equal(t, "1 of 1", tasks["deep/app"].counts())
		require.Contains(t, logs["app"], "would delete "+loose.Digest.String()+" (no tag): kept by no rule")
		require.Contains(t, logs["app"], "tag dev is immutable")
		require.Contains(t, logs["app"], "listed by "+signed.Digest.String())
		admin.Must(t, http.StatusOK, http.MethodGet, "/projects/library/repositories/app/artifacts/v1", nil)

		tasks, logs = follow(t, admin, policy, false)
		require.Equal(t, "6 of 12", tasks["app"].counts(), logs["app"])
		require.Contains(t, logs["app"], "deleted "+doomed.Digest.String()+" (old): kept by no rule")
		for tag, status := range map[string]int{"v1": 404, "v2": 404, "v3": 200, "v4": 200, "dev": 200, "old": 404, "moved": 404} {
			admin.Must(t, status, http.MethodGet, "/projects/library/repositories/app/artifacts/"+tag, nil)
		}
		artifacts, total, err := server.Store.ListArtifacts(t.Context(), metadata.Collection{ProjectID: id, RepositoryID: repositoryID(t, server, "library/app"), Whole: true}, metadata.Query{Limit: 100})
		require.NoError(t, err)
		require.Equal(t, int64(6), total, "%v", artifacts)
		require.Equal(t, 1, server.CountEvents(t, event.RetentionEnded))
		tasks, _ = follow(t, admin, policy, false)
		require.Equal(t, "6 of 6", tasks["app"].counts(), "again there is nothing to do")
	})
}

// TestRetention_moreThanAPage judges and deletes artifacts of which several pages have to be read, and indexes whose children come first.
func TestRetention_moreThanAPage(t *testing.T) {
	server := apitest.Start(t, "sqlite")
	admin := server.Admin()
	config := server.Blob(t, "library/many", v1.MediaTypeEmptyJSON, []byte("{}"))
	push := func(n int, tags ...string) oci.Descriptor {
		m := v1.Manifest{MediaType: oci.MediaTypeImageManifest, ArtifactType: "application/x", Config: config, Layers: []oci.Descriptor{config}}
		m.SchemaVersion, m.Annotations = 2, map[string]string{"n": fmt.Sprint(n)}
		return server.Push(t, "library/many", oci.MediaTypeImageManifest, m, tags...)
	}
	const many, wanted, indexes = 1000, 900, 8
	for n := range many {
		push(n, fmt.Sprint(map[bool]string{true: "drop-", false: "keep-"}[n%10 == 0], n))
	}
	for n := range indexes {
		server.PushIndex(t, "library/many", []oci.Descriptor{push(many + n)}, fmt.Sprint([]string{"keep-", "drop-"}[n%2], "index-", n))
	}
	rule := keepRule("always", nil, selectorOf("repoMatches", "**", ""), selectorOf("matches", "keep-*", `{"untagged":true}`))
	made := admin.Must(t, http.StatusCreated, http.MethodPost, "/retentions", retentionOf(projectID(t, server, "library"), "", rule))
	policy := strings.TrimPrefix(made.Header.Get("Location"), "/api/v2.0")
	for _, dryRun := range []bool{true, false} {
		tasks, _ := follow(t, admin, policy, dryRun)
		require.Equal(t, fmt.Sprintf("%d of %d", wanted+indexes, many+2*indexes), tasks["many"].counts(), "a child stays with its index")
	}
	tasks, _ := follow(t, admin, policy, true)
	require.Equal(t, fmt.Sprintf("%d of %[1]d", wanted+indexes), tasks["many"].counts(), "the others are gone")
}

func repositoryID(t *testing.T, server *apitest.Server, name string) int64 {
	t.Helper()
	repository, err := server.Registry.Repository(t.Context(), oci.Repository(name))
	require.NoError(t, err)
	return repository.ID
}

func TestRetention_policies(t *testing.T) {
	apitest.EachEngine(t, func(t *testing.T, server *apitest.Server) {
		admin := server.Admin()
		id := projectID(t, server, "library")
		all := selectorOf("repoMatches", "**", "")
		rule := keepRule("nDaysSinceLastPull", "7", all, selectorOf("excludes", "dev-*", `{"untagged":true}`))
		labelled := keepRule("always", nil, all, body{"kind": "label", "decoration": "withLabels", "pattern": "stable, tested"})
		made := admin.Must(t, http.StatusCreated, http.MethodPost, "/retentions", retentionOf(id, "0 0 0 * * *", rule, labelled))
		path := strings.TrimPrefix(made.Header.Get("Location"), "/api/v2.0")
		var got struct {
			ID        int64
			Algorithm string
			Rules     []struct {
				Template     string
				Action       string
				Params       map[string]any
				TagSelectors []map[string]string                                     `json:"tag_selectors"`
				Scope        map[string][]struct{ Kind, Decoration, Pattern string } `json:"scope_selectors"`
			}
			Trigger struct {
				Kind       string
				Settings   map[string]string
				References map[string]any
			}
			Scope struct {
				Level string
				Ref   int64
			}
		}
		admin.Must(t, http.StatusOK, http.MethodGet, path, nil).JSON(t, &got)
		require.Equal(t, fmt.Sprint("or project ", id, " Schedule 0 0 0 * * *"),
			fmt.Sprint(got.Algorithm, " ", got.Scope.Level, " ", got.Scope.Ref, " ", got.Trigger.Kind, " ", got.Trigger.Settings["cron"]))
		require.NotEmpty(t, got.Trigger.Settings["next_scheduled_time"])
		require.Equal(t, "nDaysSinceLastPull", got.Rules[0].Template)
		require.Equal(t, `{"untagged":true}`, got.Rules[0].TagSelectors[0]["extras"])
		require.Equal(t, "**", got.Rules[0].Scope["repository"][0].Pattern)
		schedule, err := server.Store.Schedule(t.Context(), "RETENTION", got.ID)
		require.NoError(t, err)
		require.Equal(t, "0 0 0 * * *", schedule.Cron)

		admin.Must(t, http.StatusOK, http.MethodPut, path, retentionOf(id, ""))
		admin.Must(t, http.StatusOK, http.MethodGet, path, nil).JSON(t, &got)
		require.Empty(t, got.Rules, "the provider for Terraform deletes so")
		_, err = server.Store.Schedule(t.Context(), "RETENTION", got.ID)
		require.ErrorIs(t, err, metadata.ErrNotFound)
		server.PushImage(t, "library/app", apitest.Image{}, "v1")
		tasks, _ := follow(t, admin, path, false)
		require.Empty(t, tasks, "without rules everything is kept")

		tags := selectorOf("matches", "**", "")
		for name, bad := range map[string]body{
			"template":   keepRule("latestPushed", 1, all, tags),
			"number":     keepRule("latestPushedK", 0, all, tags),
			"no number":  keepRule("latestPushedK", nil, all, tags),
			"a fraction": keepRule("latestPushedK", 1.5, all, tags),
			"pattern":    keepRule("always", nil, selectorOf("repoMatches", "[", ""), tags),
			"decoration": keepRule("always", nil, selectorOf("matches", "**", ""), tags),
			"extras":     keepRule("always", nil, all, selectorOf("matches", "**", "{")),
			"no label":   keepRule("always", nil, all, body{"kind": "label", "decoration": "withLabels", "pattern": ""}),
		} {
			answer := admin.Do(t, http.MethodPut, path, retentionOf(id, "", bad))
			require.Equal(t, http.StatusBadRequest, answer.Status, "%s: %s", name, answer.Body)
		}
		many := make([]body, 16)
		for i := range many {
			many[i] = rule
		}
		for _, bad := range []body{retentionOf(id, "", many...), retentionOf(id, "0 0 *"), retentionOf(id+1000, "")} {
			requireRefusal(t, admin.Do(t, http.MethodPut, path, bad), http.StatusBadRequest, "BAD_REQUEST")
		}
		requireRefusal(t, admin.Do(t, http.MethodPost, "/retentions", retentionOf(4711, "")), http.StatusNotFound, "NOT_FOUND")
		requireRefusal(t, admin.Do(t, http.MethodPost, "/retentions", body{}), http.StatusBadRequest, "BAD_REQUEST")
		requireRefusal(t, admin.Do(t, http.MethodGet, "/retentions/4711", nil), http.StatusNotFound, "NOT_FOUND")
		for _, missing := range []string{"/executions/4711/tasks", "/executions/4711/tasks/1"} {
			requireRefusal(t, admin.Do(t, http.MethodGet, path+missing, nil), http.StatusNotFound, "NOT_FOUND")
		}
		requireRefusal(t, admin.Do(t, http.MethodPatch, path+"/executions/4711", body{"action": "stop"}), http.StatusNotFound, "NOT_FOUND")

		admin.Must(t, http.StatusOK, http.MethodDelete, path, nil)
		requireRefusal(t, admin.Do(t, http.MethodGet, path, nil), http.StatusNotFound, "NOT_FOUND")
		require.NotContains(t, admin.Must(t, http.StatusOK, http.MethodGet, "/projects/library", nil).Body, "retention_id")
		admin.Must(t, http.StatusCreated, http.MethodPost, "/retentions", retentionOf(id, "", rule))
	})
}
