package auth

import (
	"errors"
	"mime"
	"net/http"
	"net/url"

	"github.com/berth-registry/berth/identity"
	"github.com/berth-registry/berth/identity/token"
	"github.com/berth-registry/berth/oci"
)

// The bounds of a token request. A token with more scopes would not fit into the header it has to travel in.
const (
	maxTokenForm = 64 << 10
	maxScopes    = 32
)

// tokenRequest is what the forms of asking have in common.
type tokenRequest struct {
	anonymous      bool
	name, password string
	refreshToken   string
	idToken        string
	scopes         []token.Scope
	// scoped tells that there was a scope at all, understood or not.
	scoped bool
	// offline asks for a refresh token.
	offline bool
	// form tells that the OAuth form was posted.
	form bool
}

// parseTokenRequest reads a request in either form. The error is a [*Refusal].
func parseTokenRequest(w http.ResponseWriter, r *http.Request) (tokenRequest, error) {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		return parseTokenQuery(r)
	case http.MethodPost:
		return parseTokenForm(w, r)
	}
	w.Header().Set("Allow", "GET, HEAD, POST")
	return tokenRequest{}, methodNotAllowed(r)
}

func parseTokenQuery(r *http.Request) (tokenRequest, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return tokenRequest{}, malformed("query: %v", err)
	}
	request := tokenRequest{offline: query.Get("offline_token") == "true" || query.Get("access_type") == "offline"}
	if err := request.readScopes(query["scope"]); err != nil {
		return tokenRequest{}, err
	}
	offered, err := identity.ParseAuthorization(r.Header.Values("Authorization"))
	switch {
	case err != nil:
		return tokenRequest{}, loginRefused(err.Error())
	case offered.Bearer != "":
		request.idToken = offered.Bearer
		return request, nil
	}
	request.anonymous = !offered.Basic
	request.name, request.password = offered.Name, offered.Password
	return request, nil
}

func parseTokenForm(w http.ResponseWriter, r *http.Request) (tokenRequest, error) {
	mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || mediaType != "application/x-www-form-urlencoded" {
		return tokenRequest{}, malformed("content type %q is not application/x-www-form-urlencoded", r.Header.Get("Content-Type"))
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxTokenForm)
	if err := r.ParseForm(); err != nil {
		if _, tooLong := errors.AsType[*http.MaxBytesError](err); tooLong {
			return tokenRequest{}, malformed("form is longer than %d bytes", maxTokenForm)
		}
		return tokenRequest{}, malformed("form: %v", err)
	}
	form := r.PostForm
	request := tokenRequest{form: true, offline: form.Get("access_type") == "offline"}
	if err := request.readScopes(form["scope"]); err != nil {
		return tokenRequest{}, err
	}
	switch grant := form.Get("grant_type"); grant {
	case "password":
		request.name, request.password = form.Get("username"), form.Get("password")
		if request.name == "" {
			return tokenRequest{}, malformed("username is missing")
		}
	case "refresh_token":
		request.refreshToken = form.Get("refresh_token")
		if request.refreshToken == "" {
			return tokenRequest{}, malformed("refresh_token is missing")
		}
	default:
		return tokenRequest{}, malformed("grant_type %q is neither password nor refresh_token", grant)
	}
	return request, nil
}

func (t *tokenRequest) readScopes(values []string) error {
	for _, value := range values {
		t.scoped = t.scoped || value != ""
	}
	t.scopes = token.ParseScopes(values)
	if len(t.scopes) > maxScopes {
		return malformed("%d scopes are more than the %d that fit into a token", len(t.scopes), maxScopes)
	}
	return nil
}

func malformed(format string, args ...any) *Refusal {
	refusal := &Refusal{Err: oci.NewError(oci.CodeUnsupported, "token request: "+format, args...)}
	refusal.Err.Status = http.StatusBadRequest
	return refusal
}

func methodNotAllowed(r *http.Request) *Refusal {
	refusal := &Refusal{Err: oci.NewError(oci.CodeUnsupported, "method %s is not allowed here", r.Method)}
	refusal.Err.Status = http.StatusMethodNotAllowed
	return refusal
}
