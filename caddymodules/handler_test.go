package caddymodules_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

type specificationError struct {
	Errors []struct {
		Code    string
		Message string
	}
}

func requireError(t *testing.T, response *http.Response, body string, status int, code string) {
	t.Helper()
	require.Equal(t, status, response.StatusCode)
	require.True(t, strings.HasPrefix(response.Header.Get("Content-Type"), "application/json"), response.Header)
	require.Equal(t, "nosniff", response.Header.Get("X-Content-Type-Options"))
	require.NotEmpty(t, response.Header.Get("X-Request-Id"))
	var decoded specificationError
	require.NoError(t, json.Unmarshal([]byte(body), &decoded), body)
	require.Len(t, decoded.Errors, 1)
	require.Equal(t, code, decoded.Errors[0].Code)
}

func TestErrors_haveTheSpecificationsBody(t *testing.T) {
	s := start(t, "", `error /v2/limited* 429
	error /v2/broken* 500
	error /v2/gone* 404
	error /v2/proxied* 502
	error /service/token/keys 500
	request_body /v2/library/small/* {
		max_size 10
	}`)
	for path, want := range map[string]struct {
		status int
		code   string
	}{
		"/v2/limited/x/tags/list": {http.StatusTooManyRequests, "TOOMANYREQUESTS"},
		"/v2/broken":              {http.StatusInternalServerError, "UNKNOWN"},
		"/v2/gone":                {http.StatusNotFound, "NAME_UNKNOWN"},
		"/v2/proxied":             {http.StatusBadGateway, "UNAVAILABLE"},
		"/service/token/keys":     {http.StatusInternalServerError, "UNKNOWN"},
		"/api/v2.0/nothing":       {http.StatusNotFound, "NOT_FOUND"},
		"/nothing":                {http.StatusNotFound, "NOT_FOUND"},
	} {
		response, body := s.read(http.MethodGet, path, nil)
		requireError(t, response, body, want.status, want.code)
	}
	large := s.do(http.MethodPut, "/v2/library/small/manifests/latest", bytes.NewReader(make([]byte, 1000)), nil)
	require.Equal(t, http.StatusRequestEntityTooLarge, large.StatusCode)
	require.True(t, strings.HasPrefix(large.Header.Get("Content-Type"), "application/json"))
}

func TestErrors_elsewhereAreTheOperatorsWithAnID(t *testing.T) {
	s := start(t, "", `error /teapot 418
	handle_errors {
		respond "mine {http.berth.request_id}"
	}`)
	response, body := s.read(http.MethodGet, "/teapot", nil)
	require.Equal(t, http.StatusTeapot, response.StatusCode)
	require.Equal(t, "mine "+response.Header.Get("X-Request-Id"), body)
}

// logged returns the lines of a log file, decoded, once it has one for which the condition holds.
func logged(t *testing.T, file string, condition func(map[string]any) bool) []map[string]any {
	t.Helper()
	var lines []map[string]any
	require.Eventually(t, func() bool {
		content, err := os.ReadFile(file)
		if err != nil {
			return false
		}
		lines = nil
		for line := range strings.Lines(string(content)) {
			var decoded map[string]any
			if json.Unmarshal([]byte(line), &decoded) != nil {
				return false // half written
			}
			lines = append(lines, decoded)
		}
		return slices.ContainsFunc(lines, condition)
	}, patience, 10*time.Millisecond)
	return lines
}

