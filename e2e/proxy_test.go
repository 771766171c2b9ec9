package e2e_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/e2e/harness"
	"github.com/berth-registry/berth/replicate/remote/remotetest"
)

// TestMirror_enginesPullByTheNamesTheyKnow has docker and containerd pull an image of Docker Hub's by its own name: from a gateway that
// they have for a mirror of it, whose project is a cache of a registry that stands in for Docker Hub.
func TestMirror_enginesPullByTheNamesTheyKnow(t *testing.T) {
	upstream := remotetest.Distribution(t)
	stack := harness.Directory(t)
	gateway := harness.Start(t, stack)
	gateway.Write(stack.Block + "\nmirror {\n\tdocker.io hub\n\tlocalhost hub\n}")
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
	registry, _ := ask(http.MethodPost, "registries", fmt.Sprintf(`{"name":"far","type":"docker-registry","url":"http://%s"}`, upstream), http.StatusCreated)
	ask(http.MethodPost, "projects", fmt.Sprintf(`{"project_name":"hub","registry_id":%s,"metadata":{"public":"true"}}`, registry), http.StatusCreated)

	_, described := ask(http.MethodGet, "projects/hub", "", http.StatusOK)
	require.Contains(t, described, "retention_id", "what nobody pulls goes some day")

	directory := shortDirectory(t)
	s := &session{T: t, gateway: gateway, directory: directory, environ: []string{
		"HOME=" + directory, "XDG_RUNTIME_DIR=" + directory, "DOCKER_CONFIG=" + filepath.Join(directory, "docker"),
	}}
	pushed := layout(t, s.path("pushed"), "v1")
	s.run("skopeo", "--insecure-policy", "copy", "--dest-tls-verify=false", "oci:"+s.path("pushed")+":v1", "docker://"+upstream+"/library/berth-e2e:v1")

	hosts := s.path("certs.d", "docker.io")
	require.NoError(t, os.MkdirAll(hosts, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(hosts, "hosts.toml"), fmt.Appendf(nil, "server = \"https://127.0.0.1:1\"\n\n[host.%q]\n  capabilities = [\"pull\", \"resolve\"]\n  ca = %q\n",
		gateway.URL(), gateway.CA()), 0o600))
	_, crictl := s.startContainerd()
	s.run("crictl", append(crictl, "pull", "docker.io/library/berth-e2e:v1")...)
	require.Contains(t, s.run("crictl", append(crictl, "images", "-o", "json")...), "docker.io/library/berth-e2e@"+pushed)

	s.startDocker("--registry-mirror", gateway.URL())
	require.Contains(t, s.run("docker", "pull", "berth-e2e:v1"), "Digest: "+pushed)
}
