package distribution_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/metadata/postgres"
	"github.com/berth-registry/berth/metadata/postgres/postgrestest"
	"github.com/berth-registry/berth/oci"
)

// holder keeps a transaction that has run a statement from going on.
type holder struct {
	armed         atomic.Bool
	held, release chan struct{}
}

func (h *holder) observe(ctx context.Context, name string) (context.Context, func(error)) {
	return ctx, func(error) {
		if name == "add usage" && h.armed.CompareAndSwap(true, false) {
			close(h.held)
			<-h.release
		}
	}
}

// TestPush_waitsForNoOther holds a push just before it is committed, and lets others come to their end meanwhile: none but one that
// moves the same tag waits for it.
func TestPush_waitsForNoOther(t *testing.T) {
	url := postgrestest.Start(t)
	store, err := postgres.Open(postgres.Options{URL: url}, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	hold := &holder{held: make(chan struct{}), release: make(chan struct{})}
	store.Observe(hold.observe)
	require.NoError(t, store.Migrate(t.Context()))
	db, err := sql.Open("pgx", url)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	s := newServerOver(t, nil, nil, store)
	s.setLimit("library", 1<<30)

	base := noise(1, 1000)
	first := newImage(base)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	push := func(repository, reference string, i image) (int, error) {
		for _, layer := range i.layers {
			path := "/v2/" + repository + "/blobs/uploads/?digest=" + oci.SHA256.FromBytes(layer).String()
			if status, _, err := s.send(ctx, "POST", path, layer); err != nil || status != http.StatusCreated {
				return status, err
			}
		}
		status, _, err := s.send(ctx, "PUT", "/v2/"+repository+"/manifests/"+reference, i.manifest)
		return status, err
	}
	pushed := func(repository, reference string, i image) {
		t.Helper()
		status, err := push(repository, reference, i)
		require.NoError(t, err, "%s:%s waits for the push that is held", repository, reference)
		require.Equal(t, http.StatusCreated, status)
	}
	pushed("library/app", "first", first)
	pushed("library/other", "first", first)

	var all sync.WaitGroup
	var once sync.Once
	release := func() { once.Do(func() { close(hold.release) }) }
	defer all.Wait()
	defer release()
	hold.armed.Store(true)
	all.Go(func() {
		status, err := push("library/app", "held", newImage(base, noise(2, 100)))
		require.NoError(t, err)
		require.Equal(t, http.StatusCreated, status)
	})
	select {
	case <-hold.held:
	case <-ctx.Done():
		t.Fatal("no push has come to be held")
	}

	for i := range uint64(4) {
		pushed("library/app", "v"+string('0'+rune(i)), newImage(base, noise(10+i, 100)))
	}
	pushed("library/app", "first", newImage(base, noise(20, 100)))
	index, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": oci.MediaTypeImageIndex,
		"manifests": []any{map[string]any{"mediaType": oci.MediaTypeImageManifest, "digest": oci.SHA256.FromBytes(first.manifest), "size": len(first.manifest)}},
	})
	require.NoError(t, err)
	answered := make(chan response, 1)
	all.Go(func() {
		answered <- s.do("PUT", "/v2/library/app/manifests/index", bytes.NewReader(index), "Content-Type: "+oci.MediaTypeImageIndex)
	})
	select {
	case answer := <-answered:
		s.want(http.StatusCreated, answer)
	case <-ctx.Done():
		t.Fatal("an index waits for the push that is held")
	}
	pushed("library/other", "second", newImage(base, noise(30, 100)))
	pushed("library/new", "first", newImage(base, noise(31, 100)))
	pushed("secret/app", "first", newImage(base, noise(32, 100)))

	// What is committed is counted, before and after the counts are added up.
	counted := func(want int) {
		t.Helper()
		for range 2 {
			repository, err := store.Repository(ctx, "library/app")
			require.NoError(t, err)
			require.EqualValues(t, want, repository.ArtifactCount)
			_, total, err := store.ListArtifacts(ctx, metadata.Collection{RepositoryID: repository.ID}, metadata.Query{Limit: 1})
			require.NoError(t, err)
			require.EqualValues(t, want, total)
			require.NoError(t, store.FoldCounts(ctx))
		}
		var fresh int
		require.NoError(t, db.QueryRowContext(ctx, `SELECT COUNT(*) FROM list_counts WHERE fresh`).Scan(&fresh))
		require.Zero(t, fresh)
	}
	counted(6)

	all.Go(func() {
		status, err := push("library/app", "held", newImage(base, noise(40, 100)))
		require.NoError(t, err)
		require.Equal(t, http.StatusCreated, status)
	})
	require.Eventually(t, func() bool {
		var waiting int
		require.NoError(t, db.QueryRowContext(ctx, `SELECT COUNT(*) FROM pg_locks WHERE NOT granted`).Scan(&waiting))
		return waiting > 0
	}, time.Minute, 5*time.Millisecond, "who moves the same tag waits")
	release()
	all.Wait()
	counted(8)
}
