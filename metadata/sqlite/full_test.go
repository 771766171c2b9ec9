//go:build linux

package sqlite_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/metadata/metadatatest"
	"github.com/berth-registry/berth/metadata/sqlite"
)

// TestTx_diskFull fills a small file system of a mount namespace of its own.
func TestTx_diskFull(t *testing.T) {
	if folder := os.Getenv(childPath); folder != "" {
		fillDisk(t, folder)
		return
	}
	command := child(t, t.Name(), t.TempDir())
	command.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if os.Getuid() != 0 {
		command.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		command.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		command.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	output, err := command.Output()
	require.NoError(t, err, string(output))
}

func fillDisk(t *testing.T, folder string) {
	require.NoError(t, syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""))
	require.NoError(t, syscall.Mount("tmpfs", folder, "tmpfs", 0, "size=4m"))
	defer func() { require.NoError(t, syscall.Unmount(folder, syscall.MNT_DETACH)) }()
	store, err := sqlite.Open(t.Context(), filepath.Join(folder, "berth.db"), metadatatest.Logger(t))
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	require.NoError(t, store.Migrate(t.Context()))

	put := func(name, text string) error {
		return store.Tx(t.Context(), func(ctx context.Context, tx *metadata.Tx) error {
			_, err := tx.PutSettingIfAbsent(ctx, name, text)
			return err
		})
	}
	// What fills the disk is another's file, which can be taken away again.
	filler := filepath.Join(folder, "filler")
	require.ErrorIs(t, os.WriteFile(filler, make([]byte, 8<<20), 0o600), syscall.ENOSPC)
	var stored []string
	for i := 0; err == nil; i++ {
		require.Less(t, i, 1000)
		name := fmt.Sprint(i)
		if err = put(name, strings.Repeat("x", 50_000)); err == nil {
			stored = append(stored, name)
		}
	}
	require.ErrorIs(t, err, metadata.ErrNoSpace)
	require.False(t, errors.Is(err, metadata.ErrUnavailable))
	for _, name := range stored {
		_, err := store.Setting(t.Context(), name)
		require.NoError(t, err)
	}
	require.NoError(t, os.Remove(filler))
	require.NoError(t, put("after", "that"), "writes go on when there is space again")
}
