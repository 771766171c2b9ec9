// Package e2e_test drives the real binary through the front door: over TLS, with real clients, on real storage and databases.
package e2e_test

import (
	"testing"

	"github.com/berth-registry/berth/e2e/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// onEachStack runs a test on a directory with SQLite and on S3 with PostgreSQL.
func onEachStack(t *testing.T, test func(t *testing.T, stack *harness.Stack)) {
	t.Helper()
	t.Run("directory and sqlite", func(t *testing.T) { test(t, harness.Directory(t)) })
	t.Run("s3 and postgres", func(t *testing.T) { test(t, harness.Shared(t)) })
}
