package distribution_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/distribution"
	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/metadata/postgres/postgrestest"
	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/registry"
	"github.com/berth-registry/berth/storage"
	"github.com/berth-registry/berth/storage/s3"
	"github.com/berth-registry/berth/storage/s3/s3server"
)

const (
	// raceDuration is how long the race of collection goes on; BERTH_GC_RACE sets another time.
	raceDuration = 12 * time.Second
	// raceTombstones is how long deleted bytes stay there: longer than a gateway goes on with what another one has changed.
	raceTombstones = 5 * time.Second
	racePushers    = 3
	// racePushes is how many images each pusher pushes at least, however slow the machine.
	racePushes = 5
	raceLayers = 24
)

// race is two gateways on one PostgreSQL and one bucket.
type race struct {
	t        *testing.T
	store    *metadata.Store
	backend  storage.Backend
	gateways []raceGateway
	layers   [][]byte

	mu           sync.Mutex
	acknowledged map[string]raceImage
	// changed tells of another acknowledged image, or that no more will come.
	changed *sync.Cond
	ended   bool

	pushed, again, deleted, verified, freed atomic.Int64
}

type raceGateway struct {
	url      string
	registry *registry.Registry
}

// raceImage is an image whose push was acknowledged.
type raceImage struct {
	repository string
	digest     oci.Digest
	layers     [][]byte
}

// TestCollection_racesWithPushes has two gateways push images that share layers, delete some, and collect without any delay. Whatever
// was acknowledged and not deleted must be pullable whole at any time, from either; and after everything is deleted nothing is left.
func TestCollection_racesWithPushes(t *testing.T) {
	duration := raceDuration
	if set := os.Getenv("BERTH_GC_RACE"); set != "" {
		var err error
		duration, err = time.ParseDuration(set)
		require.NoError(t, err)
	}
	r := newRace(t)
	ctx, stop := context.WithCancel(t.Context())
	var collectors, pushers, pullers sync.WaitGroup
	end := time.Now().Add(duration)
	for _, gateway := range r.gateways {
		collectors.Go(func() { r.collect(ctx, gateway.registry, end) })
	}
	for worker := range racePushers * len(r.gateways) {
		pushers.Go(func() { r.push(worker, end) })
	}
	for puller := range 2 {
		pullers.Go(func() { r.verify(puller) })
	}
	pushers.Wait()
	r.mu.Lock()
	left := r.acknowledged
	r.ended = true
	r.mu.Unlock()
	r.changed.Broadcast()
	pullers.Wait()
	require.NotEmpty(t, left)
	for key, image := range left {
		r.pull(r.gateways[0], image)
		r.delete(r.gateways[1], key, image)
	}
	require.Eventually(t, func() bool {
		objects := 0
		err := r.backend.(storage.Walker).Walk(t.Context(), "", func(storage.Object) error {
			objects++
			return nil
		})
		require.NoError(t, err)
		return objects == 0
	}, time.Minute, 200*time.Millisecond, "bytes stay in storage")
	stop()
	collectors.Wait()
	require.Positive(t, r.freed.Load())
	t.Logf("%s: %d pushed (%d tried again), %d deleted, %d pulled whole meanwhile, %d blobs collected, storage empty in the end",
		duration, r.pushed.Load(), r.again.Load(), r.deleted.Load(), r.verified.Load(), r.freed.Load())
}

