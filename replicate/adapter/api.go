package adapter

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"

	"github.com/berth-registry/berth/replicate/remote"
)

// maxAnswer is the longest answer of an API that is read.
const maxAnswer = 32 << 20

// API is what a registry has beside the distribution specification, over HTTP and in JSON.
type API struct {
	base   string
	client *http.Client
	agent  string
	// Authorize adds the credentials to a request; nil adds none.
	Authorize func(ctx context.Context, request *http.Request) error
}

// NewAPI returns the API at an address, with the transport of the options and their login by name and password.
func NewAPI(options remote.Options, base string) *API {
	api := &API{base: strings.TrimRight(base, "/"), client: &http.Client{Transport: remote.Retrying(options.Transport)}, agent: options.UserAgent}
	if options.Username != "" || options.Secret != "" {
		api.Authorize = func(_ context.Context, request *http.Request) error {
			request.SetBasicAuth(options.Username, options.Secret)
			return nil
		}
	}
	return api
}

// StatusError is an answer of an API that refuses.
type StatusError struct {
	Status  int
	Message string
}

// Error tells the status and what the registry said.
func (e *StatusError) Error() string {
	return fmt.Sprintf("the registry's API answers %d %s: %s", e.Status, http.StatusText(e.Status), e.Message)
}

// Do sends a request and decodes the answer into into, unless it is nil. The path begins with a slash and is escaped already; a body
// that is not nil becomes JSON. What refuses is a [*StatusError].
func (a *API) Do(ctx context.Context, method, path string, query url.Values, body, into any) (http.Header, error) {
	target := a.Address(path)
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	return a.Send(ctx, method, target, nil, body, into)
}

// Address is that of a path.
func (a *API) Address(path string) string { return a.base + path }

// Send is Do for a whole address, with headers.
func (a *API) Send(ctx context.Context, method, target string, header http.Header, body, into any) (http.Header, error) {
	var content io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", method, target, err)
		}
		content = bytes.NewReader(encoded)
	}
	request, err := http.NewRequestWithContext(ctx, method, target, content)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, target, err)
	}
	request.Header.Set("Accept", "application/json")
	request.Header.Set("User-Agent", a.agent)
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	maps.Copy(request.Header, header)
	if a.Authorize != nil {
		if err := a.Authorize(ctx, request); err != nil {
			return nil, err
		}
	}
	response, err := a.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	said, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, target, err)
	}
	if response.StatusCode < 200 || response.StatusCode > 299 {
		return response.Header, &StatusError{response.StatusCode, strings.TrimSpace(string(said[:min(len(said), 500)]))}
	}
	if into == nil {
		return response.Header, nil
	}
	if err := json.Unmarshal(said, into); err != nil {
		return response.Header, fmt.Errorf("%s %s: %w", method, target, err)
	}
	return response.Header, nil
}
