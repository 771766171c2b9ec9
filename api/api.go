// Package api is the management API under /api/v2.0, whose paths, bodies and statuses are those that Harbor's clients know. It is
// a face: it decodes, asks policy, calls one use case, and encodes.
//
// Everything about a route stands in one row of the route table: its method and path, what the caller needs to be allowed, the
// statuses it may answer with, and by its types what it takes and gives. The description at /api/v2.0/openapi.json is made from the
// same rows.
package api

import (
	"bytes"
	"context"
	"html/template"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/identity"
	"github.com/berth-registry/berth/identity/group"
	"github.com/berth-registry/berth/identity/ldap"
	"github.com/berth-registry/berth/identity/local"
	"github.com/berth-registry/berth/identity/oidc"
	"github.com/berth-registry/berth/identity/personal"
	"github.com/berth-registry/berth/identity/robot"
	"github.com/berth-registry/berth/identity/session"
	"github.com/berth-registry/berth/jobs"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/notify/webhook"
	"github.com/berth-registry/berth/policy"
	projects "github.com/berth-registry/berth/project"
	"github.com/berth-registry/berth/project/retain"
	"github.com/berth-registry/berth/registry"
	"github.com/berth-registry/berth/replicate"
	"github.com/berth-registry/berth/setting"
)

// Prefix is where the API is.
const Prefix = "/api/v2.0"

// Options are what an [API] stands on. Store, Registry, Projects, Policy, Login, Sessions, OIDC, Settings, Users, Groups, LDAP,
// Robots and AccessTokens are required.
type Options struct {
	Store    *metadata.Store
	Registry *registry.Registry
	Projects *projects.Projects
	Policy   policy.Authorizer
	Settings *setting.Settings
	Users    *local.Users
	Groups   *group.Groups
	LDAP     *ldap.Source
	Robots   *robot.Robots
	// AccessTokens are what people use in the place of their passwords.
	AccessTokens *personal.Tokens
	// System is what the API tells of the installation.
	System System
	// Login proves names and passwords.
	Login identity.Source
	// Sessions keep browsers logged in.
	Sessions *session.Sessions
	// OIDC logs people in through a provider.
	OIDC *oidc.People
	// Purges delete old entries of the audit log, Collections collect garbage, Verifications compare the storage with the database.
	Purges, Collections, Verifications *jobs.Recurring
	// Retentions are the rules which artifacts of projects are kept.
	Retentions *retain.Policies
	// Jobs are the work in the background of all kinds.
	Jobs *jobs.Jobs
	// Registries are those elsewhere.
	Registries *replicate.Registries
	// Replication says what is copied to and from them.
	Replication *replicate.Policies
	// Webhooks tell others of events.
	Webhooks *webhook.Policies
	// Authenticators are asked in their order before names and passwords are.
	Authenticators []Authenticator
	// Base returns how the client reaches the registry, such as "https://registry.example.com"; nil takes the connection's scheme
	// and the request's host.
	Base func(r *http.Request) string
	// Address returns the client's network address; nil takes the connection's.
	Address func(r *http.Request) string
	// RequestID returns the id of a request; nil means that requests have none.
	RequestID func(ctx context.Context) string
	// Proven is told who a request is from; nil tells nobody.
	Proven func(r *http.Request, principal identity.Principal)
	// Record is given the events of changes that were refused; it does not wait. Nil gives them to nobody.
	Record func(event.Event)
	Logger *slog.Logger
}

// API answers requests under [Prefix] and [EntrancePrefix].
type API struct {
	options Options
	mux     *http.ServeMux
	routes  []Route
	// origins tells forms of our own pages from those of other sites.
	origins *http.CrossOriginProtection
	pages   *template.Template
}

// New returns the API. It panics when the route table contradicts itself, which no configuration can cause.
func New(options Options) *API {
	if options.Base == nil {
		options.Base = connectionBase
	}
	if options.Address == nil {
		options.Address = connectionAddress
	}
	if options.RequestID == nil {
		options.RequestID = func(context.Context) string { return "" }
	}
	if options.Proven == nil {
		options.Proven = func(*http.Request, identity.Principal) {}
	}
	if options.Record == nil {
		options.Record = func(event.Event) {}
	}
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	a := &API{options: options, mux: http.NewServeMux(), origins: http.NewCrossOriginProtection(), pages: parsePages()}
	a.options.Authenticators = append(slices.Clone(options.Authenticators), byToken{a, options.OIDC}, bySession{a})
	for _, resource := range a.resources() {
		a.routes = append(a.routes, resource...)
	}
	a.routes = append(a.routes, a.descriptionRoutes()...)
	for _, route := range a.routes {
		a.mux.HandleFunc(route.Method+" "+Prefix+route.Path, a.handler(route))
	}
	a.mux.HandleFunc("GET "+VersionPath, serveVersion)
	for _, e := range a.entrances() {
		a.mux.HandleFunc(e.method+" "+e.path, a.enterBy(e))
	}
	return a
}

// Routes returns the route table.
func (a *API) Routes() []Route { return a.routes }

// ServeHTTP answers a request.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r = tidy(r)
	if !a.guardSession(w, r) {
		return
	}
	handler, pattern := a.mux.Handler(r)
	if pattern != "" {
		a.mux.ServeHTTP(w, r)
		return
	}
	verdict := &discard{header: http.Header{}}
	handler.ServeHTTP(verdict, r)
	if verdict.status == http.StatusMethodNotAllowed {
		w.Header().Set("Allow", verdict.header.Get("Allow"))
		writeError(w, http.StatusMethodNotAllowed, codeMethodNotAllowed, "method "+r.Method+" is not allowed here")
		return
	}
	writeError(w, http.StatusNotFound, codeNotFound, "there is nothing at "+r.URL.Path)
}

// RouteOf returns the operation that a request is for, "" when there is none; for metrics and logs.
func (a *API) RouteOf(r *http.Request) string {
	_, pattern := a.mux.Handler(tidy(r))
	for i := range a.routes {
		if a.routes[i].Method+" "+Prefix+a.routes[i].Path == pattern {
			return a.routes[i].ID
		}
	}
	return ""
}

// discard is the answer of a handler that is asked for its verdict only.
type discard struct {
	header http.Header
	status int
	bytes.Buffer
}

// Header returns the header.
func (d *discard) Header() http.Header { return d.header }

// WriteHeader notes the status.
func (d *discard) WriteHeader(status int) { d.status = status }

// tidy returns the request without double slashes in its path and without one at its end: clients send both.
func tidy(r *http.Request) *http.Request {
	escaped := r.URL.EscapedPath()
	if !strings.Contains(escaped, "//") && (len(escaped) < 2 || !strings.HasSuffix(escaped, "/")) {
		return r
	}
	parts := strings.FieldsFunc(escaped, func(c rune) bool { return c == '/' })
	u, err := r.URL.Parse("/" + strings.Join(parts, "/"))
	if err != nil {
		return r
	}
	tidied := r.WithContext(r.Context())
	u.RawQuery = r.URL.RawQuery
	tidied.URL = u
	return tidied
}

func connectionBase(r *http.Request) string {
	if r.TLS != nil {
		return "https://" + r.Host
	}
	return "http://" + r.Host
}

func connectionAddress(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// actor is who causes the changes of a request.
func (c *Call) actor() event.Actor {
	return event.Actor{
		Name: c.Principal.Name, Credential: c.Credential,
		RequestID: c.api.options.RequestID(c.Context()), Address: c.api.options.Address(c.Request),
	}
}
