package health_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/health"
)

func faults(components []health.Component) map[string]string {
	said := map[string]string{}
	for _, c := range components {
		said[c.Name] = ""
		if c.Fault != nil {
			said[c.Name] = c.Fault.Error()
		}
	}
	return said
}

func TestHealth_eachPartForItself(t *testing.T) {
	var log bytes.Buffer
	works := func(context.Context) error { return nil }
	h := health.New(slog.New(slog.NewTextHandler(&log, nil)),
		health.Check{Name: "core"},
		health.Check{Name: "database", Ask: works},
		health.Check{Name: "storage", Ask: func(context.Context) error { return errors.New("http://user:hush@bucket refuses") }},
		health.Check{Name: "registry", Needs: []string{"database", "storage"}},
		health.Check{Name: "jobservice", Needs: []string{"database"}, Ask: works},
	)
	components := h.Components(t.Context())
	require.Equal(t, map[string]string{
		"core": "", "database": "", "storage": "does not work: the registry's log says why", "registry": "the storage does not work", "jobservice": "",
	}, faults(components))
	require.Contains(t, log.String(), "bucket refuses")
}

func TestHealth_hangingPartIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		over := make(chan struct{})
		h := health.New(slog.New(slog.DiscardHandler), health.Check{Name: "database", Ask: func(context.Context) error {
			<-over
			return nil
		}})
		components := h.Components(t.Context())
		require.Equal(t, map[string]string{"database": "no answer within 5s"}, faults(components))
		close(over)
		synctest.Wait()
	})
}

func TestHealth_manyAskersAskOnce(t *testing.T) {
	var asked atomic.Int64
	h := health.New(slog.New(slog.DiscardHandler), health.Check{Name: "storage", Ask: func(ctx context.Context) error {
		asked.Add(1)
		return ctx.Err()
	}})
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, h.Components(gone)[0].Fault, "an asker who has gone is no fault of the storage")
	var askers sync.WaitGroup
	for range 20 {
		askers.Go(func() {
			h.Components(t.Context())
		})
	}
	askers.Wait()
	require.Equal(t, int64(1), asked.Load())
}
