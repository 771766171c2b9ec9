package metadata

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// Robot is an account of a program, with permissions of its own.
type Robot struct {
	ID int64
	// Name is that which is shown and logged in with, prefix and project included. PlainName is another spelling of it, for
	// shells that take the dollar sign for their own.
	Name      string
	PlainName string
	// ProjectID is 0, and Project "", for a robot of the registry itself.
	ProjectID   int64
	Project     string
	Description string
	SecretHash  string
	// SecretVersion grows when the secret changes; what was signed for an earlier one is void.
	SecretVersion int64
	Disabled      bool
	// Duration is in days, -1 for good; ExpiresAt is zero then.
	Duration  int64
	ExpiresAt time.Time
	// CreatorKind is "local" for a user or "robot", and CreatorID the id of who made it.
	CreatorKind string
	CreatorID   int64
	CreatedAt   time.Time
	UpdatedAt   time.Time
	Permissions []RobotPermission
}

// RobotPermission is one thing that a robot may do.
type RobotPermission struct {
	// ProjectID is that of the project, 0 when the permission is not for one project.
	ProjectID int64
	// Namespace is the project's name, "*" for all projects, or "/" for the registry itself.
	Namespace string
	Resource  string
	Action    string
}

const robotColumns = `r.id, r.name, r.plain_name, COALESCE(r.project_id, 0), COALESCE(p.name, ''), r.description, r.secret_hash, r.secret_version,
	r.disabled, r.duration, r.expires_at, r.creator_kind, r.creator_id, r.created_at, r.updated_at`

var (
	robotByID = define("robot by id", `
		SELECT `+robotColumns+` FROM robots r LEFT JOIN projects p ON p.id = r.project_id WHERE r.id = $1`)
	robotByName = define("robot by name", `
		SELECT `+robotColumns+` FROM robots r LEFT JOIN projects p ON p.id = r.project_id WHERE r.name = $1`)
	robotByPlainName = define("robot by plain name", `
		SELECT `+robotColumns+` FROM robots r LEFT JOIN projects p ON p.id = r.project_id WHERE r.plain_name = $1`)
	lockRobot         = define("lock robot", `SELECT id FROM robots WHERE id = $1 {for update}`)
	robotsPermissions = define("permissions of robots", `
		SELECT o.robot_id, COALESCE(o.project_id, 0), COALESCE(p.name, o.namespace), o.resource, o.action
		FROM {texts}($1{json}) n JOIN robot_permissions o ON o.robot_id = CAST(n.value AS BIGINT) LEFT JOIN projects p ON p.id = o.project_id
		ORDER BY o.robot_id, o.position`)

	insertRobot = define("create robot", `
		INSERT INTO robots (name, plain_name, project_id, description, secret_hash, secret_version, disabled, duration, expires_at, creator_kind,
			creator_id, created_at, updated_at)
		VALUES ($1, $2, NULLIF(CAST($3 AS BIGINT), 0), $4, $5, 1, $6, $7, $8, $9, $10, $11, $11)
		RETURNING id`)
	updateRobot = define("update robot", `
		UPDATE robots SET description = $2, secret_hash = $3, disabled = $4, duration = $5, expires_at = $6, updated_at = $7,
			secret_version = secret_version + CASE WHEN secret_hash <> $3 THEN 1 ELSE 0 END
		WHERE id = $1`)
	deleteRobot            = define("delete robot", `DELETE FROM robots WHERE id = $1`)
	deleteRobotPermissions = define("delete permissions of robot", `DELETE FROM robot_permissions WHERE robot_id = $1`)
	insertRobotPermissions = define("put permissions of robot", `
		INSERT INTO robot_permissions (robot_id, position, project_id, namespace, resource, action)
		SELECT CAST($1 AS BIGINT), CAST(e.value->>'position' AS INTEGER), NULLIF(CAST(e.value->>'project' AS BIGINT), 0), e.value->>'namespace',
			e.value->>'resource', e.value->>'action'
		FROM {elements}($2{json}) e`)
)

func scanRobot(r row, v *Robot) error {
	return r.Scan(&v.ID, &v.Name, &v.PlainName, &v.ProjectID, &v.Project, &v.Description, &v.SecretHash, &v.SecretVersion, &v.Disabled,
		&v.Duration, moment{&v.ExpiresAt}, &v.CreatorKind, &v.CreatorID, moment{&v.CreatedAt}, moment{&v.UpdatedAt})
}

// heldPermission is a row of robotsPermissions.
type heldPermission struct {
	robotID int64
	RobotPermission
}

func scanHeldPermission(r row, p *heldPermission) error {
	return r.Scan(&p.robotID, &p.ProjectID, &p.Namespace, &p.Resource, &p.Action)
}

// RobotByID returns a robot, or [ErrNotFound].
func (r Reader) RobotByID(ctx context.Context, id int64) (Robot, error) {
	return r.robot(ctx, robotByID, id)
}

// RobotByName returns the robot of a name, or [ErrNotFound].
func (r Reader) RobotByName(ctx context.Context, name string) (Robot, error) {
	return r.robot(ctx, robotByName, name)
}

// RobotByPlainName returns the robot whose name is spelled like that without dollar signs, or [ErrNotFound].
func (r Reader) RobotByPlainName(ctx context.Context, name string) (Robot, error) {
	return r.robot(ctx, robotByPlainName, name)
}

