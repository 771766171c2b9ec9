package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/identity"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/policy"
)

// Caller is who a request is from, and through what they were proven.
type Caller struct {
	Principal identity.Principal
	// Credential is "basic", "session", …; "anonymous" for nobody.
	Credential string
}

// The credentials.
const (
	credentialBasic     = "basic"
	credentialAnonymous = "anonymous"
	credentialCommand   = "command"
	credentialSession   = "session"
	credentialIDToken   = "id_token"
)

// operatorKey marks the context of the operator's requests.
type operatorKey struct{}

// AsOperator returns a context whose requests are those of the operator of the machine, whatever credentials they carry: for
// requests that come by a way that nobody else has.
func AsOperator(ctx context.Context) context.Context {
	return context.WithValue(ctx, operatorKey{}, true)
}

// Authenticator proves callers by one kind of credential.
type Authenticator interface {
	// Authenticate reports false when the request has no credential of the kind, or one that does not hold: the next one is asked
	// then, and in the end the caller is anonymous. It returns an error when the request must not go on, or nobody can tell. It may
	// set headers of the answer.
	Authenticate(w http.ResponseWriter, r *http.Request) (Caller, bool, error)
}

// authenticate says who calls. Credentials that do not hold make nobody of the caller, who is told to log in where that is not
// enough; so Harbor's clients expect it. Too many wrong ones, and a directory that does not answer, are errors.
func (a *API) authenticate(w http.ResponseWriter, r *http.Request) (Caller, error) {
	if operated, _ := r.Context().Value(operatorKey{}).(bool); operated {
		return Caller{Principal: identity.Operator, Credential: credentialCommand}, nil
	}
	for _, authenticator := range a.options.Authenticators {
		caller, proven, err := authenticator.Authenticate(w, r)
		if err != nil || proven {
			return caller, err
		}
	}
	anonymous := Caller{Principal: identity.Anonymous, Credential: credentialAnonymous}
	offered, err := identity.ParseAuthorization(r.Header.Values("Authorization"))
	if err != nil || !offered.Basic {
		return anonymous, nil //nolint:nilerr // what cannot be understood proves nothing
	}
	principal, err := a.options.Login.Authenticate(r.Context(), identity.Credentials{
		Name: offered.Name, Secret: offered.Password, Address: a.options.Address(r),
	})
	switch {
	case errors.Is(err, identity.ErrCredentials), errors.Is(err, identity.ErrUnknown):
		return anonymous, nil
	case err != nil:
		return anonymous, loginFailure(err)
	}
	return Caller{Principal: principal, Credential: credentialBasic}, nil
}

// loginFailure is the error of a login that nobody could judge.
func loginFailure(err error) error {
	if _, throttled := errors.AsType[*identity.ThrottledError](err); throttled || fault.Of(err) == fault.Unavailable {
		return err
	}
	return fault.Because(err, fault.Unavailable, "who you are cannot be told for the moment: try again")
}

// Authorize returns nil when the caller may do the action: else 401 for nobody and 403 for somebody, with no word on whether the
// thing exists.
func (c *Call) Authorize(action policy.Action, resource policy.Resource) error {
	c.asked = true
	allowed, err := c.Allows(action, resource)
	if err != nil || allowed {
		return err
	}
	return c.refusal()
}

// Allows reports whether the caller may do the action, for handlers that show more to some than to others.
func (c *Call) Allows(action policy.Action, resource policy.Resource) (bool, error) {
	decision, err := c.api.options.Policy.Authorize(c.Context(), c.Principal, action, resource)
	if err != nil {
		return false, fault.Because(err, fault.Unavailable, "what you may do cannot be told for the moment: try again")
	}
	return decision.Allowed, nil
}

// view is the caller's view of listings of what lies in projects: of those in which they may do the action on the kind of resource.
func (c *Call) view(action policy.Action, kind string) (metadata.Visibility, error) {
	view, err := c.api.options.Policy.View(c.Context(), c.Principal, action, kind)
	if err != nil {
		return metadata.Visibility{}, fault.Because(err, fault.Unavailable, "what you may see cannot be told for the moment: try again")
	}
	return view, nil
}

// refusal is the answer to who may not.
func (c *Call) refusal() error {
	if c.Principal.Kind == identity.KindAnonymous {
		return errUnauthorized
	}
	return fault.New(fault.Forbidden, "%s may not do this", c.Principal.Name)
}

// errUnauthorized asks for a login.
var errUnauthorized = errors.New("log in first")

// The parameters of paths that name a project.
const (
	projectName     = "project_name"
	projectNameOrID = "project_name_or_id"
)

// enterProject reads the project of the path and asks for the permission in it. A project that does not exist is told to nobody but
// system administrators; everybody else is refused as in one that they may not see.
func (c *Call) enterProject(permission Permission) error {
	project, err := c.pathProject()
	return c.admit(project, err, unescaped(c.PathValue(projectName)+c.PathValue(projectNameOrID)), permission)
}

// admit does so for a project that was named and read, or could not be.
func (c *Call) admit(project metadata.Project, err error, named string, permission Permission) error {
	missing := isMissing(err)
	if err != nil && !missing {
		return fmt.Errorf("read project: %w", err)
	}
	if missing {
		c.asked = true
		if c.Principal.SystemAdmin {
			return fault.New(fault.NotFound, "project %s not found", named)
		}
		return c.refusal()
	}
	c.Project = project
	return c.Authorize(permission.Action, policy.Resource{Project: project.Name, Kind: permission.Resource})
}

// pathProject returns the project of the path: digits are an id, unless the client says that they are a name.
func (c *Call) pathProject() (metadata.Project, error) {
	store := c.api.options.Store
	named := unescaped(c.PathValue(projectName) + c.PathValue(projectNameOrID))
	isName, _ := strconv.ParseBool(c.Request.Header.Get("X-Is-Resource-Name"))
	if !isName && c.PathValue(projectName) == "" {
		if id, err := strconv.ParseInt(named, 10, 64); err == nil {
			return store.ProjectByID(c.Context(), id)
		}
	}
	if strings.ContainsRune(named, 0) || !utf8.ValidString(named) { // a database takes no such text
		return metadata.Project{}, metadata.ErrNotFound
	}
	return store.Project(c.Context(), named)
}
