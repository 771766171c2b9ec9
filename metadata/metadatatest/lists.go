package metadatatest

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
)

// recountLists compares the counts that are kept of lists with what there is.
func (f fixture) recountLists(t *testing.T) {
	t.Helper()
	f.recountListsAsTheyAre(t)
	for range 2 { // the time of a change that is folded is counted in another range
		require.NoError(t, f.FoldCounts(t.Context()))
		f.recountListsAsTheyAre(t)
	}
	var fresh int
	require.NoError(t, f.database.DB.QueryRowContext(t.Context(), `SELECT COUNT(*) FROM list_counts WHERE fresh`).Scan(&fresh))
	require.Zero(t, fresh)
}

func (f fixture) recountListsAsTheyAre(t *testing.T) {
	t.Helper()
	for _, text := range []string{
		`SELECT 'users', 0, id / 1024, COUNT(*) FROM users WHERE deleted_at IS NULL GROUP BY 3`,
		`SELECT 'groups', 0, id / 1024, COUNT(*) FROM user_groups GROUP BY 3`,
		`SELECT 'members', project_id, id / 1024, COUNT(*) FROM members GROUP BY 2, 3`,
		`SELECT 'labels', COALESCE(project_id, 0), id / 1024, COUNT(*) FROM labels GROUP BY 2, 3`,
		`SELECT 'robots', COALESCE(project_id, 0), id / 1024, COUNT(*) FROM robots GROUP BY 2, 3`,
		`SELECT 'projects', 0, id / 1024, COUNT(*) FROM projects GROUP BY 3`,
		`SELECT 'public projects', 0, id / 1024, COUNT(*) FROM projects WHERE public GROUP BY 3`,
		`SELECT 'public repositories', 0, p.id / 1024, COUNT(*) FROM repositories r JOIN projects p ON p.id = r.project_id WHERE p.public GROUP BY 3`,
		`SELECT 'repositories', 0, id / 1024, COUNT(*) FROM repositories GROUP BY 3`,
		`SELECT 'repositories', project_id, id / 1024, COUNT(*) FROM repositories GROUP BY 2, 3`,
		`SELECT 'artifacts', repository_id, id / 1024, COUNT(*) FROM artifacts WHERE listed GROUP BY 2, 3`,
		`SELECT 'repositories in public', 0, r.id / 1024, COUNT(*) FROM repositories r JOIN projects p ON p.id = r.project_id WHERE p.public GROUP BY 3`,
		`SELECT 'executions', 0, id / 1024, COUNT(*) FROM executions GROUP BY 3`,
		`SELECT 'executions of ' || kind, 0, id / 1024, COUNT(*) FROM executions GROUP BY 1, 3`,
		`SELECT 'registries', 0, id / 1024, COUNT(*) FROM registries GROUP BY 3`,
		`SELECT 'replication policies', 0, id / 1024, COUNT(*) FROM replication_policies GROUP BY 3`,
		`SELECT 'schedules', 0, id / 1024, COUNT(*) FROM schedules GROUP BY 3`,
		`SELECT 'webhooks', COALESCE(project_id, 0), id / 1024, COUNT(*) FROM webhook_policies GROUP BY 2, 3`,
		`SELECT 'members in role', project_id, role_id, COUNT(*) FROM members GROUP BY 2, 3`,
	} {
		var wrong int
		require.NoError(t, f.database.DB.QueryRowContext(t.Context(), `
			SELECT COUNT(*) FROM (`+text+` EXCEPT SELECT list, owner, part, CAST(SUM(entries) AS BIGINT) FROM list_counts GROUP BY 1, 2, 3) AS missing`).Scan(&wrong))
		require.Zero(t, wrong, "%s is counted wrong", text)
	}
	var wrong int
	for _, text := range []string{
		`SELECT 'artifacts of project', project_id, COUNT(*) FROM artifacts WHERE listed GROUP BY 2`,
		`SELECT 'deletions', project_id, COUNT(*) FROM deletions WHERE root_id IS NULL GROUP BY 2`,
		`SELECT 'stored bytes', 0, CAST(SUM(size) AS BIGINT) FROM blobs HAVING COUNT(*) > 0`,
		`SELECT 'used bytes', 0, CAST(SUM(used) AS BIGINT) FROM project_usage HAVING SUM(used) > 0`,
	} {
		require.NoError(t, f.database.DB.QueryRowContext(t.Context(), `
			SELECT COUNT(*) FROM (`+text+` EXCEPT SELECT list, owner, CAST(SUM(entries) AS BIGINT) FROM list_counts GROUP BY 1, 2) AS missing`).Scan(&wrong))
		require.Zero(t, wrong, "%s is summed wrong", text)
	}
	// What there is none of has no count but zeros.
	require.NoError(t, f.database.DB.QueryRowContext(t.Context(), `
		SELECT COUNT(*) FROM (SELECT list, owner, part, CAST(SUM(entries) AS BIGINT) AS entries FROM list_counts GROUP BY 1, 2, 3) AS c WHERE entries < 0 AND list NOT IN ('artifacts of project', 'deletions', 'stored bytes', 'used bytes', 'artifacts of repository', 'repositories of project')
			OR list = 'users' AND entries <> (SELECT COUNT(*) FROM users WHERE deleted_at IS NULL AND id / 1024 = part)
			OR list = 'members' AND entries <> (SELECT COUNT(*) FROM members WHERE project_id = owner AND id / 1024 = part)
			OR list = 'executions' AND entries <> (SELECT COUNT(*) FROM executions WHERE id / 1024 = part)
			OR list = 'members in role' AND entries <> (SELECT COUNT(*) FROM members WHERE project_id = owner AND role_id = part)
			OR list = 'repositories in public' AND entries <> (
				SELECT COUNT(*) FROM repositories r JOIN projects p ON p.id = r.project_id WHERE p.public AND r.id / 1024 = part)
			OR list = 'public repositories' AND entries <> (
				SELECT COUNT(*) FROM repositories r JOIN projects p ON p.id = r.project_id WHERE p.public AND p.id / 1024 = part)
			OR list = 'artifacts' AND entries <> (SELECT COUNT(*) FROM artifacts WHERE listed AND repository_id = owner AND id / 1024 = part)`).Scan(&wrong))
	require.Zero(t, wrong, "counts are left behind")
	f.recountRanges(t)
}

