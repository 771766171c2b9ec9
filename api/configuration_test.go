package api_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/api"
	"github.com/berth-registry/berth/api/apitest"
	"github.com/berth-registry/berth/secret"
	"github.com/berth-registry/berth/setting"
)

func TestConfigurations(t *testing.T) {
	box, err := secret.New([]byte(strings.Repeat("k", secret.MinKeyLength)))
	require.NoError(t, err)
	server := apitest.Start(t, "sqlite", func(options *api.Options) {
		options.Settings = setting.New(setting.Options{Store: options.Store, Box: box, Pinned: map[*setting.Key]any{
			setting.AuthMode: "ldap_auth", setting.LDAPSearchPassword: "hush-hush",
		}})
	})
	admin := server.Admin()
	type item struct {
		Value    any
		Editable bool
	}
	read := func(path string) map[string]item {
		answer := admin.Must(t, http.StatusOK, http.MethodGet, path, nil)
		require.NotContains(t, answer.Body, "hush")
		items := map[string]item{}
		answer.JSON(t, &items)
		return items
	}
	items := read("/configurations")
	require.Len(t, items, len(setting.Keys())-3+1+1, "all but the passwords, and the schedule of scans, and one without its value")
	require.Equal(t, item{"", true}, items["uaa_client_secret"])
	require.Equal(t, item{"ldap_auth", false}, items["auth_mode"])
	require.Equal(t, item{float64(30), true}, items["token_expiration"])
	require.Equal(t, item{false, true}, items["read_only"])
	require.Contains(t, items, "scan_all_policy")
	require.Equal(t, items, read("/internalconfig"))

	admin.Must(t, http.StatusOK, http.MethodPut, "/configurations",
		`{"token_expiration":45,"storage_per_project":1152921504606846975,"oidc_client_secret":"hush","banner_message":null,"payload_format:omitempty":"x","auth_mode":"ldap_auth","uaa_client_secret":"hush"}`)
	items = read("/configurations")
	require.Equal(t, item{float64(45), true}, items["token_expiration"])
	values, err := server.Settings.Values(t.Context())
	require.NoError(t, err)
	require.Equal(t, int64(1152921504606846975), values.Number(setting.StoragePerProject), "to the last digit")
	require.Equal(t, "hush", values.Text(setting.OIDCClientSecret))
	require.Equal(t, item{"", true}, items["uaa_client_secret"])

	requireRefusal(t, admin.Do(t, http.MethodPut, "/configurations", `{"auth_mode":"db_auth","session_timeout":5}`), http.StatusForbidden, "FORBIDDEN")
	for _, bad := range []string{`{"session_timeout":5,"ldap_scope":3}`, `{"session_timeout":5,"token_expiration":0}`, `{"session_timeout":5,"read_only":{}}`, `[]`, `"x"`, ``, `{"session_timeout":`} {
		requireRefusal(t, admin.Do(t, http.MethodPut, "/configurations", bad), http.StatusBadRequest, "BAD_REQUEST")
	}
	require.Equal(t, item{float64(60), true}, read("/configurations")["session_timeout"], "all or none")
	admin.Must(t, http.StatusOK, http.MethodPut, "/configurations", `{}`)

	for _, path := range []string{"/configurations", "/internalconfig"} {
		requireRefusal(t, server.Anonymous().Do(t, http.MethodGet, path, nil), http.StatusUnauthorized, "UNAUTHORIZED")
	}
}
