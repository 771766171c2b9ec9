package api

import (
	"fmt"
	"net/http"
	"net/url"

	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/policy"
)

func (a *API) immutableRoutes() []Route {
	const all, one = "/projects/{project_name_or_id}/immutabletagrules", "/projects/{project_name_or_id}/immutabletagrules/{immutable_rule_id}"
	return []Route{
		define(Route{
			ID: "ListImmuRules", Tag: "immutable", Method: http.MethodGet, Path: all, Summary: "Lists the rules about tags that stay where they are",
			Permission: inProject("immutable-tag", policy.List), Statuses: []int{400, 401, 403, 404, 422, 500},
		}, a.listImmutableRules),
		define(Route{
			ID: "CreateImmuRule", Tag: "immutable", Method: http.MethodPost, Path: all, Summary: "Adds a rule, which holds at once",
			Permission: inProject("immutable-tag", policy.Create), Statuses: []int{400, 401, 403, 404, 500},
		}, a.createImmutableRule),
		define(Route{
			ID: "UpdateImmuRule", Tag: "immutable", Method: http.MethodPut, Path: one, Summary: "Changes a rule, or lets it rest",
			Permission: inProject("immutable-tag", policy.Update), Statuses: []int{400, 401, 403, 404, 422, 500},
		}, a.updateImmutableRule),
		define(Route{
			ID: "DeleteImmuRule", Tag: "immutable", Method: http.MethodDelete, Path: one, Summary: "Removes a rule",
			Permission: inProject("immutable-tag", policy.Delete), Statuses: []int{400, 401, 403, 404, 422, 500},
		}, a.deleteImmutableRule),
	}
}

// The words of rules that say nothing, as there is but one of each.
const (
	immutableAction    = "immutable"
	immutableTemplate  = "immutable_template"
	selectorDoublestar = "doublestar"
	scopeRepository    = "repository"
)

// immutableSelector chooses repositories or tags.
type immutableSelector struct {
	Kind       string `json:"kind" doc:"doublestar"`
	Decoration string `json:"decoration" doc:"repoMatches or repoExcludes for repositories, matches or excludes for tags"`
	Pattern    string `json:"pattern"`
	Extras     string `json:"extras"`
}

// immutableRule is a rule as clients read and write it.
type immutableRule struct {
	ID           int64                          `json:"id"`
	Priority     int64                          `json:"priority"`
	Disabled     bool                           `json:"disabled"`
	Action       string                         `json:"action"`
	Template     string                         `json:"template"`
	Params       map[string]any                 `json:"params,omitempty"`
	TagSelectors []immutableSelector            `json:"tag_selectors"`
	Scope        map[string][]immutableSelector `json:"scope_selectors"`
}

func viewImmutableRule(rule metadata.ImmutableRule) immutableRule {
	return immutableRule{
		ID: rule.ID, Priority: rule.Priority, Disabled: rule.Disabled, Action: immutableAction, Template: immutableTemplate,
		TagSelectors: viewSelectors(rule.Tags, "matches", "excludes"),
		Scope:        map[string][]immutableSelector{scopeRepository: viewSelectors(rule.Repositories, "repoMatches", "repoExcludes")},
	}
}

func viewSelectors(rows []metadata.Selector, matches, excludes string) []immutableSelector {
	selectors := make([]immutableSelector, len(rows))
	for i, row := range rows {
		selectors[i] = immutableSelector{Kind: selectorDoublestar, Decoration: matches, Pattern: row.Pattern}
		if row.Exclude {
			selectors[i].Decoration = excludes
		}
	}
	return selectors
}

// row is the rule as it is kept.
func (r immutableRule) row() (row metadata.ImmutableRule, err error) {
	row = metadata.ImmutableRule{ID: r.ID, Priority: r.Priority, Disabled: r.Disabled}
	if r.Action != "" && r.Action != immutableAction || r.Template != "" && r.Template != immutableTemplate {
		return row, fault.New(fault.Invalid, "a rule has the action %s and the template %s", immutableAction, immutableTemplate)
	}
	if row.Tags, err = selectorRows(r.TagSelectors, "matches", "excludes"); err != nil {
		return row, err
	}
	row.Repositories, err = selectorRows(r.Scope[scopeRepository], "repoMatches", "repoExcludes")
	return row, err
}

func selectorRows(selectors []immutableSelector, matches, excludes string) ([]metadata.Selector, error) {
	rows := make([]metadata.Selector, 0, len(selectors))
	for _, s := range selectors {
		if s.Kind != "" && s.Kind != selectorDoublestar {
			return nil, fault.New(fault.Invalid, "selector kind %q is not %s", s.Kind, selectorDoublestar)
		}
		if s.Decoration != matches && s.Decoration != excludes {
			return nil, fault.New(fault.Invalid, "selector decoration %q is neither %s nor %s", s.Decoration, matches, excludes)
		}
		rows = append(rows, metadata.Selector{Pattern: s.Pattern, Exclude: s.Decoration == excludes})
	}
	return rows, nil
}

func (a *API) listImmutableRules(c *Call, paging Paging) (Page[immutableRule], error) {
	rows, err := a.options.Store.ImmutableRules(c.Context(), c.Project.ID)
	if err != nil {
		return Page[immutableRule]{}, err
	}
	return pageOf(paging, rows, viewImmutableRule)
}

// createImmutableRuleInput is a rule that is to be added.
type createImmutableRuleInput struct {
	Project string        `path:"project_name_or_id"`
	Body    immutableRule `body:""`
}

func (a *API) createImmutableRule(c *Call, in createImmutableRuleInput) (Created, error) {
	row, err := in.Body.row()
	if err != nil {
		return Created{}, err
	}
	id, err := a.options.Projects.CreateRule(c.Context(), c.actor(), c.Project, row)
	return Created{Location: fmt.Sprintf("%s/projects/%s/immutabletagrules/%d", Prefix, url.PathEscape(in.Project), id)}, err
}

// immutableRuleInput names a rule.
type immutableRuleInput struct {
	ID int64 `path:"immutable_rule_id"`
}

// updateImmutableRuleInput is a rule as it shall be. Without selectors those that it has stay.
type updateImmutableRuleInput struct {
	immutableRuleInput
	Body immutableRule `body:""`
}

func (a *API) updateImmutableRule(c *Call, in updateImmutableRuleInput) (None, error) {
	row, err := in.Body.row()
	if err != nil {
		return None{}, err
	}
	row.ID = in.ID
	return None{}, a.options.Projects.UpdateRule(c.Context(), c.actor(), c.Project, row)
}

func (a *API) deleteImmutableRule(c *Call, in immutableRuleInput) (None, error) {
	return None{}, a.options.Projects.DeleteRule(c.Context(), c.actor(), c.Project, in.ID)
}
