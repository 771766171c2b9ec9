package metadata

import (
	"context"
)

// FoundRepository is a repository that a search has found, with its project.
type FoundRepository struct {
	Repository
	Project string
	Public  bool
}

const foundColumns = repositoryColumns + `, p.name, p.public`

// searchListing finds repositories as the listing of them does, in the order of names.
var searchListing = listing[FoundRepository]{
	name: "search repositories", columns: foundColumns, from: "repositories r", joined: " JOIN projects p ON p.id = r.project_id",
	key: "r.id", order: "r.name", scan: scanFoundRepository,
	fields: map[string]field{"name": {"r.name", textField}},
	parted: map[string]parted{"name": {names: "repository_parts r", low: true}},
}

func scanFoundRepository(r row, v *FoundRepository) error {
	return r.Scan(&v.ID, &v.ProjectID, &v.Name, &v.Description, &v.ArtifactCount, &v.PullCount, moment{&v.LastPulledAt},
		moment{&v.CreatedAt}, moment{&v.UpdatedAt}, &v.Project, &v.Public)
}

// SearchRepositories returns the first n visible repositories with the text in their names, in the order of names.
func (r Reader) SearchRepositories(ctx context.Context, v Visibility, text string, n int) ([]FoundRepository, error) {
	q := Query{Limit: int64(n), Conditions: []Condition{{Field: "name", Comparison: Contains, Values: []any{text}}}}
	if v.All {
		return searchListing.some(ctx, r, q, "")
	}
	parts, err := r.repositoriesInView(ctx, v)
	if err != nil {
		return nil, err
	}
	return searchListing.some(ctx, r, q, visible(parts), v.UserID, v.names())
}
