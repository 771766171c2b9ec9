package e2e_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/e2e/harness"
	"github.com/berth-registry/berth/replicate/remote/remotetest"
)

// TestReload_transfersGoOn reloads the configuration while a push and a pull are half way: with the same storage, with other
// settings for it, and with another storage altogether. Both transfers finish byte-exact, and nothing of what was replaced stays
// open.
func TestReload_transfersGoOn(t *testing.T) {
	const gib = 1 << 30
	of := func(seed uint64, size int64) pushing {
		digest, _, err := harness.DigestOf(harness.Content(seed, size))
		require.NoError(t, err)
		return pushing{seed, size, digest}
	}
	old, same, changed, elsewhere := of(20, gib), of(21, gib), of(22, gib), of(23, gib/4)
	onEachStack(t, func(t *testing.T, stack *harness.Stack) {
		gateway := harness.Start(t, stack)
		require.NoError(t, gateway.Admin().PushBlob(t.Context(), "library/reload", old.digest, old.size, old.content()))

		// What each pushes the next one pulls, and so shows that it was stored whole.
		t.Run("same storage", func(t *testing.T) {
			gateway.Write(stack.Block + "\ntoken_lifetime 11m")
			duringTransfers(t, gateway, same, old, (*harness.Client).PushBlob)
		})
		t.Run("other settings", func(t *testing.T) {
			gateway.Write(stack.OtherSettings())
			duringTransfers(t, gateway, changed, same, (*harness.Client).PushBlob)
		})
		t.Run("other storage", func(t *testing.T) {
			gateway.Write(stack.OtherStorage())
			// One request carries the bytes: what is begun in one storage is not continued in another.
			duringTransfers(t, gateway, elsewhere, changed, (*harness.Client).PushBlobAtOnce)
			if stack.S3 == nil {
				require.Eventually(t, func() bool { return len(gateway.OpenFiles(filepath.Join(stack.Directory, "storage"))) == 0 },
					30*time.Second, 100*time.Millisecond, "files of the old storage stay open")
			}
			// What is pushed now goes to the new storage, and comes from there.
			image := harness.NewImage(24, 1<<20)
			require.NoError(t, gateway.Admin().Push(t.Context(), "library/reload", "new", image))
			require.NoError(t, gateway.Admin().CheckPull(t.Context(), "library/reload", "new", image))
			// What was pushed through the old one is in the old one.
			gateway.Write(stack.Block)
			require.NoError(t, gateway.Reload())
			got, length, err := gateway.Admin().PullBlob(t.Context(), "library/reload", elsewhere.digest)
			require.NoError(t, err)
			require.Equal(t, elsewhere.digest, got)
			require.Equal(t, elsewhere.size, length)
		})
		t.Run("tasks", func(t *testing.T) {
			gateway.Write(stack.Block + "\ntoken_lifetime 12m")
			duringTasks(t, gateway)
		})
	})
}

