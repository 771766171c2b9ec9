package contract_test

import (
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/artifact"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/project"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/registry"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/models"
	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/api/apitest"
	"github.com/berth-registry/berth/replicate/remote/remotetest"
)

// caches drives projects that are caches of registries elsewhere.
func caches(h *harbor) {
	ctx := h.t.Context()
	number := id(h.t, ok[*registry.CreateRegistryCreated](h)(h.Registry.CreateRegistry(ctx, &registry.CreateRegistryParams{
		Registry: &models.Registry{Name: "cached", URL: "http://" + remotetest.Distribution(h.t), Type: "docker-registry"},
	})).Location)
	create := func(name string, registryID int64) (*project.CreateProjectCreated, error) {
		return h.Project.CreateProject(ctx, &project.CreateProjectParams{Project: &models.ProjectReq{
			ProjectName: name, RegistryID: &registryID, Metadata: &models.ProjectMetadata{Public: "true", ProxySpeedKb: new("1024")},
		}})
	}
	refused[*project.CreateProjectCreated](h, "400")(create("cache", 4711))
	refused[*project.CreateProjectCreated](h, "400")(create("cache", -1))
	made := ok[*project.CreateProjectCreated](h)(create("cache", number))

	read := ok[*project.GetProjectOK](h)(h.Project.GetProject(ctx, &project.GetProjectParams{ProjectNameOrID: "cache", XIsResourceName: new(true)})).Payload
	require.Equal(h.t, number, read.RegistryID)
	require.Equal(h.t, "1024", *read.Metadata.ProxySpeedKb)
	list := ok[*project.ListProjectsOK](h)(h.Project.ListProjects(ctx, &project.ListProjectsParams{Name: new("cache")}))
	require.Equal(h.t, number, list.Payload[0].RegistryID)
	summary := ok[*project.GetProjectSummaryOK](h)(h.Project.GetProjectSummary(ctx, &project.GetProjectSummaryParams{ProjectNameOrID: "cache", XIsResourceName: new(true)})).Payload
	require.Equal(h.t, "cached", summary.Registry.Name)
	require.Nil(h.t, summary.Registry.Credential)

	change := func(registryID int64) (*project.UpdateProjectOK, error) {
		return h.Project.UpdateProject(ctx, &project.UpdateProjectParams{ProjectNameOrID: "cache", XIsResourceName: new(true), Project: &models.ProjectReq{
			RegistryID: &registryID, Metadata: &models.ProjectMetadata{ProxySpeedKb: new("2048")},
		}})
	}
	refused[*project.UpdateProjectOK](h, "400")(change(0))
	ok[*project.UpdateProjectOK](h)(change(number))
	refused[*registry.DeleteRegistryOK](h, "412")(h.Registry.DeleteRegistry(ctx, &registry.DeleteRegistryParams{ID: number}))

	image := h.server.PushImage(h.t, "library/for-cache", apitest.Image{}, "v1")
	refused[*artifact.CopyArtifactCreated](h, "405")(h.Artifact.CopyArtifact(ctx, &artifact.CopyArtifactParams{
		ProjectName: "cache", RepositoryName: "app", From: "library/for-cache@" + image.Digest.String(),
	}))
	ok[*project.DeleteProjectOK](h)(h.Project.DeleteProject(ctx, &project.DeleteProjectParams{ProjectNameOrID: "cache", XIsResourceName: new(true)}))
	ok[*registry.DeleteRegistryOK](h)(h.Registry.DeleteRegistry(ctx, &registry.DeleteRegistryParams{ID: number}))
	require.NotEmpty(h.t, made.Location)
}
