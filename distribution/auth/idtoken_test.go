package auth_test

import (
	"context"
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/distribution/auth"
	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/identity/oidc/oidctest"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/setting"
)

func TestToken_forAnIDToken(t *testing.T) {
	f := newFixture(t)
	provider := oidctest.Start(t, false, "http://localhost/", "http://localhost/")
	ask := func(token string) answer {
		query := url.Values{"service": {"berth"}, "scope": {"repository:closed/app:pull,push"}, "offline_token": {"true"}}
		return f.get(t, auth.TokenPath+"?"+query.Encode(), bearer(token))
	}
	good := provider.Sign(provider.Claims("id-clara"))
	require.Equal(t, http.StatusUnauthorized, ask(good).status, "no provider")
	require.NoError(t, f.settings.Update(t.Context(), event.Actor{}, map[*setting.Key]any{
		setting.OIDCEndpoint: provider.Issuer, setting.OIDCClientID: oidctest.ClientID,
	}))
	require.Equal(t, http.StatusUnauthorized, ask(good).status, "nobody here")
	require.NoError(t, f.store.Tx(t.Context(), func(ctx context.Context, tx *metadata.Tx) error {
		user, err := tx.CreateUser(ctx, metadata.User{Name: "clara", Source: "oidc", ExternalID: provider.Issuer + " id-clara"})
		if err != nil {
			return err
		}
		project, err := tx.Project(ctx, "closed")
		if err != nil {
			return err
		}
		_, err = tx.SetMember(ctx, metadata.Member{ProjectID: project.ID, UserID: user.ID, RoleID: 3})
		return err
	}))
	given := ask(good)
	require.Equal(t, http.StatusOK, given.status, given.body)
	require.Empty(t, given.token.RefreshToken, "it must not outlast the ID token by weeks")
	require.Equal(t, http.StatusOK, f.get(t, "/v2/pull/closed/app", bearer(given.token.Token)).status)
	require.Equal(t, http.StatusForbidden, f.get(t, "/v2/push/closed/app", bearer(given.token.Token)).status, "a guest")
	require.Equal(t, http.StatusUnauthorized, f.get(t, "/v2/pull/closed/app", bearer(good)).status, "on /v2 only the registry's own")
	require.Equal(t, http.StatusUnauthorized, ask(provider.Forge(provider.Claims("id-clara"))).status)
	provider.Become(oidctest.Failing)
	require.Equal(t, http.StatusServiceUnavailable, ask(provider.Rotate(provider.Claims("id-clara"))).status)
}
