package metadatatest

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
)

// Benchmark measures what a push and a pull cost in SQL, and pages of long lists. How long these are is taken from
// BERTH_BENCH_ROWS; the default is small.
func Benchmark(b *testing.B, engine Engine) {
	b.Run("Push/writers=1", func(b *testing.B) { benchmarkPush(b, newFixture(b, engine), 1) })
	b.Run("Push/writers=32", func(b *testing.B) { benchmarkPush(b, newFixture(b, engine), 32) })
	b.Run("Pull", func(b *testing.B) { benchmarkPull(b, newFixture(b, engine)) })
	rows := 10_000
	if set := os.Getenv("BERTH_BENCH_ROWS"); set != "" {
		var err error
		rows, err = strconv.Atoi(set)
		require.NoError(b, err, "BERTH_BENCH_ROWS")
	}
	b.Run(fmt.Sprintf("Tags/rows=%d", rows), func(b *testing.B) { benchmarkTags(b, newFixture(b, engine), rows) })
	b.Run(fmt.Sprintf("Catalog/rows=%d", rows/10), func(b *testing.B) { benchmarkCatalog(b, newFixture(b, engine), rows/10) })
	b.Run(fmt.Sprintf("Audit/rows=%d", rows), func(b *testing.B) { benchmarkAudit(b, newFixture(b, engine), rows) })
	b.Run(fmt.Sprintf("Referrers/rows=%d", rows/10), func(b *testing.B) { benchmarkReferrers(b, newFixture(b, engine), rows/10) })
}

// benchmarkAudit reads pages of an audit log: the cost of a page must not grow with the log.
func benchmarkAudit(b *testing.B, f fixture, rows int) {
	// One entry in ten is of a project, one in a thousand a deletion, one in ten thousand of one user.
	f.fill(b, rows, `INSERT INTO audit_entries (`+auditFill+`)
		SELECT numbers.i, CASE WHEN numbers.i %% 10 = 0 THEN 1 ELSE 2 END, CASE WHEN numbers.i %% 1000 = 0 THEN 'delete' ELSE 'pull' END, 'artifact',
			'library/app' || (numbers.i %% 5000) || ':v1', 'user' || (numbers.i %% 10000), 'token', '192.0.2.1', '', 'pull artifact', TRUE,
			1700000000000000 + CAST(numbers.i AS BIGINT) * 1000000 FROM %s`)
	for _, project := range []string{"0", "project_id"} {
		f.fill(b, 1, `INSERT INTO audit_buckets (project_id, bucket, entries, first_at, last_at)
			SELECT `+project+`, id / 4096, COUNT(*), MIN(occurred_at), MAX(occurred_at) FROM audit_entries CROSS JOIN %s GROUP BY 1, 2`)
	}
	middle := time.UnixMicro(1700000000000000 + int64(rows)/2*1000000)
	for _, page := range []struct {
		name  string
		query metadata.AuditQuery
	}{
		{"first", metadata.AuditQuery{}},
		{"middle", metadata.AuditQuery{Offset: int64(rows) / 2}},
		{"last", metadata.AuditQuery{Offset: int64(rows) - 100}},
		{"project/first", metadata.AuditQuery{Projects: []int64{1}}},
		{"project/middle", metadata.AuditQuery{Projects: []int64{1}, Offset: int64(rows) / 20}},
		{"user", metadata.AuditQuery{Conditions: []metadata.Condition{is("username", "user77")}}},
		{"operation", metadata.AuditQuery{Conditions: []metadata.Condition{is("operation", "delete"), is("resource_type", "artifact")}}},
		{"resource", metadata.AuditQuery{Conditions: []metadata.Condition{is("resource", "library/app77:v1")}}},
		{"time", metadata.AuditQuery{Conditions: []metadata.Condition{{Field: "op_time", Comparison: metadata.Between, Values: []any{middle, middle.Add(time.Hour)}}}}},
		{"part", metadata.AuditQuery{Conditions: []metadata.Condition{{Field: "resource", Comparison: metadata.Contains, Values: []any{"absent"}}}}},
	} {
		b.Run(page.name, func(b *testing.B) {
			page.query.Limit = 100
			for b.Loop() {
				entries, total, err := f.AuditEntries(b.Context(), page.query)
				require.NoError(b, err)
				require.Equal(b, page.name == "part", len(entries) == 0)
				require.Equal(b, page.name == "part", total == 0)
			}
		})
	}
	b.Run("write", func(b *testing.B) {
		id := int64(rows)
		for b.Loop() {
			entries := make([]metadata.AuditEntry, 500)
			for i := range entries {
				id++
				entries[i] = metadata.AuditEntry{ID: id, ProjectID: id % 10, Operation: "pull", ResourceType: "artifact", Resource: "library/app:v1", Username: "alice", At: time.Now()}
			}
			f.write(b, func(ctx context.Context, tx *metadata.Tx) error { return tx.InsertAuditEntries(ctx, entries) })
		}
	})
}

// auditFill are the columns that are filled.
const auditFill = `id, project_id, operation, resource_type, resource, username, credential, address, request_id, description, succeeded, occurred_at`

