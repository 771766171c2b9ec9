package distribution_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/distribution"
	"github.com/berth-registry/berth/distribution/auth"
	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/identity"
	"github.com/berth-registry/berth/identity/local"
	"github.com/berth-registry/berth/identity/token"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/metadata/sqlite/sqlitetest"
	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/policy"
	"github.com/berth-registry/berth/secret"
)

const password = "Correct-horse1"

// late is an authorizer that is made when the store is there.
type late struct{ distribution.Authorizer }

// guarded is a server behind the real gate, with bob, a developer of library and of team, and nobody to secret.
type guarded struct {
	*server
	tokens *httptest.Server
	ring   *token.Ring
}

func newGuarded(t *testing.T) guarded {
	t.Helper()
	door := &late{}
	s := newServer(t, door)
	cheap := local.Params{Memory: 64, Time: 1, Threads: 1}
	accounts := identity.NewAccounts(s.store, nil)
	users := local.NewUsers(local.UsersOptions{Store: s.store, Params: cheap, Accounts: accounts})
	_, err := users.Create(t.Context(), event.Actor{}, local.NewUser{Name: "bob", Password: password})
	require.NoError(t, err)
	require.NoError(t, s.store.Tx(t.Context(), func(ctx context.Context, tx *metadata.Tx) error {
		bob, err := tx.UserByName(ctx, "bob")
		if err != nil {
			return err
		}
		team, err := tx.CreateProject(ctx, metadata.Project{Name: "team"})
		if err != nil {
			return err
		}
		library, err := tx.Project(ctx, "library")
		if err != nil {
			return err
		}
		for _, project := range []int64{team.ID, library.ID} {
			if _, err := tx.SetMember(ctx, metadata.Member{ProjectID: project, UserID: bob.ID, RoleID: int(policy.Developer)}); err != nil {
				return err
			}
		}
		return nil
	}))
	box, err := secret.New([]byte(strings.Repeat("k", secret.MinKeyLength)))
	require.NoError(t, err)
	ring, err := token.OpenRing(t.Context(), token.RingOptions{Store: s.store, Box: box, MaxTokenLifetime: token.DefaultRefreshLifetime})
	require.NoError(t, err)
	tokens, err := token.New(token.Options{Ring: ring})
	require.NoError(t, err)
	rbac, err := policy.New(policy.Options{Memberships: s.store, Accounts: accounts})
	require.NoError(t, err)
	login, err := identity.NewLogin(identity.LoginOptions{
		Sources: []identity.Source{local.NewSource(local.SourceOptions{Store: s.store, Params: cheap})}, Accounts: accounts,
	})
	require.NoError(t, err)
	gate, err := auth.New(auth.Options{Login: login, Accounts: accounts, Tokens: tokens, Policy: rbac})
	require.NoError(t, err)
	door.Authorizer = distribution.Gate(gate)
	service := httptest.NewServer(http.HandlerFunc(gate.ServeToken))
	t.Cleanup(service.Close)
	return guarded{s, service, ring}
}

// as returns the header of bob's token for the scopes.
func (g guarded) as(scopes ...string) string {
	g.t.Helper()
	request, err := http.NewRequest("GET", g.tokens.URL+"?"+url.Values{"scope": scopes}.Encode(), nil)
	require.NoError(g.t, err)
	request.SetBasicAuth("bob", password)
	answer, err := client.Do(request)
	require.NoError(g.t, err)
	defer answer.Body.Close()
	var body struct{ Token string }
	require.NoError(g.t, json.NewDecoder(answer.Body).Decode(&body))
	require.NotEmpty(g.t, body.Token)
	return "Authorization: Bearer " + body.Token
}

func TestGate_challengesEveryRoute(t *testing.T) {
	g := newGuarded(t)
	digest := oci.SHA256.FromString("x").String()
	for request, scope := range map[string]string{
		"GET /v2/":                            "",
		"GET /v2":                             "",
		"GET /v2/_catalog":                    "registry:catalog:*",
		"GET /v2/library/app/tags/list":       "repository:library/app:pull",
		"HEAD /v2/library/app/manifests/v1":   "repository:library/app:pull",
		"PUT /v2/library/app/manifests/v1":    "repository:library/app:pull,push",
		"DELETE /v2/library/app/manifests/v1": "repository:library/app:pull,delete",
		"GET /v2/library/app/blobs/" + digest: "repository:library/app:pull",
		"POST /v2/library/app/blobs/uploads/": "repository:library/app:pull,push",
		"POST /v2/library/app/blobs/uploads/?mount=" + digest + "&from=team/app": "repository:library/app:pull,push repository:team/app:pull",
		"GET /v2/library/app/referrers/" + digest:                                "repository:library/app:pull",
	} {
		method, path, _ := strings.Cut(request, " ")
		refused := g.want(401, g.do(method, path, nil))
		challenges := refused.Header.Values("WWW-Authenticate")
		require.Len(t, challenges, 1, request)
		assert.True(t, strings.HasPrefix(challenges[0], `Bearer realm="`), challenges[0])
		if scope == "" {
			assert.NotContains(t, challenges[0], "scope=", request)
		} else {
			assert.Contains(t, challenges[0], `scope="`+scope+`"`, request)
		}
		assert.Equal(t, "registry/2.0", refused.Header.Get("Docker-Distribution-Api-Version"), request)
	}
}