// testListCounts makes, changes and deletes what is listed.
func testListCounts(t *testing.T, f fixture) {
	var user metadata.User
	var group metadata.UserGroup
	var project metadata.Project
	f.recountLists(t)
	steps := []func(ctx context.Context, tx *metadata.Tx) error{
		func(ctx context.Context, tx *metadata.Tx) (err error) {
			user, err = tx.CreateUser(ctx, metadata.User{Name: "carol"})
			return err
		},
		func(ctx context.Context, tx *metadata.Tx) (err error) {
			group, err = tx.CreateUserGroup(ctx, metadata.UserGroup{Name: "g", Kind: metadata.GroupOIDC})
			return err
		},
		func(ctx context.Context, tx *metadata.Tx) (err error) {
			project, err = tx.CreateProject(ctx, metadata.Project{Name: "open", Public: true})
			return err
		},
		func(ctx context.Context, tx *metadata.Tx) error {
			for _, m := range []metadata.Member{{ProjectID: f.project.ID, UserID: user.ID}, {ProjectID: project.ID, UserID: user.ID}, {ProjectID: project.ID, GroupID: group.ID}} {
				m.RoleID = 2
				id, err := tx.AddMember(ctx, m)
				if err != nil {
					return err
				}
				if err := tx.UpdateMember(ctx, m.ProjectID, id, 3); err != nil {
					return err
				}
			}
			return nil
		},
		func(ctx context.Context, tx *metadata.Tx) error {
			for _, projectID := range []int64{0, f.project.ID, project.ID} {
				if _, err := tx.CreateLabel(ctx, metadata.Label{ProjectID: projectID, Name: "l"}); err != nil {
					return err
				}
				name := fmt.Sprintf("robot$%d", projectID)
				if _, err := tx.CreateRobot(ctx, metadata.Robot{Name: name, PlainName: name[:5] + name[6:], ProjectID: projectID, CreatorKind: "local"}); err != nil {
					return err
				}
			}
			return nil
		},
		func(ctx context.Context, tx *metadata.Tx) error {
			for _, name := range []oci.Repository{"open/a", "open/b"} {
				if _, err := tx.EnsureRepository(ctx, project.ID, name); err != nil {
					return err
				}
			}
			return nil
		},
		func(ctx context.Context, tx *metadata.Tx) error {
			repository, err := tx.LockRepository(ctx, "open/a")
			if err == nil {
				_, _, err = tx.PutManifest(ctx, newManifest(repository))
			}
			return err
		},
		func(ctx context.Context, tx *metadata.Tx) error {
			project.Public = false
			_, err := tx.UpdateProject(ctx, project)
			return err
		},
		func(ctx context.Context, tx *metadata.Tx) error {
			project.Public = true
			_, err := tx.UpdateProject(ctx, project)
			return err
		},
		func(ctx context.Context, tx *metadata.Tx) error { return tx.DeleteUser(ctx, user.ID) },
		func(ctx context.Context, tx *metadata.Tx) error { return tx.DeleteUserGroup(ctx, group.ID) },
		func(ctx context.Context, tx *metadata.Tx) error {
			for _, name := range []oci.Repository{"open/a", "open/b"} {
				repository, err := tx.Repository(ctx, name)
				if err != nil {
					return err
				}
				if err := tx.DeleteRepository(ctx, repository.ID); err != nil {
					return err
				}
				f.requireNothingOf(ctx, t, tx, repository.ID)
			}
			return nil
		},
		func(ctx context.Context, tx *metadata.Tx) error { return tx.DeleteProject(ctx, project.ID) },
	}
	for _, step := range steps {
		f.write(t, step)
		f.recountLists(t)
	}
	statistics, err := f.Statistics(t.Context(), metadata.Visibility{All: true})
	require.NoError(t, err)
	require.Equal(t, metadata.Statistics{PrivateProjects: 1, PrivateRepositories: 1}, statistics)
}

