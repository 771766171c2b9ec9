package s3server

import (
	"os/exec"
	"syscall"
)

// dieWithParent has the kernel kill the server when the test's process is killed and cannot do it itself.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
