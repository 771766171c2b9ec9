package storagetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/berth-registry/berth/storage"
)

const mebibyte = 1 << 20

// deleteLater removes an object when the test is over.
func deleteLater(t testing.TB, backend storage.Backend, key string) {
	t.Cleanup(func() { _ = backend.Delete(context.Background(), []string{key}) })
}

func (s suite) lengths(t *testing.T) {
	backend := s.open(t)
	for _, length := range []int{
		0, 1, 4096, 256<<10 - 1, 256 << 10, 256<<10 + 1, 5*mebibyte - 1, 5 * mebibyte, 8 * mebibyte, 8*mebibyte + 1,
		16 * mebibyte, 16*mebibyte + 1, 29*mebibyte + 17,
	} {
		t.Run(fmt.Sprint(length), func(t *testing.T) {
			content := Content(uint64(length), length)
			requireObject(t, backend, Store(t, backend, content), content)
		})
	}
}

// chunks goes to another gateway after each chunk.
func (s suite) chunks(t *testing.T) {
	for _, c := range []struct{ chunk, length int }{
		{1, 24},
		{1000, 20_000},
		{mebibyte + 1, 13 * mebibyte},
		{5 * mebibyte, 20 * mebibyte},
		{6*mebibyte + 3, 25 * mebibyte},
		{9 * mebibyte, 20 * mebibyte},
		{20 * mebibyte, 45 * mebibyte},
	} {
		t.Run(fmt.Sprint(c.chunk), func(t *testing.T) {
			gateways := [2]storage.Backend{s.open(t), s.open(t)}
			content := Content(uint64(c.chunk), c.length)
			upload := begin(t, gateways[0])
			for turn, rest := 1, content; len(rest) > 0; turn++ {
				n := min(c.chunk, len(rest))
				appendTo(t, upload, rest[:n])
				state := suspend(t, upload)
				require.NoError(t, upload.Close())
				upload = resume(t, gateways[turn%2], state)
				rest = rest[n:]
				require.EqualValues(t, len(content)-len(rest), upload.Offset())
			}
			requireObject(t, gateways[0], commit(t, gateways[0], upload), content)
		})
	}
}

func (s suite) suspendAndGoOn(t *testing.T) {
	backend := s.open(t)
	content := Content(7, 12*mebibyte)
	upload := begin(t, backend)
	for _, end := range []int{0, 3, 3, 6 * mebibyte, 7 * mebibyte, len(content)} {
		appendTo(t, upload, content[upload.Offset():end])
		suspend(t, upload)
	}
	requireObject(t, backend, commit(t, backend, upload), content)
}

// olderState drops what was appended after the state, suspended or not, and puts other bytes in its place.
func (s suite) olderState(t *testing.T) {
	backend := s.open(t)
	for _, length := range []int{1000, 6 * mebibyte, 17 * mebibyte} {
		for _, again := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d bytes, suspended again %v", length, again), func(t *testing.T) {
				kept, dropped, replaced := Content(1, length), Content(2, length+5), Content(3, length/2)
				upload := begin(t, backend)
				appendTo(t, upload, kept)
				state := suspend(t, upload)
				appendTo(t, upload, dropped)
				if again {
					suspend(t, upload)
				}
				require.NoError(t, upload.Close())

				upload = resume(t, backend, state)
				require.EqualValues(t, length, upload.Offset())
				appendTo(t, upload, replaced)
				requireObject(t, backend, commit(t, backend, upload), append(kept, replaced...))
			})
		}
	}
}

// crash leaves the first upload open, as a process that was killed leaves it as far as another request can see.
func (s suite) crash(t *testing.T) {
	backend := s.open(t)
	content := Content(11, 11*mebibyte)
	crashed := begin(t, backend)
	appendTo(t, crashed, content[:9*mebibyte])
	state := suspend(t, crashed)
	appendTo(t, crashed, Content(12, mebibyte))

	upload := resume(t, backend, state)
	appendTo(t, upload, content[9*mebibyte:])
	// What the first one does now must not reach the object.
	_, _ = crashed.Append(t.Context(), bytes.NewReader(Content(13, 3*mebibyte)))
	key := commit(t, backend, upload)
	_, _ = crashed.Append(t.Context(), bytes.NewReader(Content(14, 3*mebibyte)))
	require.NoError(t, crashed.Close())
	requireObject(t, backend, key, content)
}