// requireNothingOf requires that a deleted repository has no artifacts left.
func (f fixture) requireNothingOf(ctx context.Context, t *testing.T, tx *metadata.Tx, repositoryID int64) {
	t.Helper()
	rows, total, err := tx.ListArtifacts(ctx, metadata.Collection{RepositoryID: repositoryID}, metadata.Query{Limit: 10})
	require.NoError(t, err)
	require.Empty(t, rows)
	require.Zero(t, total)
}

// foldCounts folds counts again and again until the context ends; it breaks no transaction off.
func (f fixture) foldCounts(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := f.FoldCounts(context.WithoutCancel(ctx)); err != nil {
			return err
		}
	}
	return nil
}

// addRepositories makes n repositories whose ids lie apart, so that their counts have many parts.
func (f fixture) addRepositories(t *testing.T, n int) {
	t.Helper()
	_, err := f.database.DB.ExecContext(t.Context(), fmt.Sprintf(`
		INSERT INTO repositories (id, project_id, name, created_at, updated_at)
		WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < %d)
		SELECT 1000 + i * 300, %d, 'library/r' || SUBSTR(CAST(100000 + i AS TEXT), 2), i, 1000000 - i FROM s`, n, f.project.ID))
	require.NoError(t, err)
}

// testListPages compares each page of a list with the whole, whichever way it is found.
func testListPages(t *testing.T, f fixture) {
	f.addRepositories(t, 40)
	f.recountLists(t)
	everything := metadata.Visibility{All: true}
	for _, of := range []struct {
		view      metadata.Visibility
		projectID int64
	}{{everything, 0}, {everything, f.project.ID}, {metadata.Visibility{Projects: []string{"library", "none"}}, 0}} {
		for _, orders := range [][]metadata.Order{
			nil,
			{{Field: "creation_time"}},
			{{Field: "creation_time", Descending: true}},
			{{Field: "name"}},
			{{Field: "name", Descending: true}},
			{{Field: "update_time"}},
			{{Field: "repository_id", Descending: true}, {Field: "name"}},
		} {
			list := func(offset, limit int64) []int64 {
				rows, total, err := f.ListRepositories(t.Context(), of.view, of.projectID, metadata.Query{Order: orders, Offset: offset, Limit: limit})
				require.NoError(t, err)
				require.EqualValues(t, 41, total)
				ids := make([]int64, 0, len(rows))
				for _, row := range rows {
					ids = append(ids, row.ID)
				}
				return ids
			}
			whole := list(0, -1)
			require.Len(t, whole, 41)
			for offset := 0; offset < 44; offset += 2 {
				for _, limit := range []int{1, 7, 50} {
					require.Equal(t, slices.Clone(whole[min(offset, 41):min(offset+limit, 41)]), list(int64(offset), int64(limit)), "%v from %d", orders, offset)
				}
			}
		}
	}
}

