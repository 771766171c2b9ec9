package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// patience is how long a program may take to start or to end on a busy machine.
const patience = 60 * time.Second

// Process is a program in the background. It ends with the test.
type Process struct {
	command *exec.Cmd
	log     string
	exited  chan struct{}
	err     error
	// killed processes are not asked for their last words.
	killed bool
}

// StartProcess starts a program with more environment than the test's own and keeps what it says in a file, which is shown when
// the test fails.
func StartProcess(t testing.TB, environ []string, program string, arguments ...string) *Process {
	t.Helper()
	log, err := os.CreateTemp(t.TempDir(), filepath.Base(program)+"-*.log")
	require.NoError(t, err)
	command := exec.Command(program, arguments...)
	command.Env = append(os.Environ(), environ...)
	command.Stdout, command.Stderr = log, log
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	process := &Process{command: command, log: log.Name(), exited: make(chan struct{})}
	require.NoError(t, startLocked(command), "start %s", program)
	go func() {
		process.err = command.Wait()
		_ = log.Close()
		close(process.exited)
	}()
	t.Cleanup(func() {
		process.Stop()
		if t.Failed() && !process.killed {
			t.Logf("last words of %s:\n%s", filepath.Base(program), process.Tail(80))
		}
	})
	return process
}

// starter is the one thread that starts processes: the kernel's parent-death signal is about the thread, and the threads of
// other goroutines come and go.
var starter = sync.OnceValue(func() chan func() {
	work := make(chan func())
	go runLocked(work)
	return work
})

func startLocked(command *exec.Cmd) error {
	result := make(chan error)
	starter() <- func() { result <- command.Start() }
	return <-result
}

// PID is the process's id.
func (p *Process) PID() int { return p.command.Process.Pid }

// Exited is closed when the process has ended.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Stop asks the process to end and waits; after a minute it is killed.
func (p *Process) Stop() { p.end(syscall.SIGTERM) }

// Kill ends the process at once, as a power cut would.
func (p *Process) Kill() {
	p.killed = true
	p.end(syscall.SIGKILL)
}

func (p *Process) end(signal syscall.Signal) {
	_ = p.command.Process.Signal(signal)
	select {
	case <-p.exited:
	case <-time.After(patience):
		_ = p.command.Process.Kill()
		<-p.exited
	}
}

// Signal sends a signal.
func (p *Process) Signal(signal os.Signal) error { return p.command.Process.Signal(signal) }

// Log is everything the process has said.
func (p *Process) Log() string {
	said, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(said)
}

// Tail is the last lines that the process has said.
func (p *Process) Tail(lines int) string {
	said := strings.Split(strings.TrimRight(p.Log(), "\n"), "\n")
	return strings.Join(said[max(0, len(said)-lines):], "\n")
}

// Run runs a program to its end and returns what it said. Its failure is an error that holds what it said.
func Run(ctx context.Context, environ []string, stdin, program string, arguments ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, program, arguments...)
	command.Env = append(os.Environ(), environ...)
	command.Stdin = strings.NewReader(stdin)
	// A child that outlives the program would hold the pipe open.
	command.WaitDelay = 5 * time.Second
	var said, complained bytes.Buffer
	command.Stdout, command.Stderr = &said, &complained
	if err := command.Run(); err != nil {
		return said.String(), fmt.Errorf("%s %s: %w\n%s%s", filepath.Base(program), strings.Join(arguments, " "), err, said.String(), complained.String())
	}
	return said.String(), nil
}

// Tool returns the path of a program that e2e/install.sh installs; it fails the test when it is not there.
func Tool(t testing.TB, name string) string {
	t.Helper()
	if path := filepath.Join(toolDirectory(t), name); isProgram(path) {
		return path
	}
	path, err := exec.LookPath(name)
	if errors.Is(err, exec.ErrNotFound) {
		for _, directory := range []string{"/usr/sbin", "/usr/bin"} {
			if isProgram(filepath.Join(directory, name)) {
				return filepath.Join(directory, name)
			}
		}
	}
	require.NoErrorf(t, err, "%s is not installed: run e2e/install.sh", name)
	return path
}

func isProgram(path string) bool {
	status, err := os.Stat(path)
	return err == nil && status.Mode().IsRegular() && status.Mode()&0o111 != 0
}

var toolPath = sync.OnceValues(func() (string, error) {
	said, err := Run(context.Background(), nil, "", filepath.Join(Root(), "e2e", "install.sh"), "path")
	return strings.TrimSpace(said), err
})

func toolDirectory(t testing.TB) string {
	t.Helper()
	directory, err := toolPath()
	require.NoError(t, err)
	return directory
}

// FreePort returns a port of the loopback interface that nobody listens on.
func FreePort(t testing.TB) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, listener.Close()) }()
	return listener.Addr().(*net.TCPAddr).Port
}
