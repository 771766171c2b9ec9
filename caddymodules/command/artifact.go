package command

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// repository is a repository as the API returns it.
type repository struct {
	Name      string    `json:"name"`
	Artifacts int64     `json:"artifact_count"`
	Pulls     int64     `json:"pull_count"`
	UpdatedAt time.Time `json:"update_time"`
}

// artifact is an artifact as the API returns it.
type artifact struct {
	Digest       string            `json:"digest"`
	Type         string            `json:"type"`
	MediaType    string            `json:"manifest_media_type"`
	ArtifactType string            `json:"artifact_type"`
	Size         int64             `json:"size"`
	PushedAt     time.Time         `json:"push_time"`
	PulledAt     time.Time         `json:"pull_time"`
	Annotations  map[string]string `json:"annotations"`
	Tags         []struct {
		Name string `json:"name"`
	} `json:"tags"`
	Labels []struct {
		Name string `json:"name"`
	} `json:"labels"`
	Accessories []struct {
		Type   string `json:"type"`
		Digest string `json:"digest"`
	} `json:"accessories"`
}

func (a artifact) tags() string {
	names := make([]string, len(a.Tags))
	for i, tag := range a.Tags {
		names[i] = tag.Name
	}
	return strings.Join(names, ",")
}

// reference is a repository with a tag or digest in it, as people type it.
type reference struct{ project, repository, name string }

// parseReference reads "project/repository", ":tag" or "@digest" after it where needed.
func parseReference(text string, named bool) (reference, error) {
	path, name := text, ""
	if before, digest, found := strings.Cut(text, "@"); found {
		path, name = before, digest
	} else if i := strings.LastIndexByte(text, ':'); i > strings.LastIndexByte(text, '/') {
		path, name = text[:i], text[i+1:]
	}
	project, repository, found := strings.Cut(path, "/")
	switch {
	case !found || project == "" || repository == "":
		return reference{}, usageError("%q has no project in it: repositories are like library/alpine", text)
	case named && name == "":
		return reference{}, usageError("%q has no tag or digest: say which, like library/alpine:3 or library/alpine@sha256:…", text)
	case !named && name != "":
		return reference{}, usageError("%q is more than a repository: leave %q away", text, name)
	}
	return reference{project, repository, name}, nil
}

// path is the artifacts' path, and what is below it.
func (r reference) path(below ...string) string {
	return repositoryPath(r.project, r.repository) + at(append([]string{"artifacts"}, below...)...)
}

