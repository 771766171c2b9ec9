package webhook_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/metadata/sqlite/sqlitetest"
	"github.com/berth-registry/berth/notify/webhook"
	"github.com/berth-registry/berth/setting"
)

// TestDelivery_orderIsKeptUnderFailures has a receiver that refuses each event twice before it takes it.
func TestDelivery_orderIsKeptUnderFailures(t *testing.T) {
	eachEngine(t, nil, func(t *testing.T, r *registry) {
		var mu sync.Mutex
		refused := map[string]int{}
		var taken []string
		to := receive(t, nil)
		to.Config.Handler = to.keep(func(w http.ResponseWriter, request *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			id := request.Header.Get(webhook.DeliveryHeader)
			if refused[id]++; refused[id] <= 2 {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			taken = append(taken, id)
		})
		policy := r.tell(t, "ordered", webhook.WantedTarget{Type: "http", Address: to.URL})
		var sent []event.Event
		for n := range 12 {
			sent = append(sent, pushed(strconv.Itoa(n)))
		}
		r.happen(t, sent...)
		var tags []string
		seen := map[string]bool{}
		for range 36 {
			c := to.next(t)
			if !seen[c.tag(t)] {
				seen[c.tag(t)] = true
				tags = append(tags, c.tag(t))
			}
		}
		for n, tag := range tags {
			require.Equal(t, strconv.Itoa(n), tag)
		}
		executions := r.ended(t, policy, 12)
		require.Len(t, taken, 12)
		for _, e := range executions {
			require.Equal(t, metadata.StatusSuccess, e.Status)
		}
		tasks, err := r.policies.Tasks(t.Context(), r.project, policy.ID, executions[0].ID)
		require.NoError(t, err)
		require.Equal(t, 3, tasks[0].Attempts)
		require.Equal(t, 200, tasks[0].Answer.Status)
		text, err := r.policies.Log(t.Context(), r.project, policy.ID, executions[0].ID, tasks[0].ID)
		require.NoError(t, err)
		require.Equal(t, 2, strings.Count(text, ": answered 503"))
		require.Contains(t, text, "answered 200")
	})
}

// TestDelivery_isGivenUp has what comes after go on.
func TestDelivery_isGivenUp(t *testing.T) {
	for status, attempts := range map[int]int{http.StatusInternalServerError: 10, http.StatusNotFound: 3, http.StatusTooManyRequests: 10} {
		r := start(t, sqlitetest.Open(t), nil)
		to := receive(t, nil)
		to.Config.Handler = to.keep(func(w http.ResponseWriter, request *http.Request) {
			if request.Header.Get(webhook.EventHeader) == string(webhook.QuotaExceed) {
				w.WriteHeader(status)
				_, _ = w.Write([]byte("no\x00\xff" + strings.Repeat("!", 1<<20)))
			}
		})
		policy := r.tell(t, "given up", webhook.WantedTarget{Type: "http", Address: to.URL})
		first := pushed("v1")
		first.Kind = event.QuotaExceeded
		r.happen(t, first, pushed("v2"))
		executions := r.ended(t, policy, 2)
		require.Equal(t, metadata.StatusSuccess, executions[0].Status)
		require.Equal(t, metadata.StatusError, executions[1].Status)
		require.Contains(t, executions[1].Message, strconv.Itoa(status))
		tasks, err := r.policies.Tasks(t.Context(), r.project, policy.ID, executions[1].ID)
		require.NoError(t, err)
		require.Equal(t, attempts, tasks[0].Attempts)
		require.Equal(t, status, tasks[0].Answer.Status)
		require.True(t, strings.HasPrefix(tasks[0].Answer.Body, "no\uFFFD"), tasks[0].Answer.Body)
		require.LessOrEqual(t, len(tasks[0].Answer.Body), 8<<10)
		for range attempts {
			require.Equal(t, string(webhook.QuotaExceed), to.next(t).header.Get(webhook.EventHeader))
		}
		require.Equal(t, string(webhook.PushArtifact), to.next(t).header.Get(webhook.EventHeader))
	}
}

// TestDelivery_hangingReceiversHoldUpNobody has several receivers that never answer, with more for them than is done at a time.
func TestDelivery_hangingReceiversHoldUpNobody(t *testing.T) {
	r := start(t, sqlitetest.Open(t), func(o *webhook.SenderOptions) { o.Timeout, o.Pause = 2*time.Second, time.Minute })
	hang := make(chan struct{})
	var mu sync.Mutex
	most, now := 0, 0
	stuck := receive(t, func(http.ResponseWriter, *http.Request) {
		mu.Lock()
		now++
		most = max(most, now)
		mu.Unlock()
		<-hang
		mu.Lock()
		now--
		mu.Unlock()
	})
	defer close(hang)
	well := receive(t, nil)
	r.tell(t, "stuck", webhook.WantedTarget{Type: "http", Address: stuck.URL})
	r.tell(t, "well", webhook.WantedTarget{Type: "http", Address: well.URL})
	var sent []event.Event
	for n := range 40 {
		e := pushed(strconv.Itoa(n))
		e.Repository = "library/app" + strconv.Itoa(n)
		sent = append(sent, e)
	}
	began := time.Now()
	r.happen(t, sent...)
	for range sent {
		well.next(t)
	}
	require.Less(t, time.Since(began), 30*time.Second)
	require.Eventually(t, func() bool { mu.Lock(); defer mu.Unlock(); return most > 1 }, time.Minute, 10*time.Millisecond)
	mu.Lock()
	defer mu.Unlock()
	require.LessOrEqual(t, most, 8, "to one receiver at a time")
}

func TestDelivery_redirects(t *testing.T) {
	r := start(t, sqlitetest.Open(t), nil)
	end := receive(t, nil)
	try := func(status int, location string) error {
		from := receive(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", location)
			w.WriteHeader(status)
		})
		trials, err := r.policies.Try(t.Context(), admin, r.project, 0, wanted("redirect", webhook.WantedTarget{Type: "http", Address: from.URL, AuthHeader: new("hush")}))
		require.NoError(t, err)
		return trials[0].Err
	}
	require.NoError(t, try(http.StatusPermanentRedirect, end.URL))
	moved := end.next(t)
	require.Contains(t, moved.body, "TEST")
	require.ErrorContains(t, try(http.StatusFound, end.URL), "307")
	for _, forbidden := range []string{"http://169.254.169.254/latest/meta-data", "http://[::ffff:169.254.169.254]/", "http://100.100.100.200/"} {
		require.ErrorContains(t, try(http.StatusTemporaryRedirect, forbidden), "not allowed by the operator")
	}
	require.Error(t, try(http.StatusTemporaryRedirect, "file:///etc/passwd"))

	// What is forbidden is not tried again.
	policy := r.tell(t, "metadata", webhook.WantedTarget{Type: "http", Address: receive(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "http://169.254.169.254/")
		w.WriteHeader(http.StatusTemporaryRedirect)
	}).URL})
	r.happen(t, pushed("v1"))
	executions := r.ended(t, policy, 1)
	require.Equal(t, metadata.StatusError, executions[0].Status)
	require.Contains(t, executions[0].Message, "not allowed by the operator")
	tasks, err := r.policies.Tasks(t.Context(), r.project, policy.ID, executions[0].ID)
	require.NoError(t, err)
	require.Equal(t, 1, tasks[0].Attempts)
}

