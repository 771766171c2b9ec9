package replicate

import (
	"regexp"
	"slices"
	"strings"

	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/policy/selector"
	"github.com/berth-registry/berth/replicate/adapter"
)

// The kinds of filter.
const (
	FilterName     = "name"
	FilterTag      = "tag"
	FilterLabel    = "label"
	FilterResource = "resource"
	FilterPlatform = "platform"
)

// The values of a filter by resource, and what is moved of an execution.
const (
	resourceImage    = "image"
	resourceArtifact = "artifact"
)

// maxFilterValues is how many words a filter may have.
const maxFilterValues = 32

// filters choose what is replicated.
type filters []metadata.ReplicationFilter

// check returns a [*fault.Error] of kind Invalid for filters that cannot be meant.
func (f filters) check() error {
	seen := map[string]bool{}
	for _, filter := range f {
		if seen[filter.Kind] {
			return fault.New(fault.Invalid, "there are two filters by %s", filter.Kind)
		}
		seen[filter.Kind] = true
		if len(filter.Values) == 0 || len(filter.Values) > maxFilterValues {
			return fault.New(fault.Invalid, "the filter by %s has no value, or more than %d", filter.Kind, maxFilterValues)
		}
		if err := checkFilter(filter); err != nil {
			return err
		}
	}
	return nil
}

func checkFilter(filter metadata.ReplicationFilter) error {
	if filter.Exclude && filter.Kind != FilterTag && filter.Kind != FilterLabel {
		return fault.New(fault.Invalid, "a filter by %s cannot exclude: filters by tag and label can", filter.Kind)
	}
	for _, value := range filter.Values {
		switch filter.Kind {
		case FilterName, FilterTag:
			if err := (selector.Selector{Pattern: value}).Validate(); err != nil {
				return err
			}
			if len(filter.Values) > 1 {
				return fault.New(fault.Invalid, "a filter by %s has one pattern: {a,b} stands for either", filter.Kind)
			}
		case FilterLabel:
			if value == "" || !storable(value, maxRegistryText) {
				return fault.New(fault.Invalid, "%q is no name of a label", value)
			}
		case FilterResource:
			if value != resourceImage && value != resourceArtifact {
				return fault.New(fault.Invalid, "a filter by resource is %s or %s, not %q", resourceImage, resourceArtifact, value)
			}
		case FilterPlatform:
			if _, ok := parsePlatform(value); !ok {
				return fault.New(fault.Invalid, "%q is no platform such as linux/amd64 or linux/arm/v7", value)
			}
		default:
			return fault.New(fault.Invalid, "there is no filter by %q: by name, tag, label, resource or platform", filter.Kind)
		}
	}
	return nil
}

var platformPart = regexp.MustCompile(`^[a-z0-9._-]+$`)

func parsePlatform(text string) (oci.Platform, bool) {
	parts := strings.Split(text, "/")
	if len(parts) < 2 || len(parts) > 3 || slices.ContainsFunc(parts, func(p string) bool { return !platformPart.MatchString(p) }) {
		return oci.Platform{}, false
	}
	platform := oci.Platform{OS: parts[0], Architecture: parts[1]}
	if len(parts) == 3 {
		platform.Variant = parts[2]
	}
	return platform, true
}

// of returns the filter of a kind.
func (f filters) of(kind string) (metadata.ReplicationFilter, bool) {
	i := slices.IndexFunc(f, func(filter metadata.ReplicationFilter) bool { return filter.Kind == kind })
	if i < 0 {
		return metadata.ReplicationFilter{}, false
	}
	return f[i], true
}

// platforms are those that are copied, none for all.
func (f filters) platforms() (platforms []oci.Platform) {
	filter, _ := f.of(FilterPlatform)
	for _, value := range filter.Values {
		if platform, ok := parsePlatform(value); ok {
			platforms = append(platforms, platform)
		}
	}
	return platforms
}

// prefix is what every repository that is chosen begins with; exact tells that there is one only, of that name.
func (f filters) prefix() (prefix string, exact bool) {
	filter, given := f.of(FilterName)
	if !given {
		return "", false
	}
	i := strings.IndexAny(filter.Values[0], `*?[{\`)
	if i < 0 {
		return filter.Values[0], true
	}
	return filter.Values[0][:i], false
}

// repository reports whether a repository is chosen.
func (f filters) repository(name string) bool {
	filter, given := f.of(FilterName)
	return !given || selector.Selector{Pattern: filter.Values[0]}.Selects(name)
}

// artifact returns the references by which an artifact is chosen: its tags, or its digest where it has none.
func (f filters) artifact(artifact adapter.Artifact) []string {
	if filter, given := f.of(FilterResource); given && (filter.Values[0] == resourceImage) != artifact.Image {
		return nil
	}
	if filter, given := f.of(FilterLabel); given {
		hasAll := !slices.ContainsFunc(filter.Values, func(label string) bool { return !slices.Contains(artifact.Labels, label) })
		if hasAll == filter.Exclude {
			return nil
		}
	}
	filter, given := f.of(FilterTag)
	var chosen []string
	for _, tag := range artifact.Tags {
		if !attached(tag) && (!given || selector.Selector{Pattern: filter.Values[0], Exclude: filter.Exclude}.Selects(tag)) {
			chosen = append(chosen, tag)
		}
	}
	if len(artifact.Tags) == 0 && !given {
		chosen = append(chosen, artifact.Digest.String())
	}
	return chosen
}

var attachedTag = regexp.MustCompile(`^sha(256|512)-[0-9a-f]{64,128}(\.[a-z]+)?$`)

// attached reports whether a tag ties what it stands for to another artifact, with which it travels.
func attached(tag string) bool { return attachedTag.MatchString(tag) }

// destinationOf returns the name at the destination. It returns a [*fault.Error] of kind Invalid for a name with too few parts.
func destinationOf(repository, namespace string, replaced int) (string, error) {
	if namespace == "" {
		return repository, nil
	}
	parts := strings.Split(repository, "/")
	switch {
	case replaced < 0:
		return namespace + "/" + parts[len(parts)-1], nil
	case replaced >= len(parts):
		return "", fault.New(fault.Invalid, "%q has not more than the %d parts that the namespace is to take the place of", repository, replaced)
	}
	return namespace + "/" + strings.Join(parts[replaced:], "/"), nil
}
