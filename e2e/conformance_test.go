package e2e_test

import (
	"encoding/xml"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/e2e/harness"
)

// outcome is what the conformance program's junit.xml says in its first line.
type outcome struct {
	Tests    int `xml:"tests,attr"`
	Failures int `xml:"failures,attr"`
	Errors   int `xml:"errors,attr"`
	Skipped  int `xml:"skipped,attr"`
	Suites   []struct {
		Cases []struct {
			Name    string    `xml:"name,attr"`
			Failure *struct{} `xml:"failure"`
			Error   *struct{} `xml:"error"`
			Skipped *struct{} `xml:"skipped"`
		} `xml:"testcase"`
	} `xml:"testsuite"`
}

func TestConformance_everyProfileOnEveryStack(t *testing.T) {
	onEachStack(t, func(t *testing.T, stack *harness.Stack) {
		gateway := harness.Start(t, stack)
		for _, version := range []string{"1.1", "dev"} {
			t.Run(version, func(t *testing.T) {
				results := t.TempDir()
				said, failed := harness.Run(t.Context(), []string{
					"SSL_CERT_FILE=" + gateway.CA(),
					"OCI_VERSION=" + version,
					"OCI_REGISTRY=" + gateway.Host(),
					"OCI_TLS=enabled",
					"OCI_REPO1=library/conformance-" + version + "/one",
					"OCI_REPO2=library/conformance-" + version + "/two",
					"OCI_USERNAME=admin",
					"OCI_PASSWORD=" + harness.AdminPassword,
					"OCI_RESULTS_DIR=" + results,
				}, "", harness.Tool(t, "conformance"))

				report, err := os.ReadFile(filepath.Join(results, "junit.xml"))
				require.NoError(t, err, "%v\n%s", failed, said)
				var got outcome
				require.NoError(t, xml.Unmarshal(report, &got))
				for _, suite := range got.Suites {
					for _, one := range suite.Cases {
						if one.Failure != nil || one.Error != nil || one.Skipped != nil {
							t.Errorf("failed or skipped: %s", one.Name)
						}
					}
				}
				t.Logf("profile %s: %d tests, %d failures, %d errors, %d skipped", version, got.Tests, got.Failures, got.Errors, got.Skipped)
				require.NoError(t, failed)
				require.Greater(t, got.Tests, 700)
				require.Zero(t, got.Failures+got.Errors)
				require.Zero(t, got.Skipped)
			})
		}
	})
}
