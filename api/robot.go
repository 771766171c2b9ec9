package api

import (
	"fmt"
	"net/http"
	"strconv"

	"github.com/berth-registry/berth/api/query"
	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/identity"
	"github.com/berth-registry/berth/identity/robot"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/policy"
)

func (a *API) robotRoutes() []Route {
	const robots, one = "/robots", "/robots/{robot_id}"
	return []Route{
		define(Route{
			ID: "ListRobot", Tag: "robot", Method: http.MethodGet, Path: robots,
			Summary:    "Lists robot accounts: of the registry, or with q=Level=project,ProjectID=1 of a project",
			Permission: onRow("robot", policy.List), Statuses: []int{400, 401, 403, 404, 422, 500},
		}, a.listRobots),
		define(Route{
			ID: "CreateRobot", Tag: "robot", Method: http.MethodPost, Path: robots,
			Summary:    "Creates a robot account; its secret is in the answer and can be had at no other time",
			Permission: onRow("robot", policy.Create), Statuses: []int{400, 401, 403, 404, 409, 500},
		}, a.createRobot),
		define(Route{
			ID: "GetRobotByID", Tag: "robot", Method: http.MethodGet, Path: one, Summary: "Returns a robot account",
			Permission: onRow("robot", policy.Read), Statuses: []int{401, 403, 404, 422, 500},
		}, a.getRobot),
		define(Route{
			ID: "UpdateRobot", Tag: "robot", Method: http.MethodPut, Path: one, Summary: "Changes a robot account, but not its name and level",
			Permission: onRow("robot", policy.Update), Statuses: []int{400, 401, 403, 404, 409, 422, 500},
		}, a.updateRobot),
		define(Route{
			ID: "RefreshSec", Tag: "robot", Method: http.MethodPatch, Path: one,
			Summary:    "Gives a robot account another secret: the given one, or a random one that is in the answer",
			Permission: onRow("robot", policy.Update), Statuses: []int{400, 401, 403, 404, 422, 500},
		}, a.refreshRobot),
		define(Route{
			ID: "DeleteRobot", Tag: "robot", Method: http.MethodDelete, Path: one, Summary: "Deletes a robot account",
			Permission: onRow("robot", policy.Delete), Statuses: []int{400, 401, 403, 404, 422, 500},
		}, a.deleteRobot),
	}
}

// The levels of robots and the kinds of their permissions.
const (
	levelSystem  = "system"
	levelProject = "project"
)

// robotAccess is an action on a kind of resource.
type robotAccess struct {
	Resource string `json:"resource"`
	Action   string `json:"action"`
	Effect   string `json:"effect,omitempty" doc:"allow, which is what it is without"`
}

// robotPermission is what a robot may do in one place.
type robotPermission struct {
	Kind      string        `json:"kind" doc:"system or project"`
	Namespace string        `json:"namespace" doc:"/ for the registry itself, * for all projects, or the name of one"`
	Access    []robotAccess `json:"access"`
}

// robotAccount is a robot as clients read and write it.
type robotAccount struct {
	ID          int64             `json:"id"`
	Name        string            `json:"name"`
	Description string            `json:"description"`
	Level       string            `json:"level" doc:"system or project"`
	Duration    int64             `json:"duration" doc:"in days, -1 for ever"`
	Disabled    bool              `json:"disable"`
	Editable    bool              `json:"editable"`
	ExpiresAt   int64             `json:"expires_at" doc:"in seconds since 1970, -1 for never"`
	CreatedAt   Time              `json:"creation_time"`
	UpdatedAt   Time              `json:"update_time"`
	CreatorType string            `json:"creator_type" doc:"local for a user, or robot"`
	CreatorRef  int64             `json:"creator_ref" doc:"id of the user or robot"`
	Permissions []robotPermission `json:"permissions"`
}

