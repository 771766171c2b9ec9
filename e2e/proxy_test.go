package e2e_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/e2e/harness"
	"github.com/berth-registry/berth/replicate/remote/remotetest"
)

// TestMirror_enginesPullByTheNamesTheyKnow has docker and containerd pull an image of Docker Hub's by its own name: from a gateway that
// that they have for a mirror of it, whose project is a cache of a registry that stands in for Docker Hub. What was signed there verifies
// here, and what is here comes at once when the way there is slow or closed.
func TestMirror_enginesPullByTheNamesTheyKnow(t *testing.T) {
	upstream := remotetest.Distribution(t)
	way := newSeverable(t, upstream)
	stack := harness.Directory(t)
	gateway := harness.Start(t, stack)
	gateway.Write(stack.Block + "\nproxy_cache_ttl 1s\nmirror {\n\tdocker.io hub\n\tlocalhost hub\n}")
	require.NoError(t, gateway.Reload())
	ask := func(method, path, body string, status int) (location, said string) {
		request, err := http.NewRequestWithContext(t.Context(), method, gateway.URL()+"/api/v2.0/"+path, strings.NewReader(body))
		require.NoError(t, err)
		request.SetBasicAuth("admin", harness.AdminPassword)
		request.Header.Set("Content-Type", "application/json")
		client := gateway.HTTP()
		defer client.CloseIdleConnections()
		answer, err := client.Do(request)
		require.NoError(t, err)
		read, err := io.ReadAll(answer.Body)
		require.NoError(t, err)
		require.NoError(t, answer.Body.Close())
		require.Equal(t, status, answer.StatusCode, "%s", read)
		return filepath.Base(answer.Header.Get("Location")), string(read)
	}
	registry, _ := ask(http.MethodPost, "registries", fmt.Sprintf(`{"name":"far","type":"docker-registry","url":"http://%s"}`, way.address), http.StatusCreated)
	ask(http.MethodPost, "projects", fmt.Sprintf(`{"project_name":"hub","registry_id":%s,"metadata":{"public":"true"}}`, registry), http.StatusCreated)

	_, described := ask(http.MethodGet, "projects/hub", "", http.StatusOK)
	require.Contains(t, described, "retention_id", "what nobody pulls goes some day")

	directory := shortDirectory(t)
	s := &session{T: t, gateway: gateway, directory: directory, environ: []string{
		"HOME=" + directory, "XDG_RUNTIME_DIR=" + directory, "DOCKER_CONFIG=" + filepath.Join(directory, "docker"),
		"SSL_CERT_FILE=" + gateway.CA(), "COSIGN_PASSWORD=of-the-key", "COSIGN_YES=true",
	}}
	pushed := layout(t, s.path("pushed"), "v1")
	s.run("skopeo", "--insecure-policy", "copy", "--dest-tls-verify=false", "oci:"+s.path("pushed")+":v1", "docker://"+upstream+"/library/berth-e2e:v1")

	hosts := s.path("certs.d", "docker.io")
	require.NoError(t, os.MkdirAll(hosts, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(hosts, "hosts.toml"), fmt.Appendf(nil, "server = \"https://127.0.0.1:1\"\n\n[host.%q]\n  capabilities = [\"pull\", \"resolve\"]\n  ca = %q\n",
		gateway.URL(), gateway.CA()), 0o600))
	ctr, crictl := s.startContainerd()
	s.run("crictl", append(crictl, "pull", "docker.io/library/berth-e2e:v1")...)
	require.Contains(t, s.run("crictl", append(crictl, "images", "-o", "json")...), "docker.io/library/berth-e2e@"+pushed)

	s.run("ctr", append(ctr, "images", "rm", "--sync", "docker.io/library/berth-e2e:v1")...)
	s.run("ctr", append(ctr, "images", "pull", "--hosts-dir", s.path("certs.d"), "--snapshotter", "native", "docker.io/library/berth-e2e:v1")...)

	s.startDocker("--registry-mirror", gateway.URL())
	require.Contains(t, s.run("docker", "pull", "berth-e2e:v1"), "Digest: "+pushed)

	s.run("cosign", "generate-key-pair", "--output-key-prefix", s.path("key"))
	s.run("cosign", "sign", "--key", s.path("key.key"), "--tlog-upload=false", "--use-signing-config=false", upstream+"/library/berth-e2e@"+pushed)
	require.Contains(t, s.run("cosign", "verify", "--key", s.path("key.pub"), "--insecure-ignore-tlog=true", gateway.Host()+"/library/berth-e2e@"+pushed), pushed)

	manifest := []byte(s.run("crane", "manifest", gateway.Host()+"/library/berth-e2e:v1"))
	var image struct {
		Config harness.Descriptor
		Layers []harness.Descriptor
	}
	require.NoError(t, json.Unmarshal(manifest, &image))
	pull := func() time.Duration {
		began := time.Now()
		reference := "library/berth-e2e"
		client := gateway.Admin()
		got, err := client.Manifest(t.Context(), reference, "v1")
		require.NoError(t, err)
		require.Equal(t, string(manifest), string(got))
		for _, blob := range append(image.Layers, image.Config) {
			digest, _, err := client.PullBlob(t.Context(), reference, blob.Digest)
			require.NoError(t, err)
			require.Equal(t, blob.Digest, digest)
		}
		return time.Since(began)
	}
	usual := max(pull(), pull(), pull())
	way.post("/proxies/link/toxics", map[string]any{"name": "slow", "type": "bandwidth", "stream": "downstream", "attributes": map[string]any{"rate": 1}})
	way.post("/proxies/link/toxics", map[string]any{"name": "late", "type": "latency", "stream": "downstream", "attributes": map[string]any{"latency": 20_000}})
	for took := time.Duration(0); took < 400*time.Millisecond; { // until the time to live has passed, and the answer does not come
		took = pull()
		require.Less(t, took, time.Second+3*usual)
	}
	way.post("/proxies/link", map[string]any{"enabled": false})
	require.Less(t, pull(), time.Second+3*usual)
}
