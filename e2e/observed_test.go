package e2e_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	"github.com/berth-registry/berth/e2e/harness"
)

// observed is a gateway that tells all it can: debugging logs, metrics and traces. Every answer it gives is kept.
type observed struct {
	*shipped
	base, metricsAt string
	h1, h2          *http.Client
	spans           *spanReceiver
	answers         []observedAnswer
}

type observedAnswer struct {
	method, path string
	status       int
	header       http.Header
	body         string
}

const observedCaddyfile = `{
	debug
	admin unix/%[1]s/admin.sock
	persist_config off
	auto_https off
	grace_period 10s
	metrics
	servers {
		protocols h1 h2
	}
	berth {
		%[2]s
	}
}

http://%[3]s {
	bind 127.0.0.1
	metrics
}

https://%[4]s {
	bind 127.0.0.1
	tls %[5]s %[6]s
	log
	tracing {
		span berth
	}
	error /v2/limited* 429
	error /v2/broken* "broken on purpose" 500
	error /teapot 418
	handle /v2/proxied* {
		reverse_proxy 127.0.0.1:1
	}
	request_body /v2/team/small/* {
		max_size 10
	}
	berth
}
`

func observe(t *testing.T, stack *harness.Stack, block string) *observed {
	t.Helper()
	directory, authority := shortDirectory(t), harness.NewAuthority(t)
	o := &observed{spans: receiveSpans(t), metricsAt: net.JoinHostPort("127.0.0.1", strconv.Itoa(harness.FreePort(t)))}
	o.shipped = &shipped{
		T: t, address: fmt.Sprintf("localhost:%d", harness.FreePort(t)), directory: directory,
		caddyfile: filepath.Join(directory, "Caddyfile"),
		environ: append([]string{
			"HOME=" + directory,
			"BERTH_ADMIN_PASSWORD=" + harness.AdminPassword,
			"OTEL_EXPORTER_OTLP_ENDPOINT=" + o.spans.url,
			"OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
			"OTEL_BSP_SCHEDULE_DELAY=50",
		}, stack.Environ...),
	}
	o.base = "https://" + o.address
	text := fmt.Sprintf(observedCaddyfile, directory, block, o.metricsAt, o.address, authority.Certificate, authority.Key)
	require.NoError(t, os.WriteFile(o.caddyfile, []byte(text), 0o600))
	client := func(h2 bool) *http.Client {
		transport := &http.Transport{TLSClientConfig: authority.TLS(), ForceAttemptHTTP2: h2}
		t.Cleanup(transport.CloseIdleConnections)
		return &http.Client{
			Transport:     transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	o.h1, o.h2 = client(false), client(true)
	o.launch()
	return o
}

// ask sends a request and keeps the answer. A target may be a path or what a Location says.
func (o *observed) ask(client *http.Client, method, target string, body io.Reader, edits ...func(*http.Request)) observedAnswer {
	o.Helper()
	if strings.HasPrefix(target, "/") {
		target = o.base + target
	}
	request, err := http.NewRequestWithContext(o.Context(), method, target, body)
	require.NoError(o, err)
	for _, edit := range edits {
		edit(request)
	}
	response, err := client.Do(request)
	require.NoError(o, err)
	content, err := io.ReadAll(response.Body)
	require.NoError(o, err)
	require.NoError(o, response.Body.Close())
	answer := observedAnswer{method, request.URL.Path, response.StatusCode, response.Header, string(content)}
	o.answers = append(o.answers, answer)
	return answer
}

func basic(name, password string) func(*http.Request) {
	return func(r *http.Request) { r.SetBasicAuth(name, password) }
}

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

func bearer(token string) func(*http.Request) { return header("Authorization", "Bearer "+token) }

// people makes the user dev, who may push to the project team.
func (o *observed) people(password string) (said string) {
	o.Helper()
	run := func(stdin string, arguments ...string) {
		output, err := harness.Run(o.Context(), o.environ, stdin, harness.Binary(o.T), append(arguments, "--config", o.caddyfile)...)
		require.NoError(o, err)
		said += output
	}
	run(password+"\n", "user", "create", "dev")
	run("", "project", "create", "team")
	run("", "member", "add", "team", "dev", "developer")
	return said
}

// push pushes a blob in two requests and returns where it is.
func (o *observed) push(content []byte, edits ...func(*http.Request)) string {
	o.Helper()
	digest := harness.Describe("", content).Digest
	started := o.ask(o.h1, http.MethodPost, "/v2/team/app/blobs/uploads/", nil, edits...)
	require.Equal(o, http.StatusAccepted, started.status, started.body)
	finished := o.ask(o.h1, http.MethodPut, o.finish(started, digest), bytes.NewReader(content), edits...)
	require.Equal(o, http.StatusCreated, finished.status, finished.body)
	return "/v2/team/app/blobs/" + digest
}

// finish returns the address that closes a started upload.
func (o *observed) finish(started observedAnswer, digest string) string {
	location, err := url.Parse(started.header.Get("Location"))
	require.NoError(o, err)
	query := location.Query()
	query.Set("digest", digest)
	location.RawQuery = query.Encode()
	base, err := url.Parse(o.base)
	require.NoError(o, err)
	return base.ResolveReference(location).String()
}

// tokens asks the token service by GET, or by POST with a form.
func (o *observed) tokens(form url.Values, edits ...func(*http.Request)) (status int, access, refresh string) {
	o.Helper()
	const scope = "repository:team/app:pull,push"
	method, target, body := http.MethodGet, "/service/token?service=berth&offline_token=true&scope="+scope, io.Reader(nil)
	if form != nil {
		form.Set("scope", scope)
		method, target, body = http.MethodPost, "/service/token", strings.NewReader(form.Encode())
		edits = append(edits, header("Content-Type", "application/x-www-form-urlencoded"))
	}
	answer := o.ask(o.h1, method, target, body, edits...)
	var issued struct {
		AccessToken  string `json:"access_token"`
		RefreshToken string `json:"refresh_token"`
	}
	if answer.status == http.StatusOK {
		require.NoError(o, json.Unmarshal([]byte(answer.body), &issued))
	}
	return answer.status, issued.AccessToken, issued.RefreshToken
}

func (o *observed) scrape() string {
	o.Helper()
	response, err := http.Get("http://" + o.metricsAt + "/metrics")
	require.NoError(o, err)
	body, err := io.ReadAll(response.Body)
	require.NoError(o, err)
	return string(body)
}

// metric returns the value of a series, which is written as Prometheus does it; a series that is not there is 0.
func (o *observed) metric(series string) float64 {
	o.Helper()
	return harness.Sample(o, o.scrape(), series)
}

// accessLog returns the fields of the access log's lines by the request's id, once all of the ids are there.
func (o *observed) accessLog(ids ...string) map[string]map[string]any {
	o.Helper()
	lines := map[string]map[string]any{}
	require.Eventually(o, func() bool {
		for line := range strings.Lines(o.process.Log()) {
			var fields map[string]any
			if json.Unmarshal([]byte(line), &fields) != nil || fields["msg"] != "handled request" {
				continue
			}
			if id, ok := fields["request_id"].(string); ok {
				lines[id] = fields
			}
		}
		return !slices.ContainsFunc(ids, func(id string) bool { return lines[id] == nil })
	}, time.Minute, 50*time.Millisecond, "answers are missing in the access log")
	return lines
}

// configuration is what Caddy's administration endpoint says is loaded.
func (o *observed) configuration() string {
	o.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(o.directory, "admin.sock"))
	}}}
	response, err := client.Get("http://localhost/config/")
	require.NoError(o, err)
	body, err := io.ReadAll(response.Body)
	require.NoError(o, err)
	require.Contains(o, string(body), `"berth"`)
	return string(body)
}

