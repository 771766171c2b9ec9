package registry_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/jobs"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/metadata/postgres/postgrestest"
	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/registry"
	"github.com/berth-registry/berth/storage/filesystem"
)

// everything is a grace that makes every review due, however long the test takes.
const everything = -time.Hour

// collect runs a collection without any grace, and the sweep that deletes the bytes.
func (h *house) collect(r *registry.Registry) registry.Collected {
	h.t.Helper()
	h.clock.advance(time.Second)
	collected, err := r.CollectGarbage(ctx, registry.Collect{Grace: everything})
	require.NoError(h.t, err)
	h.clock.advance(time.Hour)
	require.NoError(h.t, r.Sweep(ctx))
	return collected
}

func remove(t *testing.T, r *registry.Registry, repository oci.Repository, digest oci.Digest) {
	t.Helper()
	require.NoError(t, r.DeleteManifest(ctx, alice, repository, oci.Reference{Digest: digest}))
}

func TestCollectGarbage_keepsWhatIsNeededAndFreesTheRest(t *testing.T) {
	h := newHouse(t)
	r := h.gateway()
	doomed := artifact(t, r, "library/a", "v1", "only in a")
	artifact(t, r, "library/a", "v2", "in both")
	other := artifact(t, r, "library/b", "v1", "in both")
	put(t, r, "library/b", "never used")
	require.Equal(t, 4, h.files(), "one of the two uploads of the shared blob was for nothing")

	early, err := r.CollectGarbage(ctx, registry.Collect{Grace: time.Hour})
	require.NoError(t, err)
	require.Zero(t, early.Due, "the grace has not passed")

	remove(t, r, "library/a", doomed)
	h.clock.advance(time.Second)
	wouldBe, err := r.CollectGarbage(ctx, registry.Collect{Grace: everything, DryRun: true})
	require.NoError(t, err)
	require.Equal(t, int64(2), wouldBe.Links)
	require.Equal(t, 4, h.files())

	steps := 0
	collected, err := r.CollectGarbage(ctx, registry.Collect{Grace: everything, Progress: func(registry.Collected) { steps++ }})
	require.NoError(t, err)
	require.Equal(t, registry.Collected{Reviewed: 6, Due: 6, Links: 2, Blobs: 2, Bytes: int64(len("only in a") + len("never used"))}, collected)
	require.Positive(t, steps)
	_, err = r.Blob(ctx, "library/b", oci.SHA256.FromString("never used"))
	require.True(t, oci.HasCode(err, oci.CodeBlobUnknown), "caches know as well")
	require.Equal(t, 4, h.files(), "somebody may still be reading")
	h.clock.advance(time.Hour)
	require.NoError(t, r.Sweep(ctx))
	require.Equal(t, 1, h.files())

	again := h.collect(r)
	require.Zero(t, again.Reviewed, "what is answered is not asked again")
	remove(t, r, "library/b", other)
	require.Equal(t, int64(0), h.collect(r).Blobs, "repository a needs it")
	_, err = r.Blob(ctx, "library/a", oci.SHA256.FromString("in both"))
	require.NoError(t, err)
}

func TestCollectGarbage_afterARepositoryIsGone(t *testing.T) {
	h := newHouse(t)
	r := h.gateway()
	artifact(t, r, "library/a", "v1", "content")
	require.NoError(t, h.store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		row, err := tx.Repository(ctx, "library/a")
		if err != nil {
			return err
		}
		return tx.DeleteRepository(ctx, row.ID)
	}))
	require.Equal(t, int64(1), h.collect(r).Blobs)
	require.Zero(t, h.files())
}

func TestCollectGarbage_pushedAgainMeanwhile(t *testing.T) {
	h := newHouse(t)
	r := h.gateway()
	doomed := artifact(t, r, "library/a", "v1", "content")
	remove(t, r, "library/a", doomed)
	h.clock.advance(time.Second)
	_, err := r.CollectGarbage(ctx, registry.Collect{Grace: everything})
	require.NoError(t, err)
	artifact(t, r, "library/a", "v1", "content")
	h.clock.advance(time.Hour)
	require.NoError(t, r.Sweep(ctx))
	blob, err := r.Blob(ctx, "library/a", oci.SHA256.FromString("content"))
	require.NoError(t, err)
	content, err := r.OpenBlob(ctx, "library/a", blob, nil)
	require.NoError(t, err)
	require.NoError(t, content.Close())
	require.Equal(t, 1, h.files())
}

func TestCollectGarbage_stopsAndGoesOn(t *testing.T) {
	h := newHouse(t)
	r := h.gateway()
	for i := range 250 {
		put(t, r, "library/a", fmt.Sprint("unused ", i))
	}
	h.clock.advance(time.Second)
	stopping, stop := context.WithCancel(ctx)
	stopped, err := r.CollectGarbage(stopping, registry.Collect{Grace: everything, Progress: func(registry.Collected) { stop() }})
	require.ErrorIs(t, err, context.Canceled)
	require.Positive(t, stopped.Reviewed)
	rest := h.collect(r)
	require.Equal(t, int64(250), stopped.Links+rest.Links)
	require.Zero(t, h.files())
}

