package immutable_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/policy/immutable"
)

func rule(repositories, tags metadata.Selector) metadata.ImmutableRule {
	return metadata.ImmutableRule{Repositories: []metadata.Selector{repositories}, Tags: []metadata.Selector{tags}}
}

func TestFind(t *testing.T) {
	disabled := rule(metadata.Selector{Pattern: "**"}, metadata.Selector{Pattern: "**"})
	disabled.Disabled = true
	both := rule(metadata.Selector{Pattern: "team/**"}, metadata.Selector{Pattern: "v*"})
	both.Tags = append(both.Tags, metadata.Selector{Pattern: "*-rc*", Exclude: true})
	rules := []metadata.ImmutableRule{
		disabled, both, rule(metadata.Selector{Pattern: "scratch", Exclude: true}, metadata.Selector{Pattern: "stable"}), {},
	}
	for _, c := range []struct {
		repository oci.Repository
		tag        string
		found      bool
	}{
		{"p/team/app", "v1", true},
		{"p/team/app", "v1-rc2", false},
		{"p/team/app", "w1", false},
		{"p/app", "v1", false},
		{"team/app", "v1", false}, // the project's name is not part of what is matched
		{"p/app", "stable", true},
		{"p/scratch", "stable", false},
		{"p/app", "latest", false},
	} {
		_, found := immutable.Find(rules, c.repository, c.tag)
		require.Equal(t, c.found, found, "%s:%s", c.repository, c.tag)
	}
	require.Equal(t, "rule 0 (repositories team/**, tags v* and except *-rc*)", immutable.Describe(both))
}

func TestValidate(t *testing.T) {
	good := rule(metadata.Selector{Pattern: "**"}, metadata.Selector{Pattern: "**"})
	require.NoError(t, immutable.Validate(good))
	many := good
	many.Tags = slices.Repeat(good.Tags, 16)
	for _, bad := range []metadata.ImmutableRule{
		{}, {Repositories: good.Repositories}, {Tags: good.Tags}, many, rule(metadata.Selector{Pattern: "["}, metadata.Selector{Pattern: "**"}),
	} {
		require.Error(t, immutable.Validate(bad))
	}
}
