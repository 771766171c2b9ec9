package proxy_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/jobs"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/registry"
	"github.com/berth-registry/berth/replicate/proxy"
	"github.com/berth-registry/berth/storage"
)

func TestPull_everybodyAtOnceFetchesOnce(t *testing.T) {
	u := newUpstream(t)
	pushed := u.push("team/app", "v1", 128<<10, 0)
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

func TestPull_aTagFollowsUpstream(t *testing.T) {
	u := newUpstream(t)
	first := u.push("team/app", "v1", 1000)
	g := newGateway(t, u, setup{options: persistent})
	require.NoError(t, g.pull(t.Context(), "cache/team/app", "v1", first))
	second := u.push("team/app", "v1", 2000)
	require.NoError(t, g.pull(t.Context(), "cache/team/app", "v1", second))
	digest, err := g.store.Tag(t.Context(), "cache/team/app", "v1")
	require.NoError(t, err)
	require.Equal(t, second.digest, digest)
	u.gate.Close()
	require.NoError(t, g.pull(t.Context(), "cache/team/app", "v1", second))
	require.Equal(t, first.manifest, g.want(200, g.get(manifestPath("cache/team/app", first.digest.String()))).body)
}

func TestPull_withinTheTimeToLiveNobodyIsAsked(t *testing.T) {
	u := newUpstream(t)
	pushed := u.push("team/app", "v1", 1000)
	g := newGateway(t, u, setup{})
	for range 5 {
		require.NoError(t, g.pull(t.Context(), "cache/team/app", "v1", pushed))
	}
	require.Zero(t, u.count(http.MethodHead, manifestPath("team/app", "v1")))
	require.Equal(t, 1, u.count(http.MethodGet, manifestPath("team/app", "v1")))
	for range 3 {
		g.want(404, g.get(manifestPath("cache/team/app", "absent")))
	}
	require.Equal(t, 1, u.count(http.MethodGet, manifestPath("team/app", "absent")))
}

func TestPull_aTagThatIsGoneThere(t *testing.T) {
	for _, serve := range []bool{false, true} {
		u := newUpstream(t)
		pushed := u.push("team/app", "v1", 1000)
		g := newGateway(t, u, setup{options: persistent, origin: func(o *proxy.Origin) { o.ServeGone = serve }})
		require.NoError(t, g.pull(t.Context(), "cache/team/app", "v1", pushed))
		request, err := http.NewRequest(http.MethodDelete, u.direct+"team/app/manifests/"+pushed.digest.String(), nil)
		require.NoError(t, err)
		deleted, err := client.Do(request)
		require.NoError(t, err)
		require.NoError(t, deleted.Body.Close())
		if serve {
			require.NoError(t, g.pull(t.Context(), "cache/team/app", "v1", pushed))
		} else {
			require.Equal(t, "MANIFEST_UNKNOWN", g.want(404, g.get(manifestPath("cache/team/app", "v1"))).code())
		}
	}
}

func TestPull_onlyThePlatformThatIsAskedFor(t *testing.T) {
	u := newUpstream(t)
	amd64, arm64 := u.push("team/app", "amd64", 1000), u.push("team/app", "arm64", 1000)
	index, digest := u.put("team/app", "v1", oci.MediaTypeImageIndex, map[string]any{
		"schemaVersion": 2, "mediaType": oci.MediaTypeImageIndex, "manifests": []any{
			map[string]any{"mediaType": oci.MediaTypeImageManifest, "digest": amd64.digest, "size": len(amd64.manifest), "platform": map[string]any{"os": "linux", "architecture": "amd64"}},
			map[string]any{"mediaType": oci.MediaTypeImageManifest, "digest": arm64.digest, "size": len(arm64.manifest), "platform": map[string]any{"os": "linux", "architecture": "arm64"}},
		},
	})
	g := newGateway(t, u, setup{})
	require.Equal(t, index, g.want(200, g.get(manifestPath("cache/team/app", "v1"))).body)
	require.Equal(t, amd64.manifest, g.want(200, g.get(manifestPath("cache/team/app", amd64.digest.String()))).body)
	for _, blob := range amd64.blobs() {
		require.Equal(t, blob, g.want(200, g.get(blobPath("cache/team/app", blob))).body)
	}
	require.Zero(t, u.count(http.MethodGet, manifestPath("team/app", arm64.digest.String())))
	owner, err := g.store.Repository(t.Context(), "cache/team/app")
	require.NoError(t, err)
	list, total, err := g.registry.Artifacts(t.Context(), metadata.Collection{ProjectID: owner.ProjectID, RepositoryID: owner.ID}, metadata.Query{Limit: 10}, registry.With{})
	require.NoError(t, err)
	require.EqualValues(t, 1, total, "the index, which lists what has come of it")
	require.Equal(t, digest, list[0].Digest)

	g.kept("cache/team/app", amd64.config)
	require.Eventually(t, func() bool {
		child, err := g.registry.Artifact(t.Context(), "cache/team/app", oci.Reference{Digest: amd64.digest}, registry.With{})
		return err == nil && bytes.Contains(child.Facts.Attributes, []byte(`"amd64"`))
	}, 10*time.Second, 10*time.Millisecond, "what its config says is shown, which came after it")
}

func TestPush_isRefused(t *testing.T) {
	g := newGateway(t, newUpstream(t), setup{})
	a := g.want(403, g.do(t.Context(), http.MethodPost, "/v2/cache/app/blobs/uploads/"))
	require.Equal(t, "DENIED", a.code())
	require.Contains(t, string(a.body), `\"far\"`)
	g.want(403, g.do(t.Context(), http.MethodPut, manifestPath("cache/app", "v1")))
	g.want(202, g.do(t.Context(), http.MethodPost, "/v2/own/app/blobs/uploads/"))
}

func TestPull_libraryIsTheNamespaceOfWhatHasNone(t *testing.T) {
	u := newUpstream(t)
	pushed := u.push("library/nginx", "v1", 1000)
	g := newGateway(t, u, setup{origin: func(o *proxy.Origin) { o.Library = true }})
	require.NoError(t, g.pull(t.Context(), "cache/nginx", "v1", pushed))
	require.NoError(t, g.pull(t.Context(), "cache/library/nginx", "v1", pushed))
	require.Equal(t, 1, u.count(http.MethodGet, manifestPath("library/nginx", "v1")))
}

func TestLists(t *testing.T) {
	u := newUpstream(t)
	pushed := u.push("team/app", "v1", 1000)
	for _, tag := range []string{"a", "b", "c"} {
		u.push("team/app", tag, 10)
	}
	_, referrer := u.put("team/app", "", oci.MediaTypeImageManifest, map[string]any{
		"schemaVersion": 2, "mediaType": oci.MediaTypeImageManifest, "artifactType": "application/example",
		"config":  map[string]any{"mediaType": "application/vnd.oci.image.config.v1+json", "digest": oci.SHA256.FromBytes(pushed.config), "size": len(pushed.config)},
		"layers":  []any{},
		"subject": map[string]any{"mediaType": oci.MediaTypeImageManifest, "digest": pushed.digest, "size": len(pushed.manifest)},
	})
	// The reference registry has no API for referrers: the tag stands in for it.
	entry, _ := json.Marshal(map[string]any{"mediaType": oci.MediaTypeImageManifest, "digest": referrer, "size": 100, "artifactType": "application/example"})
	u.put("team/app", strings.Replace(pushed.digest.String(), ":", "-", 1), oci.MediaTypeImageIndex, map[string]any{
		"schemaVersion": 2, "mediaType": oci.MediaTypeImageIndex, "manifests": []json.RawMessage{entry},
	})
	g := newGateway(t, u, setup{})
	require.NoError(t, g.pull(t.Context(), "cache/team/app", "v1", pushed))
	tags := func() string { return string(g.want(200, g.get("/v2/cache/team/app/tags/list?n=2&last=a")).body) }
	require.JSONEq(t, `{"name":"cache/team/app","tags":["b","c"]}`, tags())
	referrers := func() string {
		return string(g.want(200, g.get("/v2/cache/team/app/referrers/"+pushed.digest.String()+"?artifactType=application/example")).body)
	}
	require.Contains(t, referrers(), referrer.String())
	g.want(200, g.get(manifestPath("cache/team/app", referrer.String())))

	u.gate.Close()
	require.Contains(t, referrers(), referrer.String())
	require.JSONEq(t, `{"name":"cache/team/app","tags":["v1"]}`, string(g.want(200, g.get("/v2/cache/team/app/tags/list")).body))
	require.Equal(t, "UNAVAILABLE", g.want(503, g.get("/v2/cache/team/other/tags/list")).code())
}

func TestPull_bandwidthIsBound(t *testing.T) {
	u := newUpstream(t)
	pushed := u.push("team/app", "v1", 1<<20)
	g := newGateway(t, u, setup{origin: func(o *proxy.Origin) { o.BytesPerSecond, o.Connections = 1<<20, 1 }})
	began := time.Now()
	require.NoError(t, g.pull(t.Context(), "cache/team/app", "v1", pushed))
	require.Greater(t, time.Since(began), 500*time.Millisecond, "a quarter of a MiB is let through at once")
}

func TestEvicting_deletesWhatWasPulledTheLongestAgo(t *testing.T) {
	u := newUpstream(t)
	g := newGateway(t, u, setup{})
	var images []image
	for i := range 5 {
		pushed := u.push("app", fmt.Sprint("v", i), 19_000)
		require.NoError(t, g.pull(t.Context(), "cache/app", fmt.Sprint("v", i), pushed))
		for _, blob := range pushed.blobs() {
			g.kept("cache/app", blob)
		}
		images = append(images, pushed)
	}
	pulledAt := []int{3, 0, 4, 1, 2}
	old := time.Now().Add(48 * time.Hour) // after what was counted of the pulls
	require.NoError(t, g.store.Tx(t.Context(), func(ctx context.Context, tx *metadata.Tx) error {
		if err := proxy.ScheduleEviction(ctx, tx); err != nil {
			return err
		}
		project, err := tx.Project(ctx, "cache")
		if err != nil {
			return err
		}
		for i, hours := range pulledAt {
			if err := tx.AddPulls(ctx, []metadata.Pulls{{Repository: "cache/app", Digest: images[i].digest, Count: 1, LastAt: old.Add(time.Duration(hours) * time.Hour)}}); err != nil {
				return err
			}
		}
		return tx.SetLimit(ctx, project.ID, 100_000)
	}))
	stored := func() (bytes int64) {
		_, err := g.registry.CollectGarbage(t.Context(), registry.Collect{})
		require.NoError(t, err)
		require.NoError(t, g.registry.Sweep(t.Context()))
		require.NoError(t, g.backend.(storage.Walker).Walk(t.Context(), "", func(o storage.Object) error {
			bytes += o.Size
			return nil
		}))
		return bytes
	}
	require.Greater(t, stored(), int64(5*19_000))
	run := func(settled time.Duration) string {
		work := jobs.New(jobs.Options{Store: g.store, Logger: slog.New(slog.DiscardHandler), Poll: 10 * time.Millisecond, Kinds: []jobs.Kind{proxy.Evicting(g.store, g.registry, settled)}})
		defer work.Close()
		execution, err := work.Submit(t.Context(), jobs.Submission{Kind: proxy.EvictionKind, Cause: jobs.CauseManual})
		require.NoError(t, err)
		require.Eventually(t, func() bool {
			execution, err = g.store.Execution(t.Context(), execution.ID)
			return err == nil && execution.Ended()
		}, 20*time.Second, 10*time.Millisecond)
		require.Equal(t, metadata.StatusSuccess, execution.Status, execution.Message)
		recurring := work.Recurring(proxy.EvictionKind)
		said, err := recurring.Log(t.Context(), execution.ID)
		require.NoError(t, err)
		return said
	}
	require.Contains(t, run(proxy.DefaultSettled), "came within the last 1h", "what is young stays")
	has := func() (kept []int) {
		for i, d := range images {
			if _, err := g.store.Manifest(t.Context(), "cache/app", d.digest); err == nil {
				kept = append(kept, i)
			}
		}
		return kept
	}
	require.Equal(t, []int{0, 1, 2, 3, 4}, has())
	require.Contains(t, run(time.Nanosecond), "deleted cache/app@"+images[1].digest.String())
	require.Equal(t, []int{0, 2, 4}, has())
	require.Empty(t, run(time.Nanosecond), "there is room now")
	require.Less(t, stored(), int64(4*19_000), "the bytes have gone")
	require.NoError(t, g.pull(t.Context(), "cache/app", "v1", images[1]), "and come again")
}

func TestPull_tokensOfUpstreamAreKept(t *testing.T) {
	u := newUpstream(t)
	pushed := u.push("team/app", "v1", 1000, 2000, 3000)
	u.set(func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case r.URL.Path == "/token":
			_, _ = w.Write([]byte(`{"token":"good","expires_in":300}`))
			return true
		case r.Header.Get("Authorization") != "Bearer good":
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="far",scope="repository:team/app:pull"`, r.Host))
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}
		return false
	}, nil)
	g := newGateway(t, u, setup{options: persistent})
	for range 3 {
		require.NoError(t, g.pull(t.Context(), "cache/team/app", "v1", pushed), "%s", g.log)
	}
	require.Equal(t, 1, u.count(http.MethodGet, "/token"))
}
