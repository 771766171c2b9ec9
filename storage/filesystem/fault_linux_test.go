package filesystem_test

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/storage"
	"github.com/berth-registry/berth/storage/filesystem"
	"github.com/berth-registry/berth/storage/storagetest"
)

const mebibyte = 1 << 20

func TestUpload_diskFull(t *testing.T) {
	root := mountTmpfs(t, "size=8m")
	backend := open(t, root)
	ballast := filepath.Join(root, "ballast")
	require.NoError(t, os.WriteFile(ballast, make([]byte, 5*mebibyte), 0o600))
	content := storagetest.Content(1, 6*mebibyte)

	upload, err := backend.Begin(t.Context())
	require.NoError(t, err)
	defer upload.Close()
	_, err = upload.Append(t.Context(), bytes.NewReader(content[:1000]))
	require.NoError(t, err)
	state, err := upload.Suspend(t.Context())
	require.NoError(t, err)
	n, err := upload.Append(t.Context(), bytes.NewReader(content[1000:]))
	require.ErrorIs(t, err, storage.ErrNoSpace)
	require.Equal(t, 1000+n, upload.Offset())
	_, err = backend.Begin(t.Context())
	if err != nil { // an empty file may still fit
		require.ErrorIs(t, err, storage.ErrNoSpace)
	}
	require.ErrorIs(t, backend.Check(t.Context()), storage.ErrNoSpace)

	// With space again it goes on where it was, and from the state too.
	require.NoError(t, os.Remove(ballast))
	_, err = upload.Append(t.Context(), bytes.NewReader(content[upload.Offset():5*mebibyte]))
	require.NoError(t, err)
	require.NoError(t, upload.Close())
	resumed, err := backend.Resume(t.Context(), state)
	require.NoError(t, err)
	defer resumed.Close()
	_, err = resumed.Append(t.Context(), bytes.NewReader(content[resumed.Offset():]))
	require.NoError(t, err)
	key, err := resumed.Commit(t.Context())
	require.NoError(t, err)
	require.True(t, bytes.Equal(content, storagetest.Load(t, backend, key)))
	require.NoError(t, backend.Check(t.Context()))
}

func TestBackend_readOnlyDirectory(t *testing.T) {
	root := mountTmpfs(t, "size=8m")
	backend := open(t, root)
	content := storagetest.Content(2, 1000)
	key := storagetest.Store(t, backend, content)
	upload, err := backend.Begin(t.Context())
	require.NoError(t, err)
	_, err = upload.Append(t.Context(), bytes.NewReader(content))
	require.NoError(t, err)
	state, err := upload.Suspend(t.Context())
	require.NoError(t, err)
	require.NoError(t, upload.Close())

	remount(t, root, true)
	_, err = backend.Begin(t.Context())
	require.ErrorIs(t, err, storage.ErrDenied)
	_, err = backend.Resume(t.Context(), state)
	require.ErrorIs(t, err, storage.ErrDenied)
	require.ErrorIs(t, backend.Check(t.Context()), storage.ErrDenied)
	require.ErrorIs(t, backend.Delete(t.Context(), []string{key}), storage.ErrDenied)
	_, err = filesystem.New(filesystem.Config{Root: filepath.Join(root, "other")})
	require.ErrorIs(t, err, storage.ErrDenied)
	require.Equal(t, content, storagetest.Load(t, backend, key), "what is there can be read")

	remount(t, root, false)
	resumed, err := backend.Resume(t.Context(), state)
	require.NoError(t, err)
	defer resumed.Close()
	key, err = resumed.Commit(t.Context())
	require.NoError(t, err)
	require.Equal(t, content, storagetest.Load(t, backend, key))
}

func TestOpen_treeIsGone(t *testing.T) {
	root := t.TempDir()
	backend := open(t, root)
	key := storagetest.Store(t, backend, []byte("x"))
	require.NoError(t, os.RemoveAll(filepath.Join(root, "blobs")))
	_, err := backend.Open(t.Context(), key, 0, -1)
	require.ErrorIs(t, err, storage.ErrDenied, "an unmounted volume is not a missing blob")
}

func TestNew_refused(t *testing.T) {
	_, err := filesystem.New(filesystem.Config{})
	require.Error(t, err)
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err = filesystem.New(filesystem.Config{Root: file})
	require.Error(t, err)
}

// TestResume_shutsOutTheFirst is a client that comes back while its first connection hangs.
func TestResume_shutsOutTheFirst(t *testing.T) {
	backend := open(t, t.TempDir())
	first, err := backend.Begin(t.Context())
	require.NoError(t, err)
	state, err := first.Suspend(t.Context())
	require.NoError(t, err)

	hanging, feed := io.Pipe()
	ended := make(chan error)
	go func() {
		_, err := first.Append(context.Background(), hanging)
		ended <- err
	}()
	_, err = feed.Write([]byte("half of it"))
	require.NoError(t, err)

	second, err := backend.Resume(t.Context(), state)
	require.NoError(t, err)
	defer second.Close()
	_, err = second.Append(t.Context(), strings.NewReader("all of it"))
	require.NoError(t, err)
	_, err = feed.Write([]byte("and the rest"))
	require.NoError(t, err)
	require.NoError(t, feed.Close())
	require.ErrorIs(t, <-ended, storage.ErrTakenOver)
	_, err = first.Commit(t.Context())
	require.ErrorIs(t, err, storage.ErrTakenOver)
	require.NoError(t, first.Abort(t.Context()))
	require.NoError(t, first.Close())

	key, err := second.Commit(t.Context())
	require.NoError(t, err)
	require.Equal(t, "all of it", string(storagetest.Load(t, backend, key)))
}

