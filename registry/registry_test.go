package registry_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/metadata/sqlite/sqlitetest"
	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/registry"
	"github.com/berth-registry/berth/storage"
	"github.com/berth-registry/berth/storage/filesystem"
	"github.com/berth-registry/berth/storage/s3"
	"github.com/berth-registry/berth/storage/s3/s3server"
)

func TestMain(m *testing.M) {
	if len(os.Args) == 6 && os.Args[1] == collectorArgument {
		collectorThatIsKilled(os.Args[2], os.Args[3], os.Args[4], os.Args[5])
	}
	goleak.VerifyTestMain(m)
}

// house is what several gateways share.
type house struct {
	t     *testing.T
	root  string
	store *metadata.Store
	clock *clock
	// place is what [openStorage] opens, bytes the directory that has the bytes of it.
	place, bytes string
}

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func newHouse(t *testing.T) *house {
	t.Helper()
	return newHouseOn(t, sqlitetest.Open(t))
}

func newHouseOn(t *testing.T, store *metadata.Store) *house {
	t.Helper()
	h := &house{t: t, root: t.TempDir(), store: store, clock: &clock{now: time.Now()}}
	h.place = filepath.Join(h.root, "storage")
	h.bytes = h.place
	require.NoError(t, h.store.Tx(t.Context(), func(ctx context.Context, tx *metadata.Tx) error {
		owner, err := tx.CreateUser(ctx, metadata.User{Name: "alice"})
		if err != nil {
			return err
		}
		_, err = tx.CreateProject(ctx, metadata.Project{Name: "library", OwnerID: owner.ID})
		return err
	}))
	return h
}

// openStorage opens the storage at a place, which is a directory or the URL of an S3 server.
func openStorage(place string) (storage.Backend, error) {
	if strings.HasPrefix(place, "http://") {
		return s3.New(s3.Config{Endpoint: place, Bucket: s3server.Bucket, AccessKey: s3server.AccessKey, SecretKey: s3server.SecretKey, PathStyle: true})
	}
	return filesystem.New(filesystem.Config{Root: place})
}

// gateway opens one more registry on the house, as another process would.
func (h *house) gateway() *registry.Registry {
	h.t.Helper()
	backend, err := openStorage(h.place)
	require.NoError(h.t, err)
	if closer, ok := backend.(io.Closer); ok {
		h.t.Cleanup(func() { require.NoError(h.t, closer.Close()) })
	}
	r := registry.New(registry.Options{
		Metadata: h.store, Storage: backend, Logger: slog.New(slog.DiscardHandler), Clock: h.clock.Now,
		FlushInterval: time.Hour, SweepInterval: time.Hour,
	})
	h.t.Cleanup(func() { require.NoError(h.t, r.Close()) })
	return r
}

// files counts what lies in storage.
func (h *house) files() int {
	h.t.Helper()
	n := 0
	require.NoError(h.t, filepath.WalkDir(h.bytes, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path != h.bytes {
			return nil // it has gone meanwhile
		}
		if err == nil && entry.Type().IsRegular() {
			n++
		}
		return err
	}))
	return n
}

var (
	ctx   = context.Background()
	alice = event.Actor{Name: "alice"}
)

func put(t *testing.T, r *registry.Registry, repository oci.Repository, content string) oci.Digest {
	t.Helper()
	digest := oci.SHA256.FromString(content)
	_, err := r.PutBlob(ctx, repository, digest, strings.NewReader(content))
	require.NoError(t, err)
	return digest
}

// artifact pushes a manifest with one blob.
func artifact(t *testing.T, r *registry.Registry, repository oci.Repository, tag, content string) oci.Digest {
	t.Helper()
	config := put(t, r, repository, content)
	payload := `{"schemaVersion":2,"config":{"mediaType":"a/b","digest":"` + config.String() + `","size":1},"layers":[]}`
	pushed, err := r.PutManifest(ctx, alice, registry.Push{
		Repository: repository, Reference: oci.Reference{Tag: tag}, ContentType: oci.MediaTypeImageManifest, Payload: []byte(payload),
	})
	require.NoError(t, err)
	return pushed.Digest
}

