package metadatatest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
)

// testArtifactCounts does many things to a repository in any order, and compares the counts with a recount.
func testArtifactCounts(t *testing.T, f fixture) {
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same things in every run
	var pushed []metadata.Manifest
	some := func() metadata.Manifest { return pushed[random.IntN(len(pushed))] }
	push := func(ctx context.Context, tx *metadata.Tx) error {
		m := newManifest(f.repository)
		m.Facts = metadata.Facts{Kind: "IMAGE", ContentSize: int64(len(m.Payload))}
		switch random.IntN(4) {
		case 0:
			if len(pushed) > 0 {
				m.Subject = some().Digest
				m.Facts.Accessory, m.Facts.AccessoryOf = "subject.accessory", m.Subject
			}
		case 1:
			m.MediaType = oci.MediaTypeImageIndex
			for range min(len(pushed), 3) {
				m.References = append(m.References, oci.ManifestReference{Kind: oci.ReferenceManifest, Descriptor: oci.Descriptor{Digest: some().Digest}})
			}
		}
		if len(pushed) > 3 && random.IntN(3) == 0 {
			m = some() // once more, or again after it was deleted
			m.MediaType = fmt.Sprintf("a/%d", random.IntN(2))
		}
		pushed = append(pushed, m)
		_, _, err := tx.PutManifest(ctx, m)
		return err
	}
	for step := range 150 {
		f.write(t, func(ctx context.Context, tx *metadata.Tx) (err error) {
			if _, err := tx.LockRepository(ctx, f.repository.Name); err != nil {
				return err
			}
			switch kind := random.IntN(10); {
			case kind < 4 || len(pushed) == 0:
				err = push(ctx, tx)
			case kind < 7:
				_, err = tx.PutTag(ctx, f.repository.ID, fmt.Sprintf("t%d", random.IntN(6)), some().Digest, time.Now())
			case kind < 8:
				err = tx.DeleteTag(ctx, f.repository.ID, fmt.Sprintf("t%d", random.IntN(6)))
			case kind < 9:
				err = tx.MarkAccessory(ctx, f.repository.ID, some().Digest, "signature.cosign", some().Digest)
			default:
				_, err = tx.DeleteManifest(ctx, f.repository.ID, some().Digest)
			}
			if errors.Is(err, metadata.ErrNotFound) {
				err = nil
			}
			return err
		})
		if step%10 == 9 {
			f.recount(t)
		}
	}
	other := f.addRepository(t, "library/other", false)
	f.recount(t)
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error { return tx.DeleteRepository(ctx, f.repository.ID) })
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error { return tx.DeleteRepository(ctx, other.ID) })
	f.recount(t)
	_, total, err := f.ListRepositories(t.Context(), metadata.Visibility{All: true}, 0, metadata.Query{})
	require.NoError(t, err)
	require.Zero(t, total)
}

// recount compares what is counted as it changes with what there is.
func (f fixture) recount(t *testing.T) {
	t.Helper()
	for name, text := range map[string]string{
		"tags": `SELECT COUNT(*) FROM artifacts a WHERE a.tag_count <> (SELECT COUNT(*) FROM tags t WHERE t.manifest_id = a.id)`,
		"indexes": `SELECT COUNT(*) FROM artifacts a JOIN manifests m ON m.id = a.id WHERE a.index_count <> (
			SELECT COUNT(*) FROM manifest_references r WHERE r.repository_id = m.repository_id AND r.digest = m.digest AND r.kind = 'manifest')`,
		"artifacts": `SELECT COUNT(*) FROM repositories r WHERE r.artifact_count + (SELECT COALESCE(SUM(c.entries), 0) FROM list_counts c WHERE c.list = 'artifacts of repository' AND c.owner = r.id) <> (
			SELECT COUNT(*) FROM artifacts a WHERE a.repository_id = r.id AND a.accessory_of IS NULL AND (a.tag_count > 0 OR a.index_count = 0))`,
		"repositories": `SELECT COUNT(*) FROM projects p WHERE p.repository_count + (
			SELECT COALESCE(SUM(c.entries), 0) FROM list_counts c WHERE c.list = 'repositories of project' AND c.owner = p.id) <> (SELECT COUNT(*) FROM repositories r WHERE r.project_id = p.id)`,
		"manifests": `SELECT COUNT(*) FROM manifests m WHERE NOT EXISTS (SELECT 1 FROM artifacts a WHERE a.id = m.id)`,
	} {
		var wrong int
		require.NoError(t, f.database.DB.QueryRowContext(t.Context(), text).Scan(&wrong))
		require.Zero(t, wrong, "%s are counted wrong", name)
	}
	f.recountLists(t)
}

