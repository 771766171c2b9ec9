package filesystem_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/storage/filesystem"
)

func TestModule_caddyfile(t *testing.T) {
	for input, want := range map[string]string{
		"filesystem":                        "",
		"filesystem /srv/blobs":             "/srv/blobs",
		"filesystem {\n root /srv/blobs\n}": "/srv/blobs",
		"filesystem {\n}":                   "",
		"filesystem {env.TEST_ROOT}":        "{env.TEST_ROOT}",
	} {
		module := new(filesystem.Module)
		require.NoError(t, module.UnmarshalCaddyfile(caddyfile.NewTestDispenser(input)), input)
		require.Equal(t, want, module.Root)
	}
	for input, want := range map[string]string{
		"filesystem a b":              "wrong argument count",
		"filesystem a {\n root b\n}":  "root is given twice",
		"filesystem {\n root\n}":      "wrong argument count",
		"filesystem {\n\n path /x\n}": `has no option "path"; the only one is root, at Testfile:3`,
		"filesystem {\n root a b\n}":  "wrong argument count",
	} {
		require.ErrorContains(t, new(filesystem.Module).UnmarshalCaddyfile(caddyfile.NewTestDispenser(input)), want, input)
	}
}

func TestModule_opens(t *testing.T) {
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	defer cancel()
	dataDir := t.TempDir()
	t.Setenv("TEST_ROOT", filepath.Join(dataDir, "elsewhere"))
	identities := map[string]bool{}
	for root, want := range map[string]string{"": "storage", "{env.TEST_ROOT}": "elsewhere"} {
		module := &filesystem.Module{Root: root}
		require.NoError(t, module.Provision(ctx))
		backend, err := module.OpenStorage(t.Context(), dataDir, nil)
		require.NoError(t, err)
		require.NoError(t, backend.Check(t.Context()))
		_, err = os.Stat(filepath.Join(dataDir, want, "blobs"))
		require.NoError(t, err)
		identities[module.Identity()] = true
	}
	require.Len(t, identities, 2)
	require.Error(t, (&filesystem.Module{Root: "{env.TEST_UNSET_ROOT}"}).Provision(ctx))
}
