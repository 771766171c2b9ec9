package metadata

import (
	"context"

	"github.com/berth-registry/berth/oci"
)

var (
	referrersPage = define("referrers", `
		SELECT `+manifestColumns+` FROM manifests m
		WHERE m.repository_id = (SELECT id FROM repositories WHERE name = $1) AND m.subject = $2 AND m.digest > $3
		ORDER BY m.digest LIMIT $4`)
	referrersOfTypePage = define("referrers of type", `
		SELECT `+manifestColumns+` FROM manifests m
		WHERE m.repository_id = (SELECT id FROM repositories WHERE name = $1) AND m.subject = $2 AND m.digest > $3
			AND m.artifact_type = $5
		ORDER BY m.digest LIMIT $4`)
)

// Referrers returns up to n manifests of the repository whose subject is the digest and whose own digests come after the given
// one, in the order of digests, without payloads; all of them when n is negative, only those of an artifact type when it is
// not "". A repository or subject that does not exist has none.
func (r Reader) Referrers(ctx context.Context, repository oci.Repository, subject oci.Digest, artifactType string, after oci.Digest, n int) ([]Manifest, error) {
	if artifactType != "" {
		return all(ctx, r, referrersOfTypePage, scanManifest, string(repository), string(subject), string(after), limit(n), artifactType)
	}
	return all(ctx, r, referrersPage, scanManifest, string(repository), string(subject), string(after), limit(n))
}
