package replicate_test

import (
	"context"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/api/apitest"
	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/jobs"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/outbound"
	"github.com/berth-registry/berth/replicate"
	"github.com/berth-registry/berth/replicate/remote"
	"github.com/berth-registry/berth/replicate/remote/remotetest"
)

// far is the reference registry, as one that is replicated to. What a test does to requests on their way there is stop.
type far struct {
	*remote.Registry
	url string

	mu   sync.Mutex
	stop func(w http.ResponseWriter, r *http.Request) bool
	put  []string
}

func startFar(t *testing.T) *far {
	t.Helper()
	address := remotetest.Distribution(t)
	f := &far{}
	through := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: address})
	through.ErrorLog = log.New(io.Discard, "", 0)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		stop := f.stop
		if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/") {
			f.put = append(f.put, strings.TrimPrefix(r.URL.Path, "/v2/"))
		}
		f.mu.Unlock()
		if stop == nil || !stop(w, r) {
			through.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.Close)
	f.url = server.URL
	transport, err := outbound.Networks{}.Transport(outbound.Trust{})
	require.NoError(t, err)
	t.Cleanup(transport.CloseIdleConnections)
	f.Registry, err = remote.New(remote.Options{URL: "http://" + address, Transport: transport})
	require.NoError(t, err)
	return f
}

// stopping does something to requests, and forgets what was put.
func (f *far) stopping(stop func(w http.ResponseWriter, r *http.Request) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stop, f.put = stop, nil
}

// hold lets the first request about a repository wait: the channel is closed when it has come.
func (f *far) hold(repository string) (arrived <-chan struct{}, release func()) {
	came, released := make(chan struct{}), make(chan struct{})
	var once sync.Once
	f.stopping(func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.HasPrefix(r.URL.Path, "/v2/"+repository+"/") {
			once.Do(func() {
				close(came)
				<-released
			})
		}
		return false
	})
	return came, sync.OnceFunc(func() { close(released) })
}

// tags are the manifests that were put by tag.
func (f *far) tags() (put []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, path := range f.put {
		if !strings.Contains(path, "sha256:") {
			put = append(put, path)
		}
	}
	return put
}

func (f *far) has(t *testing.T, repository, tag string, digest oci.Digest) bool {
	t.Helper()
	got, err := f.Resolve(t.Context(), repository, tag)
	if err != nil {
		require.ErrorIs(t, err, remote.ErrNotFound)
	}
	return got == digest
}

// policy has what is in some repositories go to the far side.
func (f *far) policy(t *testing.T, server *apitest.Server, name, repositories string, adjust func(*metadata.ReplicationPolicy)) metadata.ReplicationPolicy {
	t.Helper()
	elsewhere, err := server.Registries.Create(t.Context(), admin, replicate.WantedRegistry{Name: name, URL: f.url, Kind: "docker-registry"})
	require.NoError(t, err)
	policy := metadata.ReplicationPolicy{
		Name: name, DestinationID: elsewhere.ID, Enabled: true, Overrides: true, Cause: replicate.CauseManual,
		Filters: []metadata.ReplicationFilter{{Kind: replicate.FilterName, Values: []string{repositories}}},
	}
	if adjust != nil {
		adjust(&policy)
	}
	policy, err = server.Replication.Create(t.Context(), admin, policy)
	require.NoError(t, err)
	return policy
}

func begin(t *testing.T, server *apitest.Server, policy metadata.ReplicationPolicy) metadata.Execution {
	t.Helper()
	execution, err := server.Replication.Start(t.Context(), admin, policy.ID, false)
	require.NoError(t, err)
	return execution
}

func ended(t *testing.T, server *apitest.Server, id int64, status metadata.Status) (execution replicate.Execution) {
	t.Helper()
	require.Eventually(t, func() (done bool) {
		var err error
		execution, err = server.Replication.Execution(t.Context(), id)
		require.NoError(t, err)
		return execution.Ended()
	}, 2*time.Minute, 5*time.Millisecond)
	require.Equal(t, status, execution.Status, execution.Message)
	return execution
}

func TestPolicies(t *testing.T) {
	far := startFar(t)
	apitest.EachEngine(t, func(t *testing.T, server *apitest.Server) {
		server.FollowReplications(t)
		t.Run("what failed is tried again, and nothing else", func(t *testing.T) { testRetry(t, server, far) })
		t.Run("one at a time", func(t *testing.T) { testSingle(t, server, far) })
		t.Run("events wait for their turn", func(t *testing.T) { testSingleOfEvents(t, server, far) })
		t.Run("the speed has a limit", func(t *testing.T) { testSpeed(t, server, far) })
		t.Run("a task of a gateway that died is taken over", func(t *testing.T) { testTakeOver(t, server, far) })
		t.Run("events", func(t *testing.T) { testEvents(t, server, far) })
	})
}

