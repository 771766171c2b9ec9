package distribution_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/metadata/postgres"
	"github.com/berth-registry/berth/metadata/postgres/postgrestest"
	"github.com/berth-registry/berth/oci"
)

// newServerOnPostgres also returns a way to the database past the registry.
func newServerOnPostgres(t *testing.T) (*server, *sql.DB) {
	t.Helper()
	url := postgrestest.Migrated(t)
	store, err := postgres.Open(postgres.Options{URL: url}, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	db, err := sql.Open("pgx", url)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return newServerOver(t, nil, nil, store), db
}

func (s *server) setLimit(project string, limit int64) int64 {
	s.t.Helper()
	row, err := s.store.Project(s.t.Context(), project)
	require.NoError(s.t, err)
	require.NoError(s.t, s.store.Tx(s.t.Context(), func(ctx context.Context, tx *metadata.Tx) error { return tx.SetLimit(ctx, row.ID, limit) }))
	return row.ID
}

func (s *server) used(projectID int64) int64 {
	s.t.Helper()
	quota, err := s.store.Quota(s.t.Context(), projectID)
	require.NoError(s.t, err)
	return quota.Used
}

// send is do for goroutines: it returns what went wrong.
func (s *server) send(ctx context.Context, method, path string, body []byte) (int, string, error) {
	request, err := http.NewRequestWithContext(ctx, method, s.url+path, bytes.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	request.Header.Set("Content-Type", oci.MediaTypeImageManifest)
	answer, err := client.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close()
	said, err := io.ReadAll(answer.Body)
	return answer.StatusCode, string(said), err
}

// image is what a test pushes: a manifest and the layers that it links.
type image struct {
	manifest []byte
	layers   [][]byte
}

func newImage(layers ...[]byte) image {
	config := []byte("{}")
	manifest := map[string]any{
		"schemaVersion": 2, "mediaType": oci.MediaTypeImageManifest,
		"config": map[string]any{"mediaType": "application/vnd.oci.image.config.v1+json", "digest": oci.SHA256.FromBytes(config), "size": len(config)},
	}
	var listed []any
	for _, layer := range layers {
		listed = append(listed, map[string]any{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": oci.SHA256.FromBytes(layer), "size": len(layer)})
	}
	manifest["layers"] = listed
	encoded, _ := json.Marshal(manifest)
	return image{encoded, append([][]byte{config}, layers...)}
}

// push pushes an image as a client does, and returns the status of its last request.
func (s *server) push(ctx context.Context, repository string, i image) (int, string, error) {
	for _, layer := range i.layers {
		path := "/v2/" + repository + "/blobs/uploads/?digest=" + oci.SHA256.FromBytes(layer).String()
		if status, said, err := s.send(ctx, "POST", path, layer); err != nil || status != http.StatusCreated {
			return status, said, errors.Join(err, fmt.Errorf("blob: %d %s", status, said))
		}
	}
	return s.send(ctx, "PUT", "/v2/"+repository+"/manifests/"+oci.SHA256.FromBytes(i.manifest).String(), i.manifest)
}

func TestQuota_refusesWhatExceedsIt(t *testing.T) {
	s := newServer(t, nil)
	big, small := newImage(noise(1, 4000)), newImage(noise(2, 100))
	project := s.setLimit("library", 4096)
	status, said, err := s.push(t.Context(), "library/app", big)
	require.NoError(t, err)
	require.Equal(t, http.StatusForbidden, status)
	require.Contains(t, said, `"code":"DENIED"`)
	require.Contains(t, said, `would exceed its limit of 4.0 KiB`)
	s.want(404, s.get("/v2/library/app/manifests/"+oci.SHA256.FromBytes(big.manifest).String()))
	require.Zero(t, s.used(project), "what no manifest links does not count")
	status, _, err = s.push(t.Context(), "secret/app", big)
	require.NoError(t, err)
	require.Equal(t, http.StatusCreated, status, "another project has a quota of its own")

	status, _, err = s.push(t.Context(), "library/app", small)
	require.NoError(t, err)
	require.Equal(t, http.StatusCreated, status)
	want := int64(2 + 100 + len(small.manifest))
	require.Equal(t, want, s.used(project))
	status, _, err = s.push(t.Context(), "library/copy", small)
	require.NoError(t, err)
	require.Equal(t, http.StatusCreated, status)
	require.Equal(t, want, s.used(project), "the same in another repository is counted once")
	s.setLimit("library", want+10)
	s.setLimit("library", want*100/86)
	s.want(202, s.do("DELETE", "/v2/library/copy/manifests/"+oci.SHA256.FromBytes(small.manifest).String(), nil))
	require.Equal(t, want, s.used(project))
	s.want(202, s.do("DELETE", "/v2/library/app/manifests/"+oci.SHA256.FromBytes(small.manifest).String(), nil))
	require.Zero(t, s.used(project))
	for range 2 {
		status, _, err = s.push(t.Context(), "library/app", small)
		require.NoError(t, err)
		require.Equal(t, http.StatusCreated, status)
	}

	events, err := s.store.Events(t.Context(), metadata.EventCursor{}, -1)
	require.NoError(t, err)
	told := map[event.Kind][]string{}
	for _, e := range events {
		if e.Kind == event.QuotaExceeded || e.Kind == event.QuotaWarned {
			require.Equal(t, "alice", e.Actor)
			require.Equal(t, "library", e.Project)
			told[e.Kind] = append(told[e.Kind], e.Subject)
		}
	}
	require.Len(t, told[event.QuotaExceeded], 1)
	require.Contains(t, told[event.QuotaExceeded][0], "would exceed")
	require.Len(t, told[event.QuotaWarned], 1, "once while it stays full")
	require.Contains(t, told[event.QuotaWarned][0], "of the")
}

// TestQuota_concurrentPushes pushes images that share layers from 64 clients at once, which delete some of them again, into a
// project that has room for a part of them only.
func TestQuota_concurrentPushes(t *testing.T) {
	for _, engine := range []string{"sqlite", "postgres"} {
		t.Run(engine, func(t *testing.T) {
			var s *server
			if engine == "sqlite" {
				s = newServer(t, nil)
			} else {
				s, _ = newServerOnPostgres(t)
			}
			concurrentPushes(t, s)
		})
	}
}

func concurrentPushes(t *testing.T, s *server) {
	const clients, each, limit = 64, 3, 130_000
	project := s.setLimit("library", limit)
	shared := [][]byte{noise(1, 5000), noise(2, 7001), noise(3, 3)}
	for i := range 16 {
		for _, layer := range append(shared, []byte("{}")) {
			s.pushBlob(fmt.Sprintf("library/r%d", i), layer)
		}
	}
	ctx := t.Context()
	over, watched := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-over:
				watched <- nil
				return
			case <-time.After(time.Millisecond):
			}
			quota, err := s.store.Quota(ctx, project)
			if err != nil || quota.Used > limit {
				watched <- fmt.Errorf("%d bytes used of %d: %w", quota.Used, limit, err)
				return
			}
		}
	}()
	var refused atomic.Int64
	var mu sync.Mutex
	kept := map[string]image{} // by repository and digest
	var group errgroup.Group
	for i := range clients {
		group.Go(func() error {
			for j := range each {
				repository := fmt.Sprintf("library/r%d", i%16)
				own := noise(uint64(100+i*each+j), 2000+i)
				pushed := newImage(shared[(i+j)%3], shared[i%3], own)
				status, said, err := s.push(ctx, repository, image{pushed.manifest, [][]byte{own}})
				switch {
				case err != nil:
					return err
				case status == http.StatusForbidden && strings.Contains(said, "DENIED"):
					refused.Add(1)
					continue
				case status != http.StatusCreated:
					return fmt.Errorf("push: %d %s", status, said)
				}
				path := "/v2/" + repository + "/manifests/" + oci.SHA256.FromBytes(pushed.manifest).String()
				if (i+j)%3 == 0 {
					if status, said, err := s.send(ctx, "DELETE", path, nil); err != nil || status != http.StatusAccepted {
						return fmt.Errorf("delete: %d %s: %w", status, said, err)
					}
					continue
				}
				mu.Lock()
				kept[path] = pushed
				mu.Unlock()
			}
			return nil
		})
	}
	require.NoError(t, group.Wait())
	close(over)
	require.NoError(t, <-watched)
	require.Positive(t, refused.Load(), "the limit was reached")

	count := func() (total int64) {
		sizes := map[oci.Digest]int{}
		for _, i := range kept {
			sizes[oci.SHA256.FromBytes(i.manifest)] = len(i.manifest)
			for _, layer := range i.layers {
				sizes[oci.SHA256.FromBytes(layer)] = len(layer)
			}
		}
		for _, size := range sizes {
			total += int64(size)
		}
		return total
	}
	require.Equal(t, count(), s.used(project))
	require.LessOrEqual(t, s.used(project), int64(limit))
	for path := range kept {
		s.want(202, s.do("DELETE", path, nil))
		delete(kept, path)
		if len(kept)%16 == 0 {
			require.Equal(t, count(), s.used(project))
		}
	}
	require.Zero(t, s.used(project))
}

// TestQuota_heldPushesHoldUpNobodyElse holds pushes to one project in their transactions, where they count, and pushes to another
// meanwhile.
func TestQuota_heldPushesHoldUpNobodyElse(t *testing.T) {
	s, db := newServerOnPostgres(t)
	project := s.setLimit("library", 1<<30)
	s.setLimit("secret", 1<<30)
	holder, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	_, err = holder.ExecContext(t.Context(), "UPDATE project_usage SET used = used + 1 WHERE project_id = $1", project)
	require.NoError(t, err)
	const held = 8
	var group errgroup.Group
	for i := range held {
		group.Go(func() error {
			status, said, err := s.push(context.WithoutCancel(t.Context()), fmt.Sprintf("library/r%d", i), newImage(noise(uint64(i), 100)))
			if status != http.StatusCreated {
				return fmt.Errorf("held push: %d %s: %w", status, said, err)
			}
			return err
		})
	}
	require.Eventually(t, func() bool {
		var waiting int
		err := db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%project\\_%'").Scan(&waiting)
		return err == nil && waiting == held
	}, time.Minute, 10*time.Millisecond)
	for i := range 5 {
		status, said, err := s.push(t.Context(), "secret/app", newImage(noise(uint64(1000+i), 100)))
		require.NoError(t, err)
		require.Equal(t, http.StatusCreated, status, said)
	}
	require.NoError(t, holder.Rollback())
	require.NoError(t, group.Wait())
}
