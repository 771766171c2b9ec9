package retention_test

import (
	"cmp"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/policy/retention"
	"github.com/berth-registry/berth/policy/selector"
)

var now = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

func daysAgo(n int) time.Time { return now.AddDate(0, 0, -n) }

func digest(name string) oci.Digest { return oci.SHA256.FromString(name) }

var all = []selector.Selector{{Pattern: "**"}}

// kept returns the names of what the rules keep of a repository.
func kept(t *testing.T, artifacts map[string]retention.Artifact, rules ...retention.Rule) []string {
	t.Helper()
	policy := retention.Policy{Rules: rules}
	require.NoError(t, policy.Validate())
	var list []retention.Artifact
	names := map[oci.Digest]string{}
	for name, a := range artifacts {
		a.Digest = digest(name)
		names[a.Digest] = name
		list = append(list, a)
	}
	found := []string{}
	slices.SortFunc(list, func(a, b retention.Artifact) int { return cmp.Compare(a.Digest, b.Digest) })
	judgement, err := policy.Judge("deep/app", func(yield func(retention.Artifact, error) bool) {
		for _, a := range list {
			if !yield(a, nil) {
				return
			}
		}
	}, now)
	require.NoError(t, err)
	require.Equal(t, len(list), judgement.Len())
	for i := range list {
		v := judgement.Verdict(i)
		require.NotEmpty(t, v.Reason)
		if v.Keep {
			found = append(found, names[v.Digest])
		}
	}
	slices.Sort(found)
	return found
}

func TestJudge_templates(t *testing.T) {
	artifacts := map[string]retention.Artifact{
		"new":    {Tags: []string{"v3", "latest"}, PushedAt: daysAgo(1)},
		"middle": {Tags: []string{"v2"}, PushedAt: daysAgo(10), PulledAt: daysAgo(2)},
		"old":    {Tags: []string{"v1"}, PushedAt: daysAgo(100), PulledAt: daysAgo(50)},
		"dev":    {Tags: []string{"dev-1"}, PushedAt: daysAgo(3)},
		"loose":  {PushedAt: daysAgo(2)},
	}
	versions := []selector.Selector{{Pattern: "v*"}}
	for _, c := range []struct {
		rule retention.Rule
		want []string
	}{
		{retention.Rule{Template: retention.Always, Tags: all}, []string{"dev", "middle", "new", "old"}},
		{retention.Rule{Template: retention.Always, Tags: all, Untagged: true}, []string{"dev", "loose", "middle", "new", "old"}},
		{retention.Rule{Template: retention.LatestPushed, Number: 2, Tags: versions}, []string{"middle", "new"}},
		{retention.Rule{Template: retention.LatestPulled, Number: 1, Tags: versions}, []string{"middle"}},
		{retention.Rule{Template: retention.PushedWithin, Number: 10, Tags: all}, []string{"dev", "middle", "new"}},
		{retention.Rule{Template: retention.PulledWithin, Number: 30, Tags: all}, []string{"middle"}},
		{retention.Rule{Template: retention.Always, Tags: []selector.Selector{{Pattern: "v*", Exclude: true}}}, []string{"dev", "new"}},
		{retention.Rule{Template: retention.Always, Tags: []selector.Selector{{Pattern: "{v1,dev-*}"}}}, []string{"dev", "old"}},
	} {
		c.rule.Repositories = all
		require.Equal(t, c.want, kept(t, artifacts, c.rule), c.rule.String())
	}
	both := kept(t, artifacts,
		retention.Rule{Template: retention.LatestPushed, Number: 1, Tags: versions, Repositories: all},
		retention.Rule{Template: retention.Always, Tags: []selector.Selector{{Pattern: "v1"}}, Repositories: []selector.Selector{{Pattern: "deep/*"}}},
		retention.Rule{Template: retention.Always, Tags: all, Repositories: []selector.Selector{{Pattern: "other/**"}}},
		retention.Rule{Disabled: true, Template: retention.Always, Tags: all, Repositories: all})
	require.Equal(t, []string{"new", "old"}, both, "rules add up")
}

func TestJudge_withoutRulesEverythingStays(t *testing.T) {
	artifacts := map[string]retention.Artifact{"a": {Tags: []string{"x"}}, "b": {}}
	require.Equal(t, []string{"a", "b"}, kept(t, artifacts))
	require.Equal(t, []string{"a", "b"}, kept(t, artifacts, retention.Rule{Disabled: true, Template: retention.Always, Tags: all, Repositories: all}))
	elsewhere := retention.Rule{Template: retention.LatestPushed, Number: 1, Tags: all, Repositories: []selector.Selector{{Pattern: "elsewhere"}}}
	require.Equal(t, []string{"a", "b"}, kept(t, artifacts, elsewhere))
}