// duringTasks reloads while as many tasks as one gateway does at a time are in the middle and others wait: the workers of the new
// configuration go on with all of them, and each is done once.
func duringTasks(t *testing.T, gateway *harness.Gateway) {
	t.Helper()
	const tasks, running = 20, 4
	reference, err := url.Parse("http://" + remotetest.Distribution(t))
	require.NoError(t, err)
	through := httputil.NewSingleHostReverseProxy(reference)
	arrived, reloaded := make(chan struct{}, 2*tasks), make(chan struct{})
	var mu sync.Mutex
	came, put := 0, map[string]int{}
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPut || !strings.HasSuffix(r.URL.Path, "/manifests/v1") {
			through.ServeHTTP(w, r)
			return
		}
		mu.Lock()
		came++
		last := came <= running // those whose workers end with the old configuration
		if !last {
			put[r.URL.Path]++
		}
		mu.Unlock()
		arrived <- struct{}{}
		<-reloaded
		if last {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		through.ServeHTTP(w, r)
	}))
	defer elsewhere.Close()
	release := sync.OnceFunc(func() { close(reloaded) })
	defer release()
	await := func() {
		for range running {
			select {
			case <-arrived:
			case <-time.After(2 * time.Minute):
				require.FailNow(t, "nobody does the tasks")
			}
		}
	}
	for n := range tasks {
		require.NoError(t, gateway.Admin().Push(t.Context(), fmt.Sprint("library/task-", n), "v1", harness.NewImage(30, 1000)))
	}
	r := replicating{t, gateway}
	policy := r.policy("tasks", map[string]any{
		"dest_registry": r.registry("elsewhere", "docker-registry", elsewhere.URL, nil), "filters": []any{filter("name", "library/task-*")},
	})
	execution := idOf(t, r.call(http.MethodPost, "/replication/executions", http.StatusCreated, map[string]any{"policy_id": policy}, nil))
	await()
	require.NoError(t, gateway.Reload())
	await() // while nothing that ran before has ended
	release()
	done := r.await(execution, "Succeed")
	require.Equal(t, tasks, done.Succeed)
	for _, task := range done.tasks {
		var of struct{ Attempts int }
		r.call(http.MethodGet, fmt.Sprint("/jobservice/jobs/", task.ID), http.StatusOK, nil, &of)
		require.Equal(t, 1, of.Attempts, "what is handed over does not count")
	}
	require.Len(t, put, tasks)
	for path, times := range put {
		require.Equal(t, 1, times, path)
	}
}

// pushing is a blob to be pushed.
type pushing struct {
	seed   uint64
	size   int64
	digest string
}

func (p pushing) content() io.Reader { return harness.Content(p.seed, p.size) }

type push func(c *harness.Client, ctx context.Context, repository, digest string, size int64, content io.Reader) error

// duringTransfers reloads while a push of a blob and a pull of an old one are half way, and lets them finish.
func duringTransfers(t *testing.T, gateway *harness.Gateway, blob, old pushing, send push) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()

	reloaded := make(chan struct{})
	pushed := &gate{Reader: blob.content(), left: blob.size / 2, open: reloaded, reached: make(chan struct{})}
	var transfers sync.WaitGroup
	var pushErr error
	transfers.Go(func() {
		pushErr = send(gateway.Admin(), ctx, "library/reload", blob.digest, blob.size, pushed)
		pushed.arrive()
	})

	response, err := gateway.Admin().Do(ctx, http.MethodGet, "/v2/library/reload/blobs/"+old.digest, nil, nil, http.StatusOK)
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	require.Equal(t, old.size, response.ContentLength)
	pull := &gate{Reader: response.Body, left: old.size / 2, open: reloaded, reached: make(chan struct{})}
	var pulled string
	var pullErr error
	transfers.Go(func() {
		pulled, _, pullErr = harness.DigestOf(pull)
		pull.arrive()
	})

	<-pushed.reached
	<-pull.reached
	err = gateway.Reload()
	close(reloaded)
	transfers.Wait()
	require.NoError(t, err)
	require.NoError(t, pushErr)
	require.NoError(t, pullErr)
	require.Equal(t, old.digest, pulled)
}

// gate is a reader that stops after some bytes until it is opened.
type gate struct {
	io.Reader
	left    int64
	open    <-chan struct{}
	reached chan struct{}
	once    sync.Once
}

func (g *gate) arrive() { g.once.Do(func() { close(g.reached) }) }

// Read reads on once the gate is open.
func (g *gate) Read(into []byte) (int, error) {
	if g.left <= 0 {
		g.arrive()
		<-g.open
	}
	n, err := g.Reader.Read(into)
	g.left -= int64(n)
	return n, err
}

