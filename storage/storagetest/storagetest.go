// Package storagetest is the suite that every storage.Backend passes, ours and others'.
package storagetest

import (
	"bytes"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/storage"
)

// Run tests a kind of backend. open returns a backend; all that it returns in one run are on the same storage, as those of
// several gateways are, and may hold what other tests left. The tests of the optional interfaces run where the backend has
// them. Nothing else may use the storage meanwhile.
func Run(t *testing.T, open func(t *testing.T) storage.Backend) {
	s := suite{open: open}
	for _, test := range []struct {
		name string
		run  func(t *testing.T)
	}{
		{"Upload_of each length is read back", s.lengths},
		{"Upload_in chunks of any size", s.chunks},
		{"Upload_suspended and continued by the same value", s.suspendAndGoOn},
		{"Upload_resumed from an older state", s.olderState},
		{"Upload_resumed after a crash", s.crash},
		{"Upload_resumed from nonsense", s.nonsense},
		{"Commit_twice", s.commitTwice},
		{"Commit_after resuming the state before it", s.commitAgain},
		{"Commit_gives a fresh key each time", s.freshKeys},
		{"Commit_of one state by two requests", s.racingCommits},
		{"Abort_twice", s.abortTwice},
		{"Abort_after commit", s.abortCommitted},
		{"Append_after the end", s.afterTheEnd},
		{"Append_with a failing reader", s.failingReader},
		{"Append_cancelled", s.cancelled},
		{"Append_64 at once", s.parallel},
		{"Open_ranges", s.ranges},
		{"Open_what is not there", s.missing},
		{"Delete_what is gone", s.deleteGone},
		{"Delete_more than one batch", s.deleteMany},
		{"Check", s.check},
		{"Walk", s.walk},
		{"Sweep", s.sweep},
	} {
		t.Run(test.name, test.run)
	}
}

type suite struct {
	open func(t *testing.T) storage.Backend
}

// Content returns n bytes that look random and are the same for the same seed.
func Content(seed uint64, n int) []byte {
	content := make([]byte, n)
	_, _ = source(seed).Read(content)
	return content
}

// ContentReader reads what [Content] would return.
func ContentReader(seed uint64, n int64) io.Reader { return io.LimitReader(source(seed), n) }

func source(seed uint64) *rand.ChaCha8 {
	return rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), byte(seed >> 24)})
}

// Store uploads content and returns its key; the object is deleted when the test is over.
func Store(t testing.TB, backend storage.Backend, content []byte) string {
	t.Helper()
	upload := begin(t, backend)
	appendTo(t, upload, content)
	return commit(t, backend, upload)
}

// Load reads a whole object.
func Load(t testing.TB, backend storage.Backend, key string) []byte {
	t.Helper()
	return loadRange(t, backend, key, 0, -1)
}

func loadRange(t testing.TB, backend storage.Backend, key string, offset, length int64) []byte {
	t.Helper()
	reader, err := backend.Open(t.Context(), key, offset, length)
	require.NoError(t, err)
	content, err := io.ReadAll(reader)
	require.NoError(t, err)
	require.NoError(t, reader.Close())
	return content
}

// requireObject compares an object with what it should be, without printing megabytes.
func requireObject(t testing.TB, backend storage.Backend, key string, want []byte) {
	t.Helper()
	requireEqual(t, want, Load(t, backend, key))
}

func requireEqual(t testing.TB, want, got []byte) {
	t.Helper()
	if !bytes.Equal(want, got) {
		require.FailNow(t, "other bytes than were written", "want %d bytes, got %d", len(want), len(got))
	}
}

func begin(t testing.TB, backend storage.Backend) storage.Upload {
	t.Helper()
	upload, err := backend.Begin(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { _ = upload.Close() })
	return upload
}

func resume(t testing.TB, backend storage.Backend, state []byte) storage.Upload {
	t.Helper()
	upload, err := backend.Resume(t.Context(), state)
	require.NoError(t, err)
	t.Cleanup(func() { _ = upload.Close() })
	return upload
}

func appendTo(t testing.TB, upload storage.Upload, content []byte) {
	t.Helper()
	before := upload.Offset()
	n, err := upload.Append(t.Context(), bytes.NewReader(content))
	require.NoError(t, err)
	require.EqualValues(t, len(content), n)
	require.Equal(t, before+n, upload.Offset())
}

func suspend(t testing.TB, upload storage.Upload) []byte {
	t.Helper()
	state, err := upload.Suspend(t.Context())
	require.NoError(t, err)
	require.Less(t, len(state), 6<<20, "a state is less than 6 MiB")
	return state
}

func commit(t testing.TB, backend storage.Backend, upload storage.Upload) string {
	t.Helper()
	key, err := upload.Commit(t.Context())
	require.NoError(t, err)
	require.NotEmpty(t, key)
	require.NoError(t, upload.Close())
	deleteLater(t, backend, key)
	return key
}