// TestGate_tokensThatDoNotHold asks for every row of the table of routes with tokens that are no proof, and then with one that is.
func TestGate_tokensThatDoNotHold(t *testing.T) {
	g := newGuarded(t)
	ctx := t.Context()
	bob, err := g.store.UserByName(ctx, "bob")
	require.NoError(t, err)
	principal := identity.Principal{Kind: identity.KindUser, ID: bob.ID, Name: "bob", CredentialVersion: bob.CredentialVersion}
	grants := []token.Grant{
		{Type: "repository", Name: "team/app", Actions: []string{"pull", "push", "delete"}}, {Type: "registry", Name: "catalog", Actions: []string{"*"}},
	}
	signer := func(ring *token.Ring, now func() time.Time) *token.Tokens {
		tokens, err := token.New(token.Options{Ring: ring, Now: now})
		require.NoError(t, err)
		return tokens
	}
	issue := func(tokens *token.Tokens) string {
		signed, _, err := tokens.Issue(ctx, principal, "basic", grants)
		require.NoError(t, err)
		return signed
	}
	box, err := secret.New([]byte(strings.Repeat("k", secret.MinKeyLength)))
	require.NoError(t, err)
	foreign, err := token.OpenRing(ctx, token.RingOptions{Store: sqlitetest.Open(t), Box: box, MaxTokenLifetime: token.DefaultRefreshLifetime})
	require.NoError(t, err)
	refresh, err := signer(g.ring, nil).IssueRefresh(ctx, principal)
	require.NoError(t, err)
	good := issue(signer(g.ring, nil))
	parts := strings.Split(good, ".")
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	require.NoError(t, err)
	altered := base64.RawURLEncoding.EncodeToString([]byte(strings.Replace(string(payload), `"kind":"user"`, `"kind":"user","system_admin":true`, 1)))
	require.NotEqual(t, parts[1], altered)
	encode := func(header string) string { return base64.RawURLEncoding.EncodeToString([]byte(header)) }

	requests := distribution.EveryRoute("team/app", oci.SHA256.FromString("x").String())
	for name, bad := range map[string]string{
		"expired": issue(signer(g.ring, func() time.Time { return time.Now().Add(-2 * time.Hour) })),
		"early":   issue(signer(g.ring, func() time.Time { return time.Now().Add(2 * time.Hour) })),
		"altered": parts[0] + "." + altered + "." + parts[2], "another key": issue(signer(foreign, nil)), "refresh": refresh,
		"alg none": encode(`{"alg":"none","typ":"JWT"}`) + "." + altered + ".", "unsigned": parts[0] + "." + parts[1] + ".", "none": "",
	} {
		for _, request := range requests {
			method, path, _ := strings.Cut(request, " ")
			refused := g.do(method, path, nil, "Authorization: Bearer "+bad)
			require.Equal(t, 401, refused.StatusCode, "%s: %s", name, request)
			require.Equal(t, "UNAUTHORIZED", refused.code(), "%s: %s", name, request)
		}
	}
	events, err := g.store.Events(ctx, metadata.EventCursor{}, 100)
	require.NoError(t, err)
	for _, e := range events {
		require.NotEqual(t, "team/app", e.Repository, "something was done")
	}
	for _, request := range requests {
		method, path, _ := strings.Cut(request, " ")
		require.NotEqual(t, 401, g.do(method, path, nil, "Authorization: Bearer "+good).StatusCode, request)
	}
}

func TestGate_mount(t *testing.T) {
	g := newGuarded(t)
	push := g.as("repository:team/app:pull,push", "repository:library/app:pull,push")
	content := "shared"
	digest := oci.SHA256.FromString(content)
	g.want(201, g.do("POST", "/v2/team/app/blobs/uploads/?digest="+digest.String(), strings.NewReader(content), push))
	mount := "/v2/library/app/blobs/uploads/?mount=" + digest.String()

	target := g.as("repository:library/app:pull,push")
	refused := g.want(401, g.do("POST", mount+"&from=team/app", nil, target))
	assert.Contains(t, refused.Header.Get("WWW-Authenticate"), `scope="repository:library/app:pull,push repository:team/app:pull"`)

	denied := g.as("repository:library/app:pull,push", "repository:secret/app:pull")
	g.want(202, g.do("POST", mount+"&from=secret/app", nil, denied))

	both := g.as("repository:library/app:pull,push repository:team/app:pull")
	g.want(201, g.do("POST", mount+"&from=team/app", nil, both))
	g.want(201, g.do("POST", strings.Replace(mount, "library/app", "library/b", 1), nil, g.as("repository:library/b:pull,push")))
}

func TestGate_whatMayNotBeSeenDoesNotExist(t *testing.T) {
	g := newGuarded(t)
	pull := g.as("repository:secret/app:pull,push", "repository:secret/none:pull")
	for _, path := range []string{"/v2/secret/app/tags/list", "/v2/secret/none/tags/list"} {
		refused := g.do("GET", path, nil, pull)
		assert.Equal(t, 404, refused.StatusCode)
		assert.Equal(t, "NAME_UNKNOWN", refused.code())
	}
	assert.Equal(t, "DENIED", g.want(403, g.do("POST", "/v2/secret/app/blobs/uploads/", nil, pull)).code())
	g.want(200, g.get("/v2/", pull))
	assert.JSONEq(t, `{"repositories":[]}`, string(g.want(200, g.get("/v2/_catalog", g.as("registry:catalog:*"))).body))
}
