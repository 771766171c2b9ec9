package contract_test

import (
	"strconv"

	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/artifact"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/icon"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/label"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/project"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/repository"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/models"
	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/api/apitest"
)

func content(h *harbor) {
	ctx := h.t.Context()
	number := h.newProject("filled")
	image := h.server.PushImage(h.t, "filled/deep/app", apitest.Image{}, "v1")
	const deep = "deep%252Fapp" // as the client has to be given it

	all := ok[*repository.ListAllRepositoriesOK](h)(h.Repository.ListAllRepositories(ctx, &repository.ListAllRepositoriesParams{Q: new("name=~deep")}))
	require.Equal(h.t, int64(1), all.XTotalCount)
	listed := ok[*repository.ListRepositoriesOK](h)(h.Repository.ListRepositories(ctx, &repository.ListRepositoriesParams{ProjectName: "filled"}))
	require.Equal(h.t, "filled/deep/app", listed.Payload[0].Name)
	require.Equal(h.t, int64(1), listed.Payload[0].ArtifactCount)
	ok[*repository.UpdateRepositoryOK](h)(h.Repository.UpdateRepository(ctx, &repository.UpdateRepositoryParams{
		ProjectName: "filled", RepositoryName: deep, Repository: &models.Repository{Description: "# an app"},
	}))
	require.Equal(h.t, "# an app", ok[*repository.GetRepositoryOK](h)(h.Repository.GetRepository(ctx, &repository.GetRepositoryParams{
		ProjectName: "filled", RepositoryName: deep,
	})).Payload.Description)
	refused[*repository.GetRepositoryOK](h, "404")(h.Repository.GetRepository(ctx, &repository.GetRepositoryParams{ProjectName: "filled", RepositoryName: "absent"}))

	artifacts := ok[*artifact.ListArtifactsOK](h)(h.Artifact.ListArtifacts(ctx, &artifact.ListArtifactsParams{
		ProjectName: "filled", RepositoryName: deep, WithTag: new(true), WithLabel: new(true), WithAccessory: new(true),
	}))
	require.Equal(h.t, image.Digest.String(), artifacts.Payload[0].Digest)
	require.Equal(h.t, "v1", artifacts.Payload[0].Tags[0].Name)
	ok[*project.ListArtifactsOfProjectOK](h)(h.Project.ListArtifactsOfProject(ctx, &project.ListArtifactsOfProjectParams{ProjectNameOrID: number}))
	read := ok[*artifact.GetArtifactOK](h)(h.Artifact.GetArtifact(ctx, &artifact.GetArtifactParams{ProjectName: "filled", RepositoryName: deep, Reference: "v1"})).Payload
	require.Equal(h.t, "IMAGE", read.Type)
	refused[*artifact.GetArtifactOK](h, "404")(h.Artifact.GetArtifact(ctx, &artifact.GetArtifactParams{ProjectName: "filled", RepositoryName: deep, Reference: "absent"}))
	// Harbor's description has a text where Harbor and everybody else sends JSON, which the client refuses to read.
	_, err := h.Artifact.GetAddition(ctx, &artifact.GetAdditionParams{ProjectName: "filled", RepositoryName: deep, Reference: "v1", Addition: "build_history"})
	require.ErrorContains(h.t, err, "cannot unmarshal array")
	ok[*artifact.ListAccessoriesOK](h)(h.Artifact.ListAccessories(ctx, &artifact.ListAccessoriesParams{ProjectName: "filled", RepositoryName: deep, Reference: "v1"}))

	ok[*artifact.CreateTagCreated](h)(h.Artifact.CreateTag(ctx, &artifact.CreateTagParams{
		ProjectName: "filled", RepositoryName: deep, Reference: image.Digest.String(), Tag: &models.Tag{Name: "latest"},
	}))
	refused[*artifact.CreateTagCreated](h, "409")(h.Artifact.CreateTag(ctx, &artifact.CreateTagParams{
		ProjectName: "filled", RepositoryName: deep, Reference: image.Digest.String(), Tag: &models.Tag{Name: "latest"},
	}))
	tags := ok[*artifact.ListTagsOK](h)(h.Artifact.ListTags(ctx, &artifact.ListTagsParams{ProjectName: "filled", RepositoryName: deep, Reference: "v1"}))
	require.Equal(h.t, int64(2), tags.XTotalCount)
	ok[*artifact.DeleteTagOK](h)(h.Artifact.DeleteTag(ctx, &artifact.DeleteTagParams{ProjectName: "filled", RepositoryName: deep, Reference: "v1", TagName: "latest"}))

	made := id(h.t, ok[*label.CreateLabelCreated](h)(h.Label.CreateLabel(ctx, &label.CreateLabelParams{Label: &models.Label{Name: "shiny", Scope: "g"}})).Location)
	ok[*artifact.AddLabelOK](h)(h.Artifact.AddLabel(ctx, &artifact.AddLabelParams{ProjectName: "filled", RepositoryName: deep, Reference: "v1", Label: &models.Label{ID: made}}))
	refused[*artifact.AddLabelOK](h, "409")(h.Artifact.AddLabel(ctx, &artifact.AddLabelParams{ProjectName: "filled", RepositoryName: deep, Reference: "v1", Label: &models.Label{ID: made}}))
	byLabel := ok[*artifact.ListArtifactsOK](h)(h.Artifact.ListArtifacts(ctx, &artifact.ListArtifactsParams{
		ProjectName: "filled", RepositoryName: deep, Q: new("labels=(" + strconv.FormatInt(made, 10) + ")"), WithLabel: new(true),
	}))
	require.Equal(h.t, "shiny", byLabel.Payload[0].Labels[0].Name)
	ok[*artifact.RemoveLabelOK](h)(h.Artifact.RemoveLabel(ctx, &artifact.RemoveLabelParams{ProjectName: "filled", RepositoryName: deep, Reference: "v1", LabelID: made}))
	refused[*icon.GetIconOK](h, "404")(h.Icon.GetIcon(ctx, &icon.GetIconParams{Digest: image.Digest.String()}))

	h.newProject("copied")
	ok[*artifact.CopyArtifactCreated](h)(h.Artifact.CopyArtifact(ctx, &artifact.CopyArtifactParams{
		ProjectName: "copied", RepositoryName: "app", From: "filled/deep/app:v1",
	}))
	refused[*project.DeleteProjectOK](h, "412")(h.Project.DeleteProject(ctx, &project.DeleteProjectParams{ProjectNameOrID: "copied", XIsResourceName: new(true)}))
	ok[*artifact.DeleteArtifactOK](h)(h.Artifact.DeleteArtifact(ctx, &artifact.DeleteArtifactParams{ProjectName: "copied", RepositoryName: "app", Reference: image.Digest.String()}))
	ok[*repository.DeleteRepositoryOK](h)(h.Repository.DeleteRepository(ctx, &repository.DeleteRepositoryParams{ProjectName: "filled", RepositoryName: deep}))
}