func viewRobot(r metadata.Robot) robotAccount {
	view := robotAccount{
		ID: r.ID, Name: r.Name, Description: r.Description, Level: levelSystem, Duration: r.Duration, Disabled: r.Disabled, Editable: true,
		ExpiresAt: expiry(r.ExpiresAt), CreatedAt: Time(r.CreatedAt), UpdatedAt: Time(r.UpdatedAt), CreatorType: r.CreatorKind, CreatorRef: r.CreatorID,
		Permissions: []robotPermission{},
	}
	if r.ProjectID != 0 {
		view.Level = levelProject
	}
	places := map[string]int{}
	for _, p := range r.Permissions {
		at, known := places[p.Namespace]
		if !known {
			at = len(view.Permissions)
			places[p.Namespace] = at
			kind := levelProject
			if p.Namespace == identity.NamespaceSystem {
				kind = levelSystem
			}
			view.Permissions = append(view.Permissions, robotPermission{Kind: kind, Namespace: p.Namespace})
		}
		place := &view.Permissions[at]
		place.Access = append(place.Access, robotAccess{Resource: p.Resource, Action: p.Action, Effect: "allow"})
	}
	return view
}

// grants reads permissions as clients write them.
func grants(permissions []robotPermission) ([]robot.Grant, error) {
	granted := make([]robot.Grant, 0, len(permissions))
	for _, p := range permissions {
		grant := robot.Grant{Namespace: p.Namespace, Rights: make([]robot.Right, 0, len(p.Access))}
		switch {
		case p.Kind == levelSystem && (p.Namespace == "" || p.Namespace == identity.NamespaceSystem):
			grant.Namespace = identity.NamespaceSystem
		case p.Kind != levelProject || p.Namespace == "" || p.Namespace == identity.NamespaceSystem:
			return nil, fault.New(fault.Invalid, `permission of kind %q in namespace %q: want kind "system" with "/", or "project" with a project's name or "*"`, p.Kind, p.Namespace)
		}
		for _, access := range p.Access {
			if access.Effect != "" && access.Effect != "allow" {
				return nil, fault.New(fault.Invalid, "effect %q: permissions can only allow", access.Effect)
			}
			grant.Rights = append(grant.Rights, robot.Right{Resource: access.Resource, Action: access.Action})
		}
		granted = append(granted, grant)
	}
	return granted, nil
}

func (a *API) listRobots(c *Call, in struct{ Paging }) (Page[robotAccount], error) {
	q, terms, err := in.Query()
	if err != nil {
		return Page[robotAccount]{}, err
	}
	projectID, err := robotsAsked(terms)
	if err != nil {
		return Page[robotAccount]{}, err
	}
	if projectID == 0 {
		err = c.Authorize(policy.List, policy.Resource{Kind: "robot"})
	} else {
		project, missing := a.options.Store.ProjectByID(c.Context(), projectID)
		err = c.admit(project, missing, strconv.FormatInt(projectID, 10), inProject("robot", policy.List))
	}
	if err != nil {
		return Page[robotAccount]{}, err
	}
	rows, total, err := a.options.Store.ListRobots(c.Context(), projectID, q)
	return NewPage(in.Paging, rows, total, viewRobot), err
}

// robotsAsked returns the project whose robots are asked for, 0 for those of the registry.
func robotsAsked(terms []query.Term) (projectID int64, err error) {
	level := levelSystem
	for _, term := range terms {
		if len(term.Values) != 1 {
			continue
		}
		switch value := fmt.Sprint(term.Values[0]); term.Field {
		case "level":
			level = value
		case "project_id":
			projectID, _ = strconv.ParseInt(value, 10, 64) // 0 is none
		}
	}
	switch {
	case level == levelSystem:
		return 0, nil
	case level != levelProject:
		return 0, fault.New(fault.Invalid, "q: Level is %q: it is system or project", level)
	case projectID <= 0:
		return 0, fault.New(fault.Invalid, "q: Level=project needs ProjectID, the id of the project")
	}
	return projectID, nil
}

// newRobot is the body of CreateRobot.
type newRobot struct {
	Name        string            `json:"name" doc:"without prefix and project"`
	Description string            `json:"description,omitempty"`
	Level       string            `json:"level" doc:"system or project"`
	Duration    int64             `json:"duration,omitempty" doc:"in days, -1 for ever; without it what the settings say"`
	Disabled    bool              `json:"disable,omitempty"`
	Permissions []robotPermission `json:"permissions"`
}

// madeRobot is what is told of a new robot.
type madeRobot struct {
	ID        int64  `json:"id"`
	Name      string `json:"name"`
	Secret    string `json:"secret"`
	CreatedAt Time   `json:"creation_time"`
	ExpiresAt int64  `json:"expires_at"`
}

