package selector_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/policy/selector"
)

func TestSelector(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		selects       bool
	}{
		{"**", "a/b/c", true},
		{"*", "a", true},
		{"*", "a/b", false},
		{"v*", "v1.0", true},
		{"v*", "w1", false},
		{"{v,release-}*", "release-1", true},
		{"team/**", "team/a/b", true},
		{"team/**", "other/a", false},
		{"v[0-9]", "v5", true},
		{"v?", "v55", false},
	} {
		require.NoError(t, selector.Selector{Pattern: c.pattern}.Validate())
		require.Equal(t, c.selects, selector.Selector{Pattern: c.pattern}.Selects(c.name), "%s %s", c.pattern, c.name)
		require.Equal(t, !c.selects, selector.Selector{Pattern: c.pattern, Exclude: true}.Selects(c.name), "%s %s", c.pattern, c.name)
	}
	for _, bad := range []string{"", "[", "{a", "a\\", strings.Repeat("a", 1025)} {
		require.Error(t, selector.Selector{Pattern: bad}.Validate(), bad)
	}
}

func FuzzSelector(f *testing.F) {
	f.Add("**", "a/b")
	f.Add("{a,b*}/[c-d]", "a/c")
	f.Add(`\`, "")
	f.Add(strings.Repeat("*a", 200), strings.Repeat("a", 128))
	f.Add(strings.Repeat("{a,", 300), "a")
	f.Fuzz(func(t *testing.T, pattern, name string) {
		if len(name) > 255 {
			return
		}
		chosen := selector.Selector{Pattern: pattern}
		if chosen.Validate() != nil {
			return
		}
		begun := time.Now()
		if chosen.Selects(name) == (selector.Selector{Pattern: pattern, Exclude: true}).Selects(name) {
			t.Fatal("selected and excluded at once")
		}
		if took := time.Since(begun); took > 5*time.Second {
			t.Fatalf("took %s", took)
		}
	})
}
