package s3_test

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/berth-registry/berth/storage/s3"
	"github.com/berth-registry/berth/storage/s3/s3server"
	"github.com/berth-registry/berth/storage/storagetest"
	"github.com/berth-registry/berth/storage/storagetest/faultproxy"
)

// occupied returns a backend whose memory is taken up by an upload that stands still, and its directory for spilled parts.
func occupied(t *testing.T, config s3.Config) (*s3.Backend, string) {
	t.Helper()
	config.Concurrency, config.PartSize, config.SpillDirectory = 1, s3.MinPartSize, t.TempDir()
	backend := open(t, config)
	upload, err := backend.Begin(t.Context())
	require.NoError(t, err)
	client, stalled := io.Pipe()
	var group errgroup.Group
	group.Go(func() error {
		_, err := upload.Append(context.WithoutCancel(t.Context()), client)
		return err
	})
	t.Cleanup(func() {
		require.NoError(t, stalled.Close())
		require.NoError(t, group.Wait())
		require.NoError(t, upload.Close())
	})
	_, err = stalled.Write(storagetest.Content(9, mebibyte))
	require.NoError(t, err)
	return backend, config.SpillDirectory
}

func TestAppend_besideAStalledUpload(t *testing.T) {
	onEveryServer(t, func(t *testing.T, server *s3server.Server) {
		config, proxy := behindProxy(t, server)
		backend, directory := occupied(t, config)
		for name, length := range map[string]int{
			"one request": 3 * mebibyte, "one request of two parts": 10 * mebibyte, "multipart": 18*mebibyte + 1, "whole parts": 15 * mebibyte,
		} {
			t.Run(name, func(t *testing.T) {
				proxy.Inject(faultproxy.Fault{Operation: faultproxy.UploadPart, Times: 1, Act: faultproxy.CutRequest(1000)})
				proxy.Inject(faultproxy.Fault{Operation: faultproxy.PutObject, Times: 1, Act: faultproxy.CutRequest(1000)})
				defer proxy.Clear()
				content := storagetest.Content(2, length)
				upload, err := backend.Begin(t.Context())
				require.NoError(t, err)
				defer upload.Close()
				_, err = upload.Append(t.Context(), bytes.NewReader(content[:length/2]))
				require.NoError(t, err)
				state, err := upload.Suspend(t.Context())
				require.NoError(t, err)
				resumed, err := backend.Resume(t.Context(), state)
				require.NoError(t, err)
				defer resumed.Close()
				_, err = resumed.Append(t.Context(), bytes.NewReader(content[length/2:]))
				require.NoError(t, err)
				key, err := resumed.Commit(t.Context())
				require.NoError(t, err)
				requireObject(t, backend, key, content)
			})
		}
		left, err := os.ReadDir(directory)
		require.NoError(t, err)
		require.Empty(t, left)
	})
}

// TestAppend_besideAStalledUploadWithoutDisk has no place for the bytes at first, and loses none of those that it took.
func TestAppend_besideAStalledUploadWithoutDisk(t *testing.T) {
	backend, directory := occupied(t, configOf(s3server.StartVersityGW(t)))
	aside := filepath.Join(t.TempDir(), "aside")
	require.NoError(t, os.Rename(directory, aside))
	content := storagetest.Content(3, 12*mebibyte)
	reader := bytes.NewReader(content)
	upload, err := backend.Begin(t.Context())
	require.NoError(t, err)
	defer upload.Close()
	n, err := upload.Append(t.Context(), reader)
	requireFault(t, err, nil, 5*time.Second)
	require.EqualValues(t, len(content)-reader.Len(), n, "every byte that was read is taken")
	require.NoError(t, os.Rename(aside, directory))
	_, err = upload.Append(t.Context(), reader)
	require.NoError(t, err)
	key, err := upload.Commit(t.Context())
	require.NoError(t, err)
	requireObject(t, backend, key, content)
}
