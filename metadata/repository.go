package metadata

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/berth-registry/berth/oci"
)

const (
	// artifactCount is the number of the artifacts of the repository r, with those that are not in its row yet.
	artifactCount = `r.artifact_count + (SELECT CAST(COALESCE(SUM(c.entries), 0) AS BIGINT) FROM list_counts c WHERE c.list = 'artifacts of repository' AND c.owner = r.id)`

	// lastChange is when the repository r last changed, with what is not in its row yet.
	lastChange = `(SELECT MAX(h.changed_at) FROM repository_changes h WHERE h.repository_id = r.id)`

	repositoryColumns = `r.id, r.project_id, r.name, r.description, ` + artifactCount + `, r.pull_count, r.last_pulled_at, r.created_at, ` + lastChange
	// uncountedColumns are those of who will write to the repository: no push adds up the counts that others have added.
	uncountedColumns = `r.id, r.project_id, r.name, r.description, 0, r.pull_count, r.last_pulled_at, r.created_at, r.updated_at`
)

var (
	repositoryByName    = define("repository", `SELECT `+repositoryColumns+` FROM repositories r WHERE r.name = $1`)
	lockOwnedRepository = define("lock owned repository", `SELECT project_id FROM repositories r WHERE id = $1 AND {locked} {for update}`)
	lockRepository      = define("lock repository", `SELECT `+uncountedColumns+` FROM repositories r WHERE r.name = $1 AND {locked} {for update}`)
	keepRepository      = define("keep repository", `SELECT `+uncountedColumns+` FROM repositories r WHERE r.name = $1 AND {kept for}$2{tags} {for key share}`)

	insertRepository = define("create repository", `
		INSERT INTO repositories (project_id, name, created_at, updated_at) VALUES ($1, $2, $3, $3)
		ON CONFLICT (name) DO NOTHING
		RETURNING id, project_id, name, description, artifact_count, pull_count, last_pulled_at, created_at, updated_at`)
	deleteRepository     = define("delete repository", `DELETE FROM repositories WHERE id = $1`)
	describeRepository   = define("describe repository", `UPDATE repositories SET description = $2 WHERE id = $1`)
	touchRepository      = define("touch repository", `INSERT INTO repository_changes (repository_id, changed_at) VALUES ($1, $2)`)
	newestManifest       = define("newest manifest", `SELECT COALESCE(MAX(id), 0) FROM manifests`)
	someManifests        = define("some manifests", `SELECT digest FROM manifests WHERE repository_id = $1 AND id <= $2 LIMIT $3`)
	contentOfRepository  = define("any content of repository", `SELECT id FROM manifests WHERE repository_id = $1 LIMIT 1`)
	unneededOfRepository = define("some links that no manifest needs", `
		SELECT b.digest FROM repository_blobs b WHERE b.repository_id = $1 AND NOT EXISTS (
			SELECT 1 FROM manifest_references f WHERE f.repository_id = $1 AND f.digest = b.digest AND f.kind IN ('config', 'layer'))
		LIMIT $2`)
	insertReviewsOfBlobs = define("review blobs", `
		INSERT INTO blob_reviews (repository_id, digest, since)
		SELECT CAST($3 AS BIGINT), value, CAST($2 AS BIGINT) FROM {texts}($1{json}) WHERE TRUE
		ON CONFLICT (repository_id, digest) DO UPDATE SET since = excluded.since`)
)

func scanRepository(r row, v *Repository) error {
	return r.Scan(&v.ID, &v.ProjectID, &v.Name, &v.Description, &v.ArtifactCount, &v.PullCount, moment{&v.LastPulledAt}, moment{&v.CreatedAt}, moment{&v.UpdatedAt})
}

// Repository returns a repository, or [ErrNotFound].
func (r Reader) Repository(ctx context.Context, name oci.Repository) (Repository, error) {
	return one(ctx, r, repositoryByName, scanRepository, string(name))
}

// LockRepository returns a repository without its ArtifactCount and last changes, or [ErrNotFound], and makes other transactions that lock
// or keep it wait until this one ends.
// What removes what may be referenced locks first, and so does what refers to what may come meanwhile.
func (t *Tx) LockRepository(ctx context.Context, name oci.Repository) (Repository, error) {
	return one(ctx, t.Reader, lockRepository, scanRepository, string(name))
}

