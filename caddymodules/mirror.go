package caddymodules

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/berth-registry/berth/identity/token"
	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/project"
)

// namespaceHeader tells a client that what it asked for as a mirror's was understood so (distribution-spec, "Registry Proxying").
const namespaceHeader = "OCI-Namespace"

// checkMirrors refuses mirrors whose projects cannot exist.
func (a *App) checkMirrors() error {
	for host, name := range a.Mirrors {
		if host != strings.ToLower(host) || strings.ContainsAny(host, "/ ") {
			return fmt.Errorf("mirror %q: it must be a host in lower case, such as docker.io", host)
		}
		if err := project.CheckName(name); err != nil {
			return fmt.Errorf("mirror %s: %w", host, err)
		}
	}
	return nil
}

// mirrored returns a request as it is meant: what a client asks this registry as the mirror of another is in the project that stands for
// that one. Containerd says which it means by the parameter ns; for docker, which says nothing, the mirror has a host of its own.
func (a *App) mirrored(w http.ResponseWriter, r *http.Request) *http.Request {
	if len(a.Mirrors) == 0 {
		return r
	}
	host := strings.ToLower(r.Host)
	if _, known := a.Mirrors[host]; !known {
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
	}
	rest, content := strings.CutPrefix(r.URL.Path, "/v2/")
	if content && strings.Contains(r.URL.RawQuery, "ns=") {
		if meant := strings.ToLower(r.URL.Query().Get("ns")); a.Mirrors[meant] != "" {
			host = meant
		}
	}
	name, known := a.Mirrors[host]
	switch {
	case !known:
		return r
	case r.URL.Path == tokenPath && r.Method == http.MethodPost:
		return mirroredForm(r, name)
	case r.URL.Path == tokenPath:
		return withURL(r, func(u *url.URL) { u.RawQuery = mirroredScopes(u.Query(), name).Encode() })
	case !content || rest == "" || rest == "_catalog":
		return r
	}
	w.Header()[namespaceHeader] = []string{host}
	return withURL(r, func(u *url.URL) {
		u.Path = "/v2/" + name + "/" + rest
		if escaped, ok := strings.CutPrefix(u.RawPath, "/v2/"); ok {
			u.RawPath = "/v2/" + name + "/" + escaped
		}
	})
}

// withURL returns the request with another URL.
func withURL(r *http.Request, change func(*url.URL)) *http.Request {
	meant, address := *r, *r.URL
	change(&address)
	meant.URL = &address
	return &meant
}

// maxForm is how much of a token request's form is read to find its scopes; the token service takes no longer ones.
const maxForm = 64 << 10

// mirroredForm returns a token request whose parameters are a form, with its repositories in a project.
func mirroredForm(r *http.Request, name string) *http.Request {
	form, err := io.ReadAll(io.LimitReader(r.Body, maxForm+1))
	meant := *r
	meant.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(form), r.Body), r.Body}
	parameters, malformed := url.ParseQuery(string(form))
	if err != nil || malformed != nil || len(form) > maxForm {
		return &meant // which the token service refuses
	}
	text := mirroredScopes(parameters, name).Encode()
	meant.Body, meant.ContentLength = io.NopCloser(strings.NewReader(text)), int64(len(text))
	return &meant
}

// mirroredScopes are the parameters of a token request with its repositories in a project. A client asks for the name that it knows, or
// for the one that it was challenged with, which has the project; a name that could be either is asked for as both.
func mirroredScopes(query url.Values, name string) url.Values {
	var meant []token.Scope
	for _, scope := range token.ParseScopes(query["scope"]) {
		if scope.Type != token.TypeRepository {
			meant = append(meant, scope)
			continue
		}
		if oci.Repository(scope.Name).Project() == name {
			meant = append(meant, scope)
		}
		meant = append(meant, token.RepositoryScope(name+"/"+scope.Name, scope.Actions...))
	}
	if len(meant) > 0 {
		query.Set("scope", token.FormatScopes(meant))
	}
	return query
}

// readMirror reads for which registries this one is a mirror. Syntax:
//
//	mirror {
//	    <host> <project>
//	}
func (a *App) readMirror(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	a.Mirrors = map[string]string{}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		host := d.Val()
		var name string
		if !d.AllArgs(&name) {
			return d.ArgErr()
		}
		if _, twice := a.Mirrors[host]; twice {
			return d.Errf("mirror %q is given twice", host)
		}
		a.Mirrors[host] = name
		if err := noBlock(d); err != nil {
			return err
		}
	}
	return nil
}
