package e2e_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/e2e/harness"
	"github.com/berth-registry/berth/identity/ldap/ldaptest"
	"github.com/berth-registry/berth/identity/oidc/oidctest"
)

// planted are the secrets of a test: each with the number of the answer that hands it out, which is the only one to have it.
type planted struct {
	*observed
	secrets map[string]string
	handed  map[string]int
}

// plant notes a secret that the registry is given.
func (p *planted) plant(name, secret string) string {
	p.Helper()
	require.Greater(p, len(secret), 10, "%s would be found anywhere", name)
	p.secrets[name], p.handed[name] = secret, -1
	return secret
}

// receive notes a secret that the last answer handed out.
func (p *planted) receive(name, secret string) string {
	p.plant(name, secret)
	p.handed[name] = len(p.answers) - 1
	return secret
}

// call asks the API, with JSON unless the body is none, and wants the status, 0 for whichever.
func (p *planted) call(status int, method, path, body string, edits ...func(*http.Request)) observedAnswer {
	p.Helper()
	answer := p.ask(p.h1, method, path, strings.NewReader(body), append(edits, header("Content-Type", "application/json"))...)
	if status != 0 {
		require.Equal(p, status, answer.status, "%s %s: %s", method, path, answer.body)
	}
	return answer
}

func decode[T any](t *testing.T, text string) (value T) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(text), &value), text)
	return value
}

// TestObserve_secretsOfPeopleStayOut gives the registry every kind of secret that people and programs have, rightly and wrongly, and
// looks for it in all answers, the audit log, the log with debugging on, metrics, traces, and the files in the data directory.
func TestObserve_secretsOfPeopleStayOut(t *testing.T) {
	stack := harness.Directory(t)
	directory := ldaptest.Start(t)
	p := &planted{observe(t, stack, stack.Block), map[string]string{}, map[string]int{}}
	provider := oidctest.Start(t, false, p.base+"/c/oidc/callback", p.base+"/", oidctest.User{ID: clara, Name: "clara", Email: "clara@example.org"})
	admin := basic("admin", p.plant("administrator's password", harness.AdminPassword))

	p.locals(admin)
	p.robots(admin)
	p.directory(admin, directory)
	session := p.provider(admin, provider)
	p.standIns(session)
	p.elsewhere(admin)
	p.blunders(admin)
	p.look(admin)

	last := p.call(http.StatusOK, http.MethodGet, "/api/v2.0/ping", "")
	p.accessLog(last.header.Get("X-Request-Id"))
	kept := map[string]string{"the log": p.process.Log(), "the metrics": p.scrape(), "the traces": p.spans.text(), "the configuration": p.configuration()}
	p.process.Stop() // what was still in memory is on the disk now
	files := 0
	require.NoError(t, filepath.WalkDir(stack.Directory, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		kept["the file "+entry.Name()] = string(content)
		files++
		return err
	}))
	require.Greater(t, files, 1)
	for what, secret := range p.secrets {
		for where, text := range kept {
			for _, form := range []string{secret, url.QueryEscape(secret)} {
				if at := strings.Index(text, form); at >= 0 {
					require.Failf(t, "a secret is kept", "the %s is in %s: …%s…", what, where, fmt.Sprintf("%q", text[max(0, at-300):min(len(text), at+300)]))
				}
			}
		}
		for i, answer := range p.answers {
			if i != p.handed[what] {
				require.Falsef(t, strings.Contains(fmt.Sprint(answer.header, answer.body), secret), "the %s is in the answer %d to %s %s: %s",
					what, answer.status, answer.method, answer.path, answer.body)
			}
		}
	}
}

