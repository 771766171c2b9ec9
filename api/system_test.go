package api_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/api"
	"github.com/berth-registry/berth/api/apitest"
	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/health"
	"github.com/berth-registry/berth/identity/local"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/setting"
	"github.com/berth-registry/berth/storage"
)

// room is a storage of a fixed size.
type room storage.Volume

func (r room) Volume(context.Context) (storage.Volume, error) { return storage.Volume(r), nil }

func fields(t *testing.T, answer apitest.Answer) map[string]any {
	t.Helper()
	found := map[string]any{}
	answer.JSON(t, &found)
	return found
}

func TestSystemInfo(t *testing.T) {
	server := apitest.Start(t, "sqlite", func(options *api.Options) {
		options.Base = func(*http.Request) string { return "https://registry.test:8443" }
		options.System = api.System{Version: "v1.2.3", StorageName: "s3", Certificate: func(*http.Request) ([]byte, error) { return []byte("PEM"), nil }}
	})
	require.Equal(t, map[string]any{
		"auth_mode": "db_auth", "primary_auth_mode": false, "self_registration": false, "banner_message": "", "oidc_provider_name": "",
	}, fields(t, server.Anonymous().Must(t, http.StatusOK, http.MethodGet, "/systeminfo", nil)))

	server.Admin().Must(t, http.StatusOK, http.MethodPut, "/configurations", map[string]any{
		"banner_message": `{"message":"hello"}`, "auth_mode": "oidc_auth", "oidc_name": "sso", "read_only": true, "project_creation_restriction": "adminonly",
	})
	told := fields(t, server.Admin().Must(t, http.StatusOK, http.MethodGet, "/systeminfo", nil))
	require.Regexp(t, `^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$`, told["current_time"])
	delete(told, "current_time")
	require.Equal(t, map[string]any{
		"auth_mode": "oidc_auth", "primary_auth_mode": false, "self_registration": false, "banner_message": `{"message":"hello"}`, "oidc_provider_name": "sso",
		"registry_url": "registry.test:8443", "external_url": "https://registry.test:8443", "harbor_version": "v2.15.0-berth", "berth_version": "v1.2.3",
		"project_creation_restriction": "adminonly", "has_ca_root": true, "registry_storage_provider_name": "s3", "read_only": true, "notification_enable": true,
	}, told)
	certificate := server.Anonymous().Must(t, http.StatusOK, http.MethodGet, "/systeminfo/getcert", nil)
	require.Equal(t, "PEM", certificate.Body)
	require.Contains(t, certificate.Header.Get("Content-Disposition"), "ca.crt")
}

func TestCertificate_none(t *testing.T) {
	server := apitest.Start(t, "sqlite")
	requireRefusal(t, server.Anonymous().Do(t, http.MethodGet, "/systeminfo/getcert", nil), http.StatusNotFound, "NOT_FOUND")
}

func TestVersion(t *testing.T) {
	server := apitest.Start(t, "sqlite")
	response, err := http.Get(server.URL + "/api/version") //nolint:noctx // the test's own server
	require.NoError(t, err)
	defer response.Body.Close()
	require.Equal(t, http.StatusOK, response.StatusCode)
	require.Equal(t, "application/json; charset=utf-8", response.Header.Get("Content-Type"))
}

func TestHealth(t *testing.T) {
	var fault error
	server := apitest.Start(t, "sqlite", func(options *api.Options) {
		options.System.Health = health.New(slog.New(slog.DiscardHandler),
			health.Check{Name: "core"}, health.Check{Name: "database", Ask: options.Store.Ping},
			health.Check{Name: "storage", Ask: func(context.Context) error { return fault }},
		)
	})
	fault = errors.New("disk on fire")
	answer := server.Anonymous().Must(t, http.StatusOK, http.MethodGet, "/health", nil)
	require.NotContains(t, answer.Body, "fire", "what is wrong is for the log")
	require.JSONEq(t, `{"status":"unhealthy","components":[{"name":"core","status":"healthy"},{"name":"database","status":"healthy"},
		{"name":"storage","status":"unhealthy","error":"does not work: the registry's log says why"}]}`, answer.Body)
}