func testRetry(t *testing.T, server *apitest.Server, far *far) {
	const repository = "library/retry"
	var images []oci.Descriptor
	for _, tag := range []string{"v1", "v2", "v3"} {
		images = append(images, server.PushImage(t, repository+"-a", apitest.Image{Layers: []string{t.Name(), tag}}, tag))
	}
	other := server.PushImage(t, repository+"-b", apitest.Image{Layers: []string{t.Name()}}, "v1")
	policy := far.policy(t, server, "retry", repository+"-*", nil)
	far.stopping(func(w http.ResponseWriter, r *http.Request) bool {
		refused := r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "-a/manifests/v2")
		if refused {
			http.Error(w, `{"errors":[{"code":"DENIED","message":"not on a Tuesday"}]}`, http.StatusForbidden)
		}
		return refused
	})
	failed := ended(t, server, begin(t, server, policy).ID, metadata.StatusError)
	require.Equal(t, replicate.Counts{Total: 2, Succeeded: 1, Failed: 1}, failed.Counts)
	require.Contains(t, failed.Message, "not on a Tuesday")
	require.True(t, far.has(t, repository+"-a", "v3", images[2].Digest), "one that fails does not stop the others")
	require.False(t, far.has(t, repository+"-a", "v2", images[1].Digest))
	require.True(t, far.has(t, repository+"-b", "v1", other.Digest))

	far.stopping(nil)
	again, err := server.Replication.Retry(t.Context(), admin, failed.ID)
	require.NoError(t, err)
	done := ended(t, server, again.ID, metadata.StatusSuccess)
	require.EqualValues(t, 1, done.Total)
	tasks, _, err := server.Replication.Tasks(t.Context(), done.ID, metadata.Query{Limit: 9})
	require.NoError(t, err)
	move, err := replicate.MoveOf(tasks[0])
	require.NoError(t, err)
	require.Equal(t, []string{"v2"}, move.References)
	require.Equal(t, []string{repository + "-a/manifests/v2"}, far.tags())
	require.True(t, far.has(t, repository+"-a", "v2", images[1].Digest))
	for _, execution := range []int64{done.ID, 1 << 40} {
		_, err = server.Replication.Retry(t.Context(), admin, execution)
		require.Equal(t, map[bool]fault.Kind{true: fault.Precondition, false: fault.NotFound}[execution == done.ID], fault.Of(err))
	}
}

func testSingle(t *testing.T, server *apitest.Server, far *far) {
	server.PushImage(t, "library/single", apitest.Image{Layers: []string{t.Name()}}, "v1")
	policy := far.policy(t, server, "single", "library/single", func(p *metadata.ReplicationPolicy) { p.Single = true })
	arrived, release := far.hold("library/single")
	first := begin(t, server, policy)
	<-arrived
	second := ended(t, server, begin(t, server, policy).ID, metadata.StatusError)
	require.Contains(t, second.Message, "is still in progress")
	running, err := server.Replication.Execution(t.Context(), first.ID)
	require.NoError(t, err)
	require.False(t, running.Ended())
	release()
	ended(t, server, first.ID, metadata.StatusSuccess)
	ended(t, server, begin(t, server, policy).ID, metadata.StatusSuccess)
}

// testSingleOfEvents pushes and deletes while an execution runs, of a policy that wants a single one at a time.
func testSingleOfEvents(t *testing.T, server *apitest.Server, far *far) {
	const repository = "library/turns"
	policy := far.policy(t, server, "turns", repository, func(p *metadata.ReplicationPolicy) {
		p.Single, p.Cause, p.Deletes = true, replicate.CauseEvent, true
	})
	arrived, release := far.hold(repository)
	defer release()
	push := func(tag string) oci.Digest {
		return server.PushImage(t, repository, apitest.Image{Layers: []string{t.Name(), tag}}, tag).Digest
	}
	executions := func() []replicate.Execution {
		page, _, err := server.Replication.Executions(t.Context(), metadata.Query{Limit: 10, Conditions: []metadata.Condition{
			{Field: "subject_id", Comparison: metadata.Equal, Values: []any{policy.ID}},
		}})
		require.NoError(t, err)
		return page
	}
	eventually := func(condition func() bool) {
		t.Helper()
		require.Eventually(t, condition, 2*time.Minute, 5*time.Millisecond)
	}
	one := push("v1")
	<-arrived
	two := push("v2")
	eventually(func() bool { return len(executions()) == 2 })
	waiting := executions()[0]
	eventually(func() bool {
		tasks, _, err := server.Replication.Tasks(t.Context(), waiting.ID, metadata.Query{Limit: 1})
		require.NoError(t, err)
		return tasks[0].Message == "waits for another execution of the policy"
	})
	three := push("v3")
	require.NoError(t, server.Registry.DeleteManifest(t.Context(), admin, repository, oci.Reference{Digest: one}))
	eventually(func() bool {
		parameters := executions()[0].Parameters
		return strings.Contains(parameters, `"v3"`) && strings.Contains(parameters, `"deletion"`)
	})
	require.Contains(t, ended(t, server, begin(t, server, policy).ID, metadata.StatusError).Message, "is still in progress")
	require.False(t, far.has(t, repository, "v2", two))
	release()
	ended(t, server, waiting.ID, metadata.StatusSuccess)
	require.Len(t, executions(), 3, "what came while one ran became one")
	require.True(t, far.has(t, repository, "v2", two))
	require.True(t, far.has(t, repository, "v3", three))
	require.False(t, far.has(t, repository, "v1", one))
}

