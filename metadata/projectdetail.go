package metadata

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// ProjectDetail is a project with what is kept about it in other tables.
type ProjectDetail struct {
	Project
	// OwnerName is "" when the project has no owner.
	OwnerName       string
	RepositoryCount int64
	// Metadata are what clients have set, by their keys, without "public", which the project has itself.
	Metadata map[string]string
	// Allowlist has no time when nobody has set one.
	Allowlist CVEAllowlist
	// RoleIDs are the roles that the user who asks has in it.
	RoleIDs []int
}

// CVEAllowlist are vulnerabilities that are let through.
type CVEAllowlist struct {
	ID int64
	// ProjectID is 0 for the list of the registry.
	ProjectID int64
	CVEs      []string
	// ExpiresAt is when it no longer holds, zero for never.
	ExpiresAt time.Time
	CreatedAt time.Time
	UpdatedAt time.Time
}

const allowlistColumns = `id, COALESCE(project_id, 0), cves, expires_at, created_at, updated_at`

var (
	projectFacts = define("facts of projects", `
		SELECT p.id, COALESCE(u.name, ''), `+repositoryCount+` FROM projects p LEFT JOIN users u ON u.id = p.owner_id
		WHERE p.id {any id of}$1{these ids}`)
	projectMetadata = define("metadata of projects", `
		SELECT project_id, name, value FROM project_metadata WHERE project_id {any id of}$1{these ids}`)
	projectAllowlists = define("allowlists of projects", `
		SELECT `+allowlistColumns+` FROM cve_allowlists WHERE project_id {any id of}$1{these ids}`)
	projectRoles = define("roles in projects", `
		SELECT project_id, role_id FROM user_roles WHERE user_id = $2 AND project_id {any id of}$1{these ids}`)
	registryAllowlist = define("allowlist of registry", `SELECT `+allowlistColumns+` FROM cve_allowlists WHERE project_id IS NULL`)

	upsertProjectMetadata = define("set metadata of project", `
		INSERT INTO project_metadata (project_id, name, value) VALUES ($1, $2, $3)
		ON CONFLICT (project_id, name) DO UPDATE SET value = excluded.value`)
	deleteProjectMetadata = define("delete metadata of project", `DELETE FROM project_metadata WHERE project_id = $1 AND name = $2`)
	upsertAllowlist       = define("set allowlist of project", `
		INSERT INTO cve_allowlists (project_id, cves, expires_at, created_at, updated_at) VALUES ($1, $2, $3, $4, $4)
		ON CONFLICT (project_id) DO UPDATE SET cves = excluded.cves, expires_at = excluded.expires_at, updated_at = excluded.updated_at`)
	upsertRegistryAllowlist = define("set allowlist of registry", `
		INSERT INTO cve_allowlists (project_id, cves, expires_at, created_at, updated_at) VALUES (NULL, $1, $2, $3, $3)
		ON CONFLICT ((project_id IS NULL)) WHERE project_id IS NULL
		DO UPDATE SET cves = excluded.cves, expires_at = excluded.expires_at, updated_at = excluded.updated_at`)
)

func scanAllowlist(r row, l *CVEAllowlist) error {
	var cves string
	if err := r.Scan(&l.ID, &l.ProjectID, &cves, moment{&l.ExpiresAt}, moment{&l.CreatedAt}, moment{&l.UpdatedAt}); err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(cves), &l.CVEs); err != nil {
		return fmt.Errorf("allowlist %d: %w", l.ID, err)
	}
	return nil
}

// fact is a row about a project: a name or key, and a text or number.
type fact struct {
	projectID int64
	name      string
	text      string
	number    int64
}

// ProjectDetails returns what is kept about projects, in their order, with the roles of a user, in a fixed number of queries.
func (r Reader) ProjectDetails(ctx context.Context, projects []Project, userID int64) ([]ProjectDetail, error) {
	if len(projects) == 0 {
		return nil, nil
	}
	details := make([]ProjectDetail, len(projects))
	byID := make(map[int64]*ProjectDetail, len(projects))
	ids := make([]string, len(projects))
	for i, p := range projects {
		details[i] = ProjectDetail{Project: p, Metadata: map[string]string{}}
		byID[p.ID], ids[i] = &details[i], fmt.Sprint(p.ID)
	}
	encoded, err := json.Marshal(ids)
	if err != nil {
		return nil, fmt.Errorf("ids of projects: %w", err)
	}
	list := string(encoded)
	facts, err := all(ctx, r, projectFacts, func(r row, f *fact) error { return r.Scan(&f.projectID, &f.text, &f.number) }, list)
	for _, f := range facts {
		byID[f.projectID].OwnerName, byID[f.projectID].RepositoryCount = f.text, f.number
	}
	set, errSet := all(ctx, r, projectMetadata, func(r row, f *fact) error { return r.Scan(&f.projectID, &f.name, &f.text) }, list)
	for _, f := range set {
		byID[f.projectID].Metadata[f.name] = f.text
	}
	allowlists, errAllow := all(ctx, r, projectAllowlists, scanAllowlist, list)
	for _, l := range allowlists {
		byID[l.ProjectID].Allowlist = l
	}
	roles, errRoles := all(ctx, r, projectRoles, func(r row, f *fact) error { return r.Scan(&f.projectID, &f.number) }, list, userID)
	for _, f := range roles {
		byID[f.projectID].RoleIDs = append(byID[f.projectID].RoleIDs, int(f.number))
	}
	return details, errors.Join(err, errSet, errAllow, errRoles)
}

// LockProject returns a project, or [ErrNotFound], and makes other transactions that lock it wait until this one ends.
func (t *Tx) LockProject(ctx context.Context, id int64) (Project, error) {
	return one(ctx, t.Reader, lockProject, scanProject, id)
}

// SetProjectMetadata sets a value that clients keep with a project. It returns [ErrNotFound] when there is no such project.
func (t *Tx) SetProjectMetadata(ctx context.Context, projectID int64, name, text string) error {
	_, err := t.exec(ctx, upsertProjectMetadata, projectID, name, text)
	return err
}

// DeleteProjectMetadata removes such a value, or returns [ErrNotFound].
func (t *Tx) DeleteProjectMetadata(ctx context.Context, projectID int64, name string) error {
	return t.execOne(ctx, deleteProjectMetadata, projectID, name)
}

// RegistryAllowlist returns the vulnerabilities that the registry lets through in projects that have no list of their own, an empty
// list when nobody has set one.
func (r Reader) RegistryAllowlist(ctx context.Context) (CVEAllowlist, error) {
	l, err := one(ctx, r, registryAllowlist, scanAllowlist)
	if isNotFound(err) {
		return CVEAllowlist{}, nil
	}
	return l, err
}

// SetAllowlist sets the list of a project, or of the registry where the project is 0. It returns [ErrNotFound] when there is no such
// project.
func (t *Tx) SetAllowlist(ctx context.Context, l CVEAllowlist) error {
	cves := l.CVEs
	if cves == nil {
		cves = []string{}
	}
	encoded, err := json.Marshal(cves)
	if err != nil {
		return fmt.Errorf("allowlist: %w", err)
	}
	if l.ProjectID == 0 {
		_, err = t.exec(ctx, upsertRegistryAllowlist, string(encoded), micros(l.ExpiresAt), micros(now()))
	} else {
		_, err = t.exec(ctx, upsertAllowlist, l.ProjectID, string(encoded), micros(l.ExpiresAt), micros(now()))
	}
	return err
}
