package caddymodules_test

import (
	"encoding/json"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"
)

func TestMirror(t *testing.T) {
	s := &server{t: t, address: freeAddress(t), dataDir: filepath.Join(t.TempDir(), "data")}
	_, port, err := net.SplitHostPort(s.address)
	require.NoError(t, err)
	const mirrors = "mirror {\n docker.io hub\n mirror.test hub\n localhost loop\n }"
	require.NoError(t, caddy.Load(s.configure(mirrors, "berth\n }\n http://mirror.test:"+port+", http://localhost:"+port+" {\n bind 127.0.0.1\n"), true))
	t.Cleanup(func() { require.NoError(t, caddy.Stop()) })
	s.awaitOneCore("that of an earlier test must have closed")
	created := s.do(http.MethodPost, "/api/v2.0/projects", strings.NewReader(`{"project_name":"hub","metadata":{"public":"true"}}`), func(r *http.Request) {
		r.Header.Set("Content-Type", "application/json")
	})
	require.Equal(t, 201, created.StatusCode)
	const manifest = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`
	for _, name := range []string{"hub/library/nginx", "hub/hub/nginx"} {
		for _, tag := range []string{"v1", "v2"} {
			pushed := s.do(http.MethodPut, "/v2/"+name+"/manifests/"+tag, strings.NewReader(manifest), func(r *http.Request) {
				r.Header.Set("Content-Type", "application/vnd.oci.image.index.v1+json")
			})
			require.Equal(t, 201, pushed.StatusCode)
		}
	}
	// Who makes this registry a cache of its own mirror is told so, and nothing runs in circles.
	asJSON := func(r *http.Request) { r.Header.Set("Content-Type", "application/json") }
	looped := s.do(http.MethodPost, "/api/v2.0/registries", strings.NewReader(`{"name":"self","type":"docker-registry","url":"http://localhost:`+port+`"}`), asJSON)
	require.Equal(t, 201, looped.StatusCode)
	id := filepath.Base(looped.Header.Get("Location"))
	require.Equal(t, 201, s.do(http.MethodPost, "/api/v2.0/projects", strings.NewReader(`{"project_name":"loop","registry_id":`+id+`,"metadata":{"public":"true"}}`), asJSON).StatusCode)
	for _, path := range []string{"/v2/loop/nginx/manifests/v1", "/v2/loop/nginx/blobs/" + digest.FromString("none").String()} {
		answer, body := s.read(http.MethodGet, path, nil)
		require.Equal(t, http.StatusLoopDetected, answer.StatusCode, body)
		require.Contains(t, body, "this registry itself")
	}

	mirror := func(r *http.Request) { r.Host = "mirror.test" }
	for _, path := range []string{"/v2/library/nginx/manifests/v1", "/v2/library/nginx/manifests/" + strings.Replace(digest.FromString(manifest).String(), ":", "%3A", 1)} {
		answer, body := s.read(http.MethodGet, path+"?ns=docker.io", nil)
		require.Equal(t, manifest, body)
		require.Equal(t, "docker.io", answer.Header.Get("OCI-Namespace"))
		_, body = s.read(http.MethodGet, path, mirror)
		require.Equal(t, manifest, body)
	}
	for _, path := range []string{"/v2/library/nginx/manifests/v1", "/v2/library/nginx/manifests/v1?ns=quay.io", "/v2/library/nginx/manifests/v1?ns="} {
		answer, _ := s.read(http.MethodGet, path, nil)
		require.Equal(t, 404, answer.StatusCode, "another registry's is not ours: %s", path)
	}
	_, body := s.read(http.MethodGet, "/v2/hub/library/nginx/manifests/v1", nil)
	require.Equal(t, manifest, body, "by its own name")

	// Nobody in particular logs in, as docker does at a mirror: it asks for the name that it knows, others for the one in the challenge.
	nobody := func(r *http.Request) { r.Host = "mirror.test"; r.Header.Del("Authorization") }
	answer, _ := s.read(http.MethodGet, "/v2/library/nginx/manifests/v1", nobody)
	require.Equal(t, 401, answer.StatusCode)
	require.Contains(t, answer.Header.Get("WWW-Authenticate"), `realm="http://mirror.test/service/token"`)
	require.Contains(t, answer.Header.Get("WWW-Authenticate"), `scope="repository:hub/library/nginx:pull"`)
	for _, name := range []string{"library/nginx", "hub/library/nginx", "hub/nginx"} {
		_, issued := s.read(http.MethodGet, "/service/token?service=mirror.test&scope=repository:"+name+":pull", nobody)
		var got struct{ Token string }
		require.NoError(t, json.Unmarshal([]byte(issued), &got))
		wanted := strings.TrimPrefix(name, "hub/")
		if wanted == "nginx" {
			wanted = "hub/nginx"
		}
		bearer := func(r *http.Request) { r.Host = "mirror.test"; r.Header.Set("Authorization", "Bearer "+got.Token) }
		answer, body := s.read(http.MethodGet, "/v2/"+wanted+"/manifests/v1", bearer)
		require.Equal(t, manifest, body, "%s: %s", name, answer.Status)
		answer = s.do(http.MethodHead, "/v2/"+wanted+"/manifests/v1", nil, bearer)
		require.Equal(t, 200, answer.StatusCode)
		answer = s.do(http.MethodDelete, "/v2/"+wanted+"/manifests/v1", nil, bearer)
		require.Equal(t, 401, answer.StatusCode, "the token is to pull")
		require.Contains(t, answer.Header.Get("WWW-Authenticate"), `scope="repository:hub/`+wanted+`:pull,delete"`)
	}

	// With a login the parameters are a form, and the token is for the name that the client knows.
	form := func(r *http.Request) {
		r.Host = "mirror.test"
		r.Header.Del("Authorization")
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	parameters := url.Values{"grant_type": {"password"}, "service": {"mirror.test"}, "client_id": {"test"}, "username": {"admin"}, "password": {adminPassword}, "scope": {"repository:library/nginx:pull,push,delete"}}
	issued := s.do(http.MethodPost, "/service/token", strings.NewReader(parameters.Encode()), form)
	require.Equal(t, 200, issued.StatusCode)
	var granted struct {
		Token string `json:"access_token"`
		Scope string
	}
	require.NoError(t, json.NewDecoder(issued.Body).Decode(&granted))
	require.Equal(t, "repository:hub/library/nginx:pull,push,delete", granted.Scope)
	asAdmin := func(r *http.Request) { r.Host = "mirror.test"; r.Header.Set("Authorization", "Bearer "+granted.Token) }
	require.Equal(t, 202, s.do(http.MethodPost, "/v2/library/nginx/blobs/uploads/", nil, asAdmin).StatusCode)
	require.Equal(t, 200, s.do(http.MethodHead, "/v2/library/nginx/manifests/v1", nil, asAdmin).StatusCode)
	for name, body := range map[string]string{"malformed": "scope=%zz", "long": "scope=" + strings.Repeat("a", 1<<20)} {
		require.Equal(t, 400, s.do(http.MethodPost, "/service/token", strings.NewReader(body), form).StatusCode, name)
	}

	answer, body = s.read(http.MethodGet, "/v2/library/nginx/tags/list?n=1&ns=docker.io", nil)
	require.JSONEq(t, `{"name":"hub/library/nginx","tags":["v1"]}`, body)
	next, _, _ := strings.Cut(strings.TrimPrefix(answer.Header.Get("Link"), "<"), ">")
	_, body = s.read(http.MethodGet, next, nil)
	require.JSONEq(t, `{"name":"hub/library/nginx","tags":["v2"]}`, body, "the next page is where the client knows the list: %s", next)
}