func TestVolumes(t *testing.T) {
	apitest.EachEngine(t, func(t *testing.T, server *apitest.Server) {
		server.Write(t, func(ctx context.Context, tx *metadata.Tx) error {
			_, err := tx.PutBlob(ctx, metadata.Blob{Digest: "sha256:00", Size: 700, StorageKey: "k"})
			return err
		})
		require.JSONEq(t, `{"storage":[{"total":700,"free":0,"used":700}]}`, server.Admin().Must(t, http.StatusOK, http.MethodGet, "/systeminfo/volumes", nil).Body)
		requireRefusal(t, server.Anonymous().Do(t, http.MethodGet, "/systeminfo/volumes", nil), http.StatusUnauthorized, "UNAUTHORIZED")
	})
	server := apitest.Start(t, "sqlite", func(options *api.Options) { options.System.Volumes = room{Total: 1000, Free: 300} })
	require.JSONEq(t, `{"storage":[{"total":1000,"free":300,"used":0}]}`, server.Admin().Must(t, http.StatusOK, http.MethodGet, "/systeminfo/volumes", nil).Body)
}

func TestStatistics(t *testing.T) {
	apitest.EachEngine(t, func(t *testing.T, server *apitest.Server) {
		addProjects(t, server, "open1", "hidden", "mine")
		user, err := server.Users.Create(t.Context(), event.Actor{}, local.NewUser{Name: "eve", Password: apitest.AdminPassword})
		require.NoError(t, err)
		server.Write(t, func(ctx context.Context, tx *metadata.Tx) error {
			for name, repositories := range map[string][]string{"open1": {"open1/a"}, "hidden": {"hidden/a", "hidden/b"}, "mine": {"mine/a"}} {
				project, err := tx.Project(ctx, name)
				if err != nil {
					return err
				}
				for _, repository := range repositories {
					if _, err := tx.EnsureRepository(ctx, project.ID, oci.Repository(repository)); err != nil {
						return err
					}
				}
				if _, err := tx.AddUsage(ctx, project.ID, 10, true); err != nil {
					return err
				}
				if name == "mine" {
					if _, err := tx.SetMember(ctx, metadata.Member{ProjectID: project.ID, UserID: user.ID, RoleID: 3}); err != nil {
						return err
					}
				}
			}
			return nil
		})
		require.JSONEq(t, `{"private_project_count":2,"private_repo_count":3,"public_project_count":2,"public_repo_count":1,
			"total_project_count":4,"total_repo_count":4,"total_storage_consumption":30}`, server.Admin().Must(t, http.StatusOK, http.MethodGet, "/statistics", nil).Body)
		require.JSONEq(t, `{"private_project_count":1,"private_repo_count":1,"public_project_count":2,"public_repo_count":1,
			"total_project_count":0,"total_repo_count":0,"total_storage_consumption":0}`, server.As("eve", apitest.AdminPassword).Must(t, http.StatusOK, http.MethodGet, "/statistics", nil).Body)
		requireRefusal(t, server.Anonymous().Do(t, http.MethodGet, "/statistics", nil), http.StatusUnauthorized, "UNAUTHORIZED")
	})
}

// TestReadOnly walks the whole route table, so that no route can be forgotten: in read-only mode every change is refused.
func TestReadOnly(t *testing.T) {
	server := apitest.Start(t, "sqlite")
	admin := server.Admin()
	admin.Must(t, http.StatusOK, http.MethodPut, "/configurations", map[string]any{"read_only": true})
	exempt := map[string]bool{"updateConfigurations": true, "deleteCurrentUserSessions": true}
	for _, route := range server.API.Routes() {
		if route.Method == http.MethodGet || route.Method == http.MethodHead {
			continue
		}
		if exempt[route.ID] {
			require.True(t, route.InReadOnly, route.ID)
			continue
		}
		if route.InReadOnly {
			continue // asks only
		}
		answer := admin.Do(t, route.Method, pathOf(route), `{}`)
		require.Equal(t, http.StatusForbidden, answer.Status, "%s: %s", route.ID, answer.Body)
		require.Contains(t, answer.Body, `"code":"DENIED"`)
		require.Contains(t, answer.Body, "read-only mode")
	}
	refused := server.Anonymous().Do(t, http.MethodPut, "/quotas/1", `{"hard":{"storage":5}}`)
	requireRefusal(t, refused, http.StatusUnauthorized, "UNAUTHORIZED")
	require.NoError(t, server.Settings.Update(t.Context(), event.Actor{}, map[*setting.Key]any{setting.ReadOnly: false}))
	admin.Must(t, http.StatusOK, http.MethodPut, "/quotas/1", `{"hard":{"storage":5}}`)
}

var parameterOfPath = regexp.MustCompile(`{\w+}`)

// pathOf is a path of the route in which every parameter is 1: the id of the project library, among others.
func pathOf(route api.Route) string {
	return parameterOfPath.ReplaceAllString(strings.ReplaceAll(route.Path, "{project_name}", "library"), "1")
}
