// Package retention judges which artifacts of a repository are kept: those that any rule keeps, and what these need to be whole.
// It knows rules and times, and neither where artifacts come from nor how they are deleted.
package retention

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/policy/selector"
)

// MaxRules is how many rules a policy may have.
const MaxRules = 15

// Template says which of the artifacts that a rule selects it keeps.
type Template string

// The templates, by their names on the wire.
const (
	// Always keeps all of them.
	Always Template = "always"
	// LatestPushed and LatestPulled keep the last N pushed or pulled.
	LatestPushed Template = "latestPushedK"
	LatestPulled Template = "latestPulledN"
	// PushedWithin and PulledWithin keep those of the last N days.
	PushedWithin Template = "nDaysSinceLastPush"
	PulledWithin Template = "nDaysSinceLastPull"
)

// Templates are all templates.
var Templates = []Template{LatestPushed, LatestPulled, PushedWithin, PulledWithin, Always}

// Counted reports whether the template needs a number.
func (t Template) Counted() bool { return t != Always }

// Rule keeps some artifacts of some repositories.
type Rule struct {
	Disabled bool
	Template Template
	// Number is of artifacts or of days, as the template says.
	Number int
	// Repositories select by the name within the project, Tags by the tag; all of either have to.
	Repositories []selector.Selector
	Tags         []selector.Selector
	// Untagged selects artifacts without a tag as well.
	Untagged bool
	// Labels select by labels; all of them have to.
	Labels []LabelSelector
}

// LabelSelector chooses artifacts that have all of some labels, or those that have none of them.
type LabelSelector struct {
	Names   []string
	Without bool
}

// Selects reports whether an artifact with the labels is chosen.
func (s LabelSelector) Selects(labels []string) bool {
	has := func(name string) bool { return slices.Contains(labels, name) }
	if s.Without {
		return !slices.ContainsFunc(s.Names, has)
	}
	return !slices.ContainsFunc(s.Names, func(name string) bool { return !has(name) })
}

// Validate returns a [*fault.Error] for a rule that cannot work.
func (r Rule) Validate() error {
	if !slices.Contains(Templates, r.Template) {
		return fault.New(fault.Invalid, "template %q is not one of %v", r.Template, Templates)
	}
	if r.Template.Counted() && r.Number < 1 {
		return fault.New(fault.Invalid, "template %s needs a number from 1", r.Template)
	}
	for _, s := range slices.Concat(r.Repositories, r.Tags) {
		if err := s.Validate(); err != nil {
			return err
		}
	}
	for _, s := range r.Labels {
		if len(s.Names) == 0 || slices.Contains(s.Names, "") {
			return fault.New(fault.Invalid, "a selector of labels needs their names")
		}
	}
	return nil
}

// String says what the rule keeps, for logs that people read.
func (r Rule) String() string {
	var kept string
	switch r.Template {
	case LatestPushed:
		kept = fmt.Sprintf("the last %d pushed", r.Number)
	case LatestPulled:
		kept = fmt.Sprintf("the last %d pulled", r.Number)
	case PushedWithin:
		kept = fmt.Sprintf("pushed within %d days", r.Number)
	case PulledWithin:
		kept = fmt.Sprintf("pulled within %d days", r.Number)
	default:
		kept = "always"
	}
	return kept + describe(", of repositories ", r.Repositories) + describe(", of tags ", r.Tags) + describeLabels(r.Labels)
}

func describe(of string, selectors []selector.Selector) string {
	var words []string
	for _, s := range selectors {
		word := s.Pattern
		if s.Exclude {
			word = "not " + word
		}
		words = append(words, word)
	}
	if len(words) == 0 {
		return ""
	}
	return of + strings.Join(words, " and ")
}

func describeLabels(selectors []LabelSelector) (text string) {
	for _, s := range selectors {
		with := ", with labels "
		if s.Without {
			with = ", without labels "
		}
		text += with + strings.Join(s.Names, ", ")
	}
	return text
}

// Policy is what is kept of a project. Without a rule that is in force everything is kept: nobody who has not said what to keep
// means to lose all.
type Policy struct {
	Rules []Rule
}

// Validate returns a [*fault.Error] for too many rules, or for one that cannot work.
func (p Policy) Validate() error {
	if len(p.Rules) > MaxRules {
		return fault.New(fault.Invalid, "%d rules are more than the %d that a policy may have", len(p.Rules), MaxRules)
	}
	for i, rule := range p.Rules {
		if err := rule.Validate(); err != nil {
			return fmt.Errorf("rule %d: %w", i+1, err)
		}
	}
	return nil
}

// About reports whether a rule that is in force is about the repository, by its name within the project.
func (p Policy) About(repository string) bool { return len(p.about(repository)) > 0 }

func (p Policy) about(repository string) []Rule {
	return slices.DeleteFunc(slices.Clone(p.Rules), func(r Rule) bool { return r.Disabled || !selects(r.Repositories, repository) })
}

// Artifact is what a policy judges.
type Artifact struct {
	Digest   oci.Digest
	Tags     []string
	PushedAt time.Time
	PulledAt time.Time // zero when never pulled
	// Children are the manifests that an index lists; Subject is what a signature or another attachment is about, "" for none.
	Children []oci.Digest
	Subject  oci.Digest
	Labels   []string
	// Protected says why it is kept whatever the rules say, "" where nothing does.
	Protected string
}

// Verdict is the judgement of one artifact.
type Verdict struct {
	Digest oci.Digest
	Keep   bool
	// Reason says why, for people.
	Reason string
}
