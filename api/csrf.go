package api

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strings"
)

// What requests of browsers carry. A browser sends its cookies along with requests that other sites have made it send; what those
// cannot do is read an answer, and set a header from it.
const (
	sessionCookie = "sid"
	// csrfCookie and csrfHeader have the names that Harbor's clients look for.
	csrfCookie = "_gorilla_csrf"
	csrfHeader = "X-Harbor-Csrf-Token"
)

// guardSession lets a request pass that carries no session, changes nothing, or shows the token of its session; else it answers
// with 403. Every request with a session is told the token, also by the refusal: the client repeats the request with it.
func (a *API) guardSession(w http.ResponseWriter, r *http.Request) bool {
	session := sessionToken(r)
	if session == "" {
		return true
	}
	nonce := ""
	if cookie, err := r.Cookie(csrfCookie); err == nil {
		nonce = cookie.Value
	}
	right := nonce != "" && hmac.Equal([]byte(r.Header.Get(csrfHeader)), []byte(csrfToken(session, nonce)))
	a.tellCSRFToken(w, r, session, nonce)
	if right || safe(r.Method) || strings.HasPrefix(r.URL.Path, EntrancePrefix+"/") { // entrances see to it themselves
		return true
	}
	writeError(w, http.StatusForbidden, codeForbidden, "the request comes with the cookie of a session and without its token: send the "+
		"answer's "+csrfHeader+" and cookies with the request")
	return false
}

// tellCSRFToken sets the header, and the cookie that it belongs to where the browser has none.
func (a *API) tellCSRFToken(w http.ResponseWriter, r *http.Request, session, nonce string) {
	if nonce == "" {
		nonce = rand.Text()
		http.SetCookie(w, a.cookie(r, csrfCookie, nonce))
	}
	w.Header().Set(csrfHeader, csrfToken(session, nonce))
}

// csrfToken is made from the session's own token, so that every gateway knows it and no other session has it.
func csrfToken(session, nonce string) string {
	mac := hmac.New(sha256.New, []byte(session))
	mac.Write([]byte("csrf " + nonce))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func safe(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions || method == http.MethodTrace
}

// sessionToken is the token in the request's cookie, "" for none.
func sessionToken(r *http.Request) string {
	cookie, err := r.Cookie(sessionCookie)
	if err != nil {
		return ""
	}
	return cookie.Value
}

// cookie is one for the whole registry, out of reach of scripts, and sent by links from elsewhere but not by their forms.
func (a *API) cookie(r *http.Request, name, value string) *http.Cookie {
	return &http.Cookie{ //nolint:gosec // Secure wherever the request came encrypted
		Name: name, Value: value, Path: "/", HttpOnly: true, Secure: a.encrypted(r), SameSite: http.SameSiteLaxMode,
	}
}
