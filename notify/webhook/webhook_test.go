package webhook_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/event/follow"
	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/jobs"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/metadata/postgres/postgrestest"
	"github.com/berth-registry/berth/metadata/sqlite/sqlitetest"
	"github.com/berth-registry/berth/notify/webhook"
	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/secret"
	"github.com/berth-registry/berth/setting"
)

var (
	quiet = slog.New(slog.DiscardHandler)
	admin = event.Actor{Name: "admin", Credential: "basic"}
	// at is when everything happens.
	at = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
)

// registry is what tells webhooks, with the project library and the repository library/app.
type registry struct {
	*metadata.Store
	settings   *setting.Settings
	policies   *webhook.Policies
	dispatcher *webhook.Dispatcher
	project    metadata.Project
}

func eachEngine(t *testing.T, adjust func(*webhook.SenderOptions), test func(t *testing.T, r *registry)) {
	t.Run("sqlite", func(t *testing.T) { test(t, start(t, sqlitetest.Open(t), adjust)) })
	t.Run("postgres", func(t *testing.T) {
		test(t, start(t, postgrestest.Open(t), adjust))
	})
}

// maxWaiting is how many deliveries wait for one target.
const maxWaiting = 60

func start(t *testing.T, store *metadata.Store, adjust func(*webhook.SenderOptions)) *registry {
	t.Helper()
	box, err := secret.New([]byte(strings.Repeat("k", secret.MinKeyLength)))
	require.NoError(t, err)
	r := &registry{Store: store, settings: setting.New(setting.Options{Store: store, Box: box})}
	r.write(t, func(ctx context.Context, tx *metadata.Tx) (err error) {
		if r.project, err = tx.CreateProject(ctx, metadata.Project{Name: "library", Public: true}); err != nil {
			return err
		}
		_, err = tx.EnsureRepository(ctx, r.project.ID, oci.Repository("library/app"))
		return err
	})
	options := webhook.SenderOptions{
		Store: store, Box: box, Settings: r.settings, UserAgent: "berth/test", Pause: time.Millisecond, Timeout: 20 * time.Second, Logger: quiet,
	}
	if adjust != nil {
		adjust(&options)
	}
	sender := webhook.NewSender(options)
	t.Cleanup(func() { require.NoError(t, sender.Close()) })
	work := jobs.New(jobs.Options{Store: store, Logger: quiet, Kinds: []jobs.Kind{sender.Delivering()}, Poll: 10 * time.Millisecond})
	t.Cleanup(func() { require.NoError(t, work.Close()) })
	r.dispatcher = webhook.NewDispatcher(webhook.DispatcherOptions{Store: store, Jobs: work, Settings: r.settings, Logger: quiet, MaxWaiting: maxWaiting})
	follower := follow.New(follow.Options{
		Store: store, Name: webhook.Follower, Handle: r.dispatcher.Handle, Written: work.Wake, Logger: quiet, Poll: 10 * time.Millisecond,
	})
	ctx, stop := context.WithCancel(context.Background())
	var following sync.WaitGroup
	following.Go(func() { follower.Run(ctx) })
	t.Cleanup(func() {
		stop()
		following.Wait()
	})
	r.policies = webhook.NewPolicies(webhook.PoliciesOptions{Store: store, Box: box, Sender: sender, Jobs: work})
	return r
}

func (r *registry) write(t *testing.T, fn func(ctx context.Context, tx *metadata.Tx) error) {
	t.Helper()
	require.NoError(t, r.Tx(t.Context(), fn))
}

// happen has events happen in the project.
func (r *registry) happen(t *testing.T, events ...event.Event) {
	t.Helper()
	r.write(t, func(ctx context.Context, tx *metadata.Tx) error {
		for _, e := range events {
			if e.At.IsZero() {
				e.At = at
			}
			e.Project = "library"
			if err := tx.AppendEvent(ctx, e); err != nil {
				return err
			}
		}
		return nil
	})
}

// tell adds a webhook of the project for all types.
func (r *registry) tell(t *testing.T, name string, targets ...webhook.WantedTarget) metadata.WebhookPolicy {
	t.Helper()
	row, err := r.policies.Create(t.Context(), admin, r.project, wanted(name, targets...))
	require.NoError(t, err)
	return row
}