// TestCollectGarbage_whilePushing has several gateways push images that share blobs, delete them and collect without any grace. A
// push may be told that a blob is gone, which it uploads again then; what was acknowledged must be whole.
func TestCollectGarbage_whilePushing(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) { collectWhilePushing(newHouse(t)) })
	t.Run("postgres", func(t *testing.T) {
		collectWhilePushing(newHouseOn(t, postgrestest.Open(t)))
	})
}

func collectWhilePushing(h *house) {
	t := h.t
	gateways := []*registry.Registry{h.gateway(), h.gateway()}
	var acknowledged sync.Map // tag → content
	var pushers, collectors sync.WaitGroup
	stop := make(chan struct{})
	for i, r := range gateways {
		collectors.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				h.clock.advance(time.Millisecond)
				if _, err := r.CollectGarbage(ctx, registry.Collect{Grace: everything}); err != nil {
					t.Error(err)
					return
				}
			}
		})
		for worker := range 3 {
			pushers.Go(func() {
				random := rand.New(rand.NewPCG(uint64(i), uint64(worker)))
				repository := oci.Repository(fmt.Sprintf("library/r%d", random.IntN(2)))
				for round := range 40 {
					tag := fmt.Sprintf("t%d-%d-%d", i, worker, round)
					content := fmt.Sprint("shared ", random.IntN(5))
					pushUntilDone(t, r, repository, tag, content)
					acknowledged.Store(string(repository)+" "+tag, content)
					if random.IntN(2) == 0 {
						acknowledged.Delete(string(repository) + " " + tag)
						err := r.DeleteManifest(ctx, alice, repository, oci.Reference{Tag: tag})
						require.NoError(t, err)
					}
				}
			})
		}
	}
	pushers.Wait()
	close(stop)
	collectors.Wait()
	reader := h.gateway()
	acknowledged.Range(func(key, content any) bool {
		name, tag, _ := strings.Cut(key.(string), " ")
		_, err := reader.Manifest(ctx, oci.Repository(name), oci.Reference{Tag: tag})
		require.NoError(t, err)
		blob, err := reader.Blob(ctx, oci.Repository(name), oci.SHA256.FromString(content.(string)))
		require.NoError(t, err)
		opened, err := reader.OpenBlob(ctx, oci.Repository(name), blob, nil)
		require.NoError(t, err)
		require.NoError(t, opened.Close())
		return true
	})
}

func pushUntilDone(t *testing.T, r *registry.Registry, repository oci.Repository, tag, content string) {
	t.Helper()
	for {
		config := put(t, r, repository, content)
		payload := `{"schemaVersion":2,"config":{"mediaType":"a/b","digest":"` + config.String() + `","size":1},"layers":[]}`
		_, err := r.PutManifest(ctx, alice, registry.Push{
			Repository: repository, Reference: oci.Reference{Tag: tag}, ContentType: oci.MediaTypeImageManifest, Payload: []byte(payload),
		})
		var refusal *oci.Error
		if errors.As(err, &refusal) && refusal.Code == oci.CodeManifestBlobUnknown {
			continue
		}
		require.NoError(t, err)
		return
	}
}

func TestCollecting_unknownBytes(t *testing.T) {
	h := newHouse(t)
	r := h.gateway()
	artifact(t, r, "library/a", "v1", "needed")
	backend, err := filesystem.New(filesystem.Config{Root: filepath.Join(h.root, "storage")})
	require.NoError(t, err)
	leave := func(content string) (key string) {
		upload, err := backend.Begin(ctx)
		require.NoError(t, err)
		_, err = upload.Append(ctx, strings.NewReader(content))
		require.NoError(t, err)
		key, err = upload.Commit(ctx)
		require.NoError(t, err)
		require.NoError(t, upload.Close())
		return key
	}
	leave("left by a crash")
	// A client finishes its upload, which SQL did not know yet, in the moment in which its bytes are given up.
	named := leave("named meanwhile")
	young, err := r.GiveUpUnknown(ctx, registry.Unknown{}, h.clock.Now().Add(-time.Hour), false, func(registry.Unknown) {})
	require.NoError(t, err)
	require.Equal(t, [2]int64{3, 0}, [2]int64{young.Looked, young.Objects}, "an upload may be on its way")
	h.clock.advance(48 * time.Hour)

	parameters := registry.CollectionParameters{DryRun: true}
	require.Contains(t, h.run(r, parameters), "would give up 2 with 30 B")
	require.Equal(t, 3, h.files())
	require.Contains(t, h.run(r, registry.CollectionParameters{}), "gave up 2 with 30 B", "the first collection looks by itself")
	require.NoError(t, h.store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error { return tx.DeleteTombstones(ctx, []string{named}) }))
	require.NoError(t, h.store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		_, err := tx.PutBlob(ctx, metadata.Blob{Digest: oci.SHA256.FromString("named meanwhile"), Size: 15, StorageKey: named})
		return errors.Join(err, tx.AddTombstones(ctx, []string{named}))
	}))
	h.clock.advance(time.Hour)
	require.NoError(t, r.Sweep(ctx))
	require.Equal(t, 2, h.files(), "what has a name stays")
	tombstones, err := h.store.Tombstones(ctx, time.Now().Add(1000*time.Hour), -1)
	require.NoError(t, err)
	require.Empty(t, tombstones)

	leave("left later")
	h.clock.advance(48 * time.Hour)
	require.NotContains(t, h.run(r, registry.CollectionParameters{}), "objects in storage", "it costs what is stored, so it is not done each time")
	require.Contains(t, h.run(r, registry.CollectionParameters{Reconcile: new(true)}), "gave up 1 with 10 B")
}

