package filesystem

import (
	"context"
	"fmt"
	"os"
	"syscall"

	"github.com/berth-registry/berth/storage"
)

// Volume measures the file system of the directory; what is reserved for the superuser is not free.
func (b *Backend) Volume(context.Context) (storage.Volume, error) {
	var measured syscall.Statfs_t
	if err := syscall.Statfs(b.blobs, &measured); err != nil {
		return storage.Volume{}, fmt.Errorf("measure the file system of %s: %w", b.blobs, os.NewSyscallError("statfs", err))
	}
	block := uint64(measured.Frsize) //nolint:gosec // never negative
	return storage.Volume{Total: measured.Blocks * block, Free: measured.Bavail * block}, nil
}

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
