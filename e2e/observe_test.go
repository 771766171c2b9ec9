package e2e_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/berth-registry/berth/e2e/harness"
)

// TestObserve_secretsStayOut uses every secret there is, rightly and wrongly, and looks for it in everything that is kept or
// shown: the log with debugging on, the metrics, the traces, the configuration, and what errors and commands say.
func TestObserve_secretsStayOut(t *testing.T) {
	const password, wrong = "dev-P4ssword+of/this=test", "dev-P4ssword+of/this-tset"
	stack := harness.Shared(t)
	o := observe(t, stack, stack.Redirecting())
	said := o.people(password)
	secrets := map[string]string{
		"password": password, "wrong password": wrong, "administrator's password": harness.AdminPassword, "S3 secret key": stack.S3.SecretKey,
		"hash of a password": "$argon2",
	}
	database, err := url.Parse(strings.TrimPrefix(stack.Environ[0], "BERTH_DATABASE_URL="))
	require.NoError(t, err)
	secrets["database password"], _ = database.User.Password()
	masterKey, err := os.ReadFile(filepath.Join(stack.Directory, "secret-key"))
	require.NoError(t, err)
	secrets["master key"] = strings.TrimSpace(string(masterKey))

	keep := func(name string, form url.Values, edits ...func(*http.Request)) (access, refresh string) {
		status, access, refresh := o.tokens(form, edits...)
		require.Equal(t, http.StatusOK, status)
		secrets["access token of "+name], secrets["refresh token of "+name] = signatureOf(access), signatureOf(refresh)
		return access, refresh
	}
	login := func(secret string) url.Values {
		return url.Values{"grant_type": {"password"}, "username": {"dev"}, "password": {secret}, "access_type": {"offline"}, "service": {"berth"}}
	}
	again := func(token string) url.Values {
		return url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}
	}
	access, refresh := keep("GET", nil, basic("dev", password))
	keep("POST", login(password))
	keep("refreshing", again(refresh))
	for _, form := range []url.Values{login(wrong), again(refresh + "x"), again(access)} {
		status, _, _ := o.tokens(form)
		require.Equal(t, http.StatusUnauthorized, status)
	}
	status, _, _ := o.tokens(nil, basic("dev", wrong))
	require.Equal(t, http.StatusUnauthorized, status)
	for _, edit := range []func(*http.Request){
		basic("dev", wrong), basic("nobody", password), bearer(access + "x"), bearer(refresh), bearer(password),
		header("Authorization", "Basic "+password), header("Authorization", password), header("Proxy-Authorization", "Basic "+password),
		header("Cookie", "session="+password),
	} {
		require.Equal(t, http.StatusUnauthorized, o.ask(o.h1, http.MethodGet, "/v2/team/app/tags/list", nil, edit).status)
	}

	blob := o.push([]byte("pushed with a token"), bearer(access))
	o.push([]byte("pushed with a password"), basic("admin", harness.AdminPassword))
	for name, client := range map[string]*http.Client{"HTTP/1.1": o.h1, "HTTP/2": o.h2} {
		redirected := o.ask(client, http.MethodGet, blob, nil, bearer(access))
		require.Equal(t, http.StatusTemporaryRedirect, redirected.status, redirected.body)
		location, err := url.Parse(redirected.header.Get("Location"))
		require.NoError(t, err)
		secrets["signature of a redirect over "+name] = location.Query().Get("X-Amz-Signature")
		pulled, err := http.Get(location.String())
		require.NoError(t, err)
		require.NoError(t, pulled.Body.Close())
		require.Equal(t, http.StatusOK, pulled.StatusCode, "the client has the whole address")
	}

	stack.S3.Stop()
	broken := o.ask(o.h1, http.MethodPost, "/v2/team/app/blobs/uploads/?digest="+harness.Describe("", []byte("lost")).Digest,
		strings.NewReader("lost"), bearer(access))
	require.Equal(t, http.StatusServiceUnavailable, broken.status, broken.body)
	o.environ = append(o.environ, "BERTH_DATABASE_URL="+strings.Replace(database.String(), database.Host, "127.0.0.1:1", 1))
	for _, command := range [][]string{{"doctor"}, {"adapt"}, {"validate"}, {"user", "list"}} {
		output, err := harness.Run(t.Context(), o.environ, "", harness.Binary(t), append(command, "--config", o.caddyfile)...)
		said += fmt.Sprintf("%s %v\n", output, err)
	}
	require.Contains(t, said, "127.0.0.1:1", "a command must have complained about the database")

	o.accessLog(broken.header.Get("X-Request-Id"))
	o.spans.await(t, func(*trace.Span) bool { return true })
	kept := map[string]string{"the log": o.process.Log(), "the metrics": o.scrape(), "the traces": o.spans.text(), "a command": said, "the configuration": o.configuration()}
	for _, answer := range o.answers {
		if answer.status >= http.StatusBadRequest {
			kept[fmt.Sprintf("the answer %d to %s %s", answer.status, answer.method, answer.path)] += fmt.Sprint(answer.header, answer.body)
		}
	}
	for what, secret := range secrets {
		if secret == "" {
			continue // refreshing returns no refresh token
		}
		for where, text := range kept {
			for _, form := range []string{secret, url.QueryEscape(secret), base64.StdEncoding.EncodeToString([]byte("dev:" + secret))} {
				require.Falsef(t, strings.Contains(text, form), "the %s is in %s", what, where)
			}
		}
	}
	require.Contains(t, kept["the log"], "?REDACTED")
}