// locals plants what local users have.
func (p *planted) locals(admin func(*http.Request)) {
	first, second := p.plant("password", "Local-P4ss-first"), p.plant("new password", "Local-P4ss-second")
	created := p.call(http.StatusCreated, http.MethodPost, "/api/v2.0/users", `{"username":"dora","email":"d@example.org","password":"`+first+`"}`, admin)
	path := created.header.Get("Location")
	for _, weak := range []string{p.plant("weak password", "weak-password-without"), p.plant("endless password", strings.Repeat("Endless1", 40))} {
		p.call(http.StatusBadRequest, http.MethodPost, "/api/v2.0/users", `{"username":"erik","email":"e@example.org","password":"`+weak+`"}`, admin)
		p.call(http.StatusBadRequest, http.MethodPut, path+"/password", `{"new_password":"`+weak+`"}`, admin)
	}
	p.call(http.StatusForbidden, http.MethodPut, path+"/password",
		`{"old_password":"`+p.plant("wrong old password", "Local-P4ss-wrong")+`","new_password":"`+second+`"}`, basic("dora", first))
	p.call(http.StatusOK, http.MethodPut, path+"/password", `{"old_password":"`+first+`","new_password":"`+second+`"}`, basic("dora", first))
	p.call(http.StatusOK, http.MethodGet, "/api/v2.0/users/current", "", basic("dora", second))
	p.call(http.StatusUnauthorized, http.MethodGet, "/api/v2.0/users/current", "", basic("dora", first))
	form := header("Content-Type", "application/x-www-form-urlencoded")
	p.ask(p.h1, http.MethodPost, "/c/login", strings.NewReader(url.Values{"principal": {"dora"}, "password": {first}}.Encode()), form)
	entered := p.ask(p.h1, http.MethodPost, "/c/login", strings.NewReader(url.Values{"principal": {"dora"}, "password": {second}}.Encode()), form)
	require.Equal(p, http.StatusOK, entered.status, entered.body)
	sid := p.receive("session", cookieOf(entered, "sid"))
	p.call(http.StatusOK, http.MethodGet, "/api/v2.0/users/current", "", header("Cookie", "sid="+sid))
	p.call(http.StatusForbidden, http.MethodDelete, "/api/v2.0/users/current/sessions", "", header("Cookie", "sid="+sid))
	p.call(0, http.MethodGet, "/c/log_out", "", header("Cookie", "sid="+sid))
	p.call(http.StatusUnauthorized, http.MethodGet, "/api/v2.0/users/current", "", header("Cookie", "sid="+sid))
}

// cookieOf returns the value of a cookie that an answer sets.
func cookieOf(answer observedAnswer, name string) string {
	for _, cookie := range (&http.Response{Header: answer.header}).Cookies() {
		if cookie.Name == name {
			return cookie.Value
		}
	}
	return ""
}

// robots plants the secrets of a robot account: those that are made, and those that are chosen.
func (p *planted) robots(admin func(*http.Request)) {
	robot := `{"name":"ci","level":"system","duration":1,"permissions":[{"kind":"system","namespace":"/","access":[{"resource":"user","action":"list"}]}]}`
	made := p.call(http.StatusCreated, http.MethodPost, "/api/v2.0/robots", robot, admin)
	first := p.receive("robot's secret", decode[struct{ Secret string }](p.T, made.body).Secret)
	path := made.header.Get("Location")
	p.call(http.StatusOK, http.MethodGet, "/api/v2.0/users", "", basic("robot$ci", first))
	refreshed := p.call(http.StatusOK, http.MethodPatch, path, `{"secret":""}`, admin)
	p.receive("robot's new secret", decode[struct{ Secret string }](p.T, refreshed.body).Secret)
	p.call(http.StatusUnauthorized, http.MethodGet, "/api/v2.0/users", "", basic("robot$ci", first))
	p.call(http.StatusBadRequest, http.MethodPatch, path, `{"secret":"`+p.plant("robot's weak secret", "weak-secret-without")+`"}`, admin)
	chosen := p.plant("robot's chosen secret", "Robot-S3cret-chosen")
	p.call(http.StatusOK, http.MethodPatch, path, `{"secret":"`+chosen+`"}`, admin)
	p.call(http.StatusOK, http.MethodGet, "/api/v2.0/users", "", basic("robot-ci", chosen))
	p.call(http.StatusOK, http.MethodGet, path, "", admin)
}

