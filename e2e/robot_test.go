package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/e2e/harness"
)

// TestRobots_pushAndPull has real clients push with a robot's secret and with a personal access token, until these are taken away.
func TestRobots_pushAndPull(t *testing.T) {
	gateway := harness.Start(t, harness.Directory(t))
	gateway.AddProject("team", false)
	gateway.AddUser("clara", callerPassword)
	gateway.SetMember("team", "clara", "projectAdmin")
	clara := gateway.As("clara", callerPassword)
	body := `{"name":%q,"level":"project","duration":1,"disable":%t,"permissions":[
		{"kind":"project","namespace":"team","access":[{"resource":"repository","action":"push"}]}]}`
	var robot, token struct {
		ID           int64
		Name, Secret string
	}
	require.NoError(t, json.Unmarshal([]byte(api(t, clara, http.MethodPost, "/api/v2.0/robots", fmt.Sprintf(body, "ci", false), http.StatusCreated)), &robot))
	require.Equal(t, "robot$team+ci", robot.Name)
	made := api(t, clara, http.MethodPost, "/api/v2.0/users/current/tokens", `{"name":"laptop","scopes":["pull"]}`, http.StatusCreated)
	require.NoError(t, json.Unmarshal([]byte(made), &token))

	directory := shortDirectory(t)
	environ := []string{"HOME=" + directory, "XDG_RUNTIME_DIR=" + directory, "DOCKER_CONFIG=" + filepath.Join(directory, "docker"), "SSL_CERT_FILE=" + gateway.CA()}
	login := func(user, password string) *session {
		return &session{T: t, gateway: gateway, directory: directory, user: user, password: password, environ: environ}
	}
	image := harness.NewImage(50, 1000)
	require.NoError(t, gateway.Admin().Push(t.Context(), "library/base", "v1", image))
	for i, name := range []string{robot.Name, "robot-team+ci"} {
		login(name, robot.Secret).copyTo(fmt.Sprintf("team/app%d", i))
		login(name, robot.Secret).craneTo(fmt.Sprintf("team/crane%d", i))
	}
	docker := login(robot.Name, robot.Secret)
	docker.startDocker()
	environ = docker.environ // with the daemon
	for i, name := range []string{robot.Name, "robot-team+ci"} {
		login(name, robot.Secret).dockerPush(fmt.Sprintf("team/docker%d", i))
	}
	require.Contains(t, docker.fails("docker", "pull", gateway.Host()+"/team/docker0:v1"), "unauthorized", "after logging out")
	reader := login("clara", token.Secret)
	require.Contains(t, reader.inspect("team/app0"), "team/app0")
	reader.refuses("team/app2")
	login(robot.Name, robot.Secret).refuses("library/app")

	api(t, clara, http.MethodPut, fmt.Sprintf("/api/v2.0/robots/%d", robot.ID), fmt.Sprintf(body, robot.Name, true), http.StatusOK)
	login(robot.Name, robot.Secret).refuses("team/app3")
	api(t, clara, http.MethodDelete, fmt.Sprintf("/api/v2.0/users/current/tokens/%d", token.ID), "", http.StatusOK)
	api(t, gateway.As("clara", token.Secret), http.MethodGet, "/api/v2.0/users/current", "", http.StatusUnauthorized)
}

// craneTo logs in with crane, pushes an image and pulls it again.
func (s *session) craneTo(repository string) {
	s.Helper()
	reference := s.gateway.Host() + "/" + repository + ":v1"
	s.run("crane", "auth", "login", s.gateway.Host(), "-u", s.user, "-p", s.password)
	pushed := sha256Pattern.FindString(s.run("crane", "append", "--oci-empty-base", "--new_layer", rootfs(s.T), "--new_tag", reference))
	require.Equal(s, pushed, strings.TrimSpace(s.run("crane", "digest", reference)))
	s.run("crane", "validate", "--remote", reference)
	require.Contains(s, s.run("crane", "ls", s.gateway.Host()+"/"+repository), "v1")
	s.run("crane", "auth", "logout", s.gateway.Host())
	s.fails("crane", "digest", reference)
}

// copyTo copies the image of the public project into a repository.
func (s *session) copyTo(repository string) {
	s.Helper()
	s.run("skopeo", s.copying(repository)...)
}

// refuses has the copy fail.
func (s *session) refuses(repository string) {
	s.Helper()
	s.fails("skopeo", s.copying(repository)...)
}

func (s *session) copying(repository string) []string {
	credentials, certificates := s.user+":"+s.password, s.certificates(s.path("certs.d"))
	return []string{
		"--insecure-policy", "copy", "--src-no-creds", "--src-cert-dir", certificates, "--dest-creds", credentials, "--dest-cert-dir", certificates,
		"docker://" + s.gateway.Host() + "/library/base:v1", "docker://" + s.gateway.Host() + "/" + repository + ":v1",
	}
}

func (s *session) inspect(repository string) string {
	s.Helper()
	return s.run("skopeo", "inspect", "--creds", s.user+":"+s.password, "--cert-dir", s.certificates(s.path("certs.d")), "docker://"+s.gateway.Host()+"/"+repository+":v1")
}
