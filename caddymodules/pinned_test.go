package caddymodules_test

import (
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/stretchr/testify/require"
)

type configured struct {
	Value    any
	Editable bool
}

func (s *server) configurations() map[string]configured {
	s.t.Helper()
	response, body := s.read(http.MethodGet, "/api/v2.0/configurations", nil)
	require.Equal(s.t, http.StatusOK, response.StatusCode, body)
	found := map[string]configured{}
	require.NoError(s.t, json.Unmarshal([]byte(body), &found))
	return found
}

func (s *server) setting(changes string) int {
	s.t.Helper()
	return s.do(http.MethodPut, "/api/v2.0/configurations", strings.NewReader(changes), nil).StatusCode
}

// tokenLifetime is that of a token that is issued now, in seconds.
func (s *server) tokenLifetime() int {
	s.t.Helper()
	response, body := s.read(http.MethodGet, "/service/token?service="+s.address+"&scope=repository:library/app:pull", nil)
	require.Equal(s.t, http.StatusOK, response.StatusCode, body)
	var issued struct {
		ExpiresIn int `json:"expires_in"`
	}
	require.NoError(s.t, json.Unmarshal([]byte(body), &issued))
	return issued.ExpiresIn
}

func TestSettings_pinnedInCaddyfile(t *testing.T) {
	t.Setenv("BERTH_TEST_BANNER", "hello")
	s := start(t, "token_lifetime 90s\nsettings {\n auth_mode ldap_auth\n session_timeout 7\n banner_message {env.BERTH_TEST_BANNER}\n}", "")
	configured := s.configurations()
	for name, value := range map[string]any{"auth_mode": "ldap_auth", "session_timeout": 7.0, "banner_message": "hello", "token_expiration": 2.0} {
		require.Equal(t, value, configured[name].Value, name)
		require.False(t, configured[name].Editable, name)
	}
	require.True(t, configured["read_only"].Editable)
	require.Equal(t, http.StatusForbidden, s.setting(`{"session_timeout":8}`))
	require.Equal(t, http.StatusForbidden, s.setting(`{"token_expiration":30}`))
	require.Equal(t, http.StatusOK, s.setting(`{"session_timeout":7,"ldap_timeout":9}`), "clients send all that they have")
	require.Equal(t, 90, s.tokenLifetime())

	// The next configuration pins another value, and lets go of the lifetime.
	require.NoError(t, caddy.Load(s.configure("settings {\n auth_mode db_auth\n}", ""), true))
	require.Equal(t, "db_auth", s.configurations()["auth_mode"].Value)
	require.Equal(t, 30*60, s.tokenLifetime())
	require.Equal(t, http.StatusOK, s.setting(`{"token_expiration":5}`))
	require.Equal(t, 5*60, s.tokenLifetime(), "the setting rules at once")
	require.Equal(t, http.StatusOK, s.setting(`{"token_expiration":600}`))
	require.Equal(t, 60*60, s.tokenLifetime(), "an hour at most")
}

func TestSettings_readOnly(t *testing.T) {
	s := start(t, "", "")
	s.push([]byte("before"))
	require.Equal(t, http.StatusOK, s.setting(`{"read_only":true}`))
	require.Equal(t, http.StatusForbidden, s.do(http.MethodPost, "/v2/library/app/blobs/uploads/", nil, nil).StatusCode)
	require.Equal(t, http.StatusForbidden, s.do(http.MethodPut, "/api/v2.0/quotas/1", strings.NewReader(`{"hard":{"storage":5}}`), nil).StatusCode)
	require.Positive(t, s.tokenLifetime(), "tokens are issued")
	require.Equal(t, http.StatusOK, s.setting(`{"read_only":false}`))
	s.push([]byte("after"))
}

func TestSettings_refusedWhenTheConfigurationIsLoaded(t *testing.T) {
	s := &server{t: t, address: freeAddress(t), dataDir: filepath.Join(t.TempDir(), "data")}
	for options, want := range map[string]string{
		"settings {\n token_expiration 0\n}":                    "token_expiration must be at least 1",
		"settings {\n read_only perhaps\n}":                     "read_only must be true or false",
		"settings {\n ldap_url {env.BERTH_TEST_IS_NOT_SET}\n}":  "BERTH_TEST_IS_NOT_SET",
		"token_lifetime 5m\nsettings {\n token_expiration 5\n}": "give one of them",
	} {
		require.ErrorContains(t, caddy.Load(s.configure(options, ""), true), want, options)
	}
}
