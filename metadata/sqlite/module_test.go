package sqlite_test

import (
	"encoding/json"
	"path/filepath"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/metadata/metadatatest"
	"github.com/berth-registry/berth/metadata/sqlite"
)

func TestModule_caddyfile(t *testing.T) {
	for _, test := range []struct{ name, input, json, refusal string }{
		{name: "default", input: "sqlite", json: `{}`},
		{name: "path", input: "sqlite {env.HOME}/x.db", json: `{"path":"{env.HOME}/x.db"}`},
		{name: "two paths", input: "sqlite a b", refusal: `"b" is one too many, at Testfile:1`},
		{name: "option", input: "sqlite {\n\tpath x\n}", refusal: `unrecognized option "path" of database sqlite: it has none but its argument, the path of its file, at Testfile:2`},
	} {
		t.Run(test.name, func(t *testing.T) {
			var m sqlite.Module
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

func TestModule_opens(t *testing.T) {
	t.Setenv("BERTH_TEST_NAME", "named")
	folder := t.TempDir()
	m := sqlite.Module{Path: "{env.BERTH_TEST_NAME}.db"}
	require.NoError(t, m.Provision(caddy.Context{Context: t.Context()}))
	store, err := m.OpenDatabase(t.Context(), folder, metadatatest.Logger(t))
	require.NoError(t, err)
	require.NoError(t, store.Close())
	require.FileExists(t, filepath.Join(folder, "named.db"))

	same, other := sqlite.Module{Path: "named.db"}, sqlite.Module{}
	require.NoError(t, same.Provision(caddy.Context{}))
	require.NoError(t, other.Provision(caddy.Context{}))
	require.Equal(t, same.Identity(), m.Identity())
	require.NotEqual(t, other.Identity(), m.Identity())
	require.Equal(t, "berth.db", other.Path)
	require.Error(t, (&sqlite.Module{Path: "{env.BERTH_TEST_UNSET}"}).Provision(caddy.Context{}))
}