func wanted(name string, targets ...webhook.WantedTarget) webhook.Wanted {
	w := webhook.Wanted{Name: name, Enabled: true, Targets: targets, Base: "https://registry.example.com"}
	for _, t := range webhook.Types() {
		w.EventTypes = append(w.EventTypes, string(t))
	}
	return w
}

func pushed(tag string) event.Event {
	return event.Event{Kind: event.ManifestPushed, Actor: "alice", RequestID: "r1", Repository: "library/app", Digest: "sha256:1", Tag: tag}
}

// call is a request that a receiver has got.
type call struct {
	header http.Header
	body   string
}

func (c call) tag(t *testing.T) string {
	t.Helper()
	_, tag := c.about(t)
	return tag
}

// about is the first artifact that a call tells of.
func (c call) about(t *testing.T) (digest, tag string) {
	t.Helper()
	var told struct {
		EventData struct {
			Resources []struct{ Digest, Tag string }
		} `json:"event_data"`
	}
	require.NoError(t, json.Unmarshal([]byte(c.body), &told), c.body)
	return told.EventData.Resources[0].Digest, told.EventData.Resources[0].Tag
}

// receiver is who is told.
type receiver struct {
	*httptest.Server
	calls chan call
}

// receive starts a receiver, which answers as the function does; nil answers 200.
func receive(t *testing.T, answer http.HandlerFunc) *receiver {
	t.Helper()
	r := &receiver{calls: make(chan call, 1000)}
	r.Server = httptest.NewServer(r.keep(answer))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) keep(answer http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, request *http.Request) {
		body, _ := io.ReadAll(request.Body)
		request.Body = io.NopCloser(strings.NewReader(string(body)))
		if answer != nil {
			answer(w, request)
		}
		r.calls <- call{request.Header.Clone(), string(body)}
	}
}

func (r *receiver) next(t *testing.T) call {
	t.Helper()
	select {
	case c := <-r.calls:
		return c
	case <-time.After(time.Minute):
		require.Fail(t, "nobody calls")
		return call{}
	}
}

// ended waits until all n deliveries of a webhook have ended, and returns them, the newest first.
func (r *registry) ended(t *testing.T, policy metadata.WebhookPolicy, n int) []metadata.Execution {
	t.Helper()
	var executions []metadata.Execution
	require.Eventually(t, func() bool {
		var err error
		executions, _, err = r.policies.Executions(t.Context(), metadata.Project{ID: policy.ProjectID}, policy.ID, metadata.Query{Limit: -1})
		require.NoError(t, err)
		done := 0
		for _, e := range executions {
			if e.Ended() {
				done++
			}
		}
		return len(executions) == n && done == n
	}, time.Minute, 10*time.Millisecond)
	return executions
}