func (a *API) createRobot(c *Call, in struct {
	Robot newRobot `body:""`
},
) (CreatedAs[madeRobot], error) {
	none := CreatedAs[madeRobot]{}
	if c.Principal.Kind == identity.KindAnonymous {
		c.asked = true
		return none, errUnauthorized
	}
	asked := robot.NewRobot{Name: in.Robot.Name, Description: in.Robot.Description, Duration: in.Robot.Duration, Disabled: in.Robot.Disabled}
	var err error
	if asked.Grants, err = grants(in.Robot.Permissions); err != nil {
		return none, err
	}
	switch in.Robot.Level {
	case levelSystem:
		err = c.Authorize(policy.Create, policy.Resource{Kind: "robot"})
	case levelProject:
		if len(asked.Grants) != 1 {
			return none, fault.New(fault.Invalid, "a robot account of a project has permissions in one project")
		}
		name := asked.Grants[0].Namespace
		project, missing := a.options.Store.Project(c.Context(), name)
		if err = c.admit(project, missing, name, inProject("robot", policy.Create)); err == nil {
			asked.Project = project
		}
	default:
		err = fault.New(fault.Invalid, "level is %q: it is system or project", in.Robot.Level)
	}
	if err != nil {
		return none, err
	}
	made, secret, err := a.options.Robots.Create(c.Context(), c.actor(), c.Principal, asked)
	if err != nil {
		return none, err
	}
	return CreatedAs[madeRobot]{
		Created: Created{Location: Prefix + "/robots/" + strconv.FormatInt(made.ID, 10)},
		Body:    madeRobot{ID: made.ID, Name: made.Name, Secret: secret, CreatedAt: Time(made.CreatedAt), ExpiresAt: expiry(made.ExpiresAt)},
	}, nil
}

// robotPath names a robot.
type robotPath struct {
	ID int64 `path:"robot_id"`
}

// row returns the robot of the path, for those who may do the action where it belongs. That it is not there is told to who might do
// it to the registry's.
func (p robotPath) row(c *Call, action policy.Action) (metadata.Robot, error) {
	row, err := c.api.options.Store.RobotByID(c.Context(), p.ID)
	if isMissing(err) {
		if err := c.Authorize(action, policy.Resource{Kind: "robot"}); err != nil {
			return metadata.Robot{}, err
		}
		return metadata.Robot{}, fault.Because(err, fault.NotFound, "robot account %d not found", p.ID)
	}
	if err != nil {
		return metadata.Robot{}, err
	}
	return row, c.Authorize(action, policy.Resource{Project: row.Project, Kind: "robot"})
}

func (a *API) getRobot(c *Call, in robotPath) (robotAccount, error) {
	row, err := in.row(c, policy.Read)
	if err != nil {
		return robotAccount{}, err
	}
	return viewRobot(row), nil
}

func (a *API) updateRobot(c *Call, in struct {
	robotPath
	Robot robotAccount `body:""`
},
) (None, error) {
	row, err := in.row(c, policy.Update)
	if err != nil {
		return None{}, err
	}
	given := in.Robot
	if given.Name != row.Name || given.Level != viewRobot(row).Level {
		return None{}, fault.New(fault.Invalid, "the name and level of robot account %s cannot be changed", row.Name)
	}
	granted, err := grants(given.Permissions)
	if err != nil {
		return None{}, err
	}
	return None{}, a.options.Robots.Update(c.Context(), c.actor(), row.ID, robot.Edit{
		Description: given.Description, Disabled: given.Disabled, Duration: given.Duration, Grants: granted,
	})
}

// robotSecret is the body of RefreshSec, in both directions.
type robotSecret struct {
	Secret string `json:"secret"`
}

func (a *API) refreshRobot(c *Call, in struct {
	robotPath
	Secret robotSecret `body:""`
},
) (robotSecret, error) {
	if _, err := in.row(c, policy.Update); err != nil {
		return robotSecret{}, err
	}
	secret, err := a.options.Robots.Refresh(c.Context(), c.actor(), in.ID, in.Secret.Secret)
	return robotSecret{secret}, err
}

func (a *API) deleteRobot(c *Call, in robotPath) (None, error) {
	if _, err := in.row(c, policy.Delete); err != nil {
		return None{}, err
	}
	return None{}, a.options.Robots.Delete(c.Context(), c.actor(), in.ID)
}
