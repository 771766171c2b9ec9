package metadata

import (
	"context"
	"strings"
)

// FoundRepository is a repository that a search has found, with its project.
type FoundRepository struct {
	Repository
	Project string
	Public  bool
}

// Names are searched in an index that has nothing else: that of a project where not all projects are visible.
const foundColumns = `r.id, r.project_id, r.name, r.description, r.artifact_count, r.pull_count, r.last_pulled_at, r.created_at, r.updated_at, p.name, p.public
	FROM found CROSS JOIN repositories r JOIN projects p ON p.id = r.project_id WHERE r.id = found.id ORDER BY r.name`

var (
	searchRepositories = define("search repositories", `
		WITH found AS (SELECT id FROM repositories WHERE name LIKE $1 ESCAPE '\' ORDER BY name LIMIT $2) SELECT `+foundColumns)
	searchVisibleRepositories = define("search visible repositories", `
		WITH found AS (SELECT id FROM repositories WHERE name LIKE $1 ESCAPE '\' AND project_id IN (
			SELECT id FROM projects WHERE public UNION SELECT project_id FROM user_roles WHERE user_id = $3
			UNION SELECT id FROM projects WHERE name IN (SELECT value FROM {texts}($4{json}))) ORDER BY name LIMIT $2) SELECT `+foundColumns)
)

func scanFoundRepository(r row, v *FoundRepository) error {
	return r.Scan(&v.ID, &v.ProjectID, &v.Name, &v.Description, &v.ArtifactCount, &v.PullCount, moment{&v.LastPulledAt},
		moment{&v.CreatedAt}, moment{&v.UpdatedAt}, &v.Project, &v.Public)
}

// SearchRepositories returns the first n visible repositories with the text in their names, in the order of names. It reads as many
// names as it has to find n.
func (r Reader) SearchRepositories(ctx context.Context, v Visibility, text string, n int) ([]FoundRepository, error) {
	pattern := "%" + strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(strings.ToLower(text)) + "%"
	if v.All {
		return all(ctx, r, searchRepositories, scanFoundRepository, pattern, n)
	}
	return all(ctx, r, searchVisibleRepositories, scanFoundRepository, pattern, n, v.UserID, v.names())
}