func newRace(t *testing.T) *race {
	t.Helper()
	store := postgrestest.Open(t)
	require.NoError(t, store.Tx(t.Context(), func(ctx context.Context, tx *metadata.Tx) error {
		_, err := tx.CreateProject(ctx, metadata.Project{Name: "library"})
		return err
	}))
	bucket := s3server.StartVersityGW(t)
	r := &race{t: t, store: store, acknowledged: map[string]raceImage{}}
	r.changed = sync.NewCond(&r.mu)
	for range 2 {
		backend, err := s3.New(s3.Config{
			Endpoint: bucket.Endpoint, Bucket: s3server.Bucket, Region: s3server.Region,
			AccessKey: s3server.AccessKey, SecretKey: s3server.SecretKey, SpillDirectory: t.TempDir(),
		})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, backend.Close()) })
		content := registry.New(registry.Options{
			Metadata: store, Storage: backend, Logger: slog.New(slog.DiscardHandler), TombstoneGrace: raceTombstones, SweepInterval: 100 * time.Millisecond,
			Record: func(event.Event) {},
		})
		t.Cleanup(func() { require.NoError(t, content.Close()) })
		front := httptest.NewServer(distribution.New(distribution.Options{Registry: content, Authorizer: everybody{}, Logger: slog.New(slog.DiscardHandler)}))
		t.Cleanup(front.Close)
		r.backend, r.gateways = backend, append(r.gateways, raceGateway{front.URL, content})
	}
	for seed := range raceLayers {
		r.layers = append(r.layers, noise(uint64(seed), 1000+seed*5_000))
	}
	return r
}

// collect collects without delay until the context ends, and looks for bytes without a name as well. After the end of the race it
// waits for the pushers: on a slow machine they might never have all layers of an image there at once.
func (r *race) collect(ctx context.Context, content *registry.Registry, end time.Time) {
	for ctx.Err() == nil {
		r.mu.Lock()
		for time.Now().After(end) && !r.ended {
			r.changed.Wait()
		}
		r.mu.Unlock()
		done, err := content.CollectGarbage(ctx, registry.Collect{})
		if ctx.Err() == nil && err != nil {
			r.t.Errorf("collect: %v", err)
			return
		}
		r.freed.Add(done.Blobs)
		_, err = content.GiveUpUnknown(ctx, registry.Unknown{}, time.Now().Add(-2*raceTombstones), false, func(registry.Unknown) {})
		if ctx.Err() == nil && err != nil {
			r.t.Errorf("give up: %v", err)
			return
		}
	}
}

func (r *race) push(worker int, end time.Time) {
	random := rand.New(rand.NewPCG(uint64(worker), 0))
	var kept []string
	for round := 0; (round < racePushes || time.Now().Before(end)) && !r.t.Failed(); round++ {
		key := fmt.Sprintf("t%d-%d", worker, round)
		image := raceImage{repository: fmt.Sprintf("library/r%d", random.IntN(4))}
		for _, i := range random.Perm(raceLayers)[:1+random.IntN(3)] {
			image.layers = append(image.layers, r.layers[i])
		}
		// Nobody shares the last one, so each deletion leaves something to collect.
		image.layers = append(image.layers, noise(uint64(raceLayers+worker)<<32+uint64(round), 2_000))
		r.pushImage(random, key, &image)
		r.mu.Lock()
		r.acknowledged[key] = image
		r.mu.Unlock()
		r.changed.Broadcast()
		r.pushed.Add(1)
		if kept = append(kept, key); len(kept) > random.IntN(3) {
			r.mu.Lock()
			image = r.acknowledged[kept[0]]
			r.mu.Unlock()
			r.delete(r.any(random), kept[0], image)
			kept = kept[1:]
		}
	}
}

func (r *race) any(random *rand.Rand) raceGateway { return r.gateways[random.IntN(len(r.gateways))] }

// pushImage pushes as clients do: what the registry says it has is not uploaded. It uploads everything when the manifest is refused,
// because what was there was collected in between.
func (r *race) pushImage(random *rand.Rand, tag string, image *raceImage) {
	manifest := map[string]any{
		"schemaVersion": 2, "mediaType": oci.MediaTypeImageManifest, "annotations": map[string]string{"tag": tag},
		"config": map[string]any{"mediaType": "application/x.config", "digest": oci.SHA256.FromBytes(image.layers[0]), "size": len(image.layers[0])},
	}
	var layers []any
	for _, layer := range image.layers {
		layers = append(layers, map[string]any{"mediaType": "application/x.layer", "digest": oci.SHA256.FromBytes(layer), "size": len(layer)})
	}
	manifest["layers"] = layers
	payload, err := json.Marshal(manifest)
	if err != nil {
		panic(err)
	}
	image.digest = oci.SHA256.FromBytes(payload)
	for try := 0; ; try++ {
		for _, layer := range image.layers {
			path := "/v2/" + image.repository + "/blobs/" + oci.SHA256.FromBytes(layer).String()
			if status, _ := r.do(http.MethodHead, r.any(random).url+path, nil, ""); try > 0 || status != http.StatusOK {
				r.upload(random, image.repository, layer)
			}
		}
		status, body := r.do(http.MethodPut, r.any(random).url+"/v2/"+image.repository+"/manifests/"+tag, payload, oci.MediaTypeImageManifest)
		switch {
		case status == http.StatusCreated:
			return
		case status == http.StatusNotFound && bytes.Contains(body, []byte("MANIFEST_BLOB_UNKNOWN")):
			r.again.Add(1)
		default:
			r.t.Errorf("push %s: %d %s", tag, status, body)
			return
		}
	}
}

