package metadatatest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/metadata"
)

func testFollowers(t *testing.T, f fixture) {
	lease := func(holder string, d time.Duration) (at metadata.EventCursor, err error) {
		err = f.Tx(t.Context(), func(ctx context.Context, tx *metadata.Tx) (err error) {
			at, err = tx.LeaseFollower(ctx, "audit", holder, d)
			return err
		})
		return at, err
	}
	advance := func(holder string, from, to metadata.EventCursor) error {
		return f.Tx(t.Context(), func(ctx context.Context, tx *metadata.Tx) error {
			return tx.AdvanceFollower(ctx, "audit", holder, from, to)
		})
	}
	at, err := lease("one", time.Hour)
	require.NoError(t, err)
	require.Equal(t, metadata.EventCursor{}, at)
	_, err = lease("two", time.Hour)
	require.ErrorIs(t, err, metadata.ErrConflict)
	next := metadata.EventCursor{Transaction: 3, ID: 4}
	require.ErrorIs(t, advance("two", at, next), metadata.ErrConflict)
	require.ErrorIs(t, advance("one", next, next), metadata.ErrConflict, "somebody else has read on")
	require.NoError(t, advance("one", at, next))
	at, err = lease("one", -time.Second)
	require.NoError(t, err)
	require.Equal(t, next, at)
	at, err = lease("two", time.Hour)
	require.NoError(t, err, "the lease of the first has run out")
	require.Equal(t, next, at)
	require.ErrorIs(t, advance("one", next, next), metadata.ErrConflict)
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error { return tx.ReleaseFollower(ctx, "audit", "two") })
	_, err = lease("one", time.Hour)
	require.NoError(t, err)
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error { return tx.DeleteFollower(ctx, "audit") })
}

func testEventsRead(t *testing.T, f fixture) {
	remove := func(n int) (deleted int64) {
		f.write(t, func(ctx context.Context, tx *metadata.Tx) (err error) {
			deleted, err = tx.DeleteReadEvents(ctx, n)
			return err
		})
		return deleted
	}
	sent := make([]event.Event, 10)
	for i := range sent {
		sent[i] = event.Event{
			Kind: event.ManifestPulled, Tag: fmt.Sprint(i), Size: int64(i), Actor: `o'"\`, Project: "library", At: time.Unix(int64(i), 1000).UTC(), Attempt: event.TagMoved, Repeated: int64(2 * i),
			Credential: "c", RequestID: "r", Address: "a", Repository: "library/app", Digest: "d", MediaType: "m", Subject: "s", Details: fmt.Sprintf(`{"a":%d}`, i),
		}
	}
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error { return tx.AppendEvents(ctx, sent) })
	events, err := f.Events(t.Context(), metadata.EventCursor{}, 100)
	require.NoError(t, err)
	require.Len(t, events, 10)
	for i, e := range events {
		require.Equal(t, sent[i], e.Event)
		require.Equal(t, f.project.ID, e.ProjectID)
	}
	require.Zero(t, remove(100), "without followers nobody has read them")
	for name, place := range map[string]int{"slow": 3, "quick": 9} {
		f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
			from, err := tx.LeaseFollower(ctx, name, "one", time.Hour)
			if err != nil {
				return err
			}
			return tx.AdvanceFollower(ctx, name, "one", from, events[place].Cursor())
		})
	}
	require.Equal(t, int64(3), remove(3))
	require.Equal(t, int64(1), remove(100))
	events, err = f.Events(t.Context(), metadata.EventCursor{}, 100)
	require.NoError(t, err)
	require.Len(t, events, 6)
}

// auditSample are entries in the order of their ids, of which several share a bucket, and many buckets a span.
func auditSample(n int) []metadata.AuditEntry {
	random := rand.New(rand.NewPCG(1, 2))
	entries := make([]metadata.AuditEntry, n)
	id := int64(0)
	for i := range entries {
		id += 1 + random.Int64N(500)
		if i%60 == 59 {
			id += 200_000
		}
		entries[i] = metadata.AuditEntry{
			ID: id, ProjectID: int64(random.IntN(4)), Operation: []string{"pull", "create", "delete"}[random.IntN(3)],
			ResourceType: []string{"artifact", "artifact", "user"}[random.IntN(3)], Resource: fmt.Sprintf("library/App_%d", random.IntN(20)),
			Username: fmt.Sprintf("user%d", random.IntN(5)), Credential: "token", Address: "192.0.2.1", RequestID: "r", Description: `it's "so"`,
			Succeeded: random.IntN(5) > 0, At: time.Unix(2_000_000_000+int64(i)*60-random.Int64N(90), 1000).UTC(),
		}
	}
	return entries
}

