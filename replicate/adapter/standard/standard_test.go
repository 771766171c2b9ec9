package standard_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/replicate/adapter"
	_ "github.com/berth-registry/berth/replicate/adapter/standard"
	"github.com/berth-registry/berth/replicate/remote"
)

// internet answers requests by their host, method and path, and keeps what was asked.
type internet struct {
	answers map[string]string

	mu    sync.Mutex
	asked []*http.Request
	sent  []string
}

// RoundTrip implements [http.RoundTripper]: an answer is a status and a body.
func (i *internet) RoundTrip(r *http.Request) (*http.Response, error) {
	body := ""
	if r.Body != nil {
		content, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		body = string(content)
	}
	i.mu.Lock()
	i.asked, i.sent = append(i.asked, r), append(i.sent, body)
	i.mu.Unlock()
	w := httptest.NewRecorder()
	key := r.Method + " " + r.URL.Host + r.URL.EscapedPath() + r.Header.Get("X-Amz-Target")
	answer, known := i.answers[key+"?"+r.URL.RawQuery]
	if !known {
		answer, known = i.answers[key]
	}
	if !known {
		answer = "404 {}"
	}
	status, said, _ := strings.Cut(answer, " ")
	if header, rest, found := strings.Cut(said, "\n"); found {
		name, value, _ := strings.Cut(header, ": ")
		w.Header().Set(name, value)
		said = rest
	}
	var number int
	_, _ = fmt.Sscan(status, &number)
	w.WriteHeader(number)
	_, _ = w.WriteString(said)
	response := w.Result()
	response.Request = r
	return response, nil
}

func (i *internet) header(path, name string) string {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, r := range i.asked {
		if strings.Contains(r.URL.Path+r.Header.Get("X-Amz-Target"), path) {
			return r.Header.Get(name)
		}
	}
	return ""
}

func open(t *testing.T, kind string, answers map[string]string, options remote.Options) (adapter.Registry, *internet) {
	t.Helper()
	found, known := adapter.Find(kind)
	require.True(t, known, kind)
	net := &internet{answers: answers}
	options.Transport = net
	registry, err := found.Open(options)
	require.NoError(t, err)
	return registry, net
}

func names(t *testing.T, registry adapter.Registry, prefix string) (found []string) {
	t.Helper()
	require.NoError(t, registry.Repositories(t.Context(), prefix, func(page []string) error {
		found = append(found, page...)
		return nil
	}))
	return found
}

func TestKinds_areThoseOfHarbor(t *testing.T) {
	var all []string
	for _, kind := range adapter.Kinds() {
		all = append(all, kind.Name)
	}
	require.Equal(t, []string{"aws-ecr", "azure-acr", "docker-hub", "docker-registry", "github-ghcr", "gitlab", "google-gcr", "harbor", "jfrog-artifactory", "quay"}, all)
}

func TestDistribution_listsByCatalog(t *testing.T) {
	for _, kind := range []string{"docker-registry", "azure-acr", "google-gcr", "jfrog-artifactory", "quay"} {
		registry, _ := open(t, kind, map[string]string{"GET r.example.com/v2/_catalog": `200 {"repositories":["a","b/c"]}`},
			remote.Options{URL: "https://r.example.com", Username: "u", Secret: "s"})
		require.Equal(t, []string{"a", "b/c"}, names(t, registry, "b"), kind)
	}
}

