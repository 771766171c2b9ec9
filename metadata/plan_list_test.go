package metadata

import (
	"context"
	"database/sql"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// planned runs queries and keeps the plans of those that begin like the pages and counts of listings.
type planned struct {
	t     *testing.T
	db    *sql.DB
	plans [][]string
}

func (p *planned) ExecContext(ctx context.Context, text string, args ...any) (sql.Result, error) {
	return p.db.ExecContext(ctx, text, args...)
}

func (p *planned) QueryContext(ctx context.Context, text string, args ...any) (*sql.Rows, error) {
	p.plans = append(p.plans, append([]string{text}, plan(p.t, p.db, text)...))
	return p.db.QueryContext(ctx, text, args...)
}

// TestListings_useIndexes asks SQLite how it would find pages of each listing: the rows are chosen on a walk along an index that
// has all that is needed, in its order.
func TestListings_useIndexes(t *testing.T) {
	db := planDatabase(t)
	for _, row := range []string{
		`INSERT INTO projects (id, name, public, created_at, updated_at) VALUES (1, 'p', TRUE, 0, 0)`,
		`INSERT INTO repositories (id, project_id, name, created_at, updated_at) VALUES (1, 1, 'p/r', 0, 0)`,
		`INSERT INTO manifests (id, repository_id, digest, media_type, artifact_type, size, created_at, payload) VALUES (1, 1, 'd', '', '', 0, 0, '')`,
		`INSERT INTO artifacts (id, repository_id, project_id, created_at, kind, config_media_type, content_size, accessory) VALUES (1, 1, 1, 0, '', '', 0, '')`,
		`UPDATE list_counts SET entries = 200`, // pages beyond the rows that are there
	} {
		_, err := db.ExecContext(t.Context(), row)
		require.NoError(t, err, row)
	}
	run := &planned{t: t, db: db}
	reader := Reader{shared: &shared{texts: planDialect.texts(), words: planDialect.replacer(), classify: func(err error) error { return err }}, executor: run}
	all, nobody := Visibility{All: true}, Visibility{}
	by := func(fields ...string) Query {
		q := Query{Limit: 10, Offset: 100}
		for _, field := range fields {
			q.Order = append(q.Order, Order{Field: field, Descending: true})
		}
		return q
	}
	is := func(field string, value any) Query {
		return Query{Limit: 10, Conditions: []Condition{{Field: field, Comparison: Equal, Values: []any{value}}}}
	}
	has := func(field string) Query {
		return Query{Limit: 10, Conditions: []Condition{{Field: field, Comparison: Contains, Values: []any{"text"}}}}
	}
	ctx := t.Context()
	listings := map[string]struct {
		list    func(q Query) error
		queries []Query
	}{
		"projects": {
			func(q Query) error { _, _, err := reader.ListProjects(ctx, all, q); return err },
			[]Query{by(), by("name"), by("creation_time"), is("name", "x"), has("name")},
		},
		"projects in view": {func(q Query) error { _, _, err := reader.ListProjects(ctx, nobody, q); return err }, []Query{by(), by("name")}},
		"repositories":     {func(q Query) error { _, _, err := reader.ListRepositories(ctx, all, 0, q); return err }, []Query{by(), by("creation_time"), by("name"), by("update_time"), is("name", "x"), has("name")}},
		"repositories of a project": {
			func(q Query) error { _, _, err := reader.ListRepositories(ctx, all, 1, q); return err },
			[]Query{by(), by("creation_time"), by("name"), by("update_time"), is("name", "x"), has("name")},
		},
		"artifacts of a repository": {
			func(q Query) error {
				_, _, err := reader.ListArtifacts(ctx, Collection{RepositoryID: 1}, q)
				return err
			},
			[]Query{by(), by("push_time"), is("type", "IMAGE"), is("tags", "x"), is("digest", "x"), has("tags")},
		},
		"artifacts of a project": {func(q Query) error { _, _, err := reader.ListArtifacts(ctx, Collection{ProjectID: 1}, q); return err }, []Query{by(), by("push_time"), is("tags", "text"), has("tags")}},
		"accessories":            {func(q Query) error { _, _, err := reader.ListAccessories(ctx, 1, "x", q); return err }, []Query{by()}},
		"tags":                   {func(q Query) error { _, _, err := reader.ListTags(ctx, 1, q); return err }, []Query{by(), is("name", "x")}},
		"users":                  {func(q Query) error { _, _, err := reader.ListUsers(ctx, q); return err }, []Query{by(), by("username"), by("creation_time"), is("username", "x")}},
		"groups":                 {func(q Query) error { _, _, err := reader.ListUserGroups(ctx, q); return err }, []Query{by(), by("creation_time")}},
		"robots":                 {func(q Query) error { _, _, err := reader.ListRobots(ctx, 1, q); return err }, []Query{by(), by("creation_time"), by("name"), is("name", "x")}},
		"robots of the registry": {func(q Query) error { _, _, err := reader.ListRobots(ctx, 0, q); return err }, []Query{by()}},
		"labels":                 {func(q Query) error { _, _, err := reader.ListLabels(ctx, 1, q); return err }, []Query{by(), by("name"), is("name", "x")}},
		"quotas":                 {func(q Query) error { _, _, err := reader.ListQuotas(ctx, q); return err }, []Query{by(), by("creation_time")}},
		"registries elsewhere":   {func(q Query) error { _, _, err := reader.ListRemoteRegistries(ctx, q); return err }, []Query{by(), by("name"), is("name", "x")}},
		"replication policies":   {func(q Query) error { _, _, err := reader.ListReplicationPolicies(ctx, q); return err }, []Query{by(), by("name"), is("name", "x")}},
		"schedules":              {func(q Query) error { _, _, err := reader.Schedules(ctx, q); return err }, []Query{by()}},
		"webhooks":               {func(q Query) error { _, _, err := reader.Webhooks(ctx, 1, q); return err }, []Query{by(), is("name", "x")}},
		"deletions":              {func(q Query) error { _, _, err := reader.ListDeletions(ctx, 1, time.Time{}, q); return err }, []Query{by(), by("id")}},
		"tasks":                  {func(q Query) error { _, _, err := reader.ListTasks(ctx, 1, "x", q); return err }, []Query{by(), is("status", "x")}},
		"access tokens":          {func(q Query) error { _, _, err := reader.ListAccessTokens(ctx, 1, q); return err }, []Query{by()}},
	}
	walk := regexp.MustCompile(`^SCAN \w+$`)
	found := map[string]bool{"SCAN counted": true, "SCAN branch": true, "SCAN seen": true, "SCAN entries": true, "SCAN crossed": true, "SCAN unnumbered": true, "SCAN numbered": true, "SCAN head": true} // by what comes before
	for name, listing := range listings {
		for _, q := range listing.queries {
			run.plans = nil
			require.NoError(t, listing.list(q), name)
			for _, steps := range run.plans {
				what := fmt.Sprintf("%s by %v where %v: %s\n%s", name, q.Order, q.Conditions, steps[0], strings.Join(steps[1:], "\n"))
				require.NotContains(t, what, "AUTOMATIC", "an index is made for the query")
				choosing := steps[1:]
				for i, step := range steps[1:] {
					if step == "SCAN page" { // what comes is done for the rows of the page
						choosing = steps[1 : 1+i]
						break
					}
				}
				// By age the walk is over the table itself, and few are the projects of one user and what an index has found.
				byAge := len(q.Order) > 0 && q.Order[0].Field == "creation_time"
				few := strings.Contains(steps[0], "user_roles") || strings.Contains(steps[0], "CAST(value AS BIGINT) FROM json_each")
				for _, step := range choosing {
					if walk.MatchString(step) && !found[step] && !byAge || strings.Contains(step, "USE TEMP B-TREE FOR ORDER BY") && !few {
						t.Errorf("%s\n→ %s", what, step)
					}
				}
			}
		}
	}
	audit := map[string]AuditQuery{
		"all": {}, "of projects": {Projects: []int64{1, 2}},
		"by a user":     {Conditions: is("username", "x").Conditions},
		"by two fields": {Projects: []int64{1}, Conditions: append(is("username", "x").Conditions, is("operation", "x").Conditions...)},
		"by a part":     {Conditions: has("resource").Conditions},
	}
	for name, q := range audit {
		run.plans = nil
		q.Limit = 10
		_, _, err := reader.AuditEntries(ctx, q)
		require.NoError(t, err)
		require.NotEmpty(t, run.plans)
		for _, steps := range run.plans {
			for _, step := range steps[1:] {
				if walk.MatchString(step) && !found[step] && step != "SCAN audit_entries" { // which is in the order of ids
					t.Errorf("audit log %s: %s\n%s", name, steps[0], strings.Join(steps[1:], "\n"))
				}
			}
		}
	}
}
