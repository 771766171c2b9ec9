// Package selector chooses names of repositories and tags by patterns, as rules of projects do.
package selector

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/berth-registry/berth/fault"
)

// maxPattern is the longest pattern, in bytes.
const maxPattern = 1024

// Selector chooses names by a doublestar pattern, or those that it does not match.
type Selector struct {
	Pattern string
	Exclude bool
}

// Validate returns a [*fault.Error] for a pattern that cannot be understood.
func (s Selector) Validate() error {
	if s.Pattern == "" || len(s.Pattern) > maxPattern || strings.ContainsFunc(s.Pattern, unicode.IsControl) || !utf8.ValidString(s.Pattern) || !doublestar.ValidatePattern(s.Pattern) {
		return fault.New(fault.Invalid, "pattern %q is none: * stands for a part of a name, ** for any, {a,b} for one of them", s.Pattern)
	}
	return nil
}

// Selects reports whether the name is chosen.
func (s Selector) Selects(name string) bool {
	return doublestar.MatchUnvalidated(s.Pattern, name) != s.Exclude
}
