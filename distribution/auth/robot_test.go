package auth_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/distribution/auth"
	"github.com/berth-registry/berth/identity"
	"github.com/berth-registry/berth/identity/personal"
	"github.com/berth-registry/berth/identity/robot"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/policy"
)

// addRobot makes a robot named "ci" of the project closed, with actions on its repositories.
func (f *fixture) addRobot(t *testing.T, actions ...string) (metadata.Robot, string) {
	t.Helper()
	project, err := f.store.Project(t.Context(), "closed")
	require.NoError(t, err)
	grant := robot.Grant{Namespace: "closed"}
	for _, action := range actions {
		grant.Rights = append(grant.Rights, robot.Right{Resource: "repository", Action: action})
	}
	made, secret, err := f.robots.Create(t.Context(), local0, identity.Principal{Kind: identity.KindUser}, robot.NewRobot{
		Name: "ci", Project: project, Duration: robot.Forever, Grants: []robot.Grant{grant},
	})
	require.NoError(t, err)
	return made, secret
}

// askToken asks for all actions on a repository with a name and secret, as docker does, for good.
func (f *fixture) askToken(t *testing.T, name, secret, repository string) answer {
	t.Helper()
	query := url.Values{"service": {"berth"}, "scope": {"repository:" + repository + ":*"}, "offline_token": {"true"}}
	return f.get(t, auth.TokenPath+"?"+query.Encode(), basic(name, secret))
}

func TestGate_robots(t *testing.T) {
	f := newFixture(t)
	made, secret := f.addRobot(t, "push")
	for _, name := range []string{"robot$closed+ci", "robot-closed+ci"} {
		a := f.askToken(t, name, secret, "closed/app")
		require.Equal(t, http.StatusOK, a.status, a.body)
		require.Empty(t, a.token.RefreshToken, "a robot has its secret at hand")
		for path, want := range map[string]int{
			"/v2/": http.StatusOK, "/v2/push/closed/app": http.StatusOK, "/v2/pull/closed/app": http.StatusOK,
			"/v2/delete/closed/app": http.StatusForbidden,
		} {
			require.Equal(t, want, f.get(t, path, bearer(a.token.Token)).status, path)
			require.Equal(t, want, f.get(t, path, basic(name, secret)).status, path)
		}
		require.Equal(t, "robot$closed+ci token", f.get(t, "/v2/", bearer(a.token.Token)).header.Get("Principal"), "one name, however it is spelled")
		require.Equal(t, http.StatusForbidden, f.get(t, "/v2/push/open/app", basic(name, secret)).status)
		require.Equal(t, http.StatusOK, f.get(t, "/v2/pull/open/app", basic(name, secret)).status)
		require.Equal(t, http.StatusNotFound, f.get(t, "/v2/pull/absent/app", basic(name, secret)).status)
		require.Equal(t, http.StatusUnauthorized, f.askToken(t, name, secret+"x", "closed/app").status)
	}
	for _, name := range []string{"robot$ci", "closed+ci", "ROBOT$closed+ci", "robot$closed+ci ", "robot$", "$", "+"} {
		require.Equal(t, http.StatusUnauthorized, f.askToken(t, name, secret, "closed/app").status, name)
	}

	// What changes on another gateway gets here within the stated time, also to tokens and remembered logins.
	signed := f.askToken(t, made.Name, secret, "closed/app").token.Token
	grants := []robot.Grant{{Namespace: "closed", Rights: []robot.Right{{Resource: "repository", Action: "pull"}}}}
	require.NoError(t, f.robots.Update(t.Context(), local0, made.ID, robot.Edit{Grants: grants}))
	f.advance(identity.AccountStaleness)
	require.Equal(t, http.StatusForbidden, f.get(t, "/v2/push/closed/app", bearer(signed)).status)
	require.Equal(t, http.StatusOK, f.get(t, "/v2/pull/closed/app", bearer(signed)).status)
	require.NoError(t, f.robots.Update(t.Context(), local0, made.ID, robot.Edit{Grants: grants, Disabled: true}))
	f.advance(identity.AccountStaleness)
	require.Equal(t, http.StatusUnauthorized, f.get(t, "/v2/", bearer(signed)).status)
	require.Equal(t, http.StatusUnauthorized, f.get(t, "/v2/", basic(made.Name, secret)).status)
	require.NoError(t, f.robots.Update(t.Context(), local0, made.ID, robot.Edit{Grants: grants}))
	f.advance(identity.AccountStaleness)
	require.Equal(t, http.StatusOK, f.get(t, "/v2/", bearer(signed)).status)
	fresh, err := f.robots.Refresh(t.Context(), local0, made.ID, "")
	require.NoError(t, err)
	f.advance(identity.AccountStaleness)
	require.Equal(t, http.StatusUnauthorized, f.get(t, "/v2/", bearer(signed)).status, "the secret that it was made with is void")
	require.Equal(t, http.StatusUnauthorized, f.get(t, "/v2/", basic(made.Name, secret)).status)
	require.Equal(t, http.StatusOK, f.get(t, "/v2/", basic(made.Name, fresh)).status)
	require.NoError(t, f.robots.Delete(t.Context(), local0, made.ID))
	f.advance(identity.AccountStaleness)
	require.Equal(t, http.StatusUnauthorized, f.get(t, "/v2/", basic(made.Name, fresh)).status)
}

