package remote_test

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/replicate/remote"
	"github.com/berth-registry/berth/replicate/remote/remotetest"
)

// errNobody is why a context ends whose upload nobody takes up.
var errNobody = errors.New("nobody goes on")

// remembered has the locations of uploads.
type remembered map[oci.Digest]string

func (r remembered) Location(_ context.Context, digest oci.Digest) (string, error) {
	return r[digest], nil
}

func (r remembered) Keep(_ context.Context, digest oci.Digest, location string) error {
	if r[digest] = location; location == "" {
		delete(r, digest)
	}
	return nil
}

func (remembered) Abandoned(ctx context.Context) bool {
	return errors.Is(context.Cause(ctx), errNobody)
}

// TestWriteBlob_takenUp has a worker end in the second request of an upload, and another one go on.
func TestWriteBlob_takenUp(t *testing.T) {
	t.Parallel()
	const first = 64 << 20 // what goes with the first request
	address := remotetest.Distribution(t)
	uploads := remembered{}
	blob, want, read := content(first + 16<<20)
	end := func(cause error) {
		ctx, cancel := context.WithCancelCause(t.Context())
		_, err := open(t, address).Remembering(uploads).WriteBlob(ctx, "a/b", blob, func(ctx context.Context, offset int64) (io.ReadCloser, error) {
			content, err := read(ctx, offset)
			rest := waiting{ctx, func() { cancel(cause) }}
			return io.NopCloser(io.MultiReader(io.LimitReader(content, first+1<<20-offset), rest)), err
		})
		require.ErrorIs(t, err, context.Canceled)
	}
	end(errNobody)
	require.Empty(t, uploads, "an upload that is stopped is forgotten")

	end(nil)
	require.Len(t, uploads, 1)
	transfer, err := open(t, address).Remembering(uploads).WriteBlob(t.Context(), "a/b", blob, read)
	require.NoError(t, err)
	require.GreaterOrEqual(t, transfer.Before, int64(first))
	require.Less(t, transfer.Sent, int64(first), "what had arrived is not sent again")
	require.Empty(t, uploads)
	requireBlob(t, open(t, address), "a/b", blob, want)

	uploads[blob.Digest] = "http://" + address + "/v2/c/d/blobs/uploads/1?_state=x"
	transfer, err = open(t, address).Remembering(uploads).WriteBlob(t.Context(), "c/d", blob, read)
	require.NoError(t, err)
	require.Equal(t, remote.Transfer{Sent: blob.Size, Resumed: 1}, transfer, "what the registry does not understand is sent anew")
}
