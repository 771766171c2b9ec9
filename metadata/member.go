package metadata

import (
	"context"
)

var (
	rolesInProject = define("roles", `
		SELECT COALESCE(u.role_id, 0), p.public FROM projects p LEFT JOIN user_roles u ON u.project_id = p.id AND u.user_id = $2
		WHERE p.name = $1`)
	membersOfProject = define("members", `
		SELECT `+memberColumns+` FROM projects p JOIN members m ON m.project_id = p.id WHERE p.name = $1 ORDER BY m.name, m.id`)

	upsertUserMember = define("set member", `
		INSERT INTO members (project_id, user_id, role_id, created_at) VALUES ($1, $2, $3, $4)
		ON CONFLICT (project_id, user_id) DO UPDATE SET role_id = excluded.role_id
		RETURNING id`)
	upsertGroupMember = define("set member group", `
		INSERT INTO members (project_id, group_id, role_id, created_at) VALUES ($1, $2, $3, $4)
		ON CONFLICT (project_id, group_id) DO UPDATE SET role_id = excluded.role_id
		RETURNING id`)
	insertUserMember = define("add member", `
		INSERT INTO members (project_id, user_id, role_id, created_at) VALUES ($1, $2, $3, $4) RETURNING id`)
	insertGroupMember = define("add member group", `
		INSERT INTO members (project_id, group_id, role_id, created_at) VALUES ($1, $2, $3, $4) RETURNING id`)
	updateMember     = define("update member", `UPDATE members SET role_id = $3 WHERE project_id = $1 AND id = $2`)
	deleteMember     = define("remove member", `DELETE FROM members WHERE project_id = $1 AND user_id = $2`)
	deleteMemberByID = define("remove member by id", `DELETE FROM members WHERE project_id = $1 AND id = $2`)
	memberByID       = define("member", `
		SELECT `+memberColumns+` FROM members m WHERE m.project_id = $1 AND m.id = $2`)
	roleCounts = define("members by role", `
		SELECT part, CAST(SUM(entries) AS BIGINT) FROM list_counts WHERE list = 'members in role' AND owner = $1 GROUP BY part HAVING SUM(entries) > 0`)
)

// The name is that of the user or group, which triggers keep.
const memberColumns = `m.id, m.project_id, COALESCE(m.user_id, 0), COALESCE(m.group_id, 0), m.name, m.role_id, m.created_at`

// memberListing is the listing of the members of a project.
var memberListing = listing[Member]{
	name: "list members", columns: memberColumns, from: "members m", key: "m.id", order: "m.name, m.id", scan: scanMember,
	fields: map[string]field{
		"id":          {"m.id", numberField},
		"entity_name": {"m.name", textField},
		"role_id":     {"m.role_id", numberField},
	},
	parted: map[string]parted{"entity_name": {names: "member_parts m"}},
}

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

// ListMembers returns a page of the members of a project and how many there are. The error wraps [ErrQuery] when they cannot be
// filtered like that.
func (r Reader) ListMembers(ctx context.Context, projectID int64, q Query) ([]Member, int64, error) {
	return memberListing.list(ctx, r, q, kept("members", projectID), "m.project_id = $1", projectID)
}

// Member returns a member of a project by the membership's id, or [ErrNotFound].
func (r Reader) Member(ctx context.Context, projectID, id int64) (Member, error) {
	return one(ctx, r, memberByID, scanMember, projectID, id)
}

// MembersByRole returns how many members of a project have each role.
func (r Reader) MembersByRole(ctx context.Context, projectID int64) (map[int]int64, error) {
	type count struct {
		role    int
		members int64
	}
	rows, err := all(ctx, r, roleCounts, func(r row, c *count) error { return r.Scan(&c.role, &c.members) }, projectID)
	counts := make(map[int]int64, len(rows))
	for _, c := range rows {
		counts[c.role] = c.members
	}
	return counts, err
}

// AddMember makes the user or group of m a member and returns the membership's id. It returns [ErrExists] when they are one, and
// [ErrNotFound] when there is no such project, user or group.
func (t *Tx) AddMember(ctx context.Context, m Member) (int64, error) {
	if m.GroupID != 0 {
		return one(ctx, t.Reader, insertGroupMember, value[int64], m.ProjectID, m.GroupID, m.RoleID, micros(now()))
	}
	return one(ctx, t.Reader, insertUserMember, value[int64], m.ProjectID, m.UserID, m.RoleID, micros(now()))
}

// UpdateMember gives the member of a project with that id another role, or returns [ErrNotFound].
func (t *Tx) UpdateMember(ctx context.Context, projectID, id int64, roleID int) error {
	return t.execOne(ctx, updateMember, projectID, id, roleID)
}

// RemoveMemberByID takes the role of the member with that id away. It returns [ErrNotFound] when there is none.
func (t *Tx) RemoveMemberByID(ctx context.Context, projectID, id int64) error {
	return t.execOne(ctx, deleteMemberByID, projectID, id)
}
