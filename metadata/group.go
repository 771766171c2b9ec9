package metadata

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
)

const groupColumns = `g.id, g.name, g.kind, g.ldap_dn, g.external_key, g.created_at, g.updated_at`

var (
	groupByID    = define("group by id", `SELECT `+groupColumns+` FROM user_groups g WHERE g.id = $1`)
	groupsByKey  = define("groups by key", `SELECT `+groupColumns+` FROM user_groups g WHERE g.kind = $1 AND g.external_key IN (SELECT value FROM {texts}($2{json}))`)
	groupsOfUser = define("groups of user", `
		SELECT `+groupColumns+` FROM group_members m JOIN user_groups g ON g.id = m.group_id WHERE m.user_id = $1`)

	insertGroup = define("create group", `
		INSERT INTO user_groups (name, kind, ldap_dn, external_key, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $5)
		RETURNING id, name, kind, ldap_dn, external_key, created_at, updated_at`)
	insertGroupIfAbsent = define("create group if absent", `
		INSERT INTO user_groups (name, kind, ldap_dn, external_key, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $5) ON CONFLICT DO NOTHING`)
	renameGroup = define("rename group", `
		UPDATE user_groups SET name = $2, updated_at = $3 WHERE id = $1
		RETURNING id, name, kind, ldap_dn, external_key, created_at, updated_at`)
	deleteGroup = define("delete group", `DELETE FROM user_groups WHERE id = $1`)

	leaveGroups = define("leave groups", `
		DELETE FROM group_members WHERE user_id = $1 AND group_id IN (SELECT id FROM user_groups WHERE kind = $2
			AND external_key NOT IN (SELECT value FROM {texts}($3{json})))`)
	joinGroups = define("join groups", `
		INSERT INTO group_members (user_id, group_id)
		SELECT CAST($1 AS BIGINT), id FROM user_groups WHERE kind = $2 AND external_key IN (SELECT value FROM {texts}($3{json}))
		ON CONFLICT DO NOTHING`)
)

func scanGroup(r row, g *UserGroup) error {
	return r.Scan(&g.ID, &g.Name, &g.Kind, &g.DN, &g.Key, moment{&g.CreatedAt}, moment{&g.UpdatedAt})
}

// groupListing is the listing of groups for callers who filter, sort and turn pages.
var groupListing = listing[UserGroup]{
	name: "list groups", columns: groupColumns, from: "user_groups g", key: "g.id", order: "g.name, g.id",
	aged: []string{"creation_time"}, scan: scanGroup,
	fields: map[string]field{
		"id":            {"g.id", numberField},
		"group_name":    {"g.name", textField},
		"group_type":    {"g.kind", numberField},
		"ldap_group_dn": {"g.ldap_dn", textField},
		"creation_time": {"g.created_at", momentField},
		"update_time":   {"g.updated_at", momentField},
	},
	parted: map[string]parted{"group_name": {names: "group_parts g"}},
}

// UserGroup returns a group, or [ErrNotFound].
func (r Reader) UserGroup(ctx context.Context, id int64) (UserGroup, error) {
	return one(ctx, r, groupByID, scanGroup, id)
}

// UserGroupByKey returns the group of a kind that is known there by the key, or [ErrNotFound].
func (r Reader) UserGroupByKey(ctx context.Context, kind int, key string) (UserGroup, error) {
	found, err := r.groupsByKeys(ctx, kind, []string{key})
	if err == nil && len(found) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return UserGroup{}, err
	}
	return found[0], nil
}

// UserGroups returns the groups that a user is in, in the order of their names.
func (r Reader) UserGroups(ctx context.Context, userID int64) ([]UserGroup, error) {
	groups, err := all(ctx, r, groupsOfUser, scanGroup, userID)
	slices.SortFunc(groups, func(a, b UserGroup) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	return groups, err
}

// ListUserGroups returns a page of the groups and how many there are. The error wraps [ErrQuery] when they cannot be filtered
// like that.
func (r Reader) ListUserGroups(ctx context.Context, q Query) ([]UserGroup, int64, error) {
	return groupListing.list(ctx, r, q, kept("groups", 0), "")
}

func (r Reader) groupsByKeys(ctx context.Context, kind int, keys []string) ([]UserGroup, error) {
	encoded, err := json.Marshal(keys)
	if err != nil {
		return nil, err
	}
	return all(ctx, r, groupsByKey, scanGroup, kind, string(encoded))
}

// CreateUserGroup adds a group and returns the row. It returns [ErrExists] when its kind has a group of the name or key already.
func (t *Tx) CreateUserGroup(ctx context.Context, g UserGroup) (UserGroup, error) {
	created, err := one(ctx, t.Reader, insertGroup, scanGroup, g.Name, g.Kind, g.DN, cmp.Or(g.Key, g.Name), micros(now()))
	if err != nil {
		return UserGroup{}, fmt.Errorf("group %q: %w", g.Name, err)
	}
	return created, nil
}

// RenameUserGroup gives a group another name and returns the row; where it comes from it is known by its key as before. It returns [ErrNotFound], or [ErrExists] when its kind has a group of the name.
func (t *Tx) RenameUserGroup(ctx context.Context, id int64, name string) (UserGroup, error) {
	return one(ctx, t.Reader, renameGroup, scanGroup, id, name, micros(now()))
}

// DeleteUserGroup removes a group, its membership in projects and its members. It returns [ErrNotFound].
func (t *Tx) DeleteUserGroup(ctx context.Context, id int64) error {
	return t.execOne(ctx, deleteGroup, id)
}

// EnsureUserGroups adds those of the groups, which are all of one kind, that are not there by their key. One whose name another
// group has is called by its key.
func (t *Tx) EnsureUserGroups(ctx context.Context, kind int, groups []UserGroup) error {
	wanted := slices.Clone(groups)
	for i := range wanted {
		wanted[i].Key = cmp.Or(wanted[i].Key, wanted[i].Name)
	}
	// In one order, so that two logins at once do not wait for each other.
	slices.SortFunc(wanted, func(a, b UserGroup) int { return cmp.Compare(a.Key, b.Key) })
	for _, name := range []func(UserGroup) string{
		func(g UserGroup) string { return g.Name },
		func(g UserGroup) string { return g.Key },
	} {
		keys := make([]string, len(wanted))
		for i, g := range wanted {
			keys[i] = g.Key
		}
		known, err := t.groupsByKeys(ctx, kind, keys)
		if err != nil {
			return err
		}
		wanted = slices.DeleteFunc(wanted, func(g UserGroup) bool {
			return slices.ContainsFunc(known, func(k UserGroup) bool { return k.Key == g.Key })
		})
		for _, g := range wanted {
			if _, err := t.exec(ctx, insertGroupIfAbsent, name(g), kind, g.DN, g.Key, micros(now())); err != nil {
				return fmt.Errorf("group %q: %w", g.Key, err)
			}
		}
	}
	return nil
}

// SetGroupMembers makes a user a member of exactly those groups of a kind that the keys name, and reports whether that has
// changed anything. Keys without a group are passed over: see [Tx.EnsureUserGroups].
func (t *Tx) SetGroupMembers(ctx context.Context, userID int64, kind int, keys []string) (changed bool, err error) {
	if keys == nil {
		keys = []string{}
	}
	encoded, err := json.Marshal(keys)
	if err != nil {
		return false, err
	}
	left, err := t.exec(ctx, leaveGroups, userID, kind, string(encoded))
	if err != nil {
		return false, err
	}
	joined, err := t.exec(ctx, joinGroups, userID, kind, string(encoded))
	return left+joined > 0, err
}
