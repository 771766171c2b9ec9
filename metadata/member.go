package metadata

import (
	"context"
)

var (
	rolesInProject = define("roles", `
		SELECT COALESCE(u.role_id, 0), p.public FROM projects p LEFT JOIN user_roles u ON u.project_id = p.id AND u.user_id = $2
		WHERE p.name = $1`)
	membersOfProject = define("members", `
		SELECT m.id, m.project_id, COALESCE(m.user_id, 0), COALESCE(m.group_id, 0), COALESCE(u.name, g.name) AS name, m.role_id, m.created_at
		FROM projects p JOIN members m ON m.project_id = p.id
		LEFT JOIN users u ON u.id = m.user_id LEFT JOIN user_groups g ON g.id = m.group_id
		WHERE p.name = $1 ORDER BY name`)

	upsertUserMember = define("set member", `
		INSERT INTO members (project_id, user_id, role_id, created_at) VALUES ($1, $2, $3, $4)
		ON CONFLICT (project_id, user_id) DO UPDATE SET role_id = excluded.role_id
		RETURNING id`)
	upsertGroupMember = define("set member group", `
		INSERT INTO members (project_id, group_id, role_id, created_at) VALUES ($1, $2, $3, $4)
		ON CONFLICT (project_id, group_id) DO UPDATE SET role_id = excluded.role_id
		RETURNING id`)
	deleteMember = define("remove member", `DELETE FROM members WHERE project_id = $1 AND user_id = $2`)
)

// role is a row of rolesInProject.
type role struct {
	id     int
	public bool
}

func scanRole(r row, v *role) error { return r.Scan(&v.id, &v.public) }

func scanMember(r row, m *Member) error {
	return r.Scan(&m.ID, &m.ProjectID, &m.UserID, &m.GroupID, &m.Name, &m.RoleID, moment{&m.CreatedAt})
}

// Roles returns the user's roles in a project, directly and through groups, and whether the project is public. It returns
// [ErrNotFound] when there is no such project.
func (r Reader) Roles(ctx context.Context, userID int64, project string) (roleIDs []int, public bool, err error) {
	found, err := all(ctx, r, rolesInProject, scanRole, project, userID)
	if err != nil {
		return nil, false, err
	}
	if len(found) == 0 {
		return nil, false, ErrNotFound
	}
	for _, role := range found {
		if role.id != 0 {
			roleIDs = append(roleIDs, role.id)
		}
	}
	return roleIDs, found[0].public, nil
}

// Members returns the members of a project in the order of their names; none when there is no such project.
func (r Reader) Members(ctx context.Context, project string) ([]Member, error) {
	return all(ctx, r, membersOfProject, scanMember, project)
}

// SetMember gives the user or group of m the role of m in the project of m, in place of one they had, and returns the
// membership's id. It returns [ErrNotFound] when there is no such project, user or group.
func (t *Tx) SetMember(ctx context.Context, m Member) (int64, error) {
	if m.GroupID != 0 {
		return one(ctx, t.Reader, upsertGroupMember, value[int64], m.ProjectID, m.GroupID, m.RoleID, micros(now()))
	}
	return one(ctx, t.Reader, upsertUserMember, value[int64], m.ProjectID, m.UserID, m.RoleID, micros(now()))
}

// RemoveMember takes a user's own role in a project away. It returns [ErrNotFound] when they had none.
func (t *Tx) RemoveMember(ctx context.Context, projectID, userID int64) error {
	return t.execOne(ctx, deleteMember, projectID, userID)
}