// testSpeed has two tasks of an execution share its speed.
func testSpeed(t *testing.T, server *apitest.Server, far *far) {
	const size, speed = 2 << 20, 6 << 20
	for _, name := range []string{"a", "b"} {
		server.PushImage(t, "library/speed-"+name, apitest.Image{Layers: []string{strings.Repeat(name+t.Name(), size)[:size]}}, "v1")
	}
	policy := far.policy(t, server, "speed", "library/speed-*", func(p *metadata.ReplicationPolicy) { p.Speed = speed >> 10 })
	far.stopping(nil)
	began := time.Now()
	ended(t, server, begin(t, server, policy).ID, metadata.StatusSuccess)
	// The first MiB may go at once.
	require.GreaterOrEqual(t, time.Since(began), time.Second*(2*size-1<<20)/speed)
}

func testTakeOver(t *testing.T, server *apitest.Server, far *far) {
	image := server.PushImage(t, "library/taken", apitest.Image{Layers: []string{t.Name()}}, "v1")
	policy := far.policy(t, server, "taken", "library/taken", nil)
	far.stopping(nil)
	parameters, err := json.Marshal(replicate.Move{Policy: policy.ID, Operation: replicate.OperationCopy, From: "library/taken", To: "library/taken", References: []string{"v1"}})
	require.NoError(t, err)
	var execution metadata.Execution
	server.Write(t, func(ctx context.Context, tx *metadata.Tx) (err error) {
		execution, err = tx.CreateExecution(ctx, metadata.Execution{Kind: replicate.Kind, SubjectID: policy.ID, Cause: jobs.CauseManual, Parameters: "{}", Actor: "admin"})
		if err != nil {
			return err
		}
		task, err := tx.CreateTask(ctx, metadata.Task{ExecutionID: execution.ID, Kind: replicate.MoveKind, Parameters: string(parameters)})
		if err != nil {
			return err
		}
		_, err = tx.ClaimTask(ctx, task, "dead", time.Now().Add(50*time.Millisecond))
		return err
	})
	ended(t, server, execution.ID, metadata.StatusSuccess)
	require.True(t, far.has(t, "library/taken", "v1", image.Digest))
	require.Eventually(t, func() bool { return server.CountEvents(t, event.ReplicationEnded) > 0 }, time.Minute, 5*time.Millisecond)
}

func testEvents(t *testing.T, server *apitest.Server, far *far) {
	far.policy(t, server, "events", "library/event-*", func(p *metadata.ReplicationPolicy) { p.Cause, p.Deletes = replicate.CauseEvent, true })
	far.stopping(nil)
	image := server.PushImage(t, "library/event-a", apitest.Image{Layers: []string{t.Name()}}, "v1", "v2")
	server.PushImage(t, "library/other", apitest.Image{Layers: []string{t.Name()}}, "v1")
	eventually := func(condition func() bool) {
		t.Helper()
		require.Eventually(t, condition, 2*time.Minute, 5*time.Millisecond)
	}
	eventually(func() bool {
		return far.has(t, "library/event-a", "v1", image.Digest) && far.has(t, "library/event-a", "v2", image.Digest)
	})
	signature := server.PushArtifact(t, "library/event-a", "application/vnd.cncf.notary.signature", &image, t.Name())
	eventually(func() bool { return far.has(t, "library/event-a", signature.Digest.String(), signature.Digest) })
	require.False(t, far.has(t, "library/other", "v1", image.Digest))
	require.NoError(t, server.Registry.DeleteManifest(t.Context(), admin, "library/event-a", oci.Reference{Digest: image.Digest}))
	eventually(func() bool { return !far.has(t, "library/event-a", image.Digest.String(), image.Digest) })
}
