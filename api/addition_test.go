package api_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"image"
	"image/png"
	"net/http"
	"net/url"
	"strings"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/api/apitest"
	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/identity/local"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/registry"
)

const appAdditions = appArtifacts + "/v1/additions/"

func TestAdditions_ofAnImage(t *testing.T) {
	server := apitest.Start(t, "sqlite")
	admin := server.Admin()
	pushed := server.PushImage(t, "library/group/app", apitest.Image{}, "v1")
	var one artifactAnswer
	admin.Must(t, http.StatusOK, http.MethodGet, "/projects/library/repositories/group%252Fapp/artifacts/v1", nil).JSON(t, &one)
	link := one.AdditionLinks["build_history"]
	require.Equal(t, "/api/v2.0/projects/library/repositories/group%252Fapp/artifacts/"+pushed.Digest.String()+"/additions/build_history", link.Href)
	history := admin.Must(t, http.StatusOK, http.MethodGet, strings.TrimPrefix(link.Href, "/api/v2.0"), nil)
	require.Equal(t, "application/json; charset=utf-8", history.Header.Get("Content-Type"))
	require.JSONEq(t, `[{"created":"2026-01-02T03:04:05Z","created_by":"/bin/sh -c true"}]`, history.Body)
	path := "/projects/library/repositories/group%252Fapp/artifacts/v1/additions/"
	requireRefusal(t, admin.Do(t, http.MethodGet, path+"values.yaml", nil), http.StatusBadRequest, "BAD_REQUEST")
	requireRefusal(t, admin.Do(t, http.MethodGet, path+"anything", nil), http.StatusUnprocessableEntity, "UNPROCESSABLE_ENTITY")
}

func TestAdditions_ofAChart(t *testing.T) {
	server := apitest.Start(t, "sqlite")
	admin := server.Admin()
	server.PushChart(t, "library/app", `{"name":"web","dependencies":[{"name":"db","version":"1","repository":"oci://x"}]}`, map[string]string{
		"web/Chart.yaml": "name: web", "web/values.yaml": "a: 1\n", "web/README.md": "# Web", "web/charts/db/values.yaml": "b: 2\n", "../values.yaml": "c: 3",
	}, "v1")
	values := admin.Must(t, http.StatusOK, http.MethodGet, appAdditions+"values.yaml", nil)
	require.Equal(t, "a: 1\n", values.Body)
	require.Equal(t, "text/plain; charset=utf-8", values.Header.Get("Content-Type"))
	require.Equal(t, "# Web", admin.Must(t, http.StatusOK, http.MethodGet, appAdditions+"readme.md", nil).Body)
	require.JSONEq(t, `[{"name":"db","version":"1","repository":"oci://x"}]`, admin.Must(t, http.StatusOK, http.MethodGet, appAdditions+"dependencies", nil).Body)
	server.PushChart(t, "library/bare", `{}`, map[string]string{"web/Chart.yaml": ""}, "v1")
	requireRefusal(t, admin.Do(t, http.MethodGet, "/projects/library/repositories/bare/artifacts/v1/additions/readme.md", nil), http.StatusNotFound, "NOT_FOUND")
	require.Equal(t, "[]", admin.Must(t, http.StatusOK, http.MethodGet, "/projects/library/repositories/bare/artifacts/v1/additions/dependencies", nil).Body)
}