func testArtifactPages(t *testing.T, f fixture) {
	ctx := t.Context()
	var digests []oci.Digest
	for i := range 25 {
		m := newManifest(f.repository)
		m.Facts = metadata.Facts{Kind: []string{"IMAGE", "CHART"}[i%2], ContentSize: int64(1000 - i)}
		f.putManifest(t, m)
		digests = append([]oci.Digest{m.Digest}, digests...)
		f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
			_, err := tx.PutTag(ctx, f.repository.ID, fmt.Sprintf("v%d", i), m.Digest, time.Now())
			return err
		})
	}
	for _, c := range []metadata.Collection{{ProjectID: f.project.ID, RepositoryID: f.repository.ID}, {ProjectID: f.project.ID}} {
		list := func(q metadata.Query) ([]oci.Digest, int64) {
			rows, total, err := f.ListArtifacts(ctx, c, q)
			require.NoError(t, err)
			var found []oci.Digest
			for _, row := range rows {
				require.Equal(t, f.repository.Name, row.Repository)
				found = append(found, row.Digest)
			}
			return found, total
		}
		first, _, err := f.ListArtifacts(ctx, c, metadata.Query{Limit: 10})
		require.NoError(t, err)
		found, total := list(metadata.Query{Limit: 10, Offset: 10})
		require.EqualValues(t, 25, total)
		require.Equal(t, digests[10:20], found)
		found, _ = list(metadata.Query{Limit: 10, Offset: 10, After: first[9].Place()})
		require.Equal(t, digests[10:20], found, "the same by place")
		found, _ = list(metadata.Query{Limit: -1, Order: []metadata.Order{{Field: "size"}}})
		require.Equal(t, digests, found)

		where := func(field string, comparison metadata.Comparison, values ...any) ([]oci.Digest, int64) {
			return list(metadata.Query{Limit: -1, Conditions: []metadata.Condition{{Field: field, Comparison: comparison, Values: values}}})
		}
		found, total = where("type", metadata.Equal, "CHART")
		require.Len(t, found, 12)
		require.EqualValues(t, 12, total)
		found, _ = where("tags", metadata.Equal, "v24")
		require.Equal(t, digests[:1], found)
		found, _ = where("tags", metadata.AnyOf, "v24", "v23", "none")
		require.Equal(t, digests[:2], found)
		found, _ = where("tags", metadata.Contains, "V2")
		require.Len(t, found, 6)
		found, _ = where("digest", metadata.Equal, digests[3].String())
		require.Equal(t, digests[3:4], found)
		found, _ = where("labels", metadata.AllOf, int64(1), int64(2))
		require.Empty(t, found)
		found, _ = where("repository_name", metadata.Contains, "app")
		require.Len(t, found, 25)
	}
}