func TestHarbor(t *testing.T) {
	digest := oci.SHA256.FromString("x")
	base := "harbor.example.com/api/v2.0"
	registry, net := open(t, "harbor", map[string]string{
		"GET " + base + "/projects/team/repositories": `200 [{"name":"team/a/b"}]`,
		"GET " + base + "/repositories":               `200 [{"name":"x/y"}]`,
		"GET " + base + "/projects/team/repositories/a%252Fb/artifacts": `200 [{"digest":"` + digest.String() + `","type":"IMAGE","tags":[{"name":"v1"}],"labels":[{"name":"stable"}]},` +
			`{"digest":"` + digest.String() + `","type":"CHART","tags":null,"labels":null}]`,
		"POST " + base + "/projects": "201 ",
		"DELETE " + base + "/projects/team/repositories/a%252Fb/artifacts/v1/tags/v1": "200 ",
	}, remote.Options{URL: "https://harbor.example.com", Username: "robot$r", Secret: "s"})
	require.Equal(t, []string{"team/a/b"}, names(t, registry, "team/a"))
	require.Equal(t, []string{"x/y"}, names(t, registry, ""))
	require.Empty(t, names(t, registry, "absent/"))
	require.NotEmpty(t, net.header("/repositories", "Authorization"))

	var artifacts []adapter.Artifact
	require.NoError(t, registry.(adapter.Artifacts).Artifacts(t.Context(), "team/a/b", func(page []adapter.Artifact) error {
		artifacts = append(artifacts, page...)
		return nil
	}))
	require.Equal(t, []adapter.Artifact{{Digest: digest, Tags: []string{"v1"}, Labels: []string{"stable"}, Image: true}, {Digest: digest}}, artifacts)
	require.NoError(t, registry.(adapter.Preparer).Prepare(t.Context(), "new/a", true))
	require.Contains(t, strings.Join(net.sent, "\n"), `{"metadata":{"public":"true"},"project_name":"new"}`)
	require.Error(t, registry.(adapter.Preparer).Prepare(t.Context(), "bare", false))
	require.NoError(t, registry.(adapter.TagDeleter).DeleteTag(t.Context(), "team/a/b", "v1"))
	require.NoError(t, registry.(adapter.TagDeleter).DeleteTag(t.Context(), "team/a/b", "gone"))
	finder := registry.(interface {
		FindBlob(ctx context.Context, digest oci.Digest) (string, error)
	})
	found, err := finder.FindBlob(t.Context(), digest)
	require.NoError(t, err)
	require.Equal(t, "x/y", found)
	net.answers["GET "+base+"/repositories"] = "404 {}"
	found, err = finder.FindBlob(t.Context(), digest)
	require.NoError(t, err)
	require.Empty(t, found)
}

func TestDockerHub(t *testing.T) {
	registry, net := open(t, "docker-hub", map[string]string{
		"POST hub.docker.com/v2/users/login":                            `200 {"token":"jwt"}`,
		"GET hub.docker.com/v2/repositories/namespaces":                 `200 {"namespaces":["team"]}`,
		"GET hub.docker.com/v2/repositories/team/?page_size=100":        `200 {"next":"https://hub.docker.com/v2/repositories/team/?page_size=100&page=2","results":[{"name":"a"}]}`,
		"GET hub.docker.com/v2/repositories/team/?page_size=100&page=2": `200 {"results":[{"name":"b"}]}`,
		"GET hub.docker.com/v2/repositories/hostile/?page_size=100":     `200 {"next":"https://elsewhere.example.com/","results":[]}`,
		"GET registry-1.docker.io/v2/":                                  "401 WWW-Authenticate: Basic realm=\"x\"\n{}",
	}, remote.Options{URL: "https://hub.docker.com", Username: "u", Secret: "s"})
	require.Equal(t, []string{"team/a", "team/b"}, names(t, registry, "team/"))
	require.Equal(t, []string{"team/a", "team/b"}, names(t, registry, ""))
	require.Equal(t, "Bearer jwt", net.header("/v2/repositories/team", "Authorization"))
	require.Error(t, registry.Repositories(t.Context(), "hostile/", func([]string) error { return nil }), "the token goes nowhere else")
	require.Error(t, registry.Ping(t.Context()))
}

func TestGHCR(t *testing.T) {
	registry, net := open(t, "github-ghcr", map[string]string{
		"GET api.github.com/users/Someone/packages": `200 [{"name":"App/sub"}]`,
	}, remote.Options{URL: "https://ghcr.io", Username: "u", Secret: "s"})
	require.Equal(t, []string{"someone/app/sub"}, names(t, registry, "Someone/"))
	require.Equal(t, "Bearer s", net.header("/users/Someone", "Authorization"))
	require.ErrorIs(t, registry.Repositories(t.Context(), "", nil), adapter.ErrNoCatalog)
}

