package storagetest

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/storage"
)

func (s suite) ranges(t *testing.T) {
	backend := s.open(t)
	content := Content(41, 100_000)
	key := Store(t, backend, content)
	end := int64(len(content))
	for _, r := range []struct{ offset, length int64 }{
		{0, -1},
		{0, 0},
		{0, 1},
		{0, end},
		{0, end + 1},
		{1, -1},
		{1, 1},
		{50_000, 0},
		{50_000, 10_000},
		{end - 1, -1},
		{end - 1, 1},
		{end - 1, 100},
		{end, -1},
		{end, 10},
		{end + 1, -1},
		{end + 1000, 10},
		{5, math.MaxInt64},
	} {
		from := min(r.offset, end)
		to := end
		if r.length >= 0 && r.length < end-from {
			to = from + r.length
		}
		requireEqual(t, content[from:to], loadRange(t, backend, key, r.offset, r.length))
	}
	_, err := backend.Open(t.Context(), key, -1, 5)
	require.Error(t, err)

	empty := Store(t, backend, nil)
	require.Empty(t, loadRange(t, backend, empty, 0, -1))
	require.Empty(t, loadRange(t, backend, empty, 0, 10))
}

// hostileKeys are keys that no backend may follow anywhere.
var hostileKeys = []string{
	"", "/", ".", "..", "../../../etc/passwd", "/etc/passwd", "00/../../uploads", "00/..", "00/01ARZ3NDEKTSV4RRFFQ69G5FAV/../x",
	"00\x0001ARZ3NDEKTSV4RRFFQ69G5FAV", "\x00", strings.Repeat("a", 5000), "0g/01ARZ3NDEKTSV4RRFFQ69G5FAV",
	"5b/01arz3ndektsv4rrffq69g5fav", "%2e%2e%2f", "00\\01ARZ3NDEKTSV4RRFFQ69G5FAV", "ü/01ARZ3NDEKTSV4RRFFQ69G5FA",
}

func unknownKey(t testing.TB) string {
	t.Helper()
	key, err := storage.NewKey()
	require.NoError(t, err)
	return key
}

func (s suite) missing(t *testing.T) {
	backend := s.open(t)
	for _, key := range append(slices.Clone(hostileKeys), unknownKey(t)) {
		for _, length := range []int64{-1, 0, 10} {
			_, err := backend.Open(t.Context(), key, 0, length)
			require.ErrorIs(t, err, storage.ErrNotFound, "%.100q", key)
		}
	}
}

func (s suite) deleteGone(t *testing.T) {
	backend := s.open(t)
	key := Store(t, backend, []byte("gone soon"))
	require.NoError(t, backend.Delete(t.Context(), nil))
	require.NoError(t, backend.Delete(t.Context(), append(slices.Clone(hostileKeys), key)))
	_, err := backend.Open(t.Context(), key, 0, -1)
	require.ErrorIs(t, err, storage.ErrNotFound)
	require.NoError(t, backend.Delete(t.Context(), []string{key, key, unknownKey(t)}))
}

func (s suite) deleteMany(t *testing.T) {
	backend := s.open(t)
	kept := Store(t, backend, []byte("kept"))
	keys := make([]string, 2100)
	for i := range keys {
		if i%100 == 0 {
			keys[i] = Store(t, backend, []byte{byte(i)})
		} else {
			keys[i] = unknownKey(t)
		}
	}
	require.NoError(t, backend.Delete(t.Context(), keys))
	for i := 0; i < len(keys); i += 100 {
		_, err := backend.Open(t.Context(), keys[i], 0, -1)
		require.ErrorIs(t, err, storage.ErrNotFound)
	}
	requireObject(t, backend, kept, []byte("kept"))

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, backend.Delete(ctx, []string{kept}), context.Canceled)
	requireObject(t, backend, kept, []byte("kept"))
}

func (s suite) check(t *testing.T) {
	require.NoError(t, s.open(t).Check(t.Context()))
}

func (s suite) walk(t *testing.T) {
	backend := s.open(t)
	walker, ok := backend.(storage.Walker)
	if !ok {
		return
	}
	want := map[string]int{}
	started := time.Now().Add(-time.Minute)
	for i := range 30 {
		want[Store(t, backend, make([]byte, i))] = i
	}
	unfinished := begin(t, backend)
	appendTo(t, unfinished, []byte("not an object"))
	suspend(t, unfinished)

	var seen []string
	require.NoError(t, walker.Walk(t.Context(), "", func(object storage.Object) error {
		if size, ours := want[object.Key]; ours {
			require.EqualValues(t, size, object.Size)
			require.True(t, object.Modified.After(started))
			delete(want, object.Key)
		}
		seen = append(seen, object.Key)
		return nil
	}))
	require.Empty(t, want, "objects that the walk did not come by")
	require.True(t, slices.IsSorted(seen))

	// In pages: each goes on after the last key of the one before.
	var paged []string
	for pageEnd := errors.New("the page is full"); ; {
		after, n := "", 0
		if len(paged) > 0 {
			after = paged[len(paged)-1]
		}
		err := walker.Walk(t.Context(), after, func(object storage.Object) error {
			paged = append(paged, object.Key)
			if n++; n == 7 {
				return pageEnd
			}
			return nil
		})
		if err == nil {
			break
		}
		require.ErrorIs(t, err, pageEnd)
	}
	require.Equal(t, seen, paged)
}

func (s suite) sweep(t *testing.T) {
	backend := s.open(t)
	sweeper, ok := backend.(storage.Sweeper)
	if !ok {
		return
	}
	kept := Store(t, backend, []byte("an object is no upload"))
	content := Content(51, 20*mebibyte)
	upload := begin(t, backend)
	appendTo(t, upload, content)
	state := suspend(t, upload)
	require.NoError(t, upload.Close())

	_, err := sweeper.Sweep(t.Context(), time.Now().Add(-time.Hour))
	require.NoError(t, err)
	upload = resume(t, backend, state)
	require.NoError(t, upload.Close(), "an upload that is young is spared")

	n, err := sweeper.Sweep(t.Context(), time.Now().Add(time.Hour))
	require.NoError(t, err)
	require.GreaterOrEqual(t, n, 1)
	_, err = tryToFinish(t, backend, state, nil)
	require.ErrorIs(t, err, storage.ErrNotFound)
	n, err = sweeper.Sweep(t.Context(), time.Now().Add(time.Hour))
	require.NoError(t, err)
	require.Zero(t, n)
	requireObject(t, backend, kept, []byte("an object is no upload"))
}