func (s suite) nonsense(t *testing.T) {
	backend := s.open(t)
	for _, state := range []string{"", "{}", "null", "\x00\x00\x00\x02{}", "\xff\xff\xff\xff", `{"key":"../../etc/passwd"}`} {
		_, err := backend.Resume(t.Context(), []byte(state))
		require.Error(t, err, "%q", state)
	}
}

func (s suite) commitTwice(t *testing.T) {
	backend := s.open(t)
	for _, length := range []int{0, 1000, 17 * mebibyte} {
		content := Content(21, length)
		upload := begin(t, backend)
		appendTo(t, upload, content)
		first, err := upload.Commit(t.Context())
		require.NoError(t, err)
		require.Equal(t, first, commit(t, backend, upload))
		requireObject(t, backend, first, content)
	}
}

// commitAgain is what happens when the answer to a commit was lost.
func (s suite) commitAgain(t *testing.T) {
	backend := s.open(t)
	for _, length := range []int{0, 1000, 6 * mebibyte, 17 * mebibyte} {
		content := Content(22, length)
		upload := begin(t, backend)
		appendTo(t, upload, content)
		state := suspend(t, upload)
		first := commit(t, backend, upload)
		require.Equal(t, first, commit(t, backend, resume(t, backend, state)), "%d bytes", length)
		requireObject(t, backend, first, content)
	}
}

func (s suite) freshKeys(t *testing.T) {
	backend := s.open(t)
	seen := map[string]bool{}
	for range 20 {
		key := Store(t, backend, []byte("the same"))
		require.False(t, seen[key], "key %s was used before", key)
		seen[key] = true
		require.NoError(t, backend.Delete(t.Context(), []string{key}))
	}
}

// racingCommits lets two requests end one upload differently. Whichever succeed, an object holds the bytes of the one that was
// given its key.
func (s suite) racingCommits(t *testing.T) {
	for _, length := range []int{1000, 6 * mebibyte} {
		t.Run(fmt.Sprint(length), func(t *testing.T) {
			first, second := s.open(t), s.open(t)
			start := Content(23, length)
			upload := begin(t, first)
			appendTo(t, upload, start)
			state := suspend(t, upload)
			require.NoError(t, upload.Close())

			committed := map[string][]byte{}
			for i, gateway := range []storage.Backend{first, second} {
				end := Content(uint64(30+i), 2000)
				key, err := tryToFinish(t, gateway, state, end)
				if err != nil {
					continue
				}
				require.NotContains(t, committed, key)
				deleteLater(t, first, key)
				committed[key] = append(bytes.Clone(start), end...)
			}
			require.NotEmpty(t, committed, "one of the two has to succeed")
			for key, content := range committed {
				requireObject(t, first, key, content)
			}
		})
	}
}

func tryToFinish(t *testing.T, backend storage.Backend, state, end []byte) (string, error) {
	upload, err := backend.Resume(t.Context(), state)
	if err != nil {
		return "", err
	}
	defer upload.Close()
	if _, err := upload.Append(t.Context(), bytes.NewReader(end)); err != nil {
		return "", err
	}
	return upload.Commit(t.Context())
}

func (s suite) abortTwice(t *testing.T) {
	backend := s.open(t)
	for _, length := range []int{0, 1000, 17 * mebibyte} {
		upload := begin(t, backend)
		appendTo(t, upload, Content(24, length))
		state := suspend(t, upload)
		require.NoError(t, upload.Abort(t.Context()))
		require.NoError(t, upload.Abort(t.Context()))
		_, err := upload.Commit(t.Context())
		require.Error(t, err)
		require.NoError(t, upload.Close())

		// A backend may find out late that the bytes are gone, but an abort succeeds all the same.
		if again, err := backend.Resume(t.Context(), state); err == nil {
			require.NoError(t, again.Abort(t.Context()))
			require.NoError(t, again.Close())
		} else {
			require.ErrorIs(t, err, storage.ErrNotFound)
		}
	}
}

