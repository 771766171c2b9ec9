// Package redistest starts Redis servers for tests, on loopback.
package redistest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/outputtest"
)

// Server is a Redis that keeps nothing on disk.
type Server struct {
	// Address is its host and port, which it has again after a restart.
	Address string

	t         testing.TB
	program   string
	arguments []string
	output    outputtest.Output

	mu      sync.Mutex
	running *exec.Cmd
}

// FreePort is a port that nobody listens on.
func FreePort(t testing.TB) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}

// Start starts a Redis with more arguments, which ends with the test.
func Start(t testing.TB, arguments ...string) *Server {
	t.Helper()
	s := Prepare(t, arguments...)
	s.Start()
	return s
}

// Prepare is Start without starting it.
func Prepare(t testing.TB, arguments ...string) *Server {
	t.Helper()
	port := strconv.Itoa(FreePort(t))
	own := []string{"--port", port}
	for i, argument := range arguments {
		if argument == "--tls-port" {
			arguments[i+1], own = port, []string{"--port", "0"}
		}
	}
	own = append(own, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", t.TempDir(), "--daemonize", "no")
	return prepare(t, "redis-server", "127.0.0.1:"+port, append(own, arguments...)...)
}

func prepare(t testing.TB, program, address string, arguments ...string) *Server {
	s := &Server{Address: address, t: t, program: program, arguments: arguments}
	t.Cleanup(s.Kill)
	return s
}

// StartSentinel starts a sentinel that watches a server as "berth", whose password may be "".
func StartSentinel(t testing.TB, watched *Server, password string) *Server {
	t.Helper()
	port := FreePort(t)
	host, watchedPort, err := net.SplitHostPort(watched.Address)
	require.NoError(t, err)
	config := fmt.Sprintf("port %d\nbind 127.0.0.1\ndir %s\nsentinel monitor berth %s %s 1\nsentinel down-after-milliseconds berth 500\nsentinel failover-timeout berth 3000\n",
		port, t.TempDir(), host, watchedPort)
	if password != "" {
		config += "sentinel auth-pass berth " + password + "\n"
	}
	file := filepath.Join(t.TempDir(), "sentinel.conf")
	require.NoError(t, os.WriteFile(file, []byte(config), 0o600))
	s := prepare(t, "redis-sentinel", fmt.Sprintf("127.0.0.1:%d", port), file)
	s.Start()
	return s
}

// StartCluster starts a cluster of three servers and returns their addresses.
func StartCluster(t testing.TB) []string {
	t.Helper()
	var addresses []string
	for range 3 {
		// The bus of a cluster has a port of its own, which may be any.
		bus := strconv.Itoa(FreePort(t))
		addresses = append(addresses, Start(t, "--cluster-enabled", "yes", "--cluster-port", bus, "--cluster-node-timeout", "2000").Address)
	}
	arguments := append([]string{"--cluster", "create"}, addresses...)
	output, err := exec.Command("redis-cli", append(arguments, "--cluster-yes")...).CombinedOutput()
	require.NoError(t, err, string(output))
	require.Eventually(t, func() bool {
		for _, address := range addresses {
			host, port, _ := net.SplitHostPort(address)
			info, _ := exec.Command("redis-cli", "-h", host, "-p", port, "cluster", "info").Output()
			if !strings.Contains(string(info), "cluster_state:ok") {
				return false
			}
		}
		return true
	}, time.Minute, 50*time.Millisecond)
	return addresses
}

// Start starts it and waits until it listens.
func (s *Server) Start() {
	s.t.Helper()
	command := exec.Command(s.program, s.arguments...)
	command.Stdout, command.Stderr = &s.output, &s.output
	require.NoError(s.t, command.Start(), "%s comes with the Debian packages that make tools installs", s.program)
	s.mu.Lock()
	s.running = command
	s.mu.Unlock()
	require.Eventually(s.t, func() bool {
		connection, err := net.Dial("tcp", s.Address)
		if err != nil {
			return false
		}
		return connection.Close() == nil
	}, time.Minute, 10*time.Millisecond, "%s", &s.output)
}

// Kill ends it at once; what it held is gone.
func (s *Server) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running == nil {
		return
	}
	_ = s.running.Process.Kill() // it may have ended
	_ = s.running.Wait()
	s.running = nil
}

// Do sends a command and returns the answer.
func (s *Server) Do(arguments ...string) string {
	s.t.Helper()
	host, port, err := net.SplitHostPort(s.Address)
	require.NoError(s.t, err)
	output, err := exec.Command("redis-cli", append([]string{"-h", host, "-p", port}, arguments...)...).CombinedOutput()
	require.NoError(s.t, err, string(output))
	return strings.TrimSpace(string(output))
}
