package metadata

import (
	"context"
	"fmt"
)

const projectColumns = `p.id, p.name, p.public, COALESCE(p.owner_id, 0), COALESCE(p.registry_id, 0), p.created_at, p.updated_at`

var (
	projectByName = define("project", `SELECT `+projectColumns+` FROM projects p WHERE p.name = $1`)
	projectByID   = define("project by id", `SELECT `+projectColumns+` FROM projects p WHERE p.id = $1`)
	allProjects   = define("all projects", `SELECT `+projectColumns+` FROM projects p WHERE p.name > $1 ORDER BY p.name LIMIT $2`)
	// Public projects, those of a member and those that are named are walks along an index each, which an OR would make one walk
	// over everything.
	visibleProjects = define("visible projects", `
		SELECT * FROM (SELECT `+projectColumns+` FROM projects p WHERE p.public AND p.name > $1 ORDER BY p.name LIMIT $2) AS open
		UNION
		SELECT * FROM (SELECT DISTINCT `+projectColumns+` FROM user_roles m JOIN projects p ON p.id = m.project_id
			WHERE m.user_id = $3 AND p.name > $1 ORDER BY p.name LIMIT $2) AS joined
		UNION
		SELECT * FROM (SELECT `+projectColumns+` FROM {texts}($4{json}) n JOIN projects p ON p.name = n.value
			WHERE p.name > $1 ORDER BY p.name LIMIT $2) AS named
		ORDER BY name LIMIT $2`)

	projectsOfMember = define("projects of member", `
		SELECT DISTINCT `+projectColumns+` FROM user_roles m JOIN projects p ON p.id = m.project_id WHERE m.user_id = $1 ORDER BY p.id`)

	cacheProjects = define("projects that are caches", `SELECT `+projectColumns+` FROM projects p WHERE p.registry_id > 0 ORDER BY p.registry_id, p.name`)

	insertProject = define("create project", `
		INSERT INTO projects (name, public, owner_id, created_at, updated_at, registry_id)
		VALUES ($1, $2, NULLIF(CAST($3 AS BIGINT), 0), $4, $4, NULLIF(CAST($5 AS BIGINT), 0))
		RETURNING id, name, public, COALESCE(owner_id, 0), COALESCE(registry_id, 0), created_at, updated_at`)
	updateProject = define("update project", `
		UPDATE projects SET public = $2, owner_id = NULLIF(CAST($3 AS BIGINT), 0), updated_at = $4 WHERE id = $1
		RETURNING id, name, public, COALESCE(owner_id, 0), COALESCE(registry_id, 0), created_at, updated_at`)
	lockProject       = define("lock project", `SELECT `+projectColumns+` FROM projects p WHERE p.id = $1 {for update}`)
	projectRepository = define("any repository of project", `SELECT id FROM repositories WHERE project_id = $1 LIMIT 1`)
	deleteProject     = define("delete project", `DELETE FROM projects WHERE id = $1`)
)

func scanProject(r row, p *Project) error {
	return r.Scan(&p.ID, &p.Name, &p.Public, &p.OwnerID, &p.RegistryID, moment{&p.CreatedAt}, moment{&p.UpdatedAt})
}

// Project returns a project by name, or [ErrNotFound].
func (r Reader) Project(ctx context.Context, name string) (Project, error) {
	return one(ctx, r, projectByName, scanProject, name)
}

// ProjectByID returns a project, or [ErrNotFound].
func (r Reader) ProjectByID(ctx context.Context, id int64) (Project, error) {
	return one(ctx, r, projectByID, scanProject, id)
}

// Projects returns up to n visible projects whose names come after the given one, in the order of names; all of them when n is
// negative.
func (r Reader) Projects(ctx context.Context, v Visibility, after string, n int) ([]Project, error) {
	if v.All {
		return all(ctx, r, allProjects, scanProject, after, limit(n))
	}
	return all(ctx, r, visibleProjects, scanProject, after, limit(n), v.UserID, v.names())
}

// ProjectsOfMember returns the projects that the user is a member of, directly and through groups.
func (r Reader) ProjectsOfMember(ctx context.Context, userID int64) ([]Project, error) {
	return all(ctx, r, projectsOfMember, scanProject, userID)
}

// Caches returns the projects that are caches of registries elsewhere.
func (r Reader) Caches(ctx context.Context) ([]Project, error) {
	return all(ctx, r, cacheProjects, scanProject)
}