func (s suite) abortCommitted(t *testing.T) {
	backend := s.open(t)
	for _, length := range []int{1000, 17 * mebibyte} {
		content := Content(25, length)
		upload := begin(t, backend)
		appendTo(t, upload, content)
		state := suspend(t, upload)
		key, err := upload.Commit(t.Context())
		require.NoError(t, err)
		deleteLater(t, backend, key)
		require.NoError(t, upload.Abort(t.Context()))
		if again, err := backend.Resume(t.Context(), state); err == nil {
			require.NoError(t, again.Abort(t.Context()))
			require.NoError(t, again.Close())
		}
		requireObject(t, backend, key, content)
	}
}

func (s suite) afterTheEnd(t *testing.T) {
	backend := s.open(t)
	committed := begin(t, backend)
	key := commit(t, backend, committed)
	aborted := begin(t, backend)
	require.NoError(t, aborted.Abort(t.Context()))
	for _, upload := range []storage.Upload{committed, aborted} {
		_, err := upload.Append(t.Context(), bytes.NewReader([]byte("late")))
		require.Error(t, err)
	}
	requireObject(t, backend, key, nil)
}

func (s suite) failingReader(t *testing.T) {
	backend := s.open(t)
	broken := errors.New("the client went away")
	for _, length := range []int{0, 1000, 9 * mebibyte, 17 * mebibyte} {
		content := Content(26, length+1000)
		upload := begin(t, backend)
		n, err := upload.Append(t.Context(), io.MultiReader(bytes.NewReader(content[:length]), iotest.ErrReader(broken)))
		require.ErrorIs(t, err, broken)
		require.EqualValues(t, length, n)
		upload = resume(t, backend, suspend(t, upload))
		require.EqualValues(t, length, upload.Offset())
		appendTo(t, upload, content[length:])
		requireObject(t, backend, commit(t, backend, upload), content)
	}
	upload := begin(t, backend)
	_, err := upload.Append(t.Context(), emptyReader{})
	require.ErrorIs(t, err, io.ErrNoProgress)
}

// emptyReader reads nothing and never ends.
type emptyReader struct{}

func (emptyReader) Read([]byte) (int, error) { return 0, nil }

// cancelled ends the context in the middle of an append; every byte that was read counts.
func (s suite) cancelled(t *testing.T) {
	backend := s.open(t)
	for _, length := range []int64{1, 3 * mebibyte, 9 * mebibyte, 18 * mebibyte} {
		ctx, cancel := context.WithCancel(t.Context())
		upload := begin(t, backend)
		source := &cancelAfter{reader: ContentReader(27, 1<<40), left: length, cancel: cancel}
		n, err := upload.Append(ctx, source)
		require.ErrorIs(t, err, context.Canceled)
		require.Equal(t, source.read, n)
		require.GreaterOrEqual(t, n, length)
		require.Equal(t, n, upload.Offset())
		_, err = upload.Append(ctx, bytes.NewReader([]byte("x")))
		require.ErrorIs(t, err, context.Canceled)

		upload = resume(t, backend, suspend(t, upload))
		require.Equal(t, n, upload.Offset())
		appendTo(t, upload, []byte("end"))
		requireObject(t, backend, commit(t, backend, upload), append(Content(27, int(n)), "end"...))
	}
}

// cancelAfter cancels once it has given a number of bytes, and goes on giving them.
type cancelAfter struct {
	reader     io.Reader
	read, left int64
	cancel     context.CancelFunc
}

func (c *cancelAfter) Read(p []byte) (int, error) {
	n, err := c.reader.Read(p[:min(len(p), 64<<10)])
	c.read += int64(n)
	if c.left -= int64(n); c.left <= 0 {
		c.cancel()
	}
	return n, err
}

func (s suite) parallel(t *testing.T) {
	backend := s.open(t)
	var group errgroup.Group
	keys := make([]string, 64)
	for i := range keys {
		group.Go(func() error {
			upload, err := backend.Begin(t.Context())
			if err != nil {
				return err
			}
			defer upload.Close()
			if _, err := upload.Append(t.Context(), ContentReader(uint64(100+i), parallelLength(i))); err != nil {
				return err
			}
			keys[i], err = upload.Commit(t.Context())
			return err
		})
	}
	require.NoError(t, group.Wait())
	for i, key := range keys {
		deleteLater(t, backend, key)
		requireObject(t, backend, key, Content(uint64(100+i), int(parallelLength(i))))
	}
}

// parallelLength makes one in eight large.
func parallelLength(i int) int64 {
	if i%8 == 0 {
		return 18*mebibyte + int64(i)
	}
	return int64(i) * 10_000
}