// testPartsOfNames looks for what one, many and none of the names have in them, in whatever case.
func testPartsOfNames(t *testing.T, f fixture) {
	f.addRepositories(t, 1_200)
	for text, expected := range map[string]int64{
		"R00042": 1, "r0004": 10, "r00": 999, "library/r": 1_200, "0": 1_200, "42": 22, "zz": 0, "none": 0, "": 1_201, "r0%": 0, "r_0": 0, `r\0`: 0, `"r"`: 0, "'": 0,
		"r00 ": 0, "name:r00": 0, "r00*": 0, "éé": 0, "library/app": 1, "日本語": 0,
	} {
		for _, view := range []metadata.Visibility{{All: true}, {Projects: []string{"library"}}, {}} {
			condition := metadata.Condition{Field: "name", Comparison: metadata.Contains, Values: []any{text}}
			rows, total, err := f.ListRepositories(t.Context(), view, 0, metadata.Query{Limit: 5, Conditions: []metadata.Condition{condition}})
			require.NoError(t, err, text)
			wanted := min(expected, metadata.FilteredTotal)
			if !view.All && view.Projects == nil {
				wanted = 0
			}
			require.Equal(t, wanted, total, "%q", text)
			require.Len(t, rows, int(min(5, wanted)), "%q", text)
			found, err := f.SearchRepositories(t.Context(), view, text, 7)
			require.NoError(t, err)
			require.Len(t, found, int(min(7, wanted)), "%q", text)
			require.True(t, slices.IsSortedFunc(found, func(a, b metadata.FoundRepository) int { return int(a.ID - b.ID) }), "names are in the order of ids here")
		}
	}
	for offset, first := range map[int64]oci.Repository{0: "library/r00999", 5: "library/r00994", 994: "library/r00005"} {
		most := metadata.Condition{Field: "name", Comparison: metadata.Contains, Values: []any{"r00"}}
		rows, total, err := f.ListRepositories(t.Context(), metadata.Visibility{All: true}, 0, metadata.Query{Offset: offset, Limit: 5, Conditions: []metadata.Condition{most}})
		require.NoError(t, err)
		require.EqualValues(t, 999, total)
		require.Len(t, rows, 5)
		require.Equal(t, first, rows[0].Name)
	}
	last := metadata.Condition{Field: "name", Comparison: metadata.Contains, Values: []any{"r0"}}
	rows, _, err := f.ListRepositories(t.Context(), metadata.Visibility{All: true}, 0, metadata.Query{Offset: 1_195, Limit: 10, Conditions: []metadata.Condition{last}})
	require.NoError(t, err)
	require.Len(t, rows, 5)
	require.Equal(t, oci.Repository("library/r00001"), rows[4].Name)
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error { return tx.DeleteRepository(ctx, rows[4].ID) })
	found, err := f.SearchRepositories(t.Context(), metadata.Visibility{All: true}, "r00001", 7)
	require.NoError(t, err)
	require.Empty(t, found)
}

