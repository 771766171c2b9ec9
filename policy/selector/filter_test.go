package selector_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/policy/selector"
)

func TestFilter(t *testing.T) {
	for _, c := range []struct {
		kind, pattern, name string
		passes              bool
	}{
		{"", "", "library/nginx", true},
		{"regex", " ", "library/nginx", true},
		{"", "library/**", "library/nginx", true},
		{"doublestar", "library/*", "library/a/b", false},
		{"doublestar", "{library,team}/**", "other/nginx", false},
		{"regex", "library/.*|team/app", "team/app", true},
		{"regex", "library/.*|team/app", "team/apple", false},
		{"regex", "brary", "library/nginx", false},
	} {
		f, err := selector.NewFilter(c.kind, c.pattern)
		require.NoError(t, err)
		require.Equal(t, c.passes, f.Passes(c.name), "%+v", c)
	}
	for kind, pattern := range map[string]string{"": "[", "regex": "a)|(b", "glob": "a"} {
		_, err := selector.NewFilter(kind, pattern)
		require.Equal(t, fault.Invalid, fault.Of(err), "%s %s", kind, pattern)
	}
}
