package e2e_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/e2e/harness"
)

// shipped is the binary with the repository's own Caddyfile, as `make run` starts it.
type shipped struct {
	*testing.T
	address   string
	directory string
	caddyfile string
	environ   []string
	process   *harness.Process
}

func runShipped(t *testing.T, environ ...string) *shipped {
	t.Helper()
	directory := shortDirectory(t)
	s := &shipped{
		T:         t,
		address:   fmt.Sprintf("localhost:%d", harness.FreePort(t)),
		directory: filepath.Join(directory, "data"),
		caddyfile: filepath.Join(harness.Root(), "Caddyfile"),
	}
	s.environ = append([]string{"BERTH_ADDRESS=" + s.address, "BERTH_DATA_DIR=" + s.directory, "HOME=" + directory}, environ...)
	s.launch()
	return s
}

func (s *shipped) launch() {
	s.Helper()
	s.process = harness.StartProcess(s.T, s.environ, harness.Binary(s.T), "run", "--config", s.caddyfile)
	require.Eventually(s, func() bool {
		_, err := s.get(&tls.Config{InsecureSkipVerify: true}, "/v2/") //nolint:gosec // nothing is trusted yet
		return err == nil
	}, time.Minute, 50*time.Millisecond, "no answer")
}

// get returns what an address answers to a client with the given idea of trust.
func (s *shipped) get(trust *tls.Config, path string) (string, error) {
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: trust, DisableKeepAlives: true}}
	response, err := client.Get("https://" + s.address + path)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	return string(body), err
}

// command runs one of the binary's commands with the shipped Caddyfile.
func (s *shipped) command(name string, arguments ...string) (string, error) {
	return harness.Run(context.Background(), s.environ, "", harness.Binary(s.T), append([]string{name, "--config", s.caddyfile}, arguments...)...)
}

// TestShipped_firstStart starts the way a newcomer does: no password is set, no certificate exists.
func TestShipped_firstStart(t *testing.T) {
	s := runShipped(t)
	file := filepath.Join(s.directory, "admin-password")
	status, err := os.Stat(file)
	require.NoError(t, err)
	require.EqualValues(t, 0o600, status.Mode().Perm())
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	password := strings.TrimSpace(string(content))
	require.Contains(t, s.process.Log(), password, "it is printed once")

	certificate, err := s.get(&tls.Config{InsecureSkipVerify: true}, "/api/v2.0/systeminfo/getcert") //nolint:gosec // as a newcomer does
	require.NoError(t, err)
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM([]byte(certificate)))
	_, err = s.get(&tls.Config{RootCAs: pool}, "/v2/")
	require.NoError(t, err, "with the certificate from getcert the registry is trusted")
	_, err = s.get(&tls.Config{}, "/v2/")
	require.Error(t, err, "without it, it is not")

	ca := filepath.Join(t.TempDir(), "ca.crt")
	require.NoError(t, os.WriteFile(ca, []byte(certificate), 0o600))
	environ := []string{"SSL_CERT_FILE=" + ca, "DOCKER_CONFIG=" + t.TempDir()}
	crane := harness.Tool(t, "crane")
	_, err = harness.Run(t.Context(), environ, "", crane, "auth", "login", s.address, "-u", "admin", "-p", password)
	require.NoError(t, err)
	_, err = harness.Run(t.Context(), environ, "", crane, "append", "--oci-empty-base", "--new_layer", rootfs(t), "--new_tag", s.address+"/library/first:v1")
	require.NoError(t, err)
	// library is public.
	digest, err := harness.Run(t.Context(), []string{"SSL_CERT_FILE=" + ca, "DOCKER_CONFIG=" + t.TempDir()}, "", crane, "digest", s.address+"/library/first:v1")
	require.NoError(t, err)

	s.process.Stop()
	s.launch()
	again, err := harness.Run(t.Context(), environ, "", crane, "digest", s.address+"/library/first:v1")
	require.NoError(t, err)
	require.Equal(t, digest, again)
	require.NotContains(t, s.process.Log(), password, "and not again")
}

