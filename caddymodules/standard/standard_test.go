package standard_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// stockCaddy is the main package of somebody who adds Berth to their own Caddy.
const stockCaddy = `package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/berth-registry/berth/caddymodules/standard"
)

func main() { caddycmd.Main() }
`

func TestStandard_buildsIntoAStockCaddy(t *testing.T) {
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	directory := t.TempDir()
	// The same requirements as here, so that nothing has to be looked up on a network.
	requirements, err := os.ReadFile(filepath.Join(root, "go.mod"))
	require.NoError(t, err)
	sums, err := os.ReadFile(filepath.Join(root, "go.sum"))
	require.NoError(t, err)
	const own = "module github.com/berth-registry/berth\n"
	require.Contains(t, string(requirements), own)
	module := "module example.com/caddy\n" + string(requirements[len(own):]) +
		"\nrequire github.com/berth-registry/berth v0.0.0\n\nreplace github.com/berth-registry/berth => " + root + "\n"
	require.NoError(t, os.WriteFile(filepath.Join(directory, "go.mod"), []byte(module), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(directory, "go.sum"), sums, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(directory, "main.go"), []byte(stockCaddy), 0o600))

	run := func(name string, arguments ...string) string {
		command := exec.CommandContext(t.Context(), name, arguments...)
		command.Dir = directory
		command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=mod", "GOPROXY=off")
		output, err := command.CombinedOutput()
		require.NoError(t, err, string(output))
		return string(output)
	}
	run("go", "build", "-o", "caddy", ".")
	modules := run("./caddy", "list-modules")
	for _, id := range []string{
		"berth", "http.handlers.berth", "admin.api.berth", "berth.database.sqlite", "berth.database.postgres",
		"berth.storage.filesystem", "berth.storage.s3",
	} {
		require.Contains(t, modules, "\n"+id+"\n")
	}
	require.NoError(t, os.WriteFile(filepath.Join(directory, "Caddyfile"), []byte("localhost {\n\tberth\n}\n"), 0o600))
	require.Contains(t, run("./caddy", "adapt"), `"handler":"berth"`)
}