func TestJudge_keepsWholeWhatItKeeps(t *testing.T) {
	artifacts := map[string]retention.Artifact{
		"index":            {Tags: []string{"v1"}, PushedAt: daysAgo(5), Children: []oci.Digest{digest("amd64"), digest("nested"), digest("not here")}},
		"amd64":            {PushedAt: daysAgo(5)},
		"nested":           {PushedAt: daysAgo(5), Children: []oci.Digest{digest("deep")}},
		"deep":             {PushedAt: daysAgo(5)},
		"signature":        {PushedAt: daysAgo(5), Subject: digest("amd64")},
		"of the signature": {PushedAt: daysAgo(5), Subject: digest("signature")},
		"doomed":           {Tags: []string{"dev"}, PushedAt: daysAgo(5), Children: []oci.Digest{digest("amd64"), digest("child of doomed")}},
		"child of doomed":  {PushedAt: daysAgo(5)},
		"of doomed":        {PushedAt: daysAgo(5), Subject: digest("doomed")},
		"of nothing here":  {PushedAt: daysAgo(5), Subject: digest("not here either")},
		"loose":            {PushedAt: daysAgo(5)},
	}
	rule := retention.Rule{Template: retention.Always, Tags: []selector.Selector{{Pattern: "v*"}}, Repositories: all}
	want := []string{"amd64", "deep", "index", "nested", "of nothing here", "of the signature", "signature"}
	require.Equal(t, want, kept(t, artifacts, rule))
	rule.Untagged = true
	require.Equal(t, append(want[:2:2], "index", "loose", "nested", "of nothing here", "of the signature", "signature"), kept(t, artifacts, rule))
}

func TestJudge_labelsAndProtection(t *testing.T) {
	artifacts := map[string]retention.Artifact{
		"stable":  {Tags: []string{"a"}, Labels: []string{"stable", "tested"}},
		"tested":  {Tags: []string{"b"}, Labels: []string{"tested"}},
		"plain":   {Tags: []string{"c"}},
		"index":   {Tags: []string{"d"}, Protected: "tag d is immutable", Children: []oci.Digest{digest("child")}},
		"child":   {},
		"subject": {Tags: []string{"e"}},
		"sbom":    {Tags: []string{"sbom"}, Subject: digest("subject"), Labels: []string{"stable", "tested"}},
	}
	rule := retention.Rule{Template: retention.Always, Labels: []retention.LabelSelector{{Names: []string{"tested", "stable"}}}}
	require.Equal(t, []string{"child", "index", "sbom", "stable", "subject"}, kept(t, artifacts, rule))
	rule.Labels = append(rule.Labels, retention.LabelSelector{Names: []string{"other", "stable"}, Without: true})
	require.Equal(t, []string{"child", "index"}, kept(t, artifacts, rule))
	rule.Labels = rule.Labels[1:]
	require.Equal(t, []string{"child", "index", "plain", "sbom", "subject", "tested"}, kept(t, artifacts, rule))
}

func TestJudge_circlesEnd(t *testing.T) {
	artifacts := map[string]retention.Artifact{
		"a": {Tags: []string{"v"}, Subject: digest("b"), Children: []oci.Digest{digest("a")}},
		"b": {Subject: digest("a")},
	}
	require.Equal(t, []string{"a", "b"}, kept(t, artifacts, retention.Rule{Template: retention.Always, Tags: all, Repositories: all}))
}

func TestValidate(t *testing.T) {
	good := retention.Rule{Template: retention.LatestPushed, Number: 1, Tags: all, Repositories: all}
	require.NoError(t, good.Validate())
	for name, change := range map[string]func(*retention.Rule){
		"template": func(r *retention.Rule) { r.Template = "some" },
		"number":   func(r *retention.Rule) { r.Number = 0 },
		"tags":     func(r *retention.Rule) { r.Tags = []selector.Selector{{}} },
		"labels":   func(r *retention.Rule) { r.Labels = []retention.LabelSelector{{Names: []string{""}}} },
		"pattern":  func(r *retention.Rule) { r.Repositories = []selector.Selector{{Pattern: "["}} },
	} {
		bad := good
		change(&bad)
		require.Equal(t, fault.Invalid, fault.Of(bad.Validate()), name)
	}
	require.Equal(t, fault.Invalid, fault.Of(retention.Policy{Rules: slices.Repeat([]retention.Rule{good}, 16)}.Validate()))
}