// signatureOf is the last part of a token, without which the rest is worth nothing.
func signatureOf(token string) string { return token[strings.LastIndex(token, ".")+1:] }

// TestObserve_everyAnswerHasAnID tries answers of every kind, also those that Caddy makes, and looks each up in the access log.
func TestObserve_everyAnswerHasAnID(t *testing.T) {
	const password = "dev-P4ssword-of-this-test"
	stack := harness.Directory(t)
	o := observe(t, stack, stack.Block)
	o.people(password)
	dev := basic("dev", password)
	blob := o.push([]byte("something"), dev)
	long := strings.Repeat("x", 300)
	for _, request := range []struct {
		method, path string
		status       int
	}{
		{http.MethodGet, "/", 200},
		{http.MethodGet, "/nothing", 404},
		{http.MethodGet, "/api/v2.0/ping", 200},
		{http.MethodGet, "/api/v2.0/systeminfo/getcert", 404},
		{http.MethodPost, "/api/v2.0/ping", 405},
		{http.MethodGet, "/api/nothing", 404},
		{http.MethodGet, "/v2", 200},
		{http.MethodGet, "/v2/", 200},
		{http.MethodOptions, "/v2/", 405},
		{http.MethodGet, "/v2/_catalog", 200},
		{http.MethodGet, "/v2/_catalog?n=x", 400},
		{http.MethodGet, "/v2/team/app/tags/list", 200},
		{http.MethodGet, "/v2/team/none/tags/list", 404},
		{http.MethodGet, "/v2/team/app/manifests/none", 404},
		{http.MethodHead, "/v2/team/app/manifests/none", 404},
		{http.MethodGet, "/v2/team/app/manifests/" + long, 404},
		{http.MethodGet, "/v2/team/..%2fapp/tags/list", 400},
		{http.MethodGet, "/v2/UPPER/x/tags/list", 400},
		{http.MethodGet, blob, 200},
		{http.MethodHead, blob, 200},
		{http.MethodDelete, blob, 403},
		{http.MethodPut, blob, 405},
		{http.MethodGet, "/v2/team/app/blobs/uploads/none", 404},
		{http.MethodPost, "/v2/other/app/blobs/uploads/", 403},
		{http.MethodGet, "/service/token", 200},
		{http.MethodPut, "/service/token", 405},
		{http.MethodPost, "/service/token", 400},
		{http.MethodGet, "/service/token/keys", 200},
		{http.MethodGet, "/v2/limited/x/tags/list", 429},
		{http.MethodGet, "/v2/broken", 500},
		{http.MethodGet, "/v2/proxied/x", 502},
		{http.MethodGet, "/teapot", 418},
		{http.MethodPut, "/v2/team/small/manifests/latest", 413},
	} {
		for _, client := range []*http.Client{o.h1, o.h2} {
			var body io.Reader
			if request.method == http.MethodPut || request.method == http.MethodPost {
				body = strings.NewReader("more than ten bytes")
			}
			answer := o.ask(client, request.method, request.path, body, dev)
			require.Equalf(t, request.status, answer.status, "%s %s: %s", request.method, request.path, answer.body)
			if answer.status >= http.StatusBadRequest && request.path != "/teapot" && request.method != http.MethodHead {
				require.Contains(t, answer.body, `{"errors":[{"code":"`, request.path)
			}
		}
	}
	own := o.ask(o.h1, http.MethodGet, "/v2/", nil, header("X-Request-Id", "build-17"))
	require.Equal(t, "build-17", own.header.Get("X-Request-Id"))

	ids := make([]string, 0, len(o.answers))
	for _, answer := range o.answers {
		id := answer.header.Get("X-Request-Id")
		require.NotEmptyf(t, id, "%d to %s %s", answer.status, answer.method, answer.path)
		require.NotContains(t, ids, id, "each request has an id of its own")
		ids = append(ids, id)
	}
	lines := o.accessLog(ids...)
	for i, answer := range o.answers {
		line := lines[ids[i]]
		require.EqualValues(t, answer.status, line["status"], answer.path)
		require.NotEmpty(t, line["route"])
		require.NotEmpty(t, line["traceID"])
	}
	require.Equal(t, "dev", lines[ids[0]]["user_id"])
	require.Equal(t, "", lines["build-17"]["user_id"])
	for line := range strings.SplitSeq(o.process.Log(), "\n") {
		var fields map[string]any
		if json.Unmarshal([]byte(line), &fields) == nil && fields["msg"] == "a handler failed" && fields["status"] == 500.0 {
			require.Contains(t, ids, fields["request_id"])
			require.Contains(t, fields["error"], "broken on purpose")
			return
		}
	}
	require.Fail(t, "why a handler failed is not in the log")
}