// golden has the payload of each type, in the fields that Harbor has.
var golden = []struct {
	of   webhook.Type
	in   event.Event
	data string
	ce   string
}{
	{
		webhook.PushArtifact, pushed("v1"),
		`{"resources": [{"digest": "sha256:1", "tag": "v1", "resource_url": "registry.example.com/library/app:v1"}], "repository": REPOSITORY}`,
		"harbor.artifact.pushed",
	},
	{
		webhook.PullArtifact,
		event.Event{Kind: event.ManifestPulled, Actor: "alice", RequestID: "r1", Repository: "library/app", Digest: "sha256:1"},
		`{"resources": [{"digest": "sha256:1", "tag": "sha256:1", "resource_url": "registry.example.com/library/app@sha256:1"}], "repository": REPOSITORY}`,
		"harbor.artifact.pulled",
	},
	{
		webhook.DeleteArtifact,
		event.Event{Kind: event.ManifestDeleted, Actor: "alice", RequestID: "r1", Repository: "library/app", Digest: "sha256:1", Details: `{"tags":["v1","v2"]}`},
		`{"resources": [{"digest": "sha256:1", "tag": "v1", "resource_url": "registry.example.com/library/app:v1"},
			{"digest": "sha256:1", "tag": "v2", "resource_url": "registry.example.com/library/app:v2"}], "repository": REPOSITORY}`,
		"harbor.artifact.deleted",
	},
	{
		webhook.QuotaExceed,
		event.Event{Kind: event.QuotaExceeded, Actor: "alice", RequestID: "r1", Repository: "library/app", Tag: "v1", Subject: "too much"},
		`{"resources": [{"tag": "v1", "resource_url": "registry.example.com/library/app:v1"}], "repository": REPOSITORY, "custom_attributes": {"Details": "too much"}}`,
		"harbor.quota.exceeded",
	},
	{
		webhook.QuotaWarning,
		event.Event{Kind: event.QuotaWarned, Actor: "alice", RequestID: "r1", Repository: "library/app", Digest: "sha256:1", Tag: "v1", Subject: "nearly"},
		`{"resources": [{"digest": "sha256:1", "tag": "v1", "resource_url": "registry.example.com/library/app:v1"}], "repository": REPOSITORY, "custom_attributes": {"Details": "nearly"}}`,
		"harbor.quota.warned",
	},
	{
		webhook.ScanningCompleted,
		event.Event{Kind: event.ScanCompleted, Actor: "alice", RequestID: "r1", Repository: "library/app", Digest: "sha256:1", Tag: "v1", Details: `{"type":"vulnerability","overview":{"a":1}}`},
		`{"resources": [{"digest": "sha256:1", "tag": "v1", "resource_url": "registry.example.com/library/app:v1", "scan_overview": {"a": 1}}], "repository": REPOSITORY, "scan": {"scan_type": "vulnerability"}}`,
		"harbor.scan.completed",
	},
	{
		webhook.ScanningFailed,
		event.Event{Kind: event.ScanFailed, Actor: "alice", RequestID: "r1", Repository: "library/app", Digest: "sha256:1", Tag: "v1", Details: `{"type":"sbom","overview":{"a":1}}`},
		`{"resources": [{"digest": "sha256:1", "tag": "v1", "resource_url": "registry.example.com/library/app:v1", "sbom_overview": {"a": 1}}], "repository": REPOSITORY, "scan": {"scan_type": "sbom"}}`,
		"harbor.scan.failed",
	},
	{
		webhook.ScanningStopped,
		event.Event{Kind: event.ScanStopped, Actor: "alice", RequestID: "r1", Repository: "library/app", Digest: "sha256:1", Details: `{"type":"vulnerability"}`},
		`{"resources": [{"digest": "sha256:1", "tag": "sha256:1", "resource_url": "registry.example.com/library/app@sha256:1"}], "repository": REPOSITORY, "scan": {"scan_type": "vulnerability"}}`,
		"harbor.scan.stopped",
	},
	{
		webhook.Replication,
		event.Event{Kind: event.ReplicationEnded, Actor: "alice", RequestID: "r1", Repository: "library/app", Details: `{"rule_id":3,"rule_creator":"bob","status":"Failed","message":"m",
			"trigger":"manual","resource_type":"image","override":true,"authentication":"basic","source":{"registry":"Local","type":"harbor","endpoint":"https://r","namespace":"library"},
			"destination":{"registry":"far","type":"docker-registry","endpoint":"https://f","namespace":"mirror"},
			"succeeded":[{"type":"image","name":"library/app:v1","status":"Success"}],"failed":[{"type":"image","name":"library/app:v2","status":"Failed","reason":"no"}]}`},
		`{"replication": {"harbor_hostname": "registry.example.com", "job_status": "Failed", "description": "m", "artifact_type": "image", "authentication_type": "basic",
			"override_mode": true, "trigger_type": "MANUAL", "policy_creator": "bob", "execution_timestamp": 1795521600,
			"src_resource": {"registry_name": "Local", "registry_type": "harbor", "endpoint": "https://r", "namespace": "library"},
			"dest_resource": {"registry_name": "far", "registry_type": "docker-registry", "endpoint": "https://f", "namespace": "mirror"},
			"successful_artifact": [{"type": "image", "status": "Success", "name_tag": "library/app:v1"}],
			"failed_artifact": [{"type": "image", "status": "Failed", "name_tag": "library/app:v2", "fail_reason": "no"}]}}`,
		"harbor.replication.status.changed",
	},
	{
		webhook.TagRetention,
		event.Event{Kind: event.RetentionEnded, Actor: "alice", RequestID: "r1", Repository: "library/app", Details: `{"policy_id":4,"status":"SUCCESS","total":3,"retained":2,"rules":[{"id":1}],
			"deleted":[{"type":"image","name":"library/app:v0","status":"Success"}]}`},
		`{"retention": {"total": 3, "retained": 2, "harbor_hostname": "registry.example.com", "project_name": "library", "retention_policy_id": 4, "result": "SUCCESS",
			"retention_rule": [{"id": 1}], "deleted_artifact": [{"type": "image", "status": "Success", "name_tag": "library/app:v0"}]}}`,
		"harbor.tag_retention.finished",
	},
}

