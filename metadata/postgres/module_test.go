package postgres_test

import (
	"encoding/json"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/metadata/metadatatest"
	"github.com/berth-registry/berth/metadata/postgres"
	"github.com/berth-registry/berth/metadata/postgres/postgrestest"
)

func TestModule_caddyfile(t *testing.T) {
	for _, test := range []struct{ name, input, json, refusal string }{
		{name: "url", input: "postgres {env.BERTH_DATABASE_URL}", json: `{"url":"{env.BERTH_DATABASE_URL}"}`},
		{name: "block", input: "postgres {\n\turl postgres://h/d\n\tmax_connections 5\n\tstatement_timeout 1m\n}", json: `{"url":"postgres://h/d","max_connections":5,"statement_timeout":60000000000}`},
		{name: "both", input: "postgres postgres://h/d {\n\tstatement_timeout off\n}", json: `{"url":"postgres://h/d","statement_timeout":-1}`},
		{name: "two arguments", input: "postgres a b", refusal: "takes one argument, its url, at Testfile:1"},
		{name: "two urls", input: "postgres a {\n\turl b\n}", refusal: "two urls, at Testfile:2"},
		{name: "unknown", input: "postgres a {\n\tpool 5\n}", refusal: `unrecognized option "pool" of database postgres: allowed are url, max_connections, statement_timeout, at Testfile:2`},
		{name: "no value", input: "postgres a {\n\tmax_connections\n}", refusal: "Testfile:2"},
		{name: "two values", input: "postgres a {\n\tmax_connections 1 2\n}", refusal: "Testfile:2"},
		{name: "no number", input: "postgres a {\n\tmax_connections many\n}", refusal: `max_connections must be a number of at least 1, not "many", at Testfile:2`},
		{name: "none", input: "postgres a {\n\tmax_connections 0\n}", refusal: "at least 1"},
		{name: "no duration", input: "postgres a {\n\tstatement_timeout -5s\n}", refusal: "statement_timeout must be a duration like 30s, or off"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var m postgres.Module
			err := m.UnmarshalCaddyfile(caddyfile.NewTestDispenser(test.input))
			if test.refusal != "" {
				require.ErrorContains(t, err, test.refusal)
				return
			}
			require.NoError(t, err)
			encoded, err := json.Marshal(m)
			require.NoError(t, err)
			require.JSONEq(t, test.json, string(encoded))
		})
	}
}

func FuzzModule_caddyfile(f *testing.F) {
	f.Add("postgres postgres://h/d {\n\tmax_connections 5\n\tstatement_timeout off\n}")
	f.Add("postgres {\n\turl \"\n")
	f.Fuzz(func(t *testing.T, input string) {
		var m postgres.Module
		if m.UnmarshalCaddyfile(caddyfile.NewTestDispenser(input)) == nil {
			require.GreaterOrEqual(t, m.MaxConnections, 0)
		}
	})
}

func TestModule_opens(t *testing.T) {
	t.Setenv("BERTH_TEST_URL", postgrestest.Start(t))
	m := postgres.Module{URL: "{env.BERTH_TEST_URL}"}
	require.NoError(t, m.Provision(caddy.Context{}))
	require.NoError(t, m.Validate())
	store, err := m.OpenDatabase(t.Context(), "", metadatatest.Logger(t))
	require.NoError(t, err)
	require.NoError(t, store.Ping(t.Context()))
	require.NoError(t, store.Close())

	other := postgres.Module{URL: "{env.BERTH_TEST_URL}", MaxConnections: 3}
	require.NoError(t, other.Provision(caddy.Context{}))
	require.NotEqual(t, other.Identity(), m.Identity())

	require.Error(t, (&postgres.Module{URL: "{env.BERTH_TEST_UNSET}"}).Provision(caddy.Context{}))
	require.ErrorContains(t, (&postgres.Module{}).Validate(), "needs a url")
	bad := postgres.Module{URL: "postgres://u:secret-word@h:port/d"}
	require.NoError(t, bad.Provision(caddy.Context{}))
	err = bad.Validate()
	require.Error(t, err)
	require.NotContains(t, err.Error(), "secret-word")
}