// directory plants the passwords that the registry and its people have at the directory.
func (p *planted) directory(admin func(*http.Request), server *ldaptest.Server) {
	configure := func(password string) {
		p.Helper()
		settings, err := json.Marshal(map[string]any{
			"ldap_url": server.URL, "ldap_base_dn": ldaptest.BaseDN, "ldap_uid": "uid", "ldap_search_dn": ldaptest.ReaderDN, "ldap_search_password": password,
		})
		require.NoError(p, err)
		p.call(http.StatusOK, http.MethodPut, "/api/v2.0/configurations", string(settings), admin)
		p.call(http.StatusOK, http.MethodPost, "/api/v2.0/ldap/ping", string(settings), admin)
		p.call(http.StatusOK, http.MethodPost, "/api/v2.0/ldap/ping", "", admin)
	}
	configure(p.plant("wrong password of the registry at the directory", "Reader-P4ss-wrong"))
	alice := p.plant("password at the directory", ldaptest.Password("alice"))
	p.call(http.StatusServiceUnavailable, http.MethodGet, "/api/v2.0/users/current", "", basic("alice", alice))
	p.call(0, http.MethodGet, "/api/v2.0/ldap/users/search?username=a", "", admin)
	configure(p.plant("password of the registry at the directory", ldaptest.ReaderPassword))
	require.Eventually(p, func() bool {
		return p.call(0, http.MethodGet, "/api/v2.0/users/current", "", basic("alice", alice)).status == http.StatusOK
	}, time.Minute, 50*time.Millisecond)
	p.call(http.StatusUnauthorized, http.MethodGet, "/api/v2.0/users/current", "", basic("alice", p.plant("wrong password at the directory", "Alice-P4ss-wrong")))
	server.Stop()
	p.call(http.StatusServiceUnavailable, http.MethodGet, "/api/v2.0/users/current", "", basic("bob", p.plant("another's password at the directory", ldaptest.Password("bob"))))
	server.Restart(p)
}

// provider plants what a login through a provider carries, and returns the session.
func (p *planted) provider(admin func(*http.Request), provider *oidctest.Provider) func(*http.Request) {
	settings, err := json.Marshal(map[string]any{
		"oidc_endpoint": provider.Issuer, "oidc_client_id": oidctest.ClientID, "oidc_client_secret": p.plant("secret at the provider", oidctest.ClientSecret),
		"oidc_auto_onboard": true, "oidc_name": "company",
	})
	require.NoError(p, err)
	p.call(http.StatusOK, http.MethodPut, "/api/v2.0/configurations", string(settings), admin)
	begun := p.call(http.StatusFound, http.MethodGet, "/c/oidc/login", "")
	back := provider.Login(p, begun.header.Get("Location"), "clara")
	cookies := begun.header.Values("Set-Cookie")
	require.Len(p, cookies, 1)
	attempt, _, _ := strings.Cut(cookies[0], ";")
	p.receive("sealed attempt", strings.SplitN(attempt, "=", 2)[1])
	entered := p.call(http.StatusFound, http.MethodGet, back.RequestURI(), "", header("Cookie", attempt))
	sid := p.receive("session through the provider", cookieOf(entered, "sid"))
	p.call(http.StatusBadRequest, http.MethodGet, back.RequestURI(), "", header("Cookie", attempt))
	good := provider.Sign(provider.Claims(clara))
	p.plant("ID token", signatureOf(good))
	p.call(http.StatusOK, http.MethodGet, "/api/v2.0/users/current", "", bearer(good))
	forged := provider.Forge(provider.Claims(clara))
	p.plant("forged ID token", signatureOf(forged))
	p.call(http.StatusUnauthorized, http.MethodGet, "/api/v2.0/users/current", "", bearer(forged))
	told := p.call(http.StatusOK, http.MethodGet, "/api/v2.0/users/current", "", header("Cookie", "sid="+sid))
	nonce := cookieOf(told, "_gorilla_csrf")
	return func(r *http.Request) {
		r.Header.Set("Cookie", "sid="+sid+"; _gorilla_csrf="+nonce)
		r.Header.Set("X-Harbor-Csrf-Token", told.header.Get("X-Harbor-Csrf-Token"))
	}
}

// clara is the subject of the person whom the provider proves.
const clara = "id-clara"

