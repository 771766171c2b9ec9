package caddymodules_test

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"
)

const adminPassword = "Correct-horse-1"

// patience bounds every wait of these tests.
const patience = 30 * time.Second

// server is Caddy in this process with the registry on a site without TLS. There is one at a time, as Caddy has one configuration.
type server struct {
	t       *testing.T
	address string
	dataDir string
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	return listener.Addr().String()
}

// configure returns the JSON of a Caddyfile with the options in the berth block and more in the site.
func (s *server) configure(options, site string) []byte {
	s.t.Helper()
	text := fmt.Sprintf(`{
	admin off
	metrics
	grace_period 10s
	log default {
		output discard
	}
	berth {
		data_dir %s
		admin_password %s
		%s
	}
}
http://%s {
	bind 127.0.0.1
	metrics /metrics
	%s
	berth
}
`, s.dataDir, adminPassword, options, s.address, site)
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
	require.NoError(s.t, err)
	return adapted
}

func start(t *testing.T, options, site string) *server {
	t.Helper()
	s := &server{t: t, address: freeAddress(t), dataDir: filepath.Join(t.TempDir(), "data")}
	require.NoError(t, caddy.Load(s.configure(options, site), true))
	t.Cleanup(func() { require.NoError(t, caddy.Stop()) })
	s.awaitOneCore("that of an earlier test must have closed")
	return s
}

func (s *server) awaitOneCore(because string) {
	s.t.Helper()
	require.Eventually(s.t, func() bool { return s.metric("berth_open_cores") == "1" }, patience, 10*time.Millisecond, because)
}

func (s *server) url(path string) string { return "http://" + s.address + path }

func (s *server) do(method, path string, body io.Reader, edit func(*http.Request)) *http.Response {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), method, s.url(path), body)
	require.NoError(s.t, err)
	request.SetBasicAuth("admin", adminPassword)
	if edit != nil {
		edit(request)
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(request)
	require.NoError(s.t, err)
	s.t.Cleanup(func() { _ = response.Body.Close() })
	return response
}

func (s *server) read(method, path string, edit func(*http.Request)) (*http.Response, string) {
	s.t.Helper()
	response := s.do(method, path, nil, edit)
	body, err := io.ReadAll(response.Body)
	require.NoError(s.t, err)
	return response, string(body)
}

// metric returns the value of a metric without labels, or with them as they are written.
func (s *server) metric(name string) string {
	_, body := s.read(http.MethodGet, "/metrics", nil)
	for line := range strings.Lines(body) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func (s *server) push(content []byte) {
	s.t.Helper()
	started := s.do(http.MethodPost, "/v2/library/app/blobs/uploads/", nil, nil)
	require.Equal(s.t, http.StatusAccepted, started.StatusCode)
	separator := "?"
	if strings.Contains(started.Header.Get("Location"), "?") {
		separator = "&"
	}
	location := started.Header.Get("Location") + separator + "digest=" + digest.FromBytes(content).String()
	finished := s.do(http.MethodPut, location, bytes.NewReader(content), nil)
	require.Equal(s.t, http.StatusCreated, finished.StatusCode)
}

func randomBytes(t *testing.T, n int) []byte {
	t.Helper()
	content := make([]byte, n)
	_, err := rand.Read(content)
	require.NoError(t, err)
	return content
}

func TestReload_transfersFinish(t *testing.T) {
	elsewhere := "storage filesystem " + t.TempDir()
	for name, options := range map[string]string{
		"same settings":     "",
		"changed lifetime":  "token_lifetime 7m",
		"changed storage":   elsewhere,
		"both, and a limit": elsewhere + "\n\t\tupload_expiry 3h",
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, "", "")
			down := randomBytes(t, 32<<20)
			s.push(down)
			up := randomBytes(t, 8<<20)

			// The download has begun and waits for the client, the upload has begun and waits for its second half.
			downloading := s.do(http.MethodGet, "/v2/library/app/blobs/"+digest.FromBytes(down).String(), nil, nil)
			require.Equal(t, http.StatusOK, downloading.StatusCode)
			begun := make([]byte, 1024)
			_, err := io.ReadFull(downloading.Body, begun)
			require.NoError(t, err)
			started := s.do(http.MethodPost, "/v2/library/app/blobs/uploads/", nil, nil)
			reader, writer := io.Pipe()
			uploaded := make(chan *http.Response, 1)
			go func() { uploaded <- s.do(http.MethodPatch, started.Header.Get("Location"), reader, nil) }()
			_, err = writer.Write(up[:len(up)/2])
			require.NoError(t, err)
			// Half of the upload fits into the socket's buffers, and a connection that has not been read from counts as idle.
			require.Eventually(t, func() bool { return s.metric("berth_uploads_in_progress") == "1" }, time.Minute, time.Millisecond)

			require.NoError(t, caddy.Load(s.configure(options, ""), true))
			if options != "" {
				require.Equal(t, "2", s.metric("berth_open_cores"), "the old core must serve its transfers")
			}

			_, err = writer.Write(up[len(up)/2:])
			require.NoError(t, err)
			require.NoError(t, writer.Close())
			response := <-uploaded
			require.Equal(t, http.StatusAccepted, response.StatusCode)
			require.Equal(t, fmt.Sprintf("0-%d", len(up)-1), response.Header.Get("Range"))
			rest, err := io.ReadAll(downloading.Body)
			require.NoError(t, err)
			require.True(t, bytes.Equal(down, append(begun, rest...)), "the download is not what was pushed")

			s.awaitOneCore("the old core must close after its last transfer")
		})
	}
}