// TestDelivery_whoIsTold has webhooks that are not for the event, or switched off, and one for all projects.
func TestDelivery_whoIsTold(t *testing.T) {
	eachEngine(t, nil, func(t *testing.T, r *registry) {
		to := receive(t, nil)
		target := func(path string) webhook.WantedTarget {
			return webhook.WantedTarget{Type: "http", Address: to.URL + path}
		}
		everywhere, err := r.policies.Create(t.Context(), admin, metadata.Project{}, wanted("everywhere", target("/everywhere")))
		require.NoError(t, err)
		off := wanted("off", target("/off"))
		off.Enabled = false
		_, err = r.policies.Create(t.Context(), admin, r.project, off)
		require.NoError(t, err)
		others := wanted("others", target("/others"))
		others.EventTypes = []string{"PULL_ARTIFACT"}
		_, err = r.policies.Create(t.Context(), admin, r.project, others)
		require.NoError(t, err)
		var other metadata.Project
		r.write(t, func(ctx context.Context, tx *metadata.Tx) (err error) {
			other, err = tx.CreateProject(ctx, metadata.Project{Name: "other"})
			return err
		})
		_, err = r.policies.Create(t.Context(), admin, other, wanted("other", target("/other")))
		require.NoError(t, err)

		r.happen(t, event.Event{Kind: event.LabelCreated, Subject: "of no interest"}, pushed("v1"))
		require.Equal(t, "v1", to.next(t).tag(t))
		r.ended(t, everywhere, 1)

		require.NoError(t, r.settings.Update(t.Context(), admin, map[*setting.Key]any{setting.NotificationEnable: false}))
		write, err := r.dispatcher.Handle(t.Context(), []metadata.Event{{Event: pushed("v2"), ID: 1 << 40, ProjectID: r.project.ID}})
		require.NoError(t, err)
		r.write(t, write)
		_, total, err := r.Executions(t.Context(), webhook.Kind, metadata.Query{})
		require.NoError(t, err)
		require.Equal(t, int64(1), total)
	})
}

