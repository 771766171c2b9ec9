package audit_test

import (
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/event/follow"
	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/metadata/postgres/postgrestest"
	"github.com/berth-registry/berth/metadata/sqlite/sqlitetest"
	"github.com/berth-registry/berth/notify/audit"
	"github.com/berth-registry/berth/secret"
	"github.com/berth-registry/berth/setting"
)

var (
	quiet  = slog.New(slog.DiscardHandler)
	admin  = event.Actor{Name: "admin", Credential: "basic", Address: "192.0.2.1", RequestID: "r1"}
	remote = "tcp://127.0.0.1:1"
)

// collected is a forwarder that keeps what it is given.
type collected struct {
	mu      sync.Mutex
	entries []metadata.AuditEntry
	err     error
}

func (c *collected) Forward(_ context.Context, entries []metadata.AuditEntry) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entries = append(c.entries, entries...)
	return c.err
}

type fixture struct {
	*metadata.Store
	settings *setting.Settings
	sent     *collected
}

func eachEngine(t *testing.T, test func(t *testing.T, f fixture)) {
	t.Run("sqlite", func(t *testing.T) { test(t, newFixture(t, newStore(t))) })
	t.Run("postgres", func(t *testing.T) {
		test(t, newFixture(t, postgrestest.Open(t)))
	})
}

func newStore(t *testing.T) *metadata.Store {
	t.Helper()
	return sqlitetest.Open(t)
}

func newFixture(t *testing.T, store *metadata.Store) fixture {
	t.Helper()
	box, err := secret.New([]byte(strings.Repeat("k", secret.MinKeyLength)))
	require.NoError(t, err)
	f := fixture{Store: store, settings: setting.New(setting.Options{Store: store, Box: box}), sent: &collected{}}
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
		_, err := tx.CreateProject(ctx, metadata.Project{Name: "library"})
		return err
	})
	return f
}

func (f fixture) write(t *testing.T, fn func(ctx context.Context, tx *metadata.Tx) error) {
	t.Helper()
	require.NoError(t, f.Tx(t.Context(), fn))
}

func (f fixture) append(t *testing.T, events ...event.Event) {
	t.Helper()
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error { return tx.AppendEvents(ctx, events) })
}

// follow runs a follower, as one gateway does, until the returned function is called.
func (f fixture) follow(t *testing.T) (stop func()) {
	t.Helper()
	follower := follow.New(follow.Options{
		Store: f.Store, Name: audit.Follower, Handle: audit.New(f.settings, f.sent).Handle, Logger: quiet,
		Lease: 200 * time.Millisecond, Poll: 5 * time.Millisecond, Batch: 7,
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		follower.Run(ctx)
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		<-done
	})
	t.Cleanup(stop)
	return stop
}

func (f fixture) entries(t *testing.T) []metadata.AuditEntry {
	t.Helper()
	entries, _, err := f.AuditEntries(t.Context(), metadata.AuditQuery{Ascending: true, Limit: -1})
	require.NoError(t, err)
	return entries
}

func (f fixture) waitFor(t *testing.T, n int) []metadata.AuditEntry {
	t.Helper()
	require.Eventually(t, func() bool { return len(f.entries(t)) >= n }, time.Minute, 5*time.Millisecond)
	entries := f.entries(t)
	require.Len(t, entries, n)
	return entries
}

func TestLog_saysWhoDidWhatFromWhereWithWhatResult(t *testing.T) {
	eachEngine(t, func(t *testing.T, f fixture) {
		f.follow(t)
		pushed := admin.Event(event.ManifestPushed)
		pushed.Project, pushed.Repository, pushed.Tag, pushed.Digest = "library", "library/app", "v1", "sha256:x"
		refused := admin.Event(event.Refused)
		refused.Attempt, refused.Project, refused.Repository = event.ManifestDeleted, "library", "library/app"
		f.append(t, pushed, refused, event.Actor{Name: "eve"}.Event(event.LoginFailed), event.Event{Kind: "plan_made", Subject: "x"})
		entries := f.waitFor(t, 4)
		project, err := f.Project(t.Context(), "library")
		require.NoError(t, err)
		require.WithinDuration(t, time.Now(), entries[0].At, time.Minute)
		entries[0].At = time.Time{}
		require.Equal(t, metadata.AuditEntry{
			ID: entries[0].ID, ProjectID: project.ID, Operation: "create", ResourceType: "artifact", Resource: "library/app:v1", Username: "admin",
			Credential: "basic", Address: "192.0.2.1", RequestID: "r1", Succeeded: true,
			Description: "create artifact library/app:v1 with digest sha256:x",
		}, entries[0])
		require.Equal(t, "refused to delete artifact library/app", entries[1].Description)
		require.False(t, entries[1].Succeeded)
		require.Equal(t, "login eve false", fmt.Sprint(entries[2].Operation, " ", entries[2].Resource, " ", entries[2].Succeeded))
		require.Equal(t, "made plan x", fmt.Sprint(entries[3].Operation, " ", entries[3].ResourceType, " ", entries[3].Resource), "of a newer version")
	})
}

