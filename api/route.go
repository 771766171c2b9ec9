package api

import (
	"net/http"
	"reflect"

	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/policy"
)

// Scope says where a route's permission is asked for.
type Scope int

// The scopes.
const (
	// ScopeSystem: on the registry itself.
	ScopeSystem Scope = iota + 1
	// ScopeProject: in the project that the path names.
	ScopeProject
	// ScopeRow: on what the handler reads first, such as the project of a label; it calls [Call.Authorize] itself.
	ScopeRow
)

// Permission is what a caller needs.
type Permission struct {
	Scope    Scope
	Resource string
	Action   policy.Action
}

// Route is a row of the route table.
type Route struct {
	// ID is the name of the operation, Tag that of the group it belongs to in the description.
	ID, Tag string
	Method  string
	// Path is below [Prefix], with parameters in braces.
	Path       string
	Summary    string
	Permission Permission
	// InReadOnly lets a route that is no GET answer in read-only mode as well.
	InReadOnly bool
	// Statuses are those of refusals; the one of success is that of the result's type.
	Statuses []int
	// Produces are the content types of a [Raw] answer; every other result has that of its type.
	Produces []string

	in, out reflect.Type
	handle  func(c *Call) (any, error)
}

// define completes a row with what answers it. In has the parameters as fields with the tags path, query and header, and the body
// as a field with the tag body.
func define[In, Out any](row Route, answer func(c *Call, in In) (Out, error)) Route {
	decoder := newDecoder[In](row)
	row.in, row.out = reflect.TypeFor[In](), reflect.TypeFor[Out]()
	row.handle = func(c *Call) (any, error) {
		in, err := decoder.decode(c)
		if err != nil {
			return nil, err
		}
		return answer(c, in)
	}
	return row
}

// Call is a request on its way through a route.
type Call struct {
	*http.Request
	Caller
	// Project is that of the path, where the route's scope is the project.
	Project metadata.Project

	api    *API
	route  *Route
	writer http.ResponseWriter
	// asked notes that policy has decided about the call.
	asked bool
}

// Header is that of the answer.
func (c *Call) Header() http.Header { return c.writer.Header() }

// handler answers a route: it authenticates, authorizes, calls and encodes.
func (a *API) handler(route Route) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c := &Call{Request: r, api: a, route: &route, writer: w}
		result, err := a.answer(c)
		if err == nil && !c.asked {
			panic("api: route " + route.ID + " has answered without a decision of policy")
		}
		if err != nil {
			c.recordRefusal(err)
			c.fail(err)
			return
		}
		c.write(result)
	}
}

func (a *API) answer(c *Call) (any, error) {
	err := c.authenticate()
	if err != nil {
		return nil, err
	}
	permission := c.route.Permission
	switch permission.Scope {
	case ScopeSystem:
		err = c.Authorize(permission.Action, policy.Resource{Kind: permission.Resource})
	case ScopeProject:
		err = c.enterProject(permission)
	}
	if err != nil {
		return nil, err
	}
	if c.Method != http.MethodGet && c.Method != http.MethodHead && !c.route.InReadOnly && a.readOnly(c.Context()) {
		return nil, errReadOnly
	}
	return c.route.handle(c)
}
