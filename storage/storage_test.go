package storage_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/storage"
	"github.com/berth-registry/berth/storage/filesystem"
	"github.com/berth-registry/berth/storage/storagetest"
)

func TestNewKey_isValidAndFresh(t *testing.T) {
	seen := map[string]bool{}
	for range 10_000 {
		key, err := storage.NewKey()
		require.NoError(t, err)
		require.True(t, storage.ValidKey(key), key)
		require.False(t, seen[key])
		seen[key] = true
	}
}

func TestDeriveKey(t *testing.T) {
	key, err := storage.NewKey()
	require.NoError(t, err)
	derive := func(digest string) string {
		derived, err := storage.DeriveKey(key, []byte(digest))
		require.NoError(t, err)
		require.True(t, storage.ValidKey(derived))
		return derived
	}
	require.Equal(t, derive("0123456789"), derive("0123456789"))
	require.NotEqual(t, derive("0123456789"), derive("0123456788"))
	require.NotEqual(t, key, derive("0123456789"))
	_, err = storage.DeriveKey(key, []byte("short"))
	require.Error(t, err)
	_, err = storage.DeriveKey("../x", []byte("0123456789"))
	require.Error(t, err)
}

func FuzzValidKey(f *testing.F) {
	key, err := storage.NewKey()
	require.NoError(f, err)
	for _, seed := range []string{key, "", "..", "00/..", strings.ToLower(key), "\x00", key + "/", "/" + key} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, key string) {
		if storage.ValidKey(key) && (len(key) != 29 || strings.ContainsAny(key, ".\\\x00%") || strings.Count(key, "/") != 1) {
			t.Errorf("%q passed", key)
		}
	})
}

func TestIdentityOf(t *testing.T) {
	identity := storage.IdentityOf("s3", map[string]string{"secret": "hunter2"})
	require.Equal(t, identity, storage.IdentityOf("s3", map[string]string{"secret": "hunter2"}))
	require.NotEqual(t, identity, storage.IdentityOf("s3", map[string]string{"secret": "hunter3"}))
	require.NotEqual(t, identity, storage.IdentityOf("other", map[string]string{"secret": "hunter2"}))
	require.NotContains(t, identity, "hunter2")
}

// seen is what an observer was told.
type seen struct {
	mu         sync.Mutex
	operations []string
	bytes      int64
	err        error
}

type spanKey struct{}

func (s *seen) observe(ctx context.Context, operation string) (context.Context, func(int64, error)) {
	return context.WithValue(ctx, spanKey{}, operation), func(bytes int64, err error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.operations = append(s.operations, operation)
		s.bytes += bytes
		s.err = err
	}
}

func TestInstrument_passesTheSuite(t *testing.T) {
	root := t.TempDir()
	storagetest.Run(t, func(t *testing.T) storage.Backend {
		backend, err := filesystem.New(filesystem.Config{Root: root})
		require.NoError(t, err)
		return storage.Instrument(backend, new(seen).observe)
	})
}

func TestInstrument_tellsTheObserver(t *testing.T) {
	inner, err := filesystem.New(filesystem.Config{Root: t.TempDir()})
	require.NoError(t, err)
	told := new(seen)
	backend := storage.Instrument(inner, told.observe)
	upload, err := backend.Begin(t.Context())
	require.NoError(t, err)
	_, err = upload.Append(t.Context(), bytes.NewReader(make([]byte, 1000)))
	require.NoError(t, err)
	state, err := upload.Suspend(t.Context())
	require.NoError(t, err)
	upload, err = backend.Resume(t.Context(), state)
	require.NoError(t, err)
	key, err := upload.Commit(t.Context())
	require.NoError(t, err)
	require.NoError(t, upload.Abort(t.Context()))
	reader, err := backend.Open(t.Context(), key, 0, -1)
	require.NoError(t, err)
	require.NoError(t, reader.Close())
	require.NoError(t, backend.Delete(t.Context(), []string{key}))
	require.NoError(t, backend.(storage.Walker).Walk(t.Context(), "", nil))
	_, err = backend.(storage.Sweeper).Sweep(t.Context(), time.Now())
	require.NoError(t, err)
	_, err = backend.Open(t.Context(), key, 0, -1)
	require.ErrorIs(t, err, storage.ErrNotFound)
	require.Equal(t, []string{
		storage.OperationBegin, storage.OperationAppend, storage.OperationSuspend, storage.OperationResume,
		storage.OperationCommit, storage.OperationAbort, storage.OperationOpen, storage.OperationDelete, storage.OperationWalk,
		storage.OperationSweep, storage.OperationOpen,
	}, told.operations)
	require.EqualValues(t, 1000, told.bytes)
	require.ErrorIs(t, told.err, storage.ErrNotFound)
}

