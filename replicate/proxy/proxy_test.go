package proxy_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/event"
)

func TestPull_everybodyAtOnceFetchesOnce(t *testing.T) {
	u := newUpstream(t)
	pushed := u.push("team/app", "v1", 3<<20, 100<<10, 0)
	g := newGateway(t, u, setup{})

	g.pullAll(200, "cache/team/app", "v1", pushed)
	for _, blob := range pushed.blobs() {
		require.Equal(t, 1, u.count(http.MethodGet, blobPath("team/app", blob)), "blob of %d bytes", len(blob))
	}
	require.Equal(t, 1, u.count(http.MethodGet, manifestPath("team/app", "v1")))
	require.Zero(t, u.count(http.MethodGet, manifestPath("team/app", pushed.digest.String())))

	for _, blob := range pushed.blobs() {
		g.kept("cache/team/app", blob)
	}
	u.gate.Close()
	g.pullAll(20, "cache/team/app", "v1", pushed)
	pushes := g.events()[event.ManifestPushed]
	require.Len(t, pushes, 1)
	require.Equal(t, "proxy cache", pushes[0].Actor)
}
