package metadata

import "context"

var (
	roleInProject = define("role", `
		SELECT COALESCE(m.role_id, 0), p.public FROM projects p LEFT JOIN members m ON m.project_id = p.id AND m.user_id = $2
		WHERE p.name = $1`)
	membersOfProject = define("members", `
		SELECT m.project_id, m.user_id, u.name, m.role_id, m.created_at
		FROM projects p JOIN members m ON m.project_id = p.id JOIN users u ON u.id = m.user_id
		WHERE p.name = $1 ORDER BY u.name`)

	upsertMember = define("set member", `
		INSERT INTO members (project_id, user_id, role_id, created_at) VALUES ($1, $2, $3, $4)
		ON CONFLICT (project_id, user_id) DO UPDATE SET role_id = excluded.role_id`)
	deleteMember = define("remove member", `DELETE FROM members WHERE project_id = $1 AND user_id = $2`)
)

// role is a row of roleInProject.
type role struct {
	id     int
	public bool
}

func scanRole(r row, v *role) error { return r.Scan(&v.id, &v.public) }

func scanMember(r row, m *Member) error {
	return r.Scan(&m.ProjectID, &m.UserID, &m.UserName, &m.RoleID, moment{&m.CreatedAt})
}

// Role returns the user's role in a project, 0 when they have none, and whether the project is public. It returns
// [ErrNotFound] when there is no such project.
func (r Reader) Role(ctx context.Context, userID int64, project string) (roleID int, public bool, err error) {
	found, err := one(ctx, r, roleInProject, scanRole, project, userID)
	return found.id, found.public, err
}

// Members returns the members of a project in the order of their names; none when there is no such project.
func (r Reader) Members(ctx context.Context, project string) ([]Member, error) {
	return all(ctx, r, membersOfProject, scanMember, project)
}

// SetMember gives the user of m the role of m in the project of m, in place of one they had. It returns [ErrNotFound] when
// there is no such project or user.
func (t *Tx) SetMember(ctx context.Context, m Member) error {
	_, err := t.exec(ctx, upsertMember, m.ProjectID, m.UserID, m.RoleID, micros(now()))
	return err
}

// RemoveMember takes a user's role in a project away. It returns [ErrNotFound] when they had none.
func (t *Tx) RemoveMember(ctx context.Context, projectID, userID int64) error {
	return t.execOne(ctx, deleteMember, projectID, userID)
}
