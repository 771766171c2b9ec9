package e2e_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/e2e/harness"
)

// severable is a connection between two registries that can be cut.
type severable struct {
	*testing.T
	api, address string
}

// newSeverable returns a link to an address on localhost.
func newSeverable(t *testing.T, upstream string) severable {
	t.Helper()
	port := strconv.Itoa(harness.FreePort(t))
	harness.StartProcess(t, nil, harness.Tool(t, "toxiproxy"), "-host", "127.0.0.1", "-port", port)
	l := severable{t, "http://127.0.0.1:" + port, "localhost:" + strconv.Itoa(harness.FreePort(t))}
	require.Eventually(t, func() bool {
		response, err := http.Get(l.api + "/version")
		if err == nil {
			_ = response.Body.Close()
		}
		return err == nil
	}, 20*time.Second, 10*time.Millisecond)
	l.post("/proxies", map[string]any{"name": "link", "listen": l.address, "upstream": upstream, "enabled": true})
	return l
}

func (l severable) post(path string, body any) {
	l.Helper()
	encoded, err := json.Marshal(body)
	require.NoError(l, err)
	response, err := http.Post(l.api+path, "application/json", bytes.NewReader(encoded))
	require.NoError(l, err)
	require.NoError(l, response.Body.Close())
	require.Less(l, response.StatusCode, 300)
}

// cut breaks every connection and lets new ones be made.
func (l severable) cut() {
	l.post("/proxies/link", map[string]any{"enabled": false})
	l.post("/proxies/link", map[string]any{"enabled": true})
}

// stored is the size of all files below a directory.
func stored(t *testing.T, directory string) (sum int64) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(directory, func(_ string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || err == nil && entry.IsDir() {
			return nil
		}
		if err != nil {
			return err
		}
		about, err := entry.Info()
		if err == nil {
			sum += about.Size()
		}
		return nil // it may have gone meanwhile
	}))
	return sum
}

// TestReplication_linkIsCut copies 2 GiB over a link that is cut 50 times, at random places: all arrives, and little of it is sent
// twice. In between, the gateway that copies is reloaded and killed. Before, a copy is stopped in the middle of a blob that would take
// some minutes.
func TestReplication_linkIsCut(t *testing.T) {
	const size, layers, cuts = int64(2 << 30), 4, int64(50)
	elsewhere := harness.Directory(t)
	home := harness.Directory(t)
	near, far := harness.Start(t, home), harness.Start(t, elsewhere)
	r, here, there := replicating{t, near}, near.Admin(), far.Admin()
	l := newSeverable(t, far.Host())
	config := []byte(`{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}`)
	described := []harness.Descriptor{}
	for i := range uint64(layers) {
		digest, n, err := harness.DigestOf(harness.Content(i, size/layers))
		require.NoError(t, err)
		require.NoError(t, here.PushBlob(t.Context(), "library/big", digest, n, harness.Content(i, size/layers)))
		described = append(described, harness.Descriptor{MediaType: harness.MediaTypeLayer, Digest: digest, Size: n})
	}
	d := harness.Describe(harness.MediaTypeConfig, config)
	require.NoError(t, here.PushBlob(t.Context(), "library/big", d.Digest, d.Size, bytes.NewReader(config)))
	manifest, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": harness.MediaTypeManifest, "config": d, "layers": described})
	require.NoError(t, err)
	require.NoError(t, here.PutManifest(t.Context(), "library/big", "v1", harness.MediaTypeManifest, manifest))

	policy := r.policy("big", map[string]any{
		"dest_registry": r.registry("far", "harbor", "https://"+l.address, far), "dest_namespace": "big", "filters": []any{filter("name", "library/big")},
	})
	l.post("/proxies/link/toxics", map[string]any{"type": "bandwidth", "stream": "upstream", "attributes": map[string]any{"rate": 2000}}) // KB/s
	stopped := idOf(t, r.call(http.MethodPost, "/replication/executions", http.StatusCreated, map[string]any{"policy_id": policy}, nil))
	require.Eventually(t, func() bool { return stored(t, filepath.Join(elsewhere.Directory, "storage")) > 0 }, 5*time.Minute, time.Millisecond)
	asked := time.Now()
	r.call(http.MethodPut, fmt.Sprint("/replication/executions/", stopped), http.StatusOK, nil, nil)
	ended := r.await(stopped, "Stopped")
	t.Logf("stopped in %s", time.Since(asked).Round(time.Millisecond))
	require.Less(t, ended.bytes(), size/layers, "in the middle of the first blobs")
	l.post("/reset", nil)

	began, before := time.Now(), far.Metric("berth_storage_written_bytes_total")
	execution := idOf(t, r.call(http.MethodPost, "/replication/executions", http.StatusCreated, map[string]any{"policy_id": policy}, nil))
	for i := range cuts {
		// Somewhere in the next fiftieth.
		place := size*i/cuts + rand.Int64N(size/cuts/2) //nolint:gosec // a test's choice
		require.Eventually(t, func() bool { return stored(t, filepath.Join(elsewhere.Directory, "storage")) >= place }, 5*time.Minute, time.Millisecond, "cut %d", i)
		switch i {
		case cuts / 4:
			near.Write(home.Block + "\ntoken_lifetime 11m")
			require.NoError(t, near.Reload())
		case cuts / 2:
			near.Kill()
			near.Launch()
		default:
			l.cut()
		}
	}
	done := r.await(execution, "Succeed")
	arrived := int64(far.Metric("berth_storage_written_bytes_total") - before)
	t.Logf("%d cuts: %d bytes of blobs, %d arrived, %d sent after the kill, in %s", cuts, size, arrived, done.bytes(), time.Since(began).Round(time.Millisecond))
	for _, layer := range described {
		digest, n, err := there.PullBlob(t.Context(), "big/big", layer.Digest)
		require.NoError(t, err)
		require.Equal(t, fmt.Sprint(layer.Digest, layer.Size), fmt.Sprint(digest, n))
	}
	require.Less(t, arrived, size*11/10, "what is sent again is little")
	require.Less(t, done.bytes(), size*6/10, "it went on where it was killed")
	require.Contains(t, r.logs(done), "as the connection broke")
	require.Contains(t, r.logs(done), "had arrived before")
	var task struct{ Attempts int }
	r.call(http.MethodGet, fmt.Sprint("/jobservice/jobs/", done.tasks[0].ID), http.StatusOK, nil, &task)
	require.Equal(t, 2, task.Attempts, "one until the gateway was killed, the reload included, and one after")
}