func read(t *testing.T, r *registry.Registry, repository oci.Repository, digest oci.Digest) string {
	t.Helper()
	blob, err := r.Blob(ctx, repository, digest)
	require.NoError(t, err)
	content, err := r.OpenBlob(ctx, repository, blob, nil)
	require.NoError(t, err)
	defer content.Close()
	all, err := io.ReadAll(content)
	require.NoError(t, err)
	return string(all)
}

func TestUpload_goesOnAtAnotherGateway(t *testing.T) {
	h := newHouse(t)
	first, second := h.gateway(), h.gateway()
	session, err := first.StartUpload(ctx, alice, "library/app", "")
	require.NoError(t, err)
	content := strings.Repeat("0123456789", 10_000)
	gateways := []*registry.Registry{second, first, second}
	at := int64(0)
	for i, end := range []int{1, 60_000, 99_999} {
		session, err = gateways[i].AppendUpload(ctx, "library/app", session.ID, &at, strings.NewReader(content[at:end]))
		require.NoError(t, err)
		require.EqualValues(t, end, session.Offset)
		at = session.Offset
	}
	digest := oci.SHA512.FromString(content)
	_, err = first.FinishUpload(ctx, "library/app", session.ID, &at, strings.NewReader(content[at:]), digest)
	require.NoError(t, err)
	assert.Equal(t, content, read(t, second, "library/app", digest))
}

func TestUpload_overtakenByAnotherGateway(t *testing.T) {
	h := newHouse(t)
	slow, fast := h.gateway(), h.gateway()
	session, err := slow.StartUpload(ctx, alice, "library/app", "")
	require.NoError(t, err)
	pipe, feed := io.Pipe()
	done := make(chan error, 1)
	go func() {
		_, err := slow.AppendUpload(ctx, "library/app", session.ID, nil, pipe)
		done <- err
	}()
	_, err = feed.Write([]byte("from the slow one"))
	require.NoError(t, err)
	_, err = fast.AppendUpload(ctx, "library/app", session.ID, nil, strings.NewReader("from the fast one"))
	require.NoError(t, err)
	require.NoError(t, feed.Close())
	offset, ok := errors.AsType[*registry.OffsetError](<-done)
	require.True(t, ok)
	assert.EqualValues(t, 17, offset.Session.Offset)
	_, err = slow.FinishUpload(ctx, "library/app", session.ID, nil, nil, oci.SHA256.FromString("from the fast one"))
	require.NoError(t, err)
	assert.Equal(t, 1, h.files(), "the loser's bytes are gone")
}