// TestObserve_metrics counts what was done.
func TestObserve_metrics(t *testing.T) {
	const password = "dev-P4ssword-of-this-test"
	stack := harness.Shared(t)
	o := observe(t, stack, stack.Block)
	o.people(password)
	_, access, refresh := o.tokens(nil, basic("dev", password))
	o.tokens(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh}})
	o.tokens(nil)
	o.tokens(nil, basic("dev", "wrong"))
	content := bytes.Repeat([]byte("counted "), 100_000)
	blob := o.push(content, bearer(access))
	image := harness.Image{Manifest: []byte(`{"schemaVersion":2,"mediaType":"` + harness.MediaTypeManifest + `","config":{"mediaType":"` +
		harness.MediaTypeConfig + `","size":` + strconv.Itoa(len(content)) + `,"digest":"` + blob[strings.LastIndex(blob, "/")+1:] + `"},"layers":[]}`)}
	pushed := o.ask(o.h1, http.MethodPut, "/v2/team/app/manifests/observed-tag", bytes.NewReader(image.Manifest), bearer(access), header("Content-Type", harness.MediaTypeManifest))
	require.Equal(t, http.StatusCreated, pushed.status, pushed.body)
	for range 3 {
		require.Equal(t, string(image.Manifest), o.ask(o.h1, http.MethodGet, "/v2/team/app/manifests/observed-tag", nil, bearer(access)).body)
		require.Equal(t, string(content), o.ask(o.h1, http.MethodGet, blob, nil, bearer(access)).body)
	}
	o.ask(o.h1, "BREW", "/v2/team/app/observed-path", nil)

	for series, least := range map[string]float64{
		`berth_requests_total{method="PUT",route="blob_upload",status="201"}`:          1,
		`berth_requests_total{method="GET",route="manifest",status="200"}`:             3,
		`berth_requests_total{method="other",route="distribution_other",status="404"}`: 1,
		`berth_request_duration_seconds_count{method="GET",route="blob"}`:              3,
		`berth_received_bytes_total{route="blob_upload"}`:                              float64(len(content)),
		`berth_sent_bytes_total{route="blob"}`:                                         3 * float64(len(content)),
		`berth_storage_operations_total{operation="commit",outcome="ok"}`:              1,
		`berth_storage_operations_total{operation="open",outcome="ok"}`:                3,
		`berth_storage_operation_duration_seconds_count{operation="append"}`:           1,
		`berth_storage_written_bytes_total`:                                            float64(len(content)),
		`berth_database_operations_total{operation="transaction",outcome="ok"}`:        1,
		`berth_database_operation_duration_seconds_count{kind="statement"}`:            1,
		`berth_cache_lookups_total{cache="manifest",outcome="hit"}`:                    2,
		`berth_cache_lookups_total{cache="blob",outcome="hit"}`:                        2,
		`berth_tokens_issued_total{outcome="issued"}`:                                  1,
		`berth_tokens_issued_total{outcome="refreshed"}`:                               1,
		`berth_tokens_issued_total{outcome="anonymous"}`:                               1,
		`berth_tokens_issued_total{outcome="refused"}`:                                 1,
		`berth_open_cores`: 1,
	} {
		require.Eventually(t, func() bool { return o.metric(series) >= least }, 10*time.Second, 20*time.Millisecond, series)
	}
	require.EqualValues(t, len(content), o.metric("berth_storage_written_bytes_total"))

	started := o.ask(o.h1, http.MethodPost, "/v2/team/app/blobs/uploads/", nil, bearer(access))
	reader, writer := io.Pipe()
	upload, err := http.NewRequestWithContext(t.Context(), http.MethodPut, o.finish(started, harness.Describe("", []byte("held")).Digest), reader)
	require.NoError(t, err)
	bearer(access)(upload)
	held := make(chan string, 1)
	go func() {
		response, err := o.h1.Do(upload)
		if err != nil {
			held <- err.Error()
			return
		}
		_ = response.Body.Close()
		held <- response.Status
	}()
	_, err = writer.Write([]byte("he"))
	require.NoError(t, err)
	uploading := func(n float64) {
		t.Helper()
		require.Eventually(t, func() bool {
			return o.metric("berth_uploads_in_progress") == n && o.metric(`berth_requests_in_progress{route="blob_upload"}`) == n
		}, time.Minute, 20*time.Millisecond)
	}
	uploading(1)
	_, err = writer.Write([]byte("ld"))
	require.NoError(t, err)
	require.NoError(t, writer.Close())
	require.Equal(t, "201 Created", <-held)
	uploading(0)

	stack.S3.Stop()
	require.Equal(t, http.StatusServiceUnavailable, o.ask(o.h1, http.MethodGet, blob, nil, bearer(access)).status)
	require.GreaterOrEqual(t, o.metric(`berth_storage_operations_total{operation="open",outcome="unavailable"}`), 1.0)
	for _, name := range []string{"team", "observed-tag", "observed-path", "dev", "sha256", "localhost", "BREW"} {
		require.NotRegexp(t, `["/]`+name, o.scrape(), "a label grows with the content")
	}
	o.documented()
}

