package caddymodules

import (
	"context"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() {
	caddy.RegisterModule(ErrorHandler{})
}

// ErrorHandler answers errors that Caddy and its other handlers make (a rate limit, a body that is too large, a handler that
// failed) with the bodies of the distribution specification, for clients print nothing but a parser's complaint about any other.
// Errors at addresses that are no face's get an X-Request-Id and are left to the operator's error routes. The directives of the
// registry put it into the error routes.
type ErrorHandler struct{}

// CaddyModule returns Caddy's description of the handler.
func (ErrorHandler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.berth_errors",
		New: func() caddy.Module { return new(ErrorHandler) },
	}
}

// ServeHTTP writes the error that the request's context holds.
func (ErrorHandler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	header, route := w.Header(), routeOf(r.URL.Path)
	ctx, id := withRequestID(r)
	if begun := header.Get(requestIDHeader); begun != "" {
		ctx, id = context.WithValue(ctx, requestIDKey{}, begun), begun
	}
	header.Set(requestIDHeader, id)
	describe(r, id, route)
	if route.face == "" {
		return next.ServeHTTP(w, r.WithContext(ctx))
	}
	failure, _ := r.Context().Value(caddyhttp.ErrorCtxKey).(error)
	status := statusOf(failure)
	if status >= http.StatusInternalServerError {
		// Caddy takes an error for dealt with that has an error route, and logs it for debugging only.
		newLogger().ErrorContext(ctx, "a handler failed", "status", status, "error", failure)
	}
	header.Set("X-Content-Type-Options", "nosniff")
	refuse(w, route, status, messageOf(status))
	return nil
}

func statusOf(err error) int {
	if failure, ok := err.(caddyhttp.HandlerError); ok && failure.StatusCode != 0 { //nolint:errorlint // Caddy's own test for it
		return failure.StatusCode
	}
	return http.StatusInternalServerError
}

// messageOf does not repeat the cause, which is for the log.
func messageOf(status int) string {
	switch status {
	case http.StatusNotFound:
		return "there is nothing at this address"
	case http.StatusRequestEntityTooLarge:
		return "the request is larger than the server accepts"
	case http.StatusTooManyRequests:
		return "too many requests: try again later"
	case http.StatusInternalServerError:
		return "the server failed; its log says why under this request's id"
	}
	if text := http.StatusText(status); text != "" {
		return text
	}
	return "the request failed"
}

// Interface guard.
var _ caddyhttp.MiddlewareHandler = ErrorHandler{}
