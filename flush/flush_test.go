package flush_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/flush"
)

func TestLoop_writesAtEachIntervalWhenWokenAndAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		written := 0
		loop := flush.Start(time.Minute, slog.New(slog.DiscardHandler), "counts", func(context.Context) error {
			written++
			return nil
		})
		time.Sleep(3*time.Minute + time.Second)
		synctest.Wait()
		require.Equal(t, 3, written)
		loop.Wake()
		synctest.Wait()
		require.Equal(t, 4, written)
		require.NoError(t, loop.Close())
		require.Equal(t, 5, written)
	})
}

func TestLoop_tellsOfFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		failure := errors.New("database is down")
		loop := flush.Start(time.Minute, slog.New(slog.NewTextHandler(&log, nil)), "counts", func(context.Context) error { return failure })
		time.Sleep(time.Minute + time.Second)
		synctest.Wait()
		require.Contains(t, log.String(), `msg="counts are not written yet" error="database is down"`)
		require.ErrorIs(t, loop.Close(), failure)
	})
}

// TestLoop_lastWriteHasADeadline closes while the database hangs.
func TestLoop_lastWriteHasADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		loop := flush.Start(time.Second, slog.New(slog.DiscardHandler), "counts", func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		})
		time.Sleep(2 * time.Second)
		began := time.Now()
		require.ErrorIs(t, loop.Close(), context.DeadlineExceeded)
		require.Equal(t, flush.Patience, time.Since(began), "a write on its way is broken off at once, the last one is waited for")
	})
}
