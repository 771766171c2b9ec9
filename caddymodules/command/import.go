package command

import (
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/berth-registry/berth/policy"
)

// alterations are what makes the registry what the document says, in the order to make them.
func (p *presence) alterations(wanted document) ([]alteration, error) {
	alterations, err := p.settingAlterations(wanted.Settings)
	if err != nil {
		return nil, err
	}
	if wanted.Labels != nil {
		alterations = append(alterations, labelAlterations("", 0, p.labels, *wanted.Labels)...)
	}
	if list := wanted.Vulnerabilities; list != nil && !list.equals(p.document.Vulnerabilities) {
		alterations = append(alterations, request("~", "vulnerability allowlist", http.MethodPut, "/system/CVEAllowlist", list.body()))
	}
	for _, spec := range wanted.Projects {
		more, err := p.projectAlterations(spec)
		if err != nil {
			return nil, fmt.Errorf("project %s: %w", spec.Name, err)
		}
		alterations = append(alterations, more...)
	}
	return alterations, nil
}

func (p *presence) settingAlterations(wanted map[string]any) ([]alteration, error) {
	var alterations []alteration
	for _, key := range slices.Sorted(maps.Keys(wanted)) {
		value, now := wanted[key], p.values[key]
		if equalValues(value, now.Value) {
			continue
		}
		if _, shown := p.values[key]; shown && !now.Editable {
			return nil, usageError("setting %s is pinned in the configuration file of the server, to %v", key, now.Value)
		}
		what := fmt.Sprintf("setting %s: %v → %v", key, now.Value, value)
		if _, shown := p.values[key]; !shown {
			what = "setting " + key + ", which is not shown" // a secret
		}
		alterations = append(alterations, request("~", what, http.MethodPut, "/configurations", map[string]any{key: value}))
	}
	return alterations, nil
}

// equalValues compares a value of YAML with one of JSON, whose numbers are of other types.
func equalValues(a, b any) bool {
	return fmt.Sprint(a) == fmt.Sprint(b) && reflect.TypeOf(a) != nil == (reflect.TypeOf(b) != nil)
}

func (l *allowlist) equals(other *allowlist) bool {
	if l == nil || other == nil {
		return l == other
	}
	a, b := slices.Clone(l.Items), slices.Clone(other.Items)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b) && reflect.DeepEqual(l.ExpiresAt, other.ExpiresAt)
}

func labelAlterations(of string, projectID int64, present []label, wanted []labelSpec) []alteration {
	var alterations []alteration
	scope, what := "g", "label "
	if of != "" {
		scope, what = "p", "project "+of+": label "
	}
	for _, spec := range wanted {
		body := label{Name: spec.Name, Description: spec.Description, Color: spec.Color, Scope: scope, ProjectID: projectID}
		i := slices.IndexFunc(present, func(l label) bool { return l.Name == spec.Name })
		switch {
		case i < 0:
			alterations = append(alterations, request("+", what+spec.Name, http.MethodPost, "/labels", body))
		case present[i].Description != spec.Description || present[i].Color != spec.Color:
			alterations = append(alterations, request("~", what+spec.Name, http.MethodPut, at("labels", strconv.FormatInt(present[i].ID, 10)), body))
		}
	}
	for _, l := range present {
		if !slices.ContainsFunc(wanted, func(spec labelSpec) bool { return spec.Name == l.Name }) {
			alterations = append(alterations, request("-", what+l.Name, http.MethodDelete, at("labels", strconv.FormatInt(l.ID, 10)), nil))
		}
	}
	return alterations
}

func (p *presence) projectAlterations(wanted projectSpec) ([]alteration, error) {
	if wanted.Name == "" {
		return nil, usageError("a project has no name")
	}
	what := "project " + wanted.Name
	var alterations []alteration
	now := p.projects[wanted.Name]
	if now == nil {
		public := wanted.Public != nil && *wanted.Public
		body := map[string]any{"project_name": wanted.Name, "metadata": map[string]string{"public": boolText(public)}}
		alterations = append(alterations, request("+", what, http.MethodPost, "/projects", body))
		now = &projectPresence{spec: projectSpec{Name: wanted.Name, Public: &public, Members: &[]memberSpec{}}}
	}
	alterations = append(alterations, now.metadataAlterations(what, wanted)...)
	if wanted.Quota != "" {
		limit, err := parseSize(wanted.Quota)
		if err != nil {
			return nil, err
		}
		if quotaText(limit) != now.spec.Quota {
			alterations = append(alterations, alteration{"~", fmt.Sprintf("%s: quota %s", what, sizeText(limit)), setQuota(wanted.Name, limit)})
		}
	}
	if wanted.Members != nil {
		more, err := now.memberAlterations(what, *wanted.Members)
		if err != nil {
			return nil, err
		}
		alterations = append(alterations, more...)
	}
	if wanted.Labels != nil {
		alterations = append(alterations, now.labelAlterations(*wanted.Labels)...)
	}
	if wanted.ImmutableTags != nil {
		alterations = append(alterations, now.ruleAlterations(what, *wanted.ImmutableTags)...)
	}
	if list := wanted.Vulnerabilities; list != nil && !list.equals(now.spec.Vulnerabilities) {
		body := map[string]any{"cve_allowlist": list.body()}
		alterations = append(alterations, request("~", what+": vulnerability allowlist", http.MethodPut, at("projects", wanted.Name), body))
	}
	return alterations, nil
}

