package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/e2e/harness"
)

// told are the artifacts that a receiver was told of, with the order in which each was for the first time.
type told struct {
	mu      sync.Mutex
	digests map[string]int
	calls   int
}

func (r *told) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	var payload struct {
		Type      string `json:"type"`
		EventData struct {
			Resources []struct{ Digest string } `json:"resources"`
		} `json:"event_data"`
	}
	if err := json.NewDecoder(request.Body).Decode(&payload); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls++
	digest := payload.EventData.Resources[0].Digest
	if _, known := r.digests[digest]; !known {
		r.digests[digest] = len(r.digests)
	}
}

// TestWebhook_everyPushIsToldThroughCrashes kills a gateway five times during 200 pushes, where there are several each in its turn: of
// each push that was acknowledged the receiver is told at least once, and of those to one repository in their order.
func TestWebhook_everyPushIsToldThroughCrashes(t *testing.T) {
	onEachStack(t, func(t *testing.T, stack *harness.Stack) {
		t.Parallel()
		heard := &told{digests: map[string]int{}}
		receiver := httptest.NewServer(heard)
		defer receiver.Close()
		gateways := []*harness.Gateway{harness.Start(t, stack)}
		if stack.S3 != nil {
			gateways = append(gateways, harness.Start(t, stack), harness.Start(t, stack))
		}
		gateway := gateways[0]
		policy := fmt.Sprintf(`{"name": "crashes", "enabled": true, "event_types": ["PUSH_ARTIFACT"], "targets": [{"type": "http", "address": %q}]}`, receiver.URL)
		response, err := gateway.Admin().Do(t.Context(), http.MethodPost, "/api/v2.0/projects/library/webhook/policies",
			http.Header{"Content-Type": {"application/json"}}, bytes.NewReader([]byte(policy)), http.StatusCreated)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		token, err := gateway.Admin().Token(t.Context(), "repository:library/told:pull,push")
		require.NoError(t, err)
		clients := make([]*harness.Client, len(gateways))
		for i, gateway := range gateways {
			clients[i] = gateway.Admin().WithToken(token)
		}
		image := harness.NewImage(1)
		require.NoError(t, clients[0].Push(t.Context(), "library/told", "first", image))

		var pushed []string
		push := func(n int) error {
			var manifest map[string]any
			require.NoError(t, json.Unmarshal(image.Manifest, &manifest))
			manifest["annotations"] = map[string]string{"n": fmt.Sprint(n)}
			encoded, err := json.Marshal(manifest)
			require.NoError(t, err)
			if err := clients[n/40%len(clients)].PutManifest(t.Context(), "library/told", "latest", harness.MediaTypeManifest, encoded); err != nil {
				return err
			}
			pushed = append(pushed, harness.Describe("", encoded).Digest)
			return nil
		}
		for n := range 200 {
			if n%40 != 20 {
				require.NoError(t, push(n))
				continue
			}
			// The instant is the point of this test, so it is a time and no condition.
			killed := make(chan struct{})
			go func() {
				defer close(killed)
				<-time.After(rand.N(50 * time.Millisecond))
				gateways[n/40%len(gateways)].Kill()
			}()
			for push(n) == nil { // again and again, until it is gone
			}
			<-killed
			gateways[n/40%len(gateways)].Launch()
		}
		pushing := time.Now()
		require.Eventually(t, func() bool {
			heard.mu.Lock()
			defer heard.mu.Unlock()
			for _, digest := range pushed {
				if _, known := heard.digests[digest]; !known {
					return false
				}
			}
			return true
		}, 4*time.Minute, 200*time.Millisecond)
		heard.mu.Lock()
		defer heard.mu.Unlock()
		t.Logf("%d pushes acknowledged, %d artifacts told in %d calls, the last %s after the last push", len(pushed), len(heard.digests), heard.calls, time.Since(pushing))
		last := -1
		for _, digest := range pushed {
			require.GreaterOrEqual(t, heard.digests[digest], last)
			last = heard.digests[digest]
		}
	})
}