// KeepRepository returns a repository without its ArtifactCount and last changes, or [ErrNotFound], and makes other transactions that lock
// it wait until this one ends, and those that keep it for one of the same tags, which are sorted; others that keep it do not. What adds to
// a repository and refers only to what it has keeps it.
func (t *Tx) KeepRepository(ctx context.Context, name oci.Repository, tags []string) (Repository, error) {
	turns := make([]string, len(tags))
	for i, tag := range tags {
		turns[i] = string(name) + ":" + tag
	}
	list, err := json.Marshal(turns)
	if err != nil {
		return Repository{}, fmt.Errorf("encode tags: %w", err)
	}
	return one(ctx, t.Reader, keepRepository, scanRepository, string(name), string(list))
}

// EnsureRepository returns the repository of that name and makes it first when there is none. It returns [ErrNotFound] when
// there is no such project.
func (t *Tx) EnsureRepository(ctx context.Context, projectID int64, name oci.Repository) (Repository, error) {
	found, err := t.Repository(ctx, name)
	if err == nil || !isNotFound(err) {
		return found, err
	}
	created, err := all(ctx, t.Reader, insertRepository, scanRepository, projectID, string(name), micros(now()))
	if err != nil {
		return Repository{}, fmt.Errorf("repository %q: %w", name, err)
	}
	if len(created) == 1 {
		return created[0], nil
	}
	return t.Repository(ctx, name)
}

// DeleteRepository removes a repository with its manifests, tags, links to blobs and uploads, and subtracts from the usage of its
// project what only it had. It returns [ErrNotFound].
func (t *Tx) DeleteRepository(ctx context.Context, id int64) error {
	projectID, err := one(ctx, t.Reader, lockOwnedRepository, value[int64], id)
	if err != nil {
		return err
	}
	counted, err := all(ctx, t.Reader, countedOfRepository, value[string], id)
	if err != nil {
		return err
	}
	if _, err := t.exec(ctx, insertReviewsOfRepository, id, micros(now())); err != nil {
		return err
	}
	if _, err := t.exec(ctx, deleteReviewsOfRepository, id); err != nil {
		return err
	}
	return t.uncount(ctx, projectID, counted, func() error { return t.execOne(ctx, deleteRepository, id) })
}

// Describe sets the description of a repository; it returns [ErrNotFound].
func (t *Tx) Describe(ctx context.Context, repositoryID int64, description string) error {
	if err := t.execOne(ctx, describeRepository, repositoryID, description); err != nil {
		return err
	}
	return t.touch(ctx, repositoryID)
}

// touch notes that a repository has changed, once in a transaction. Artifacts that come note it themselves.
func (t *Tx) touch(ctx context.Context, repositoryID int64) error {
	if t.touched[repositoryID] {
		return nil
	}
	t.touched[repositoryID] = true
	_, err := t.exec(ctx, touchRepository, repositoryID, micros(now()))
	return err
}

// NewestManifest returns the highest id that a manifest has; those that are pushed from now on have higher ones.
func (r Reader) NewestManifest(ctx context.Context) (int64, error) {
	return one(ctx, r, newestManifest, value[int64])
}

// SomeManifests returns up to n manifests of the repository whose ids are at most the given one.
func (r Reader) SomeManifests(ctx context.Context, repositoryID, newest int64, n int) ([]oci.Digest, error) {
	return all(ctx, r, someManifests, value[oci.Digest], repositoryID, newest, limit(n))
}

// HasManifests reports whether the repository has any manifest.
func (r Reader) HasManifests(ctx context.Context, repositoryID int64) (bool, error) {
	found, err := all(ctx, r, contentOfRepository, value[int64], repositoryID)
	return len(found) > 0, err
}

// UnlinkSomeBlobs takes up to n blobs out of the repository that no manifest of it needs, and returns which. The caller has locked
// the repository.
func (t *Tx) UnlinkSomeBlobs(ctx context.Context, repositoryID int64, n int) ([]oci.Digest, error) {
	digests, err := all(ctx, t.Reader, unneededOfRepository, value[oci.Digest], repositoryID, n)
	if err != nil || len(digests) == 0 {
		return nil, err
	}
	slices.Sort(digests)
	list, err := json.Marshal(digests)
	if err != nil {
		return nil, fmt.Errorf("unlink blobs: %w", err)
	}
	if _, err := t.exec(ctx, deleteLinks, repositoryID, string(list)); err != nil {
		return nil, err
	}
	_, err = t.exec(ctx, insertReviewsOfBlobs, string(list), micros(now()), 0)
	return digests, err
}