func TestAdditions_ofAModel(t *testing.T) {
	server := apitest.Start(t, "sqlite")
	admin := server.Admin()
	m := v1.Manifest{MediaType: oci.MediaTypeImageManifest, ArtifactType: "application/vnd.cncf.model.manifest.v1+json"}
	m.SchemaVersion = 2
	m.Config = server.Blob(t, "library/app", "application/vnd.cncf.model.config.v1+json", []byte(`{"descriptor":{"name":"m"}}`))
	for _, layer := range []struct{ mediaType, path, content string }{
		{"application/vnd.cncf.model.doc.v1.raw", "README.md", "# Model"},
		{"application/vnd.cncf.model.doc.v1.tar+gzip", "LICENSE.txt", string(apitest.Archive(t, map[string]string{"LICENSE.txt": "free"}))},
		{"application/vnd.cncf.model.weight.v1.raw", "weights/a.bin", "12345"},
		{"application/vnd.cncf.model.weight.v1.raw", "weights/b.bin", "123"},
	} {
		d := server.Blob(t, "library/app", layer.mediaType, []byte(layer.content))
		d.Annotations = map[string]string{"org.cncf.model.filepath": layer.path}
		m.Layers = append(m.Layers, d)
	}
	server.Push(t, "library/app", oci.MediaTypeImageManifest, m, "v1")
	var one artifactAnswer
	admin.Must(t, http.StatusOK, http.MethodGet, appArtifacts+"/v1", nil).JSON(t, &one)
	require.Equal(t, "CNAI", one.Type)
	require.Len(t, one.AdditionLinks, 3)
	require.Equal(t, "# Model", admin.Must(t, http.StatusOK, http.MethodGet, appAdditions+"readme.md", nil).Body)
	require.Equal(t, "free", admin.Must(t, http.StatusOK, http.MethodGet, appAdditions+"license", nil).Body)
	files := admin.Must(t, http.StatusOK, http.MethodGet, appAdditions+"files", nil).Body
	require.Contains(t, files, `{"name":"weights","type":"directory","children":[{"name":"a.bin","type":"file","size":5},{"name":"b.bin","type":"file","size":3}]}`)
}

func TestAdditions_hostile(t *testing.T) {
	server := apitest.Start(t, "sqlite")
	admin := server.Admin()
	refused := func(repository, name string, status int) {
		t.Helper()
		answer := admin.Do(t, http.MethodGet, "/projects/library/repositories/"+repository+"/artifacts/v1/additions/"+name, nil)
		require.Equal(t, status, answer.Status, answer.Body)
	}
	chart := func(repository string, archive []byte) {
		m := v1.Manifest{MediaType: oci.MediaTypeImageManifest}
		m.SchemaVersion = 2
		m.Config = server.Blob(t, "library/"+repository, "application/vnd.cncf.helm.config.v1+json", []byte("no json"))
		m.Layers = []oci.Descriptor{server.Blob(t, "library/"+repository, "application/vnd.cncf.helm.chart.content.v1.tar+gzip", archive)}
		server.Push(t, "library/"+repository, oci.MediaTypeImageManifest, m, "v1")
	}
	// Members of gzip follow each other: one of a MiB, again and again.
	member := func(content []byte) []byte {
		var compressed bytes.Buffer
		writer := gzip.NewWriter(&compressed)
		_, err := writer.Write(content)
		require.NoError(t, err)
		require.NoError(t, writer.Close())
		return compressed.Bytes()
	}
	var header bytes.Buffer
	require.NoError(t, tar.NewWriter(&header).WriteHeader(&tar.Header{Name: "web/big", Mode: 0o644, Size: 300 << 20}))
	var bomb bytes.Buffer
	bomb.Write(member(header.Bytes()))
	bomb.Write(bytes.Repeat(member(make([]byte, 1<<20)), 300))
	chart("bomb", bomb.Bytes())
	refused("bomb", "values.yaml", http.StatusBadRequest)
	chart("huge", apitest.Archive(t, map[string]string{"web/values.yaml": strings.Repeat("x", 5<<20)}))
	refused("huge", "values.yaml", http.StatusBadRequest)
	chart("broken", []byte("no archive"))
	refused("broken", "readme.md", http.StatusBadRequest)
	refused("broken", "dependencies", http.StatusOK)

	var history strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&history, `{"created_by":"%d %s"},`, i, strings.Repeat("x", 100))
	}
	server.PushImage(t, "library/long", apitest.Image{Config: `{"os":"linux","config":{"Env":["` + strings.Repeat("x", 100<<10) + `"]},"history":[` + strings.TrimSuffix(history.String(), ",") + `]}`}, "v1")
	refused("long", "build_history", http.StatusOK)
	for repository, config := range map[string]string{"none": "no json", "list": "[1,2]", "null": "null", "types": `{"os":7,"config":"x","author":3,"created":"yesterday","history":{}}`} {
		server.PushImage(t, "library/"+repository, apitest.Image{Config: config}, "v1")
		refused(repository, "build_history", http.StatusOK)
	}
	var list []artifactAnswer
	admin.Must(t, http.StatusOK, http.MethodGet, "/projects/library/artifacts", nil).JSON(t, &list)
	require.Len(t, list, 8)
	for _, a := range list {
		if a.RepositoryName == "library/long" {
			require.Equal(t, map[string]any{"os": "linux", "author": ""}, a.ExtraAttrs, "too long to be shown whole")
		}
	}

	var children []oci.Descriptor
	child := server.PushImage(t, "library/wide", apitest.Image{})
	for range 10_000 {
		children = append(children, oci.Descriptor{MediaType: child.MediaType, Digest: child.Digest, Size: child.Size, Platform: &oci.Platform{OS: "linux", Architecture: "amd64"}})
	}
	server.PushIndex(t, "library/wide", children, "v1")
	var wide artifactAnswer
	admin.Must(t, http.StatusOK, http.MethodGet, "/projects/library/repositories/wide/artifacts/v1", nil).JSON(t, &wide)
	require.Len(t, wide.References, 10_000)
	inList := artifacts(t, admin.Do(t, http.MethodGet, "/projects/library/repositories/wide/artifacts", nil))
	require.Len(t, inList, 1)
	require.Len(t, inList[0].References, 100)
	admin.Must(t, http.StatusOK, http.MethodDelete, "/projects/library/repositories/wide/artifacts/v1", nil)
	require.Empty(t, artifacts(t, admin.Do(t, http.MethodGet, "/projects/library/repositories/wide/artifacts?q=base=*", nil)))
}

