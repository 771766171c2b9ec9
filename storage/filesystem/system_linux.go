package filesystem

import (
	"os"
	"syscall"
)

// syncContent makes the bytes of a file durable, and of its metadata what is needed to read them.
func syncContent(file *os.File) error {
	for {
		err := syscall.Fdatasync(int(file.Fd()))
		if err != syscall.EINTR {
			return os.NewSyscallError("fdatasync", err)
		}
	}
}

// lock keeps other processes from writing the file until it is closed. It fails with EAGAIN when another has it.
func lock(file *os.File) error {
	return os.NewSyscallError("flock", syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB))
}
