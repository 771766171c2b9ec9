package harness

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// Root is the repository's directory.
func Root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}

// builtIn is the directory of the binary that this run has built.
var builtIn string

var build = sync.OnceValues(func() (string, error) {
	if binary := os.Getenv("BERTH_BINARY"); binary != "" {
		return binary, nil
	}
	directory, err := os.MkdirTemp("", "berth-binary-")
	if err != nil {
		return "", err
	}
	builtIn = directory
	binary := filepath.Join(directory, "berth")
	arguments := []string{"-C", Root(), "build", "-o", binary, "./cmd/berth"}
	environ := []string{"CGO_ENABLED=0"}
	if os.Getenv("BERTH_E2E_RACE") != "" {
		arguments = []string{"-C", Root(), "build", "-race", "-o", binary, "./cmd/berth"}
		environ = []string{"CGO_ENABLED=1"}
	}
	if said, err := Run(context.Background(), environ, "", "go", arguments...); err != nil {
		return "", fmt.Errorf("build berth: %w\n%s", err, said)
	}
	return binary, nil
})

// Binary builds cmd/berth once and returns its path. The environment can name a binary that is there already (BERTH_BINARY), or
// ask for the race detector in it (BERTH_E2E_RACE).
func Binary(t testing.TB) string {
	t.Helper()
	binary, err := build()
	require.NoError(t, err)
	return binary
}

// Main runs the tests of a package and removes the binary that they built.
func Main(m *testing.M) {
	code := m.Run()
	if builtIn != "" {
		_ = os.RemoveAll(builtIn)
	}
	os.Exit(code)
}

// runLocked does the work it is handed on one thread, which is never given back.
func runLocked(work <-chan func()) {
	runtime.LockOSThread()
	for do := range work {
		do()
	}
}
