package setting_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/metadata/sqlite/sqlitetest"
	"github.com/berth-registry/berth/secret"
	"github.com/berth-registry/berth/setting"

	"strings"
)

var operator = event.Actor{Name: "admin", Credential: "basic"}

func open(t *testing.T) (*metadata.Store, *secret.Box) {
	t.Helper()
	store := sqlitetest.Open(t)
	box, err := secret.New([]byte(strings.Repeat("k", secret.MinKeyLength)))
	require.NoError(t, err)
	return store, box
}

func TestSettings_updateIsSeenHereAtOnceAndElsewhereSoon(t *testing.T) {
	store, box := open(t)
	moment := time.Unix(2_000_000_000, 0)
	clock := func() time.Time { return moment }
	here := setting.New(setting.Options{Store: store, Box: box, Now: clock})
	elsewhere := setting.New(setting.Options{Store: store, Box: box, Now: clock})
	values, err := elsewhere.Values(t.Context())
	require.NoError(t, err)
	require.Equal(t, int64(60), values.Number(setting.SessionTimeout))

	require.NoError(t, here.Update(t.Context(), operator, map[*setting.Key]any{
		setting.SessionTimeout: 15.0, setting.ReadOnly: true, setting.LDAPURL: "ldaps://directory", setting.LDAPSearchPassword: "hush",
	}))
	values, err = here.Values(t.Context())
	require.NoError(t, err)
	require.Equal(t, int64(15), values.Number(setting.SessionTimeout))
	require.True(t, values.On(setting.ReadOnly))
	require.Equal(t, "ldaps://directory", values.Text(setting.LDAPURL))
	require.Equal(t, "hush", values.Text(setting.LDAPSearchPassword))

	moment = moment.Add(setting.Staleness)
	values, err = elsewhere.Values(t.Context())
	require.NoError(t, err)
	require.Equal(t, "hush", values.Text(setting.LDAPSearchPassword))

	rows, err := store.Settings(t.Context(), "configuration/")
	require.NoError(t, err)
	require.Len(t, rows, 4)
	require.NotContains(t, rows["configuration/ldap_search_password"], "hush", "sealed at rest")
}

func TestSettings_refuseWrongTypesAndPinnedKeys(t *testing.T) {
	store, box := open(t)
	settings := setting.New(setting.Options{Store: store, Box: box, Pinned: map[*setting.Key]any{setting.ReadOnly: true}})
	for key, value := range map[*setting.Key]any{
		setting.SessionTimeout: "15", setting.TokenExpiration: 1.5, setting.SelfRegistration: "true", setting.LDAPURL: 1.0, setting.BannerMessage: nil,
	} {
		err := settings.Update(t.Context(), operator, map[*setting.Key]any{key: value, setting.OIDCName: "x"})
		require.Equal(t, fault.Invalid, fault.Of(err), key.Name)
		require.ErrorContains(t, err, key.Name)
	}
	require.Equal(t, fault.Forbidden, fault.Of(settings.Update(t.Context(), operator, map[*setting.Key]any{setting.ReadOnly: false})))
	require.NoError(t, settings.Update(t.Context(), operator, map[*setting.Key]any{setting.ReadOnly: true}), "what it is anyhow")
	values, err := settings.Values(t.Context())
	require.NoError(t, err)
	require.True(t, values.On(setting.ReadOnly))
	require.True(t, values.Pinned(setting.ReadOnly))
	require.Empty(t, values.Text(setting.OIDCName), "all or none")
}
