package oidc_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/identity"
	"github.com/berth-registry/berth/identity/oidc"
	"github.com/berth-registry/berth/identity/oidc/oidctest"
	"github.com/berth-registry/berth/identity/session"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/metadata/sqlite/sqlitetest"
	"github.com/berth-registry/berth/secret"
	"github.com/berth-registry/berth/setting"
)

const callback = "http://registry.test/c/oidc/callback"

// newPeople are those of the provider at an issuer, by a clock.
func newPeople(t testing.TB, issuer string, now func() time.Time) *oidc.People {
	t.Helper()
	return peopleOf(t, sqlitetest.Open(t), issuer, now)
}

// peopleOf are those of one gateway of many over a database.
func peopleOf(t testing.TB, store *metadata.Store, issuer string, now func() time.Time) *oidc.People {
	t.Helper()
	box, err := secret.New([]byte(strings.Repeat("k", secret.MinKeyLength)))
	require.NoError(t, err)
	settings := setting.New(setting.Options{Store: store, Box: box, Pinned: map[*setting.Key]any{
		setting.OIDCEndpoint: issuer, setting.OIDCClientID: oidctest.ClientID, setting.OIDCClientSecret: oidctest.ClientSecret,
		setting.OIDCExtraRedirectParms: `{"prompt":"login","state":"stolen","redirect_uri":"https://evil.example"}`,
	}})
	accounts := identity.NewAccounts(store, nil)
	return oidc.New(oidc.Options{
		Store: store, Settings: settings, Accounts: accounts, Box: box, Now: now,
		Sessions: session.New(session.Options{Store: store, Accounts: accounts, Settings: settings, Box: box}),
	})
}

func TestLogin_takesAQuarterOfAnHourAtMost(t *testing.T) {
	provider := oidctest.Start(t, false, callback, "http://registry.test/", oidctest.User{ID: "1", Name: "clara"})
	moment := time.Now()
	people := newPeople(t, provider.Issuer, func() time.Time { return moment })
	login := func(wait time.Duration) (oidc.Outcome, error) {
		moment = time.Now()
		begun, err := people.Begin(t.Context(), callback, "/")
		require.NoError(t, err)
		back := provider.Login(t, begun.Location, "clara")
		moment = moment.Add(wait)
		return people.Finish(t.Context(), event.Actor{}, begun.Sealed, back.Query(), "")
	}
	_, err := login(oidc.LoginLifetime)
	require.Equal(t, fault.Invalid, fault.Of(err))
	require.Zero(t, provider.Asked("/oauth/token"))
	outcome, err := login(oidc.LoginLifetime - time.Minute)
	require.NoError(t, err)

	moment = time.Now().Add(2 * (oidc.LoginLifetime + oidc.OnboardingLifetime))
	_, _, err = people.Onboard(t.Context(), event.Actor{}, outcome.Onboarding, "clara", "")
	require.Equal(t, fault.Precondition, fault.Of(err))
	moment = time.Now()
	_, back, err := people.Onboard(t.Context(), event.Actor{}, outcome.Onboarding, "clara", "")
	require.NoError(t, err)
	require.Equal(t, "/", back)
}

func TestLogin_anyGatewayGoesOn(t *testing.T) {
	provider := oidctest.Start(t, false, callback, "http://registry.test/", oidctest.User{ID: "1", Name: "clara"})
	store := sqlitetest.Open(t)
	gateway := func() *oidc.People { return peopleOf(t, store, provider.Issuer, nil) }
	begun, err := gateway().Begin(t.Context(), callback, "/")
	require.NoError(t, err)
	back := provider.Login(t, begun.Location, "clara")
	outcome, err := gateway().Finish(t.Context(), event.Actor{}, begun.Sealed, back.Query(), "")
	require.NoError(t, err)
	require.Equal(t, "clara", outcome.Name)
	_, _, err = gateway().Onboard(t.Context(), event.Actor{}, outcome.Onboarding, "clara", "")
	require.NoError(t, err)
	_, err = store.UserByName(t.Context(), "clara")
	require.NoError(t, err)
}

func TestBegin_parametersOfTheSettingsDoNotReplaceTheFlows(t *testing.T) {
	provider := oidctest.Start(t, false, callback, "http://registry.test/")
	begun, err := newPeople(t, provider.Issuer, nil).Begin(t.Context(), callback, "/")
	require.NoError(t, err)
	asked, err := url.Parse(begun.Location)
	require.NoError(t, err)
	require.Equal(t, "login", asked.Query().Get("prompt"))
	require.Equal(t, []string{begun.State}, asked.Query()["state"])
	require.Equal(t, []string{callback}, asked.Query()["redirect_uri"])
	require.NotContains(t, begun.Sealed, begun.State)
}

func TestBegin_believesADayOldDiscovery(t *testing.T) {
	provider := oidctest.Start(t, false, callback, "http://registry.test/")
	moment := time.Now()
	people := newPeople(t, provider.Issuer, func() time.Time { return moment })
	begin := func() error {
		_, err := people.Begin(t.Context(), callback, "/")
		return err
	}
	for range 5 {
		require.NoError(t, begin())
	}
	require.Equal(t, 1, provider.Asked("/.well-known/openid-configuration"))
	moment = moment.Add(11 * time.Minute)
	require.NoError(t, begin())
	require.Equal(t, 2, provider.Asked("/.well-known/openid-configuration"))
	provider.Become(oidctest.Failing)
	moment = moment.Add(20 * time.Hour)
	require.NoError(t, begin())
	moment = moment.Add(5 * time.Hour)
	require.Equal(t, fault.Unavailable, fault.Of(begin()))
}
