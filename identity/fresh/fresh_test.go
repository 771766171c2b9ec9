package fresh_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/identity/fresh"
)

var errDown = errors.New("down")

func TestMemory_believesForAsLongAsTheSourceSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked, down := 0, false
		memory := fresh.New(func(_ context.Context, _ string) (int, time.Duration, error) {
			if down {
				return 0, 0, errDown
			}
			asked++
			return asked, 5 * time.Second, nil
		}, fresh.Options{Size: 2, Stale: time.Minute})
		get := func(want int, wantErr error) {
			t.Helper()
			got, err := memory.Get(t.Context(), "a")
			require.ErrorIs(t, err, wantErr)
			require.Equal(t, want, got)
		}
		get(1, nil)
		time.Sleep(4 * time.Second) // the bubble's clock
		get(1, nil)
		time.Sleep(time.Second)
		get(2, nil)
		memory.Forget()
		get(3, nil)
		down = true
		time.Sleep(time.Minute)
		get(3, nil)
		time.Sleep(time.Second)
		get(0, errDown)
	})
}

func TestMemory_asksOnceForManyAndOutlivesTheFirstCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release, asked := make(chan struct{}), 0
		memory := fresh.New(func(ctx context.Context, key string) (string, time.Duration, error) {
			asked++
			<-release
			return key, time.Second, ctx.Err()
		}, fresh.Options{Size: 2})
		ctx, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		group.Go(func() {
			_, err := memory.Get(ctx, "a")
			require.ErrorIs(t, err, context.Canceled)
		})
		synctest.Wait()
		for range 10 {
			group.Go(func() {
				got, err := memory.Get(t.Context(), "a")
				require.NoError(t, err)
				require.Equal(t, "a", got)
			})
		}
		synctest.Wait()
		cancel()
		synctest.Wait()
		close(release)
		group.Wait()
		require.Equal(t, 1, asked)
	})
}

func TestMemory_forgetsAnswersOnTheirWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release, current := make(chan struct{}), 1
		memory := fresh.New(func(context.Context, string) (int, time.Duration, error) {
			answer := current
			<-release
			return answer, time.Hour, nil
		}, fresh.Options{Size: 2})
		var group sync.WaitGroup
		group.Go(func() { _, _ = memory.Get(t.Context(), "a") })
		synctest.Wait()
		current = 2
		memory.Forget()
		group.Go(func() {
			got, err := memory.Get(t.Context(), "a")
			require.NoError(t, err)
			require.Equal(t, 2, got)
		})
		synctest.Wait()
		close(release)
		group.Wait()
		got, err := memory.Get(t.Context(), "a")
		require.NoError(t, err)
		require.Equal(t, 2, got)
	})
}