// benchmarkPush writes what pushing an image of a config and two layers writes when its last request comes in.
func benchmarkPush(b *testing.B, f fixture, writers int) {
	blobs := []metadata.Blob{f.putBlob(b, f.repository), f.putBlob(b, f.repository), f.putBlob(b, f.repository)}
	var pushed atomic.Int64
	// GOMAXPROCS goroutines times the factor.
	b.SetParallelism(max(1, writers/runtime.GOMAXPROCS(0)))
	push := func() error {
		m, tag := newManifest(f.repository, blobs...), fmt.Sprintf("t%d", pushed.Add(1)%1000)
		return f.Tx(b.Context(), func(ctx context.Context, tx *metadata.Tx) error {
			if _, err := tx.KeepRepository(ctx, f.repository.Name, []string{tag}); err != nil {
				return err
			}
			_, added, err := tx.PutManifest(ctx, m)
			if err != nil {
				return err
			}
			if _, err := tx.AddUsage(ctx, f.project.ID, added, true); err != nil {
				return err
			}
			if _, err := tx.PutTag(ctx, f.repository.ID, tag, m.Digest, time.Now()); err != nil {
				return err
			}
			return tx.AppendEvent(ctx, event.Event{Kind: event.ManifestPushed, Repository: "library/app", Digest: string(m.Digest)})
		})
	}
	if writers == 1 {
		for b.Loop() {
			require.NoError(b, push())
		}
		return
	}
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := push(); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

func benchmarkPull(b *testing.B, f fixture) {
	m := newManifest(f.repository, f.putBlob(b, f.repository))
	f.putManifest(b, m)
	f.write(b, func(ctx context.Context, tx *metadata.Tx) error {
		_, err := tx.PutTag(ctx, f.repository.ID, "latest", m.Digest, time.Now())
		return err
	})
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			d, err := f.Tag(b.Context(), "library/app", "latest")
			if err == nil {
				_, err = f.Manifest(b.Context(), "library/app", d)
			}
			if err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// fill writes rows past the store, since a million transactions are not what is measured. The text selects from numbers(i).
func (f fixture) fill(b *testing.B, rows int, text string) {
	b.Helper()
	_, err := f.database.DB.ExecContext(b.Context(), fmt.Sprintf(text, fmt.Sprintf(
		"(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) SELECT i FROM n) AS numbers", rows)))
	require.NoError(b, err)
	_, err = f.database.DB.ExecContext(b.Context(), "ANALYZE")
	require.NoError(b, err)
}

func benchmarkTags(b *testing.B, f fixture, rows int) {
	m := newManifest(f.repository)
	f.putManifest(b, m)
	f.fill(b, rows, `INSERT INTO tags (repository_id, name, manifest_id, created_at, updated_at)
		SELECT r.id, 'v' || (numbers.i + 10000000), m.id, 0, 0 FROM repositories r JOIN manifests m ON m.repository_id = r.id CROSS JOIN %s`)
	last := fmt.Sprintf("v%d", 10000000+rows/2)
	for b.Loop() {
		page, err := f.Tags(b.Context(), "library/app", last, 100)
		require.NoError(b, err)
		require.Len(b, page, 100)
	}
}

// benchmarkCatalog lists for somebody who may see one project of a hundred repositories in the midst of all others.
func benchmarkCatalog(b *testing.B, f fixture, rows int) {
	f.addRepository(b, "aaa/x", false)
	f.addRepository(b, "seen/x", true)
	f.fill(b, rows, `INSERT INTO repositories (project_id, name, created_at, updated_at)
		SELECT p.id, p.name || '/r' || (numbers.i + 10000000), 0, 0 FROM projects p CROSS JOIN %s WHERE p.name <> 'seen'`)
	f.fill(b, 200, `INSERT INTO repositories (project_id, name, created_at, updated_at)
		SELECT p.id, p.name || '/r' || (numbers.i + 10000000), 0, 0 FROM projects p CROSS JOIN %s WHERE p.name = 'seen'`)
	for _, viewer := range []struct {
		name       string
		visibility metadata.Visibility
		last       string
	}{{"administrator", metadata.Visibility{All: true}, "library/r"}, {"anonymous", metadata.Visibility{}, ""}} {
		b.Run(viewer.name, func(b *testing.B) {
			for b.Loop() {
				page, err := f.Catalog(b.Context(), viewer.visibility, viewer.last, 100)
				require.NoError(b, err)
				require.Len(b, page, 100)
			}
		})
	}
}

func benchmarkReferrers(b *testing.B, f fixture, rows int) {
	subject := digest.FromString("subject")
	f.fill(b, rows, `INSERT INTO manifests (repository_id, digest, media_type, artifact_type, subject, size, created_at, payload)
		SELECT r.id, 'sha256:' || (numbers.i + 10000000), '`+oci.MediaTypeImageManifest+`', 'type' || (numbers.i %% 100), '`+subject.String()+`', 1, 0, ''
		FROM repositories r CROSS JOIN %s`)
	for _, artifactType := range []string{"", "type7"} {
		b.Run("type="+artifactType, func(b *testing.B) {
			for b.Loop() {
				page, err := f.Referrers(b.Context(), "library/app", subject, artifactType, "", 10)
				require.NoError(b, err)
				require.Len(b, page, 10)
			}
		})
	}
}
