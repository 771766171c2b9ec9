// Package gitlab is GitLab's container registry: it has no catalog for people, but GitLab's API, which is where the registry has tokens
// fetched, lists the repositories of projects.
package gitlab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"

	"github.com/berth-registry/berth/replicate/adapter"
	"github.com/berth-registry/berth/replicate/remote"
)

func init() { adapter.Register(adapter.Kind{Name: "gitlab", Open: open}) }

// registry is a container registry of GitLab.
type registry struct {
	adapter.Plain
	options remote.Options

	mu  sync.Mutex
	api *adapter.API // nil before it is found
}

func open(options remote.Options) (adapter.Registry, error) {
	plain, err := adapter.OpenPlain(options)
	return &registry{Plain: plain, options: options}, err
}

var realm = regexp.MustCompile(`realm="(https?://[^/"]+)`)

// find asks the registry where GitLab is.
func (r *registry) find(ctx context.Context) (*adapter.API, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.api != nil {
		return r.api, nil
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(r.options.URL, "/")+"/v2/", nil)
	if err != nil {
		return nil, err
	}
	response, err := (&http.Client{Transport: remote.Retrying(r.options.Transport)}).Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 1<<16)) // so that the connection can be used again
	found := realm.FindStringSubmatch(response.Header.Get("WWW-Authenticate"))
	if found == nil {
		return nil, errors.New("the registry does not tell where its GitLab is")
	}
	r.api = adapter.NewAPI(r.options, found[1]+"/api/v4")
	r.api.Authorize = func(_ context.Context, request *http.Request) error {
		if r.options.Secret != "" {
			request.Header.Set("PRIVATE-TOKEN", r.options.Secret)
		}
		return nil
	}
	return r.api, nil
}

// Repositories implements [adapter.Registry]: those of the projects that the user is a member of.
func (r *registry) Repositories(ctx context.Context, prefix string, fn func(names []string) error) error {
	api, err := r.find(ctx)
	if err != nil {
		return err
	}
	type project struct {
		ID   int64  `json:"id"`
		Path string `json:"path_with_namespace"`
	}
	return pages(ctx, api, "/projects", url.Values{"membership": {"true"}, "simple": {"true"}}, func(projects []project) error {
		for _, p := range projects {
			path := strings.ToLower(p.Path)
			if !strings.HasPrefix(path, prefix) && !strings.HasPrefix(prefix, path) {
				continue
			}
			type repository struct {
				Path string `json:"path"`
			}
			err := pages(ctx, api, fmt.Sprintf("/projects/%d/registry/repositories", p.ID), url.Values{}, func(repositories []repository) error {
				names := make([]string, len(repositories))
				for i, of := range repositories {
					names[i] = of.Path
				}
				return fn(names)
			})
			if refusal, ok := errors.AsType[*adapter.StatusError](err); ok && (refusal.Status == http.StatusForbidden || refusal.Status == http.StatusNotFound) {
				continue // its registry is off, or not for this user
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// pages calls fn with each page of a list.
func pages[T any](ctx context.Context, api *adapter.API, path string, query url.Values, fn func([]T) error) error {
	query.Set("per_page", "100")
	for page := "1"; page != ""; {
		query.Set("page", page)
		var items []T
		header, err := api.Do(ctx, http.MethodGet, path, query, nil, &items)
		if err != nil {
			return err
		}
		if err := fn(items); err != nil {
			return err
		}
		page = header.Get("X-Next-Page")
	}
	return nil
}
