package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/e2e/harness"
)

var (
	caddyfileBlock = regexp.MustCompile("(?s)```caddyfile\n(.*?)```")
	link           = regexp.MustCompile(`\]\(([^)#]+)(#[^)]*)?\)`)
)

// TestDocs_caddyfilesAdapt adapts every Caddyfile in the guides, so that none of them has an option that does not exist.
func TestDocs_caddyfilesAdapt(t *testing.T) {
	found := 0
	for _, guide := range guides(t) {
		content, err := os.ReadFile(guide)
		require.NoError(t, err)
		for _, match := range caddyfileBlock.FindAllStringSubmatch(string(content), -1) {
			found++
			file := filepath.Join(t.TempDir(), "Caddyfile")
			require.NoError(t, os.WriteFile(file, []byte(complete(match[1])), 0o600))
			_, err := harness.Run(t.Context(), []string{"HOME=" + t.TempDir()}, "", harness.Binary(t), "adapt", "--config", file)
			require.NoError(t, err, "%s:\n%s", guide, match[1])
		}
	}
	require.Greater(t, found, 5)
}

// complete puts an excerpt where it belongs.
func complete(excerpt string) string {
	switch word, _, _ := strings.Cut(strings.TrimSpace(excerpt), " "); word {
	case "storage", "database", "auth", "settings", "policy", "mirror", "outbound", "queue", "syslog":
		return fmt.Sprintf("{\n\tberth {\n%s\n\t}\n}\nlocalhost {\n\tberth\n}\n", excerpt)
	case "servers":
		return fmt.Sprintf("{\n%s\n}\nlocalhost {\n\tberth\n}\n", excerpt)
	default:
		return excerpt
	}
}

// TestDocs_linksLead follows every link between files.
func TestDocs_linksLead(t *testing.T) {
	for _, guide := range guides(t) {
		content, err := os.ReadFile(guide)
		require.NoError(t, err)
		for _, match := range link.FindAllStringSubmatch(string(content), -1) {
			if strings.Contains(match[1], "://") {
				continue
			}
			require.FileExists(t, filepath.Join(filepath.Dir(guide), match[1]), guide)
		}
	}
}

func guides(t *testing.T) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(harness.Root(), "docs", "*.md"))
	require.NoError(t, err)
	root, err := filepath.Glob(filepath.Join(harness.Root(), "*.md"))
	require.NoError(t, err)
	return append(found, root...)
}