// standIns plants what stands in for passwords.
func (p *planted) standIns(session func(*http.Request)) {
	made := p.call(http.StatusCreated, http.MethodPost, "/api/v2.0/users/current/tokens", `{"name":"laptop","scopes":["pull","read"]}`, session)
	token := p.receive("access token", decode[struct{ Secret string }](p.T, made.body).Secret)
	p.call(http.StatusOK, http.MethodGet, "/api/v2.0/users/current", "", basic("clara", token))
	p.call(http.StatusUnauthorized, http.MethodGet, "/api/v2.0/users/current", "", basic("dora", token))
	p.call(http.StatusUnauthorized, http.MethodGet, "/api/v2.0/users/current", "", bearer(token))
	p.call(http.StatusUnauthorized, http.MethodGet, "/api/v2.0/users/current", "", basic("clara", p.plant("access token that is none", token[:len(token)-5]+"XXXXX")))
	own := fmt.Sprintf("/api/v2.0/users/%d/cli_secret", decode[struct {
		ID int64 `json:"user_id"`
	}](p.T, p.call(http.StatusOK, http.MethodGet, "/api/v2.0/users/current", "", session).body).ID)
	p.call(http.StatusBadRequest, http.MethodPut, own, `{"secret":"`+p.plant("weak secret for command lines", "weak-line-without")+`"}`, session)
	line := p.plant("secret for command lines", "Command-line-S3cret")
	p.call(http.StatusOK, http.MethodPut, own, `{"secret":"`+line+`"}`, session)
	p.call(http.StatusOK, http.MethodGet, "/api/v2.0/users/current", "", basic("clara", line))
	issued := p.ask(p.h1, http.MethodGet, "/service/token?service=berth&scope=repository:library/app:pull", nil, basic("clara", token))
	require.Equal(p, http.StatusOK, issued.status, issued.body)
	p.receive("token of /v2", signatureOf(decode[struct{ Token string }](p.T, issued.body).Token))
}

// elsewhere plants the registry's credentials at another one.
func (p *planted) elsewhere(admin func(*http.Request)) {
	for i, secret := range []string{p.plant("secret at another registry", "Elsewhere-S3cret-1"), p.plant("new secret at another registry", "Elsewhere-S3cret-2")} {
		body := fmt.Sprintf(`{"name":"hub-%d","type":"docker-registry","url":"https://registry.invalid","credential":{"type":"basic","access_key":"berth","access_secret":%q}}`, i, secret)
		p.call(0, http.MethodPost, "/api/v2.0/registries", body, admin)
		p.call(0, http.MethodPost, "/api/v2.0/registries/ping", body, admin)
		p.call(0, http.MethodPut, "/api/v2.0/registries/1", fmt.Sprintf(`{"access_secret":%q}`, secret), admin)
	}
}

// blunders plants secrets where they are not expected, or in what cannot be read.
func (p *planted) blunders(admin func(*http.Request)) {
	for name, body := range map[string]string{
		"number":           `{"ldap_search_password":` + p.plant("secret that is a number", "735273527352735") + `}`,
		"list":             `{"oidc_client_secret":["` + p.plant("secret in a list", "Listed-S3cret") + `"]}`,
		"broken":           `{"ldap_search_password":"` + p.plant("secret in broken JSON", "Broken-S3cret"),
		"not JSON":         p.plant("secret for a body", "Naked-S3cret-1"),
		"unknown key":      `{"` + p.plant("secret for a key", "Key-S3cret-one") + `":true}`,
		"too long a value": `{"ldap_search_password":"` + p.plant("endless secret", strings.Repeat("Endless-S3cret", 3000)) + `"}`,
	} {
		answer := p.call(0, http.MethodPut, "/api/v2.0/configurations", body, admin)
		require.Less(p, answer.status, http.StatusInternalServerError, name)
	}
	p.call(http.StatusUnauthorized, http.MethodGet, "/api/v2.0/users/current", "", header("Authorization", p.plant("secret without a scheme", "Bare-S3cret-1")))
	p.call(0, http.MethodGet, "/api/v2.0/users/current", "", header("Cookie", "sid="+p.plant("session that is none", "Cookie-S3cret-1")))
}

// look reads all that administrators can read without naming it, and the whole audit log.
func (p *planted) look(admin func(*http.Request)) {
	description := decode[struct {
		Paths map[string]map[string]any
	}](p.T, p.call(http.StatusOK, http.MethodGet, "/api/v2.0/openapi.json", "").body)
	read := 0
	for path, methods := range description.Paths {
		if _, reads := methods["get"]; !reads || strings.Contains(path, "{") {
			continue
		}
		path = "/api/v2.0" + strings.TrimPrefix(path, "/api/v2.0")
		if p.call(0, http.MethodGet, path+"?page_size=100", "", admin).status == http.StatusOK {
			read++
		}
	}
	require.Greater(p, read, 15)
	require.Eventually(p, func() bool {
		body := p.call(http.StatusOK, http.MethodGet, "/api/v2.0/auditlog-exts?page_size=100", "", admin).body
		return strings.Contains(body, "laptop") && strings.Contains(body, "robot$ci")
	}, time.Minute, 100*time.Millisecond, "the audit log has not come")
}
