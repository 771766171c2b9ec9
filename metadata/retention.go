package metadata

import (
	"context"
	"fmt"
	"time"

	"github.com/berth-registry/berth/oci"
)

// RetentionPolicy says which artifacts of a project are kept.
type RetentionPolicy struct {
	ID        int64
	ProjectID int64
	// Rules are a JSON array.
	Rules     string
	CreatedAt time.Time
	UpdatedAt time.Time
}

const retentionColumns = `id, project_id, rules, created_at, updated_at`

var (
	retentionByID      = define("retention policy", `SELECT `+retentionColumns+` FROM retention_policies WHERE id = $1`)
	retentionOfProject = define("retention policy of project", `SELECT `+retentionColumns+` FROM retention_policies WHERE project_id = $1`)
	insertRetention    = define("create retention policy", `
		INSERT INTO retention_policies (project_id, rules, created_at, updated_at) VALUES ($1, $2, $3, $3) RETURNING `+retentionColumns)
	updateRetention = define("update retention policy", `UPDATE retention_policies SET rules = $2, updated_at = $3 WHERE id = $1`)
	deleteRetention = define("delete retention policy", `DELETE FROM retention_policies WHERE id = $1`)

	repositoriesAfter = define("repositories of project after", `
		SELECT `+repositoryColumns+` FROM repositories WHERE project_id = $1 AND name > $2 ORDER BY name LIMIT $3`)
	agesOfRepository = define("ages of artifacts", `
		SELECT a.id, m.digest, COALESCE(a.pushed_at, a.created_at), a.pulled_at, COALESCE(a.accessory_of, '')
		FROM manifests m JOIN artifacts a ON a.id = m.id WHERE m.repository_id = $1 AND m.digest > $2 ORDER BY m.digest LIMIT $3`)
	childrenOfRepository = define("children of indexes", `
		SELECT manifest_id, digest FROM manifest_references WHERE repository_id = $1 AND kind = 'manifest'`)
	tagsOfRepository = define("tags of repository", `
		SELECT `+tagColumns+` FROM tags t WHERE t.repository_id = $1 AND t.name > $2 ORDER BY t.name LIMIT $3`)
	labelsOfRepository = define("labels of artifacts of repository", `
		SELECT l.manifest_id, n.name FROM manifests m JOIN artifact_labels l ON l.manifest_id = m.id JOIN labels n ON n.id = l.label_id
		WHERE m.repository_id = $1`)
)

func scanRetention(r row, p *RetentionPolicy) error {
	return r.Scan(&p.ID, &p.ProjectID, &p.Rules, moment{&p.CreatedAt}, moment{&p.UpdatedAt})
}

// RetentionPolicy returns a policy, or [ErrNotFound].
func (r Reader) RetentionPolicy(ctx context.Context, id int64) (RetentionPolicy, error) {
	return one(ctx, r, retentionByID, scanRetention, id)
}

// RetentionPolicyOf returns the policy of a project, or [ErrNotFound].
func (r Reader) RetentionPolicyOf(ctx context.Context, projectID int64) (RetentionPolicy, error) {
	return one(ctx, r, retentionOfProject, scanRetention, projectID)
}

// CreateRetentionPolicy adds the policy of a project and returns the row. It returns [ErrExists] when the project has one.
func (t *Tx) CreateRetentionPolicy(ctx context.Context, p RetentionPolicy) (RetentionPolicy, error) {
	return one(ctx, t.Reader, insertRetention, scanRetention, p.ProjectID, p.Rules, micros(now()))
}

// UpdateRetentionPolicy sets the rules of a policy, or returns [ErrNotFound].
func (t *Tx) UpdateRetentionPolicy(ctx context.Context, id int64, rules string) error {
	return t.execOne(ctx, updateRetention, id, rules, micros(now()))
}

// DeleteRetentionPolicy removes a policy, or returns [ErrNotFound].
func (t *Tx) DeleteRetentionPolicy(ctx context.Context, id int64) error {
	return t.execOne(ctx, deleteRetention, id)
}

// RepositoriesAfter returns up to n repositories of a project whose names come after the given one, by name.
func (r Reader) RepositoriesAfter(ctx context.Context, projectID int64, after oci.Repository, n int) ([]Repository, error) {
	return all(ctx, r, repositoriesAfter, scanRepository, projectID, string(after), limit(n))
}

// AgedArtifact is an artifact with what tells whether it is still wanted.
type AgedArtifact struct {
	ManifestID int64
	Digest     oci.Digest
	PushedAt   time.Time
	PulledAt   time.Time // zero when never pulled
	// AccessoryOf is what it is attached to, "" for nothing.
	AccessoryOf oci.Digest
	Tags        []ArtifactTag
	// Labels are their names, Children what an index lists.
	Labels   []string
	Children []oci.Digest
}

// agedPage is how many rows are read at once, so that none of the statements holds the database for long.
const agedPage = 1000

// AgedArtifacts returns all artifacts of a repository in the order of their digests. What is pushed or deleted meanwhile may be missing
// or there, so who acts upon it looks again.
func (r Reader) AgedArtifacts(ctx context.Context, repositoryID int64) ([]AgedArtifact, error) {
	found, err := allAfter(ctx, r, agesOfRepository, func(r row, a *AgedArtifact) error {
		return r.Scan(&a.ManifestID, &a.Digest, moment{&a.PushedAt}, moment{&a.PulledAt}, &a.AccessoryOf)
	}, func(a AgedArtifact) string { return string(a.Digest) }, repositoryID)
	if err != nil {
		return nil, err
	}
	byID := make(map[int64]*AgedArtifact, len(found))
	for i := range found {
		byID[found[i].ManifestID] = &found[i]
	}
	tags, err := allAfter(ctx, r, tagsOfRepository, scanTag, func(t ArtifactTag) string { return t.Name }, repositoryID)
	if err != nil {
		return nil, err
	}
	for _, tag := range tags {
		if a := byID[tag.ManifestID]; a != nil {
			a.Tags = append(a.Tags, tag)
		}
	}
	type word struct {
		manifestID int64
		text       string
	}
	scanWord := func(r row, w *word) error { return r.Scan(&w.manifestID, &w.text) }
	labels, err := all(ctx, r, labelsOfRepository, scanWord, repositoryID)
	if err != nil {
		return nil, err
	}
	for _, label := range labels {
		if a := byID[label.manifestID]; a != nil {
			a.Labels = append(a.Labels, label.text)
		}
	}
	children, err := all(ctx, r, childrenOfRepository, scanWord, repositoryID)
	if err != nil {
		return nil, err
	}
	for _, child := range children {
		if a := byID[child.manifestID]; a != nil {
			a.Children = append(a.Children, oci.Digest(child.text))
		}
	}
	return found, nil
}

// allAfter returns the rows of a statement that takes an id, a place and a number, page by page.
func allAfter[T any](ctx context.Context, r Reader, s *statement, scan func(row, *T) error, place func(T) string, id int64) ([]T, error) {
	var found []T
	for after := ""; ; {
		page, err := all(ctx, r, s, scan, id, after, agedPage)
		if err != nil {
			return nil, fmt.Errorf("after %q: %w", after, err)
		}
		found = append(found, page...)
		if len(page) < agedPage {
			return found, nil
		}
		after = place(page[len(page)-1])
	}
}

// TagNames returns the names of all tags that stand for a manifest, in order.
func (r Reader) TagNames(ctx context.Context, manifestID int64) ([]string, error) {
	return all(ctx, r, tagsOfManifest, value[string], manifestID)
}