func TestGate_accessTokens(t *testing.T) {
	f := newFixture(t)
	boss, err := f.store.UserByName(t.Context(), "boss")
	require.NoError(t, err)
	made, secret, err := f.tokens.Create(t.Context(), local0, boss.ID, personal.NewToken{Name: "ci", Scopes: []string{"push"}, Projects: []string{"closed"}, Days: 1})
	require.NoError(t, err)
	a := f.askToken(t, "boss", secret, "closed/app")
	require.Equal(t, http.StatusOK, a.status, a.body)
	refreshed := f.post(t, url.Values{
		"grant_type": {"refresh_token"}, "refresh_token": {a.token.RefreshToken}, "service": {"berth"}, "scope": {"repository:closed/app:* repository:open/app:*"},
	})
	require.Equal(t, http.StatusOK, refreshed.status, refreshed.body)
	for name, credentials := range map[string]func(*http.Request){
		"token": bearer(a.token.Token), "refreshed": bearer(refreshed.token.Token), "basic": basic("boss", secret),
	} {
		require.Equal(t, http.StatusOK, f.get(t, "/v2/push/closed/app", credentials).status, name)
		require.Equal(t, http.StatusForbidden, f.get(t, "/v2/delete/closed/app", credentials).status, name)
	}
	require.Equal(t, http.StatusForbidden, f.get(t, "/v2/push/open/app", bearer(refreshed.token.Token)).status)
	require.Equal(t, http.StatusUnauthorized, f.askToken(t, "dev", secret, "closed/app").status, "somebody else's")

	// A token of a system administrator has its limits after it was signed, too.
	root, err := f.store.UserByName(t.Context(), "root")
	require.NoError(t, err)
	_, narrow, err := f.tokens.Create(t.Context(), local0, root.ID, personal.NewToken{Name: "reads", Scopes: []string{"pull"}})
	require.NoError(t, err)
	signed := f.askToken(t, "root", narrow, "closed/app").token.Token
	require.Equal(t, http.StatusOK, f.get(t, "/v2/pull/closed/app", bearer(signed)).status)
	require.Equal(t, http.StatusForbidden, f.get(t, "/v2/push/closed/app", basic("root", narrow)).status)

	f.advance(25 * 60 * 60 * 1e9)
	require.Equal(t, http.StatusUnauthorized, f.get(t, "/v2/", basic("boss", secret)).status, "expired")
	_, secret, err = f.tokens.Create(t.Context(), local0, boss.ID, personal.NewToken{Name: "again", Scopes: []string{"push"}})
	require.NoError(t, err)
	signed = f.askToken(t, "boss", secret, "closed/app").token.Token
	require.Equal(t, http.StatusOK, f.get(t, "/v2/push/closed/app", bearer(signed)).status)
	require.Error(t, f.tokens.Revoke(t.Context(), local0, root.ID, made.ID))
	tokens, _, err := f.store.ListAccessTokens(t.Context(), boss.ID, metadata.Query{Limit: -1})
	require.NoError(t, err)
	for _, token := range tokens {
		require.NoError(t, f.tokens.Revoke(t.Context(), local0, boss.ID, token.ID))
	}
	f.advance(max(identity.AccountStaleness, policy.MembershipStaleness))
	require.Equal(t, http.StatusUnauthorized, f.get(t, "/v2/", bearer(signed)).status, "revoked")
	require.Equal(t, http.StatusUnauthorized, f.get(t, "/v2/", basic("boss", secret)).status)
	require.True(t, strings.HasPrefix(secret, personal.Prefix))
}

func TestAccess_viewsOfRobots(t *testing.T) {
	f := newFixture(t)
	view := func(namespace, resource, action string) (pulled, listed metadata.Visibility) {
		t.Helper()
		name := strings.ReplaceAll(strings.Trim(namespace, "/*")+"x"+resource, "-", ".")
		made, secret, err := f.robots.Create(t.Context(), local0, identity.Principal{Kind: identity.KindUser}, robot.NewRobot{
			Name: name, Duration: robot.Forever, Grants: []robot.Grant{{Namespace: namespace, Rights: []robot.Right{{Resource: resource, Action: action}}}},
		})
		require.NoError(t, err)
		r := httptest.NewRequest(http.MethodGet, "/v2/_catalog", nil)
		r.SetBasicAuth(made.Name, secret)
		access, err := f.gate.Authenticate(r)
		require.NoError(t, err)
		pulled, err = access.View(t.Context())
		require.NoError(t, err)
		listed, err = access.CatalogView(t.Context())
		require.NoError(t, err)
		return pulled, listed
	}
	pulled, listed := view("/", "catalog", "read")
	require.Equal(t, metadata.Visibility{}, pulled, "what is listed is not therefore mounted")
	require.Equal(t, metadata.Visibility{All: true}, listed)
	pulled, listed = view("closed", "repository", "pull")
	require.Equal(t, metadata.Visibility{Projects: []string{"closed"}}, pulled)
	require.Equal(t, pulled, listed)
	pulled, _ = view("closed", "member", "list")
	require.Equal(t, metadata.Visibility{}, pulled)
}