func (r Reader) robot(ctx context.Context, s *statement, key any) (Robot, error) {
	found, err := all(ctx, r, s, scanRobot, key)
	if err != nil {
		return Robot{}, err
	}
	if len(found) == 0 {
		return Robot{}, ErrNotFound
	}
	if err := r.permit(ctx, found); err != nil {
		return Robot{}, err
	}
	return found[0], nil
}

// permit fills the permissions of robots in.
func (r Reader) permit(ctx context.Context, robots []Robot) error {
	if len(robots) == 0 {
		return nil
	}
	ids := make([]string, len(robots))
	index := make(map[int64]int, len(robots))
	for i, robot := range robots {
		ids[i] = fmt.Sprint(robot.ID)
		index[robot.ID] = i
	}
	list, err := json.Marshal(ids)
	if err != nil {
		return fmt.Errorf("permissions of robots: %w", err)
	}
	held, err := all(ctx, r, robotsPermissions, scanHeldPermission, string(list))
	if err != nil {
		return err
	}
	for _, p := range held {
		robot := &robots[index[p.robotID]]
		robot.Permissions = append(robot.Permissions, p.RobotPermission)
	}
	return nil
}

// robotListing is the listing of robots.
var robotListing = listing[Robot]{
	name: "list robots", columns: robotColumns, from: "robots r", joined: " LEFT JOIN projects p ON p.id = r.project_id",
	key: "r.id", order: "r.id", aged: []string{"creation_time"}, scan: scanRobot,
	fields: map[string]field{
		"id":            {"r.id", numberField},
		"name":          {"r.name", textField},
		"description":   {"r.description", textField},
		"disabled":      {"r.disabled", switchField},
		"duration":      {"r.duration", numberField},
		"expires_at":    {"r.expires_at", momentField},
		"creator_type":  {"r.creator_kind", textField},
		"creator_ref":   {"r.creator_id", numberField},
		"creation_time": {"r.created_at", momentField},
		"update_time":   {"r.updated_at", momentField},
	},
	parted: map[string]parted{"name": {names: "robot_parts r"}},
}

// ListRobots returns a page of the robots of a project, or for the project 0 of those of the registry itself, with their
// permissions, and how many there are. The error wraps [ErrQuery] when they cannot be filtered like that.
func (r Reader) ListRobots(ctx context.Context, projectID int64, q Query) ([]Robot, int64, error) {
	where, args := "r.project_id IS NULL", []any(nil)
	if projectID != 0 {
		where, args = "r.project_id = $1", []any{projectID}
	}
	rows, total, err := robotListing.list(ctx, r, q, kept("robots", projectID), where, args...)
	if err != nil {
		return nil, 0, err
	}
	return rows, total, r.permit(ctx, rows)
}

// LockRobot makes other transactions that lock the robot wait until this one ends, and returns it, or [ErrNotFound].
func (t *Tx) LockRobot(ctx context.Context, id int64) (Robot, error) {
	if _, err := one(ctx, t.Reader, lockRobot, value[int64], id); err != nil {
		return Robot{}, err
	}
	return t.RobotByID(ctx, id)
}

// CreateRobot adds a robot with its permissions and returns the row. It returns [ErrExists] when the name is taken, in either
// spelling, and [ErrNotFound] when a project is gone.
func (t *Tx) CreateRobot(ctx context.Context, v Robot) (Robot, error) {
	id, err := one(ctx, t.Reader, insertRobot, value[int64], v.Name, v.PlainName, v.ProjectID, v.Description, v.SecretHash, v.Disabled,
		v.Duration, micros(v.ExpiresAt), v.CreatorKind, v.CreatorID, micros(now()))
	if err != nil {
		return Robot{}, fmt.Errorf("robot %q: %w", v.Name, err)
	}
	if err := t.putRobotPermissions(ctx, id, v.Permissions); err != nil {
		return Robot{}, fmt.Errorf("robot %q: %w", v.Name, err)
	}
	return t.RobotByID(ctx, id)
}

// UpdateRobot writes what of a robot can change: all but its names, project and creator. It returns [ErrNotFound].
func (t *Tx) UpdateRobot(ctx context.Context, v Robot) error {
	if err := t.execOne(ctx, updateRobot, v.ID, v.Description, v.SecretHash, v.Disabled, v.Duration, micros(v.ExpiresAt), micros(now())); err != nil {
		return err
	}
	if _, err := t.exec(ctx, deleteRobotPermissions, v.ID); err != nil {
		return err
	}
	return t.putRobotPermissions(ctx, v.ID, v.Permissions)
}

func (t *Tx) putRobotPermissions(ctx context.Context, robotID int64, permissions []RobotPermission) error {
	type element struct {
		Position  int    `json:"position"`
		Project   int64  `json:"project"`
		Namespace string `json:"namespace"`
		Resource  string `json:"resource"`
		Action    string `json:"action"`
	}
	if len(permissions) == 0 {
		return nil
	}
	elements := make([]element, len(permissions))
	for i, p := range permissions {
		elements[i] = element{i, p.ProjectID, p.Namespace, p.Resource, p.Action}
	}
	list, err := json.Marshal(elements)
	if err != nil {
		return fmt.Errorf("permissions of robot: %w", err)
	}
	_, err = t.exec(ctx, insertRobotPermissions, robotID, string(list))
	return err
}

// DeleteRobot removes a robot and its permissions. It returns [ErrNotFound].
func (t *Tx) DeleteRobot(ctx context.Context, id int64) error { return t.execOne(ctx, deleteRobot, id) }
