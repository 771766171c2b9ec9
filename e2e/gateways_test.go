package e2e_test

import (
	"bytes"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/e2e/harness"
)

// TestGateways_anyContinuesAnUpload begins an upload at one gateway and continues it at another, in chunks far below the
// smallest part that S3 takes.
func TestGateways_anyContinuesAnUpload(t *testing.T) {
	stack := harness.Shared(t)
	one, other := harness.Start(t, stack), harness.Start(t, stack)
	const size = 9 << 20
	content, err := io.ReadAll(harness.Content(7, size))
	require.NoError(t, err)
	digest := harness.Describe("", content).Digest
	gateways := []*harness.Client{one.Admin(), other.Admin()}

	location, err := gateways[0].StartUpload(t.Context(), "library/wander")
	require.NoError(t, err)
	var at int64
	for i := 1; at < size; i++ {
		// From the few bytes of a shy client to more than one part.
		length := min(int64(1)<<(3+2*i), size-at)
		next, acknowledged, err := gateways[i%2].Patch(t.Context(), location, at, length, bytes.NewReader(content[at:at+length]))
		require.NoError(t, err, "chunk %d at %d", i, at)
		at += length
		require.Equal(t, at, acknowledged)
		_, acknowledged, err = gateways[(i+1)%2].UploadStatus(t.Context(), next)
		require.NoError(t, err)
		require.Equal(t, at, acknowledged)
		location = next
	}
	require.NoError(t, gateways[0].FinishUpload(t.Context(), location, digest))
	for _, gateway := range gateways {
		got, _, err := gateway.PullBlob(t.Context(), "library/wander", digest)
		require.NoError(t, err)
		require.Equal(t, digest, got)
	}
}

// TestGateways_killedMidUploadAnotherContinues kills the gateway that took the bytes.
func TestGateways_killedMidUploadAnotherContinues(t *testing.T) {
	stack := harness.Shared(t)
	one, other := harness.Start(t, stack), harness.Start(t, stack)
	content, err := io.ReadAll(harness.Content(8, 20<<20))
	require.NoError(t, err)
	digest := harness.Describe("", content).Digest

	location, err := one.Admin().StartUpload(t.Context(), "library/orphan")
	require.NoError(t, err)
	const first = 7<<20 + 13
	location, _, err = one.Admin().Patch(t.Context(), location, 0, first, bytes.NewReader(content[:first]))
	require.NoError(t, err)
	one.Kill()

	client := other.Admin()
	next, acknowledged, err := client.UploadStatus(t.Context(), location)
	require.NoError(t, err)
	require.EqualValues(t, first, acknowledged)
	next, _, err = client.Patch(t.Context(), next, first, int64(len(content)-first), bytes.NewReader(content[first:]))
	require.NoError(t, err)
	require.NoError(t, client.FinishUpload(t.Context(), next, digest))
	got, _, err := client.PullBlob(t.Context(), "library/orphan", digest)
	require.NoError(t, err)
	require.Equal(t, digest, got)
}

// TestGateways_racingWritersOneWins sends the same chunk of one upload to two gateways at once: one is taken, the other refused,
// and the blob is whole.
func TestGateways_racingWritersOneWins(t *testing.T) {
	stack := harness.Shared(t)
	gateways := []*harness.Gateway{harness.Start(t, stack), harness.Start(t, stack)}
	content, err := io.ReadAll(harness.Content(9, 1<<20))
	require.NoError(t, err)
	digest := harness.Describe("", content).Digest
	for range 5 {
		location, err := gateways[0].Admin().StartUpload(t.Context(), "library/race")
		require.NoError(t, err)
		var taken, refused atomic.Int32
		var racing sync.WaitGroup
		for _, gateway := range gateways {
			racing.Go(func() {
				_, _, err := gateway.Admin().Patch(t.Context(), location, 0, int64(len(content)), bytes.NewReader(content))
				switch harness.Status(err) {
				case 0:
					if err == nil {
						taken.Add(1)
					}
				case http.StatusRequestedRangeNotSatisfiable, http.StatusConflict, http.StatusNotFound:
					refused.Add(1)
				}
			})
		}
		racing.Wait()
		require.EqualValues(t, 1, taken.Load(), "one writer is taken")
		require.EqualValues(t, 1, refused.Load(), "the other is told")
		next, acknowledged, err := gateways[1].Admin().UploadStatus(t.Context(), location)
		require.NoError(t, err)
		require.EqualValues(t, len(content), acknowledged)
		require.NoError(t, gateways[1].Admin().FinishUpload(t.Context(), next, digest))
	}
}

// TestGateways_seeEachOthersPushes: what one acknowledged, the other serves at once; a moved tag within the stated staleness is
// the business of the cache's own tests.
func TestGateways_seeEachOthersPushes(t *testing.T) {
	stack := harness.Shared(t)
	one, other := harness.Start(t, stack), harness.Start(t, stack)
	image := harness.NewImage(10, 100<<10)
	require.NoError(t, one.Admin().Push(t.Context(), "library/seen", "v1", image))
	require.NoError(t, other.Admin().CheckPull(t.Context(), "library/seen", "v1", image))
	require.NoError(t, other.Admin().CheckPull(t.Context(), "library/seen", image.Digest, image))
}
