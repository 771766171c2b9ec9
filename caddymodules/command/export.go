package command

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/berth-registry/berth/setting"
)

// label is a label as the API returns it.
type label struct {
	ID          int64  `json:"id,omitempty"`
	Name        string `json:"name"`
	Description string `json:"description"`
	Color       string `json:"color"`
	Scope       string `json:"scope"`
	ProjectID   int64  `json:"project_id"`
}

// selector chooses names by a pattern.
type selector struct {
	Kind       string `json:"kind"`
	Decoration string `json:"decoration"`
	Pattern    string `json:"pattern"`
}

// immutableRule is an immutable tag rule as the API returns it.
type immutableRule struct {
	ID       int64                 `json:"id,omitempty"`
	Disabled bool                  `json:"disabled"`
	Action   string                `json:"action"`
	Template string                `json:"template"`
	Tags     []selector            `json:"tag_selectors"`
	Scope    map[string][]selector `json:"scope_selectors"`
}

func (r immutableRule) spec() immutableSpec {
	s := immutableSpec{Disabled: r.Disabled}
	for _, t := range r.Tags {
		if t.Decoration == "excludes" {
			s.ExceptTags = t.Pattern
		} else {
			s.Tags = t.Pattern
		}
	}
	for _, repository := range r.Scope["repository"] {
		if repository.Decoration == "repoExcludes" {
			s.ExceptRepositories = repository.Pattern
		} else {
			s.Repositories = repository.Pattern
		}
	}
	return s
}

func (s immutableSpec) rule() immutableRule {
	chosen := func(matches, excludes, matching, excluding string) []selector {
		if excludes != "" {
			return []selector{{Kind: "doublestar", Decoration: excluding, Pattern: excludes}}
		}
		if matches == "" {
			matches = "**"
		}
		return []selector{{Kind: "doublestar", Decoration: matching, Pattern: matches}}
	}
	return immutableRule{
		Disabled: s.Disabled, Action: "immutable", Template: "immutable_template",
		Tags:  chosen(s.Tags, s.ExceptTags, "matches", "excludes"),
		Scope: map[string][]selector{"repository": chosen(s.Repositories, s.ExceptRepositories, "repoMatches", "repoExcludes")},
	}
}

// cveAllowlist is an allowlist as the API returns it.
type cveAllowlist struct {
	Items []struct {
		ID string `json:"cve_id"`
	} `json:"items"`
	ExpiresAt *int64 `json:"expires_at"`
}

func (l cveAllowlist) spec() *allowlist {
	s := &allowlist{Items: []string{}, ExpiresAt: l.ExpiresAt}
	for _, item := range l.Items {
		s.Items = append(s.Items, item.ID)
	}
	slices.Sort(s.Items)
	return s
}

// body is the allowlist as the API takes it.
func (l allowlist) body() map[string]any {
	items := []map[string]string{}
	for _, id := range l.Items {
		items = append(items, map[string]string{"cve_id": id})
	}
	return map[string]any{"items": items, "expires_at": l.ExpiresAt}
}

func exportCommands(command *cobra.Command, local Local) {
	do(command, local, "export", "Prints the whole configuration as YAML", func(c *call) error {
		present, err := present(c)
		if err != nil {
			return err
		}
		encoder := yaml.NewEncoder(c.OutOrStdout())
		encoder.SetIndent(2)
		return encoder.Encode(present.document)
	})
	applied := do(command, local, "import <file>", "Makes the configuration what a file says, after showing what would change", importConfig)
	applied.Long = `Reads YAML as "config export" prints it; - is standard input. What the file does not name stays as it is; a list that it has
(members, labels, immutable_tags) is complete. A secret comes from a variable: ldap_search_password: {env: LDAP_PASSWORD}.
Without --yes it only shows the changes, and exits with status 1 when there are any.`
	applied.Flags().Bool("yes", false, "make the changes")
}

// presence is the configuration that the registry has, with the ids that changing it needs.
type presence struct {
	document document
	values   map[string]configValue
	labels   []label
	groups   map[int64]userGroup // by their ids
	projects map[string]*projectPresence
}

// projectPresence is a project that the registry has.
type projectPresence struct {
	spec    projectSpec
	id      int64
	members []member
	groups  map[int64]userGroup
	labels  []label
	rules   []immutableRule
}