func (f fixture) addAudit(t testing.TB, entries ...metadata.AuditEntry) {
	t.Helper()
	for batch := range slices.Chunk(entries, 100) {
		f.write(t, func(ctx context.Context, tx *metadata.Tx) error { return tx.InsertAuditEntries(ctx, batch) })
	}
}

// auditCase is a query and which entries it means.
type auditCase struct {
	query metadata.AuditQuery
	means func(e metadata.AuditEntry) bool
}

func is(name string, values ...any) metadata.Condition {
	return metadata.Condition{Field: name, Comparison: metadata.Equal, Values: values}
}

func auditCases() []auditCase {
	from, to := time.Unix(2_000_003_000, 0), time.Unix(2_000_009_000, 0)
	period := metadata.Condition{Field: "op_time", Comparison: metadata.Between, Values: []any{from, to}}
	during := func(e metadata.AuditEntry) bool { return !e.At.Before(from) && !e.At.After(to) }
	part := metadata.Condition{Field: "resource", Comparison: metadata.Contains, Values: []any{"app_1"}}
	either := metadata.Condition{Field: "username", Comparison: metadata.AnyOf, Values: []any{"user1", "user3", "nobody", "user1"}}
	among := func(projects ...int64) func(e metadata.AuditEntry) bool {
		return func(e metadata.AuditEntry) bool { return slices.Contains(projects, e.ProjectID) }
	}
	all := func(conditions ...metadata.Condition) metadata.AuditQuery {
		return metadata.AuditQuery{Conditions: conditions}
	}
	return []auditCase{
		{all(), func(metadata.AuditEntry) bool { return true }},
		{metadata.AuditQuery{Projects: []int64{2}}, among(2)},
		{metadata.AuditQuery{Projects: []int64{1, 3, 77}}, among(1, 3)},
		{metadata.AuditQuery{Projects: []int64{}}, among()},
		{all(is("project_id", int64(3))), among(3)},
		{all(is("project_id", "0")), among(0)},
		{all(is("project_id", "x")), among()},
		{all(is("username", "user2")), func(e metadata.AuditEntry) bool { return e.Username == "user2" }},
		{all(either), func(e metadata.AuditEntry) bool { return e.Username == "user1" || e.Username == "user3" }},
		{all(is("operation", "delete"), is("resource_type", "artifact")), func(e metadata.AuditEntry) bool { return e.Operation == "delete" && e.ResourceType == "artifact" }},
		{all(is("operation", "create"), is("resource_type", "user")), func(e metadata.AuditEntry) bool { return e.Operation == "create" && e.ResourceType == "user" }},
		{all(is("username", "user3"), is("operation", "pull")), func(e metadata.AuditEntry) bool { return e.Username == "user3" && e.Operation == "pull" }},
		{all(either, is("operation", "delete")), func(e metadata.AuditEntry) bool {
			return (e.Username == "user1" || e.Username == "user3") && e.Operation == "delete"
		}},
		{all(is("username", "user3"), is("operation", false)), among()},
		{metadata.AuditQuery{Projects: []int64{1, 3}, Conditions: []metadata.Condition{is("operation", "pull")}}, func(e metadata.AuditEntry) bool {
			return among(1, 3)(e) && e.Operation == "pull"
		}},
		{metadata.AuditQuery{Projects: []int64{1, 3}, Conditions: []metadata.Condition{is("project_id", int64(3)), is("operation", "pull")}}, func(e metadata.AuditEntry) bool {
			return among(3)(e) && e.Operation == "pull"
		}},
		{metadata.AuditQuery{Projects: []int64{1, 2}, Conditions: []metadata.Condition{is("username", "user4"), is("operation", "create")}}, func(e metadata.AuditEntry) bool {
			return among(1, 2)(e) && e.Username == "user4" && e.Operation == "create"
		}},
		{all(is("operation_result", "false")), func(e metadata.AuditEntry) bool { return !e.Succeeded }},
		{all(period), during},
		{all(metadata.Condition{Field: "op_time", Comparison: metadata.Between, Values: []any{nil, from}}), func(e metadata.AuditEntry) bool { return !e.At.After(from) }},
		{all(metadata.Condition{Field: "op_time", Comparison: metadata.Between, Values: []any{to.AddDate(9, 0, 0), nil}}), among()},
		{all(part), func(e metadata.AuditEntry) bool { return strings.HasPrefix(e.Resource, "library/App_1") }},
		{all(metadata.Condition{Field: "resource", Comparison: metadata.Contains, Values: []any{"nothing's"}}), among()},
		{all(metadata.Condition{Field: "resource", Comparison: metadata.Contains, Values: []any{"9"}}), func(e metadata.AuditEntry) bool { return strings.Contains(e.Resource, "9") }},
		{metadata.AuditQuery{Projects: []int64{1}, Conditions: []metadata.Condition{part, is("operation", "pull"), either}}, func(e metadata.AuditEntry) bool {
			return strings.HasPrefix(e.Resource, "library/App_1") && e.Operation == "pull" && among(1)(e) && (e.Username == "user1" || e.Username == "user3")
		}},
		{metadata.AuditQuery{Projects: []int64{1}, Conditions: []metadata.Condition{is("username", "nobody")}}, among()},
		{metadata.AuditQuery{Projects: []int64{1, 2}, Conditions: []metadata.Condition{period, is("username", "user4"), is("unknown", "x")}}, func(e metadata.AuditEntry) bool {
			return during(e) && e.Username == "user4" && among(1, 2)(e)
		}},
		{metadata.AuditQuery{Projects: []int64{1, 2}, Conditions: []metadata.Condition{period}}, func(e metadata.AuditEntry) bool { return during(e) && among(1, 2)(e) }},
	}
}