func TestQuay_withToken(t *testing.T) {
	registry, net := open(t, "quay", map[string]string{
		"GET quay.io/api/v1/repository?namespace=team":             `200 {"repositories":[{"namespace":"team","name":"a"}],"next_page":"n"}`,
		"GET quay.io/api/v1/repository?namespace=team&next_page=n": `200 {"repositories":[{"namespace":"team","name":"b"}]}`,
	}, remote.Options{URL: "https://quay.io", Username: "$oauthtoken", Secret: "s"})
	require.Equal(t, []string{"team/a", "team/b"}, names(t, registry, "team/x"))
	require.Equal(t, "Bearer s", net.header("/api/v1", "Authorization"))
}

func TestGitLab(t *testing.T) {
	registry, net := open(t, "gitlab", map[string]string{
		"GET registry.example.com/v2/":                                   "401 WWW-Authenticate: Bearer realm=\"https://gitlab.example.com/jwt/auth\",service=\"container_registry\"\n{}",
		"GET gitlab.example.com/api/v4/projects":                         `200 [{"id":7,"path_with_namespace":"Team/App"},{"id":8,"path_with_namespace":"team/off"},{"id":9,"path_with_namespace":"other/x"}]`,
		"GET gitlab.example.com/api/v4/projects/7/registry/repositories": "200 X-Next-Page: \n[{\"path\":\"team/app\"},{\"path\":\"team/app/sub\"}]",
	}, remote.Options{URL: "https://registry.example.com", Username: "u", Secret: "s"})
	require.Equal(t, []string{"team/app", "team/app/sub"}, names(t, registry, "team/"))
	require.Equal(t, "s", net.header("/api/v4/projects", "PRIVATE-TOKEN"))
	require.Empty(t, net.header("/v2/", "PRIVATE-TOKEN"))
}

func TestECR(t *testing.T) {
	token := base64.StdEncoding.EncodeToString([]byte("AWS:password"))
	const target = "AmazonEC2ContainerRegistry_V20150921."
	api := "POST api.ecr.eu-central-1.amazonaws.com/" + target
	registry, net := open(t, "aws-ecr", map[string]string{
		api + "GetAuthorizationToken":                             fmt.Sprintf(`200 {"authorizationData":[{"authorizationToken":%q,"expiresAt":%d}]}`, token, time.Now().Add(12*time.Hour).Unix()),
		api + "DescribeRepositories":                              `200 {"repositories":[{"repositoryName":"a/b"}]}`,
		api + "CreateRepository":                                  `400 {"__type":"RepositoryAlreadyExistsException"}`,
		"GET 123456789012.dkr.ecr.eu-central-1.amazonaws.com/v2/": "200 {}",
	}, remote.Options{URL: "https://123456789012.dkr.ecr.eu-central-1.amazonaws.com", Username: "AKIA", Secret: "s"})
	require.NoError(t, registry.Ping(t.Context()))
	require.NoError(t, registry.Ping(t.Context()))
	require.Equal(t, "Basic "+token, net.header("/v2/", "Authorization"))
	require.Len(t, net.asked, 3, "one password for both")
	require.Contains(t, net.header("GetAuthorizationToken", "Authorization"), "/eu-central-1/ecr/aws4_request")
	require.Equal(t, []string{"a/b"}, names(t, registry, ""))
	require.NoError(t, registry.(adapter.Preparer).Prepare(t.Context(), "a/b", false))
	net.answers[api+"CreateRepository"] = `400 {"__type":"AccessDeniedException"}`
	require.ErrorContains(t, registry.(adapter.Preparer).Prepare(t.Context(), "a/b", false), "AccessDenied")
	kind, _ := adapter.Find("aws-ecr")
	for _, address := range []string{"https://api.ecr.eu-central-1.amazonaws.com", "https://123456789012.dkr.ecr.eu-central-1.amazonaws.com.evil.example"} {
		_, err := kind.Open(remote.Options{URL: address})
		require.Error(t, err, address)
	}
}
