package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// API is a way to a registry's management API.
type API struct {
	// Transport carries the requests.
	Transport http.RoundTripper
	// Base is the scheme and host of the requests.
	Base string
	// Authorize adds the caller's credentials; nil adds none, where the way itself is the proof.
	Authorize func(r *http.Request)
	// Close lets go of what the way holds; nil holds nothing.
	Close func() error
}

// prefix is where the management API is.
const prefix = "/api/v2.0"

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 64 << 20

// Refusal is an answer of the registry that is not the wanted one.
type Refusal struct {
	Status  int
	Message string
}

// Error returns the registry's message.
func (e *Refusal) Error() string { return e.Message }

// errUnreachable says that nobody answers at the registry's address.
var errUnreachable = errors.New("registry cannot be reached")

// send sends a request with a JSON body, nil for none, and returns the answer's header and body.
func (a *API) send(ctx context.Context, method, path string, body any) (http.Header, []byte, error) {
	var reader io.Reader = http.NoBody
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return nil, nil, fmt.Errorf("encode request: %w", err)
		}
		reader = bytes.NewReader(encoded)
	}
	request, err := http.NewRequestWithContext(ctx, method, a.Base+prefix+path, reader)
	if err != nil {
		return nil, nil, err
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	request.Header.Set("X-Is-Resource-Name", "true")
	if a.Authorize != nil {
		a.Authorize(request)
	}
	client := http.Client{Transport: a.Transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(request)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errUnreachable, err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return nil, nil, fmt.Errorf("%w: read answer: %w", errUnreachable, err)
	}
	if response.StatusCode < 200 || response.StatusCode > 299 {
		return nil, nil, refusal(response, answer)
	}
	return response.Header, answer, nil
}

func refusal(response *http.Response, body []byte) error {
	var said struct {
		Errors []struct{ Message string }
		// Error is where the admin endpoint has its own.
		Error string
	}
	message := "the registry answered " + response.Status
	if json.Unmarshal(body, &said) == nil {
		switch {
		case len(said.Errors) > 0 && said.Errors[0].Message != "":
			message = said.Errors[0].Message
		case said.Error != "":
			message = said.Error
		}
	}
	if response.StatusCode == http.StatusUnauthorized {
		message += ": log in with \"berth login\""
	}
	return &Refusal{Status: response.StatusCode, Message: message}
}

// get returns what is at a path.
func get[T any](ctx context.Context, a *API, path string, query url.Values) (T, error) {
	_, body, err := a.send(ctx, http.MethodGet, withQuery(path, query), nil)
	if err != nil {
		var none T
		return none, err
	}
	return decode[T](body)
}

// decode reads the body of an answer.
func decode[T any](body []byte) (T, error) {
	var found T
	if err := json.Unmarshal(body, &found); err != nil {
		return found, fmt.Errorf("understand the registry's answer: %w", err)
	}
	return found, nil
}

// listPage is how many entries are asked for at once.
const listPage = 100

// list returns the entries of all pages, or the first most of them when it is positive.
func list[T any](ctx context.Context, a *API, path string, query url.Values, most int) ([]T, error) {
	entries := []T{}
	asked := url.Values{}
	maps.Copy(asked, query)
	asked.Set("page_size", strconv.Itoa(listPage))
	for page := 1; ; page++ {
		asked.Set("page", strconv.Itoa(page))
		found, err := get[[]T](ctx, a, path, asked)
		if err != nil {
			return nil, err
		}
		entries = append(entries, found...)
		if most > 0 && len(entries) >= most {
			return entries[:most], nil
		}
		if len(found) < listPage {
			return entries, nil
		}
	}
}

// change sends a body and returns the Location of the answer.
func (a *API) change(ctx context.Context, method, path string, body any) (location string, err error) {
	header, _, err := a.send(ctx, method, path, body)
	if err != nil {
		return "", err
	}
	return header.Get("Location"), nil
}

// create sends a body by POST and returns the body of the answer.
func create[T any](ctx context.Context, a *API, path string, body any) (T, error) {
	_, answer, err := a.send(ctx, http.MethodPost, path, body)
	if err != nil {
		var none T
		return none, err
	}
	return decode[T](answer)
}

func withQuery(path string, query url.Values) string {
	if len(query) == 0 {
		return path
	}
	return path + "?" + query.Encode()
}

// at joins the segments of a path; repository names are encoded twice, as the API has them.
func at(segments ...string) string {
	var b strings.Builder
	for _, segment := range segments {
		b.WriteByte('/')
		b.WriteString(url.PathEscape(segment))
	}
	return b.String()
}

// repositoryPath is the path of a repository.
func repositoryPath(project, repository string) string {
	return at("projects", project, "repositories", url.PathEscape(repository))
}
