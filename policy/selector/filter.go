package selector

import (
	"regexp"
	"strings"

	"github.com/berth-registry/berth/fault"
)

// The kinds of patterns that a [Filter] may be made of.
const (
	KindDoublestar = "doublestar"
	KindRegex      = "regex"
)

// Filter lets names through by a pattern of either kind. The zero value lets all through.
type Filter struct {
	pattern    string
	expression *regexp.Regexp
}

// NewFilter returns the filter of a pattern, which has to match all of a name; an empty one lets all through. An empty kind is
// [KindDoublestar]. The error is a [*fault.Error] of Invalid.
func NewFilter(kind, pattern string) (Filter, error) {
	f := Filter{pattern: strings.TrimSpace(pattern)}
	switch kind {
	case KindRegex:
		// By itself first: ")|(" would only make sense in the brackets around it.
		if _, err := regexp.Compile(f.pattern); err != nil {
			return Filter{}, fault.New(fault.Invalid, "pattern %q is no regular expression: %v", f.pattern, err)
		}
		var err error
		if f.expression, err = regexp.Compile("^(?:" + f.pattern + ")$"); err != nil {
			return Filter{}, fault.New(fault.Invalid, "pattern %q is no regular expression: %v", f.pattern, err)
		}
	case KindDoublestar, "":
		if f.pattern != "" {
			return f, Selector{Pattern: f.pattern}.Validate()
		}
	default:
		return Filter{}, fault.New(fault.Invalid, "patterns are of kind %q or %q, not %q", KindDoublestar, KindRegex, kind)
	}
	return f, nil
}

// Passes reports whether the filter lets a name through.
func (f Filter) Passes(name string) bool {
	switch {
	case f.pattern == "":
		return true
	case f.expression != nil:
		return f.expression.MatchString(name)
	}
	return Selector{Pattern: f.pattern}.Selects(name)
}

// String returns the pattern.
func (f Filter) String() string { return f.pattern }
