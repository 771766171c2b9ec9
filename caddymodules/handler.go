package caddymodules

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/berth-registry/berth/identity"
)

func init() {
	caddy.RegisterModule(new(Handler))
}

// The faces of the registry.
const (
	// faceRegistry is what container clients speak: /v2 and the token service.
	faceRegistry = "registry"
	// faceAPI is /api/v2.0, and /c, where browsers log in.
	faceAPI = "api"
)

var allFaces = []string{faceRegistry, faceAPI}

// Handler serves the faces of the registry that the `berth` app configures. What is not of its faces goes to the next handler,
// unless it serves all of them: then it answers every path itself.
//
// It sets these placeholders for matchers and logs:
//
//	{http.berth.request_id}   the id that is in the response's X-Request-Id and in every log line
//	{http.berth.route}        the name of the route, as in the metrics
//	{http.auth.user.id}       the user whose credentials the request has proven; user_id in the access log
type Handler struct {
	// Faces are "registry" (/v2 and the token service) and "api" (/api/v2.0 and /c, where browsers log in). Default: all.
	Faces []string `json:"faces,omitempty"`

	app *App
}

// CaddyModule returns Caddy's description of the handler.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.berth",
		New: func() caddy.Module { return new(Handler) },
	}
}

// Provision finds the app.
func (h *Handler) Provision(ctx caddy.Context) error {
	app, err := ctx.App("berth")
	if err != nil {
		return fmt.Errorf("berth handler: %w", err)
	}
	h.app = app.(*App)
	return nil
}

// Validate refuses faces that do not exist.
func (h *Handler) Validate() error {
	for _, face := range h.Faces {
		if !slices.Contains(allFaces, face) {
			return fmt.Errorf("unknown face %q: the faces are %s", face, strings.Join(allFaces, ", "))
		}
	}
	return nil
}

func (h *Handler) serves(face string) bool {
	return len(h.Faces) == 0 || slices.Contains(h.Faces, face)
}

// ServeHTTP answers the request with a lease on the core, so that the core stays open until the last byte whatever happens to
// this configuration.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	r = h.app.mirrored(w, r)
	route := routeOf(r.URL.Path)
	if route.face == "" && len(h.Faces) > 0 || route.face != "" && !h.serves(route.face) {
		return next.ServeHTTP(w, r)
	}

	ctx, id := withRequestID(r)
	r = r.WithContext(ctx)
	describe(r, id, route)
	answer := newResponse(w, r)
	answer.Header().Set(requestIDHeader, id)
	answer.Header().Set("X-Content-Type-Options", "nosniff")
	body := countBody(w, r)
	done := metrics.begin(route.name)
	defer func() { done(r.Method, answer.status(), body.read, answer.written()) }()

	services, release, err := h.app.core.use(ctx)
	if err != nil {
		if r.Context().Err() == nil {
			refuse(answer, route, http.StatusServiceUnavailable, "the registry is not ready: try again in a moment")
		}
		if errors.Is(err, errClosed) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
			return nil
		}
		return err
	}
	defer release()
	defer h.app.core.serve(body)()
	defer answerPanic(answer, r, route)
	h.serve(answer, r, route, services)
	return nil
}

// answerPanic gives a request whose handler has panicked the body that clients can read, where its header is still to be
// written; else the connection is cut, so that half an answer is not taken for a whole one.
func answerPanic(answer *response, r *http.Request, route route) {
	cause := recover()
	if cause == nil {
		return
	}
	if cause != http.ErrAbortHandler { //nolint:errorlint // the very value, as in net/http
		newLogger().ErrorContext(r.Context(), "handler panicked", "panic", cause, "stack", string(debug.Stack()))
	}
	if answer.code != 0 || cause == http.ErrAbortHandler { //nolint:errorlint // as above
		panic(http.ErrAbortHandler)
	}
	refuse(answer, route, http.StatusInternalServerError, messageOf(http.StatusInternalServerError))
}

func (h *Handler) serve(w http.ResponseWriter, r *http.Request, route route, services *services) {
	switch route.name {
	case routeToken:
		services.token.ServeHTTP(w, r)
	case routeKeys:
		services.keys.ServeHTTP(w, r)
	case routeAPI, routeEntrance:
		services.api.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), appKey{}, h.app)))
	case routeLanding:
		serveLanding(w, r)
	case routeUnknown:
		refuse(w, route, http.StatusNotFound, "there is nothing at this address")
	default:
		services.distribution.ServeHTTP(w, r)
	}
}

// describe makes the request's id and route known to Caddy: to its access log and to the operator's placeholders.
func describe(r *http.Request, id string, route route) {
	// Each field costs what a small request's share of collecting garbage does: not where nobody reads them.
	server, ok := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	logs := !ok || server.Logs != nil
	if fields, ok := r.Context().Value(caddyhttp.ExtraLogFieldsCtxKey).(*caddyhttp.ExtraLogFields); ok && logs {
		fields.Set(zap.String("request_id", id))
		fields.Set(zap.String("route", route.name))
	}
	if replacer, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		replacer.Set("http.berth.request_id", id)
		replacer.Set("http.berth.route", route.name)
	}
}

// nameUser makes the user known to Caddy, whose access log has the name as user_id.
func nameUser(r *http.Request, principal identity.Principal) {
	if replacer, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		replacer.Set("http.auth.user.id", principal.Name)
	}
}

// Interface guards.
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.Validator             = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
