package e2e_test

import (
	"io"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/e2e/harness"
)

// TestMemory_boundedUnderConcurrentUploads pushes 64 blobs at the same time. What a process grows by may depend on their number
// and not on their size: 1 MiB each on a directory, 16 MiB each on S3, and a slack for the connections' own buffers and the
// garbage collector's stride.
func TestMemory_boundedUnderConcurrentUploads(t *testing.T) {
	const (
		uploads = 64
		mib     = 1 << 20
	)
	onEachStack(t, func(t *testing.T, stack *harness.Stack) {
		size, perUpload := int64(16*mib), int64(1*mib)
		if stack.S3 != nil {
			size, perUpload = 24*mib, 16*mib
		}
		const slack = 64 * mib
		gateway := harness.Start(t, stack)
		// What is loaded at the first use is not growth.
		require.NoError(t, gateway.Admin().Push(t.Context(), "library/memory", "warm", harness.NewImage(1, 20*mib)))
		gateway.ForgetPeak()
		before, _ := gateway.Memory()

		// All uploads are open at the same time: none goes on before every one has sent its first mebibyte.
		var begun, uploading sync.WaitGroup
		begun.Add(uploads)
		errs := make([]error, uploads)
		for i := range uploads {
			uploading.Go(func() {
				seed := uint64(1000 + i)
				digest, _, _ := harness.DigestOf(harness.Content(seed, size))
				body := &rendezvous{Reader: harness.Content(seed, size), left: mib, meet: &begun}
				errs[i] = gateway.Admin().PushBlob(t.Context(), "library/memory", digest, size, body)
				body.arrive()
			})
		}
		uploading.Wait()
		for _, err := range errs {
			require.NoError(t, err)
		}
		_, peak := gateway.Memory()
		t.Logf("%s: %d uploads of %d MiB grew the process from %d to %d MiB", stack.Name, uploads, size/mib, before/mib, peak/mib)
		require.LessOrEqual(t, peak-before, uploads*perUpload+slack)
	})
}

// rendezvous is a reader that, after some bytes, waits until all others have come as far.
type rendezvous struct {
	io.Reader
	left int64
	meet *sync.WaitGroup
	once sync.Once
}

func (r *rendezvous) arrive() { r.once.Do(r.meet.Done) }

// Read reads on after the meeting.
func (r *rendezvous) Read(into []byte) (int, error) {
	if r.left <= 0 {
		r.arrive()
		r.meet.Wait()
	}
	n, err := r.Reader.Read(into)
	r.left -= int64(n)
	return n, err
}