// TestReload_wrongConfigurationChangesNothing: the old configuration goes on, and the message names the line.
func TestReload_wrongConfigurationChangesNothing(t *testing.T) {
	stack := harness.Directory(t)
	gateway := harness.Start(t, stack)
	image := harness.NewImage(24, 1000)
	require.NoError(t, gateway.Admin().Push(t.Context(), "library/wrong", "v1", image))
	for block, complaint := range map[string]string{
		stack.Block + "\nstorrage filesystem":                                "storrage",
		strings.Replace(stack.Block, "storage filesystem", "storage nfs", 1): "nfs",
	} {
		gateway.Write(block)
		err := gateway.Reload()
		require.ErrorContains(t, err, complaint)
		require.ErrorContains(t, err, "Caddyfile:")
	}
	require.NoError(t, gateway.Admin().CheckPull(t.Context(), "library/wrong", "v1", image))
}

// TestShutdown_cutUploadResumes stops a gateway whose grace period is shorter than an upload; the next start continues it from
// what had been stored.
func TestShutdown_cutUploadResumes(t *testing.T) {
	onEachStack(t, func(t *testing.T, stack *harness.Stack) {
		const size = 24 << 20
		stack.Grace = time.Second
		gateway := harness.Start(t, stack)
		client := gateway.Admin()
		digest, _, err := harness.DigestOf(harness.Content(25, size))
		require.NoError(t, err)
		location, err := client.StartUpload(t.Context(), "library/cut")
		require.NoError(t, err)
		never := make(chan struct{})
		body := &gate{Reader: harness.Content(25, size), left: size / 2, open: never, reached: make(chan struct{})}
		patched := make(chan error, 1)
		go func() {
			_, _, err := client.Patch(t.Context(), location, 0, -1, body)
			patched <- err
		}()
		<-body.reached
		gateway.Stop()
		close(never)
		require.Error(t, <-patched)

		gateway.Launch()
		client = gateway.Admin()
		next, offset, err := client.UploadStatus(t.Context(), location)
		require.NoError(t, err)
		require.GreaterOrEqual(t, offset, int64(size/2)-(1<<20), "what the gateway had taken when it was cut off counts")
		rest := harness.Content(25, size)
		_, err = io.CopyN(io.Discard, rest, offset)
		require.NoError(t, err)
		next, _, err = client.Patch(t.Context(), next, offset, size-offset, rest)
		require.NoError(t, err)
		require.NoError(t, client.FinishUpload(t.Context(), next, digest))
		got, _, err := client.PullBlob(t.Context(), "library/cut", digest)
		require.NoError(t, err)
		require.Equal(t, digest, got)
	})
}

// TestShutdown_waitsForTransfers stops a gateway in the middle of an upload that ends within the grace period.
func TestShutdown_waitsForTransfers(t *testing.T) {
	stack := harness.Directory(t)
	gateway := harness.Start(t, stack)
	client := gateway.Admin()
	const size = 8 << 20
	digest, _, err := harness.DigestOf(harness.Content(26, size))
	require.NoError(t, err)
	location, err := client.StartUpload(t.Context(), "library/grace")
	require.NoError(t, err)
	stopping := make(chan struct{})
	body := &gate{Reader: harness.Content(26, size), left: size / 2, open: stopping, reached: make(chan struct{})}
	finished := make(chan error, 1)
	go func() { finished <- client.FinishUploadWith(t.Context(), location, digest, body) }()
	<-body.reached
	stopped := make(chan struct{})
	go func() {
		gateway.Stop()
		close(stopped)
	}()
	require.Eventually(t, func() bool {
		_, err := gateway.HTTP().Get(gateway.URL() + "/v2/")
		return err != nil
	}, 20*time.Second, 20*time.Millisecond, "new connections are taken while stopping")
	close(stopping)
	require.NoError(t, <-finished)
	<-stopped

	gateway.Launch()
	got, _, err := gateway.Admin().PullBlob(t.Context(), "library/grace", digest)
	require.NoError(t, err)
	require.Equal(t, digest, got)
}
