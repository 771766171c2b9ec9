package harness

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// AdminPassword is the administrator's password on every gateway of the tests.
const AdminPassword = "Correct-h0rse-battery-staple"

// Gateway is a running berth with a site on https://localhost:PORT.
type Gateway struct {
	t         testing.TB
	stack     *Stack
	authority *Authority
	port      int
	admin     int
	directory string
	config    string
	process   *Process
}

// Start starts a gateway over a stack and waits until it answers.
func Start(t testing.TB, stack *Stack) *Gateway {
	t.Helper()
	gateway := &Gateway{
		t:         t,
		stack:     stack,
		authority: stack.authority,
		port:      FreePort(t),
		admin:     FreePort(t),
		directory: t.TempDir(),
	}
	gateway.config = filepath.Join(gateway.directory, "Caddyfile")
	gateway.Write(stack.Block)
	gateway.Launch()
	return gateway
}

// Write writes the Caddyfile with the given contents of the berth block; a running gateway heeds it at the next [Gateway.Reload].
func (g *Gateway) Write(block string) {
	g.t.Helper()
	caddyfile := fmt.Sprintf(`{
	admin localhost:%d
	auto_https disable_redirects
	skip_install_trust
	grace_period %s
	metrics
	servers {
		protocols %s
	}
	berth {
		%s
	}
}

https://localhost:%d {
	bind 127.0.0.1
	tls %s %s
	log {
		output stderr
	}
	berth
}
`, g.admin, g.stack.grace(), g.stack.Protocols, strings.ReplaceAll(strings.TrimSpace(block), "\n", "\n\t\t"), g.port, g.authority.Certificate, g.authority.Key)
	require.NoError(g.t, os.WriteFile(g.config, []byte(caddyfile), 0o600))
}

// Launch starts the process, again after [Gateway.Kill] or [Gateway.Stop], and waits until it answers.
func (g *Gateway) Launch() {
	g.t.Helper()
	g.process = StartProcess(g.t, g.environ(), Binary(g.t), "run", "--config", g.config, "--adapter", "caddyfile")
	g.awaitReady()
}

func (g *Gateway) awaitReady() {
	g.t.Helper()
	client := g.HTTP()
	defer client.CloseIdleConnections()
	deadline := time.Now().Add(patience)
	for {
		response, err := client.Get(g.URL() + "/v2/")
		if err == nil {
			_ = response.Body.Close()
			if response.StatusCode == http.StatusUnauthorized || response.StatusCode == http.StatusOK {
				return
			}
			err = fmt.Errorf("status %d", response.StatusCode)
		}
		select {
		case <-g.process.Exited():
			require.FailNowf(g.t, "the gateway ended while starting", "%s", g.process.Tail(60))
		case <-time.After(10 * time.Millisecond):
		}
		require.Truef(g.t, time.Now().Before(deadline), "the gateway does not answer: %v\n%s", err, g.process.Tail(60))
	}
}

func (g *Gateway) environ() []string {
	return append([]string{
		"BERTH_ADMIN_PASSWORD=" + AdminPassword,
		"XDG_DATA_HOME=" + filepath.Join(g.directory, "share"),
		"XDG_CONFIG_HOME=" + filepath.Join(g.directory, "config"),
		"HOME=" + g.directory,
	}, g.stack.Environ...)
}

// Host is the registry's name as it stands in references: localhost:PORT.
func (g *Gateway) Host() string { return net.JoinHostPort("localhost", strconv.Itoa(g.port)) }

// URL is the site's address.
func (g *Gateway) URL() string { return "https://" + g.Host() }

// CA is the path of the certificate to trust.
func (g *Gateway) CA() string { return g.authority.CA }

// Certificate is the path of the site's own certificate.
func (g *Gateway) Certificate() string { return g.authority.Certificate }

// Process is the running process.
func (g *Gateway) Process() *Process { return g.process }

// HTTP is a client that trusts the gateway, with connections of its own.
func (g *Gateway) HTTP() *http.Client {
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig:     g.authority.TLS(),
		ForceAttemptHTTP2:   false,
		TLSNextProto:        nil,
		MaxIdleConnsPerHost: 128,
	}}
}

// Kill ends the process at once and leaves everything as it was.
func (g *Gateway) Kill() { g.process.Kill() }

// Stop ends the process gracefully.
func (g *Gateway) Stop() { g.process.Stop() }

// Reload has the running process take up the Caddyfile.
func (g *Gateway) Reload() error {
	_, err := g.Command("reload", "--config", g.config, "--adapter", "caddyfile", "--address", "localhost:"+strconv.Itoa(g.admin))
	return err
}

// Command runs one of the binary's commands beside the running process.
func (g *Gateway) Command(arguments ...string) (string, error) {
	return Run(context.Background(), g.environ(), "", Binary(g.t), arguments...)
}

// Memory returns the resident set's size now and at its highest, in bytes.
func (g *Gateway) Memory() (now, peak int64) {
	g.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", g.process.PID()))
	require.NoError(g.t, err)
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		kib, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		switch name {
		case "VmRSS":
			now = kib << 10
		case "VmHWM":
			peak = kib << 10
		}
	}
	return now, peak
}

// ForgetPeak makes the highest resident set start over from now.
func (g *Gateway) ForgetPeak() {
	g.t.Helper()
	require.NoError(g.t, os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", g.process.PID()), []byte("5"), 0))
}

// Metric returns the value of a series, which is written as Prometheus does it; a series that is not there is 0.
func (g *Gateway) Metric(series string) float64 {
	g.t.Helper()
	response, err := http.Get(fmt.Sprintf("http://localhost:%d/metrics", g.admin))
	require.NoError(g.t, err)
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	require.NoError(g.t, err)
	return Sample(g.t, string(body), series)
}

// Sample returns the value of a series in metrics that were scraped, 0 when it is not there.
func Sample(t testing.TB, scraped, series string) float64 {
	t.Helper()
	for line := range strings.Lines(scraped) {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			number, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			require.NoError(t, err)
			return number
		}
	}
	return 0
}

// OpenFiles are the files that the process holds open below a directory.
func (g *Gateway) OpenFiles(below string) []string {
	descriptors, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", g.process.PID()))
	var open []string
	for _, descriptor := range descriptors {
		if target, err := os.Readlink(descriptor); err == nil && strings.HasPrefix(target, below+string(filepath.Separator)) {
			open = append(open, target)
		}
	}
	return open
}
