package command

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/berth-registry/berth/policy"
	projects "github.com/berth-registry/berth/project"
	"github.com/berth-registry/berth/setting"
)

func importConfig(c *call) error {
	wanted, err := readDocument(c.arguments[0], c.InOrStdin())
	if err != nil {
		return err
	}
	found, err := present(c)
	if err != nil {
		return err
	}
	alterations, err := found.alterations(wanted)
	if err != nil {
		return err
	}
	for _, a := range alterations {
		_, _ = fmt.Fprintf(c.OutOrStdout(), "%s %s\n", a.sign, a.what)
	}
	switch {
	case len(alterations) == 0:
		return report(c, nil, "Nothing to change.")
	case !c.on("yes"):
		return errors.New("these changes are to be made: make them with --yes")
	}
	if err := apply(c, alterations); err != nil {
		return err
	}
	return report(c, nil, "Made these changes.")
}

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
		alterations = append(alterations, changed("vulnerability allowlist", "/system/CVEAllowlist", list.body(), p.document.Vulnerabilities.body()))
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
	var lines []string
	values, before := map[string]any{}, map[string]any{}
	for _, key := range slices.Sorted(maps.Keys(wanted)) {
		value := wanted[key]
		now, shown := p.values[key]
		if shown && equalValues(value, now.Value) {
			continue
		}
		if _, known := setting.Find(key); !known {
			return nil, usageError("there is no setting %q", key)
		}
		if shown && !now.Editable {
			return nil, usageError("setting %s is pinned in the configuration file of the server, to %v", key, now.Value)
		}
		values[key] = value
		if shown {
			before[key] = now.Value
			lines = append(lines, fmt.Sprintf("setting %s: %v → %v", key, now.Value, value))
		} else {
			lines = append(lines, "setting "+key+", which is not shown") // a secret
		}
	}
	if len(values) == 0 {
		return nil, nil
	}
	// One request, because some settings go together only.
	a := changed(strings.Join(lines, "\n"+signChanged+" "), "/configurations", values, before)
	if len(before) < len(values) {
		a.do = keepingSecrets(a.do)
	}
	return []alteration{a}, nil
}