// documented compares the metrics with the table of the guide.
func (o *observed) documented() {
	o.Helper()
	guide, err := os.ReadFile(filepath.Join(harness.Root(), "docs", "observe.md"))
	require.NoError(o, err)
	told := map[string]bool{}
	for line := range strings.Lines(string(guide)) {
		if strings.HasPrefix(line, "| `berth_") {
			for _, name := range regexp.MustCompile("berth_[a-z_]+").FindAllString(line, -1) {
				told[name] = true
			}
		}
	}
	found := map[string]bool{}
	for line := range strings.Lines(o.scrape()) {
		if name, ok := strings.CutPrefix(line, "# TYPE berth_"); ok {
			found["berth_"+strings.Fields(name)[0]] = true
		}
	}
	require.Equal(o, found, told, "docs/observe.md")
}

// TestObserve_traces follows a push and a pull from the client's own span down to SQL and storage.
func TestObserve_traces(t *testing.T) {
	onEachStack(t, func(t *testing.T, stack *harness.Stack) {
		const password = "dev-P4ssword-of-this-test"
		o := observe(t, stack, stack.Block)
		o.people(password)
		dev := basic("dev", password)
		content := []byte("traced")
		started := o.ask(o.h1, http.MethodPost, "/v2/team/app/blobs/uploads/", nil, dev)
		descriptor := harness.Describe("", content)
		const push, pull, client = "0af7651916cd43dd8448eb211c80319c", "1bf7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
		traced := func(id string) func(*http.Request) { return header("Traceparent", "00-"+id+"-"+client+"-01") }
		finished := o.ask(o.h1, http.MethodPut, o.finish(started, descriptor.Digest), bytes.NewReader(content), dev, traced(push))
		require.Equal(t, http.StatusCreated, finished.status, finished.body)
		pulled := o.ask(o.h2, http.MethodGet, "/v2/team/app/blobs/"+descriptor.Digest, nil, dev, traced(pull))
		require.Equal(t, http.StatusOK, pulled.status, pulled.body)

		for id, children := range map[string][]string{
			push: {"sql ", "sql transaction", "storage append", "storage commit"},
			pull: {"sql ", "storage open"},
		} {
			of := func(span *trace.Span) bool { return hex.EncodeToString(span.TraceId) == id }
			request := o.spans.await(t, func(span *trace.Span) bool { return of(span) && span.Name == "berth" })
			require.Equal(t, client, hex.EncodeToString(request.ParentSpanId))
			for _, name := range children {
				child := o.spans.await(t, func(span *trace.Span) bool { return of(span) && strings.HasPrefix(span.Name, name) })
				require.Equal(t, request.SpanId, child.ParentSpanId, name)
				require.GreaterOrEqual(t, child.StartTimeUnixNano, request.StartTimeUnixNano)
				require.LessOrEqual(t, child.EndTimeUnixNano, request.EndTimeUnixNano)
			}
		}
	})
}