func testArtifacts(t *testing.T, f fixture) {
	ctx := t.Context()
	child := newManifest(f.repository)
	child.Facts = metadata.Facts{Kind: "IMAGE", ConfigMediaType: "a/config", ContentSize: 1000}
	f.putManifest(t, child)
	index := newManifest(f.repository)
	index.MediaType = oci.MediaTypeImageIndex
	index.Facts = metadata.Facts{Kind: "IMAGE", ContentSize: 10, Icon: newDigest(), Attributes: []byte("{}")}
	index.References = []oci.ManifestReference{{Kind: oci.ReferenceManifest, Descriptor: oci.Descriptor{
		Digest: child.Digest, Platform: &oci.Platform{OS: "linux", Architecture: "arm64"}, Annotations: map[string]string{"a": "b"},
	}}}
	f.putManifest(t, index)
	at := time.Now().UTC().Truncate(time.Microsecond)
	signature := newManifest(f.repository)
	signature.Subject = index.Digest
	signature.Facts = metadata.Facts{Kind: "X", Accessory: "signature.notation", AccessoryOf: index.Digest}
	f.putManifest(t, signature)
	tagged := newManifest(f.repository)
	f.putManifest(t, tagged)
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
		if _, err := tx.PutTag(ctx, f.repository.ID, "latest", index.Digest, at); err != nil {
			return err
		}
		return tx.MarkAccessory(ctx, f.repository.ID, tagged.Digest, "signature.cosign", index.Digest)
	})

	found, err := f.Artifact(ctx, f.repository.Name, oci.Reference{Tag: "latest"})
	require.NoError(t, err)
	require.Equal(t, index.Digest, found.Digest)
	require.Equal(t, int64(1010), found.Facts.ContentSize)
	require.EqualValues(t, 1, found.TagCount)
	require.JSONEq(t, "{}", string(found.Facts.Attributes))
	_, err = f.Artifact(ctx, f.repository.Name, oci.Reference{Tag: "none"})
	require.ErrorIs(t, err, metadata.ErrNotFound)
	rows, total, err := f.ListArtifacts(ctx, metadata.Collection{RepositoryID: f.repository.ID}, metadata.Query{Limit: -1})
	require.NoError(t, err)
	require.EqualValues(t, 1, total, "neither what the index lists nor accessories")
	require.Len(t, rows, 1)
	_, total, err = f.ListArtifacts(ctx, metadata.Collection{RepositoryID: f.repository.ID, Whole: true}, metadata.Query{Limit: -1})
	require.NoError(t, err)
	require.EqualValues(t, 4, total)

	listed, err := f.ListedManifests(ctx, []int64{found.ID}, 10)
	require.NoError(t, err)
	require.Len(t, listed[found.ID], 1)
	require.Equal(t, "arm64", listed[found.ID][0].Details.Platform.Architecture)
	require.NotZero(t, listed[found.ID][0].ManifestID)
	accessories, err := f.AccessoriesOf(ctx, []int64{found.ID, 0}, 1)
	require.NoError(t, err)
	require.Equal(t, signature.Digest, accessories[found.ID][0].Digest)
	page, total, err := f.ListAccessories(ctx, f.repository.ID, index.Digest, metadata.Query{Limit: 10})
	require.NoError(t, err)
	require.EqualValues(t, 2, total)
	require.Equal(t, "signature.cosign", page[1].Facts.Accessory)
	tags, err := f.TagsOf(ctx, []int64{found.ID}, 3)
	require.NoError(t, err)
	require.Equal(t, at, tags[found.ID][0].UpdatedAt)

	f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
		return tx.AddPulls(ctx, []metadata.Pulls{
			{Repository: f.repository.Name, Digest: index.Digest, Tag: "latest", Count: 1, LastAt: at},
			{Repository: f.repository.Name, Digest: index.Digest, Count: 1, LastAt: at.Add(time.Hour)},
			{Repository: f.repository.Name, Digest: newDigest(), Tag: "gone", Count: 1, LastAt: at},
		})
	})
	found, err = f.Artifact(ctx, f.repository.Name, oci.Reference{Digest: index.Digest})
	require.NoError(t, err)
	require.Equal(t, at.Add(time.Hour), found.PulledAt)
	onTag, total, err := f.ListTags(ctx, found.ID, metadata.Query{Limit: 1})
	require.NoError(t, err)
	require.EqualValues(t, 1, total)
	require.Equal(t, at, onTag[0].PulledAt)

	unread, err := f.UnreadArtifacts(ctx, 0, 10)
	require.NoError(t, err)
	require.Len(t, unread, 3)
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
		m := signature
		m.Facts = metadata.Facts{Kind: "Y", Attributes: []byte(`{"a":1}`)}
		return tx.SetFacts(ctx, unread[1].ID, m)
	})
	found, err = f.Artifact(ctx, f.repository.Name, oci.Reference{Digest: signature.Digest})
	require.NoError(t, err)
	require.Equal(t, metadata.Facts{Kind: "Y", Attributes: []byte(`{"a":1}`), Accessory: "signature.notation", AccessoryOf: index.Digest}, found.Facts)
	_, err = f.IconInView(ctx, metadata.Visibility{}, index.Facts.Icon)
	require.ErrorIs(t, err, metadata.ErrNotFound)
	_, err = f.IconInView(ctx, metadata.Visibility{All: true}, index.Facts.Icon)
	require.NoError(t, err)
}
