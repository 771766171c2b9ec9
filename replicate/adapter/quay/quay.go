// Package quay is Quay: an ordinary registry whose API lists more than its catalog to who logs in with an OAuth token.
package quay

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/berth-registry/berth/replicate/adapter"
	"github.com/berth-registry/berth/replicate/remote"
)

// tokenUser is the name that stands for an OAuth token.
const tokenUser = "$oauthtoken"

func init() {
	adapter.Register(adapter.Kind{Name: "quay", Endpoints: []adapter.Endpoint{{Name: "quay.io", URL: "https://quay.io"}}, Open: open})
}

// registry is a Quay.
type registry struct {
	adapter.Plain
	// api is nil without a token.
	api *adapter.API
}

func open(options remote.Options) (adapter.Registry, error) {
	plain, err := adapter.OpenPlain(options)
	if err != nil {
		return nil, err
	}
	r := &registry{Plain: plain}
	if options.Username == tokenUser {
		r.api = adapter.NewAPI(options, strings.TrimRight(options.URL, "/")+"/api/v1")
		r.api.Authorize = func(_ context.Context, request *http.Request) error {
			request.Header.Set("Authorization", "Bearer "+options.Secret)
			return nil
		}
	}
	return r, nil
}

// Repositories implements [adapter.Registry]: with a token those of the namespace that the prefix names.
func (r *registry) Repositories(ctx context.Context, prefix string, fn func(names []string) error) error {
	namespace, _, whole := strings.Cut(prefix, "/")
	if r.api == nil || !whole {
		return r.Plain.Repositories(ctx, prefix, fn)
	}
	query := url.Values{"namespace": {namespace}}
	for {
		var answer struct {
			Repositories []struct {
				Namespace string `json:"namespace"`
				Name      string `json:"name"`
			} `json:"repositories"`
			NextPage string `json:"next_page"`
		}
		if _, err := r.api.Do(ctx, http.MethodGet, "/repository", query, nil, &answer); err != nil {
			return err
		}
		names := make([]string, len(answer.Repositories))
		for i, repository := range answer.Repositories {
			names[i] = repository.Namespace + "/" + repository.Name
		}
		if err := fn(names); err != nil {
			return err
		}
		if answer.NextPage == "" {
			return nil
		}
		query.Set("next_page", answer.NextPage)
	}
}