func (now *projectPresence) metadataAlterations(what string, wanted projectSpec) []alteration {
	changed := map[string]string{}
	if wanted.Public != nil && *wanted.Public != *now.spec.Public {
		changed["public"] = boolText(*wanted.Public)
	}
	for key, value := range wanted.Metadata {
		if now.spec.Metadata[key] != value {
			changed[key] = value
		}
	}
	if len(changed) == 0 {
		return nil
	}
	what = fmt.Sprintf("%s: %v", what, changed)
	return []alteration{request("~", what, http.MethodPut, at("projects", wanted.Name), map[string]any{"metadata": changed})}
}

// setQuota finds the quota when it is to be set, because the project may be one that was just made.
func setQuota(name string, limit int64) func(c *call) error {
	return func(c *call) error {
		found, err := findQuota(c, name)
		if err != nil {
			return err
		}
		_, err = c.change(c.Context(), http.MethodPut, at("quotas", strconv.FormatInt(found.ID, 10)), map[string]any{"hard": map[string]int64{"storage": limit}})
		return err
	}
}

func (now *projectPresence) memberAlterations(what string, wanted []memberSpec) ([]alteration, error) {
	var alterations []alteration
	path := at("projects", now.spec.Name, "members")
	same := func(m member, spec memberSpec) bool {
		return m.Type == "g" && m.Name == spec.Group && spec.User == "" || m.Type != "g" && m.Name == spec.User
	}
	for _, spec := range wanted {
		role, err := policy.ParseRole(spec.Role)
		if err != nil || (spec.User == "") == (spec.Group == "") {
			return nil, usageError("member %+v must have a user or a group, and a role", spec)
		}
		i := slices.IndexFunc(now.members, func(m member) bool { return same(m, spec) })
		described := fmt.Sprintf("%s: %s as %s", what, spec, spec.Role)
		switch {
		case i < 0:
			body := map[string]any{"role_id": role, "member_user": map[string]string{"username": spec.User}}
			if spec.Group != "" {
				body = map[string]any{"role_id": role, "member_group": map[string]any{"group_name": spec.Group, "group_type": groupKinds[spec.Kind]}}
			}
			alterations = append(alterations, request("+", described, http.MethodPost, path, body))
		case now.members[i].RoleID != role:
			alterations = append(alterations,
				request("~", described, http.MethodPut, path+at(strconv.FormatInt(now.members[i].ID, 10)), map[string]policy.Role{"role_id": role}))
		}
	}
	for _, m := range now.members {
		if !slices.ContainsFunc(wanted, func(spec memberSpec) bool { return same(m, spec) }) {
			alterations = append(alterations, request("-", fmt.Sprintf("%s: %s", what, m.spec()), http.MethodDelete, path+at(strconv.FormatInt(m.ID, 10)), nil))
		}
	}
	return alterations, nil
}

// labelAlterations finds the project's id when it is needed, because the project may be one that was just made.
func (now *projectPresence) labelAlterations(wanted []labelSpec) []alteration {
	alterations := labelAlterations(now.spec.Name, now.id, now.labels, wanted)
	if now.id != 0 || len(alterations) == 0 {
		return alterations
	}
	for i, spec := range wanted { // all are new
		alterations[i].do = func(c *call) error {
			found, err := get[project](c.Context(), c.API, at("projects", now.spec.Name), nil)
			if err != nil {
				return err
			}
			body := label{Name: spec.Name, Description: spec.Description, Color: spec.Color, Scope: "p", ProjectID: found.ID}
			_, err = c.change(c.Context(), http.MethodPost, "/labels", body)
			return err
		}
	}
	return alterations
}

// makeRule makes a rule; one that is made is in force, so a disabled one is disabled after.
func makeRule(path string, rule immutableRule) func(c *call) error {
	return func(c *call) error {
		location, err := c.change(c.Context(), http.MethodPost, path, rule)
		if err != nil || !rule.Disabled {
			return err
		}
		id := location[strings.LastIndexByte(location, '/')+1:]
		if rule.ID, err = strconv.ParseInt(id, 10, 64); err != nil {
			return fmt.Errorf("the registry named no rule: %q", location)
		}
		_, err = c.change(c.Context(), http.MethodPut, path+at(id), rule)
		return err
	}
}

func (now *projectPresence) ruleAlterations(what string, wanted []immutableSpec) []alteration {
	var alterations []alteration
	path := at("projects", now.spec.Name, "immutabletagrules")
	for _, spec := range wanted {
		spec = spec.rule().spec() // with what is left away filled in
		if !slices.ContainsFunc(now.rules, func(r immutableRule) bool { return r.spec() == spec }) {
			alterations = append(alterations, alteration{"+", what + ": " + spec.String(), makeRule(path, spec.rule())})
		}
	}
	for _, r := range now.rules {
		if !slices.ContainsFunc(wanted, func(spec immutableSpec) bool { return spec.rule().spec() == r.spec() }) {
			alterations = append(alterations, request("-", what+": "+r.spec().String(), http.MethodDelete, path+at(strconv.FormatInt(r.ID, 10)), nil))
		}
	}
	return alterations
}
