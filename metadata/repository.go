package metadata

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/berth-registry/berth/oci"
)

const repositoryColumns = `id, project_id, name, pull_count, last_pulled_at, created_at, updated_at`

var (
	repositoryByName    = define("repository", `SELECT `+repositoryColumns+` FROM repositories WHERE name = $1`)
	lockOwnedRepository = define("lock owned repository", `SELECT project_id FROM repositories WHERE id = $1 {for update}`)
	lockRepository      = define("lock repository", `SELECT `+repositoryColumns+` FROM repositories WHERE name = $1 {for update}`)

	insertRepository = define("create repository", `
		INSERT INTO repositories (project_id, name, created_at, updated_at) VALUES ($1, $2, $3, $3)
		ON CONFLICT (name) DO NOTHING
		RETURNING `+repositoryColumns)
	deleteRepository = define("delete repository", `DELETE FROM repositories WHERE id = $1`)
	addPulls         = define("add pulls", `
		UPDATE repositories SET pull_count = pull_count + p.pulls,
			last_pulled_at = CASE WHEN COALESCE(last_pulled_at, 0) < p.last_at THEN p.last_at ELSE last_pulled_at END
		FROM (SELECT value->>'name' AS name, CAST(value->>'pulls' AS BIGINT) AS pulls, CAST(value->>'last' AS BIGINT) AS last_at
			FROM {elements}($1{json})) AS p
		WHERE repositories.name = p.name`)
)

func scanRepository(r row, v *Repository) error {
	return r.Scan(&v.ID, &v.ProjectID, &v.Name, &v.PullCount, moment{&v.LastPulledAt}, moment{&v.CreatedAt}, moment{&v.UpdatedAt})
}

// Repository returns a repository, or [ErrNotFound].
func (r Reader) Repository(ctx context.Context, name oci.Repository) (Repository, error) {
	return one(ctx, r, repositoryByName, scanRepository, string(name))
}

// LockRepository returns a repository, or [ErrNotFound], and makes other transactions that lock it wait until this one ends.
// What checks references before it writes, and what removes what may be referenced, locks first.
func (t *Tx) LockRepository(ctx context.Context, name oci.Repository) (Repository, error) {
	return one(ctx, t.Reader, lockRepository, scanRepository, string(name))
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

// AddPulls adds counters of pulls. Repositories that are gone are passed over.
func (t *Tx) AddPulls(ctx context.Context, pulls []Pulls) error {
	if len(pulls) == 0 {
		return nil
	}
	type element struct {
		Name  oci.Repository `json:"name"`
		Pulls int64          `json:"pulls"`
		Last  int64          `json:"last"`
	}
	sums := make(map[oci.Repository]element, len(pulls))
	for _, p := range pulls {
		e := sums[p.Repository]
		sums[p.Repository] = element{p.Repository, e.Pulls + p.Count, max(e.Last, p.LastAt.UnixMicro())}
	}
	elements := make([]element, 0, len(sums))
	for _, e := range sums {
		elements = append(elements, e)
	}
	slices.SortFunc(elements, func(a, b element) int { return cmp.Compare(a.Name, b.Name) })
	list, err := json.Marshal(elements)
	if err != nil {
		return fmt.Errorf("add pulls: %w", err)
	}
	_, err = t.exec(ctx, addPulls, string(list))
	return err
}