// TestCollectGarbage_finishedTwice has a client finish an upload again, long after its blob was linked and just before it pushes the
// manifest.
func TestCollectGarbage_finishedTwice(t *testing.T) {
	h := newHouse(t)
	r := h.gateway()
	content := "finished twice"
	digest := oci.SHA256.FromString(content)
	upload, err := r.StartUpload(ctx, alice, "library/a", "")
	require.NoError(t, err)
	var since [2]time.Time
	for i := range since {
		_, err = r.FinishUpload(ctx, "library/a", upload.ID, nil, strings.NewReader(content), digest)
		require.NoError(t, err)
		reviews, err := h.store.Reviews(ctx, time.Now().Add(time.Hour), metadata.Review{}, -1)
		require.NoError(t, err)
		require.Len(t, reviews, 1)
		since[i] = reviews[0].Since
	}
	require.True(t, since[1].After(since[0]), "the second is a push as well")
}

// run runs a collection as a job and returns its log.
func (h *house) run(r *registry.Registry, p registry.CollectionParameters) string {
	h.t.Helper()
	return h.work(r, registry.CollectionKind, p)
}

// work runs work of a kind and returns its log.
func (h *house) work(r *registry.Registry, kind string, p any) string {
	h.t.Helper()
	work := jobs.New(jobs.Options{
		Store: h.store, Logger: slog.New(slog.DiscardHandler), Poll: 10 * time.Millisecond,
		Kinds: []jobs.Kind{registry.Collecting(r, everything), registry.Verifying(r)},
	})
	defer func() { require.NoError(h.t, work.Close()) }()
	h.clock.advance(time.Second)
	execution, err := work.Submit(ctx, jobs.Submission{Kind: kind, Cause: jobs.CauseManual, Parameters: p})
	require.NoError(h.t, err)
	require.Eventually(h.t, func() bool {
		execution, err = h.store.Execution(ctx, execution.ID)
		return err == nil && execution.Status == metadata.StatusSuccess
	}, 20*time.Second, 10*time.Millisecond)
	tasks, err := h.store.Tasks(ctx, execution.ID)
	require.NoError(h.t, err)
	said, err := h.store.TaskLog(ctx, tasks[0].ID)
	require.NoError(h.t, err)
	return said
}

func TestCollecting_untagged(t *testing.T) {
	h := newHouse(t)
	r := h.gateway()
	kept := artifact(t, r, "library/a", "v1", "tagged")
	loose := artifact(t, r, "library/a", "moved", "loose")
	artifact(t, r, "library/a", "moved", "tagged by now")
	child := artifact(t, r, "library/a", "child", "listed")
	index := `{"schemaVersion":2,"mediaType":"` + oci.MediaTypeImageIndex + `","manifests":[{"mediaType":"` + oci.MediaTypeImageManifest +
		`","digest":"` + child.String() + `","size":1}]}`
	_, err := r.PutManifest(ctx, alice, registry.Push{
		Repository: "library/a", Reference: oci.Reference{Tag: "index"}, ContentType: oci.MediaTypeImageIndex, Payload: []byte(index),
	})
	require.NoError(t, err)
	require.NoError(t, r.DeleteTag(ctx, alice, "library/a", oci.Reference{Digest: child}, "child"))

	run := func(p registry.CollectionParameters) string { return h.run(r, p) }
	require.Contains(t, run(registry.CollectionParameters{DeleteUntagged: true, DryRun: true}), "would delete library/a@"+loose.String())
	_, err = r.Manifest(ctx, "library/a", oci.Reference{Digest: loose})
	require.NoError(t, err)
	said := run(registry.CollectionParameters{DeleteUntagged: true})
	require.Contains(t, said, "deleted library/a@"+loose.String())
	require.Contains(t, said, "freed 1 with 5 B")
	_, err = r.Manifest(ctx, "library/a", oci.Reference{Digest: loose})
	require.True(t, oci.HasCode(err, oci.CodeManifestUnknown))
	for _, digest := range []oci.Digest{kept, child} {
		_, err = r.Manifest(ctx, "library/a", oci.Reference{Digest: digest})
		require.NoError(t, err)
	}
}
