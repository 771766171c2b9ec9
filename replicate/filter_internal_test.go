package replicate

import (
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/replicate/adapter"
)

// FuzzFilters has people write filters and namespaces: what is taken can be evaluated, soon, and means one thing.
func FuzzFilters(f *testing.F) {
	f.Add("library/**", "v*", "linux/amd64", "mirror", 1, "library/app", "v1")
	f.Add("{a,b}/*", "{v1,v2}", "linux/arm/v7", "", 0, "a/app", "v2")
	f.Add("team/[a-c]pp", "[^v]*", "windows/amd64", "a/b", -1, "team/app", "latest")
	f.Add(`a\*b`, "?", "/", "../..", 127, "a*b", "x")
	f.Add(strings.Repeat("{a,", 300), strings.Repeat("*a", 200), "a/b/c/d", "x", 3, "a", strings.Repeat("a", 128))
	f.Add("{a,b", "**/**/**/**", "", "\x00", 2, "//", "")
	f.Fuzz(func(t *testing.T, name, tag, platform, namespace string, replaced int, repository, actual string) {
		chosen := filters{
			{Kind: FilterName, Values: []string{name}}, {Kind: FilterTag, Values: []string{tag}}, {Kind: FilterPlatform, Values: []string{platform}},
		}
		if chosen.check() != nil || len(repository) > 255 || len(actual) > 128 {
			return
		}
		began := time.Now()
		selected := chosen.repository(repository)
		prefix, exact := chosen.prefix()
		if selected && (!strings.HasPrefix(repository, prefix) || exact && repository != prefix) {
			t.Fatalf("%q chooses %q, which is not looked for below %q", name, repository, prefix)
		}
		artifact := adapter.Artifact{Digest: oci.SHA256.FromString(actual), Tags: []string{actual}, Image: true}
		included := len(chosen.artifact(artifact)) > 0
		chosen[1] = metadata.ReplicationFilter{Kind: FilterTag, Values: []string{tag}, Exclude: true}
		if excluded := len(chosen.artifact(artifact)) == 0; included != excluded && !attached(actual) {
			t.Fatalf("%q both includes and excludes %q", tag, actual)
		}
		if len(chosen.platforms()) != 1 {
			t.Fatalf("%q was taken and is no platform", platform)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Fatalf("took %s", took)
		}
		if _, err := oci.ParseRepository(repository); err != nil || replaced < -1 {
			return
		}
		if _, err := oci.ParseRepository(namespace); namespace != "" && err != nil {
			return
		}
		if to, err := destinationOf(repository, namespace, replaced); err == nil && namespace != "" && !strings.HasPrefix(to, namespace+"/") {
			t.Fatalf("%q becomes %q, which is not below %q", repository, to, namespace)
		}
	})
}
