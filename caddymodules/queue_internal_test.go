package caddymodules

import (
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/caddymodules/command"
	_ "github.com/berth-registry/berth/jobs/redis"
	"github.com/berth-registry/berth/jobs/redis/redistest"
)

// health asks a running server for the health of its parts.
func (s *shell) health() map[string]string {
	s.t.Helper()
	way, err := connect(s.t.Context(), command.Place{Config: s.config, Adapter: "caddyfile"})
	require.NoError(s.t, err)
	request, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, way.Base+"/api/v2.0/health", nil)
	require.NoError(s.t, err)
	response, err := way.Transport.RoundTrip(request)
	require.NoError(s.t, err)
	defer response.Body.Close()
	var said struct {
		Components []struct{ Name, Status string }
	}
	require.NoError(s.t, json.NewDecoder(response.Body).Decode(&said))
	found := map[string]string{}
	for _, component := range said.Components {
		found[component.Name] = component.Status
	}
	return found
}

// TestQueue_redisIsDownAtStart starts a server whose Redis is not there: it works, and tells of it.
func TestQueue_redisIsDownAtStart(t *testing.T) {
	s := newShell(t)
	server := redistest.Prepare(t)
	text, err := os.ReadFile(s.config)
	require.NoError(t, err)
	withQueue := strings.Replace(string(text), "\tberth {\n", "\tberth {\n\t\tqueue redis redis://"+server.Address+"\n", 1)
	require.NoError(t, os.WriteFile(s.config, []byte(withQueue), 0o600))
	s.serve()
	defer func() { require.NoError(t, caddy.Stop()) }()
	require.Equal(t, "unhealthy", s.health()["redis"])
	require.Equal(t, "healthy", s.health()["jobservice"])
	said, err := s.try("", "doctor", "--url", "https://localhost:1")
	require.Error(t, err)
	require.Regexp(t, `FAIL +queue +ping Redis`, said)
	purge := func(n int) {
		s.run("", "audit", "purge", "--older-than", "24h", "--dry-run")
		require.Eventually(t, func() bool {
			return strings.Count(s.run("", "job", "list", "--status", "Success"), "PURGE_AUDIT_LOG") == n
		}, time.Minute, 50*time.Millisecond)
	}
	purge(1)
	server.Start()
	require.Eventually(t, func() bool { return s.health()["redis"] == "healthy" }, time.Minute, 200*time.Millisecond)
	said, _ = s.try("", "doctor", "--url", "https://localhost:1")
	require.Regexp(t, `ok +queue +Redis answers`, said)
	purge(2)
	metrics := scrape(t)
	require.Regexp(t, `berth_job_attempts_total\{kind="PURGE_AUDIT_LOG",outcome="success"\} \d`, metrics)
	require.Contains(t, metrics, `berth_job_queue_tasks{kind="PURGE_AUDIT_LOG"} 0`)
}

// scrape is what the metrics of the process are.
func scrape(t *testing.T) string {
	t.Helper()
	registry := prometheus.NewRegistry()
	require.NoError(t, metrics.register(registry))
	families, err := registry.Gather()
	require.NoError(t, err)
	var b strings.Builder
	for _, family := range families {
		_, err := expfmt.MetricFamilyToText(&b, family)
		require.NoError(t, err)
	}
	return b.String()
}