func TestPayload_ofEachTypeInEachFormat(t *testing.T) {
	eachEngine(t, nil, func(t *testing.T, r *registry) {
		require.Len(t, golden, len(webhook.Types()))
		plain, events, slack := receive(t, nil), receive(t, nil), receive(t, nil)
		policy := r.tell(t, "all", webhook.WantedTarget{Type: "http", Address: plain.URL},
			webhook.WantedTarget{Type: "http", Address: events.URL, Format: "CloudEvents"}, webhook.WantedTarget{Type: "slack", Address: slack.URL})
		repository, err := r.Repository(t.Context(), "library/app")
		require.NoError(t, err)
		for _, g := range golden {
			r.happen(t, g.in)
			data := strings.ReplaceAll(g.data, "REPOSITORY", fmt.Sprintf(
				`{"date_created": %d, "name": "app", "namespace": "library", "repo_full_name": "library/app", "repo_type": "public"}`, repository.CreatedAt.Unix()))
			told := plain.next(t)
			require.Equal(t, "application/json", told.header.Get("Content-Type"))
			require.Equal(t, string(g.of), told.header.Get(webhook.EventHeader))
			require.JSONEq(t, fmt.Sprintf(`{"type": %q, "occur_at": 1795521600, "operator": "alice", "event_data": %s}`, g.of, data), told.body)

			told = events.next(t)
			require.Equal(t, "application/cloudevents+json", told.header.Get("Content-Type"))
			var judged cloudevents.Event // by the rules of the specification
			require.NoError(t, json.Unmarshal([]byte(told.body), &judged))
			require.NoError(t, judged.Validate())
			require.Equal(t, "alice", judged.Extensions()["operator"])
			var ce map[string]any
			require.NoError(t, json.Unmarshal([]byte(told.body), &ce))
			require.NotEmpty(t, ce["id"])
			ce["id"] = "ID"
			encoded, err := json.Marshal(ce)
			require.NoError(t, err)
			require.JSONEq(t, fmt.Sprintf(`{"specversion": "1.0", "id": "ID", "source": "/projects/%d/webhook/policies/%d", "type": %q, "datacontenttype": "application/json",
				"time": "2026-11-24T12:00:00Z", "requestid": "r1", "operator": "alice", "data": %s}`, r.project.ID, policy.ID, g.ce, data), string(encoded))

			var message struct {
				Text   string
				Blocks []struct {
					Type string
					Text struct{ Type, Text string }
				}
			}
			require.NoError(t, json.Unmarshal([]byte(slack.next(t).body), &message))
			require.Contains(t, message.Text, string(g.of))
			require.Len(t, message.Blocks, 5)
			for _, block := range message.Blocks {
				require.Equal(t, "section", block.Type)
				require.Equal(t, "mrkdwn", block.Text.Type)
				require.LessOrEqual(t, len(block.Text.Text), 3000)
			}
			require.Equal(t, "*event_type:* "+string(g.of), message.Blocks[1].Text.Text)
			require.Equal(t, "*operator:* alice", message.Blocks[3].Text.Text)
		}
		triggers, err := r.policies.Triggers(t.Context(), r.project)
		require.NoError(t, err)
		require.Len(t, triggers, len(golden))
		for _, trigger := range triggers {
			require.Equal(t, at, trigger.Last.At, trigger.EventType)
		}
	})
}

