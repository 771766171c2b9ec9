package api_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/api"
	"github.com/berth-registry/berth/api/apitest"
	"github.com/berth-registry/berth/identity/oidc/oidctest"
	"github.com/berth-registry/berth/metadata"
)

// TestOIDC_tokensForCommandLines has a person of a provider make an access token and a secret for command lines in the browser, use
// both where there is none, also while the provider is down, and be shut out.
func TestOIDC_tokensForCommandLines(t *testing.T) {
	for _, engine := range apitest.Engines {
		t.Run(engine, func(t *testing.T) {
			member := clara
			member.Claims = map[string]any{"groups": []string{"devs"}}
			server, provider := startOIDC(t, engine, nil, member)
			addProjects(t, server, "secret")
			b := newBrowser(t, server)
			require.Equal(t, http.StatusFound, b.loginOIDC(t, provider, clara.Name).Status)
			server.Write(t, func(ctx context.Context, tx *metadata.Tx) error {
				group, err := tx.UserGroupByKey(ctx, metadata.GroupOIDC, "devs")
				if err != nil {
					return err
				}
				project, err := tx.Project(ctx, "secret")
				if err != nil {
					return err
				}
				_, err = tx.SetMember(ctx, metadata.Member{ProjectID: project.ID, GroupID: group.ID, RoleID: 2})
				return err
			})
			server.Policy.Invalidate("secret")
			b.do(t, http.MethodGet, api.Prefix+"/users/current", nil) // which tells the token against forged requests
			page := func(method, path string, body any) apitest.Answer {
				return server.Anonymous().Do(t, method, path, body, csrfHeader, b.token, "Cookie", b.cookieHeader(t, api.Prefix))
			}

			made := page(http.MethodPost, ownTokens, map[string]any{"name": "laptop", "scopes": []string{"pull", "read"}})
			require.Equal(t, http.StatusCreated, made.Status, made.Body)
			var token madeToken
			made.JSON(t, &token)
			own := fmt.Sprintf("/users/%d/cli_secret", user(t, server, clara.Name).ID)
			answer := page(http.MethodPut, own, map[string]string{"secret": "Command-line1"})
			require.Equal(t, http.StatusOK, answer.Status, answer.Body)

			laptop, line := server.As(clara.Name, token.Secret), server.As(clara.Name, "Command-line1")
			works := func(why string) {
				t.Helper()
				for _, client := range []*apitest.Client{laptop, line} {
					require.Equal(t, http.StatusOK, client.Do(t, http.MethodGet, "/projects/secret", nil).Status, why)
					require.Equal(t, http.StatusForbidden, client.Do(t, http.MethodPut, own, map[string]string{"secret": "Command-line2"}).Status, why)
				}
			}
			works("through the group")
			for name, wrong := range map[string]string{clara.Name: "Command-line2", "admin": "Command-line1", "CLARA": token.Secret} {
				require.Equal(t, http.StatusUnauthorized, server.As(name, wrong).Do(t, http.MethodGet, "/projects/secret", nil).Status, name)
			}
			for _, secret := range []string{token.Secret, "Command-line1", oidctest.Password} {
				refused := newBrowser(t, server)
				require.NotEqual(t, http.StatusOK, refused.login(t, clara.Name, secret).Status)
				require.Empty(t, refused.cookie(t, "sid"), "no session begins without the provider")
			}
			for _, mood := range []oidctest.Mood{oidctest.Failing, oidctest.Hanging} {
				provider.Become(mood)
				works("without the provider")
			}
			provider.Become(oidctest.Well)
			server.Admin().Must(t, http.StatusOK, http.MethodPut, fmt.Sprintf("/users/%d/disabled", user(t, server, clara.Name).ID), map[string]bool{"disabled": true})
			for _, client := range []*apitest.Client{laptop, line} {
				client.Must(t, http.StatusUnauthorized, http.MethodGet, "/projects/secret", nil)
			}
		})
	}
}
