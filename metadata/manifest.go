package metadata

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/berth-registry/berth/oci"
)

const manifestColumns = `m.id, m.repository_id, m.digest, m.media_type, m.artifact_type, m.annotations, m.subject, m.size, m.created_at`

var (
	manifestByDigest = define("manifest", `
		SELECT `+manifestColumns+`, m.payload FROM repositories r JOIN manifests m ON m.repository_id = r.id
		WHERE r.name = $1 AND m.digest = $2`)
	manifestHead = define("manifest head", `
		SELECT `+manifestColumns+` FROM repositories r JOIN manifests m ON m.repository_id = r.id
		WHERE r.name = $1 AND m.digest = $2`)
	presentManifests = define("manifests", `
		SELECT m.digest FROM repositories r JOIN manifests m ON m.repository_id = r.id
		WHERE r.name = $1 AND m.digest IN (SELECT value FROM {texts}($2{json}))`)
	referencesOfManifest = define("references", `
		SELECT kind, media_type, digest, size FROM manifest_references WHERE manifest_id = $1 ORDER BY position`)

	insertManifest = define("put manifest", `
		INSERT INTO manifests (repository_id, project_id, digest, media_type, artifact_type, annotations, subject, size, created_at, payload)
		VALUES ($1, COALESCE((SELECT project_id FROM repositories WHERE id = $1), 0), $2, $3, $4, $5, $6, $7, $8, $9)
		ON CONFLICT (repository_id, digest) DO NOTHING
		RETURNING id, project_id, media_type`)
	storedManifest = define("stored manifest", `SELECT id, project_id, media_type FROM manifests WHERE repository_id = $1 AND digest = $2`)
	updateManifest = define("update manifest", `
		UPDATE manifests SET media_type = $2, artifact_type = $3, annotations = $4, subject = $5 WHERE id = $1`)
	insertReferences = define("put references", `
		INSERT INTO manifest_references (manifest_id, position, repository_id, kind, digest, media_type, size, counted_in, details)
		SELECT CAST($1 AS BIGINT), CAST(value->>'position' AS INTEGER), CAST($2 AS BIGINT), value->>'kind', value->>'digest', value->>'mediaType', CAST(value->>'size' AS BIGINT),
			CAST(value->>'countedIn' AS BIGINT), value->>'details'
		FROM {elements}($3{json})`)
	pushAgain        = define("push manifest again", `UPDATE artifacts SET pushed_at = $2 WHERE id = $1`)
	deleteReferences = define("delete references", `DELETE FROM manifest_references WHERE manifest_id = $1`)
	deleteManifest   = define("delete manifest", `DELETE FROM manifests WHERE id = $1`)
	tagsOfManifest   = define("tags of manifest", `SELECT name FROM tags WHERE manifest_id = $1 ORDER BY name`)
)

func scanManifest(r row, m *Manifest) error { return scanManifestAnd(r, m) }

func scanManifestWithPayload(r row, m *Manifest) error { return scanManifestAnd(r, m, &m.Payload) }

func scanManifestAnd(r row, m *Manifest, more ...any) error {
	var annotations, subject sql.NullString
	dest := []any{&m.ID, &m.RepositoryID, &m.Digest, &m.MediaType, &m.ArtifactType, &annotations, &subject, &m.Size, moment{&m.CreatedAt}}
	if err := r.Scan(append(dest, more...)...); err != nil {
		return err
	}
	m.Subject = oci.Digest(subject.String)
	if annotations.Valid {
		if err := json.Unmarshal([]byte(annotations.String), &m.Annotations); err != nil {
			return fmt.Errorf("annotations of %s: %w", m.Digest, err)
		}
	}
	return nil
}

func scanReference(r row, v *oci.ManifestReference) error {
	return r.Scan(&v.Kind, &v.Descriptor.MediaType, &v.Descriptor.Digest, &v.Descriptor.Size)
}

// Manifest returns a manifest of the repository with its payload and without its references, or [ErrNotFound].
func (r Reader) Manifest(ctx context.Context, repository oci.Repository, digest oci.Digest) (Manifest, error) {
	return one(ctx, r, manifestByDigest, scanManifestWithPayload, string(repository), string(digest))
}

// ManifestHead returns a manifest of the repository without its payload and references, or [ErrNotFound].
func (r Reader) ManifestHead(ctx context.Context, repository oci.Repository, digest oci.Digest) (Manifest, error) {
	return one(ctx, r, manifestHead, scanManifest, string(repository), string(digest))
}

// Manifests returns which of the digests are manifests of the repository, in one query.
func (r Reader) Manifests(ctx context.Context, repository oci.Repository, digests []oci.Digest) (map[oci.Digest]bool, error) {
	return r.among(ctx, presentManifests, repository, digests)
}

// References returns what a manifest refers to, in the manifest's order; of the descriptors, type, digest and size are kept.
func (r Reader) References(ctx context.Context, manifestID int64) ([]oci.ManifestReference, error) {
	return all(ctx, r, referencesOfManifest, scanReference, manifestID)
}

// PutManifest stores a manifest and its references and reports whether it is new to the repository, and how many bytes its project
// holds more than before, which the caller adds to the usage with [Tx.AddUsage]. One that is there stays, but for its media type
// and what follows from it, which are those of the last push. The caller has locked the repository,
// or keeps it and has found that it has the references; it returns [ErrNotFound] when there is no such repository.
func (t *Tx) PutManifest(ctx context.Context, m Manifest) (created bool, added int64, err error) {
	if created, added, err = t.putManifest(ctx, m); err != nil {
		return false, 0, fmt.Errorf("manifest %s: %w", m.Digest, err)
	}
	t.touched[m.RepositoryID] = true // by the artifact
	return created, added, nil
}

