package api_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/api/apitest"
	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
)

// artifactAnswer is what of an artifact tests look at.
type artifactAnswer struct {
	ID                int64
	Type              string
	MediaType         string `json:"media_type"`
	ManifestMediaType string `json:"manifest_media_type"`
	ArtifactType      string `json:"artifact_type"`
	RepositoryName    string `json:"repository_name"`
	Digest            string
	Size              int64
	PushTime          time.Time      `json:"push_time"`
	PullTime          time.Time      `json:"pull_time"`
	ExtraAttrs        map[string]any `json:"extra_attrs"`
	Annotations       map[string]string
	References        []struct {
		ParentID    int64  `json:"parent_id"`
		ChildID     int64  `json:"child_id"`
		ChildDigest string `json:"child_digest"`
		Platform    struct{ OS, Architecture string }
	}
	Tags []struct {
		ID         int64
		ArtifactID int64 `json:"artifact_id"`
		Name       string
		Immutable  bool
		PullTime   time.Time `json:"pull_time"`
	}
	TagCount      int64 `json:"tag_count"`
	AdditionLinks map[string]struct {
		Href     string
		Absolute bool
	} `json:"addition_links"`
	Accessories []accessoryAnswer
}

type accessoryAnswer struct {
	Type, Digest  string
	SubjectDigest string `json:"subject_artifact_digest"`
	SubjectRepo   string `json:"subject_artifact_repo"`
	Size          int64
}

func artifacts(t *testing.T, answer apitest.Answer) []artifactAnswer {
	t.Helper()
	require.Equal(t, http.StatusOK, answer.Status, answer.Body)
	list := []artifactAnswer{}
	answer.JSON(t, &list)
	return list
}

func digests(t *testing.T, answer apitest.Answer) []string {
	t.Helper()
	found := []string{}
	for _, a := range artifacts(t, answer) {
		found = append(found, a.Digest)
	}
	return found
}

const appArtifacts = "/projects/library/repositories/app/artifacts"

func TestArtifacts(t *testing.T) {
	apitest.EachEngine(t, func(t *testing.T, server *apitest.Server) {
		admin := server.Admin()
		image := server.PushImage(t, "library/app", apitest.Image{Layers: []string{"layer"}, Annotations: map[string]string{"a": "b"}}, "v1", "latest")
		child := server.PushImage(t, "library/app", apitest.Image{Layers: []string{"child"}})
		listed := child
		listed.Platform = &oci.Platform{OS: "linux", Architecture: "arm64"}
		index := server.PushIndex(t, "library/app", []oci.Descriptor{listed}, "multi")
		signature := server.PushArtifact(t, "library/app", "application/vnd.cncf.notary.signature", &index, "signed")
		tagged := server.PushImage(t, "library/app", apitest.Image{Layers: []string{"cosign"}}, "sha256-"+index.Digest.Encoded()+".sig")
		chart := server.PushChart(t, "library/app", `{"name":"web","version":"1.2.3"}`, nil, "chart")

		list := artifacts(t, admin.Do(t, http.MethodGet, appArtifacts+"?with_accessory=true", nil))
		require.Len(t, list, 3, "neither accessories nor what the index lists")
		require.Equal(t, []string{chart.Digest.String(), index.Digest.String(), image.Digest.String()}, []string{list[0].Digest, list[1].Digest, list[2].Digest})
		require.Equal(t, "CHART", list[0].Type)
		require.Equal(t, "1.2.3", list[0].ExtraAttrs["version"])
		require.Equal(t, "application/vnd.cncf.helm.config.v1+json", list[0].MediaType)
		require.Equal(t, "IMAGE", list[1].Type)
		require.Equal(t, oci.MediaTypeImageIndex, list[1].ManifestMediaType)
		require.Len(t, list[1].References, 1)
		require.Equal(t, child.Digest.String(), list[1].References[0].ChildDigest)
		require.Equal(t, "arm64", list[1].References[0].Platform.Architecture)
		require.NotZero(t, list[1].References[0].ChildID)
		require.Len(t, list[1].Accessories, 2)
		require.Equal(t, "signature.notation", list[1].Accessories[0].Type)
		require.Equal(t, signature.Digest.String(), list[1].Accessories[0].Digest)
		require.Equal(t, "signature.cosign", list[1].Accessories[1].Type)
		require.Equal(t, tagged.Digest.String(), list[1].Accessories[1].Digest)
		require.Equal(t, index.Digest.String(), list[1].Accessories[1].SubjectDigest)
		require.Equal(t, "library/app", list[1].Accessories[1].SubjectRepo)
		require.Equal(t, "amd64", list[2].ExtraAttrs["architecture"])
		require.Equal(t, "somebody", list[2].ExtraAttrs["author"])
		require.Equal(t, map[string]string{"a": "b"}, list[2].Annotations)
		require.EqualValues(t, 2, list[2].TagCount)
		require.Len(t, list[2].Tags, 2)
		require.Empty(t, list[2].Accessories)
		require.True(t, list[2].PullTime.IsZero())
		require.Equal(t, []string{child.Digest.String()}, digests(t, admin.Do(t, http.MethodGet, appArtifacts+"?q=base=*,digest="+child.Digest.String(), nil)))

		var one artifactAnswer
		admin.Must(t, http.StatusOK, http.MethodGet, appArtifacts+"/latest?with_tag=false", nil).JSON(t, &one)
		require.Equal(t, image.Digest.String(), one.Digest)
		require.Empty(t, one.Tags)
		requireRefusal(t, admin.Do(t, http.MethodGet, appArtifacts+"/none", nil), http.StatusNotFound, "NOT_FOUND")
		requireRefusal(t, admin.Do(t, http.MethodGet, appArtifacts+"/sha256:zz", nil), http.StatusNotFound, "NOT_FOUND")

		var repositories []struct {
			Name          string
			ArtifactCount int64 `json:"artifact_count"`
		}
		admin.Must(t, http.StatusOK, http.MethodGet, "/projects/library/repositories", nil).JSON(t, &repositories)
		require.Len(t, repositories, 1)
		require.EqualValues(t, 3, repositories[0].ArtifactCount)

		answer := admin.Must(t, http.StatusOK, http.MethodGet, appArtifacts+"/multi/accessories?page_size=1", nil)
		require.Equal(t, "2", answer.Header.Get("X-Total-Count"))
		var accessories []accessoryAnswer
		answer.JSON(t, &accessories)
		require.Equal(t, "signature.notation", accessories[0].Type)
		require.Equal(t, []string{chart.Digest.String(), index.Digest.String()}, digests(t, admin.Do(t, http.MethodGet, "/projects/library/artifacts?page_size=2", nil)))

		admin.Must(t, http.StatusOK, http.MethodDelete, appArtifacts+"/multi", nil)
		require.Equal(t, []string{chart.Digest.String(), image.Digest.String()}, digests(t, admin.Do(t, http.MethodGet, appArtifacts+"?q=base=*", nil)), "with child and accessories")
		require.Equal(t, 4, server.CountEvents(t, event.ManifestDeleted))
		requireRefusal(t, admin.Do(t, http.MethodDelete, appArtifacts+"/multi", nil), http.StatusNotFound, "NOT_FOUND")
	})
}