// The parts that a backend may be put together from, to see which of them are left after Instrument.
type (
	bare       struct{ storage.Backend }
	redirector struct{ url string }
	walker     struct{ err error }
	sweeper    struct{ n int }
	closer     struct{ err error }
)

func (r redirector) Redirect(context.Context, string, storage.RedirectOptions) (string, error) {
	return r.url, nil
}
func (w walker) Walk(context.Context, string, func(storage.Object) error) error { return w.err }
func (s sweeper) Sweep(context.Context, time.Time) (int, error)                 { return s.n, nil }
func (c closer) Close() error                                                   { return c.err }

func TestInstrument_keepsTheAbilities(t *testing.T) {
	r, w, s := redirector{"url"}, walker{io.ErrUnexpectedEOF}, sweeper{7}
	for _, c := range []struct {
		backend storage.Backend
		has     string
	}{
		{bare{}, ""},
		{struct {
			bare
			redirector
		}{redirector: r}, "r"},
		{struct {
			bare
			walker
		}{walker: w}, "w"},
		{struct {
			bare
			sweeper
		}{sweeper: s}, "s"},
		{struct {
			bare
			redirector
			walker
		}{redirector: r, walker: w}, "rw"},
		{struct {
			bare
			redirector
			sweeper
		}{redirector: r, sweeper: s}, "rs"},
		{struct {
			bare
			walker
			sweeper
		}{walker: w, sweeper: s}, "ws"},
		{struct {
			bare
			redirector
			walker
			sweeper
		}{redirector: r, walker: w, sweeper: s}, "rws"},
	} {
		var has []byte
		backend := storage.Instrument(c.backend, new(seen).observe)
		if redirector, ok := backend.(storage.Redirector); ok {
			has = append(has, 'r')
			url, err := redirector.Redirect(t.Context(), "", storage.RedirectOptions{})
			require.NoError(t, err)
			require.Equal(t, "url", url)
		}
		if walker, ok := backend.(storage.Walker); ok {
			has = append(has, 'w')
			require.ErrorIs(t, walker.Walk(t.Context(), "", nil), io.ErrUnexpectedEOF)
		}
		if sweeper, ok := backend.(storage.Sweeper); ok {
			has = append(has, 's')
			n, err := sweeper.Sweep(t.Context(), time.Now())
			require.NoError(t, err)
			require.Equal(t, 7, n)
		}
		require.Equal(t, c.has, string(has))
		require.NoError(t, backend.(io.Closer).Close())
	}
	broken := errors.New("broken")
	closing := storage.Instrument(struct {
		bare
		closer
	}{closer: closer{broken}}, new(seen).observe)
	require.ErrorIs(t, closing.(io.Closer).Close(), broken)
}

func TestVolumesOf_instrumentedDirectory(t *testing.T) {
	backend, err := filesystem.New(filesystem.Config{Root: t.TempDir()})
	require.NoError(t, err)
	observe := func(ctx context.Context, _ string) (context.Context, func(int64, error)) {
		return ctx, func(int64, error) {}
	}
	volumes, ok := storage.VolumesOf(storage.Instrument(backend, observe))
	require.True(t, ok)
	volume, err := volumes.Volume(t.Context())
	require.NoError(t, err)
	require.Positive(t, volume.Total)
	require.LessOrEqual(t, volume.Free, volume.Total)
	_, ok = storage.VolumesOf(storage.Instrument(struct{ storage.Backend }{backend}, observe))
	require.False(t, ok)
}
