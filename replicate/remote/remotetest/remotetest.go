// Package remotetest starts registries elsewhere for tests.
package remotetest

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
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
	directory := t.TempDir()
	require.NoError(t, configure(directory, address))
	command := exec.Command("registry", "serve", filepath.Join(directory, "config.yml"))
	command.Env = append(os.Environ(), quiet)
	require.NoError(t, command.Start(), "the program registry is installed by make tools")
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	})
	require.Eventually(t, func() bool { return answers(address) }, startPatience, 10*time.Millisecond)
	return address
}

const (
	quiet         = "OTEL_TRACES_EXPORTER=none"
	startPatience = 30 * time.Second
)

// configure writes a configuration to a directory, which is also where the content goes.
func configure(directory, address string) error {
	return os.WriteFile(filepath.Join(directory, "config.yml"), fmt.Appendf(nil, `version: 0.1
log: {level: error}
storage:
  filesystem: {rootdirectory: %s}
  delete: {enabled: true}
http: {addr: %s}
`, filepath.Join(directory, "content"), address), 0o600)
}

func answers(address string) bool {
	connection, err := net.Dial("tcp", address)
	if err == nil {
		_ = connection.Close()
	}
	return err == nil
}

// Shared returns the address of the one reference registry of the test binary, for tests that keep to repositories of their own. It ends
// with the binary, whatever ends that.
func Shared(t testing.TB) string {
	t.Helper()
	r, err := shared()
	require.NoError(t, err, "the program registry is installed by make tools")
	return r.address
}

// instance is a running registry.
type instance struct {
	address string
	// lifeline is the other end of the keeper's standard input. It stays referenced, or else it would be collected and closed.
	lifeline io.WriteCloser
}

// The shell keeps the registry for as long as its standard input is open: the kernel closes it when the test binary ends, also when that is
// killed.
const keeper = `
registry serve "$1/config.yml" >/dev/null 2>&1 </dev/null &
server=$!
read -r line
kill -KILL $server
wait $server
rm -rf "$1"`

var shared = sync.OnceValues(func() (*instance, error) {
	if _, err := exec.LookPath("registry"); err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &instance{address: listener.Addr().String()}
	directory, err := os.MkdirTemp("", "berth-registry-")
	if err = errors.Join(err, listener.Close()); err != nil {
		return nil, err
	}
	if err := configure(directory, r.address); err != nil {
		return nil, err
	}
	command := exec.Command("sh", "-c", keeper, "sh", directory)
	command.Env = append(os.Environ(), quiet)
	if r.lifeline, err = command.StdinPipe(); err != nil {
		return nil, err
	}
	if err := command.Start(); err != nil {
		return nil, err
	}
	for until := time.Now().Add(startPatience); !answers(r.address); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(until) {
			return nil, errors.New("the registry does not answer")
		}
	}
	return r, nil
})
