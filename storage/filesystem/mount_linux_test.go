package filesystem_test

import (
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// mountTmpfs mounts a small file system of its own; the tests run as root, who ignores permissions but not a full or read-only
// file system.
func mountTmpfs(t *testing.T, options string) string {
	t.Helper()
	directory := t.TempDir()
	require.NoError(t, syscall.Mount("tmpfs", directory, "tmpfs", 0, options), "mounting needs root")
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(directory, syscall.MNT_DETACH)) })
	return directory
}

func remount(t *testing.T, directory string, readOnly bool) {
	t.Helper()
	flags := uintptr(syscall.MS_REMOUNT)
	if readOnly {
		flags |= syscall.MS_RDONLY
	}
	require.NoError(t, syscall.Mount("tmpfs", directory, "tmpfs", flags, ""))
}
