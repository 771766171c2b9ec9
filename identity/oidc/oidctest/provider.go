// Package oidctest is an OpenID Connect provider for tests: a real one, with users and groups of the test's making, that can be told
// to lie, to fail and to hang.
package oidctest

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"html"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"
	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// What the registry is to the provider, and the password of everybody there.
const (
	ClientID     = "berth"
	ClientSecret = "hush-client"
	Password     = "verysecure"
)

// User is somebody whom the provider knows.
type User struct {
	// ID is the subject, Name what they log in with.
	ID, Name, Email string
	// Claims are what else the provider says about them, such as their groups, at its user info endpoint.
	Claims map[string]any
}

// Provider is a running provider.
type Provider struct {
	Issuer string
	// Server has the certificate, where the provider speaks TLS.
	Server *httptest.Server

	mu    sync.Mutex
	users map[string]User
	// after is where browsers may go when they have logged out.
	after []string
	lie   func(claims map[string]any) string
	mood  Mood
	asked map[string]int
	key   jose.JSONWebKey
	// hanging ends with the test.
	hanging context.Context
}

// Mood is how the provider answers.
type Mood int

// The moods.
const (
	Well Mood = iota
	// Failing answers everything with 503.
	Failing
	// Hanging does not answer at all.
	Hanging
)

// Start starts a provider whose client comes back to the callback, and to after when it has logged out. It ends with the test.
func Start(t testing.TB, encrypted bool, callback, after string, users ...User) *Provider {
	t.Helper()
	hanging, stop := context.WithCancel(context.Background())
	p := &Provider{users: map[string]User{}, after: []string{after}, asked: map[string]int{}, hanging: hanging}
	for _, user := range users {
		p.users[user.ID] = user
	}
	var handler http.Handler
	p.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { p.serve(handler, w, r) }))
	scheme := "http://"
	if encrypted {
		scheme = "https://"
	}
	p.Issuer = scheme + p.Server.Listener.Addr().String()
	kept := &store{Storage: storage.NewStorageWithClients(directory{p}, map[string]*storage.Client{
		ClientID: storage.WebClient(ClientID, ClientSecret, callback),
	}), provider: p}
	key, err := kept.SigningKey(t.Context())
	require.NoError(t, err)
	p.key = jose.JSONWebKey{Key: key.Key(), KeyID: key.ID(), Algorithm: string(jose.RS256)}
	handler = exampleop.SetupServer(p.Issuer, kept, nil, false)
	if encrypted {
		p.Server.StartTLS()
	} else {
		p.Server.Start()
	}
	t.Cleanup(func() {
		stop()
		p.Server.Close()
	})
	return p
}

// Set changes what the provider knows about a user.
func (p *Provider) Set(user User) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.users[user.ID] = user
}

// Become changes how the provider answers from now on.
func (p *Provider) Become(mood Mood) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mood = mood
}

// Lie has the provider hand out what the function makes of the claims in place of its ID tokens; nil has it speak the truth.
func (p *Provider) Lie(lie func(claims map[string]any) string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lie = lie
}

// Asked returns how often a path was asked for.
func (p *Provider) Asked(path string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked[path]
}

// Claims are those of an ID token of a user that is good for an hour.
func (p *Provider) Claims(id string) map[string]any {
	return map[string]any{
		"iss": p.Issuer, "sub": id, "aud": []string{ClientID}, "azp": ClientID,
		"iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(),
	}
}

// Sign makes a token as the provider does.
func (p *Provider) Sign(claims map[string]any) string { return sign(p.key, claims) }

// Forge makes a token with another key of the same name.
func (p *Provider) Forge(claims map[string]any) string {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return sign(jose.JSONWebKey{Key: key, KeyID: p.key.KeyID, Algorithm: string(jose.RS256)}, claims)
}

// Rotate makes a token with a key whose name the provider has never heard.
func (p *Provider) Rotate(claims map[string]any) string {
	key := p.key
	key.KeyID = rand.Text()
	return sign(key, claims)
}

// SignWithSecret makes a token that is signed with the client's secret, which is no proof of the provider's.
func (p *Provider) SignWithSecret(claims map[string]any) string {
	return sign(jose.JSONWebKey{Key: []byte(strings.Repeat(ClientSecret, 4)), KeyID: p.key.KeyID, Algorithm: string(jose.HS256)}, claims)
}

func sign(key jose.JSONWebKey, claims map[string]any) string {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(key.Algorithm), Key: key}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		panic(err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		panic(err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		panic(err)
	}
	token, err := signed.CompactSerialize()
	if err != nil {
		panic(err)
	}
	return token
}

