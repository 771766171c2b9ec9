package filesystem_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/storage"
	"github.com/berth-registry/berth/storage/filesystem"
	"github.com/berth-registry/berth/storage/storagetest"
)

func open(t testing.TB, root string) *filesystem.Backend {
	t.Helper()
	backend, err := filesystem.New(filesystem.Config{Root: root})
	require.NoError(t, err)
	return backend
}

func TestBackend_passesTheSuite(t *testing.T) {
	root := t.TempDir()
	storagetest.Run(t, func(t *testing.T) storage.Backend { return open(t, root) })
}