// TestDelivery_ofWhatIsDeleted has a webhook go while its receiver is asked.
func TestDelivery_ofWhatIsDeleted(t *testing.T) {
	r := start(t, sqlitetest.Open(t), nil)
	release := make(chan struct{})
	to := receive(t, func(http.ResponseWriter, *http.Request) { <-release })
	policy := r.tell(t, "gone", webhook.WantedTarget{Type: "http", Address: to.URL})
	r.happen(t, pushed("v1"), pushed("v2"))
	require.Eventually(t, func() bool {
		_, total, err := r.policies.Executions(t.Context(), r.project, policy.ID, metadata.Query{Limit: -1})
		require.NoError(t, err)
		return total == 2
	}, time.Minute, 10*time.Millisecond)
	require.NoError(t, r.policies.Delete(t.Context(), admin, r.project, policy.ID))
	close(release)
	found, _, err := r.Executions(t.Context(), webhook.Kind, metadata.Query{Limit: -1})
	require.NoError(t, err)
	require.Empty(t, found)
}

// TestDelivery_whatFailsHoldsUpItsArtifactAndTagsOnly has a receiver that cannot take two artifacts, with more about them, about their
// tags, and about others behind.
func TestDelivery_whatFailsHoldsUpItsArtifactAndTagsOnly(t *testing.T) {
	patient := func(o *webhook.SenderOptions) { o.Pause = 100 * time.Millisecond }
	eachEngine(t, patient, func(t *testing.T, r *registry) {
		var mu sync.Mutex
		ill := map[string]int{"bad": 0, "worse": 0}
		to := receive(t, nil)
		to.Config.Handler = to.keep(func(w http.ResponseWriter, request *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			body, _ := io.ReadAll(request.Body)
			for digest := range ill {
				if strings.Contains(string(body), "sha256:"+digest+`"`) {
					ill[digest]++
					w.WriteHeader(http.StatusInternalServerError)
				}
			}
		})
		policy := r.tell(t, "some fail", webhook.WantedTarget{Type: "http", Address: to.URL})
		of := func(digest, tag string) event.Event {
			e := pushed(tag)
			e.Digest = "sha256:" + digest
			return e
		}
		deleted := of("third", "")
		deleted.Kind, deleted.Details = event.ManifestDeleted, `{"tags":["old","latest"]}`
		r.happen(t, of("bad", "latest"), of("worse", "next"), of("first", "1"), of("second", "latest"), of("second", "2"), of("first", "2"),
			of("bad", "next"), of("fourth", "next"), deleted, of("fifth", "old"), of("sixth", "6"))
		passed := func(until string, but ...string) (were []string) {
			for len(were) == 0 || were[len(were)-1] != until {
				digest, tag := to.next(t).about(t)
				if digest = strings.TrimPrefix(digest, "sha256:"); !slices.Contains(but, digest) {
					were = append(were, digest+" "+tag)
				}
			}
			return were
		}
		require.Equal(t, []string{"first 1", "sixth 6"}, passed("sixth 6", "bad", "worse"))
		heal := func(digest string) {
			mu.Lock()
			defer mu.Unlock()
			require.GreaterOrEqual(t, ill[digest], 3)
			delete(ill, digest)
		}
		heal("bad")
		require.Equal(t, []string{"second latest", "second 2", "first 2", "third old", "fifth old"}, passed("fifth old", "bad", "worse"), "while the other is ill")
		heal("worse")
		require.Equal(t, []string{"bad next", "fourth next"}, passed("fourth next", "worse"))
		r.happen(t, of("bad", "7"))
		for _, e := range r.ended(t, policy, 12) {
			require.Equal(t, metadata.StatusSuccess, e.Status, e.Message)
		}
	})
}

