package e2e_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/e2e/harness"
)

// plugged is a stock Caddy with Berth in it, as somebody writes it who has Caddy already.
const plugged = `package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/berth-registry/berth/caddymodules/standard"
)

func main() {
	caddycmd.Main()
}
`

// TestPlugin_stockCaddyWithOneImport builds a Caddy outside of this repository, without C, and finds the modules in it.
func TestPlugin_stockCaddyWithOneImport(t *testing.T) {
	directory := t.TempDir()
	manifest, err := os.ReadFile(filepath.Join(harness.Root(), "go.mod"))
	require.NoError(t, err)
	// The versions that this repository pins; a plain `go get` would choose them too, but would ask the network.
	_, requirements, found := strings.Cut(string(manifest), "\n")
	require.True(t, found)
	outside := "module example.org/caddy\n" + requirements +
		"\nrequire github.com/berth-registry/berth v0.0.0\n\nreplace github.com/berth-registry/berth => " + harness.Root() + "\n"
	require.NoError(t, os.WriteFile(filepath.Join(directory, "go.mod"), []byte(outside), 0o600))
	sums, err := os.ReadFile(filepath.Join(harness.Root(), "go.sum"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(directory, "go.sum"), sums, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(directory, "main.go"), []byte(plugged), 0o600))

	caddy := filepath.Join(directory, "caddy")
	_, err = harness.Run(t.Context(), []string{"CGO_ENABLED=0", "GOFLAGS="}, "", "go", "-C", directory, "build", "-mod=mod", "-o", caddy, ".")
	require.NoError(t, err)
	modules, err := harness.Run(t.Context(), nil, "", caddy, "list-modules")
	require.NoError(t, err)
	for _, module := range []string{
		"berth", "berth.storage.filesystem", "berth.storage.s3", "berth.database.sqlite", "berth.database.postgres", "http.handlers.berth",
	} {
		require.Contains(t, strings.Fields(modules), module)
	}
}