func TestPayload_slackKeepsHostileTextsApart(t *testing.T) {
	r := start(t, sqlitetest.Open(t), nil)
	slack := receive(t, nil)
	r.tell(t, "slack", webhook.WantedTarget{Type: "slack", Address: slack.URL})
	e := pushed("v1")
	e.Kind, e.Actor, e.Subject = event.QuotaWarned, "<!channel> & co", "``` <@U1> "+strings.Repeat("ü", 5000)
	r.happen(t, e)
	body := slack.next(t).body
	var message struct {
		Blocks []struct{ Text struct{ Text string } }
	}
	require.NoError(t, json.Unmarshal([]byte(body), &message))
	require.Equal(t, "*operator:* &lt;!channel&gt; &amp; co", message.Blocks[3].Text.Text)
	require.NotContains(t, message.Blocks[4].Text.Text, "<@U1>")
	require.Equal(t, 2, strings.Count(message.Blocks[4].Text.Text, "```"))
	require.Less(t, len(message.Blocks[4].Text.Text), 3000)
}

func TestRequest_isSignedAndAuthorized(t *testing.T) {
	r := start(t, sqlitetest.Open(t), nil)
	to := receive(t, nil)
	policy := r.tell(t, "signed", webhook.WantedTarget{Type: "http", Address: to.URL, AuthHeader: new("Bearer hush"), Secret: new("very secret")})
	r.happen(t, pushed("v1"))
	got := to.next(t)
	mac := hmac.New(sha256.New, []byte("very secret"))
	mac.Write([]byte(got.body))
	require.Equal(t, "sha256="+hex.EncodeToString(mac.Sum(nil)), got.header.Get("X-Berth-Signature"))
	require.Equal(t, "Bearer hush", got.header.Get("Authorization"))
	require.Equal(t, "berth/test", got.header.Get("User-Agent"))
	require.NotEmpty(t, got.header.Get(webhook.DeliveryHeader))
	row, err := r.Webhook(t.Context(), policy.ID)
	require.NoError(t, err)
	encoded, err := json.Marshal(row)
	require.NoError(t, err)
	require.NotContains(t, string(encoded), "hush")
	executions := r.ended(t, policy, 1)
	tasks, err := r.policies.Tasks(t.Context(), r.project, policy.ID, executions[0].ID)
	require.NoError(t, err)
	text, err := r.policies.Log(t.Context(), r.project, policy.ID, executions[0].ID, tasks[0].ID)
	require.NoError(t, err)
	for _, where := range []string{executions[0].Parameters, tasks[0].Parameters, text} {
		require.NotContains(t, where, "hush")
		require.NotContains(t, where, "very secret")
	}
}

// TestUpdate_secretsStayWithTheirAddress has somebody who may change a webhook try to have what it keeps secret sent elsewhere.
func TestUpdate_secretsStayWithTheirAddress(t *testing.T) {
	r := start(t, sqlitetest.Open(t), nil)
	right, wrong := receive(t, nil), receive(t, nil)
	hidden := webhook.WantedTarget{Type: "http", Address: right.URL, AuthHeader: new("hush"), Secret: new("hush too")}
	policy := r.tell(t, "kept", hidden)
	update := func(targets ...webhook.WantedTarget) {
		t.Helper()
		require.NoError(t, r.policies.Update(t.Context(), admin, r.project, policy.ID, wanted("kept", targets...)))
		r.happen(t, pushed("v1"))
	}
	update(webhook.WantedTarget{Type: "http", Address: wrong.URL}, webhook.WantedTarget{Type: "http", Address: right.URL})
	require.Equal(t, "hush", right.next(t).header.Get("Authorization"), "moved to another place in the list")
	require.Empty(t, wrong.next(t).header.Get("Authorization"))
	update(webhook.WantedTarget{Type: "http", Address: right.URL + "/elsewhere"})
	elsewhere := right.next(t)
	require.Empty(t, elsewhere.header.Get("Authorization"))
	require.Empty(t, elsewhere.header.Get("X-Berth-Signature"))

	update(hidden)
	require.NotEmpty(t, right.next(t).header.Get("Authorization"))
	trials, err := r.policies.Try(t.Context(), admin, r.project, policy.ID, wanted("kept", webhook.WantedTarget{Type: "http", Address: wrong.URL}))
	require.NoError(t, err)
	require.NoError(t, trials[0].Err)
	require.Empty(t, wrong.next(t).header.Get("Authorization"), "nor by a trial")
	trials, err = r.policies.Try(t.Context(), admin, r.project, policy.ID, wanted("kept", webhook.WantedTarget{Type: "http", Address: right.URL}))
	require.NoError(t, err)
	require.Equal(t, 200, trials[0].Answer.Status)
	tried := right.next(t)
	require.Equal(t, "hush", tried.header.Get("Authorization"))
	require.Contains(t, tried.body, `"type":"TEST"`)
	update(webhook.WantedTarget{Type: "http", Address: right.URL, AuthHeader: new("")})
	last := right.next(t)
	require.Empty(t, last.header.Get("Authorization"))
	require.NotEmpty(t, last.header.Get("X-Berth-Signature"))
}

