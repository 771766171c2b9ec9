package metadatatest

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
)

func testTagPages(t *testing.T, f fixture) {
	ctx := t.Context()
	m := newManifest(f.repository)
	f.putManifest(t, m)
	// Language-aware collations order these otherwise, some SQL operators fold their case.
	names := []string{"Z", "a", "B", "_x", "a-b", "a.b", "a_b", "ab", "A", "1", "10", "2", "aB", "a0"}
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
		for _, name := range names {
			if _, err := tx.PutTag(ctx, f.repository.ID, name, m.Digest, time.Now()); err != nil {
				return err
			}
		}
		return nil
	})
	slices.Sort(names)
	everything, err := f.Tags(ctx, "library/app", "", -1)
	require.NoError(t, err)
	require.Equal(t, names, everything)
	for size := 1; size <= len(names)+1; size++ {
		var walked []string
		for last := ""; ; last = walked[len(walked)-1] {
			page, err := f.Tags(ctx, "library/app", last, size)
			require.NoError(t, err)
			require.LessOrEqual(t, len(page), size)
			walked = append(walked, page...)
			if len(page) < size {
				break
			}
		}
		require.Equal(t, names, walked, "pages of %d", size)
	}
	page, err := f.Tags(ctx, "library/app", "a!", 1)
	require.NoError(t, err, "last need not exist")
	require.Equal(t, []string{"a-b"}, page)
	page, err = f.Tags(ctx, "library/app", "", 0)
	require.NoError(t, err)
	require.Empty(t, page)
	page, err = f.Tags(ctx, "library/app", "zzz", 10)
	require.NoError(t, err)
	require.Empty(t, page)
	_, err = f.Tags(ctx, "library/none", "", 10)
	require.ErrorIs(t, err, metadata.ErrNotFound)
}

// catalogNames are repositories of projects whose own order is another than that of the repositories' names.
var catalogNames = []oci.Repository{"a-b/x", "a.b/x", "a/x", "a/y/z", "a0/x", "a_b/x", "b/x", "b/y", "c/x"}

func testCatalog(t *testing.T, f fixture) {
	ctx := t.Context()
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error { return tx.DeleteRepository(ctx, f.repository.ID) })
	for _, name := range catalogNames {
		f.addRepository(t, name, name.Project() == "a" || name.Project() == "a-b" || name.Project() == "a_b")
	}
	for i := range 150 { // More projects than are looked up at once.
		f.addRepository(t, oci.Repository(fmt.Sprintf("many%03d/x", i)), true)
	}
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
		for _, name := range []string{"b", "a"} { // a is public as well.
			project, err := tx.Project(ctx, name)
			if err != nil {
				return err
			}
			if _, err := tx.SetMember(ctx, metadata.Member{ProjectID: project.ID, UserID: f.user.ID, RoleID: 5}); err != nil {
				return err
			}
		}
		return nil
	})
	everything, err := f.Catalog(ctx, metadata.Visibility{All: true}, "", -1)
	require.NoError(t, err)
	require.True(t, slices.IsSorted(everything))
	require.Len(t, everything, len(catalogNames)+150)

	visible := func(projects ...string) (names []oci.Repository) {
		for _, name := range everything {
			if slices.Contains(projects, name.Project()) || name.Project() > "many" {
				names = append(names, name)
			}
		}
		return names
	}
	for _, viewer := range []struct {
		name       string
		visibility metadata.Visibility
		expected   []oci.Repository
	}{
		{"administrator", metadata.Visibility{All: true}, everything},
		{"anonymous", metadata.Visibility{}, visible("a", "a-b", "a_b")},
		{"member", metadata.Visibility{UserID: f.user.ID}, visible("a", "a-b", "a_b", "b")},
	} {
		for _, size := range []int{-1, 1, 2, 3, 7, 64, 1000} {
			var walked []oci.Repository
			for last := ""; ; last = string(walked[len(walked)-1]) {
				page, err := f.Catalog(ctx, viewer.visibility, last, size)
				require.NoError(t, err)
				walked = append(walked, page...)
				if size < 0 || len(page) < size {
					break
				}
			}
			require.Equal(t, viewer.expected, walked, "%s, pages of %d", viewer.name, size)
		}
	}
	for last, first := range map[string]oci.Repository{"a": "a-b/x", "a/": "a/x", "a/x": "a/y/z", "a.": "a/x", "a/zzz": "a_b/x", "a0": "a_b/x"} {
		page, err := f.Catalog(ctx, metadata.Visibility{}, last, 1)
		require.NoError(t, err)
		require.Equal(t, []oci.Repository{first}, page, "after %q", last)
	}
	page, err := f.Catalog(ctx, metadata.Visibility{}, "", 0)
	require.NoError(t, err)
	require.Empty(t, page)
}

func testVisibility(t *testing.T, f fixture) {
	ctx := t.Context()
	blob := f.putBlob(t, f.repository)
	administrator, anonymous, user := metadata.Visibility{All: true}, metadata.Visibility{}, metadata.Visibility{UserID: f.user.ID}
	robot := metadata.Visibility{Projects: []string{"library", "library", "b", "none", `it's "quoted"`}}
	check := func(v metadata.Visibility, seen bool) {
		t.Helper()
		projects, err := f.Projects(ctx, v, "", 10)
		require.NoError(t, err)
		name, err := f.RepositoryWithBlob(ctx, v, blob.Digest)
		if !seen {
			require.Empty(t, projects)
			require.ErrorIs(t, err, metadata.ErrNotFound)
			return
		}
		require.Len(t, projects, 1)
		require.NoError(t, err)
		require.Equal(t, f.repository.Name, name)
	}
	check(administrator, true)
	check(anonymous, false)
	check(user, false)
	check(robot, true)
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
		_, err := tx.SetMember(ctx, metadata.Member{ProjectID: f.project.ID, UserID: f.user.ID, RoleID: 5})
		return err
	})
	check(anonymous, false)
	check(user, true)
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
		f.project.Public = true
		_, err := tx.UpdateProject(ctx, f.project)
		return err
	})
	check(anonymous, true)
	check(user, true)
	_, err := f.RepositoryWithBlob(ctx, administrator, newDigest())
	require.ErrorIs(t, err, metadata.ErrNotFound)

	for _, name := range []oci.Repository{"Z/x", "a/x", "b/x"} {
		f.addRepository(t, name, name != "b/x")
	}
	for _, view := range []struct {
		viewer   metadata.Visibility
		expected []string
	}{
		{administrator, []string{"Z", "a", "b", "library"}},
		{user, []string{"Z", "a", "library"}},
		{anonymous, []string{"Z", "a", "library"}},
		{robot, []string{"Z", "a", "b", "library"}},
	} {
		var names []string
		for after := ""; ; after = names[len(names)-1] {
			page, err := f.Projects(ctx, view.viewer, after, 1)
			require.NoError(t, err)
			if len(page) == 0 {
				break
			}
			names = append(names, page[0].Name)
		}
		require.Equal(t, view.expected, names)
		listed, total, err := f.ListProjects(ctx, view.viewer, metadata.Query{Limit: 2})
		require.NoError(t, err)
		require.Len(t, listed, 2)
		require.EqualValues(t, len(view.expected), total)
	}
	repositories, err := f.Catalog(ctx, metadata.Visibility{Projects: []string{"b"}}, "", 10)
	require.NoError(t, err)
	require.Equal(t, []oci.Repository{"Z/x", "a/x", "b/x", "library/app"}, repositories)
}
