package metadata

import "context"

// Statistics count what there is.
type Statistics struct {
	PublicProjects, PublicRepositories   int64
	PrivateProjects, PrivateRepositories int64
}

var (
	countProjects = define("counts of projects", `
		SELECT list, CAST(SUM(entries) AS BIGINT) FROM list_counts
		WHERE owner = 0 AND list IN ('projects', 'repositories', 'public projects', 'public repositories') GROUP BY list`)
	countGivenProjects = define("counts of projects given", `
		SELECT COUNT(*), CAST(COALESCE(SUM(`+repositoryCount+`), 0) AS BIGINT) FROM projects p WHERE NOT p.public AND p.id IN (`+projectsGiven+`)`)
	usedByAll   = define("used by all projects", `SELECT CAST(COALESCE(SUM(entries), 0) AS BIGINT) FROM list_counts WHERE list = 'used bytes' AND owner = 0`)
	storedBytes = define("stored", `SELECT CAST(COALESCE(SUM(entries), 0) AS BIGINT) FROM list_counts WHERE list = 'stored bytes' AND owner = 0`)
)

// Statistics counts the projects that are in view, and their repositories.
func (r Reader) Statistics(ctx context.Context, v Visibility) (s Statistics, err error) {
	type count struct {
		list    string
		entries int64
	}
	counted, err := all(ctx, r, countProjects, func(r row, c *count) error { return r.Scan(&c.list, &c.entries) })
	if err != nil {
		return s, err
	}
	counts := make(map[string]int64, len(counted))
	for _, c := range counted {
		counts[c.list] = c.entries
	}
	s.PublicProjects, s.PublicRepositories = counts["public projects"], counts["public repositories"]
	if v.All {
		s.PrivateProjects, s.PrivateRepositories = counts["projects"]-s.PublicProjects, counts["repositories"]-s.PublicRepositories
		return s, nil
	}
	type given struct{ projects, repositories int64 }
	private, err := one(ctx, r, countGivenProjects, func(r row, g *given) error { return r.Scan(&g.projects, &g.repositories) }, v.UserID, v.names())
	s.PrivateProjects, s.PrivateRepositories = private.projects, private.repositories
	return s, err
}

// Used returns how many bytes all projects together hold, by their quotas.
func (r Reader) Used(ctx context.Context) (int64, error) { return one(ctx, r, usedByAll, value[int64]) }

// Stored returns how many bytes of blobs are known, each once.
func (r Reader) Stored(ctx context.Context) (int64, error) {
	return one(ctx, r, storedBytes, value[int64])
}
