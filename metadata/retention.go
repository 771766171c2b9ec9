package metadata

import (
	"context"
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
		SELECT `+repositoryColumns+` FROM repositories r WHERE r.project_id = $1 AND r.name > $2 ORDER BY r.name LIMIT $3`)
	agesOfRepository = define("ages of artifacts", `
		SELECT a.id, m.digest, COALESCE(a.pushed_at, a.created_at), a.pulled_at, COALESCE(a.accessory_of, '')
		FROM manifests m JOIN artifacts a ON a.id = m.id WHERE m.repository_id = $1 AND m.digest > $2 ORDER BY m.digest LIMIT $3`)
	childrenOfManifests = define("children of indexes", `
		SELECT manifest_id, digest FROM manifest_references WHERE manifest_id {any id of}$1{these ids} AND kind = 'manifest'`)
	tagsOfManifests = define("tags of manifests", `
		SELECT `+tagColumns+` FROM tags t WHERE t.manifest_id {any id of}$1{these ids} ORDER BY t.manifest_id, t.name`)
	labelsOfManifests = define("labels of manifests", `
		SELECT l.manifest_id, n.name FROM artifact_labels l JOIN labels n ON n.id = l.label_id WHERE l.manifest_id {any id of}$1{these ids}`)
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

// AgedArtifacts returns up to n artifacts of a repository whose digests come after the given one, in the order of these, each with its
// tags in the order of their names. What is pushed or deleted meanwhile may be missing or there, so who acts upon it looks again.
func (r Reader) AgedArtifacts(ctx context.Context, repositoryID int64, after oci.Digest, n int) ([]AgedArtifact, error) {
	found, err := all(ctx, r, agesOfRepository, func(r row, a *AgedArtifact) error {
		return r.Scan(&a.ManifestID, &a.Digest, moment{&a.PushedAt}, moment{&a.PulledAt}, &a.AccessoryOf)
	}, repositoryID, string(after), limit(n))
	if err != nil || len(found) == 0 {
		return nil, err
	}
	byID := make(map[int64]*AgedArtifact, len(found))
	ids := make([]int64, len(found))
	for i := range found {
		ids[i] = found[i].ManifestID
		byID[ids[i]] = &found[i]
	}
	list, err := idList(ids)
	if err != nil {
		return nil, err
	}
	tags, err := all(ctx, r, tagsOfManifests, scanTag, list)
	if err != nil {
		return nil, err
	}
	for _, tag := range tags {
		a := byID[tag.ManifestID]
		a.Tags = append(a.Tags, tag)
	}
	type word struct {
		manifestID int64
		text       string
	}
	scanWord := func(r row, w *word) error { return r.Scan(&w.manifestID, &w.text) }
	labels, err := all(ctx, r, labelsOfManifests, scanWord, list)
	if err != nil {
		return nil, err
	}
	for _, label := range labels {
		a := byID[label.manifestID]
		a.Labels = append(a.Labels, label.text)
	}
	children, err := all(ctx, r, childrenOfManifests, scanWord, list)
	if err != nil {
		return nil, err
	}
	for _, child := range children {
		a := byID[child.manifestID]
		a.Children = append(a.Children, oci.Digest(child.text))
	}
	return found, nil
}

// TagNames returns the names of all tags that stand for a manifest, in order.
func (r Reader) TagNames(ctx context.Context, manifestID int64) ([]string, error) {
	return all(ctx, r, tagsOfManifest, value[string], manifestID)
}
