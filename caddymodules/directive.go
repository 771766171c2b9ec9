package caddymodules

import (
	"encoding/json"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() {
	directives := []struct {
		name  string
		faces []string
	}{
		{"berth", nil},
		{"berth_registry", []string{faceRegistry}},
		{"berth_api", []string{faceAPI}},
	}
	for _, directive := range directives {
		httpcaddyfile.RegisterDirective(directive.name, parseDirective(directive.faces))
		httpcaddyfile.RegisterDirectiveOrder(directive.name, httpcaddyfile.Before, "reverse_proxy")
	}
}

// parseDirective sets up a directive that mounts faces of the registry. Syntax:
//
//	berth          [<matcher>]
//	berth_registry [<matcher>]
//	berth_api      [<matcher>]
//
// Besides the handler it sets up the error route that gives Caddy's own errors the request's id, and those under /v2 and /api the
// bodies that clients of these expect.
func parseDirective(faces []string) httpcaddyfile.UnmarshalFunc {
	return func(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
		if !h.Next() {
			return nil, h.ArgErr()
		}
		matchers, err := h.ExtractMatcherSet()
		if err != nil {
			return nil, err
		}
		h.Next() // the directive's name
		if h.NextArg() {
			return nil, h.ArgErr()
		}
		for nesting := h.Nesting(); h.NextBlock(nesting); {
			return nil, h.Errf("%q has no options here: the registry is configured by the global option berth", h.Val())
		}
		values := h.NewRoute(matchers, &Handler{Faces: faces})
		return append(values, errorRoute(h)), nil
	}
}

// errorRoute matches everything, and says so, because Caddy puts error routes with a matcher before those without.
func errorRoute(h httpcaddyfile.Helper) httpcaddyfile.ConfigValue {
	return httpcaddyfile.ConfigValue{
		Class: "error_route",
		Value: &caddyhttp.Subroute{Routes: []caddyhttp.Route{{
			MatcherSetsRaw: []caddy.ModuleMap{{"path": h.JSON(caddyhttp.MatchPath{"*"})}},
			HandlersRaw:    []json.RawMessage{caddyconfig.JSONModuleObject(new(ErrorHandler), "handler", "berth_errors", nil)},
		}}},
	}
}
