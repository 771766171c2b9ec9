package e2e_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/e2e/harness"
)

// startDocker runs a daemon of its own beside whatever the machine has, with more arguments; it trusts the gateway.
func (s *session) startDocker(more ...string) {
	s.Helper()
	require.Zero(s, os.Getuid(), "dockerd runs as root only")
	socket := "unix://" + s.path("s")
	trusted := s.certificates("/etc/docker/certs.d")
	s.Cleanup(func() { require.NoError(s, os.RemoveAll(trusted)) })
	s.Cleanup(func() { _ = syscall.Unmount(s.path("x", "netns", "default"), syscall.MNT_DETACH) })
	daemon := harness.StartProcess(s.T, s.environ, harness.Tool(s.T, "dockerd"), append([]string{
		"--storage-driver=vfs", "--iptables=false", "--ip6tables=false",
		"--bridge=none", "--data-root", s.path("g"), "--exec-root", s.path("x"), "--pidfile", s.path("p"), "-H", socket,
	}, more...)...)
	s.environ = append(s.environ, "DOCKER_HOST="+socket)
	awaitTool(s, daemon, "docker", "version")
}

// dockerPush logs in, pushes an image to a repository under the tag v1, pulls it again and logs out.
func (s *session) dockerPush(repository string) {
	s.Helper()
	reference := s.gateway.Host() + "/" + repository + ":v1"
	s.runWith(s.password, "docker", "login", s.gateway.Host(), "-u", s.user, "--password-stdin")
	s.run("docker", "import", rootfs(s.T), reference)
	pushed := sha256Pattern.FindString(afterLast(s.run("docker", "push", reference), "digest: "))
	manifest, err := s.gateway.Admin().Manifest(s.Context(), repository, "v1")
	require.NoError(s, err)
	require.Equal(s, harness.Describe("", manifest).Digest, pushed)
	s.run("docker", "rmi", reference)
	require.Contains(s, s.run("docker", "pull", reference), "Digest: "+pushed)
	s.run("docker", "logout", s.gateway.Host())
}

func dockerClient(s *session) {
	s.startDocker()
	reference := s.reference("docker", "v1")
	s.run("docker", "import", rootfs(s.T), reference)
	_, err := harness.Run(s.Context(), s.environ, "wrong", harness.Tool(s.T, "docker"), "login", s.gateway.Host(), "-u", s.user, "--password-stdin")
	require.Error(s, err)
	s.runWith(s.password, "docker", "login", s.gateway.Host(), "-u", s.user, "--password-stdin")
	pushed := sha256Pattern.FindString(afterLast(s.run("docker", "push", reference), "digest: "))
	require.Equal(s, s.served("docker", "v1"), pushed)
	id := s.run("docker", "image", "inspect", "--format", "{{.Id}}", reference)
	s.run("docker", "rmi", reference)
	require.Contains(s, s.run("docker", "pull", reference), "Digest: "+pushed)
	require.Equal(s, id, s.run("docker", "image", "inspect", "--format", "{{.Id}}", reference))
	// To another repository: the daemon knows where the layers are and has them mounted.
	other := s.reference("docker-copy", "v1")
	s.run("docker", "tag", reference, other)
	require.Contains(s, s.run("docker", "push", other), "Mounted from library/docker")
	s.run("docker", "manifest", "inspect", reference)
	s.run("docker", "logout", s.gateway.Host())
	require.Contains(s, s.fails("docker", "push", reference), "unauthorized")
}

// startContainerd runs a node's runtime of its own, whose hosts.toml are in the session's certs.d, and returns how it is spoken to.
func (s *session) startContainerd() (ctr, crictl []string) {
	s.Helper()
	require.Zero(s, os.Getuid(), "containerd runs as root only")
	require.NoError(s, os.WriteFile(s.path("config.toml"), fmt.Appendf(nil, `version = 2
root = %q
state = %q
[grpc]
  address = %q
[plugins."io.containerd.internal.v1.opt"]
  path = %q
[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = %q
`, s.path("root"), s.path("state"), s.path("c.sock"), s.path("opt"), s.path("certs.d")), 0o600))
	daemon := harness.StartProcess(s.T, s.environ, harness.Tool(s.T, "containerd"), "-c", s.path("config.toml"))
	ctr = []string{"-a", s.path("c.sock"), "-n", "k8s.io"}
	awaitTool(s, daemon, "ctr", append(ctr, "version")...)
	return ctr, []string{"--image-endpoint", "unix://" + s.path("c.sock"), "--runtime-endpoint", "unix://" + s.path("c.sock")}
}

// containerdClient pulls as a kubelet does: through the runtime interface, on a node with the registry's hosts.toml, with the
// credentials of an imagePullSecret in the request.
func containerdClient(s *session) {
	ctr, crictl := s.startContainerd()
	hosts := s.path("certs.d", s.gateway.Host())
	require.NoError(s, os.MkdirAll(hosts, 0o755))
	trust := func(line string) {
		require.NoError(s, os.WriteFile(filepath.Join(hosts, "hosts.toml"), fmt.Appendf(nil, "server = %[1]q\n\n[host.%[1]q]\n  capabilities = [\"pull\", \"resolve\", \"push\"]\n  %[2]s\n",
			s.gateway.URL(), line), 0o600))
	}
	authority := fmt.Sprintf("ca = %q", s.gateway.CA())
	trust(authority)
	reference, credentials := s.reference("containerd", "v1"), s.user+":"+s.password
	pushed := layout(s.T, s.path("pushed"), "v1")
	archive := s.path("pushed.tar")
	s.run("tar", "-C", s.path("pushed"), "-cf", archive, ".")
	s.run("ctr", append(ctr, "images", "import", "--snapshotter", "native", "--base-name", s.gateway.Host()+"/library/containerd", archive)...)
	s.run("ctr", append(ctr, "images", "push", "--hosts-dir", s.path("certs.d"), "-u", credentials, reference)...)
	require.Equal(s, pushed, s.served("containerd", "v1"))
	s.run("ctr", append(ctr, "images", "rm", "--sync", reference)...)

	// What "kubectl create secret docker-registry" keeps, and the kubelet takes out of it.
	secret := base64.StdEncoding.EncodeToString([]byte(credentials))
	pull := append(crictl, "pull", "--auth", secret, reference)
	trust("")
	require.ErrorContains(s, failure(s, "crictl", pull...), "unknown authority")
	trust(authority)
	s.run("crictl", pull...)
	var list struct {
		Images []struct{ RepoDigests []string }
	}
	require.NoError(s, json.Unmarshal([]byte(s.run("crictl", append(crictl, "images", "-o", "json")...)), &list))
	require.Len(s, list.Images, 1)
	require.Equal(s, []string{s.gateway.Host() + "/library/containerd@" + pushed}, list.Images[0].RepoDigests)
	s.run("crictl", append(crictl, "rmi", reference)...)
	require.Error(s, failure(s, "crictl", append(crictl, "pull", "--creds", s.user+":wrong", reference)...))
}

// awaitTool runs a tool until it succeeds, or the daemon that it asks is gone.
func awaitTool(s *session, daemon *harness.Process, tool string, arguments ...string) {
	s.Helper()
	require.Eventually(s, func() bool {
		select {
		case <-daemon.Exited():
			return true
		default:
			return failure(s, tool, arguments...) == nil
		}
	}, time.Minute, 200*time.Millisecond, "%s does not answer", tool)
	s.run(tool, arguments...)
}

// afterLast is what follows the last occurrence of a mark.
func afterLast(text, mark string) string {
	return text[strings.LastIndex(text, mark)+len(mark):]
}