// TestResume_whileAnotherProcessWrites uses two backends on one directory: their locks are as those of two processes.
func TestResume_whileAnotherProcessWrites(t *testing.T) {
	root := t.TempDir()
	first, err := open(t, root).Begin(t.Context())
	require.NoError(t, err)
	state, err := first.Suspend(t.Context())
	require.NoError(t, err)
	other := open(t, root)
	_, err = other.Resume(t.Context(), state)
	var retryable *storage.RetryableError
	require.ErrorAs(t, err, &retryable)
	require.NoError(t, first.Close())
	second, err := other.Resume(t.Context(), state)
	require.NoError(t, err)
	require.NoError(t, second.Close())
}

func TestResume_fileCutShort(t *testing.T) {
	root := t.TempDir()
	backend := open(t, root)
	upload, err := backend.Begin(t.Context())
	require.NoError(t, err)
	_, err = upload.Append(t.Context(), strings.NewReader("ten bytes!"))
	require.NoError(t, err)
	state, err := upload.Suspend(t.Context())
	require.NoError(t, err)
	require.NoError(t, upload.Close())
	files, err := filepath.Glob(filepath.Join(root, "uploads", "*"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	require.NoError(t, os.Truncate(files[0], 5))
	_, err = backend.Resume(t.Context(), state)
	require.ErrorIs(t, err, storage.ErrNotFound)
}

// TestOpen_fileForSendfile checks what the kernel needs to see.
func TestOpen_fileForSendfile(t *testing.T) {
	backend := open(t, t.TempDir())
	key := storagetest.Store(t, backend, []byte("0123456789"))
	for _, offset := range []int64{0, 3} {
		reader, err := backend.Open(t.Context(), key, offset, -1)
		require.NoError(t, err)
		require.IsType(t, &os.File{}, reader)
		require.NoError(t, reader.Close())
	}
	reader, err := backend.Open(t.Context(), key, 2, 3)
	require.NoError(t, err)
	defer reader.Close()
	target := new(readFrom)
	_, err = io.Copy(target, reader)
	require.NoError(t, err)
	require.IsType(t, &os.File{}, target.limited.R)
	require.EqualValues(t, 3, target.limited.N)
}

// readFrom stands for a TCP connection.
type readFrom struct {
	io.Writer
	limited *io.LimitedReader
}

func (r *readFrom) ReadFrom(from io.Reader) (int64, error) {
	r.limited, _ = from.(*io.LimitedReader)
	return 0, nil
}

func TestClose_leavesNothingThatNobodyCanResume(t *testing.T) {
	root := t.TempDir()
	upload, err := open(t, root).Begin(t.Context())
	require.NoError(t, err)
	_, err = upload.Append(t.Context(), strings.NewReader("x"))
	require.NoError(t, err)
	require.NoError(t, upload.Close())
	files, err := os.ReadDir(filepath.Join(root, "uploads"))
	require.NoError(t, err)
	require.Empty(t, files)
}

func FuzzResume(f *testing.F) {
	root := f.TempDir()
	backend := open(f, root)
	upload, err := backend.Begin(f.Context())
	require.NoError(f, err)
	state, err := upload.Suspend(f.Context())
	require.NoError(f, err)
	require.NoError(f, upload.Close())
	for _, seed := range []string{string(state), "", "{}", `{"key":"../../../etc/passwd","size":0}`, `{"key":"00/..","size":-1}`, "null"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, state []byte) {
		upload, err := backend.Resume(t.Context(), state)
		if err == nil {
			require.GreaterOrEqual(t, upload.Offset(), int64(0))
			require.NoError(t, upload.Close())
		}
	})
}

func BenchmarkAppendCommit(b *testing.B) {
	for name, size := range map[string]int{"64KiB": 64 << 10, "10MiB": 10 << 20} {
		b.Run(name, func(b *testing.B) {
			backend := open(b, b.TempDir())
			content := storagetest.Content(1, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				upload, err := backend.Begin(b.Context())
				require.NoError(b, err)
				_, err = upload.Append(b.Context(), bytes.NewReader(content))
				require.NoError(b, err)
				_, err = upload.Commit(b.Context())
				require.NoError(b, err)
				require.NoError(b, upload.Close())
			}
		})
		b.Run(name+" in parallel", func(b *testing.B) {
			backend := open(b, b.TempDir())
			content := storagetest.Content(1, size)
			b.SetBytes(int64(size))
			b.SetParallelism(8)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					upload, err := backend.Begin(b.Context())
					if err == nil {
						_, err = upload.Append(b.Context(), bytes.NewReader(content))
					}
					if err == nil {
						_, err = upload.Commit(b.Context())
					}
					if err != nil {
						b.Error(err)
						return
					}
					_ = upload.Close()
				}
			})
		})
	}
}
