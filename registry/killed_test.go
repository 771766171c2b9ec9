package registry_test

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/jobs"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/metadata/postgres"
	"github.com/berth-registry/berth/metadata/postgres/postgrestest"
	"github.com/berth-registry/berth/registry"
	"github.com/berth-registry/berth/storage/s3/s3server"
)

const (
	collectorArgument = "collector-that-is-killed"
	// killedLease is short, so that the work of the dead is soon taken over.
	killedLease = time.Second
)

// collectorThatIsKilled is another process that collects garbage and sweeps. When it is about to do a statement for the given time, it says so and
// waits to be killed.
func collectorThatIsKilled(url, place, statement, times string) {
	quiet := slog.New(slog.DiscardHandler)
	left, err := strconv.Atoi(times)
	if err != nil {
		panic(err)
	}
	store, err := postgres.Open(postgres.Options{URL: url}, quiet)
	if err != nil {
		panic(err)
	}
	store.Observe(func(ctx context.Context, name string) (context.Context, func(error)) {
		if name == statement {
			if left--; left == 0 {
				fmt.Println("there")
				select {}
			}
		}
		return ctx, func(error) {}
	})
	backend, err := openStorage(place)
	if err != nil {
		panic(err)
	}
	r := registry.New(registry.Options{
		Metadata: store, Storage: backend, Logger: quiet, FlushInterval: time.Hour, SweepInterval: 10 * time.Millisecond, TombstoneGrace: time.Nanosecond,
	})
	work := jobs.New(jobs.Options{Store: store, Logger: quiet, Lease: killedLease, Kinds: []jobs.Kind{registry.Collecting(r, everything)}})
	if _, err := work.Submit(ctx, jobs.Submission{Kind: registry.CollectionKind, Cause: jobs.CauseManual, Parameters: registry.CollectionParameters{}}); err != nil {
		panic(err)
	}
	select {}
}

// kill is where a gateway dies.
type kill struct {
	statement string
	times     int
	// ended says that the collection itself had, and the bytes were being deleted.
	ended bool
}

// TestCollecting_killed kills a gateway with kill -9 in the middle of a collection, which another takes over: what is needed stays, and
// of what is not no byte is left, in a directory as in a bucket.
func TestCollecting_killed(t *testing.T) {
	t.Run("directory", func(t *testing.T) {
		t.Parallel() // it waits for the disk and for the end of leases
		killCollectors(t, func(*house) {}, kill{"unlink blobs", 2, false}, kill{"delete blobs", 1, false}, kill{"add tombstones", 2, false}, kill{"delete tombstones", 1, true})
	})
	t.Run("s3", func(t *testing.T) {
		t.Parallel()
		killCollectors(t, func(h *house) {
			require.NoError(t, os.Mkdir(h.place, 0o700))
			h.place = s3server.StartVersityGW(t, s3server.WithData(h.place)).Endpoint
			h.bytes = filepath.Join(h.bytes, s3server.Bucket)
		}, kill{"add tombstones", 2, false}, kill{"delete tombstones", 1, true})
	})
}

