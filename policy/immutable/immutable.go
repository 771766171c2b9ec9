// Package immutable says which tags stay where they are: those that a rule of their project selects are neither moved nor deleted.
package immutable

import (
	"fmt"
	"strings"

	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/policy/selector"
)

// MaxRules is how many rules a project may have.
const MaxRules = 15

// maxSelectors is how many selectors of each kind a rule may have.
const maxSelectors = 15

// Validate returns a [*fault.Error] for a rule that selects nothing that can be understood.
func Validate(rule metadata.ImmutableRule) error {
	for what, selectors := range map[string][]metadata.Selector{"repository": rule.Repositories, "tag": rule.Tags} {
		if len(selectors) == 0 || len(selectors) > maxSelectors {
			return fault.New(fault.Invalid, "a rule needs from 1 to %d %s selectors", maxSelectors, what)
		}
		for _, s := range selectors {
			if err := selector.Selector(s).Validate(); err != nil {
				return err
			}
		}
	}
	return nil
}

// Find returns the first of the rules that keeps a tag of the repository where it is, and false when none does.
func Find(rules []metadata.ImmutableRule, repository oci.Repository, tag string) (metadata.ImmutableRule, bool) {
	_, name, _ := strings.Cut(string(repository), "/")
	for _, rule := range rules {
		if !rule.Disabled && selectedBy(rule.Repositories, name) && selectedBy(rule.Tags, tag) {
			return rule, true
		}
	}
	return metadata.ImmutableRule{}, false
}

func selectedBy(selectors []metadata.Selector, name string) bool {
	for _, s := range selectors {
		if !selector.Selector(s).Selects(name) {
			return false
		}
	}
	return len(selectors) > 0
}

// Describe says what a rule selects, for messages.
func Describe(rule metadata.ImmutableRule) string {
	return fmt.Sprintf("rule %d (repositories %s, tags %s)", rule.ID, patterns(rule.Repositories), patterns(rule.Tags))
}

func patterns(selectors []metadata.Selector) string {
	texts := make([]string, len(selectors))
	for i, s := range selectors {
		texts[i] = s.Pattern
		if s.Exclude {
			texts[i] = "except " + s.Pattern
		}
	}
	return strings.Join(texts, " and ")
}