func artifactCommands(command *cobra.Command, local Local) {
	connectionFlags(command)
	deletionCommands(command, local)
	do(command, local, "repositories <project>", "Lists the repositories of a project", func(c *call) error {
		repositories, err := list[repository](c.Context(), c.API, at("projects", c.arguments[0], "repositories"), url.Values{"sort": {"name"}}, 0)
		if err != nil {
			return err
		}
		return printList(c, repositories,
			column[repository]{"NAME", func(r repository) any { return r.Name }},
			column[repository]{"ARTIFACTS", func(r repository) any { return r.Artifacts }},
			column[repository]{"PULLS", func(r repository) any { return r.Pulls }},
			column[repository]{"UPDATED", func(r repository) any { return r.UpdatedAt.Format(timeLayout) }})
	})

	listing := do(command, local, "list <repository>", "Lists the artifacts of a repository, the newest first", listArtifacts)
	listing.Flags().String("type", "", "only those of a type, such as IMAGE or CHART")
	listing.Flags().Int("limit", 100, "how many at the most; 0 for all")

	do(command, local, "show <reference>", "Shows an artifact", showArtifact)
	do(command, local, "tag <reference> <tag>", "Gives an artifact another tag", func(c *call) error {
		return c.onArtifact(func(r reference) error {
			if _, err := c.change(c.Context(), http.MethodPost, r.path(r.name, "tags"), map[string]string{"name": c.arguments[1]}); err != nil {
				return err
			}
			return report(c, nil, "Tagged %s as %s.", c.arguments[0], c.arguments[1])
		})
	})
	do(command, local, "untag <reference>", "Takes a tag away; the artifact stays", func(c *call) error {
		return c.onArtifact(func(r reference) error {
			if _, err := c.change(c.Context(), http.MethodDelete, r.path(r.name, "tags", r.name), nil); err != nil {
				return err
			}
			return report(c, nil, "Took the tag %s away.", r.name)
		})
	})
	do(command, local, "delete <reference>", "Deletes an artifact with all its tags and what is attached to it", func(c *call) error {
		return c.onArtifact(func(r reference) error {
			if _, err := c.change(c.Context(), http.MethodDelete, r.path(r.name), nil); err != nil {
				return err
			}
			return report(c, nil, "Deleted %s.", c.arguments[0])
		})
	})
	do(command, local, "copy <reference> <repository>", "Copies an artifact to another repository of the registry", func(c *call) error {
		if _, err := parseReference(c.arguments[0], true); err != nil {
			return err
		}
		target, err := parseReference(c.arguments[1], false)
		if err != nil {
			return err
		}
		path := withQuery(target.path(), url.Values{"from": {c.arguments[0]}})
		if _, err := c.change(c.Context(), http.MethodPost, path, nil); err != nil {
			return err
		}
		return report(c, nil, "Copied %s to %s.", c.arguments[0], c.arguments[1])
	})
	do(command, local, "delete-repository <repository>", "Deletes a repository with all that is in it", func(c *call) error {
		r, err := parseReference(c.arguments[0], false)
		if err != nil {
			return err
		}
		if _, err := c.change(c.Context(), http.MethodDelete, repositoryPath(r.project, r.repository), nil); err != nil {
			return err
		}
		return report(c, nil, "Deleted repository %s.", c.arguments[0])
	})
}

// onArtifact runs what is done to the artifact that the first argument names.
func (c *call) onArtifact(run func(r reference) error) error {
	r, err := parseReference(c.arguments[0], true)
	if err != nil {
		return err
	}
	return run(r)
}

func listArtifacts(c *call) error {
	r, err := parseReference(c.arguments[0], false)
	if err != nil {
		return err
	}
	most, err := c.Flags().GetInt("limit")
	if err != nil {
		return err
	}
	query := url.Values{"with_tag": {"true"}, "sort": {"-push_time"}}
	if kind := c.text("type"); kind != "" {
		query.Set("q", "type="+kind)
	}
	artifacts, err := list[artifact](c.Context(), c.API, r.path(), query, most)
	if err != nil {
		return err
	}
	return printList(c, artifacts,
		column[artifact]{"DIGEST", func(a artifact) any { return a.Digest }},
		column[artifact]{"TYPE", func(a artifact) any { return a.Type }},
		column[artifact]{"TAGS", func(a artifact) any { return a.tags() }},
		column[artifact]{"SIZE", func(a artifact) any { return sizeText(a.Size) }},
		column[artifact]{"PUSHED", func(a artifact) any { return a.PushedAt.Format(timeLayout) }})
}

func showArtifact(c *call) error {
	return c.onArtifact(func(r reference) error {
		query := url.Values{"with_tag": {"true"}, "with_label": {"true"}, "with_accessory": {"true"}}
		found, err := get[artifact](c.Context(), c.API, r.path(r.name), query)
		if err != nil {
			return err
		}
		type line struct{ name, value string }
		lines := []line{
			{"digest", found.Digest},
			{"type", found.Type},
			{"media type", found.MediaType},
			{"artifact type", found.ArtifactType},
			{"size", sizeText(found.Size)},
			{"pushed", found.PushedAt.Format(timeLayout)},
			{"tags", found.tags()},
		}
		for _, label := range found.Labels {
			lines = append(lines, line{"label", label.Name})
		}
		for _, accessory := range found.Accessories {
			lines = append(lines, line{"accessory", fmt.Sprintf("%s %s", accessory.Type, accessory.Digest)})
		}
		if outputOf(c.Command) == "json" {
			return printJSON(c.OutOrStdout(), found)
		}
		return printList(c, lines, column[line]{"FIELD", func(l line) any { return l.name }}, column[line]{"VALUE", func(l line) any { return l.value }})
	})
}
