package metadata

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/berth-registry/berth/oci"
)

// unreferenced is the condition that no manifest of a project needs what is counted in it. Its form lets PostgreSQL do nothing but
// look each one up.
const unreferenced = `
	(SELECT f.digest FROM manifest_references f WHERE f.counted_in = b.project_id AND f.digest = b.digest LIMIT 1) IS NULL
	AND (SELECT m.digest FROM manifests m WHERE m.project_id = b.project_id AND m.digest = b.digest LIMIT 1) IS NULL`

var (
	insertProjectBlobs = define("count blobs", `
		INSERT INTO project_blobs (project_id, digest, size)
		SELECT CAST($1 AS BIGINT), e.digest, COALESCE((SELECT b.size FROM blobs b WHERE b.digest = e.digest), e.size)
		FROM (SELECT value->>'digest' AS digest, CAST(value->>'size' AS BIGINT) AS size FROM {elements}($2{json})) AS e
		WHERE TRUE ORDER BY e.digest
		ON CONFLICT (project_id, digest) DO NOTHING
		RETURNING size`)
	keepProjectBlobs = define("keep counted blobs", `
		SELECT digest FROM project_blobs WHERE project_id = $1 AND digest {any of}$2{these}
		ORDER BY digest {for key share}`)
	lockProjectBlobs = define("lock counted blobs", `
		SELECT digest FROM project_blobs WHERE project_id = $1 AND digest {any of}$2{these}
		ORDER BY digest {for update}`)
	deleteProjectBlobs = define("uncount blobs", `
		DELETE FROM project_blobs AS b WHERE b.project_id = $1 AND b.digest {any of}$2{these} AND `+unreferenced+`
		RETURNING size`)
	countedOfManifest   = define("counted of manifest", `SELECT digest FROM manifest_references WHERE manifest_id = $1 AND counted_in IS NOT NULL`)
	countedOfRepository = define("counted of repository", `
		SELECT digest FROM manifest_references WHERE repository_id = $1 AND counted_in IS NOT NULL
		UNION SELECT digest FROM manifests WHERE repository_id = $1`)

	uncountedOfProject = define("uncounted of project", `
		INSERT INTO project_blobs (project_id, digest, size)
		SELECT f.counted_in, f.digest, MAX(COALESCE(b.size, f.size)) FROM manifest_references f LEFT JOIN blobs b ON b.digest = f.digest
			WHERE f.counted_in = $1 GROUP BY f.counted_in, f.digest
		UNION SELECT m.project_id, m.digest, m.size FROM manifests m WHERE m.project_id = $1
		ORDER BY 2
		ON CONFLICT (project_id, digest) DO NOTHING`)
	orphansOfProject     = define("counted in vain", `SELECT b.digest FROM project_blobs b WHERE b.project_id = $1 AND `+unreferenced)
	usedByBlobs          = define("used by blobs", `SELECT CAST(COALESCE(SUM(size), 0) AS BIGINT) FROM project_blobs WHERE project_id = $1`)
	deleteBlobsOfDeleted = define("forget counted blobs", `DELETE FROM project_blobs WHERE project_id = $1`)
)

// countTries is how often a push counts again what deletions take away meanwhile.
const countTries = 10

