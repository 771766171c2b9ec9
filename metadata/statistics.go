package metadata

import "context"

// Statistics count what there is.
type Statistics struct {
	PublicProjects, PublicRepositories   int64
	PrivateProjects, PrivateRepositories int64
}

var (
	countProjects = define("counts of projects", `
		SELECT public, COUNT(*), CAST(COALESCE(SUM(repository_count), 0) AS BIGINT) FROM projects GROUP BY public`)
	countVisibleProjects = define("counts of projects in view", `
		SELECT public, COUNT(*), CAST(COALESCE(SUM(repository_count), 0) AS BIGINT) FROM projects
		WHERE public OR id IN (SELECT project_id FROM user_roles WHERE user_id = $1)
			OR name IN (SELECT value FROM {texts}($2{json})) GROUP BY public`)
	usedByAll   = define("used by all projects", `SELECT CAST(COALESCE(SUM(used), 0) AS BIGINT) FROM project_usage`)
	storedBytes = define("stored", `SELECT CAST(COALESCE(SUM(size), 0) AS BIGINT) FROM blobs`)
)

// projectCount is a row of countProjects.
type projectCount struct {
	public                 bool
	projects, repositories int64
}

func scanProjectCount(r row, c *projectCount) error {
	return r.Scan(&c.public, &c.projects, &c.repositories)
}

// Statistics counts the projects that are in view, and their repositories.
func (r Reader) Statistics(ctx context.Context, v Visibility) (s Statistics, err error) {
	var counts []projectCount
	if v.All {
		counts, err = all(ctx, r, countProjects, scanProjectCount)
	} else {
		counts, err = all(ctx, r, countVisibleProjects, scanProjectCount, v.UserID, v.names())
	}
	for _, c := range counts {
		if c.public {
			s.PublicProjects, s.PublicRepositories = c.projects, c.repositories
		} else {
			s.PrivateProjects, s.PrivateRepositories = c.projects, c.repositories
		}
	}
	return s, err
}

// Used returns how many bytes all projects together hold, by their quotas.
func (r Reader) Used(ctx context.Context) (int64, error) { return one(ctx, r, usedByAll, value[int64]) }

// Stored returns how many bytes of blobs are known, each once.
func (r Reader) Stored(ctx context.Context) (int64, error) {
	return one(ctx, r, storedBytes, value[int64])
}
