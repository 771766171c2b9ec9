package api

import (
	"errors"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/identity"
	"github.com/berth-registry/berth/identity/oidc"
	"github.com/berth-registry/berth/policy"
)

// Where browsers log in through a provider.
const (
	oidcPath         = "/c/oidc"
	oidcLoginPath    = oidcPath + "/login"
	oidcCallbackPath = oidcPath + "/callback"
	oidcOnboardPath  = oidcPath + "/onboard"
)

const (
	// attemptCookie begins the names of the cookies of logins on their way; the state follows, so that two tabs do not meet.
	attemptCookie    = "oidc_"
	onboardingCookie = "oidc_onboarding"
)

func (a *API) oidcRoutes() []Route {
	return []Route{
		define(Route{
			ID: "pingOIDC", Tag: "oidc", Method: http.MethodPost, Path: "/system/oidc/ping",
			Summary:    "Tells whether an OpenID Connect provider can be reached and used",
			Permission: inSystem("configuration", policy.Update), Statuses: []int{400, 401, 403, 500},
		}, a.pingOIDC),
	}
}

// pingOIDCInput is the body of pingOIDC.
type pingOIDCInput struct {
	Body struct {
		URL        string `json:"url" doc:"the provider's issuer"`
		VerifyCert bool   `json:"verify_cert,omitempty" doc:"whether its certificate must hold"`
	} `body:""`
}

func (a *API) pingOIDC(c *Call, in pingOIDCInput) (None, error) {
	return None{}, a.options.OIDC.Ping(c.Context(), in.Body.URL, in.Body.VerifyCert)
}

func (a *API) oidcEntrances() []entrance {
	return []entrance{
		{"oidcLogin", http.MethodGet, oidcLoginPath, a.beginOIDC},
		{"oidcCallback", http.MethodGet, oidcCallbackPath, a.finishOIDC},
		{"oidcLogout", http.MethodGet, oidcPath + "/logout", a.logoutOIDC},
		{"oidcOnboarding", http.MethodGet, oidcOnboardPath, a.askName},
		{"oidcOnboard", http.MethodPost, oidcOnboardPath, a.onboardOIDC},
	}
}

// byToken proves callers by a token that somebody else has signed.
type byToken struct {
	*API
	source identity.TokenSource
}

// Authenticate reads the Authorization header.
func (a byToken) Authenticate(_ http.ResponseWriter, r *http.Request) (Caller, bool, error) {
	offered, err := identity.ParseAuthorization(r.Header.Values("Authorization"))
	if err != nil || offered.Bearer == "" {
		return Caller{}, false, nil //nolint:nilerr // what cannot be understood proves nothing
	}
	principal, err := a.source.AuthenticateToken(r.Context(), offered.Bearer)
	if errors.Is(err, identity.ErrUnknown) || errors.Is(err, identity.ErrCredentials) {
		return Caller{}, false, nil
	}
	if err != nil {
		return Caller{}, false, loginFailure(err)
	}
	return Caller{Principal: principal, Credential: credentialIDToken}, true, nil
}

// beginOIDC sends the browser to the provider.
func (a *API) beginOIDC(c *Call) error {
	begun, err := a.options.OIDC.Begin(c.Context(), a.options.Base(c.Request)+oidcCallbackPath, ownPath(c.URL.Query().Get("redirect_url")))
	if err != nil {
		return err
	}
	c.keep(attemptCookie+begun.State, begun.Sealed, int(oidc.LoginLifetime.Seconds()))
	http.Redirect(c.writer, c.Request, begun.Location, http.StatusFound)
	return nil
}

// finishOIDC takes the browser back from the provider.
func (a *API) finishOIDC(c *Call) error {
	answer := c.URL.Query()
	name := attemptCookie + answer.Get("state")
	kept, err := c.Cookie(name)
	if err != nil {
		kept = &http.Cookie{}
	}
	outcome, err := a.options.OIDC.Finish(c.Context(), c.visitor(), kept.Value, answer, sessionToken(c.Request))
	if err != nil {
		return err
	}
	c.keep(name, "", -1)
	if outcome.Session == "" {
		c.keep(onboardingCookie, outcome.Onboarding, int(oidc.OnboardingLifetime.Seconds()))
		query := url.Values{"username": {outcome.Name}}
		if outcome.Taken {
			query.Set("taken", "true")
		}
		http.Redirect(c.writer, c.Request, oidcOnboardPath+"?"+query.Encode(), http.StatusFound)
		return nil
	}
	c.enter(outcome.Session)
	http.Redirect(c.writer, c.Request, outcome.Back, http.StatusFound)
	return nil
}

// askName shows the form in which who comes for the first time chooses a name.
func (a *API) askName(c *Call) error {
	query := c.URL.Query()
	form := page{Title: "Choose your user name", Name: query.Get("username"), Form: oidcOnboardPath}
	if query.Get("taken") == "true" {
		form.Message = "Somebody else has this name already: choose another."
	}
	c.show(http.StatusOK, form)
	return nil
}

// onboardOIDC takes the name: from the form, or as Harbor's console sends it, in JSON.
func (a *API) onboardOIDC(c *Call) error {
	name, form, err := c.chosenName()
	if err != nil {
		return err
	}
	waiting, err := c.Cookie(onboardingCookie)
	if err != nil {
		waiting = &http.Cookie{}
	}
	session, back, err := a.options.OIDC.Onboard(c.Context(), c.visitor(), waiting.Value, name, sessionToken(c.Request))
	if kind := fault.Of(err); form && (kind == fault.Conflict || kind == fault.Invalid) {
		status, _, message := classify(err)
		c.show(status, page{Title: "Choose your user name", Message: message, Name: name, Form: oidcOnboardPath})
		return nil
	}
	if err != nil {
		return err
	}
	c.keep(onboardingCookie, "", -1)
	c.enter(session)
	if form {
		http.Redirect(c.writer, c.Request, back, http.StatusSeeOther)
	}
	return nil
}

// chosenName reads the name, and whether it came from the form.
func (c *Call) chosenName() (name string, form bool, err error) {
	if mediaType, _, _ := mime.ParseMediaType(c.Request.Header.Get("Content-Type")); mediaType != contentJSON {
		err = c.parseForm()
		return c.PostForm.Get("username"), true, err
	}
	var chosen struct {
		Name string `json:"username"`
	}
	err = c.readBody(&chosen, false)
	return chosen.Name, false, err
}

// logoutOIDC ends the browser's session, and the one at the provider where the settings say so.
func (a *API) logoutOIDC(c *Call) error {
	idToken, err := a.endSession(c)
	if err != nil {
		return err
	}
	location := "/"
	if idToken != "" {
		if there := a.options.OIDC.LogoutURL(c.Context(), idToken, a.options.Base(c.Request)+"/"); there != "" {
			location = there
		}
	}
	http.Redirect(c.writer, c.Request, location, http.StatusFound)
	return nil
}

// keep gives the browser a cookie for its way through a login, or takes it away when the age is negative.
func (c *Call) keep(name, value string, age int) {
	cookie := c.api.cookie(c.Request, name, value) //nolint:gosec // has what it needs
	cookie.Path, cookie.MaxAge = oidcPath, age
	http.SetCookie(c.writer, cookie)
}

// ownPath returns the path that is to be visited after a login when it is one of this server, else that of its first page.
func ownPath(path string) string {
	strange := func(r rune) bool { return r <= ' ' || r == '\\' || r == 0x7f }
	target, err := url.Parse(path)
	if err != nil || !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") || target.Host != "" || target.Scheme != "" ||
		strings.ContainsFunc(path, strange) {
		return "/"
	}
	return path
}