// countManifest counts the manifest and the blobs that it links, where the project has not got them, and returns how many bytes
// these are. What is counted already is kept from being uncounted until the end of the transaction.
func (t *Tx) countManifest(ctx context.Context, projectID int64, m Manifest) (added int64, err error) {
	type element struct {
		Digest oci.Digest `json:"digest"`
		Size   int64      `json:"size"`
	}
	elements := []element{{m.Digest, int64(len(m.Payload))}}
	for _, reference := range m.References {
		if counts(reference) {
			elements = append(elements, element{reference.Descriptor.Digest, reference.Descriptor.Size})
		}
	}
	slices.SortFunc(elements, func(a, b element) int { return cmp.Compare(a.Digest, b.Digest) })
	elements = slices.CompactFunc(elements, func(a, b element) bool { return a.Digest == b.Digest })
	digests := make([]oci.Digest, 0, len(elements))
	for _, e := range elements {
		digests = append(digests, e.Digest)
	}
	list, err := json.Marshal(elements)
	if err != nil {
		return 0, fmt.Errorf("encode blobs: %w", err)
	}
	names, err := json.Marshal(digests)
	if err != nil {
		return 0, fmt.Errorf("encode digests: %w", err)
	}
	for range countTries {
		sizes, err := all(ctx, t.Reader, insertProjectBlobs, value[int64], projectID, string(list))
		if err != nil {
			return 0, err
		}
		added += sum(sizes)
		if len(sizes) == len(digests) {
			return added, nil
		}
		kept, err := all(ctx, t.Reader, keepProjectBlobs, value[string], projectID, string(names))
		if err != nil || len(kept) == len(digests) {
			return added, err
		}
	}
	return 0, fmt.Errorf("count blobs of %s: %w", m.Digest, ErrConflict)
}

// counts reports whether the referenced bytes are stored for the reference.
func counts(reference oci.ManifestReference) bool {
	return reference.Kind != oci.ReferenceManifest && !reference.Foreign()
}

// uncount calls remove, and subtracts from the project's usage what of the digests none of its manifests needs any more. Others
// that push or delete manifests with any of them wait until the transaction ends.
func (t *Tx) uncount(ctx context.Context, projectID int64, digests []string, remove func() error) error {
	released, err := t.release(ctx, projectID, digests, remove)
	if err != nil {
		return err
	}
	if t.released == nil {
		t.released = map[int64]int64{}
	}
	t.released[projectID] += released
	return nil
}

// settle subtracts what was uncounted, at the end of the transaction: one that deletes much does not keep pushes waiting for the shard
// in the meantime.
func (t *Tx) settle(ctx context.Context) error {
	for _, projectID := range slices.Sorted(maps.Keys(t.released)) {
		if released := t.released[projectID]; released > 0 {
			// A project that was deleted in the same transaction has no usage any more.
			if _, err := t.exec(ctx, subtractUsage, projectID, t.shard(), released); err != nil {
				return err
			}
		}
	}
	return nil
}

// release is uncount without the usage; it returns the bytes.
func (t *Tx) release(ctx context.Context, projectID int64, digests []string, remove func() error) (int64, error) {
	list, err := json.Marshal(append([]string{}, digests...))
	if err != nil {
		return 0, fmt.Errorf("encode digests: %w", err)
	}
	if _, err := all(ctx, t.Reader, lockProjectBlobs, value[string], projectID, string(list)); err != nil {
		return 0, err
	}
	if err := remove(); err != nil {
		return 0, err
	}
	sizes, err := all(ctx, t.Reader, deleteProjectBlobs, value[int64], projectID, string(list))
	return sum(sizes), err
}

func sum(sizes []int64) (total int64) {
	for _, size := range sizes {
		total += size
	}
	return total
}

// Recount makes a project's usage what its manifests say, and returns it with what it was before. It returns [ErrNotFound].
func (t *Tx) Recount(ctx context.Context, projectID int64) (used, before int64, err error) {
	if _, err := t.exec(ctx, uncountedOfProject, projectID); err != nil {
		return 0, 0, err
	}
	orphans, err := all(ctx, t.Reader, orphansOfProject, value[string], projectID)
	if err != nil {
		return 0, 0, err
	}
	if _, err := t.release(ctx, projectID, orphans, func() error { return nil }); err != nil {
		return 0, 0, err
	}
	// From here on nobody adds to the usage what the sum would also have.
	parts, before, err := t.lockUsage(ctx, lockUsage, projectID)
	if err != nil {
		return 0, 0, err
	}
	if used, err = one(ctx, t.Reader, usedByBlobs, value[int64], projectID); err != nil {
		return 0, 0, err
	}
	limit, err := one(ctx, t.Reader, limitOfProject, value[int64], projectID)
	if err != nil {
		return 0, 0, err
	}
	for i := range parts {
		parts[i].Used = 0
	}
	parts[0].Used = used
	allot(parts, used, limit)
	return used, before, t.writeUsage(ctx, projectID, parts)
}