// TestDelivery_waitsAsLongAsToldTo has a receiver that asks to be left alone, and others that ask for what nobody can mean.
func TestDelivery_waitsAsLongAsToldTo(t *testing.T) {
	r := start(t, sqlitetest.Open(t), nil)
	var mu sync.Mutex
	asked := false
	to := receive(t, func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if !asked {
			asked = true
			w.Header().Set("Retry-After", "2")
			w.WriteHeader(http.StatusTooManyRequests)
		}
	})
	policy := r.tell(t, "busy", webhook.WantedTarget{Type: "http", Address: to.URL})
	r.happen(t, pushed("v1"))
	to.next(t)
	began := time.Now()
	require.Eventually(t, func() bool {
		executions, _, err := r.policies.Executions(t.Context(), r.project, policy.ID, metadata.Query{Limit: -1})
		require.NoError(t, err)
		tasks, err := r.policies.Tasks(t.Context(), r.project, policy.ID, executions[0].ID)
		require.NoError(t, err)
		return tasks[0].Status == metadata.StatusScheduled
	}, time.Minute, 5*time.Millisecond)
	until, err := r.WebhookRest(t.Context(), policy.ID, policy.Targets[0].Key)
	require.NoError(t, err)
	require.Greater(t, until, began, "all gateways know")
	other := pushed("v2")
	other.Repository = "library/other" // which does not wait for the first one
	r.happen(t, other)
	for range 2 {
		to.next(t)
		require.Greater(t, time.Since(began), time.Second)
	}
	began = time.Now()
	r.write(t, func(ctx context.Context, tx *metadata.Tx) error { // as another gateway was asked to
		return tx.RestWebhook(ctx, policy.ID, policy.Targets[0].Key, began.Add(500*time.Millisecond))
	})
	r.happen(t, pushed("v3"))
	to.next(t)
	require.GreaterOrEqual(t, time.Since(began), 500*time.Millisecond)
	executions := r.ended(t, policy, 3)
	for _, e := range executions {
		require.Equal(t, metadata.StatusSuccess, e.Status, e.Message)
	}
	tasks, err := r.policies.Tasks(t.Context(), r.project, policy.ID, executions[1].ID)
	require.NoError(t, err)
	require.Equal(t, 1, tasks[0].Attempts, "to wait is no attempt")

	for _, value := range []string{"", "-5", "soon", "99999999999999999999", "Mon, 02 Jan 2006 15:04:05 GMT"} {
		refusing := receive(t, nil)
		var told atomic.Bool
		refusing.Config.Handler = refusing.keep(func(w http.ResponseWriter, _ *http.Request) {
			if told.CompareAndSwap(false, true) {
				w.Header().Set("Retry-After", value)
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		})
		strange := r.tell(t, "strange "+value, webhook.WantedTarget{Type: "http", Address: refusing.URL})
		r.happen(t, pushed("v3"))
		require.Equal(t, metadata.StatusSuccess, r.ended(t, strange, 1)[0].Status, value)
		require.NoError(t, r.policies.Delete(t.Context(), admin, r.project, strange.ID))
	}
}

// TestDelivery_whatWaitsIsBounded has a receiver that is gone while many events come, and one that is well.
func TestDelivery_whatWaitsIsBounded(t *testing.T) {
	var mu sync.Mutex
	turnedAway := 0
	r := start(t, sqlitetest.Open(t), func(o *webhook.SenderOptions) {
		o.Pause = time.Hour
		o.Observe = func(outcome string, n int) {
			mu.Lock()
			defer mu.Unlock()
			if outcome == "turned away" {
				turnedAway += n
			}
		}
	})
	gone, well := receive(t, nil), receive(t, nil)
	gone.Close()
	dead := r.tell(t, "dead", webhook.WantedTarget{Type: "http", Address: gone.URL})
	r.tell(t, "well", webhook.WantedTarget{Type: "http", Address: well.URL})
	told := func(events ...event.Event) {
		t.Helper()
		r.happen(t, events...)
		for range events {
			well.next(t)
		}
	}
	tell := func(kind event.Kind, n int) {
		t.Helper()
		for ; n > 0; n -= 10 { // so few at a time that those who are well take them all
			e := pushed("v1")
			e.Kind = kind
			told(slices.Repeat([]event.Event{e}, 10)...)
		}
	}
	tell(event.ManifestPulled, 50)
	tell(event.ManifestPushed, 50)
	require.Eventually(t, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return turnedAway == 100-maxWaiting
	}, time.Minute, 10*time.Millisecond)
	executions, _, err := r.policies.Executions(t.Context(), r.project, dead.ID, metadata.Query{Limit: -1})
	require.NoError(t, err)
	of := map[string]int{}
	away := 0
	for _, e := range executions {
		_, err := r.policies.Redeliver(t.Context(), admin, r.project, dead.ID, e.ID)
		require.Equal(t, fault.Precondition, fault.Of(err), "neither what waits nor what was turned away: %v", err)
		if !e.Ended() {
			require.Contains(t, e.Parameters, "sha256:1")
			of[strings.Split(e.Parameters, `"`)[3]]++
			continue
		}
		require.Equal(t, metadata.StatusError, e.Status)
		var n int
		_, err = fmt.Sscanf(e.Message, "not delivered: too many deliveries wait for the receiver, so it is not told of %d events", &n)
		require.NoError(t, err, e.Message)
		away += n
	}
	require.Equal(t, map[string]int{"PULL_ARTIFACT": maxWaiting / 2, "PUSH_ARTIFACT": maxWaiting / 2}, of)
	require.Equal(t, 100-maxWaiting, away)
}