func TestIcons(t *testing.T) {
	server := apitest.Start(t, "sqlite")
	addProjects(t, server, "hidden")
	var picture bytes.Buffer
	require.NoError(t, png.Encode(&picture, image.NewGray(image.Rect(0, 0, 4, 4))))
	for _, repository := range []string{"hidden/app", "library/app"} {
		m := v1.Manifest{MediaType: oci.MediaTypeImageManifest, ArtifactType: "application/vnd.acme.thing.config.v1+json"}
		m.SchemaVersion = 2
		m.Config = server.Blob(t, repository, "application/vnd.acme.thing.config.v1+json", []byte(`{"a":1,"secret":2}`))
		m.Annotations = map[string]string{"io.goharbor.artifact.v1alpha1.skip-list": "secret"}
		layer := server.Blob(t, repository, "image/png", append(picture.Bytes(), repository...))
		layer.Annotations = map[string]string{"io.goharbor.artifact.v1alpha1.icon": ""}
		m.Layers = []oci.Descriptor{layer}
		server.Push(t, repository, oci.MediaTypeImageManifest, m, "v1")
		var one struct {
			Type, Icon string
			ExtraAttrs map[string]any `json:"extra_attrs"`
		}
		server.Admin().Must(t, http.StatusOK, http.MethodGet, "/projects/"+repository[:len(repository)-4]+"/repositories/app/artifacts/v1", nil).JSON(t, &one)
		require.Equal(t, layer.Digest.String(), one.Icon)
		require.Equal(t, "THING", one.Type)
		require.Equal(t, map[string]any{"a": 1.0}, one.ExtraAttrs)
		var shown struct {
			ContentType string `json:"content-type"`
			Content     string
		}
		if repository == "hidden/app" {
			requireRefusal(t, server.Anonymous().Do(t, http.MethodGet, "/icons/"+one.Icon, nil), http.StatusNotFound, "NOT_FOUND")
		} else {
			server.Anonymous().Must(t, http.StatusOK, http.MethodGet, "/icons/"+one.Icon, nil).JSON(t, &shown)
			require.Equal(t, "image/png", shown.ContentType)
			require.Equal(t, base64.StdEncoding.EncodeToString(append(picture.Bytes(), repository...)), shown.Content)
		}
		requireRefusal(t, server.Admin().Do(t, http.MethodGet, "/icons/"+m.Config.Digest.String(), nil), http.StatusNotFound, "NOT_FOUND")
	}
	requireRefusal(t, server.Admin().Do(t, http.MethodGet, "/icons/x", nil), http.StatusBadRequest, "BAD_REQUEST")
}

