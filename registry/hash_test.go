package registry

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/oci"
)

// reuse is a storage that overwrites its one buffer at every read.
func reuse(r io.Reader, size int) (int64, error) {
	buffer := make([]byte, size)
	var total int64
	for {
		n, err := r.Read(buffer)
		total += int64(n)
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

func TestTap_hashesWhatPasses(t *testing.T) {
	content := bytes.Repeat([]byte("berth"), 400_000)
	for name, body := range map[string]func() io.Reader{
		"whole":             func() io.Reader { return bytes.NewReader(content) },
		"byte for byte":     func() io.Reader { return iotest.OneByteReader(bytes.NewReader(content)) },
		"with its end":      func() io.Reader { return iotest.DataErrReader(bytes.NewReader(content)) },
		"in halves":         func() io.Reader { return iotest.HalfReader(bytes.NewReader(content)) },
		"in two suspension": func() io.Reader { return bytes.NewReader(content) },
	} {
		for _, size := range []int{1 << 10, 64 << 10, 1 << 20} {
			hashes := newDigester(oci.SHA256, oci.SHA512)
			feed := body()
			if name == "in two suspension" {
				first := newTap(context.Background(), io.LimitReader(feed, 1_000_001), hashes)
				_, err := reuse(first, size)
				require.NoError(t, err)
				first.close()
				states, err := hashes.states()
				require.NoError(t, err)
				hashes, err = restoreDigester(states)
				require.NoError(t, err)
			}
			last := newTap(context.Background(), feed, hashes)
			_, err := reuse(last, size)
			require.NoError(t, err)
			last.close()
			require.NoError(t, last.failed())
			for a, h := range hashes {
				assert.Equal(t, a.FromBytes(content), oci.SumDigest(a, h), "%s, %d", name, size)
			}
		}
	}
}

func TestTap_errorComesAfterTheBytes(t *testing.T) {
	cut := errors.New("cut")
	hashes := newDigester(oci.SHA256)
	last := newTap(context.Background(), io.MultiReader(bytes.NewReader([]byte("abc")), iotest.ErrReader(cut)), hashes)
	n, err := reuse(last, 10)
	last.close()
	assert.ErrorIs(t, err, cut)
	assert.EqualValues(t, 3, n)
	assert.ErrorIs(t, last.failed(), cut)
	assert.Equal(t, oci.SHA256.FromString("abc"), oci.SumDigest(oci.SHA256, hashes[oci.SHA256]))

	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = reuse(newTap(ctx, bytes.NewReader([]byte("abc")), hashes), 10)
	assert.ErrorIs(t, err, context.Canceled)
}