// keepingSecrets has what takes settings back say that it cannot for secrets, which nobody can read.
func keepingSecrets(do func(c *call) (undo, error)) func(c *call) (undo, error) {
	return func(c *call) (undo, error) {
		back, err := do(c)
		if err != nil {
			return back, err
		}
		return func(c *call) error { return errors.Join(back(c), errors.New("secret settings stay as they were set")) }, nil
	}
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
			alterations = append(alterations, made(what+spec.Name, "/labels", body))
		case present[i].Description != spec.Description || present[i].Color != spec.Color:
			alterations = append(alterations, changed(what+spec.Name, at("labels", strconv.FormatInt(present[i].ID, 10)), body, present[i]))
		}
	}
	for _, l := range present {
		if !slices.ContainsFunc(wanted, func(spec labelSpec) bool { return spec.Name == l.Name }) {
			alterations = append(alterations, removed(what+l.Name, at("labels", strconv.FormatInt(l.ID, 10))))
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
		alterations = append(alterations, alteration{signMade, what, makeProject(wanted, body)})
		now = &projectPresence{spec: projectSpec{Name: wanted.Name, Public: &public, Members: &[]memberSpec{}}}
	}
	inMetadata, err := now.metadataAlterations(what, wanted)
	if err != nil {
		return nil, err
	}
	alterations = append(alterations, inMetadata...)
	if wanted.Quota != "" {
		limit, err := parseSize(wanted.Quota)
		if err != nil {
			return nil, err
		}
		if quotaText(limit) != now.spec.Quota {
			alterations = append(alterations, setQuota(fmt.Sprintf("%s: quota %s", what, sizeText(limit)), wanted.Name, limit))
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
		var before allowlist
		if now.spec.Vulnerabilities != nil {
			before = *now.spec.Vulnerabilities
		}
		body := func(l allowlist) any { return map[string]any{"cve_allowlist": l.body()} }
		alterations = append(alterations, changed(what+": vulnerability allowlist", at("projects", wanted.Name), body(*list), body(before)))
	}
	return alterations, nil
}

// makeProject makes a project. Who makes it is its first member, and is none again where the document has a list of them.
func makeProject(wanted projectSpec, body any) func(c *call) (undo, error) {
	return func(c *call) (undo, error) {
		if _, err := c.change(c.Context(), http.MethodPost, "/projects", body); err != nil {
			return nil, err
		}
		path := at("projects", wanted.Name)
		back := deleting(path)
		if wanted.Members == nil {
			return back, nil
		}
		members, err := list[member](c.Context(), c.API, path+"/members", nil, 0)
		for _, m := range members {
			_, failed := c.change(c.Context(), http.MethodDelete, path+at("members", strconv.FormatInt(m.ID, 10)), nil)
			err = errors.Join(err, failed)
		}
		return back, err
	}
}

func (now *projectPresence) metadataAlterations(what string, wanted projectSpec) ([]alteration, error) {
	present := map[string]string{"public": boolText(*now.spec.Public)}
	maps.Copy(present, now.spec.Metadata)
	values, err := projects.CheckMetadata(wanted.Metadata)
	if err != nil {
		return nil, usageError("%v", err)
	}
	if wanted.Public != nil {
		values["public"] = boolText(*wanted.Public)
	}
	maps.DeleteFunc(values, func(key, value string) bool { return present[key] == value })
	if len(values) == 0 {
		return nil, nil
	}
	return []alteration{setMetadata(fmt.Sprintf("%s: %v", what, values), wanted.Name, values, present)}, nil
}

func (now *projectPresence) memberAlterations(what string, wanted []memberSpec) ([]alteration, error) {
	var alterations []alteration
	path := at("projects", now.spec.Name, "members")
	same := func(m member, spec memberSpec) bool {
		if m.Type != "g" {
			return m.Name == spec.User
		}
		g := now.groups[m.EntityID]
		return g.named(spec.Group) && (spec.Kind == "" || groupKinds[spec.Kind] == g.Kind)
	}
	for _, spec := range wanted {
		if (spec.User == "") == (spec.Group == "") {
			return nil, usageError("a member must have a user or a group, and %q has not", spec.User)
		}
		role, err := policy.ParseRole(spec.Role)
		if err != nil {
			return nil, usageError("%s: %v", spec, err)
		}
		kind, known := groupKinds[spec.Kind]
		if !known && spec.Kind != "" {
			return nil, usageError("%s is of the kind %q: it must be ldap, oidc or http", spec, spec.Kind)
		}
		i := slices.IndexFunc(now.members, func(m member) bool { return same(m, spec) })
		described := fmt.Sprintf("%s: %s as %s", what, spec, spec.Role)
		switch {
		case i < 0:
			body := map[string]any{"role_id": role, "member_user": map[string]string{"username": spec.User}}
			if spec.Group != "" {
				if !known {
					return nil, usageError("%s needs a kind: ldap, oidc or http", spec)
				}
				body = map[string]any{"role_id": role, "member_group": groupBody(kind, spec.Group)}
			}
			alterations = append(alterations, made(described, path, body))
		case now.members[i].RoleID != role:
			alterations = append(alterations,
				changed(described, path+at(strconv.FormatInt(now.members[i].ID, 10)), roleBody(role), roleBody(now.members[i].RoleID)))
		}
	}
	for _, m := range now.members {
		if !slices.ContainsFunc(wanted, func(spec memberSpec) bool { return same(m, spec) }) {
			alterations = append(alterations, removed(fmt.Sprintf("%s: %s", what, now.member(m)), path+at(strconv.FormatInt(m.ID, 10))))
		}
	}
	return alterations, nil
}

func roleBody(role policy.Role) any { return map[string]policy.Role{"role_id": role} }

// labelAlterations finds the project's id when it is needed, because the project may be one that was just made.
func (now *projectPresence) labelAlterations(wanted []labelSpec) []alteration {
	alterations := labelAlterations(now.spec.Name, now.id, now.labels, wanted)
	if now.id != 0 || len(alterations) == 0 {
		return alterations
	}
	for i, spec := range wanted { // all are new
		alterations[i].do = func(c *call) (undo, error) {
			found, err := get[project](c.Context(), c.API, at("projects", now.spec.Name), nil)
			if err != nil {
				return nil, err
			}
			return post(c, "/labels", label{Name: spec.Name, Description: spec.Description, Color: spec.Color, Scope: "p", ProjectID: found.ID})
		}
	}
	return alterations
}

// makeRule makes a rule; one that is made is in force, so a disabled one is disabled after.
func makeRule(path string, rule immutableRule) func(c *call) (undo, error) {
	return func(c *call) (undo, error) {
		location, err := c.change(c.Context(), http.MethodPost, path, rule)
		if err != nil {
			return nil, err
		}
		back := deleting(strings.TrimPrefix(location, prefix))
		if !rule.Disabled {
			return back, nil
		}
		id := location[strings.LastIndexByte(location, '/')+1:]
		if rule.ID, err = strconv.ParseInt(id, 10, 64); err != nil {
			return nil, fmt.Errorf("the registry named no rule: %q", location)
		}
		_, err = c.change(c.Context(), http.MethodPut, path+at(id), rule)
		return back, err
	}
}

func (now *projectPresence) ruleAlterations(what string, wanted []immutableSpec) []alteration {
	var alterations []alteration
	path := at("projects", now.spec.Name, "immutabletagrules")
	for _, spec := range wanted {
		i := slices.IndexFunc(now.rules, func(r immutableRule) bool { return r.selectsAs(spec) })
		switch described := what + ": " + spec.rule().spec().String(); {
		case i < 0:
			alterations = append(alterations, alteration{signMade, described, makeRule(path, spec.rule())})
		case now.rules[i].Disabled != spec.Disabled:
			before, after := now.rules[i], now.rules[i]
			after.Disabled = spec.Disabled
			alterations = append(alterations, changed(described, path+at(strconv.FormatInt(before.ID, 10)), after, before))
		}
	}
	for _, r := range now.rules {
		if !slices.ContainsFunc(wanted, r.selectsAs) {
			alterations = append(alterations, removed(what+": "+r.spec().String(), path+at(strconv.FormatInt(r.ID, 10))))
		}
	}
	return alterations
}

// selectsAs reports whether the rule has the patterns of what a document says, be it in force or not.
func (r immutableRule) selectsAs(spec immutableSpec) bool {
	r.Disabled = spec.Disabled
	return r.spec() == spec.rule().spec()
}
