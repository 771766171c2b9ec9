package proxy

import (
	"context"
	"errors"
	"io"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSpool_lastByteWaitsForTheEnd(t *testing.T) {
	for _, wrong := range []error{nil, errors.New("wrong digest")} {
		directory := t.TempDir()
		s, err := newSpool(directory)
		require.NoError(t, err)
		_, err = s.Write([]byte("blob"))
		require.NoError(t, err)
		reader := s.reader(t.Context(), 4)
		read := make([]byte, 8)
		n, err := reader.Read(read)
		require.NoError(t, err)
		require.Equal(t, "blo", string(read[:n]))

		ctx, leave := context.WithCancel(t.Context())
		leave()
		waiting := s.reader(ctx, 4)
		_, err = waiting.Seek(3, io.SeekStart)
		require.NoError(t, err)
		_, err = waiting.Read(read)
		require.ErrorIs(t, err, context.Canceled, "there is nothing more to read yet")
		require.NoError(t, waiting.Close())

		s.end(wrong)
		n, err = reader.Read(read)
		require.Equal(t, wrong, err)
		if wrong == nil {
			require.Equal(t, "b", string(read[:n]))
			_, err = reader.Read(read)
			require.Equal(t, io.EOF, err)
		}
		require.NoError(t, reader.Close())
		require.NoError(t, reader.Close(), "again")
		require.Nil(t, s.reader(t.Context(), 4), "nobody holds it any more")
		left, err := os.ReadDir(directory)
		require.NoError(t, err)
		require.Empty(t, left)
	}
}