func killCollectors(t *testing.T, move func(*house), kills ...kill) {
	url := postgrestest.Migrated(t)
	store, err := postgres.Open(postgres.Options{URL: url}, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	h := newHouseOn(t, store)
	move(h)
	r := h.gateway()
	needed := artifact(t, r, "library/a", "v1", "needed")
	program, err := os.Executable()
	require.NoError(t, err)
	for round, at := range kills {
		for i := range 105 { // more than one transaction answers
			put(t, r, "library/a", fmt.Sprint("unused ", round, i))
		}
		doomed := artifact(t, r, "library/a", "doomed", fmt.Sprint("doomed ", round))
		remove(t, r, "library/a", doomed)

		process := exec.Command(program, collectorArgument, url, h.place, at.statement, strconv.Itoa(at.times))
		process.Stderr = os.Stderr
		output, err := process.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, process.Start())
		there := bufio.NewScanner(output).Scan()
		require.NoError(t, process.Process.Kill())
		_ = process.Wait() // it was killed
		require.True(t, there)

		executions, _, err := store.Executions(t.Context(), registry.CollectionKind, metadata.Query{Limit: 1})
		require.NoError(t, err)
		require.Len(t, executions, 1)
		if !at.ended {
			require.False(t, executions[0].Ended())
			require.Greater(t, h.files(), 1)
		}
		h.clock.advance(time.Hour) // it stood still meanwhile
		work := jobs.New(jobs.Options{
			Store: store, Logger: slog.New(slog.DiscardHandler), Lease: killedLease, Poll: 10 * time.Millisecond, Kinds: []jobs.Kind{registry.Collecting(r, everything)},
		})
		require.Eventually(t, func() bool {
			execution, err := store.Execution(t.Context(), executions[0].ID)
			return err == nil && execution.Status == metadata.StatusSuccess
		}, time.Minute, 10*time.Millisecond, "nobody took it over")
		require.NoError(t, work.Close())

		require.Contains(t, h.work(r, registry.VerificationKind, registry.VerificationParameters{Digests: true}), "compared 1 blobs of 6 B: 0 missing, 0 wrong; 0 unknown objects")
		h.clock.advance(time.Hour)
		require.NoError(t, r.Sweep(t.Context()))
		require.Equal(t, 1, h.files(), "of %v bytes are left, or what is needed is gone", at)
		usage, err := store.StorageUsage(t.Context())
		require.NoError(t, err)
		require.Equal(t, metadata.StorageUsage{Blobs: 1, Bytes: 6}, usage)
	}
	remove(t, r, "library/a", needed)
	require.Equal(t, int64(1), h.collect(r).Blobs)
	require.Zero(t, h.files())
}

// TestCollecting_stopped stops a collection after it has taken blobs out of their repository and before it frees them; the next goes on.
func TestCollecting_stopped(t *testing.T) {
	h := newHouse(t)
	reached, stopped := make(chan struct{}), make(chan struct{})
	pages := 0
	h.store.Observe(func(ctx context.Context, name string) (context.Context, func(error)) {
		if name == "blob reviews" {
			if pages++; pages == 2 {
				close(reached)
				<-stopped
			}
		}
		return ctx, func(error) {}
	})
	r := h.gateway()
	for i := range 120 {
		put(t, r, "library/a", fmt.Sprint("unused ", i))
	}
	artifact(t, r, "library/a", "v1", "needed")
	work := jobs.New(jobs.Options{Store: h.store, Logger: slog.New(slog.DiscardHandler), Poll: 10 * time.Millisecond, Kinds: []jobs.Kind{registry.Collecting(r, everything)}})
	execution, err := work.Submit(ctx, jobs.Submission{Kind: registry.CollectionKind, Cause: jobs.CauseManual, Parameters: registry.CollectionParameters{}})
	require.NoError(t, err)
	<-reached
	require.NoError(t, work.Stop(ctx, execution.ID, func(context.Context, *metadata.Tx) error { return nil }))
	close(stopped)
	require.Eventually(t, func() bool {
		execution, err = h.store.Execution(ctx, execution.ID)
		return err == nil && execution.Ended()
	}, time.Minute, 10*time.Millisecond)
	require.Equal(t, metadata.StatusStopped, execution.Status)
	require.NoError(t, work.Close())
	h.clock.advance(time.Hour)
	require.NoError(t, r.Sweep(ctx))
	require.Equal(t, 121, h.files(), "none was free yet")

	require.Contains(t, h.run(r, registry.CollectionParameters{DryRun: true}), "would free 120")
	require.NoError(t, r.Sweep(ctx))
	require.Equal(t, 121, h.files(), "a dry run deletes nothing")
	require.Contains(t, h.run(r, registry.CollectionParameters{}), "freed 120")
	h.clock.advance(time.Hour)
	require.NoError(t, r.Sweep(ctx))
	require.Equal(t, 1, h.files())
}
