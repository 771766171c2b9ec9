package api

import (
	"errors"
	"net/http"
	"strconv"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/identity"
	"github.com/berth-registry/berth/identity/session"
	"github.com/berth-registry/berth/policy"
)

func (a *API) sessionRoutes() []Route {
	return []Route{
		define(Route{
			ID: "deleteCurrentUserSessions", Tag: "user", Method: http.MethodDelete, Path: "/users/current/sessions",
			Summary:    "Ends all sessions of the caller, in all browsers",
			Permission: inSystem("session", policy.Delete), InReadOnly: true, Statuses: []int{401, 403, 500},
		}, a.endSessions),
	}
}

func (a *API) sessionEntrances() []entrance {
	return []entrance{
		{"login", http.MethodPost, "/c/login", a.login},
		{"logout", http.MethodGet, "/c/log_out", a.logout},
		{"userExists", http.MethodPost, "/c/userExists", a.userExists},
	}
}

// bySession proves callers by the session of their browser.
type bySession struct{ *API }

// Authenticate reads the cookie. A request with an Authorization header means that one.
func (a bySession) Authenticate(_ http.ResponseWriter, r *http.Request) (Caller, bool, error) {
	token := sessionToken(r)
	if token == "" || r.Header.Get("Authorization") != "" {
		return Caller{}, false, nil
	}
	quiet, _ := strconv.ParseBool(r.Header.Get("X-Harbor-No-Session-Renewal"))
	principal, err := a.options.Sessions.Check(r.Context(), token, !quiet)
	if errors.Is(err, session.ErrNone) {
		return Caller{}, false, nil
	}
	if err != nil {
		return Caller{}, false, fault.Because(err, fault.Unavailable, "who you are cannot be told for the moment: try again")
	}
	return Caller{Principal: principal, Credential: credentialSession}, true, nil
}

// login begins a session. The form has principal and password.
func (a *API) login(c *Call) error {
	if err := c.parseForm(); err != nil {
		return err
	}
	token, err := a.options.Sessions.Login(c.Context(), c.visitor(), identity.Credentials{
		Name: c.PostForm.Get("principal"), Secret: c.PostForm.Get("password"), Address: a.options.Address(c.Request),
	}, sessionToken(c.Request))
	switch {
	case errors.Is(err, identity.ErrCredentials), errors.Is(err, identity.ErrUnknown):
		return a.refuseLogin(c)
	case err != nil:
		return loginFailure(err)
	}
	c.enter(token)
	return nil
}

// refuseLogin says no to a name and password. Where people log in at a provider, everybody is told where that begins, or else the answer
// would tell who exists.
func (a *API) refuseLogin(c *Call) error {
	elsewhere, err := a.options.OIDC.Leads(c.Context())
	if err != nil {
		return loginFailure(err)
	}
	if !elsewhere {
		return errCredentials
	}
	writeJSON(c.writer, http.StatusForbidden, struct {
		Location string `json:"redirect_location"`
	}{a.options.Base(c.Request) + oidcLoginPath})
	return nil
}

// errCredentials says no to a login.
var errCredentials = &statusError{http.StatusUnauthorized, codeUnauthorized, identity.ErrCredentials.Error()}

// enter gives the browser its session, and the token that goes with it.
func (c *Call) enter(token string) {
	http.SetCookie(c.writer, c.api.cookie(c.Request, sessionCookie, token))
	c.api.tellCSRFToken(c.writer, c.Request, token, "")
}

// leave takes the session's cookie away from the browser.
func (c *Call) leave() {
	for _, name := range []string{sessionCookie, csrfCookie} {
		gone := c.api.cookie(c.Request, name, "") //nolint:gosec // has what it needs
		gone.MaxAge = -1
		http.SetCookie(c.writer, gone)
	}
	c.Header().Del(csrfHeader)
}

// logout ends the browser's session.
func (a *API) logout(c *Call) error {
	_, err := a.endSession(c)
	return err
}

// endSession ends the browser's session and returns the ID token that it began with, "" for none.
func (a *API) endSession(c *Call) (idToken string, err error) {
	if token := sessionToken(c.Request); token != "" {
		if idToken, err = a.options.Sessions.End(c.Context(), c.visitor(), token); err != nil {
			return "", err
		}
	}
	c.leave()
	return idToken, nil
}

func (a *API) endSessions(c *Call, _ struct{}) (None, error) {
	if err := a.options.Sessions.EndAll(c.Context(), c.actor(), c.Principal.UserID()); err != nil {
		return None{}, err
	}
	c.leave()
	return None{}, nil
}

// userExists tells whether the value of the form is taken, which target says: as a username or as an email. It tells those who may
// list users, and everybody where everybody may register.
func (a *API) userExists(c *Call) error {
	if err := c.parseForm(); err != nil {
		return err
	}
	if err := c.authenticate(); err != nil {
		return err
	}
	allowed, err := c.Allows(policy.List, policy.Resource{Kind: "user"})
	if err == nil && !allowed {
		allowed, err = a.registersUsers(c)
	}
	if err != nil {
		return err
	}
	if !allowed {
		return fault.New(fault.Precondition, "only system administrators may ask who exists where people cannot register themselves")
	}
	exists := false
	switch value := c.Form.Get("value"); c.Form.Get("target") {
	case "username":
		exists, err = a.options.Store.UserExists(c.Context(), value)
	case "email":
		exists, err = a.options.Store.EmailExists(c.Context(), value)
	default:
		err = fault.New(fault.Invalid, "target must be username or email")
	}
	if err != nil {
		return err
	}
	writeJSON(c.writer, http.StatusOK, exists)
	return nil
}

// visitor is who causes what happens at an entrance; their name comes from what they show there.
func (c *Call) visitor() event.Actor {
	return event.Actor{RequestID: c.api.options.RequestID(c.Context()), Address: c.api.options.Address(c.Request)}
}