// present reads the configuration of the registry.
func present(c *call) (*presence, error) {
	p := &presence{projects: map[string]*projectPresence{}, groups: map[int64]userGroup{}}
	var err error
	if p.values, err = readConfig(c); err != nil {
		return nil, err
	}
	maps.DeleteFunc(p.values, func(name string, _ configValue) bool {
		key, known := setting.Find(name)
		return known && key.Kind == setting.Secret // one of them is answered, without its value
	})
	p.document.Settings = map[string]any{}
	for key, value := range p.values {
		if value.Editable {
			p.document.Settings[key] = value.Value
		}
	}
	if p.labels, err = list[label](c.Context(), c.API, "/labels", url.Values{"scope": {"g"}}, 0); err != nil {
		return nil, err
	}
	p.document.Labels = labelSpecs(p.labels)
	system, err := get[cveAllowlist](c.Context(), c.API, "/system/CVEAllowlist", nil)
	if err != nil {
		return nil, err
	}
	p.document.Vulnerabilities = system.spec()
	groups, err := list[userGroup](c.Context(), c.API, "/usergroups", nil, 0)
	if err != nil {
		return nil, err
	}
	for _, g := range groups {
		p.groups[g.ID] = g
	}
	projects, err := list[project](c.Context(), c.API, "/projects", url.Values{"sort": {"name"}}, 0)
	if err != nil {
		return nil, err
	}
	quotas, err := list[quota](c.Context(), c.API, "/quotas", url.Values{"reference": {"project"}}, 0)
	if err != nil {
		return nil, err
	}
	limits := make(map[int64]int64, len(quotas))
	for _, q := range quotas {
		limits[q.Ref.ID] = q.Hard.Storage
	}
	for _, found := range projects {
		read, err := p.project(c, found, limits[found.ID])
		if err != nil {
			return nil, fmt.Errorf("project %s: %w", found.Name, err)
		}
		p.projects[found.Name] = read
		p.document.Projects = append(p.document.Projects, read.spec)
	}
	return p, nil
}

func (p *presence) project(c *call, found project, limit int64) (*projectPresence, error) {
	public := found.Metadata["public"] == "true"
	now := &projectPresence{id: found.ID, groups: p.groups, spec: projectSpec{Name: found.Name, Public: &public, Quota: quotaText(limit), Metadata: maps.Clone(found.Metadata)}}
	// These have fields of their own, or are not for people.
	for _, key := range []string{"public", "retention_id"} {
		delete(now.spec.Metadata, key)
	}
	var err error
	if now.members, err = list[member](c.Context(), c.API, at("projects", found.Name, "members"), nil, 0); err != nil {
		return nil, err
	}
	specs := []memberSpec{}
	for _, m := range now.members {
		specs = append(specs, now.member(m))
	}
	now.spec.Members = &specs
	query := url.Values{"scope": {"p"}, "project_id": {strconv.FormatInt(found.ID, 10)}}
	if now.labels, err = list[label](c.Context(), c.API, "/labels", query, 0); err != nil {
		return nil, err
	}
	now.spec.Labels = labelSpecs(now.labels)
	if now.rules, err = list[immutableRule](c.Context(), c.API, at("projects", found.Name, "immutabletagrules"), nil, 0); err != nil {
		return nil, err
	}
	rules := []immutableSpec{}
	for _, rule := range now.rules {
		rules = append(rules, rule.spec())
	}
	now.spec.ImmutableTags = &rules
	full, err := get[struct {
		Allowlist cveAllowlist `json:"cve_allowlist"`
	}](c.Context(), c.API, at("projects", found.Name), nil)
	if err != nil {
		return nil, err
	}
	now.spec.Vulnerabilities = full.Allowlist.spec()
	return now, nil
}

func labelSpecs(labels []label) *[]labelSpec {
	specs := []labelSpec{}
	for _, l := range labels {
		specs = append(specs, labelSpec{Name: l.Name, Description: l.Description, Color: l.Color})
	}
	return &specs
}

// member is a member as a document has it: an LDAP group by its distinguished name, which is the same to every registry.
func (now *projectPresence) member(m member) memberSpec {
	if m.Type != "g" {
		return memberSpec{User: m.Name, Role: m.Role}
	}
	spec := memberSpec{Group: m.Name, Role: m.Role}
	g := now.groups[m.EntityID]
	for word, kind := range groupKinds {
		if kind == g.Kind {
			spec.Kind = word
		}
	}
	if g.DN != "" {
		spec.Group = g.DN
	}
	return spec
}

// quotaText is a limit that reads back to the same number of bytes.
func quotaText(limit int64) string {
	if limit < 0 {
		return "unlimited"
	}
	return strconv.FormatInt(limit, 10)
}