func TestUpload_interruptedKeepsWhatArrived(t *testing.T) {
	h := newHouse(t)
	r := h.gateway()
	session, err := r.StartUpload(ctx, alice, "library/app", "")
	require.NoError(t, err)
	cut := errors.New("connection reset")
	session, err = r.AppendUpload(ctx, "library/app", session.ID, nil, io.MultiReader(strings.NewReader("abc"), iotest.ErrReader(cut)))
	require.ErrorIs(t, err, cut)
	_, ok := errors.AsType[*registry.InterruptedError](err)
	require.True(t, ok)
	assert.EqualValues(t, 3, session.Offset)

	cancelled, cancel := context.WithCancel(ctx)
	body := io.MultiReader(strings.NewReader("def"), readerFunc(func([]byte) (int, error) { cancel(); return 0, context.Canceled }))
	session, err = r.AppendUpload(cancelled, "library/app", session.ID, nil, body)
	require.ErrorIs(t, err, context.Canceled)
	assert.EqualValues(t, 6, session.Offset)
	_, err = r.FinishUpload(ctx, "library/app", session.ID, nil, strings.NewReader("ghi"), oci.SHA256.FromString("abcdefghi"))
	require.NoError(t, err)
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestPutBlob_nothingStaysOfWhatFailed(t *testing.T) {
	h := newHouse(t)
	r := h.gateway()
	_, err := r.PutBlob(ctx, "library/app", oci.SHA256.FromString("abc"), strings.NewReader("def"))
	assert.True(t, oci.HasCode(err, oci.CodeDigestInvalid), err)
	_, err = r.PutBlob(ctx, "library/app", oci.SHA256.FromString("abc"), iotest.ErrReader(io.ErrUnexpectedEOF))
	assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
	_, err = r.PutBlob(ctx, "nowhere/app", oci.SHA256.FromString("abc"), strings.NewReader("abc"))
	assert.True(t, oci.HasCode(err, oci.CodeNameUnknown), err)
	assert.Zero(t, h.files())
}

func TestSweep_removesExpiredUploads(t *testing.T) {
	h := newHouse(t)
	r := h.gateway()
	var ids []string
	for range 150 {
		session, err := r.StartUpload(ctx, alice, "library/app", "")
		require.NoError(t, err)
		ids = append(ids, session.ID)
	}
	_, err := r.AppendUpload(ctx, "library/app", ids[0], nil, strings.NewReader("abc"))
	require.NoError(t, err)
	require.Equal(t, 1, h.files())
	require.NoError(t, r.Sweep(ctx))
	require.Equal(t, 1, h.files())

	h.clock.advance(registry.DefaultUploadExpiry + time.Minute)
	require.NoError(t, r.Sweep(ctx))
	assert.Zero(t, h.files())
	n, err := h.store.UploadsInProgress(ctx)
	require.NoError(t, err)
	assert.Zero(t, n)
}

func TestSweep_sparesAnUploadThatIsBeingWritten(t *testing.T) {
	h := newHouse(t)
	r := h.gateway()
	session, err := r.StartUpload(ctx, alice, "library/app", "")
	require.NoError(t, err)
	pipe, feed := io.Pipe()
	done := make(chan error, 1)
	go func() {
		_, err := r.AppendUpload(ctx, "library/app", session.ID, nil, pipe)
		done <- err
	}()
	_, err = feed.Write([]byte("abc"))
	require.NoError(t, err)
	h.clock.advance(registry.DefaultUploadExpiry + time.Minute)
	require.NoError(t, r.Sweep(ctx))
	require.NoError(t, feed.Close())
	require.NoError(t, <-done)
	_, err = r.FinishUpload(ctx, "library/app", session.ID, nil, nil, oci.SHA256.FromString("abc"))
	require.NoError(t, err)
}

func TestSweep_removesTheBytesOfASecondPush(t *testing.T) {
	h := newHouse(t)
	r := h.gateway()
	digest := put(t, r, "library/a", "shared")
	put(t, r, "library/b", "shared")
	require.Equal(t, 2, h.files())
	require.NoError(t, r.Sweep(ctx))
	require.Equal(t, 2, h.files(), "a reader may still have the key")
	h.clock.advance(time.Hour)
	require.NoError(t, r.Sweep(ctx))
	assert.Equal(t, 1, h.files())
	assert.Equal(t, "shared", read(t, r, "library/a", digest))
	assert.Equal(t, "shared", read(t, r, "library/b", digest))
}

func TestSweep_removesWhatACrashLeft(t *testing.T) {
	h := newHouse(t)
	r := h.gateway()
	session, err := r.StartUpload(ctx, alice, "library/app", "")
	require.NoError(t, err)
	_, err = r.AppendUpload(ctx, "library/app", session.ID, nil, strings.NewReader("abc"))
	require.NoError(t, err)
	require.NoError(t, h.store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error { return tx.DeleteUpload(ctx, session.ID) }))
	require.NoError(t, r.Sweep(ctx))
	require.Equal(t, 1, h.files(), "it is young")
	h.clock.advance(9 * 24 * time.Hour)
	require.NoError(t, r.Sweep(ctx))
	assert.Zero(t, h.files())
}

func TestPulls_areWrittenInBatches(t *testing.T) {
	h := newHouse(t)
	r := h.gateway()
	artifact(t, r, "library/app", "v1", "x")
	for range 10 {
		r.CountPull(event.Actor{}, "library/app", oci.Reference{Tag: "latest"}, metadata.Manifest{})
	}
	row, err := h.store.Repository(ctx, "library/app")
	require.NoError(t, err)
	assert.Zero(t, row.PullCount)
	require.NoError(t, r.Close())
	row, err = h.store.Repository(ctx, "library/app")
	require.NoError(t, err)
	assert.EqualValues(t, 10, row.PullCount)
	assert.WithinDuration(t, h.clock.Now(), row.LastPulledAt, time.Second)
}

