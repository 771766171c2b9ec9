package e2e_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/e2e/harness"
)

// commandsOf returns the blocks of commands in a guide.
func commandsOf(t *testing.T, guide string) (blocks []string) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(harness.Root(), "docs", guide))
	require.NoError(t, err)
	for _, match := range shellBlock.FindAllStringSubmatch(string(content), -1) {
		blocks = append(blocks, match[1])
	}
	return blocks
}

// TestGuides_lifecycle types the commands of the guides to what is deleted, as they stand there but for numbers.
func TestGuides_lifecycle(t *testing.T) {
	gateway := harness.Start(t, harness.Directory(t))
	o := newOperator(t, gateway)
	o.logIn("admin", harness.AdminPassword)
	image := harness.NewImage(1, 5000)
	require.NoError(t, gateway.Admin().Push(t.Context(), "library/app", "v1", image))
	latest := func(words ...string) string {
		t.Helper()
		var rows []struct{ ID json.Number }
		require.NoError(t, json.Unmarshal([]byte(o.run("", append(words, "-o", "json")...)), &rows))
		require.NotEmpty(t, rows)
		return rows[0].ID.String()
	}
	as := strings.NewReplacer

	blocks := commandsOf(t, "soft-delete.md")
	require.Len(t, blocks, 1)
	deleting, rest, found := strings.Cut(blocks[0], "berth artifact restore")
	require.True(t, found)
	restoring, purging, found := strings.Cut("berth artifact restore"+rest, "berth artifact purge")
	require.True(t, found)
	said := o.types(deleting, as(), "")
	require.Contains(t, said[2], image.Digest)
	said = o.types(restoring, as("12", latest("artifact", "deleted", "library")), "")
	require.Contains(t, said[0], "with tags: v1")
	require.NoError(t, gateway.Admin().CheckPull(t.Context(), "library/app", "v1", image))
	o.run("", "artifact", "delete", "library/app:v1")
	o.types("berth artifact purge"+purging, as("12", latest("artifact", "deleted", "library")), "")
	require.NotContains(t, o.run("", "artifact", "deleted", "library"), image.Digest)

	blocks = commandsOf(t, "garbage-collection.md")
	require.Len(t, blocks, 2)
	running, rest, found := strings.Cut(blocks[0], "berth gc log")
	require.True(t, found)
	said = o.types(running, as(), "")
	require.Contains(t, said[0], "Dry run: would free 0 B")
	require.Contains(t, said[1], "Freed 0 B", "a push may be on its way")
	require.Contains(t, o.run("", "gc", "run", "--grace", "0s"), "Freed 5.0 KiB: 2 blobs")
	said = o.types("berth gc log"+rest, as("12", latest("gc", "list")), "")
	require.Contains(t, said[0], "freed 2 with 5.0 KiB")
	require.Contains(t, said[1], "has ended: Success", "what has ended is not said to be stopped")
	require.Contains(t, o.run("", "gc", "schedule"), "Weekly")
	require.NoError(t, gateway.Admin().Push(t.Context(), "library/app", "v2", image))
	said = o.types(blocks[1], as(), "")
	require.Contains(t, o.run("", "storage", "--help"), "verify ", "beside Caddy's own commands of that name")
	for _, line := range [][]string{{}, {"help"}, {"--help"}, {"project", "--help"}} {
		help := o.run("", line...)
		require.Contains(t, help, "github.com/berth-registry/berth/tree/main/docs")
		require.NotContains(t, help, "caddyserver.com")
	}
	gateway.Stop()
	for line := range strings.Lines(blocks[1]) {
		command, _, _ := strings.Cut(line, "#")
		answer, err := gateway.CommandWith("", strings.Fields(command)[1:]...)
		require.NoError(t, err, line)
		said = append(said, answer)
	}
	for i, one := range said {
		wanted := "compared 2 blobs of 5.0 KiB: 0 missing, 0 wrong; 0 unknown objects"
		if i%4 == 0 {
			wanted = "2 blobs of 5.0 KiB"
		}
		require.Contains(t, one, wanted, "as the server runs, and as it is stopped: %d", i)
	}
}
