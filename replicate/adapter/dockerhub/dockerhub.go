// Package dockerhub is Docker Hub: its registry has no catalog, but its API lists the repositories of a namespace.
package dockerhub

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/berth-registry/berth/replicate/adapter"
	"github.com/berth-registry/berth/replicate/remote"
)

const (
	apiURL      = "https://hub.docker.com"
	registryURL = "https://registry-1.docker.io"
	// tokenTime is how long a token of the API is used.
	tokenTime = 5 * time.Minute
)

func init() {
	adapter.Register(adapter.Kind{Name: "docker-hub", Endpoints: []adapter.Endpoint{{Name: "hub.docker.com", URL: apiURL}}, Open: open})
}

// registry is Docker Hub.
type registry struct {
	adapter.Plain
	api *adapter.API
}

func open(options remote.Options) (adapter.Registry, error) {
	options.URL = registryURL // there is but one
	plain, err := adapter.OpenPlain(options)
	if err != nil {
		return nil, err
	}
	anonymous := options
	anonymous.Username, anonymous.Secret = "", ""
	api := adapter.NewAPI(anonymous, apiURL)
	if options.Secret != "" {
		login := &login{api: adapter.NewAPI(anonymous, apiURL), username: options.Username, secret: options.Secret}
		api.Authorize = login.authorize
	}
	return &registry{plain, api}, nil
}

// login has the token that the API takes in the place of a password.
type login struct {
	api              *adapter.API
	username, secret string

	mu    sync.Mutex
	token string
	until time.Time
}

func (l *login) authorize(ctx context.Context, request *http.Request) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if time.Now().After(l.until) {
		var answer struct {
			Token string `json:"token"`
		}
		if _, err := l.api.Do(ctx, http.MethodPost, "/v2/users/login", nil, map[string]string{"username": l.username, "password": l.secret}, &answer); err != nil {
			return fmt.Errorf("log in to Docker Hub: %w", err)
		}
		l.token, l.until = answer.Token, time.Now().Add(tokenTime)
	}
	request.Header.Set("Authorization", "Bearer "+l.token)
	return nil
}

// Repositories implements [adapter.Registry]: those of the namespace that the prefix names, else of all that the user is in.
func (r *registry) Repositories(ctx context.Context, prefix string, fn func(names []string) error) error {
	namespace, _, whole := strings.Cut(prefix, "/")
	if whole {
		return r.in(ctx, namespace, fn)
	}
	if r.api.Authorize == nil {
		return adapter.ErrNoCatalog
	}
	var answer struct {
		Namespaces []string `json:"namespaces"`
	}
	if _, err := r.api.Do(ctx, http.MethodGet, "/v2/repositories/namespaces", nil, nil, &answer); err != nil {
		return err
	}
	for _, namespace := range answer.Namespaces {
		if err := r.in(ctx, namespace, fn); err != nil {
			return err
		}
	}
	return nil
}

// in lists the repositories of a namespace.
func (r *registry) in(ctx context.Context, namespace string, fn func(names []string) error) error {
	target := apiURL + "/v2/repositories/" + url.PathEscape(namespace) + "/?page_size=100"
	for target != "" {
		var answer struct {
			Next    string `json:"next"`
			Results []struct {
				Name string `json:"name"`
			} `json:"results"`
		}
		_, err := r.api.Send(ctx, http.MethodGet, target, nil, nil, &answer)
		if refusal, ok := errors.AsType[*adapter.StatusError](err); ok && refusal.Status == http.StatusNotFound {
			return nil
		}
		if err != nil {
			return err
		}
		names := make([]string, len(answer.Results))
		for i, result := range answer.Results {
			names[i] = namespace + "/" + result.Name
		}
		if err := fn(names); err != nil {
			return err
		}
		if target = answer.Next; target != "" && !strings.HasPrefix(target, apiURL+"/") {
			return fmt.Errorf("docker Hub names %q as the next page", target)
		}
	}
	return nil
}
