package command

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"

	"go.yaml.in/yaml/v3"
)

// document is the whole configuration in one file that people review. What it does not name stays as it is; a list that it has is
// complete, so that what the registry has besides is taken away. Users, robot accounts and secrets are not in it.
type document struct {
	Settings        map[string]any `yaml:"settings,omitempty"`
	Labels          *[]labelSpec   `yaml:"labels,omitempty"`
	Projects        []projectSpec  `yaml:"projects,omitempty"`
	Vulnerabilities *allowlist     `yaml:"vulnerability_allowlist,omitempty"`
}

// projectSpec is a project; nil fields stay as they are.
type projectSpec struct {
	Name            string            `yaml:"name"`
	Public          *bool             `yaml:"public,omitempty"`
	Quota           string            `yaml:"quota,omitempty"`
	Metadata        map[string]string `yaml:"metadata,omitempty"`
	Members         *[]memberSpec     `yaml:"members,omitempty"`
	Labels          *[]labelSpec      `yaml:"labels,omitempty"`
	ImmutableTags   *[]immutableSpec  `yaml:"immutable_tags,omitempty"`
	Vulnerabilities *allowlist        `yaml:"vulnerability_allowlist,omitempty"`
}

// memberSpec is a member: a user, or a group of a kind.
type memberSpec struct {
	User  string `yaml:"user,omitempty"`
	Group string `yaml:"group,omitempty"`
	Kind  string `yaml:"kind,omitempty"`
	Role  string `yaml:"role"`
}

func (m memberSpec) String() string {
	if m.User != "" {
		return "user " + m.User
	}
	return "group " + m.Group
}

// labelSpec is a label.
type labelSpec struct {
	Name        string `yaml:"name"`
	Description string `yaml:"description,omitempty"`
	Color       string `yaml:"color,omitempty"`
}

// immutableSpec is a rule by which tags cannot be moved or deleted; the patterns are doublestar ones.
type immutableSpec struct {
	Repositories       string `yaml:"repositories,omitempty"`
	ExceptRepositories string `yaml:"except_repositories,omitempty"`
	Tags               string `yaml:"tags,omitempty"`
	ExceptTags         string `yaml:"except_tags,omitempty"`
	Disabled           bool   `yaml:"disabled,omitempty"`
}

func (s immutableSpec) String() string {
	return fmt.Sprintf("immutable tags: repositories %s, tags %s", pattern(s.Repositories, s.ExceptRepositories), pattern(s.Tags, s.ExceptTags))
}

func pattern(matches, excludes string) string {
	if excludes != "" {
		return "except " + excludes
	}
	return matches
}

// allowlist are the vulnerabilities that are let through, until a time in Unix seconds or for ever.
type allowlist struct {
	Items     []string `yaml:"items"`
	ExpiresAt *int64   `yaml:"expires_at,omitempty"`
}

// maxDocument is the longest document that is read, in bytes.
const maxDocument = 16 << 20

// readDocument reads a document from a file, or from the reader where the file is "-". Fields that it should not have are errors.
func readDocument(file string, standard io.Reader) (document, error) {
	source := standard
	if file != "-" {
		opened, err := os.Open(file) //nolint:gosec // whoever runs the command named it
		if err != nil {
			return document{}, usageError("read configuration: %v", err) // 1 would say that there are changes
		}
		defer opened.Close()
		source = opened
	}
	content, err := io.ReadAll(io.LimitReader(source, maxDocument))
	if err != nil {
		return document{}, usageError("read configuration: %v", err)
	}
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	decoder.KnownFields(true)
	var read document
	if err := decoder.Decode(&read); err != nil && !errors.Is(err, io.EOF) {
		return document{}, usageError("%s: %v", file, err)
	}
	if err := decoder.Decode(new(any)); !errors.Is(err, io.EOF) {
		return document{}, usageError("%s: must be one document", file)
	}
	if twice := read.twice(); twice != "" {
		return document{}, usageError("%s: %s is there twice", file, twice)
	}
	for i := range read.Settings {
		if read.Settings[i], err = resolve(read.Settings[i]); err != nil {
			return document{}, usageError("%s: settings: %s: %v", file, i, err)
		}
	}
	return read, nil
}

// twice returns what the document says twice, where it could say different things; "" for nothing.
func (d document) twice() string {
	seen := map[string]bool{}
	note := func(what string) string {
		if seen[what] {
			return what
		}
		seen[what] = true
		return ""
	}
	noteLabels := func(of string, labels *[]labelSpec) (twice string) {
		if labels != nil {
			for _, l := range *labels {
				twice = cmp.Or(twice, note(of+"label "+l.Name))
			}
		}
		return twice
	}
	twice := noteLabels("", d.Labels)
	for _, p := range d.Projects {
		what := "project " + p.Name
		twice = cmp.Or(twice, note(what), noteLabels(what+": ", p.Labels))
		if p.Members != nil {
			for _, m := range *p.Members {
				twice = cmp.Or(twice, note(what+": "+m.String()))
			}
		}
		if p.ImmutableTags != nil {
			for _, s := range *p.ImmutableTags {
				twice = cmp.Or(twice, note(what+": "+s.rule().spec().String()))
			}
		}
	}
	return twice
}

// resolve returns a setting's value: what is written {env: NAME} is that of the variable, which is how secrets come in.
func resolve(value any) (any, error) {
	from, ok := value.(map[string]any)
	if !ok {
		return value, nil
	}
	name, ok := from["env"].(string)
	if !ok || len(from) != 1 {
		return nil, errors.New("must be a value, or {env: NAME}")
	}
	text, set := os.LookupEnv(name)
	if !set {
		return nil, fmt.Errorf("the variable %s is not set", name)
	}
	return text, nil
}