// TestShipped_environmentChoosesStack needs no edit for PostgreSQL and S3.
func TestShipped_environmentChoosesStack(t *testing.T) {
	stack := harness.Shared(t)
	s := runShipped(t, append(stack.Environ,
		"BERTH_ADMIN_PASSWORD="+harness.AdminPassword,
		"BERTH_S3_ENDPOINT="+stack.S3.Endpoint, "BERTH_S3_BUCKET=registry", "BERTH_S3_REGION=us-east-1",
		"BERTH_S3_ACCESS_KEY="+stack.S3.AccessKey, "BERTH_S3_SECRET_KEY="+stack.S3.SecretKey)...)
	require.NoFileExists(t, filepath.Join(s.directory, "admin-password"))
	said, err := s.command("doctor")
	require.NoError(t, err)
	t.Log(said)
	objects := func() int {
		found := 0
		require.NoError(t, filepath.WalkDir(filepath.Join(stack.S3.Root, "registry"), func(_ string, entry os.DirEntry, err error) error {
			if err == nil && entry.Type().IsRegular() {
				found++
			}
			return err
		}))
		return found
	}
	before := objects()
	require.NoFileExists(t, filepath.Join(s.directory, "berth.db"))
	environ := []string{"DOCKER_CONFIG=" + t.TempDir()}
	crane := harness.Tool(t, "crane")
	_, err = harness.Run(t.Context(), environ, "", crane, "auth", "login", s.address, "-u", "admin", "-p", harness.AdminPassword)
	require.NoError(t, err)
	_, err = harness.Run(t.Context(), environ, "", crane, "append", "--insecure", "--oci-empty-base", "--new_layer", rootfs(t), "--new_tag", s.address+"/library/first:v1")
	require.NoError(t, err)
	require.Greater(t, objects(), before, "the layers are in the bucket")
}

// TestShipped_commandsOnRunningAndStopped creates people while the server runs and while it does not.
func TestShipped_commandsOnRunningAndStopped(t *testing.T) {
	s := runShipped(t, "BERTH_ADMIN_PASSWORD="+harness.AdminPassword)
	run := func(stdin string, arguments ...string) string {
		said, err := harness.Run(t.Context(), s.environ, stdin, harness.Binary(t), append(arguments, "--config", s.caddyfile)...)
		require.NoError(t, err)
		return said
	}
	run("her-S3cret-password", "user", "create", "running")
	s.process.Stop()
	run("his-S3cret-password", "user", "create", "stopped")
	run("", "project", "create", "team")
	run("", "member", "add", "team", "running", "maintainer")
	s.launch()
	users := run("", "user", "list")
	require.Contains(t, users, "running")
	require.Contains(t, users, "stopped")
	require.Regexp(t, regexp.MustCompile(`running\s+user\s+maintainer`), run("", "member", "list", "team"))
	_, err := harness.Run(t.Context(), s.environ, "", harness.Binary(t), "member", "add", "team", "running", "captain", "--config", s.caddyfile)
	require.ErrorContains(t, err, "projectAdmin")
	_, err = harness.Run(t.Context(), s.environ, "", harness.Binary(t), "user", "create", "running", "--config", s.caddyfile)
	require.Error(t, err)
}

// TestShipped_caddyfileIsWellFormed keeps it formatted and valid.
func TestShipped_caddyfileIsWellFormed(t *testing.T) {
	caddyfile := filepath.Join(harness.Root(), "Caddyfile")
	content, err := os.ReadFile(caddyfile)
	require.NoError(t, err)
	formatted, err := harness.Run(t.Context(), nil, string(content), harness.Binary(t), "fmt", "-")
	require.NoError(t, err)
	require.Equal(t, string(content), formatted)
	_, err = harness.Run(t.Context(), []string{"BERTH_DATA_DIR=" + t.TempDir(), "HOME=" + t.TempDir()}, "", harness.Binary(t), "validate", "--config", caddyfile)
	require.NoError(t, err)
}
