package retain

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/policy/retention"
	"github.com/berth-registry/berth/policy/selector"
)

// The words of rules.
const (
	Action = "retain"
	// Doublestar selects by patterns, Label by labels whose names have commas between them.
	Doublestar = "doublestar"
	Label      = "label"
	// Repository is the scope of the selectors of repositories.
	Repository = "repository"
)

// The decorations of selectors.
const (
	RepoMatches   = "repoMatches"
	RepoExcludes  = "repoExcludes"
	Matches       = "matches"
	Excludes      = "excludes"
	WithLabels    = "withLabels"
	WithoutLabels = "withoutLabels"
)

// Rule is a rule as it is kept, and as Harbor's clients read and write it.
type Rule struct {
	ID       int64  `json:"id"`
	Priority int64  `json:"priority"`
	Disabled bool   `json:"disabled"`
	Action   string `json:"action" doc:"retain"`
	Template string `json:"template" doc:"latestPushedK, latestPulledN, nDaysSinceLastPush, nDaysSinceLastPull or always"`
	// Params has the number of a template that needs one, by the template's name.
	Params         map[string]any        `json:"params"`
	TagSelectors   []Selector            `json:"tag_selectors"`
	ScopeSelectors map[string][]Selector `json:"scope_selectors"`
}

// Selector chooses repositories, tags or artifacts with labels.
type Selector struct {
	Kind       string `json:"kind" doc:"doublestar, or label"`
	Decoration string `json:"decoration" doc:"repoMatches or repoExcludes; matches or excludes; withLabels or withoutLabels"`
	Pattern    string `json:"pattern"`
	Extras     string `json:"extras" doc:"of tags: {\"untagged\":true} selects artifacts without a tag as well"`
}

// parse returns the rule as it is judged by. The error is a [*fault.Error] of Invalid.
func (r Rule) parse() (rule retention.Rule, err error) {
	rule = retention.Rule{Disabled: r.Disabled, Template: retention.Template(r.Template)}
	if r.Action != "" && r.Action != Action {
		return rule, fault.New(fault.Invalid, "action %q is not %s", r.Action, Action)
	}
	if rule.Template.Counted() {
		if rule.Number, err = number(r.Params[r.Template]); err != nil {
			return rule, fault.New(fault.Invalid, "template %s needs a parameter of its name that is a number from 1 to %d", r.Template, maxNumber)
		}
	}
	for _, s := range r.ScopeSelectors[Repository] {
		if !is(s.Kind, Doublestar) || s.Decoration != RepoMatches && s.Decoration != RepoExcludes {
			return rule, fault.New(fault.Invalid, "repositories are selected by %s with %s or %s", Doublestar, RepoMatches, RepoExcludes)
		}
		rule.Repositories = append(rule.Repositories, selector.Selector{Pattern: s.Pattern, Exclude: s.Decoration == RepoExcludes})
	}
	for _, s := range r.TagSelectors {
		switch {
		case is(s.Kind, Doublestar) && (s.Decoration == Matches || s.Decoration == Excludes):
			rule.Tags = append(rule.Tags, selector.Selector{Pattern: s.Pattern, Exclude: s.Decoration == Excludes})
		case s.Kind == Label && (s.Decoration == WithLabels || s.Decoration == WithoutLabels):
			rule.Labels = append(rule.Labels, retention.LabelSelector{Names: names(s.Pattern), Without: s.Decoration == WithoutLabels})
		default:
			return rule, fault.New(fault.Invalid, "tags are selected by %s with %s or %s, artifacts by %s with %s or %s",
				Doublestar, Matches, Excludes, Label, WithLabels, WithoutLabels)
		}
		untagged, err := selectsUntagged(s.Extras)
		if err != nil {
			return rule, err
		}
		rule.Untagged = rule.Untagged || untagged
	}
	return rule, rule.Validate()
}

func is(kind, wanted string) bool { return kind == "" || kind == wanted }

func names(pattern string) []string {
	list := strings.Split(pattern, ",")
	for i := range list {
		list[i] = strings.TrimSpace(list[i])
	}
	return list
}

// maxNumber bounds the number of artifacts or days.
const maxNumber = 1_000_000

func number(given any) (int, error) {
	var n float64
	switch v := given.(type) {
	case float64:
		n = v
	case string:
		parsed, err := strconv.Atoi(v)
		if err != nil {
			return 0, err
		}
		n = float64(parsed)
	}
	if n < 1 || n > maxNumber || n != float64(int(n)) {
		return 0, fmt.Errorf("number %v", given)
	}
	return int(n), nil
}

// selectsUntagged reads what clients add to a selector of tags.
func selectsUntagged(extras string) (bool, error) {
	if extras == "" {
		return false, nil
	}
	var said struct {
		Untagged bool `json:"untagged"`
	}
	if err := json.Unmarshal([]byte(extras), &said); err != nil {
		return false, fault.New(fault.Invalid, `extras %q must be a JSON object like {"untagged":true}`, extras)
	}
	return said.Untagged, nil
}

// parseAll returns rules as they are judged by. The error is a [*fault.Error] of Invalid.
func parseAll(rules []Rule) (p retention.Policy, err error) {
	for i, rule := range rules {
		parsed, err := rule.parse()
		if err != nil {
			return p, fault.New(fault.Invalid, "rule %d: %v", i+1, err)
		}
		p.Rules = append(p.Rules, parsed)
	}
	return p, p.Validate()
}

// encode numbers the rules and returns them as they are kept.
func encode(rules []Rule) (string, error) {
	rules = slices.Clone(rules)
	for i := range rules {
		rules[i].ID, rules[i].Action = int64(i+1), Action
		if rules[i].TagSelectors == nil {
			rules[i].TagSelectors = []Selector{}
		}
		if rules[i].ScopeSelectors == nil {
			rules[i].ScopeSelectors = map[string][]Selector{}
		}
		if rules[i].Params == nil {
			rules[i].Params = map[string]any{}
		}
	}
	encoded, err := json.Marshal(append([]Rule{}, rules...))
	if err != nil {
		return "", fmt.Errorf("encode retention rules: %w", err)
	}
	return string(encoded), nil
}