func TestTrust_ofReceivers(t *testing.T) {
	r := start(t, sqlitetest.Open(t), nil)
	to := &receiver{calls: make(chan call, 9)}
	to.Server = httptest.NewTLSServer(to.keep(nil))
	defer to.Close()
	to.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	authority := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: to.Certificate().Raw}))
	try := func(target webhook.WantedTarget) error {
		target.Type, target.Address = "http", to.URL
		trials, err := r.policies.Try(t.Context(), admin, r.project, 0, wanted("tls", target))
		require.NoError(t, err)
		return trials[0].Err
	}
	require.ErrorContains(t, try(webhook.WantedTarget{}), "certificate")
	require.NoError(t, try(webhook.WantedTarget{CA: authority}))
	require.NoError(t, try(webhook.WantedTarget{Insecure: true}))
	require.ErrorContains(t, try(webhook.WantedTarget{}), "certificate", "trust is not carried over")
}

func TestPolicies_refuse(t *testing.T) {
	r := start(t, sqlitetest.Open(t), nil)
	good := webhook.WantedTarget{Type: "http", Address: "https://ci.example.com/hook"}
	r.tell(t, "taken", good)
	refuse := func(kind fault.Kind, w webhook.Wanted) {
		t.Helper()
		_, err := r.policies.Create(t.Context(), admin, r.project, w)
		require.Equal(t, kind, fault.Of(err), "%v", err)
	}
	refuse(fault.Conflict, wanted("taken", good))
	refuse(fault.Invalid, wanted("", good))
	refuse(fault.Invalid, wanted("a\x00b", good))
	refuse(fault.Invalid, wanted(strings.Repeat("n", 1000), good))
	refuse(fault.Invalid, wanted("none"))
	refuse(fault.Invalid, wanted("many", make([]webhook.WantedTarget, 11)...))
	for _, address := range []string{
		"", "ftp://a", "https://", "https://a:b@c", "https://a#b", "//a", "https://[::1", "http://169.254.169.254/", "http://[::ffff:169.254.169.254]/", "https://a\x00b",
		"https://" + strings.Repeat("a", 3000),
	} {
		refuse(fault.Invalid, wanted("address", webhook.WantedTarget{Type: "http", Address: address}))
	}
	for _, target := range []webhook.WantedTarget{
		{Type: "mail"},
		{Type: "slack", Format: "CloudEvents"},
		{Type: "http", Format: "XML"},
		{Type: "http", CA: "no PEM"},
		{Type: "http", AuthHeader: new("a\r\nb: c")},
		{Type: "http", Secret: new(strings.Repeat("s", 5000))},
	} {
		target.Address = good.Address
		refuse(fault.Invalid, wanted("target", target))
	}
	w := wanted("types", good)
	w.EventTypes = []string{"PUSH_ARTIFACT", "TEST"}
	refuse(fault.Invalid, w)
	w.EventTypes = nil
	refuse(fault.Invalid, w)
	_, err := r.policies.Get(t.Context(), metadata.Project{}, 1)
	require.Equal(t, fault.NotFound, fault.Of(err), "a webhook of a project is none of the registry")
}
