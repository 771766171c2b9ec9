package setting_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/metadata/sqlite/sqlitetest"
	"github.com/berth-registry/berth/secret"
	"github.com/berth-registry/berth/setting"
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
		setting.SessionTimeout: "soon", setting.TokenExpiration: 1.5, setting.SelfRegistration: "yes", setting.LDAPURL: 1.0, setting.BannerMessage: nil,
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

func TestKey_check(t *testing.T) {
	for name, values := range map[string]struct{ good, bad []any }{
		"auth_mode":                    {[]any{"db_auth", "ldap_auth", "oidc_auth"}, []any{"", "DB_AUTH", "uaa_auth", 1.0}},
		"ldap_scope":                   {[]any{0.0, 1.0, 2.0, "2"}, []any{-1.0, 3.0, "", "two", 1e300}},
		"ldap_group_search_scope":      {[]any{0.0, 2.0}, []any{3.0}},
		"ldap_timeout":                 {[]any{1.0}, []any{0.0, -5.0}},
		"oidc_scope":                   {[]any{"openid", "profile,openid"}, []any{"", "profile", "openids"}},
		"oidc_group_filter":            {[]any{"", "^team-.*$"}, []any{"("}},
		"oidc_extra_redirect_parms":    {[]any{"", "{}", `{"prompt":"login"}`}, []any{"prompt", "[]", `{"a":1}`}},
		"project_creation_restriction": {[]any{"everyone", "adminonly"}, []any{"nobody"}},
		"token_expiration":             {[]any{1.0, 600.0}, []any{0.0, -1.0, 1.5, 1e12}},
		"session_timeout":              {[]any{1.0}, []any{0.0}},
		"robot_token_duration":         {[]any{30.0, -1.0}, []any{0.0, -2.0}},
		"robot_name_prefix":            {[]any{"robot$", "ci-"}, []any{"", "a:b", "a b", strings.Repeat("x", 65)}},
		"storage_per_project":          {[]any{-1.0, 0.0, 1e15}, []any{-2.0, 2e18}},
		"read_only":                    {[]any{true, "false"}, []any{"yes", 1.0, nil}},
		"banner_message":               {[]any{"", `{"message":"hello"}`}, []any{"a\x00b", strings.Repeat("x", 1<<20), []any{}}},
	} {
		key, known := setting.Find(name)
		require.True(t, known)
		for _, value := range values.good {
			_, err := key.Check(value)
			require.NoError(t, err, "%s %v", name, value)
		}
		for _, value := range values.bad {
			_, err := key.Check(value)
			require.Equal(t, fault.Invalid, fault.Of(err), "%s %v", name, value)
			require.ErrorContains(t, err, name)
		}
	}
}

func TestSettings_refuseWhatDoesNotGoTogether(t *testing.T) {
	store, box := open(t)
	settings := setting.New(setting.Options{Store: store, Box: box})
	err := settings.Update(t.Context(), operator, map[*setting.Key]any{setting.SkipAuditLogDatabase: true})
	require.Equal(t, fault.Invalid, fault.Of(err))
	require.NoError(t, settings.Update(t.Context(), operator, map[*setting.Key]any{
		setting.SkipAuditLogDatabase: true, setting.AuditLogForwardEndpoint: "syslog:514",
	}))
	err = settings.Update(t.Context(), operator, map[*setting.Key]any{setting.AuditLogForwardEndpoint: ""})
	require.Equal(t, fault.Invalid, fault.Of(err), "against what is set already")
}
