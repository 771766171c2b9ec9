package api_test

import (
	_ "embed"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/api/apitest"
)

// harborRoutes are the routes of Harbor's API, one a line: a method, a path and, after a #, the feature that ours is to come with.
//
//go:embed testdata/harbor_routes.txt
var harborRoutes string

var parameter = regexp.MustCompile(`\{[^}]*\}`)

// TestRoutes_areThoseOfHarbor compares the route table with Harbor's: what clients ask for is there under the same method and path,
// and what is not built yet is absent instead of pretended.
func TestRoutes_areThoseOfHarbor(t *testing.T) {
	pair := func(method, path string) string {
		return method + " " + parameter.ReplaceAllString(strings.TrimSuffix(path, "/"), "{}")
	}
	ours := map[string]bool{}
	for _, route := range apitest.Start(t, "sqlite").API.Routes() {
		ours[pair(route.Method, route.Path)] = true
	}
	seen, awaited := map[string]bool{}, map[string]int{}
	for line := range strings.Lines(harborRoutes) {
		route, feature, later := strings.Cut(strings.TrimSpace(line), "#")
		words := strings.Fields(route)
		require.Len(t, words, 2, line)
		method, path := words[0], words[1]
		require.False(t, seen[pair(method, path)], "%s is there twice", line)
		seen[pair(method, path)] = true
		feature = strings.TrimSpace(feature)
		switch {
		case later && feature == "":
			t.Errorf("%s: say which feature it comes with", line)
		case later && ours[pair(method, path)]:
			t.Errorf("%s %s is served: take %q from its line in testdata/harbor_routes.txt", method, path, "# "+feature)
		case !later && !ours[pair(method, path)]:
			t.Errorf("%s %s is not served", method, path)
		}
		if later {
			awaited[feature]++
		}
	}
	require.Len(t, seen, 203)
	t.Logf("not there yet: %v", awaited)
}