func TestArtifacts_filtered(t *testing.T) {
	apitest.EachEngine(t, func(t *testing.T, server *apitest.Server) {
		admin := server.Admin()
		none := server.PushImage(t, "library/app", apitest.Image{Layers: []string{"1"}})
		first := server.PushImage(t, "library/app", apitest.Image{Layers: []string{"2"}}, "v1.0", "stable")
		second := server.PushChart(t, "library/app", `{}`, nil, "v2.0")
		server.PushImage(t, "library/other", apitest.Image{Layers: []string{"3"}}, "v1.0")
		at := func(q string) []string {
			return digests(t, admin.Do(t, http.MethodGet, appArtifacts+"?q="+url.QueryEscape(q), nil))
		}
		for q, expected := range map[string][]oci.Descriptor{
			"tags=nil": {none}, "tags=*": {second, first}, "tags=~V": {second, first}, "tags=stable": {first}, "tags={stable v2.0}": {second, first},
			"tags=(v1.0 stable)": {first}, "tags=(v1.0 v2.0)": {}, "type=CHART": {second}, "type={CHART IMAGE}": {second, first, none},
			"media_type=application/vnd.oci.image.config.v1+json": {first, none}, "digest=" + none.Digest.String(): {none},
			"digest=~" + none.Digest.Encoded()[:12]: {none}, "push_time=[2000-01-01T00:00:00~]": {second, first, none}, "push_time=[~2000-01-01T00:00:00]": {},
			"manifest_media_type=" + oci.MediaTypeImageIndex: {}, "labels=(1 2)": {}, "unknown=1": {second, first, none},
		} {
			wanted := []string{}
			for _, d := range expected {
				wanted = append(wanted, d.Digest.String())
			}
			require.Equal(t, wanted, at(q), q)
		}
		answer := admin.Must(t, http.StatusOK, http.MethodGet, appArtifacts+"?q=tags%3D~v&page_size=1", nil)
		require.Equal(t, "2", answer.Header.Get("X-Total-Count"))
		require.Equal(t, []string{none.Digest.String(), first.Digest.String(), second.Digest.String()}, digests(t, admin.Do(t, http.MethodGet, appArtifacts+"?sort=push_time", nil)))
		requireRefusal(t, admin.Do(t, http.MethodGet, appArtifacts+"?q=size=~1", nil), http.StatusBadRequest, "BAD_REQUEST")
		requireRefusal(t, admin.Do(t, http.MethodGet, "/projects/library/repositories/none/artifacts", nil), http.StatusNotFound, "NOT_FOUND")
	})
}