func TestLabels_ofArtifacts(t *testing.T) {
	apitest.EachEngine(t, func(t *testing.T, server *apitest.Server) {
		admin := server.Admin()
		addProjects(t, server, "other")
		server.PushImage(t, "library/app", apitest.Image{Layers: []string{"1"}}, "v1")
		server.PushImage(t, "library/app", apitest.Image{Layers: []string{"2"}}, "v2")
		var ids []int64
		server.Write(t, func(ctx context.Context, tx *metadata.Tx) error {
			other, err := tx.Project(ctx, "other")
			if err != nil {
				return err
			}
			ids = nil
			for _, l := range []metadata.Label{{Name: "a"}, {Name: "b"}, {Name: "c", ProjectID: other.ID}} {
				created, err := tx.CreateLabel(ctx, l)
				if err != nil {
					return err
				}
				ids = append(ids, created.ID)
			}
			return nil
		})
		add := func(tag string, id int64) apitest.Answer {
			return admin.Do(t, http.MethodPost, appArtifacts+"/"+tag+"/labels", fmt.Sprintf(`{"id":%d,"name":"x"}`, id))
		}
		require.Equal(t, http.StatusOK, add("v1", ids[0]).Status)
		require.Equal(t, http.StatusOK, add("v1", ids[1]).Status)
		require.Equal(t, http.StatusOK, add("v2", ids[1]).Status)
		requireRefusal(t, add("v1", ids[0]), http.StatusConflict, "CONFLICT")
		requireRefusal(t, add("v1", ids[2]), http.StatusNotFound, "NOT_FOUND")
		requireRefusal(t, add("v1", 999), http.StatusNotFound, "NOT_FOUND")
		requireRefusal(t, add("none", ids[0]), http.StatusNotFound, "NOT_FOUND")
		filter := func(q string) int {
			return len(artifacts(t, admin.Do(t, http.MethodGet, appArtifacts+"?q="+url.QueryEscape(q), nil)))
		}
		require.Equal(t, 1, filter(fmt.Sprintf("labels=(%d %d)", ids[0], ids[1])))
		require.Equal(t, 2, filter(fmt.Sprintf("labels={%d %d}", ids[0], ids[1])))
		require.Equal(t, 2, filter(fmt.Sprintf("labels=%d", ids[1])))
		var labelled struct {
			Labels []struct{ Name, Scope string }
		}
		admin.Must(t, http.StatusOK, http.MethodGet, appArtifacts+"/v1?with_label=true", nil).JSON(t, &labelled)
		require.Len(t, labelled.Labels, 2)
		require.Equal(t, "g", labelled.Labels[0].Scope)
		remove := fmt.Sprintf("%s/v1/labels/%d", appArtifacts, ids[0])
		admin.Must(t, http.StatusOK, http.MethodDelete, remove, nil)
		requireRefusal(t, admin.Do(t, http.MethodDelete, remove, nil), http.StatusNotFound, "NOT_FOUND")
		require.Equal(t, 3, server.CountEvents(t, event.ArtifactLabelled))
		require.Equal(t, 1, server.CountEvents(t, event.ArtifactUnlabelled))
	})
}