// repositoryListing is the listing of repositories for callers who filter, sort and turn pages: the newest first.
var repositoryListing = listing[Repository]{
	name: "list repositories", from: "repositories r", order: "r.id DESC", key: "r.id", tie: "r.id", after: "r.id < {1}", aged: []string{"creation_time"}, scan: scanRepository,
	columns: repositoryColumns,
	fields: map[string]field{
		"name":           {"r.name", textField},
		"repository_id":  {"r.id", numberField},
		"id":             {"r.id", numberField},
		"project_id":     {"r.project_id", numberField},
		"description":    {"r.description", textField},
		"creation_time":  {"r.created_at", momentField},
		"update_time":    {"r.updated_at", momentField},
		"pull_count":     {"r.pull_count", numberField},
		"artifact_count": {artifactCount, numberField},
		"blob_digest":    {"b.digest", textField},
	},
	within: map[string]string{"blob_digest": "r.id IN (SELECT b.repository_id FROM repository_blobs b WHERE {condition})"},
	parted: map[string]parted{"name": {names: "repository_parts r", low: true}},
}

// Place is where the repository stands in [Reader.ListRepositories].
func (v Repository) Place() Place { return Place{v.ID} }

// repositoriesInView are the counts of the view of the user $1 and the projects $2.
var repositoriesInView = define("repositories in view", `
	SELECT part, CAST(SUM(entries) AS BIGINT) FROM (
		SELECT part, entries FROM list_counts WHERE list = 'repositories in public' AND owner = 0
		UNION ALL
		SELECT c.part, c.entries FROM projects p CROSS JOIN list_counts c
			WHERE c.list = 'repositories' AND c.owner = p.id AND NOT p.public AND p.id IN (`+projectsGiven+`)) AS seen
	GROUP BY part ORDER BY part`)

const (
	// repositoryVisible is the condition that a repository is in the view of the user $1 and the projects $2.
	repositoryVisible = `r.project_id IN (SELECT id FROM projects WHERE public UNION ` + projectsGiven + `)`
	// repositoryInView is the same in a form that keeps the database from beginning with the projects: it looks at those of the rows.
	repositoryInView = `(SELECT p.public OR p.id IN (` + projectsGiven + `) FROM projects p WHERE p.id = r.project_id)`
	// wideView is how many repositories are too many to be fetched and sorted for a page: they are found soon on a walk over all.
	wideView = 5_000
)

// repositoriesKept is the length of the list of the repositories of a project, or of all of them when its id is 0.
func repositoriesKept(projectID int64) length {
	byID := kept("repositories", projectID)
	return func(ctx context.Context, r Reader, order string) (ranged, error) {
		list, byName := "repositories by change", false
		switch order {
		case "r.name, r.id":
			list, byName = "repositories by name", true
		case "r.updated_at, r.id":
		default:
			return byID(ctx, r, order)
		}
		parts, err := all(ctx, r, listRanges, func(r row, p *listPart) error {
			var name string
			var moment, id int64
			err := r.Scan(&name, &moment, &id, &p.entries)
			if p.start = (Place{moment, id}); byName {
				p.start = Place{name, id}
			}
			return err
		}, list, projectID)
		if err != nil || len(parts) == 0 { // few have none
			return byID(ctx, r, order)
		}
		return ranged{entriesOf(parts), order, parts}, nil
	}
}

// repositoriesInView returns the counts of the visible repositories.
func (r Reader) repositoriesInView(ctx context.Context, v Visibility) ([]listPart, error) {
	return all(ctx, r, repositoriesInView, scanListPart(partWidth), v.UserID, v.names())
}

// visible is the condition on the repositories of a view with such counts.
func visible(parts []listPart) string {
	if entriesOf(parts) > wideView {
		return repositoryInView
	}
	return repositoryVisible
}

// ListRepositories returns a page of the visible repositories, those of one project when its id is not 0, and how many there
// are. The error wraps [ErrQuery] when they cannot be filtered like that. By update_time they are sorted and filtered as it was when
// [Store.FoldCounts] came last; what is returned is never older than what has been written.
func (r Reader) ListRepositories(ctx context.Context, v Visibility, projectID int64, q Query) ([]Repository, int64, error) {
	switch {
	case projectID != 0:
		return repositoryListing.list(ctx, r, q, repositoriesKept(projectID), "r.project_id = $1", projectID)
	case !v.All:
		parts, err := r.repositoriesInView(ctx, v)
		if err != nil {
			return nil, 0, err
		}
		return repositoryListing.list(ctx, r, q, known(parts), visible(parts), v.UserID, v.names())
	}
	return repositoryListing.list(ctx, r, q, repositoriesKept(0), "")
}
