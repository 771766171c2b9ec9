package metadatatest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
)

// taggedRepository is a repository whose tags are known.
type taggedRepository struct {
	fixture
	repository metadata.Repository
	manifests  []oci.Digest
	// tags are the numbers of the manifests that they stand for.
	tags map[string]int
}

func (f fixture) newTagged(t *testing.T, name oci.Repository, manifests int) *taggedRepository {
	t.Helper()
	r := &taggedRepository{fixture: f, tags: map[string]int{}}
	f.write(t, func(ctx context.Context, tx *metadata.Tx) (err error) {
		r.repository, err = tx.EnsureRepository(ctx, f.project.ID, name)
		return err
	})
	for range manifests {
		m := newManifest(r.repository)
		f.putManifest(t, m)
		r.manifests = append(r.manifests, m.Digest)
	}
	return r
}

// put lets each of the tags from one number to another stand for the manifest that the number of the tag chooses.
func (r *taggedRepository) put(t *testing.T, from, to int, manifest func(i int) int) {
	t.Helper()
	r.write(t, func(ctx context.Context, tx *metadata.Tx) error {
		for i := from; i < to; i++ {
			tag := fmt.Sprintf("V1.%04d-build_X", i)
			r.tags[tag] = manifest(i) % len(r.manifests)
			if _, err := tx.PutTag(ctx, r.repository.ID, tag, r.manifests[r.tags[tag]], time.Now()); err != nil {
				return err
			}
		}
		return nil
	})
}

// remove deletes the tags from one number to another.
func (r *taggedRepository) remove(t *testing.T, from, to int) {
	t.Helper()
	r.write(t, func(ctx context.Context, tx *metadata.Tx) error {
		for i := from; i < to; i++ {
			tag := fmt.Sprintf("V1.%04d-build_X", i)
			delete(r.tags, tag)
			if err := tx.DeleteTag(ctx, r.repository.ID, tag); err != nil {
				return err
			}
		}
		return nil
	})
}

// requireFound looks for parts of tags and compares the artifacts with those that have them.
func (r *taggedRepository) requireFound(t *testing.T) {
	t.Helper()
	for text, comparison := range map[string]metadata.Comparison{
		"V1.0007": metadata.Contains, "v1.1225-BUILD": metadata.Contains, "0042-": metadata.Contains, "-build_x": metadata.Contains, "1519": metadata.Contains,
		"17": metadata.Contains, "x": metadata.Contains, "none": metadata.Contains, "build%": metadata.Contains, "b_ild": metadata.Contains, `"`: metadata.Contains,
		"0007*": metadata.Contains, "V1.0042-build_X": metadata.Equal, "V1.1225-build_X": metadata.Equal, "V1.1519-build_X": metadata.Equal,
		"v1.0042-build_x": metadata.Equal, "V1.0042-build": metadata.Equal, "V1": metadata.Equal,
	} {
		having := map[oci.Digest]bool{}
		for tag, number := range r.tags {
			if tag == text || comparison == metadata.Contains && strings.Contains(strings.ToLower(tag), strings.ToLower(text)) {
				having[r.manifests[number]] = true
			}
		}
		for _, of := range []metadata.Collection{{RepositoryID: r.repository.ID}, {ProjectID: r.project.ID}} {
			found := map[oci.Digest]bool{}
			rows, total, err := r.ListArtifacts(t.Context(), of, metadata.Query{Limit: 1_000, Conditions: []metadata.Condition{
				{Field: "tags", Comparison: comparison, Values: []any{text}}, {Field: "repository_id", Comparison: metadata.Equal, Values: []any{r.repository.ID}},
			}})
			require.NoError(t, err, text)
			for _, row := range rows {
				found[row.Digest] = true
			}
			require.Equal(t, having, found, "%q in %+v", text, of)
			require.EqualValues(t, len(having), total, "%q in %+v", text, of)
		}
	}
}

// testPartsOfTags looks for parts of tags while a repository gets more of them than are looked through, and loses them again.
func testPartsOfTags(t *testing.T, f fixture) {
	r, other := f.newTagged(t, f.repository.Name, 60), f.newTagged(t, "library/other", 3)
	by := func(n int) func(int) int { return func(i int) int { return i / n } }
	other.put(t, 0, 50, by(1))
	r.put(t, 0, 1_500, by(7))
	r.requireFound(t)
	other.requireFound(t)
	r.put(t, 0, 100, by(3)) // others move, and some stay
	r.put(t, 1_500, 1_520, by(5))
	r.remove(t, 1_220, 1_240)
	r.requireFound(t)
	r.put(t, 1_220, 1_230, by(11)) // they come again
	r.requireFound(t)

	gone := r.manifests[5]
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
		deleted, err := tx.DeleteManifest(ctx, r.repository.ID, gone)
		for _, tag := range deleted {
			delete(r.tags, tag)
		}
		return err
	})
	r.requireFound(t)

	names := make([]string, 0, len(r.tags))
	for tag := range r.tags {
		names = append(names, tag)
	}
	slices.Sort(names)
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
		for _, tag := range names[3:] {
			delete(r.tags, tag)
			if err := tx.DeleteTag(ctx, r.repository.ID, tag); err != nil {
				return err
			}
		}
		return nil
	})
	r.requireFound(t)
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error { return tx.DeleteRepository(ctx, other.repository.ID) })
	r.requireFound(t)
}

// testPartsOfTagsOfMany looks for tags in a project of many repositories with few tags each, all of which together are more than are
// looked through.
func testPartsOfTagsOfMany(t *testing.T, f fixture) {
	const repositories, tags = 45, 30
	all := make([]*taggedRepository, repositories)
	for i := range all {
		all[i] = f.newTagged(t, oci.Repository(fmt.Sprintf("library/small-%02d", i)), 2)
		all[i].put(t, 0, tags, func(tag int) int { return tag % 2 })
	}
	requireFound := func(text string, comparison metadata.Comparison, expected int) {
		t.Helper()
		rows, total, err := f.ListArtifacts(t.Context(), metadata.Collection{ProjectID: f.project.ID}, metadata.Query{
			Limit: 1_000, Conditions: []metadata.Condition{{Field: "tags", Comparison: comparison, Values: []any{text}}},
		})
		require.NoError(t, err, text)
		require.Len(t, rows, expected, text)
		require.EqualValues(t, expected, total, text)
	}
	found := func(n int) {
		t.Helper()
		requireFound("v1.0017-BUILD", metadata.Contains, n)
		requireFound("V1.0017-build_X", metadata.Equal, n)
		requireFound("v1.0017-build_x", metadata.Equal, 0)
		requireFound("1.0017-build_X", metadata.Equal, 0)
		requireFound("build_X", metadata.Equal, 0)
		requireFound("none", metadata.Contains, 0)
	}
	found(repositories)
	all[3].remove(t, 17, 18)
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
		return tx.DeleteRepository(ctx, all[4].repository.ID)
	})
	found(repositories - 2)
	all[3].put(t, 0, 2*tags, func(int) int { return 0 })
	all[5].put(t, 17, 18, func(int) int { return 0 })
	found(repositories - 1)
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
		_, err := tx.PutTag(ctx, all[6].repository.ID, "v1", all[6].manifests[1], time.Now())
		return err
	})
	requireFound("v1", metadata.Equal, 1)
	for _, r := range []*taggedRepository{all[0], all[3], all[44]} {
		r.requireFound(t)
	}
}
