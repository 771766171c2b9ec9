package caddymodules

import (
	"fmt"
	"net/http"
	"runtime/debug"

	"github.com/caddyserver/caddy/v2"
)

// serveLanding tells a person who opened the registry's address in a browser what it is.
func serveLanding(w http.ResponseWriter, r *http.Request) {
	if !allowRead(w, r) {
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-cache")
	_, _ = fmt.Fprintf(w, //nolint:gosec // plain text, which no browser takes for a page: Handler says nosniff
		`Berth %s: a container registry.

  docker login %[2]s
  docker push  %[2]s/PROJECT/NAME:TAG
  docker pull  %[2]s/PROJECT/NAME:TAG

If your client does not trust this server's certificate yet, its authority's is at %[3]s
`, version(), r.Host, certificatePath)
}

// modulePath is Berth's own among the modules that a binary was built from.
const modulePath = "github.com/berth-registry/berth"

// version is Berth's, whether it is the program or a plugin of another Caddy.
func version() string {
	build, ok := debug.ReadBuildInfo()
	if !ok {
		return "of unknown version"
	}
	if build.Main.Path == modulePath {
		if caddy.CustomVersion != "" {
			return caddy.CustomVersion
		}
		return build.Main.Version
	}
	for _, dependency := range build.Deps {
		if dependency.Path == modulePath {
			return dependency.Version
		}
	}
	return "of unknown version"
}

// allowRead refuses methods other than GET and HEAD.
func allowRead(w http.ResponseWriter, r *http.Request) bool {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return true
	}
	w.Header().Set("Allow", "GET, HEAD")
	refuse(w, routeOf(r.URL.Path), http.StatusMethodNotAllowed, "only GET and HEAD are allowed here")
	return false
}