func TestAccessLog_namesTheUserAndTheRoute(t *testing.T) {
	file := filepath.Join(t.TempDir(), "access.log")
	s := start(t, "", "log {\n\t\toutput file "+file+"\n\t}")
	const scope = "/service/token?scope=repository:library/app:pull"
	wrong := func(r *http.Request) { r.SetBasicAuth("admin", "wrong") }
	nobody := func(r *http.Request) { r.Header.Del("Authorization") }
	var issued struct{ Token string }
	_, answer := s.read(http.MethodGet, scope, nobody)
	require.NoError(t, json.Unmarshal([]byte(answer), &issued))
	want := map[string]struct{ user, route string }{}
	for id, request := range map[string]struct {
		path, user, route string
		edit              func(*http.Request)
	}{
		"basic":           {"/v2/", "admin", "version", nil},
		"token":           {scope, "admin", "token", nil},
		"wrong":           {"/v2/", "", "version", wrong},
		"wrong-token":     {scope, "", "token", wrong},
		"anonymous":       {"/v2/", "", "version", nobody},
		"anonymous-token": {scope, "", "token", nobody},
		"bearer-nobody": {"/v2/library/app/tags/list", "", "tags", func(r *http.Request) {
			r.Header.Set("Authorization", "Bearer "+issued.Token)
		}},
	} {
		s.read(http.MethodGet, request.path, func(r *http.Request) {
			r.Header.Set("X-Request-Id", id)
			if request.edit != nil {
				request.edit(r)
			}
		})
		want[id] = struct{ user, route string }{request.user, request.route}
	}
	s.read(http.MethodGet, "/", func(r *http.Request) { r.Header.Set("X-Request-Id", "last") })
	for _, line := range logged(t, file, func(line map[string]any) bool { return line["request_id"] == "last" }) {
		id, _ := line["request_id"].(string)
		if expected, ok := want[id]; ok {
			require.Equal(t, expected.user, line["user_id"], id)
			require.Equal(t, expected.route, line["route"], id)
			delete(want, id)
		}
	}
	require.Empty(t, want, "not in the access log")
}

func TestRequestID_isTheCallersWhenItIsHarmless(t *testing.T) {
	s := start(t, "", "")
	ask := func(id string) string {
		response, _ := s.read(http.MethodGet, "/v2/", func(r *http.Request) { r.Header.Set("X-Request-Id", id) })
		return response.Header.Get("X-Request-Id")
	}
	require.Equal(t, "build-1.2_3", ask("build-1.2_3"))
	for _, hostile := range []string{"", "two words", "a\"b", strings.Repeat("x", 65), "ümlaut"} {
		id := ask(hostile)
		require.NotEqual(t, hostile, id)
		require.Regexp(t, `^[A-Z0-9]{26}$`, id)
	}
}

func TestAPI_tellsOfTheSystem(t *testing.T) {
	s := start(t, "", "")
	response, body := s.read(http.MethodGet, "/api/version", nil)
	require.Equal(t, http.StatusOK, response.StatusCode)
	require.JSONEq(t, `{"version":"v2.0"}`, body)
	_, body = s.read(http.MethodGet, "/api/v2.0/health", nil)
	require.JSONEq(t, `{"status":"healthy","components":[{"name":"core","status":"healthy"},{"name":"database","status":"healthy"},
		{"name":"storage","status":"healthy"},{"name":"registry","status":"healthy"},
		{"name":"jobservice","status":"healthy"}]}`, body)
	_, body = s.read(http.MethodGet, "/api/v2.0/systeminfo", nil)
	require.Contains(t, body, `"auth_mode":"db_auth"`)
}

func TestAPI_pingAndCertificate(t *testing.T) {
	s := start(t, "", "")
	response, body := s.read(http.MethodGet, "/api/v2.0/ping", nil)
	require.Equal(t, http.StatusOK, response.StatusCode)
	require.Equal(t, "Pong", body)
	response, body = s.read(http.MethodGet, "/api/v2.0/systeminfo/getcert", nil)
	requireError(t, response, body, http.StatusNotFound, "NOT_FOUND")
	response, body = s.read(http.MethodDelete, "/api/v2.0/ping", nil)
	requireError(t, response, body, http.StatusMethodNotAllowed, "METHOD_NOT_ALLOWED")
}

func TestMetrics_nameNoRepository(t *testing.T) {
	s := start(t, "", "")
	s.push([]byte("counted"))
	_, body := s.read(http.MethodGet, "/metrics", nil)
	require.Contains(t, body, `berth_requests_total{method="PUT",route="blob_upload",status="201"}`)
	require.Contains(t, body, `berth_received_bytes_total{route="blob_upload"}`)
	require.Contains(t, body, `berth_storage_operations_total{operation="commit",outcome="ok"}`)
	require.Contains(t, body, `berth_database_operations_total{operation="transaction",outcome="ok"}`)
	require.NotContains(t, body, "library/app")
}