func TestCaches_ofAnotherGatewayAreStaleForAStatedTime(t *testing.T) {
	h := newHouse(t)
	here, there := h.gateway(), h.gateway()
	tag := oci.Reference{Tag: "latest"}
	old := artifact(t, here, "library/app", "latest", "one")
	resolve := func(r *registry.Registry) oci.Digest {
		m, err := r.Manifest(ctx, "library/app", tag)
		require.NoError(t, err)
		return m.Digest
	}
	assert.Equal(t, old, resolve(there))
	moved := artifact(t, here, "library/app", "latest", "two")
	assert.Equal(t, moved, resolve(here))
	assert.Equal(t, old, resolve(there), "within the staleness")
	there.InvalidateTag("library/app", "latest")
	assert.Equal(t, moved, resolve(there))
	again := artifact(t, here, "library/app", "latest", "three")
	h.clock.advance(registry.DefaultStaleness)
	assert.Equal(t, again, resolve(there))

	require.NoError(t, here.DeleteManifest(ctx, alice, "library/app", oci.Reference{Digest: again}))
	_, err := here.Manifest(ctx, "library/app", tag)
	assert.True(t, oci.HasCode(err, oci.CodeManifestUnknown), err)
	h.clock.advance(registry.DefaultStaleness)
	_, err = there.Manifest(ctx, "library/app", tag)
	assert.True(t, oci.HasCode(err, oci.CodeManifestUnknown), err)
}

func TestPulls_readFromMemory(t *testing.T) {
	h := newHouse(t)
	pusher := h.gateway()
	artifact(t, pusher, "library/app", "v1", "x")
	require.NoError(t, pusher.Close()) // it would read the config meanwhile
	r := h.gateway()
	var statements sync.Map
	h.store.Observe(func(ctx context.Context, name string) (context.Context, func(error)) {
		statements.Store(name, true)
		return ctx, func(error) {}
	})
	pull := func() {
		m, err := r.Manifest(ctx, "library/app", oci.Reference{Tag: "v1"})
		require.NoError(t, err)
		_, err = r.Manifest(ctx, "library/app", oci.Reference{Digest: m.Digest})
		require.NoError(t, err)
		read(t, r, "library/app", oci.SHA256.FromString("x"))
		r.CountPull(event.Actor{}, "library/app", oci.Reference{Tag: "latest"}, metadata.Manifest{})
	}
	pull()
	statements.Clear()
	pull()
	statements.Range(func(name, _ any) bool { t.Errorf("a warm pull ran %q", name); return true })
	assert.Positive(t, r.Stats().Manifests.Hits)
}

func TestConcurrentPushesAndDeletes_leaveNoManifestWithoutItsBlobs(t *testing.T) {
	h := newHouse(t)
	r := h.gateway()
	payload := []byte(`{"schemaVersion":2,"config":{"mediaType":"a/b","digest":"` + oci.SHA256.FromString("config").String() + `","size":6},"layers":[]}`)
	digest := oci.SHA256.FromString("config")
	whole := func(ctx context.Context, tx *metadata.Tx) error {
		if _, err := tx.Manifest(ctx, "library/app", oci.SHA256.FromBytes(payload)); err != nil {
			return nil
		}
		_, err := tx.Blob(ctx, "library/app", digest)
		return err
	}
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			for range 25 {
				if _, err := r.PutBlob(ctx, "library/app", digest, bytes.NewReader([]byte("config"))); err != nil {
					t.Error(err)
				}
				pushed, err := r.PutManifest(ctx, alice, registry.Push{
					Repository: "library/app", Reference: oci.Reference{Tag: "t"}, ContentType: oci.MediaTypeImageManifest, Payload: payload,
				})
				if err != nil && !oci.HasCode(err, oci.CodeManifestBlobUnknown) {
					t.Error(err)
				}
				if err := r.DeleteManifest(ctx, alice, "library/app", oci.Reference{Digest: pushed.Digest}); err != nil && !oci.HasCode(err, oci.CodeManifestUnknown) && pushed.Digest != "" {
					t.Error(err)
				}
				if err := r.DeleteBlob(ctx, alice, "library/app", digest); err != nil && !oci.HasCode(err, oci.CodeBlobUnknown) && !oci.HasCode(err, oci.CodeDenied) {
					t.Error(err)
				}
				if err := h.store.Tx(ctx, whole); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
}
