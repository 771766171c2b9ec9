// Package contract_test drives the API with the client that Harbor publishes, which refuses every status and type that Harbor has
// not declared.
package contract_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-openapi/runtime"
	httptransport "github.com/go-openapi/runtime/client"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client"
	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/api"
	"github.com/berth-registry/berth/api/apitest"
	"github.com/berth-registry/berth/metadata"
)

// harbor is Harbor's client of a server, as the administrator.
type harbor struct {
	*client.HarborAPI
	t      *testing.T
	server *apitest.Server
	// described judges what the server answers.
	described *described

	mu    sync.Mutex
	asked map[string]bool
}

func newHarbor(t *testing.T, server *apitest.Server) *harbor {
	t.Helper()
	h := &harbor{t: t, server: server, asked: map[string]bool{}, described: describe(t, server)}
	h.HarborAPI = h.as("admin", apitest.AdminPassword)
	return h
}

// as is a client of somebody, whose requests count as asked for as well.
func (h *harbor) as(name, password string) *client.HarborAPI {
	h.t.Helper()
	base, err := url.Parse(h.server.URL + api.Prefix)
	require.NoError(h.t, err)
	return client.New(client.Config{URL: base, Transport: h, AuthInfo: httptransport.BasicAuth(name, password)})
}

// RoundTrip notes which operation is asked for, whether what has been done is told by an event, and whether the answer is described.
func (h *harbor) RoundTrip(r *http.Request) (*http.Response, error) {
	route := h.server.API.RouteOf(r)
	h.mu.Lock()
	h.asked[route] = true
	h.mu.Unlock()
	who, _, _ := r.BasicAuth()
	acts := r.Method != http.MethodGet && r.Method != http.MethodHead && !slices.Contains(silent, route)
	before := int64(0)
	if acts {
		before = h.lastActOf(who)
	}
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if acts && response.StatusCode < http.StatusMultipleChoices {
		told := func() bool { return h.lastActOf(who) > before }
		require.Eventually(h.t, told, time.Minute, 10*time.Millisecond, "%s %s (%s) has changed something and told nobody", r.Method, r.URL.Path, route)
	}
	return response, h.described.judge(r, response)
}

// lastActOf is the id of the event that tells of what somebody has done last.
func (h *harbor) lastActOf(name string) (last int64) {
	events, err := h.server.Store.Events(h.t.Context(), metadata.EventCursor{}, -1)
	require.NoError(h.t, err)
	for _, e := range events {
		if e.Actor == name {
			last = max(last, e.ID)
		}
	}
	return last
}

// silent are the routes that are no GET and change nothing.
var silent = []string{"pingLdap", "pingOIDC", "pingRegistry", "TestWebhookPolicyOfProject", "systemTestWebhookPolicy"}

// call asks for a route that Harbor's client does not have, as the administrator, and returns the answer with the status that it has to
// have.
func (h *harbor) call(method, path, body string, status int) *http.Response {
	h.t.Helper()
	request, err := http.NewRequestWithContext(h.t.Context(), method, h.server.URL+api.Prefix+path, strings.NewReader(body))
	require.NoError(h.t, err)
	request.SetBasicAuth("admin", apitest.AdminPassword)
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := h.RoundTrip(request)
	require.NoError(h.t, err)
	h.t.Cleanup(func() { _ = response.Body.Close() })
	require.Equal(h.t, status, response.StatusCode, "%s %s", method, path)
	return response
}

// decode reads the body of an answer.
func decode(h *harbor, response *http.Response, into any) {
	h.t.Helper()
	require.NoError(h.t, json.NewDecoder(response.Body).Decode(into))
}

// ok returns the result of an operation that has to succeed.
func ok[T any](h *harbor) func(T, error) T {
	h.t.Helper()
	return func(result T, err error) T {
		h.t.Helper()
		require.NoError(h.t, err)
		return result
	}
}

// refused requires that an operation fails with a status that Harbor declares for it, which the client tells by a type of its own.
func refused[T any](h *harbor, status string) func(T, error) {
	return func(_ T, err error) {
		h.t.Helper()
		require.Error(h.t, err)
		require.NotErrorAs(h.t, err, new(*runtime.APIError), "not a declared status")
		require.Contains(h.t, err.Error(), "["+status+"]")
	}
}

// id reads the number at the end of a Location.
func id(t *testing.T, location string) int64 {
	t.Helper()
	require.True(t, strings.HasPrefix(location, api.Prefix+"/"), location)
	var number int64
	for _, digit := range location[strings.LastIndexByte(location, '/')+1:] {
		require.True(t, digit >= '0' && digit <= '9', location)
		number = number*10 + int64(digit-'0')
	}
	return number
}

// own are routes that Harbor's client does not know.
var own = []string{
	"getStorageUsage", "createStorageVerification", "listStorageVerifications", "getStorageVerification", "stopStorageVerification",
	"getStorageVerificationLog", "listDeletions", "restoreDeletion", "purgeDeletion",
	"getDescription", "getDocumentation", "deleteCurrentUserSessions", "setUserDisabled", "retryReplication",
	"getJob", "listExecutions", "stopExecution", "listTasks",
	"listCurrentUserTokens", "createCurrentUserToken", "revokeCurrentUserToken", "listUserTokens", "revokeUserToken",
}

func TestContract(t *testing.T) {
	apitest.EachEngine(t, func(t *testing.T, server *apitest.Server) {
		h := newHarbor(t, server)
		for _, part := range []struct {
			name string
			run  func(h *harbor)
		}{
			{"system", system},
			{"users", users},
			{"projects", projects},
			{"members", members},
			{"labels", labels},
			{"rules", rules},
			{"robots", robots},
			{"quotas", quotas},
			{"content", content},
			{"audit", audit},
			{"webhooks", webhooks},
			{"webhooks of all projects", systemWebhooks},
			{"background work", backgroundWork},
			{"registries", registries},
			{"replications", replications},
			{"caches", caches},
			{"collections", collections},
			{"retentions", retentions},
		} {
			t.Run(part.name, func(t *testing.T) {
				outer := h.t
				h.t = t
				defer func() { h.t = outer }()
				part.run(h)
			})
		}
		require.Empty(t, h.described.faults, "answers that the description does not have")
		for _, route := range server.API.Routes() {
			if !h.asked[route.ID] && !slices.Contains(own, route.ID) {
				t.Errorf("%s %s (%s) was not asked for", route.Method, route.Path, route.ID)
			}
		}
	})
}
