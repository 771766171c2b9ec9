package standard_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/replicate/adapter"
	"github.com/berth-registry/berth/replicate/remote"
)

// guarded is a registry that has a token service, as its documentation says, and lets in one login.
type guarded struct {
	// host, realm and service are what its challenge says.
	host, realm, service string
	username, secret     string
	// field is how the answer of its token service calls the token.
	field string

	mu     sync.Mutex
	scopes []string
	leaked []string
}

// RoundTrip implements [http.RoundTripper].
func (g *guarded) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	g.mu.Lock()
	defer g.mu.Unlock()
	name, secret, basic := r.BasicAuth()
	realm, _, _ := strings.Cut(strings.TrimPrefix(g.realm, "https://"), "?")
	switch at := r.URL.Host + r.URL.Path; {
	case at == realm:
		if name != g.username || secret != g.secret || r.URL.Query().Get("service") != g.service {
			w.WriteHeader(http.StatusUnauthorized)
			break
		}
		g.scopes = append(g.scopes, r.URL.Query()["scope"]...)
		_, _ = fmt.Fprintf(w, `{%q:"the-token"}`, g.field)
	case r.URL.Host != g.host || basic:
		g.leaked = append(g.leaked, at)
	case r.Header.Get("Authorization") != "Bearer the-token":
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm=%q,service=%q`, g.realm, g.service))
		w.WriteHeader(http.StatusUnauthorized)
	case strings.Contains(at, "/blobs/"):
		w.Header().Set("Content-Length", "1")
	}
	response := w.Result()
	response.Request = r
	return response, nil
}

// TestLogins logs in to each kind of registry that has a token service by the protocol that it documents.
func TestLogins(t *testing.T) {
	const keyFile = `{"type":"service_account","private_key":"-----BEGIN PRIVATE KEY-----\n…"}`
	for kind, g := range map[string]*guarded{
		"azure-acr":         {host: "team.azurecr.io", realm: "https://team.azurecr.io/oauth2/token", service: "team.azurecr.io", username: "0c1d-application", secret: "client secret", field: "access_token"},
		"google-gcr":        {host: "europe-docker.pkg.dev", realm: "https://europe-docker.pkg.dev/v2/token", service: "europe-docker.pkg.dev", username: "_json_key", secret: keyFile, field: "token"},
		"github-ghcr":       {host: "ghcr.io", realm: "https://ghcr.io/token", service: "ghcr.io", username: "someone", secret: "ghp_x", field: "token"},
		"quay":              {host: "quay.io", realm: "https://quay.io/v2/auth", service: "quay.io", username: "team+robot", secret: "x", field: "token"},
		"gitlab":            {host: "registry.gitlab.com", realm: "https://gitlab.com/jwt/auth", service: "container_registry", username: "someone", secret: "glpat-x", field: "token"},
		"jfrog-artifactory": {host: "team.jfrog.io", realm: "https://team.jfrog.io/v2/token", service: "team.jfrog.io", username: "someone", secret: "x", field: "token"},
		"docker-registry":   {host: "r.example.com", realm: "https://auth.example.com/token?account=x", service: "r", username: "someone", secret: "x", field: "token"},
	} {
		t.Run(kind, func(t *testing.T) {
			found, known := adapter.Find(kind)
			require.True(t, known)
			registry, err := found.Open(remote.Options{URL: "https://" + g.host, Username: g.username, Secret: g.secret, Transport: g})
			require.NoError(t, err)
			require.NoError(t, registry.Ping(t.Context()))
			has, err := registry.Content().HasBlob(t.Context(), "team/app", oci.SHA256.FromString("x"))
			require.NoError(t, err)
			require.True(t, has)
			_, err = registry.Content().MountBlob(t.Context(), "team/app", "team/base", oci.SHA256.FromString("x"))
			require.Error(t, err, "it is no upload")
			require.True(t, slices.Contains(g.scopes, "repository:team/app:pull") && slices.Contains(g.scopes, "repository:team/app:pull,push"), g.scopes)
			require.Empty(t, g.leaked, "the login goes to the token service only")

			wrong, err := found.Open(remote.Options{URL: "https://" + g.host, Username: g.username, Secret: "wrong", Transport: g})
			require.NoError(t, err)
			require.Error(t, wrong.Ping(t.Context()))
		})
	}
}
