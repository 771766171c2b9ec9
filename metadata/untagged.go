package metadata

import (
	"context"
	"time"

	"github.com/berth-registry/berth/oci"
)

// UntaggedManifest is a manifest that no tag leads to.
type UntaggedManifest struct {
	ID         int64
	Repository oci.Repository
	Digest     oci.Digest
}

var untaggedManifests = define("untagged manifests", `
	SELECT m.id, r.name, m.digest FROM manifests m JOIN repositories r ON r.id = m.repository_id JOIN artifacts a ON a.id = m.id
	WHERE m.id > $1 AND COALESCE(a.pushed_at, a.created_at) < $2 AND m.subject IS NULL
		AND NOT EXISTS (SELECT 1 FROM tags t WHERE t.manifest_id = m.id)
		AND NOT EXISTS (SELECT 1 FROM manifest_references f WHERE f.repository_id = m.repository_id AND f.digest = m.digest AND f.kind = 'manifest')
	ORDER BY m.id LIMIT $3`)

func scanUntaggedManifest(r row, m *UntaggedManifest) error {
	return r.Scan(&m.ID, &m.Repository, &m.Digest)
}

// UntaggedManifests returns, in the order of their ids, up to n manifests after the given id that were last pushed before the time, have no
// tag, are listed by no index of their repository, and are attached to nothing.
func (r Reader) UntaggedManifests(ctx context.Context, before time.Time, after int64, n int) ([]UntaggedManifest, error) {
	return all(ctx, r, untaggedManifests, scanUntaggedManifest, after, micros(before), limit(n))
}
