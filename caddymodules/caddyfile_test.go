package caddymodules_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/caddymodules"
	_ "github.com/berth-registry/berth/caddymodules/standard"
)

var update = flag.Bool("update", false, "write what the tests get into their files")

// adapt returns the JSON of a Caddyfile, or the text of the error.
func adapt(t *testing.T, text string) string {
	t.Helper()
	adapted, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		return err.Error()
	}
	for _, warning := range warnings {
		// Whether the samples are formatted is of no interest.
		require.Contains(t, warning.Message, "not formatted")
	}
	var pretty bytes.Buffer
	require.NoError(t, json.Indent(&pretty, adapted, "", "\t"))
	return pretty.String()
}

func TestCaddyfile_adaptsToJSON(t *testing.T) {
	files, err := filepath.Glob("testdata/caddyfile_adapt/*.caddyfiletest")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".caddyfiletest"), func(t *testing.T) {
			content, err := os.ReadFile(file)
			require.NoError(t, err)
			text, want, found := strings.Cut(string(content), "\n----------\n")
			require.True(t, found, "the file has no line of dashes")
			got := adapt(t, text)
			if *update {
				require.NoError(t, os.WriteFile(file, []byte(text+"\n----------\n"+got+"\n"), 0o600))
				return
			}
			require.Equal(t, strings.TrimSpace(want), got)
		})
	}
}

func TestCaddyfile_shippedAdaptsWithoutWarning(t *testing.T) {
	content, err := os.ReadFile("../Caddyfile")
	require.NoError(t, err)
	_, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt(content, map[string]any{"filename": "Caddyfile"})
	require.NoError(t, err)
	require.Empty(t, warnings)
}

func FuzzCaddyfile_options(f *testing.F) {
	for _, seed := range []string{
		"berth", "berth {\n}", "berth {\n\tdata_dir a\n}", "berth {\n\tdatabase sqlite x.db\n\tstorage filesystem\n}",
		"berth {\n\tdatabase postgres {\n\t\turl postgres://x\n\t\tmax_connections 3\n\t}\n}",
		"berth {\n\tstorage s3 {\n\t\tendpoint https://x\n\t\tbucket b\n\t}\n}", "berth {\n\ttoken_lifetime 5m\n\tupload_expiry 1d\n}",
		"berth {\n\tdata_dir a {\n\t\tb\n\t}\n}", "berth {\n\tstorage\n}", "berth x", "berth {", "berth {\n\texternal_url \"\n}",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		tokens, err := caddyfile.Tokenize([]byte(text), "Caddyfile")
		if err != nil || len(tokens) == 0 {
			return
		}
		app := new(caddymodules.App)
		if app.UnmarshalCaddyfile(caddyfile.NewDispenser(tokens)) != nil {
			return
		}
		first, err := json.Marshal(app)
		require.NoError(t, err)
		again := new(caddymodules.App)
		require.NoError(t, json.Unmarshal(first, again))
		second, err := json.Marshal(again)
		require.NoError(t, err)
		require.JSONEq(t, string(first), string(second))
	})
}
