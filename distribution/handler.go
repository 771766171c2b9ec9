// Package distribution is the HTTP face of the registry under /v2: distribution-spec 1.1 and its development profile, and what
// clients expect beyond them. It splits paths, checks form, asks an [Authorizer], calls package registry, and shapes responses;
// rules live below it.
package distribution

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/policy"
	"github.com/berth-registry/berth/registry"
	"github.com/berth-registry/berth/replicate/proxy"
)

// Observer is told of every response.
type Observer interface {
	// Observe is called after a response: with the route's name, of which there are few, the status, and the bytes of the bodies.
	Observe(route string, status int, in, out int64, took time.Duration)
}

// Options are what a [Handler] is made of. Registry, Authorizer and Logger are required.
type Options struct {
	Registry   *registry.Registry
	Authorizer Authorizer
	Logger     *slog.Logger
	Observer   Observer
	// Record is given the events of pushes and deletions that were refused; it does not wait. Nil gives them to nobody.
	Record func(event.Event)
	// RequestID and Address return what events and log lines tell of a request; the defaults are "" and the remote address.
	RequestID func(*http.Request) string
	Address   func(*http.Request) string
	// ReadOnly tells whether nothing may be changed for the moment; nil means that everything may.
	ReadOnly func(ctx context.Context) bool
	// Proxy fetches what projects lack that are caches of registries elsewhere; nil knows of none.
	Proxy *proxy.Cache
}

// Handler serves /v2.
type Handler struct {
	registry   *registry.Registry
	authorizer Authorizer
	log        *slog.Logger
	observer   Observer
	record     func(event.Event)
	requestID  func(*http.Request) string
	address    func(*http.Request) string
	readOnly   func(ctx context.Context) bool
	proxy      *proxy.Cache
	routes     table
}

type silent struct{}

func (silent) Observe(string, int, int64, int64, time.Duration) {}

// New returns the handler. It panics when a route declares no action: nobody would guard it.
func New(options Options) *Handler {
	h := &Handler{
		registry: options.Registry, authorizer: options.Authorizer, log: options.Logger, observer: options.Observer,
		requestID: options.RequestID, address: options.Address, readOnly: options.ReadOnly, routes: newTable(routes), record: options.Record, proxy: options.Proxy,
	}
	if h.record == nil {
		h.record = func(event.Event) {}
	}
	if h.observer == nil {
		h.observer = silent{}
	}
	if h.requestID == nil {
		h.requestID = func(*http.Request) string { return "" }
	}
	if h.address == nil {
		h.address = func(r *http.Request) string { return r.RemoteAddr }
	}
	if h.readOnly == nil {
		h.readOnly = func(context.Context) bool { return false }
	}
	return h
}

// exchange is one request and its response.
type exchange struct {
	*Handler
	target
	w      http.ResponseWriter
	r      *http.Request
	route  string
	access Access
	// origin is nil unless the repository's project is a cache of a registry elsewhere.
	origin *proxy.Repository
	// status is 0 until the response's header is written; in counts the body's bytes that were read.
	status int
	in     int64
}

// ServeHTTP answers a request under /v2.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	x := &exchange{Handler: h, w: w, r: r, route: "unknown"}
	header := w.Header()
	header["Docker-Distribution-Api-Version"] = apiVersion
	// A manifest is served as the type it was pushed with, from the console's own origin: a browser must not run it.
	header["X-Content-Type-Options"] = noSniff
	header["Content-Security-Policy"] = sandbox
	if err := x.serve(); err != nil {
		x.fail(err)
	}
	h.observer.Observe(x.route, x.status, x.in, x.out(), time.Since(start))
}

// The headers of every response, allocated once.
var (
	apiVersion  = []string{"registry/2.0"}
	noSniff     = []string{"nosniff"}
	sandbox     = []string{"default-src 'none'; sandbox"}
	octetStream = []string{"application/octet-stream"}
	noCache     = []string{"no-cache"}
	immutable   = []string{"private, max-age=31536000, immutable"}
	byteRanges  = []string{"bytes"}
)

func (x *exchange) serve() error {
	var known bool
	var err error
	x.target, known, err = parsePath(x.r.URL.EscapedPath())
	if !known {
		return errPathUnknown
	}
	route, allowed := x.routes.find(x.kind, x.r.Method)
	x.route = string(x.kind)
	if err != nil {
		return err
	}
	if route == nil {
		x.w.Header().Set("Allow", strings.Join(allowed, ", "))
		return errMethodNotAllowed
	}
	x.route = route.name
	needs, wishes := route.needs(x)
	if x.access, err = x.authorizer.Authorize(x.r, needs, wishes); err != nil {
		x.recordRefusal(err, needs)
		return err
	}
	if route.method != http.MethodGet && x.readOnly(x.r.Context()) {
		return errReadOnly
	}
	if err := x.findOrigin(route); err != nil {
		return err
	}
	return route.serve(x)
}

// findOrigin looks whether the repository's project is a cache of a registry elsewhere, which may know the repository by another name
// and takes no pushes.
func (x *exchange) findOrigin(route *route) error {
	if x.proxy == nil || x.repository == "" {
		return nil
	}
	var err error
	x.origin, err = x.proxy.Of(x.r.Context(), x.repository)
	if err != nil || x.origin == nil {
		return err
	}
	if route.action == policy.Push {
		return x.origin.Refusal()
	}
	x.repository = x.origin.Name()
	if route.action != policy.Pull {
		return nil
	}
	if err := x.origin.Excluded(); err != nil {
		return err
	}
	ctx, err := x.origin.Through(x.r.Context(), x.r.Header["Via"])
	x.r = x.r.WithContext(ctx)
	return err
}

// recordRefusal records that the caller may not change what they wanted to change.
func (x *exchange) recordRefusal(err error, needs []Need) {
	if !oci.HasCode(err, oci.CodeDenied) {
		return
	}
	attempts := map[policy.Action]event.Kind{policy.Push: event.ManifestPushed, policy.Delete: event.ManifestDeleted}
	for _, need := range needs {
		if attempt := attempts[need.Action]; attempt != "" {
			refused := x.actor().Event(event.Refused)
			refused.Attempt, refused.Project, refused.Repository = attempt, need.Repository.Project(), need.Repository.String()
			x.record(refused)
			return
		}
	}
}

// reply writes the header with no body, or before one.
func (x *exchange) reply(status int) {
	x.status = status
	x.w.WriteHeader(status)
}

// out is the number of bytes that the response's body has by its header.
func (x *exchange) out() int64 {
	if x.r.Method == http.MethodHead {
		return 0
	}
	n, _ := parseBytes(x.w.Header().Get("Content-Length"))
	return n
}

func (x *exchange) actor() event.Actor {
	id := x.requestID(x.r)
	if !plain(id) {
		id = "" // a client's own id may be anything, and PostgreSQL does not take everything as text
	}
	return event.Actor{Name: x.access.Principal.Name, Credential: x.access.Credential, RequestID: id, Address: x.address(x.r)}
}