// serve answers by the mood.
func (p *Provider) serve(handler http.Handler, w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	mood, lie := p.mood, p.lie
	p.asked[r.URL.Path]++
	p.mu.Unlock()
	switch {
	case mood == Failing:
		w.WriteHeader(http.StatusServiceUnavailable)
	case mood == Hanging:
		select {
		case <-r.Context().Done():
		case <-p.hanging.Done():
		}
	case lie != nil && r.URL.Path == "/oauth/token":
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, r)
		body := lieIn(answer.Body.Bytes(), lie)
		maps.Copy(w.Header(), answer.Header())
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		w.WriteHeader(answer.Code)
		_, _ = w.Write(body)
	default:
		handler.ServeHTTP(w, r)
	}
}

// lieIn puts what the function makes of the claims in place of the ID token.
func lieIn(body []byte, lie func(claims map[string]any) string) []byte {
	var answer map[string]any
	if json.Unmarshal(body, &answer) != nil || answer["id_token"] == nil {
		return body
	}
	signed, err := jose.ParseSignedCompact(answer["id_token"].(string), []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		panic(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(signed.UnsafePayloadWithoutVerification(), &claims); err != nil {
		panic(err)
	}
	answer["id_token"] = lie(claims)
	changed, err := json.Marshal(answer)
	if err != nil {
		panic(err)
	}
	return changed
}

// Login does what a person does at the provider's login page, to which location leads, and returns where the browser is sent then.
func (p *Provider) Login(t testing.TB, location, user string) *url.URL {
	t.Helper()
	client := http.Client{
		Transport:     p.Server.Client().Transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	for !strings.Contains(location, "/login/username") {
		location = p.redirect(t, &client, location)
	}
	response, err := client.Get(location)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	id := regexp.MustCompile(`name="id" value="([^"]+)"`).FindSubmatch(body)
	require.NotNil(t, id, "%s", body)
	form := url.Values{"username": {user}, "password": {Password}, "id": {html.UnescapeString(string(id[1]))}}
	response, err = client.PostForm(p.Issuer+"/login/username", form)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusFound, response.StatusCode)
	back, err := url.Parse(p.redirect(t, &client, p.resolve(t, response.Header.Get("Location"))))
	require.NoError(t, err)
	return back
}

func (p *Provider) redirect(t testing.TB, client *http.Client, location string) string {
	t.Helper()
	response, err := client.Get(location)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusFound, response.StatusCode, "%s: %s", location, body)
	return p.resolve(t, response.Header.Get("Location"))
}

func (p *Provider) resolve(t testing.TB, location string) string {
	t.Helper()
	base, err := url.Parse(p.Issuer)
	require.NoError(t, err)
	resolved, err := base.Parse(location)
	require.NoError(t, err)
	return resolved.String()
}

// directory are the users as the provider's storage reads them.
type directory struct{ provider *Provider }

// GetUserByID returns a user, nil for none.
func (d directory) GetUserByID(id string) *storage.User {
	d.provider.mu.Lock()
	defer d.provider.mu.Unlock()
	user, known := d.provider.users[id]
	if !known {
		return nil
	}
	return &storage.User{ID: user.ID, Username: user.Name, Password: Password, FirstName: "Test", LastName: user.Name, Email: user.Email, EmailVerified: true}
}

// GetUserByUsername returns a user, nil for none.
func (d directory) GetUserByUsername(name string) *storage.User {
	d.provider.mu.Lock()
	id := ""
	for _, user := range d.provider.users {
		if user.Name == name {
			id = user.ID
		}
	}
	d.provider.mu.Unlock()
	return d.GetUserByID(id)
}

// ExampleClientID is of no use here.
func (directory) ExampleClientID() string { return storage.ServiceUserID }

// store adds to the provider's storage what that does not know.
type store struct {
	*storage.Storage
	provider *Provider
}

// SetUserinfoFromToken says at the user info endpoint what it is to say.
func (s *store) SetUserinfoFromToken(ctx context.Context, info *oidc.UserInfo, tokenID, subject, origin string) error {
	if err := s.Storage.SetUserinfoFromToken(ctx, info, tokenID, subject, origin); err != nil {
		return err
	}
	s.provider.mu.Lock()
	defer s.provider.mu.Unlock()
	for name, value := range s.provider.users[info.Subject].Claims {
		info.AppendClaims(name, value)
	}
	return nil
}

// GetClientByClientID returns a client that may log out.
func (s *store) GetClientByClientID(ctx context.Context, id string) (op.Client, error) {
	found, err := s.Storage.GetClientByClientID(ctx, id)
	if err != nil {
		return nil, err
	}
	return client{found, s.provider.after}, nil
}

// client is the registry.
type client struct {
	op.Client
	after []string
}

// PostLogoutRedirectURIs are where browsers may go when they have logged out.
func (c client) PostLogoutRedirectURIs() []string { return c.after }