func TestReload_brokenConfigurationChangesNothing(t *testing.T) {
	s := start(t, "", "")
	content := randomBytes(t, 1000)
	s.push(content)
	require.ErrorContains(t, caddy.Load(s.configure("storage filesystem /dev/null/blobs", ""), true), "storage")
	require.ErrorContains(t, caddy.Load(s.configure("database postgres postgres://127.0.0.1:1/none?connect_timeout=1", ""), true), "database")
	response, body := s.read(http.MethodGet, "/v2/library/app/blobs/"+digest.FromBytes(content).String(), nil)
	require.Equal(t, http.StatusOK, response.StatusCode)
	require.Equal(t, string(content), body)
	require.Equal(t, "1", s.metric("berth_open_cores"))
}

func TestValidate_hasNoEffects(t *testing.T) {
	s := &server{t: t, address: freeAddress(t), dataDir: filepath.Join(t.TempDir(), "data")}
	var config caddy.Config
	require.NoError(t, json.Unmarshal(s.configure("", ""), &config))
	require.NoError(t, caddy.Validate(&config))
	_, err := os.Stat(s.dataDir)
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestValidate_refusesSettingsThatCannotWork(t *testing.T) {
	for options, want := range map[string]string{
		"token_lifetime 30s": "token_lifetime",
		"token_lifetime 2d":  "token_lifetime",
		"token_lifetime 50m\n\t\trefresh_token_lifetime 40m": "refresh_token_lifetime",
		"upload_expiry 10s":                         "upload_expiry",
		"robot_max_lifetime 1h":                     "robot_max_lifetime",
		"access_token_max_lifetime 1h":              "access_token_max_lifetime",
		"policy {\n p auditor * log list\n }":       "auditor",
		"policy {\n p role:auditor * log\n }":       "policy row",
		"external_url registry.example.com":         "external_url",
		"external_url https://example.com/registry": "external_url",
		"secret_key {env.BERTH_TEST_IS_NOT_SET}":    "secret_key",
		"outbound {\n allow 10.0.0.0/33\n }":        "outbound allow",
		"outbound {\n deny example.com\n }":         "outbound deny",
		"mirror {\n Docker.io hub\n }":              "mirror \"Docker.io\"",
		"mirror {\n docker.io no/project\n }":       "mirror docker.io",
	} {
		s := &server{t: t, address: freeAddress(t), dataDir: t.TempDir()}
		var config caddy.Config
		require.NoError(t, json.Unmarshal(s.configure(options, ""), &config))
		require.ErrorContains(t, caddy.Validate(&config), want, options)
	}
}
