package project

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/policy/selector"
)

// keyPublic is the key of what a project's row has itself.
const keyPublic = "public"

// keyConnections is the key of how many blobs a cache fetches at once.
const keyConnections = "max_upstream_conn"

// The keys of by which of the repositories of the registry elsewhere a project is a cache of.
const (
	keyFilterPattern = "proxy_cache_filter_pattern"
	keyFilterKind    = "proxy_cache_filter_kind"
)

// maxValue is the longest value of a key, in bytes.
const maxValue = 1024

// switches, numbers and texts are the keys that clients may set, by what their values are; retention_id is not theirs.
var (
	switches = []string{
		keyPublic, "enable_content_trust", "enable_content_trust_cosign", "prevent_vul", "auto_scan", "auto_sbom_generation",
		"reuse_sys_cve_allowlist", "proxy_cache_local_on_not_found", "proxy_referrer_api",
	}
	numbers    = []string{"proxy_speed_kb", keyConnections}
	texts      = []string{keyFilterPattern, keyFilterKind}
	severities = []string{"none", "low", "medium", "high", "critical"}
)

// known reports whether clients may set the key.
func known(key string) bool {
	return key == "severity" || slices.Contains(switches, key) || slices.Contains(numbers, key) || slices.Contains(texts, key)
}

// normalise returns the values in the one spelling that is kept, without the keys that are not known, and by itself whether the
// project is public, nil when that is not said. An empty value says nothing. The error is a [*fault.Error].
func normalise(given map[string]string) (public *bool, values map[string]string, err error) {
	values = make(map[string]string, len(given))
	for key, value := range given {
		if value == "" || !known(key) {
			continue
		}
		if values[key], err = normal(key, value); err != nil {
			return nil, nil, err
		}
	}
	if value, said := values[keyPublic]; said {
		on := value == "true"
		public = &on
		delete(values, keyPublic)
	}
	return public, values, nil
}

// CheckMetadata returns the values in the one spelling that is kept. The error is a [*fault.Error] of Invalid, also for a key that
// is not known, which requests may have and which is then passed over.
func CheckMetadata(given map[string]string) (map[string]string, error) {
	values := make(map[string]string, len(given))
	for key, value := range given {
		if !known(key) {
			return nil, fault.New(fault.Invalid, "there is no metadata %q", key)
		}
		normal, err := normal(key, value)
		if err != nil {
			return nil, err
		}
		values[key] = normal
	}
	return values, nil
}

func normal(key, value string) (string, error) {
	switch {
	case slices.Contains(switches, key):
		on, err := strconv.ParseBool(value)
		if err != nil {
			return "", fault.New(fault.Invalid, "metadata %s must be true or false, not %q", key, value)
		}
		return strconv.FormatBool(on), nil
	case slices.Contains(numbers, key):
		number, err := strconv.ParseInt(value, 10, 64)
		if err != nil || number < -1 || number == 0 && key == keyConnections {
			return "", fault.New(fault.Invalid, "metadata %s must be a number, -1 for no limit, not %q", key, value)
		}
		return strconv.FormatInt(number, 10), nil
	case key == "severity":
		severity := strings.ToLower(value)
		if severity == "negligible" { // of Harbor before 2.0
			severity = "none"
		}
		if !slices.Contains(severities, severity) {
			return "", fault.New(fault.Invalid, "metadata severity must be one of %s, not %q", strings.Join(severities, ", "), value)
		}
		return severity, nil
	}
	if !printable(value, maxValue) {
		return "", fault.New(fault.Invalid, "metadata %s must be up to %d bytes of text", key, maxValue)
	}
	return value, nil
}

// printable reports whether a text has no control characters and at most n bytes.
func printable(text string, n int) bool {
	return len(text) <= n && utf8.ValidString(text) && !strings.ContainsFunc(text, unicode.IsControl)
}

// printableLines is printable for texts of several lines.
func printableLines(text string) bool {
	return printable(strings.NewReplacer("\n", "", "\r", "", "\t", "").Replace(text), len(text))
}