// upload begins at one gateway and ends at another.
func (r *race) upload(random *rand.Rand, repository string, content []byte) {
	request, err := http.NewRequest(http.MethodPost, r.any(random).url+"/v2/"+repository+"/blobs/uploads/", nil)
	if err != nil {
		panic(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		r.t.Errorf("begin upload: %v", err)
		return
	}
	answer.Body.Close()
	location := answer.Header.Get("Location")
	status, body := r.do(http.MethodPut, r.any(random).url+location+"?digest="+oci.SHA256.FromBytes(content).String(), content, "application/octet-stream")
	if status != http.StatusCreated {
		r.t.Errorf("upload to %s: %d %s", location, status, body)
	}
}

func (r *race) delete(gateway raceGateway, key string, image raceImage) {
	r.mu.Lock()
	delete(r.acknowledged, key)
	r.mu.Unlock()
	if status, body := r.do(http.MethodDelete, gateway.url+"/v2/"+image.repository+"/manifests/"+image.digest.String(), nil, ""); status != http.StatusAccepted {
		r.t.Errorf("delete %s: %d %s", key, status, body)
	}
	r.deleted.Add(1)
}

// verify pulls images whole that are acknowledged, and counts those that nobody has begun to delete meanwhile.
func (r *race) verify(puller int) {
	random := rand.New(rand.NewPCG(4711, uint64(puller)))
	for !r.t.Failed() {
		r.mu.Lock()
		for len(r.acknowledged) == 0 && !r.ended {
			r.changed.Wait()
		}
		if r.ended {
			r.mu.Unlock()
			return
		}
		var key string
		var image raceImage
		for key, image = range r.acknowledged {
			break
		}
		r.mu.Unlock()
		wrong := r.whole(r.any(random), image)
		r.mu.Lock()
		_, still := r.acknowledged[key]
		r.mu.Unlock()
		if !still {
			continue
		}
		if wrong != "" {
			r.t.Errorf("%s: %s", key, wrong)
		}
		r.verified.Add(1)
	}
}

func (r *race) pull(gateway raceGateway, image raceImage) {
	if wrong := r.whole(gateway, image); wrong != "" {
		r.t.Error(wrong)
	}
}

// whole says what is missing of an image, "" for nothing.
func (r *race) whole(gateway raceGateway, image raceImage) string {
	if status, body := r.do(http.MethodGet, gateway.url+"/v2/"+image.repository+"/manifests/"+image.digest.String(), nil, ""); status != http.StatusOK {
		return fmt.Sprintf("manifest: %d %s", status, body)
	}
	for _, layer := range image.layers {
		status, body := r.do(http.MethodGet, gateway.url+"/v2/"+image.repository+"/blobs/"+oci.SHA256.FromBytes(layer).String(), nil, "")
		if status != http.StatusOK || !bytes.Equal(body, layer) {
			return fmt.Sprintf("layer %s: %d, %d of %d bytes", oci.SHA256.FromBytes(layer), status, len(body), len(layer))
		}
	}
	return ""
}

func (r *race) do(method, url string, body []byte, contentType string) (status int, answer []byte) {
	request, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		panic(err)
	}
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, []byte(err.Error())
	}
	defer response.Body.Close()
	answer, err = io.ReadAll(response.Body)
	if err != nil {
		return 0, []byte(err.Error())
	}
	return response.StatusCode, answer
}
