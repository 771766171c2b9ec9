// Package ghcr is the GitHub Container Registry: its registry has no catalog, but GitHub's API lists the packages of an owner.
package ghcr

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/berth-registry/berth/replicate/adapter"
	"github.com/berth-registry/berth/replicate/remote"
)

const (
	apiURL   = "https://api.github.com"
	pageSize = 100
)

func init() {
	adapter.Register(adapter.Kind{Name: "github-ghcr", Endpoints: []adapter.Endpoint{{Name: "ghcr.io", URL: "https://ghcr.io"}}, Open: open})
}

// registry is the GitHub Container Registry.
type registry struct {
	adapter.Plain
	api *adapter.API
}

func open(options remote.Options) (adapter.Registry, error) {
	plain, err := adapter.OpenPlain(options)
	if err != nil {
		return nil, err
	}
	api := adapter.NewAPI(options, apiURL)
	api.Authorize = func(_ context.Context, request *http.Request) error {
		if options.Secret != "" {
			request.Header.Set("Authorization", "Bearer "+options.Secret)
		}
		return nil
	}
	return &registry{plain, api}, nil
}

// Repositories implements [adapter.Registry]: those of the owner that the prefix names.
func (r *registry) Repositories(ctx context.Context, prefix string, fn func(names []string) error) error {
	owner, _, whole := strings.Cut(prefix, "/")
	if !whole {
		return adapter.ErrNoCatalog
	}
	err := r.packages(ctx, "orgs", owner, fn)
	if refusal, ok := errors.AsType[*adapter.StatusError](err); ok && refusal.Status == http.StatusNotFound {
		return r.packages(ctx, "users", owner, fn)
	}
	return err
}

// packages lists the packages of an organization or a user.
func (r *registry) packages(ctx context.Context, kind, owner string, fn func(names []string) error) error {
	for page := 1; ; page++ {
		var packages []struct {
			Name string `json:"name"`
		}
		query := url.Values{"package_type": {"container"}, "per_page": {strconv.Itoa(pageSize)}, "page": {strconv.Itoa(page)}}
		if _, err := r.api.Do(ctx, http.MethodGet, "/"+kind+"/"+url.PathEscape(owner)+"/packages", query, nil, &packages); err != nil {
			return err
		}
		names := make([]string, len(packages))
		for i, p := range packages {
			names[i] = strings.ToLower(owner + "/" + p.Name)
		}
		if err := fn(names); err != nil {
			return err
		}
		if len(packages) < pageSize {
			return nil
		}
	}
}