// requireAudit compares every page of the query, in both orders, with what is meant.
func (f fixture) requireAudit(t *testing.T, entries []metadata.AuditEntry, c auditCase) {
	t.Helper()
	for _, ascending := range []bool{false, true} {
		want := []metadata.AuditEntry{}
		for _, e := range entries {
			if c.means(e) {
				want = append(want, e)
			}
		}
		if !ascending {
			slices.Reverse(want)
		}
		for _, size := range []int{7, 1000} {
			q := c.query
			q.Ascending, q.Limit = ascending, int64(size)
			for {
				page, total, err := f.AuditEntries(t.Context(), q)
				require.NoError(t, err)
				require.Equal(t, int64(len(want)), total, "%+v", q)
				begin := min(int(q.Offset), len(want))
				require.Equal(t, want[begin:min(begin+size, len(want))], append([]metadata.AuditEntry{}, page...), "%+v", q)
				if len(page) == 0 {
					break
				}
				q.Offset += int64(size) * 3 // not every page: many are alike
			}
		}
	}
}

func testAuditEntries(t *testing.T, f fixture) {
	entries := auditSample(400)
	f.addAudit(t, entries...)
	f.addAudit(t, entries[10:30]...) // twice is once
	for i, c := range auditCases() {
		t.Run(fmt.Sprint(i), func(t *testing.T) { f.requireAudit(t, entries, c) })
	}
	for _, c := range []metadata.Condition{
		{Field: "operation_result", Comparison: metadata.Contains, Values: []any{"true"}},
		{Field: "op_time", Comparison: metadata.Between, Values: []any{"x", nil}},
		{Field: "operation", Comparison: metadata.Equal, Values: []any{"a", "b"}},
	} {
		_, _, err := f.AuditEntries(t.Context(), metadata.AuditQuery{Conditions: []metadata.Condition{c}})
		require.ErrorIs(t, err, metadata.ErrQuery)
	}
	page, _, err := f.AuditEntries(t.Context(), metadata.AuditQuery{Limit: -1})
	require.NoError(t, err)
	require.Len(t, page, len(entries))

	var more []metadata.AuditEntry
	for i := range 150 { // more resources than are looked up one by one
		more = append(more, metadata.AuditEntry{ID: 10_000_000 + int64(i), Resource: fmt.Sprintf("library/many:%d", i), At: time.Unix(2_000_500_000, 0)})
	}
	f.addAudit(t, more...)
	for text, expected := range map[string]int64{"MANY:": 150, "many:14": 11} {
		page, total, err := f.AuditEntries(t.Context(), metadata.AuditQuery{
			Limit: 5, Conditions: []metadata.Condition{{Field: "resource", Comparison: metadata.Contains, Values: []any{text}}},
		})
		require.NoError(t, err)
		require.Equal(t, expected, total)
		require.Len(t, page, 5)
	}
}

