package e2e_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/e2e/harness"
)

const (
	crashRepository = "library/crash"
	pushersPerCrash = 4
)

// TestCrash_everythingAcknowledgedSurvives kills a gateway at random instants while several clients push, and looks after every
// restart whether a promise was broken. BERTH_CRASHES sets how often on both stacks together; 200 unless set.
func TestCrash_everythingAcknowledgedSurvives(t *testing.T) {
	crashes := 200
	if set := os.Getenv("BERTH_CRASHES"); set != "" {
		var err error
		crashes, err = strconv.Atoi(set)
		require.NoError(t, err)
	}
	onEachStack(t, func(t *testing.T, stack *harness.Stack) {
		t.Parallel()
		gateway := harness.Start(t, stack)
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		random := rand.New(rand.NewPCG(seed, 0))
		// A token spares each restart the hashing of passwords.
		token, err := gateway.Admin().Token(t.Context(), "repository:"+crashRepository+":pull,push")
		require.NoError(t, err)
		var every []harness.Image
		resumed, unknown := 0, 0
		for crash := range crashes / 2 {
			pushers := make([]*pusher, pushersPerCrash)
			var pushing sync.WaitGroup
			ctx, cancel := context.WithCancel(t.Context())
			for i := range pushers {
				pushers[i] = &pusher{client: gateway.Admin().WithToken(token), random: rand.New(rand.NewPCG(seed, uint64(crash*pushersPerCrash+i+1)))}
				pushing.Go(func() { pushers[i].run(ctx) })
			}
			// The instant is the point of this test, so it is a time and no condition.
			<-time.After(time.Duration(random.Int64N(int64(600 * time.Millisecond))))
			gateway.Kill()
			cancel()
			pushing.Wait()
			gateway.Launch()

			client := gateway.Admin().WithToken(token)
			for _, pusher := range pushers {
				require.NoError(t, pusher.unexpected, "crash %d", crash)
				for _, image := range pusher.acknowledged {
					require.NoError(t, client.CheckPull(t.Context(), crashRepository, image.Digest, image), "crash %d", crash)
				}
				every = append(every, pusher.acknowledged...)
				if pusher.upload == nil {
					continue
				}
				survived, err := pusher.upload.resume(t.Context(), client)
				require.NoError(t, err, "crash %d", crash)
				if survived {
					resumed++
				} else {
					unknown++
				}
			}
		}
		client := gateway.Admin().WithToken(token)
		for _, image := range every {
			require.NoError(t, client.CheckPull(t.Context(), crashRepository, image.Digest, image))
		}
		t.Logf("%d crashes: %d images acknowledged and whole, %d uploads resumed, %d uploads cleanly unknown", crashes/2, len(every), resumed, unknown)
		require.NotEmpty(t, every)
		require.NotZero(t, resumed)
	})
}

// pusher pushes images until its gateway is gone, and remembers what it was promised.
type pusher struct {
	client       *harness.Client
	random       *rand.Rand
	acknowledged []harness.Image
	upload       *interrupted
	unexpected   error
}

func (p *pusher) run(ctx context.Context) {
	for {
		image := harness.NewImage(p.random.Uint64()>>8, 1+p.random.Int64N(200<<10))
		err := p.push(ctx, image)
		if harness.Status(err) != 0 {
			p.unexpected = err
		}
		if err != nil {
			return
		}
		p.acknowledged = append(p.acknowledged, image)
	}
}

// push pushes blobs in chunks so that there is something to resume.
func (p *pusher) push(ctx context.Context, image harness.Image) error {
	for _, blob := range append([][]byte{image.Config}, image.Layers...) {
		location, err := p.client.StartUpload(ctx, crashRepository)
		if err != nil {
			return err
		}
		p.upload = &interrupted{location: location, content: blob}
		for int(p.upload.acknowledged) < len(blob) {
			rest := blob[p.upload.acknowledged:]
			chunk := rest[:min(len(rest), 2+p.random.IntN(100<<10))]
			next, acknowledged, err := p.client.Patch(ctx, p.upload.location, p.upload.acknowledged, int64(len(chunk)), bytes.NewReader(chunk))
			if err != nil {
				return err
			}
			// "Range: 0-0" may mean one byte.
			p.upload.location, p.upload.acknowledged = next, max(acknowledged, int64(len(chunk)))
		}
		p.upload.finishing = true
		if err := p.client.FinishUpload(ctx, p.upload.location, harness.Describe("", blob).Digest); err != nil {
			return err
		}
		p.upload = nil
	}
	return p.client.PutManifest(ctx, crashRepository, image.Digest, harness.MediaTypeManifest, image.Manifest)
}

// interrupted is an upload whose client does not know how its last request ended.
type interrupted struct {
	location     string
	content      []byte
	acknowledged int64
	finishing    bool
}

// resume continues the upload to its end. It returns false when the registry does not know the upload, which it may say only when
// the upload's last step was under way; and an error when a promise was broken.
func (u *interrupted) resume(ctx context.Context, client *harness.Client) (bool, error) {
	next, offset, err := client.UploadStatus(ctx, u.location)
	if harness.Status(err) == http.StatusNotFound && u.finishing {
		// The blob may have been committed; if it was, it has to be whole.
		want := harness.Describe("", u.content).Digest
		digest, _, err := client.PullBlob(ctx, crashRepository, want)
		if err != nil || digest != want {
			return false, fmt.Errorf("upload %s is gone and its blob is %q: %w", u.location, digest, err)
		}
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("upload with %d bytes acknowledged: %w", u.acknowledged, err)
	}
	if offset < u.acknowledged && u.acknowledged > 1 || offset > int64(len(u.content)) {
		return false, fmt.Errorf("upload %s is at %d of %d bytes, %d of which were acknowledged", u.location, offset, len(u.content), u.acknowledged)
	}
	if rest := u.content[offset:]; len(rest) > 0 {
		if next, _, err = client.Patch(ctx, next, offset, int64(len(rest)), bytes.NewReader(rest)); err != nil {
			return false, fmt.Errorf("continue at %d: %w", offset, err)
		}
	}
	if err := client.FinishUpload(ctx, next, harness.Describe("", u.content).Digest); err != nil {
		return false, fmt.Errorf("finish: %w", err)
	}
	return true, nil
}