// manifestKey is what a stored manifest is known by.
type manifestKey struct {
	id, projectID int64
	mediaType     string
}

func scanManifestKey(r row, k *manifestKey) error { return r.Scan(&k.id, &k.projectID, &k.mediaType) }

func (t *Tx) putManifest(ctx context.Context, m Manifest) (created bool, added int64, err error) {
	annotations, err := encodeAnnotations(m.Annotations)
	if err != nil {
		return false, 0, err
	}
	subject := sql.NullString{String: string(m.Subject), Valid: m.Subject != ""}
	inserted, err := all(ctx, t.Reader, insertManifest, scanManifestKey, m.RepositoryID, string(m.Digest), m.MediaType, m.ArtifactType,
		annotations, subject, int64(len(m.Payload)), micros(now()), m.Payload)
	if err != nil {
		return false, 0, err
	}
	if len(inserted) == 1 {
		if added, err = t.putReferences(ctx, inserted[0], m); err != nil {
			return true, 0, err
		}
		// After what is counted is locked, as a deletion does it: the artifact locks the counters of its lists.
		return true, added, t.putFacts(ctx, insertArtifact, inserted[0].id, m)
	}
	old, err := one(ctx, t.Reader, storedManifest, scanManifestKey, m.RepositoryID, string(m.Digest))
	if err != nil {
		return false, 0, err
	}
	if _, err := t.exec(ctx, pushAgain, old.id, micros(now())); err != nil || old.mediaType == m.MediaType {
		return false, 0, err
	}
	if err := t.execOne(ctx, updateManifest, old.id, m.MediaType, m.ArtifactType, annotations, subject); err != nil {
		return false, 0, err
	}
	counted, err := all(ctx, t.Reader, countedOfManifest, value[string], old.id)
	if err != nil {
		return false, 0, err
	}
	released, err := t.release(ctx, old.projectID, counted, func() error {
		if _, err := t.exec(ctx, deleteReferences, old.id); err != nil {
			return err
		}
		added, err = t.putReferences(ctx, old, m)
		return err
	})
	if err != nil {
		return false, 0, err
	}
	return false, added - released, t.putFacts(ctx, updateArtifact, old.id, m)
}

func encodeAnnotations(annotations map[string]string) (sql.NullString, error) {
	if len(annotations) == 0 {
		return sql.NullString{}, nil
	}
	encoded, err := json.Marshal(annotations)
	if err != nil {
		return sql.NullString{}, fmt.Errorf("encode annotations: %w", err)
	}
	return sql.NullString{String: string(encoded), Valid: true}, nil
}

// putReferences stores what the manifest refers to, and returns how many bytes the project holds more by it and them.
func (t *Tx) putReferences(ctx context.Context, key manifestKey, m Manifest) (added int64, err error) {
	if added, err = t.countManifest(ctx, key.projectID, m); err != nil || len(m.References) == 0 {
		return added, err
	}
	list, err := encodeReferences(key.projectID, m.References)
	if err != nil {
		return 0, err
	}
	_, err = t.exec(ctx, insertReferences, key.id, m.RepositoryID, list)
	return added, err
}

// encodeReferences writes references for the statements that store them, counted in the project. Of the children of an index what their descriptors say
// besides is kept, for people to look at.
func encodeReferences(projectID int64, references []oci.ManifestReference) (string, error) {
	type element struct {
		Position  int               `json:"position"`
		Kind      oci.ReferenceKind `json:"kind"`
		Digest    oci.Digest        `json:"digest"`
		MediaType string            `json:"mediaType"`
		Size      int64             `json:"size"`
		CountedIn *int64            `json:"countedIn"`
		Details   *oci.Descriptor   `json:"details,omitempty"`
	}
	elements := make([]element, len(references))
	for i, r := range references {
		d := r.Descriptor
		elements[i] = element{Position: i, Kind: r.Kind, Digest: d.Digest, MediaType: d.MediaType, Size: d.Size}
		if counts(r) {
			elements[i].CountedIn = &projectID
		}
		if r.Kind == oci.ReferenceManifest && (d.Platform != nil || len(d.Annotations) > 0 || len(d.URLs) > 0) {
			elements[i].Details = &oci.Descriptor{Platform: d.Platform, Annotations: d.Annotations, URLs: d.URLs}
		}
	}
	// Who counts what indexes list locks it in one order.
	slices.SortStableFunc(elements, func(a, b element) int { return cmp.Compare(a.Digest, b.Digest) })
	list, err := json.Marshal(elements)
	if err != nil {
		return "", fmt.Errorf("encode references: %w", err)
	}
	return string(list), nil
}

// DeleteManifest removes a manifest with its references and tags and returns the names of these tags; what only it had is
// subtracted from the usage of its project. Manifests that list it or refer to it stay as they are. It returns [ErrNotFound]. The
// caller has locked the repository.
func (t *Tx) DeleteManifest(ctx context.Context, repositoryID int64, digest oci.Digest) (tags []string, err error) {
	found, err := one(ctx, t.Reader, storedManifest, scanManifestKey, repositoryID, string(digest))
	if err != nil {
		return nil, err
	}
	if tags, err = all(ctx, t.Reader, tagsOfManifest, value[string], found.id); err != nil {
		return nil, err
	}
	if _, err := t.exec(ctx, insertReviewsOfManifest, found.id, micros(now())); err != nil {
		return nil, err
	}
	counted, err := all(ctx, t.Reader, countedOfManifest, value[string], found.id)
	if err != nil {
		return nil, err
	}
	return tags, t.uncount(ctx, found.projectID, append(counted, string(digest)), func() error {
		if err := t.execOne(ctx, deleteManifest, found.id); err != nil {
			return err
		}
		return t.touch(ctx, repositoryID)
	})
}