func TestArtifacts_pages(t *testing.T) {
	server := apitest.Start(t, "sqlite")
	admin := server.Admin()
	var pushed []string
	push := func() {
		d := server.PushImage(t, "library/app", apitest.Image{Layers: []string{fmt.Sprint(len(pushed))}})
		pushed = append([]string{d.Digest.String()}, pushed...)
	}
	for range 10 {
		push()
	}
	page := func(n int) []string {
		return digests(t, admin.Do(t, http.MethodGet, fmt.Sprintf("%s?page=%d&page_size=3", appArtifacts, n), nil))
	}
	require.Equal(t, pushed[6:9], page(3), "out of the blue")
	require.Equal(t, pushed[:3], page(1))
	push()
	require.Equal(t, pushed[4:7], page(2), "what comes after the page before, though something was pushed meanwhile")
	require.Equal(t, pushed[:3], page(1))
	admin.Must(t, http.StatusOK, http.MethodDelete, appArtifacts+"/"+pushed[0], nil)
	admin.Must(t, http.StatusOK, http.MethodDelete, appArtifacts+"/"+pushed[1], nil)
	pushed = pushed[2:]
	require.Equal(t, pushed[3:6], page(2), "the list is shorter")
	require.Empty(t, page(9))
}

func TestArtifacts_manyTags(t *testing.T) {
	server := apitest.Start(t, "sqlite")
	admin := server.Admin()
	var tags []string
	for i := range 150 {
		tags = append(tags, fmt.Sprintf("t%03d", i))
	}
	server.PushImage(t, "library/app", apitest.Image{}, tags...)
	list := artifacts(t, admin.Do(t, http.MethodGet, appArtifacts, nil))
	require.Len(t, list, 1)
	require.Len(t, list[0].Tags, 100)
	require.EqualValues(t, 150, list[0].TagCount)
	var walked []string
	for page := 1; page <= 3; page++ {
		answer := admin.Must(t, http.StatusOK, http.MethodGet, fmt.Sprintf("%s/t000/tags?page_size=70&page=%d", appArtifacts, page), nil)
		require.Equal(t, "150", answer.Header.Get("X-Total-Count"))
		walked = append(walked, names(t, answer)...)
	}
	require.ElementsMatch(t, tags, walked)
	require.Equal(t, []string{"t007"}, names(t, admin.Do(t, http.MethodGet, appArtifacts+"/t000/tags?q=name=~t007", nil)))

	admin.Must(t, http.StatusOK, http.MethodDelete, "/projects/library/repositories/app", nil)
	require.Equal(t, 150, server.CountEvents(t, event.TagDeleted))
	require.Equal(t, 1, server.CountEvents(t, event.RepositoryDeleted))
	requireRefusal(t, admin.Do(t, http.MethodGet, appArtifacts, nil), http.StatusNotFound, "NOT_FOUND")
	_, err := server.Store.Repository(t.Context(), "library/app")
	require.ErrorIs(t, err, metadata.ErrNotFound)
}

