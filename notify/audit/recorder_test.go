package audit_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/notify/audit"
)

func (f fixture) events(t *testing.T) []metadata.Event {
	t.Helper()
	events, err := f.Events(t.Context(), metadata.EventCursor{}, -1)
	require.NoError(t, err)
	return events
}

func TestRecorder_writesSoonAndAtTheEnd(t *testing.T) {
	eachEngine(t, func(t *testing.T, f fixture) {
		recorder := audit.NewRecorder(audit.RecorderOptions{Store: f.Store, Logger: quiet, FlushInterval: 10 * time.Millisecond})
		hostile := event.Actor{Name: "e\x00v\xffe" + strings.Repeat("n", 10_000)}.Event(event.LoginFailed)
		recorder.Record(hostile)
		require.Eventually(t, func() bool { return len(f.events(t)) == 1 }, time.Minute, time.Millisecond)
		require.True(t, strings.HasPrefix(f.events(t)[0].Actor, "e\uFFFDv\uFFFDen"))
		require.Less(t, len(f.events(t)[0].Actor), 600)
		for range 1300 {
			recorder.Record(admin.Event(event.ManifestPulled))
		}
		require.NoError(t, recorder.Close())
		require.Len(t, f.events(t), 1301)
	})
}

func TestRecorder_floodIsCountedAndNotKept(t *testing.T) {
	f := newFixture(t, newStore(t))
	still := time.Now()
	recorder := audit.NewRecorder(audit.RecorderOptions{Store: f.Store, Logger: quiet, FlushInterval: time.Hour, Capacity: 2000, Now: func() time.Time { return still }})
	const flood = 100_000
	refused := admin.Event(event.Refused)
	refused.Attempt = event.ManifestPushed
	for range flood {
		recorder.Record(event.Event{Kind: event.LoginFailed, Actor: "eve"})
	}
	for range 10 {
		recorder.Record(refused)
	}
	for range 2000 {
		recorder.Record(admin.Event(event.ManifestPulled))
	}
	require.NoError(t, recorder.Close())
	kept, dropped := map[event.Kind]int64{}, map[event.Kind]int64{}
	for _, e := range f.events(t) {
		kept[e.Kind]++
		if e.Kind == event.EventsDropped {
			dropped[e.Attempt] += e.Size
		}
	}
	require.Less(t, kept[event.LoginFailed], int64(1000))
	require.Equal(t, int64(flood), kept[event.LoginFailed]+dropped[event.LoginFailed])
	require.Equal(t, int64(10), dropped[event.ManifestPushed])
	require.Equal(t, int64(2000), kept[event.ManifestPulled]+dropped[event.ManifestPulled])
}

func TestRecorder_keepsWhatItCannotWrite(t *testing.T) {
	f := newFixture(t, newStore(t))
	recorder := audit.NewRecorder(audit.RecorderOptions{Store: f.Store, Logger: quiet, FlushInterval: time.Millisecond})
	release, blocked := make(chan struct{}), make(chan struct{})
	go func() {
		_ = f.Tx(context.Background(), func(context.Context, *metadata.Tx) error { // all writes wait
			close(blocked)
			<-release
			return nil
		})
	}()
	<-blocked
	began := time.Now()
	for range 700 {
		recorder.Record(admin.Event(event.ManifestPulled))
	}
	require.Less(t, time.Since(began), 5*time.Second, "recording waits for nothing")
	close(release)
	require.NoError(t, recorder.Close())
	require.Len(t, f.events(t), 700)
}

func TestRecorder_equalPullsAreOneEvent(t *testing.T) {
	store := newStore(t)
	recorder := audit.NewRecorder(audit.RecorderOptions{Store: store, Logger: quiet, FlushInterval: time.Hour})
	pulled := admin.Event(event.ManifestPulled)
	pulled.Repository, pulled.Digest, pulled.Tag = "library/app", "sha256:ab", "v1"
	elsewhere := pulled
	elsewhere.Address = "192.0.2.77"
	for range 100 {
		recorder.Record(pulled)
	}
	recorder.Record(elsewhere)
	require.NoError(t, recorder.Close())
	events, err := store.Events(t.Context(), metadata.EventCursor{}, 1000)
	require.NoError(t, err)
	require.Len(t, events, 2)
	require.Equal(t, int64(99), events[0].Repeated)
	require.Equal(t, "192.0.2.77", events[1].Address)
	require.Zero(t, events[1].Repeated)
}
