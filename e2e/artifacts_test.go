package e2e_test

import (
	"encoding/json"
	"io"
	"net/http"

	"github.com/stretchr/testify/require"
)

// shownArtifact is what the API shows of an artifact that a client has pushed.
type shownArtifact struct {
	Type          string
	Digest        string
	ExtraAttrs    map[string]any `json:"extra_attrs"`
	Tags          []struct{ Name string }
	AdditionLinks map[string]struct{ Href string } `json:"addition_links"`
	Accessories   []struct{ Type, Digest string }
}

// artifacts returns what the API lists in a repository of library.
func (s *session) artifacts(repository string) (list []shownArtifact) {
	s.Helper()
	body := s.get("/api/v2.0/projects/library/repositories/" + repository + "/artifacts?with_accessory=true")
	require.NoError(s, json.Unmarshal([]byte(body), &list), body)
	return list
}

// get returns the body at a path, as the session's user.
func (s *session) get(path string) string {
	s.Helper()
	response, err := s.gateway.As(s.user, s.password).Do(s.Context(), http.MethodGet, path, nil, nil, http.StatusOK)
	require.NoError(s, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(s, err)
	return string(body)
}

// requireChart looks at the chart that Helm has pushed.
func requireChart(s *session) {
	list := s.artifacts("anchor")
	require.Len(s, list, 1)
	chart := list[0]
	require.Equal(s, "CHART", chart.Type)
	require.Equal(s, "anchor", chart.ExtraAttrs["name"])
	require.Equal(s, "1.2.3", chart.ExtraAttrs["version"])
	require.Equal(s, "1.2.3", chart.Tags[0].Name)
	require.Contains(s, s.get(chart.AdditionLinks["values.yaml"].Href), "replicaCount: 1")
	require.JSONEq(s, "[]", s.get(chart.AdditionLinks["dependencies"].Href))
}

// requireSigned looks at the image to which cosign has attached a signature, an attestation and an SBOM: they belong to it, and are
// no artifacts of their own.
func requireSigned(s *session, digest string) {
	list := s.artifacts("cosign")
	require.Len(s, list, 1)
	require.Equal(s, digest, list[0].Digest)
	require.Equal(s, "IMAGE", list[0].Type)
	var types []string
	for _, accessory := range list[0].Accessories {
		types = append(types, accessory.Type)
	}
	require.ElementsMatch(s, []string{"signature.cosign", "subject.accessory", "subject.accessory"}, types)
}