func TestTags(t *testing.T) {
	apitest.EachEngine(t, func(t *testing.T, server *apitest.Server) {
		admin := server.Admin()
		image := server.PushImage(t, "library/app", apitest.Image{}, "v1")
		other := server.PushImage(t, "library/app", apitest.Image{Layers: []string{"x"}}, "v2")
		created := admin.Must(t, http.StatusCreated, http.MethodPost, appArtifacts+"/v1/tags", `{"name":"stable","id":0,"push_time":"0001-01-01T00:00:00Z"}`)
		require.Empty(t, created.Header.Get("Location"))
		requireRefusal(t, admin.Do(t, http.MethodPost, appArtifacts+"/v1/tags", `{"name":"v2"}`), http.StatusConflict, "CONFLICT")
		requireRefusal(t, admin.Do(t, http.MethodPost, appArtifacts+"/v1/tags", `{"name":"-"}`), http.StatusBadRequest, "BAD_REQUEST")
		requireRefusal(t, admin.Do(t, http.MethodPost, appArtifacts+"/none/tags", `{"name":"x"}`), http.StatusNotFound, "NOT_FOUND")
		require.Equal(t, []string{"stable", "v1"}, names(t, admin.Do(t, http.MethodGet, appArtifacts+"/"+image.Digest.String()+"/tags", nil)))
		requireRefusal(t, admin.Do(t, http.MethodDelete, appArtifacts+"/v1/tags/v2", nil), http.StatusNotFound, "NOT_FOUND")
		admin.Must(t, http.StatusOK, http.MethodDelete, appArtifacts+"/v1/tags/v1", nil)
		admin.Must(t, http.StatusOK, http.MethodDelete, appArtifacts+"/stable/tags/stable", nil)
		var kept artifactAnswer
		admin.Must(t, http.StatusOK, http.MethodGet, appArtifacts+"/"+image.Digest.String(), nil).JSON(t, &kept)
		require.Empty(t, kept.Tags)
		require.Equal(t, 3, server.CountEvents(t, event.TagCreated))
		require.Equal(t, 2, server.CountEvents(t, event.TagDeleted))

		server.Registry.CountPull(event.Actor{}, "library/app", oci.Reference{Tag: "v2"}, metadata.Manifest{Digest: other.Digest})
		require.NoError(t, server.Registry.Close())
		var pulled artifactAnswer
		admin.Must(t, http.StatusOK, http.MethodGet, appArtifacts+"/v2", nil).JSON(t, &pulled)
		require.WithinDuration(t, time.Now(), pulled.PullTime, time.Minute)
		require.WithinDuration(t, time.Now(), pulled.Tags[0].PullTime, time.Minute)
	})
}

func TestRepositories(t *testing.T) {
	apitest.EachEngine(t, func(t *testing.T, server *apitest.Server) {
		admin := server.Admin()
		addProjects(t, server, "hidden")
		server.PushImage(t, "library/app", apitest.Image{Layers: []string{"shared"}})
		server.PushImage(t, "library/group/app", apitest.Image{})
		server.PushImage(t, "hidden/app", apitest.Image{Layers: []string{"shared"}})
		all := admin.Must(t, http.StatusOK, http.MethodGet, "/repositories", nil)
		require.Equal(t, []string{"hidden/app", "library/group/app", "library/app"}, names(t, all))
		require.Equal(t, "3", all.Header.Get("X-Total-Count"))
		visible := server.Anonymous().Must(t, http.StatusOK, http.MethodGet, "/repositories?page_size=1", nil)
		require.Equal(t, []string{"library/group/app"}, names(t, visible))
		require.Equal(t, "2", visible.Header.Get("X-Total-Count"))
		shared := "/repositories?page_size=1&page_number=1&q=blob_digest=" + oci.SHA256.FromString("shared").String()
		require.Equal(t, []string{"library/app"}, names(t, server.Anonymous().Do(t, http.MethodGet, shared, nil)))
		require.Equal(t, []string{"library/app", "library/group/app"}, names(t, admin.Do(t, http.MethodGet, "/projects/library/repositories?sort=name", nil)))
		require.Equal(t, []string{"library/group/app"}, names(t, admin.Do(t, http.MethodGet, "/projects/library/repositories?q=name%3D~group", nil)))

		for _, path := range []string{"group%2Fapp", "group%252Fapp", "group%252Fapp/"} {
			path = "/projects/library/repositories/" + path
			admin.Must(t, http.StatusOK, http.MethodPut, path, `{"description":"About `+path+`","name":"x"}`)
			require.Contains(t, admin.Must(t, http.StatusOK, http.MethodGet, path, nil).Body, "About "+path)
		}
		requireRefusal(t, admin.Do(t, http.MethodPut, "/projects/library/repositories/app", `{"description":"`+strings.Repeat("x", 65<<10)+`"}`), http.StatusBadRequest, "BAD_REQUEST")
		requireRefusal(t, admin.Do(t, http.MethodGet, "/projects/library/repositories/UPPER", nil), http.StatusNotFound, "NOT_FOUND")
		requireRefusal(t, server.Anonymous().Do(t, http.MethodDelete, "/projects/library/repositories/app", nil), http.StatusUnauthorized, "UNAUTHORIZED")
		admin.Must(t, http.StatusOK, http.MethodDelete, "/projects/library/repositories/group%252Fapp", nil)
		requireRefusal(t, admin.Do(t, http.MethodDelete, "/projects/library/repositories/group%252Fapp", nil), http.StatusNotFound, "NOT_FOUND")
		require.Equal(t, []string{"library/app"}, names(t, admin.Do(t, http.MethodGet, "/projects/library/repositories", nil)))
	})
}
