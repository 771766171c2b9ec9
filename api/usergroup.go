package api

import (
	"errors"
	"net/http"
	"strconv"

	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/policy"
)

func (a *API) userGroupRoutes() []Route {
	const groups, one = "/usergroups", "/usergroups/{group_id}"
	return []Route{
		define(Route{
			ID: "listUserGroups", Tag: "usergroup", Method: http.MethodGet, Path: groups, Summary: "Lists groups of users",
			Permission: inSystem("user-group", policy.List), Statuses: []int{400, 401, 403, 422, 500},
		}, a.listUserGroups),
		define(Route{
			ID: "createUserGroup", Tag: "usergroup", Method: http.MethodPost, Path: groups, Summary: "Adds a group of users that comes from outside",
			Permission: inSystem("user-group", policy.Create), Statuses: []int{400, 401, 403, 409, 500},
		}, a.createUserGroup),
		define(Route{
			ID: "searchUserGroups", Tag: "usergroup", Method: http.MethodGet, Path: groups + "/search", Summary: "Finds groups by a part of their name",
			Permission: inSystem("user-group", policy.Search), Statuses: []int{401, 403, 422, 500},
		}, a.searchUserGroups),
		define(Route{
			ID: "getUserGroup", Tag: "usergroup", Method: http.MethodGet, Path: one, Summary: "Returns a group of users",
			Permission: inSystem("user-group", policy.Read), Statuses: []int{401, 403, 404, 422, 500},
		}, a.getUserGroup),
		define(Route{
			ID: "updateUserGroup", Tag: "usergroup", Method: http.MethodPut, Path: one, Summary: "Gives a group another name",
			Permission: inSystem("user-group", policy.Update), Statuses: []int{400, 401, 403, 404, 409, 422, 500},
		}, a.updateUserGroup),
		define(Route{
			ID: "deleteUserGroup", Tag: "usergroup", Method: http.MethodDelete, Path: one, Summary: "Removes a group, and with it what it gave its members",
			Permission: inSystem("user-group", policy.Delete), Statuses: []int{401, 403, 404, 422, 500},
		}, a.deleteUserGroup),
	}
}

// userGroup is a group as clients read it.
type userGroup struct {
	ID   int64  `json:"id"`
	Name string `json:"group_name"`
	Kind int    `json:"group_type" doc:"1 LDAP, 2 HTTP, 3 OIDC"`
	DN   string `json:"ldap_group_dn,omitempty"`
}

func viewUserGroup(g metadata.UserGroup) userGroup {
	return userGroup{ID: g.ID, Name: g.Name, Kind: g.Kind, DN: g.DN}
}

type listUserGroupsInput struct {
	Paging
	DN   string `query:"ldap_group_dn" doc:"distinguished name of an LDAP group"`
	Name string `query:"group_name" doc:"part of the name"`
}

func (a *API) listUserGroups(c *Call, in listUserGroupsInput) (Page[userGroup], error) {
	q, _, err := in.Query()
	if err != nil {
		return Page[userGroup]{}, err
	}
	if in.Name != "" {
		q.Conditions = append(q.Conditions, metadata.Condition{Field: "group_name", Comparison: metadata.Contains, Values: []any{in.Name}})
	}
	if in.DN != "" {
		q.Conditions = append(q.Conditions, metadata.Condition{Field: "ldap_group_dn", Comparison: metadata.Equal, Values: []any{in.DN}})
	}
	rows, total, err := a.options.Store.ListUserGroups(c.Context(), q)
	return NewPage(in.Paging, rows, total, viewUserGroup), err
}

// foundUserGroup is a group as everybody may find it.
type foundUserGroup struct {
	ID   int64  `json:"id"`
	Name string `json:"group_name"`
	Kind int    `json:"group_type"`
}

type searchUserGroupsInput struct {
	Paging
	Name string `query:"groupname" doc:"part of the name"`
}

func (a *API) searchUserGroups(c *Call, in searchUserGroupsInput) (Page[foundUserGroup], error) {
	q, _, err := in.Query()
	if err != nil {
		return Page[foundUserGroup]{}, err
	}
	q.Conditions = []metadata.Condition{{Field: "group_name", Comparison: metadata.Contains, Values: []any{in.Name}}}
	q.Order = nil
	rows, total, err := a.options.Store.ListUserGroups(c.Context(), q)
	return NewPage(in.Paging, rows, total, func(g metadata.UserGroup) foundUserGroup { return foundUserGroup{g.ID, g.Name, g.Kind} }), err
}

func (a *API) createUserGroup(c *Call, in struct {
	Group userGroup `body:""`
},
) (Created, error) {
	created, err := a.options.Groups.Create(c.Context(), c.actor(), metadata.UserGroup{Name: in.Group.Name, Kind: in.Group.Kind, DN: in.Group.DN})
	return Created{Location: Prefix + "/usergroups/" + strconv.FormatInt(created.ID, 10)}, err
}

// userGroupPath names a group.
type userGroupPath struct {
	ID int64 `path:"group_id"`
}

// missing says which group is not there.
func (p userGroupPath) missing(err error) error {
	if errors.Is(err, metadata.ErrNotFound) {
		return fault.Because(err, fault.NotFound, "group %d not found", p.ID)
	}
	return err
}

func (a *API) getUserGroup(c *Call, in userGroupPath) (userGroup, error) {
	row, err := a.options.Store.UserGroup(c.Context(), in.ID)
	return viewUserGroup(row), in.missing(err)
}

func (a *API) updateUserGroup(c *Call, in struct {
	userGroupPath
	Group userGroup `body:""`
},
) (None, error) {
	return None{}, in.missing(a.options.Groups.Rename(c.Context(), c.actor(), in.ID, in.Group.Name))
}

func (a *API) deleteUserGroup(c *Call, in userGroupPath) (None, error) {
	return None{}, in.missing(a.options.Groups.Delete(c.Context(), c.actor(), in.ID))
}
