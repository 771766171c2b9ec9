// Package harbor is Harbor, and every other registry with its management API, such as another Berth.
package harbor

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/replicate/adapter"
	"github.com/berth-registry/berth/replicate/remote"
)

func init() { adapter.Register(adapter.Kind{Name: "harbor", Open: open}) }

// pageSize is how much is listed at once: the most that the API gives.
const pageSize = 100

// registry is a registry with the management API.
type registry struct {
	adapter.Plain
	api *adapter.API
}

func open(options remote.Options) (adapter.Registry, error) {
	plain, err := adapter.OpenPlain(options)
	if err != nil {
		return nil, err
	}
	return &registry{plain, adapter.NewAPI(options, strings.TrimRight(options.URL, "/")+"/api/v2.0")}, nil
}

// pages calls fn with each page of a list until one is not full.
func pages[T any](ctx context.Context, api *adapter.API, path string, query url.Values, fn func([]T) error) error {
	for page := 1; ; page++ {
		query.Set("page", strconv.Itoa(page))
		query.Set("page_size", strconv.Itoa(pageSize))
		var items []T
		if _, err := api.Do(ctx, http.MethodGet, path, query, nil, &items); err != nil {
			return err
		}
		if len(items) == 0 {
			return nil
		}
		if err := fn(items); err != nil {
			return err
		}
		if len(items) < pageSize {
			return nil
		}
	}
}

// named is a repository or project.
type named struct {
	Name string `json:"name"`
}

// Repositories implements [adapter.Registry]: those of one project when the prefix names it.
func (r *registry) Repositories(ctx context.Context, prefix string, fn func(names []string) error) error {
	path, query := "/repositories", url.Values{}
	if project, _, whole := strings.Cut(prefix, "/"); whole {
		path = "/projects/" + url.PathEscape(project) + "/repositories"
	}
	err := pages(ctx, r.api, path, query, func(repositories []named) error {
		names := make([]string, len(repositories))
		for i, repository := range repositories {
			names[i] = repository.Name
		}
		return fn(names)
	})
	if status(err) == http.StatusNotFound {
		return nil // there is no such project
	}
	return err
}

// at is the path of a repository; Harbor takes the slashes of its name escaped twice.
func at(repository string) string {
	project, name, _ := strings.Cut(repository, "/")
	return "/projects/" + url.PathEscape(project) + "/repositories/" + url.PathEscape(url.PathEscape(name))
}

// artifact is an artifact as the API lists it.
type artifact struct {
	Digest string  `json:"digest"`
	Type   string  `json:"type"`
	Tags   []named `json:"tags"`
	Labels []named `json:"labels"`
}

// Artifacts implements [adapter.Artifacts].
func (r *registry) Artifacts(ctx context.Context, repository string, fn func([]adapter.Artifact) error) error {
	query := url.Values{"with_tag": {"true"}, "with_label": {"true"}}
	err := pages(ctx, r.api, at(repository)+"/artifacts", query, func(items []artifact) error {
		page := make([]adapter.Artifact, 0, len(items))
		for _, item := range items {
			described := adapter.Artifact{Digest: oci.Digest(item.Digest), Image: item.Type == "IMAGE"}
			for _, tag := range item.Tags {
				described.Tags = append(described.Tags, tag.Name)
			}
			for _, label := range item.Labels {
				described.Labels = append(described.Labels, label.Name)
			}
			page = append(page, described)
		}
		return fn(page)
	})
	if status(err) == http.StatusNotFound {
		return nil
	}
	return err
}

// Prepare implements [adapter.Preparer]: it makes the project. Who may not make projects pushes to those that there are.
func (r *registry) Prepare(ctx context.Context, repository string, public bool) error {
	project, _, nested := strings.Cut(repository, "/")
	if !nested {
		return errors.New("its name has no project: give the policy a destination namespace")
	}
	_, err := r.api.Do(ctx, http.MethodHead, "/projects", url.Values{"project_name": {project}}, nil, nil)
	if status(err) != http.StatusNotFound {
		return ignore(err, http.StatusUnauthorized, http.StatusForbidden)
	}
	_, err = r.api.Do(ctx, http.MethodPost, "/projects", nil, map[string]any{
		"project_name": project, "metadata": map[string]string{"public": strconv.FormatBool(public)},
	}, nil)
	return ignore(err, http.StatusConflict, http.StatusUnauthorized, http.StatusForbidden)
}

// DeleteTag implements [adapter.TagDeleter].
func (r *registry) DeleteTag(ctx context.Context, repository, tag string) error {
	_, err := r.api.Do(ctx, http.MethodDelete, at(repository)+"/artifacts/"+tag+"/tags/"+tag, nil, nil, nil)
	return ignore(err, http.StatusNotFound)
}

// FindBlob names a repository that has a blob, "" for none.
func (r *registry) FindBlob(ctx context.Context, digest oci.Digest) (string, error) {
	var found []named
	_, err := r.api.Do(ctx, http.MethodGet, "/repositories", url.Values{"q": {"blob_digest=" + digest.String()}, "page": {"1"}, "page_size": {"1"}}, nil, &found)
	if err != nil || len(found) == 0 {
		return "", ignore(err, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound)
	}
	return found[0].Name, nil
}

// status is that of an answer that refuses, 0 for other errors.
func status(err error) int {
	if refusal, ok := errors.AsType[*adapter.StatusError](err); ok {
		return refusal.Status
	}
	return 0
}

// ignore returns nil for answers with one of the statuses.
func ignore(err error, statuses ...int) error {
	for _, known := range statuses {
		if status(err) == known {
			return nil
		}
	}
	return err
}