// TestLog_eachEventOnce lets two gateways follow, of which one after the other stops in the midst, while events are written.
func TestLog_eachEventOnce(t *testing.T) {
	eachEngine(t, func(t *testing.T, f fixture) {
		const total = 300
		var writers sync.WaitGroup
		for w := range 3 {
			writers.Go(func() {
				for i := range total / 3 {
					e := admin.Event(event.UserCreated)
					e.Subject = fmt.Sprintf("%d.%d", w, i)
					if err := f.Tx(t.Context(), func(ctx context.Context, tx *metadata.Tx) error { return tx.AppendEvent(ctx, e) }); err != nil {
						t.Error(err)
					}
				}
			})
		}
		stops := []func(){f.follow(t), f.follow(t)}
		for i := range 6 {
			want := (i + 1) * total / 8
			require.Eventually(t, func() bool { return len(f.entries(t)) >= want }, time.Minute, time.Millisecond)
			stops[i%2]()
			stops[i%2] = f.follow(t)
		}
		writers.Wait()
		seen := map[string]int{}
		for _, entry := range f.waitFor(t, total) {
			seen[entry.Resource]++
		}
		require.Len(t, seen, total)
	})
}

func TestLog_switches(t *testing.T) {
	f := newFixture(t, newStore(t))
	update := func(changes map[*setting.Key]any) error { return f.settings.Update(t.Context(), admin, changes) }
	require.Equal(t, fault.Invalid, fault.Of(update(map[*setting.Key]any{setting.SkipAuditLogDatabase: true})), "without another place")
	require.Equal(t, fault.Invalid, fault.Of(update(map[*setting.Key]any{setting.AuditLogForwardEndpoint: "ftp://x"})))
	require.NoError(t, update(map[*setting.Key]any{setting.DisabledAuditLogEventTypes: "pull_artifact, create_user"}))
	f.follow(t)
	f.append(t, admin.Event(event.ManifestPulled), admin.Event(event.UserCreated), admin.Event(event.UserDeleted))
	entries := f.waitFor(t, 2)
	require.Equal(t, "update configuration", entries[0].Operation+" "+entries[0].ResourceType)
	require.Equal(t, "delete user", entries[1].Operation+" "+entries[1].ResourceType)
	require.Empty(t, f.sent.entries)

	require.NoError(t, update(map[*setting.Key]any{setting.AuditLogForwardEndpoint: remote, setting.SkipAuditLogDatabase: true}))
	require.Equal(t, fault.Invalid, fault.Of(update(map[*setting.Key]any{setting.AuditLogForwardEndpoint: ""})), "then nothing would be kept")
	f.append(t, admin.Event(event.ProjectDeleted))
	ofProject := func(e metadata.AuditEntry) bool { return e.ResourceType == "project" }
	require.Eventually(t, func() bool {
		f.sent.mu.Lock()
		defer f.sent.mu.Unlock()
		return slices.ContainsFunc(f.sent.entries, ofProject)
	}, time.Minute, time.Millisecond)
	require.False(t, slices.ContainsFunc(f.entries(t), ofProject)) // that of the change itself may have been written as before it
}

func TestTypes_everyKindOfEventHasOne(t *testing.T) {
	parsed, err := parser.ParseFile(token.NewFileSet(), "../../event/event.go", nil, 0)
	require.NoError(t, err)
	var kinds []event.Kind
	ast.Inspect(parsed, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if of, ok := spec.Type.(*ast.Ident); ok && of.Name == "Kind" {
			kind, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			require.NoError(t, err)
			kinds = append(kinds, event.Kind(kind))
		}
		return true
	})
	require.Greater(t, len(kinds), 15)
	for _, kind := range kinds {
		if kind != event.Refused && !audit.Maps(kind) {
			t.Errorf("event kind %s has no row in mappings of notify/audit", kind)
		}
	}
	types := audit.Types()
	require.Equal(t, "create_artifact", types[0].String())
	require.GreaterOrEqual(t, len(types), 18)
}