func testAuditDeletion(t *testing.T, f fixture) {
	entries := auditSample(300)
	f.addAudit(t, entries...)
	before := time.Unix(2_000_010_000, 0)
	types := []string{"pull_artifact", "delete_user"}
	goes := func(e metadata.AuditEntry) bool {
		return e.At.Before(before) && slices.Contains(types, e.Operation+"_"+e.ResourceType)
	}
	var counted, deleted int64
	bucket := int64(-1)
	for {
		buckets, err := f.AuditBuckets(t.Context(), bucket, before, 2)
		require.NoError(t, err)
		if len(buckets) == 0 {
			break
		}
		for _, bucket = range buckets {
			n, err := f.CountAuditEntries(t.Context(), bucket, before, types)
			require.NoError(t, err)
			counted += n
			f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
				n, err := tx.DeleteAuditEntries(ctx, bucket, before, types)
				deleted += n
				return err
			})
		}
	}
	left := slices.DeleteFunc(slices.Clone(entries), goes)
	require.NotZero(t, deleted)
	require.Equal(t, int64(len(entries)-len(left)), deleted)
	require.Equal(t, deleted, counted)
	var wrong int
	require.NoError(t, f.database.DB.QueryRowContext(t.Context(), `
		SELECT (SELECT COUNT(*) FROM audit_resources WHERE resource NOT IN (SELECT resource FROM audit_entries))
			+ (SELECT COUNT(*) FROM (
				SELECT project_id, span, entries FROM audit_spans
				EXCEPT SELECT project_id, id / 262144, COUNT(*) FROM audit_entries GROUP BY 1, 2
				EXCEPT SELECT 0, id / 262144, COUNT(*) FROM audit_entries GROUP BY 2) AS spans WHERE entries <> 0)`).Scan(&wrong))
	require.Zero(t, wrong, "resources and spans are left behind")
	for _, c := range auditCases() {
		f.requireAudit(t, left, c)
	}
}

// testRaceAudit adds entries while others are deleted: the counts must be right in the end.
func testRaceAudit(t *testing.T, f fixture) {
	entries := auditSample(200)
	var group errgroup.Group
	for part := range slices.Chunk(entries, 20) {
		group.Go(func() error {
			return f.Tx(t.Context(), func(ctx context.Context, tx *metadata.Tx) error { return tx.InsertAuditEntries(ctx, part) })
		})
	}
	for range 3 {
		group.Go(func() error {
			for bucket := range int64(20) {
				err := f.Tx(t.Context(), func(ctx context.Context, tx *metadata.Tx) error {
					_, err := tx.DeleteAuditEntries(ctx, bucket, time.Unix(3_000_000_000, 0), []string{"pull_artifact", "create_artifact"})
					return err
				})
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	require.NoError(t, group.Wait())
	left, total, err := f.AuditEntries(t.Context(), metadata.AuditQuery{Limit: -1})
	require.NoError(t, err)
	require.Equal(t, int64(len(left)), total)
	for _, c := range auditCases()[:3] {
		f.requireAudit(t, slices.SortedFunc(slices.Values(left), func(a, b metadata.AuditEntry) int { return int(a.ID - b.ID) }), c)
	}
}