// testPartsOfPeople looks for parts of the names that people give, which change, and that members have from others.
func testPartsOfPeople(t *testing.T, f fixture) {
	var user metadata.User
	var group metadata.UserGroup
	var label metadata.Label
	var robot metadata.Robot
	f.write(t, func(ctx context.Context, tx *metadata.Tx) (err error) {
		if user, err = tx.CreateUser(ctx, metadata.User{Name: "Zoe-Quux"}); err != nil {
			return err
		}
		if group, err = tx.CreateUserGroup(ctx, metadata.UserGroup{Name: "a-quux-group", Kind: metadata.GroupOIDC}); err != nil {
			return err
		}
		if label, err = tx.CreateLabel(ctx, metadata.Label{ProjectID: f.project.ID, Name: "quuxed é"}); err != nil {
			return err
		}
		if robot, err = tx.CreateRobot(ctx, metadata.Robot{Name: "robot$quux", PlainName: "robotquux", ProjectID: f.project.ID, CreatorKind: "local"}); err != nil {
			return err
		}
		if _, err = tx.CreateProject(ctx, metadata.Project{Name: "quuxes"}); err != nil {
			return err
		}
		for _, m := range []metadata.Member{{UserID: user.ID}, {GroupID: group.ID}} {
			m.ProjectID, m.RoleID = f.project.ID, 2
			if _, err = tx.AddMember(ctx, m); err != nil {
				return err
			}
		}
		return nil
	})
	found := func(text string) (names []string) {
		t.Helper()
		with := func(field string) metadata.Query {
			return metadata.Query{Limit: 9, Conditions: []metadata.Condition{{Field: field, Comparison: metadata.Contains, Values: []any{text}}}}
		}
		note := func(name string, total int64, err error, rows int) {
			require.NoError(t, err)
			require.EqualValues(t, rows, total)
			names = append(names, name)
		}
		users, total, err := f.ListUsers(t.Context(), with("username"))
		for _, v := range users {
			note("user "+v.Name, total, err, len(users))
		}
		groups, total, err := f.ListUserGroups(t.Context(), with("group_name"))
		for _, v := range groups {
			note("group "+v.Name, total, err, len(groups))
		}
		labels, total, err := f.ListLabels(t.Context(), f.project.ID, with("name"))
		for _, v := range labels {
			note("label "+v.Name, total, err, len(labels))
		}
		robots, total, err := f.ListRobots(t.Context(), f.project.ID, with("name"))
		for _, v := range robots {
			note("robot "+v.Name, total, err, len(robots))
		}
		projects, total, err := f.ListProjects(t.Context(), metadata.Visibility{All: true}, with("name"))
		for _, v := range projects {
			note("project "+v.Name, total, err, len(projects))
		}
		members, total, err := f.ListMembers(t.Context(), f.project.ID, with("entity_name"))
		for _, v := range members {
			note("member "+v.Name, total, err, len(members))
		}
		return names
	}
	require.Equal(t, []string{
		"user Zoe-Quux", "group a-quux-group", "label quuxed é", "robot robot$quux", "project quuxes", "member Zoe-Quux", "member a-quux-group",
	}, found("QUUX"))
	require.Equal(t, []string{"user Zoe-Quux", "member Zoe-Quux"}, found("oe-q"))
	hidden, total, err := f.ListProjects(t.Context(), metadata.Visibility{}, metadata.Query{Limit: 9, Conditions: []metadata.Condition{{Field: "name", Comparison: metadata.Contains, Values: []any{"quux"}}}})
	require.NoError(t, err)
	require.Empty(t, hidden)
	require.Zero(t, total)

	f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
		user.Name, label.Name = "bob", "corge"
		if _, err := tx.UpdateUser(ctx, user); err != nil {
			return err
		}
		if _, err := tx.UpdateLabel(ctx, label); err != nil {
			return err
		}
		_, err := tx.RenameUserGroup(ctx, group.ID, "corge-group")
		return err
	})
	require.Equal(t, []string{"group corge-group", "label corge", "member corge-group"}, found("corge"))
	require.Equal(t, []string{"user bob", "member bob"}, found("bob"))
	require.Equal(t, []string{"robot robot$quux", "project quuxes"}, found("quux"))
	members, total, err := f.ListMembers(t.Context(), f.project.ID, metadata.Query{Offset: 1, Limit: 1})
	require.NoError(t, err)
	require.EqualValues(t, 2, total)
	require.Equal(t, "corge-group", members[0].Name)

	f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
		if err := tx.DeleteLabel(ctx, label.ID); err != nil {
			return err
		}
		if err := tx.DeleteRobot(ctx, robot.ID); err != nil {
			return err
		}
		if err := tx.DeleteUser(ctx, user.ID); err != nil {
			return err
		}
		return tx.DeleteUserGroup(ctx, group.ID)
	})
	require.Empty(t, found("corge"))
	require.Empty(t, found("bob"))
	require.Equal(t, []string{"project quuxes"}, found("quux"))
}

// testFilteredTotals counts what a filter leaves as far as it is counted.
func testFilteredTotals(t *testing.T, f fixture) {
	const beyond = metadata.FilteredTotal + 50
	f.addRepositories(t, beyond)
	everything := []metadata.Condition{{Field: "name", Comparison: metadata.Contains, Values: []any{"library/r"}}}
	for _, page := range []struct{ offset, limit, total, rows int64 }{
		{0, 10, metadata.FilteredTotal, 10},
		{metadata.FilteredTotal, 10, metadata.FilteredTotal + 11, 10},
		{beyond - 10, 10, beyond + 1, 10},
		{beyond - 5, 10, beyond, 5},
		{beyond, 10, metadata.FilteredTotal, 0},
		{0, -1, beyond, beyond},
	} {
		rows, total, err := f.ListRepositories(t.Context(), metadata.Visibility{All: true}, 0, metadata.Query{Offset: page.offset, Limit: page.limit, Conditions: everything})
		require.NoError(t, err)
		require.EqualValues(t, page.rows, len(rows), page)
		require.Equal(t, page.total, total, page)
	}
}