// Metadata returns all keys of a project with their values.
func Metadata(project metadata.ProjectDetail) map[string]string {
	values := map[string]string{keyPublic: strconv.FormatBool(project.Public)}
	maps.Copy(values, project.Metadata)
	return values
}

// AddMetadata sets a key that is not set. The error is a [*fault.Error]: Invalid for an unknown key or its value, Conflict when it is
// set.
func (p *Projects) AddMetadata(ctx context.Context, actor event.Actor, project metadata.Project, key, value string) error {
	return p.putMetadata(ctx, actor, project, key, value, false)
}

// SetMetadata sets a key that is set to another value. The error is a [*fault.Error]: Invalid for an unknown key or its value, NotFound
// when it is not set.
func (p *Projects) SetMetadata(ctx context.Context, actor event.Actor, project metadata.Project, key, value string) error {
	return p.putMetadata(ctx, actor, project, key, value, true)
}

func (p *Projects) putMetadata(ctx context.Context, actor event.Actor, project metadata.Project, key, value string, replace bool) error {
	if !known(key) {
		return fault.New(fault.Invalid, "projects have no metadata %q", key)
	}
	value, err := normal(key, value)
	if err != nil {
		return err
	}
	return p.change(ctx, project, func(ctx context.Context, tx *metadata.Tx, row metadata.Project) error {
		details, err := tx.ProjectDetails(ctx, []metadata.Project{row}, 0)
		if err != nil {
			return err
		}
		switch _, set := Metadata(details[0])[key]; {
		case set && !replace:
			return fault.New(fault.Conflict, "metadata %s is set already", key)
		case !set && replace:
			return unset(key)
		}
		if key == keyPublic {
			row.Public = value == "true"
		} else if err := write(ctx, tx, row, map[string]string{key: value}, nil); err != nil {
			return err
		}
		if _, err := tx.UpdateProject(ctx, row); err != nil {
			return err
		}
		return appendEvent(ctx, tx, actor, event.ProjectUpdated, row.Name, key)
	})
}

// RemoveMetadata takes a key away; without "public" a project is private. The error is a [*fault.Error] of NotFound when it is not set.
func (p *Projects) RemoveMetadata(ctx context.Context, actor event.Actor, project metadata.Project, key string) error {
	if !known(key) {
		return unset(key)
	}
	return p.change(ctx, project, func(ctx context.Context, tx *metadata.Tx, row metadata.Project) error {
		if key == keyPublic {
			row.Public = false
		} else if err := tx.DeleteProjectMetadata(ctx, row.ID, key); errors.Is(err, metadata.ErrNotFound) {
			return unset(key)
		} else if err != nil {
			return err
		}
		if key == keyFilterKind && row.RegistryID != 0 {
			if err := checkFilter(ctx, tx, row); err != nil { // the pattern stays, and is now of the other kind
				return err
			}
		}
		if _, err := tx.UpdateProject(ctx, row); err != nil {
			return err
		}
		return appendEvent(ctx, tx, actor, event.ProjectUpdated, row.Name, key)
	})
}

// checkFilter refuses a filter that cannot be understood, or of a project that is no cache.
func checkFilter(ctx context.Context, tx *metadata.Tx, row metadata.Project) error {
	details, err := tx.ProjectDetails(ctx, []metadata.Project{row}, 0)
	if err != nil {
		return err
	}
	set := details[0].Metadata
	if set[keyFilterKind]+set[keyFilterPattern] != "" && row.RegistryID == 0 {
		return fault.New(fault.Invalid, "metadata %s and %s are for projects that are caches of another registry, and %q is none", keyFilterPattern, keyFilterKind, row.Name)
	}
	_, err = selector.NewFilter(set[keyFilterKind], set[keyFilterPattern])
	return err
}

func unset(key string) error { return fault.New(fault.NotFound, "metadata %q not found", key) }