// CreateProject adds a project without a limit on what it holds, which [Tx.SetLimit] sets, and returns the row. It returns [ErrExists] when the name is taken, and [ErrNotFound] when
// there is no such owner, or no such registry elsewhere.
func (t *Tx) CreateProject(ctx context.Context, p Project) (Project, error) {
	created, err := one(ctx, t.Reader, insertProject, scanProject, p.Name, p.Public, p.OwnerID, micros(now()), p.RegistryID)
	if err != nil {
		return Project{}, fmt.Errorf("project %q: %w", p.Name, err)
	}
	if err := t.createQuota(ctx, created.ID); err != nil {
		return Project{}, fmt.Errorf("project %q: %w", p.Name, err)
	}
	return created, nil
}

// UpdateProject writes whether the project with that id is public, and its owner, and returns the row. Names do not change: they
// are part of the names of repositories. It returns [ErrNotFound].
func (t *Tx) UpdateProject(ctx context.Context, p Project) (Project, error) {
	return one(ctx, t.Reader, updateProject, scanProject, p.ID, p.Public, p.OwnerID, micros(now()))
}

// DeleteProject removes a project and its members. It returns [ErrReferenced] when it has repositories, and [ErrNotFound].
func (t *Tx) DeleteProject(ctx context.Context, id int64) error {
	if _, err := t.LockProject(ctx, id); err != nil {
		return err
	}
	repositories, err := all(ctx, t.Reader, projectRepository, value[int64], id)
	if err != nil {
		return err
	}
	if len(repositories) > 0 {
		return fmt.Errorf("project has repositories: %w", ErrReferenced)
	}
	if _, err := t.exec(ctx, deleteBlobsOfDeleted, id); err != nil {
		return err
	}
	return t.execOne(ctx, deleteProject, id)
}

// projectListing is the listing of projects for callers who filter, sort and turn pages.
var projectListing = listing[Project]{
	name: "list projects", columns: projectColumns, from: "projects p", key: "p.id", order: "p.name", aged: []string{"creation_time"}, scan: scanProject,
	fields: map[string]field{
		"name":          {"p.name", textField},
		"project_id":    {"p.id", numberField},
		"owner_id":      {"p.owner_id", numberField},
		"owner":         {"o.name", textField},
		"repo_count":    {repositoryCount, numberField},
		"public":        {"p.public", switchField},
		"creation_time": {"p.created_at", momentField},
		"update_time":   {"p.updated_at", momentField},
	},
	within: map[string]string{"owner": `p.owner_id IN (SELECT o.id FROM users o WHERE {condition})`},
	parted: map[string]parted{"name": {names: "project_parts p", low: true}},
}

const (
	// projectVisible is the condition that the project p is in the view of the user $1 and the projects $2.
	projectVisible = `p.public OR p.id IN (` + projectsGiven + `)`
	// projectsGiven are the projects that are in the view because of who looks.
	projectsGiven = `SELECT project_id FROM user_roles WHERE user_id = $1 UNION SELECT id FROM projects WHERE name {any of}$2{these}`
	// repositoryCount is the number of the repositories of the project p, with those that are not in its row yet.
	repositoryCount = `p.repository_count + (SELECT CAST(COALESCE(SUM(c.entries), 0) AS BIGINT) FROM list_counts c WHERE c.list = 'repositories of project' AND c.owner = p.id)`
	// publicCount is the kept count of what is public.
	publicCount = `SELECT CAST(COALESCE(SUM(entries), 0) AS BIGINT) FROM list_counts WHERE owner = 0 AND list = `
)

var projectsInView = define("projects in view", `
	SELECT (`+publicCount+`'public projects') + (SELECT COUNT(*) FROM projects WHERE NOT public AND id IN (`+projectsGiven+`))`)

// ListProjects returns a page of the visible projects and how many there are. The error wraps [ErrQuery] when they cannot be
// filtered like that.
func (r Reader) ListProjects(ctx context.Context, v Visibility, q Query) ([]Project, int64, error) {
	if v.All {
		return projectListing.list(ctx, r, q, kept("projects", 0), "")
	}
	return projectListing.list(ctx, r, q, stated(projectsInView, v.UserID, v.names()), projectVisible, v.UserID, v.names())
}
