package metadatatest

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
)

// misranged are the ranges of the repositories whose counts are wrong, and counts of ranges that there are none of.
const misranged = `
	WITH ranges AS (
		SELECT g.*, LEAD(g.name, 1, '~') OVER places AS next_name, LEAD(g.moment, 1, 9223372036854775807) OVER places AS next_moment,
			LEAD(g.id, 1, 9223372036854775807) OVER places AS next_id
		FROM list_ranges g WINDOW places AS (PARTITION BY g.list, g.owner ORDER BY g.name, g.moment, g.id)
	), places AS (
		SELECT 'repositories by name' AS list, project_id, name, 0 AS moment, 0 AS id FROM repositories
		UNION ALL SELECT 'repositories by change', project_id, '', updated_at, id FROM repositories
	), counts AS (
		SELECT list, owner, part, SUM(entries) AS entries FROM list_counts WHERE list IN ('repositories by name', 'repositories by change') GROUP BY 1, 2, 3
	)
	SELECT (SELECT COUNT(*) FROM ranges g LEFT JOIN counts c ON c.list = g.list AND c.owner = g.owner AND c.part = g.part
		WHERE COALESCE(c.entries, 0) <> (SELECT COUNT(*) FROM places p WHERE p.list = g.list AND g.owner IN (0, p.project_id)
			AND (p.name, p.moment, p.id) >= (g.name, g.moment, g.id) AND (p.name, p.moment, p.id) < (g.next_name, g.next_moment, g.next_id)))
	+ (SELECT COUNT(*) FROM counts c WHERE c.entries <> 0 AND NOT EXISTS (
		SELECT 1 FROM list_ranges g WHERE g.list = c.list AND g.owner = c.owner AND g.part = c.part))`

func (f fixture) recountRanges(t *testing.T) {
	t.Helper()
	var wrong int
	require.NoError(t, f.database.DB.QueryRowContext(t.Context(), misranged).Scan(&wrong))
	require.Zero(t, wrong, "ranges are counted wrong")
}

// ranges returns how many ranges there are.
func (f fixture) ranges(t *testing.T) (n int) {
	t.Helper()
	require.NoError(t, f.database.DB.QueryRowContext(t.Context(), `SELECT COUNT(*) FROM list_ranges`).Scan(&n))
	return n
}

// remakeRanges makes the ranges of all repositories again and again until the context ends; on SQLite there are none.
func (f fixture) remakeRanges(ctx context.Context) error {
	for f.Engine() == "postgres" && ctx.Err() == nil {
		if _, err := f.database.DB.ExecContext(context.WithoutCancel(ctx), `
			SELECT pg_advisory_xact_lock(hashtextextended('fold_list_counts', 0));
			SELECT pg_advisory_xact_lock(hashtextextended('list_ranges', 0));
			DELETE FROM list_ranges WHERE owner = 0;
			DELETE FROM list_counts WHERE list LIKE 'repositories by %' AND owner = 0;
			SELECT fit_list_ranges()`); err != nil {
			return err
		}
	}
	return nil
}

// repositoryOrders are orders of repositories with the comparison that they stand for.
func repositoryOrders() map[string]func(a, b metadata.Repository) int {
	return map[string]func(a, b metadata.Repository) int{
		"repository_id": func(a, b metadata.Repository) int { return cmp.Compare(a.ID, b.ID) },
		"name":          func(a, b metadata.Repository) int { return cmp.Compare(a.Name, b.Name) },
		"update_time": func(a, b metadata.Repository) int {
			return cmp.Or(a.UpdatedAt.Compare(b.UpdatedAt), cmp.Compare(a.ID, b.ID))
		},
	}
}

// requirePages compares pages of the repositories in each order and direction with all of them, sorted here.
func (f fixture) requirePages(t *testing.T, step int64) {
	t.Helper()
	for _, projectID := range []int64{0, f.project.ID} {
		everything, _, err := f.ListRepositories(t.Context(), metadata.Visibility{All: true}, projectID, metadata.Query{Limit: -1})
		require.NoError(t, err)
		for field, compare := range repositoryOrders() {
			for _, descending := range []bool{false, true} {
				slices.SortFunc(everything, compare)
				if descending {
					slices.Reverse(everything)
				}
				for offset, limit := int64(0), int64(7); offset < int64(len(everything))+2*step; offset += step {
					q := metadata.Query{Offset: offset, Limit: limit, Order: []metadata.Order{{Field: field, Descending: descending}}}
					page, total, err := f.ListRepositories(t.Context(), metadata.Visibility{All: true}, projectID, q)
					require.NoError(t, err)
					require.EqualValues(t, len(everything), total, field)
					from, to := min(int(offset), len(everything)), min(int(offset+limit), len(everything))
					require.Equal(t, names(everything[from:to]), names(page), "%s, descending %v, from %d of project %d", field, descending, offset, projectID)
				}
			}
		}
	}
}

func names(repositories []metadata.Repository) (found []string) {
	for _, r := range repositories {
		found = append(found, string(r.Name))
	}
	return found
}