func TestCopy(t *testing.T) {
	apitest.EachEngine(t, func(t *testing.T, server *apitest.Server) {
		admin := server.Admin()
		addProjects(t, server, "team")
		child := server.PushImage(t, "library/app", apitest.Image{Layers: []string{"child"}})
		index := server.PushIndex(t, "library/app", []oci.Descriptor{child}, "v1", "latest")
		sbom := server.PushArtifact(t, "library/app", "application/vnd.goharbor.harbor.sbom.v1", &index, "sbom")
		server.PushArtifact(t, "library/app", "application/vnd.cncf.notary.signature", &sbom, "signed")
		cosign := "sha256-" + index.Digest.Encoded() + ".sig"
		server.PushImage(t, "library/app", apitest.Image{Layers: []string{"cosign"}}, cosign)

		target := "/projects/team/repositories/group%252Fapp/artifacts"
		copied := admin.Must(t, http.StatusCreated, http.MethodPost, target+"?from=library/app:v1", nil)
		require.Equal(t, "/api/v2.0"+target+"/v1", copied.Header.Get("Location"))
		list := artifacts(t, admin.Do(t, http.MethodGet, target+"?with_accessory=true", nil))
		require.Len(t, list, 1)
		require.Equal(t, index.Digest.String(), list[0].Digest)
		require.EqualValues(t, 1, list[0].TagCount)
		require.Len(t, list[0].Accessories, 2)
		require.NotZero(t, list[0].References[0].ChildID)
		require.Len(t, artifacts(t, admin.Do(t, http.MethodGet, target+"?q=base=*", nil)), 5)
		_, err := server.Registry.Manifest(t.Context(), "team/group/app", oci.Reference{Tag: cosign})
		require.NoError(t, err, "cosign finds its signature")
		_, err = server.Registry.Blob(t.Context(), "team/group/app", oci.SHA256.FromString("child"))
		require.NoError(t, err)

		requireRefusal(t, admin.Do(t, http.MethodPost, target+"?from=library/app:latest", nil), http.StatusConflict, "CONFLICT")
		requireRefusal(t, admin.Do(t, http.MethodPost, target+"?from=library/app:none", nil), http.StatusNotFound, "NOT_FOUND")
		requireRefusal(t, admin.Do(t, http.MethodPost, target+"?from=library/app@"+sbom.Digest.String(), nil), http.StatusMethodNotAllowed, "METHOD_NOT_ALLOWED")
		for _, bad := range []string{"", "?from=", "?from=app:v1", "?from=library/app", "?from=library/app@x", "?from=library/APP:v1"} {
			requireRefusal(t, admin.Do(t, http.MethodPost, target+bad, nil), http.StatusBadRequest, "BAD_REQUEST")
		}
		admin.Must(t, http.StatusCreated, http.MethodPost, "/projects/team/repositories/other/artifacts?from=library/app@"+index.Digest.String(), nil)
		require.EqualValues(t, 2, artifacts(t, admin.Do(t, http.MethodGet, "/projects/team/repositories/other/artifacts", nil))[0].TagCount)

		// A copy of some platforms of an index is copied as that.
		absent := oci.Descriptor{MediaType: oci.MediaTypeImageManifest, Digest: oci.SHA256.FromString("absent"), Size: 6}
		payload, err := json.Marshal(object{"schemaVersion": 2, "mediaType": oci.MediaTypeImageIndex, "manifests": []oci.Descriptor{child, absent}})
		require.NoError(t, err)
		some, err := server.Registry.PutManifest(t.Context(), event.Actor{Name: "admin"}, registry.Push{
			Repository: "library/app", Reference: oci.Reference{Tag: "some"}, ContentType: oci.MediaTypeImageIndex, Payload: payload, Sparse: true,
		})
		require.NoError(t, err)
		admin.Must(t, http.StatusCreated, http.MethodPost, "/projects/team/repositories/sparse/artifacts?from=library/app:some", nil)
		for _, digest := range []oci.Digest{some.Digest, child.Digest} {
			_, err = server.Registry.Manifest(t.Context(), "team/sparse", oci.Reference{Digest: digest})
			require.NoError(t, err)
		}

		_, err = server.Users.Create(t.Context(), event.Actor{}, local.NewUser{Name: "eve", Password: apitest.AdminPassword})
		require.NoError(t, err)
		server.Write(t, func(ctx context.Context, tx *metadata.Tx) error {
			user, err := tx.UserByName(ctx, "eve")
			if err != nil {
				return err
			}
			project, err := tx.Project(ctx, "library")
			if err != nil {
				return err
			}
			_, err = tx.SetMember(ctx, metadata.Member{ProjectID: project.ID, UserID: user.ID, RoleID: 2})
			return err
		})
		eve := server.As("eve", apitest.AdminPassword)
		requireRefusal(t, eve.Do(t, http.MethodPost, "/projects/library/repositories/stolen/artifacts?from=team/other:v1", nil), http.StatusForbidden, "FORBIDDEN")
		requireRefusal(t, eve.Do(t, http.MethodPost, "/projects/library/repositories/stolen/artifacts?from=nowhere/other:v1", nil), http.StatusForbidden, "FORBIDDEN")
		requireRefusal(t, eve.Do(t, http.MethodPost, "/projects/team/repositories/x/artifacts?from=library/app:v1", nil), http.StatusForbidden, "FORBIDDEN")
		eve.Must(t, http.StatusCreated, http.MethodPost, "/projects/library/repositories/mine/artifacts?from=library/app:v1", nil)
	})
}