// spanReceiver is a collector of traces that keeps them.
type spanReceiver struct {
	url   string
	mu    sync.Mutex
	spans []*trace.Span
}

func receiveSpans(t *testing.T) *spanReceiver {
	t.Helper()
	receiver := new(spanReceiver)
	server := httptest.NewServer(receiver)
	t.Cleanup(server.Close)
	receiver.url = server.URL
	return receiver
}

// ServeHTTP takes spans over OTLP's HTTP.
func (s *spanReceiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err == nil && r.Header.Get("Content-Encoding") == "gzip" {
		var unzipped io.Reader
		if unzipped, err = gzip.NewReader(bytes.NewReader(body)); err == nil {
			body, err = io.ReadAll(unzipped)
		}
	}
	var export collector.ExportTraceServiceRequest
	if err == nil {
		err = proto.Unmarshal(body, &export)
	}
	if err != nil || r.URL.Path != "/v1/traces" {
		http.Error(w, fmt.Sprint(r.URL.Path, err), http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, resource := range export.ResourceSpans {
		for _, scope := range resource.ScopeSpans {
			s.spans = append(s.spans, scope.Spans...)
		}
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
}

// await returns the first span for which the condition holds, once it has come.
func (s *spanReceiver) await(t *testing.T, condition func(*trace.Span) bool) *trace.Span {
	t.Helper()
	var found *trace.Span
	require.Eventually(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		at := slices.IndexFunc(s.spans, condition)
		if at >= 0 {
			found = s.spans[at]
		}
		return at >= 0
	}, time.Minute, 20*time.Millisecond, "a span does not come")
	return found
}

// text is all that the spans tell.
func (s *spanReceiver) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var text strings.Builder
	for _, span := range s.spans {
		text.WriteString(prototext.Format(span))
	}
	return text.String()
}