// change makes and deletes some repositories, and lets some change, at random.
func (f fixture) change(ctx context.Context, random *rand.Rand, prefix string, projects []metadata.Project, n int) error {
	return f.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		for range n {
			project := projects[random.IntN(len(projects))]
			name := oci.Repository(fmt.Sprintf("%s/%s%04d", project.Name, prefix, random.IntN(300)))
			found, err := tx.EnsureRepository(ctx, project.ID, name)
			if err != nil {
				return err
			}
			switch random.IntN(3) {
			case 0:
				err = tx.DeleteRepository(ctx, found.ID)
			case 1:
				err = tx.Describe(ctx, found.ID, "text")
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// testRanges compares pages of many repositories in every order with a plain sort while they come, change and go.
func testRanges(t *testing.T, f fixture) {
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same things in every run
	f.addRepository(t, "other/x", true)
	other, err := f.Project(t.Context(), "other")
	require.NoError(t, err)
	run := func(text string) {
		t.Helper()
		_, err := f.database.DB.ExecContext(t.Context(), text)
		require.NoError(t, err)
	}
	many, step := 2_500, int64(613)
	if f.Engine() == "sqlite" { // which has no ranges
		many, step = 250, 61
	}
	f.addRepositories(t, many)
	run(`UPDATE repositories SET updated_at = 77 WHERE id % 2 = 0`) // so many at the same time
	run(fmt.Sprintf(`INSERT INTO repositories (id, project_id, name, created_at, updated_at)
		SELECT id + 1, %d, 'other/' || SUBSTR(name, 9), created_at, 5000000 + id * 7919 %% 1000003 FROM repositories WHERE id >= 1000 AND id %% 1200 < 600`, other.ID))
	f.recountLists(t)
	if f.Engine() == "postgres" {
		require.Greater(t, f.ranges(t), 5)
	}
	ctx, done := context.WithCancel(t.Context())
	var others errgroup.Group
	others.Go(func() error { return f.remakeRanges(ctx) })
	f.requirePages(t, step)
	done()
	require.NoError(t, others.Wait())
	// Names and times of which there are many in one range, and then none in others.
	for i, text := range []string{
		`INSERT INTO repositories (id, project_id, name, created_at, updated_at)
			SELECT id + 2, project_id, name || 'x', created_at, updated_at + 1 FROM repositories WHERE name BETWEEN 'library/r00500' AND 'library/r02400'`,
		`UPDATE repositories SET updated_at = updated_at + 100000000 WHERE id % 3 = 0`,
		`DELETE FROM repositories WHERE name BETWEEN 'library/r00100' AND 'library/r02300' AND name NOT LIKE '%x'`,
		`UPDATE repositories SET updated_at = 200000000 + id WHERE id % 5 <> 0`,
		`DELETE FROM repositories WHERE name > 'library/r00050'`,
		`DELETE FROM repositories WHERE name < 'other/z'`,
	} {
		run(text)
		f.requirePages(t, 4*step)
		f.recountLists(t)
		f.requirePages(t, 4*step)
		for range 3 {
			require.NoError(t, f.change(t.Context(), random, fmt.Sprint("n", i), []metadata.Project{f.project, other}, 20))
		}
		require.NoError(t, f.FoldCounts(t.Context())) // the order is that of times that are folded
	}
	f.recountLists(t)
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
		for {
			rest, _, err := tx.ListRepositories(ctx, metadata.Visibility{All: true}, other.ID, metadata.Query{Limit: 100})
			if err != nil || len(rest) == 0 {
				return cmp.Or(err, tx.DeleteProject(ctx, other.ID))
			}
			for _, r := range rest {
				if err := tx.DeleteRepository(ctx, r.ID); err != nil {
					return err
				}
			}
		}
	})
	f.recountLists(t)
	require.Zero(t, f.ranges(t), "few repositories need none")
}

// testRaceRanges makes, changes and deletes repositories while ranges are split: they are right whenever somebody looks.
func testRaceRanges(t *testing.T, f fixture) {
	f.addRepository(t, "other/x", true)
	other, err := f.Project(t.Context(), "other")
	require.NoError(t, err)
	many := 2_100
	if f.Engine() == "sqlite" { // which has no ranges
		many = 210
	}
	f.addRepositories(t, many)
	f.recountLists(t)
	// Those that come fall into a range that is nearly full, by their names and by their times.
	_, err = f.database.DB.ExecContext(t.Context(), `INSERT INTO repositories (id, project_id, name, created_at, updated_at)
		SELECT id + 1, project_id, 'library/m' || SUBSTR(name, 9), created_at, 2000000 + id FROM repositories WHERE name BETWEEN 'library/r00001' AND 'library/r00980'`)
	require.NoError(t, err)
	f.recountLists(t)
	before := f.ranges(t)
	ctx, done := context.WithCancel(t.Context())
	var others, group errgroup.Group
	others.Go(func() error { return f.foldCounts(ctx) })
	others.Go(func() error {
		for f.Engine() == "postgres" && ctx.Err() == nil {
			var wrong int
			if err := f.database.DB.QueryRowContext(t.Context(), misranged).Scan(&wrong); err != nil {
				return err
			}
			if wrong > 0 {
				return fmt.Errorf("%d ranges are counted wrong", wrong)
			}
		}
		return nil
	})
	others.Go(func() error { return f.remakeRanges(ctx) })
	if f.Engine() == "postgres" {
		group.Go(func() error {
			for i := range 300 {
				if _, err := f.database.DB.ExecContext(t.Context(), fmt.Sprintf(`UPDATE repositories SET updated_at = %d WHERE id = %d`, i%3*1_000_000, 1000+300*i)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	for i := range 8 {
		group.Go(func() error {
			random := rand.New(rand.NewPCG(3, uint64(i))) //nolint:gosec // the same things in every run
			for range 20 {
				if err := f.change(t.Context(), random, fmt.Sprint("n", i), []metadata.Project{f.project, other}, 8); err != nil {
					return err
				}
				m := newManifest(f.repository)
				if err := f.push(t.Context(), f.repository, m, true); err != nil {
					return err
				}
			}
			return nil
		})
	}
	require.NoError(t, group.Wait())
	done()
	require.NoError(t, others.Wait())
	f.recountLists(t)
	if f.Engine() == "postgres" {
		require.Greater(t, f.ranges(t), before)
	}
	f.requirePages(t, 307)
}
