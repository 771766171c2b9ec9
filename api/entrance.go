package api

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/identity"
	"github.com/berth-registry/berth/setting"
)

// EntrancePrefix is where browsers log in and out, beside [Prefix].
const EntrancePrefix = "/c"

// entrance is a path below [EntrancePrefix]. Everybody may use it: what it is for is to find out who somebody is. Its answers are
// cookies, redirects and pages.
type entrance struct {
	id, method, path string
	answer           func(c *Call) error
}

// entrances are all of them.
func (a *API) entrances() []entrance {
	return append(a.sessionEntrances(), a.oidcEntrances()...)
}

// maxForm is the longest form that is read, in bytes; a password may be a token.
const maxForm = 64 << 10

// enterBy answers at an entrance. Forms that another site has made a browser send are refused, or it could log a person in as
// somebody else and see what they do.
func (a *API) enterBy(e entrance) http.HandlerFunc {
	route := &Route{ID: e.id}
	return func(w http.ResponseWriter, r *http.Request) {
		c := &Call{Request: r, api: a, route: route, writer: w}
		w.Header().Set("Cache-Control", "no-store")
		if err := a.origins.Check(r); err != nil && r.Header.Get("Origin") != a.options.Base(r) {
			c.fail(fault.Because(err, fault.Forbidden, "this form was sent by another site"))
			return
		}
		if err := e.answer(c); err != nil {
			c.fail(err)
		}
	}
}

// authenticate says who calls, as at a route.
func (c *Call) authenticate() error {
	caller, err := c.api.authenticate(c.writer, c.Request)
	if err != nil {
		return err
	}
	c.Caller = caller
	if caller.Principal.Kind != identity.KindAnonymous {
		c.api.options.Proven(c.Request, caller.Principal)
	}
	return nil
}

// parseForm reads the body into PostForm.
func (c *Call) parseForm() error {
	c.Body = http.MaxBytesReader(c.writer, c.Body, maxForm)
	err := c.ParseForm()
	if _, tooLong := errors.AsType[*http.MaxBytesError](err); tooLong {
		return &statusError{http.StatusRequestEntityTooLarge, codeTooLarge, fmt.Sprintf("the form is longer than %d bytes", maxForm)}
	}
	if err != nil {
		return fault.Because(err, fault.Invalid, "the form cannot be read")
	}
	return nil
}

// encrypted reports whether the client speaks TLS, to this server or to a proxy in front of it.
func (a *API) encrypted(r *http.Request) bool {
	return strings.HasPrefix(a.options.Base(r), "https://")
}

// registersUsers reports whether people may register themselves.
func (a *API) registersUsers(c *Call) (bool, error) {
	values, err := a.options.Settings.Values(c.Context())
	if err != nil {
		return false, fmt.Errorf("read settings: %w", err)
	}
	return values.On(setting.SelfRegistration), nil
}
