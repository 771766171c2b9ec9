package metadata

import (
	"context"
	"strings"

	"github.com/berth-registry/berth/oci"
)

var (
	allRepositories = define("catalog", `SELECT name FROM repositories WHERE name > $1 ORDER BY name LIMIT $2`)
	// The slash takes part in the order, because it does in that of repositories: "a-b/x" comes before "a/x".
	catalogProjects = define("projects of catalog", `
		SELECT * FROM (SELECT p.id, p.name || '/' AS prefix FROM projects p WHERE p.public AND p.name || '/' >= $1
			AND EXISTS (SELECT 1 FROM repositories r WHERE r.project_id = p.id) ORDER BY p.name || '/' LIMIT $2) AS open
		UNION
		SELECT * FROM (SELECT DISTINCT p.id, p.name || '/' AS prefix FROM user_roles m JOIN projects p ON p.id = m.project_id
			WHERE m.user_id = $3 AND p.name || '/' >= $1
			AND EXISTS (SELECT 1 FROM repositories r WHERE r.project_id = p.id) ORDER BY p.name || '/' LIMIT $2) AS joined
		UNION
		SELECT * FROM (SELECT p.id, p.name || '/' AS prefix FROM {texts}($4{json}) n JOIN projects p ON p.name = n.value
			WHERE p.name || '/' >= $1
			AND EXISTS (SELECT 1 FROM repositories r WHERE r.project_id = p.id) ORDER BY p.name || '/' LIMIT $2) AS named
		ORDER BY prefix LIMIT $2`)
	projectRepositories = define("catalog of project", `SELECT name FROM repositories WHERE project_id = $1 AND name > $2 ORDER BY name LIMIT $3`)
)

// catalogProject is a visible project that has repositories; prefix is how their names begin.
type catalogProject struct {
	id     int64
	prefix string
}

func scanCatalogProject(r row, p *catalogProject) error { return r.Scan(&p.id, &p.prefix) }

// catalogStride is how many projects are looked up at once.
const catalogStride = 64

// Catalog returns the names of up to n visible repositories that come after last, byte-wise ordered; all of them when n is
// negative. last need not exist. What is not visible costs nothing: the walk goes from one visible project to the next.
func (r Reader) Catalog(ctx context.Context, v Visibility, last string, n int) ([]oci.Repository, error) {
	if v.All {
		return all(ctx, r, allRepositories, value[oci.Repository], last, limit(n))
	}
	var names []oci.Repository
	for from := firstPrefix(last); ; {
		projects, err := all(ctx, r, catalogProjects, scanCatalogProject, from, catalogStride, v.UserID, v.names())
		if err != nil {
			return nil, err
		}
		for _, p := range projects {
			if n >= 0 && len(names) >= n {
				return names, nil
			}
			wanted := limit(n)
			if n >= 0 {
				wanted -= int64(len(names))
			}
			found, err := all(ctx, r, projectRepositories, value[oci.Repository], p.id, last, wanted)
			if err != nil {
				return nil, err
			}
			names = append(names, found...)
		}
		if len(projects) < catalogStride {
			return names, nil
		}
		// The smallest text after this project's prefix that may begin another one's.
		from = projects[len(projects)-1].prefix + "\x01"
	}
}

// firstPrefix is the first prefix that names after last can have.
func firstPrefix(last string) string {
	if i := strings.IndexByte(last, '/'); i >= 0 {
		return last[:i+1]
	}
	return last
}