func TestSearch(t *testing.T) {
	apitest.EachEngine(t, func(t *testing.T, server *apitest.Server) {
		addProjects(t, server, "hidden-web", "open-web")
		for _, repository := range []string{"hidden-web/app", "open-web/app", "library/web_app", "library/webxapp", "library/other"} {
			server.PushImage(t, repository, apitest.Image{}, "v1")
		}
		type answer struct {
			Project    []struct{ Name string }
			Repository []struct {
				RepositoryName string `json:"repository_name"`
				ProjectName    string `json:"project_name"`
				ProjectPublic  bool   `json:"project_public"`
				ArtifactCount  int64  `json:"artifact_count"`
			}
		}
		search := func(client *apitest.Client, q string) (projects, repositories []string) {
			var found answer
			client.Must(t, http.StatusOK, http.MethodGet, "/search?q="+url.QueryEscape(q), nil).JSON(t, &found)
			for _, p := range found.Project {
				projects = append(projects, p.Name)
			}
			for _, r := range found.Repository {
				require.EqualValues(t, 1, r.ArtifactCount)
				require.Equal(t, r.ProjectName != "hidden-web", r.ProjectPublic)
				repositories = append(repositories, r.RepositoryName)
			}
			return projects, repositories
		}
		projects, repositories := search(server.Admin(), "WEB")
		require.Equal(t, []string{"hidden-web", "open-web"}, projects)
		require.Equal(t, []string{"hidden-web/app", "library/web_app", "library/webxapp", "open-web/app"}, repositories)
		projects, repositories = search(server.Anonymous(), "web")
		require.Equal(t, []string{"open-web"}, projects)
		require.Equal(t, []string{"library/web_app", "library/webxapp", "open-web/app"}, repositories)
		_, repositories = search(server.Anonymous(), "web_app")
		require.Equal(t, []string{"library/web_app"}, repositories, "no wildcard")
		projects, repositories = search(server.Admin(), `%\`)
		require.Empty(t, projects)
		require.Empty(t, repositories)
	})
}
