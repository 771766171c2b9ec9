// Package remotetest starts registries elsewhere for tests.
package remotetest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Distribution starts the reference registry, which the tests' programs include, and returns its address.
func Distribution(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := listener.Addr().String()
	require.NoError(t, listener.Close())
	config := filepath.Join(t.TempDir(), "config.yml")
	require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, `version: 0.1
log: {level: error}
storage:
  filesystem: {rootdirectory: %s}
  delete: {enabled: true}
http: {addr: %s}
`, t.TempDir(), address), 0o600))
	command := exec.Command("registry", "serve", config)
	command.Env = append(os.Environ(), "OTEL_TRACES_EXPORTER=none")
	require.NoError(t, command.Start(), "the program registry is installed by make tools")
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	})
	require.Eventually(t, func() bool {
		connection, err := net.Dial("tcp", address)
		if err == nil {
			_ = connection.Close()
		}
		return err == nil
	}, 10*time.Second, 10*time.Millisecond)
	return address
}
