package distribution_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/distribution"
	"github.com/berth-registry/berth/distribution/auth"
	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/identity"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/metadata/sqlite/sqlitetest"
	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/outputtest"
	"github.com/berth-registry/berth/registry"
	"github.com/berth-registry/berth/storage"
	"github.com/berth-registry/berth/storage/filesystem"
)

const challenge = `Bearer realm="https://registry.test/service/token",service="registry.test"`

// everybody lets everybody do everything, but for the repositories in refused, and wishes in unasked are sent back for a token.
type everybody struct {
	refused, unasked map[oci.Repository]bool
}

func (e everybody) Authorize(_ *http.Request, needs, wishes []distribution.Need) (distribution.Access, error) {
	granted := make([]bool, len(wishes))
	for i, wish := range wishes {
		if e.unasked[wish.Repository] {
			return distribution.Access{}, &auth.Refusal{Err: oci.NewError(oci.CodeUnauthorized, "authentication required"), Challenge: challenge}
		}
		granted[i] = !e.refused[wish.Repository]
	}
	for _, need := range needs {
		if e.refused[need.Repository] {
			return alice(granted), &auth.Refusal{Err: oci.NewError(oci.CodeDenied, "no")}
		}
	}
	return alice(granted), nil
}

func alice(granted []bool) distribution.Access {
	return distribution.Access{
		Principal: identity.Principal{Kind: identity.KindUser, ID: 1, Name: "alice"}, Credential: "basic",
		View:    func(context.Context) (metadata.Visibility, error) { return metadata.Visibility{All: true}, nil },
		Granted: granted,
	}
}

// server is a registry behind HTTP, on real SQLite and a real directory.
type server struct {
	t        testing.TB
	url      string
	store    *metadata.Store
	registry *registry.Registry
	handler  http.Handler
	root     string
	clock    *clock
	log      *outputtest.Output
	observed *observations
	readOnly atomic.Bool

	mu     sync.Mutex
	events []event.Event
}

func (s *server) record(e event.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, e)
}

// recorded are the events that were not written with their act.
func (s *server) recorded() []event.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.events)
}

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

type observation struct {
	route   string
	status  int
	in, out int64
}

type observations struct {
	mu  sync.Mutex
	all []observation
}

func (o *observations) Observe(route string, status int, in, out int64, _ time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.all = append(o.all, observation{route, status, in, out})
}

func (o *observations) has(want observation) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Contains(o.all, want)
}

func newServer(t testing.TB, authorizer distribution.Authorizer) *server {
	t.Helper()
	return newServerOn(t, authorizer, nil)
}

// newServerOn is newServer on another storage than a directory.
func newServerOn(t testing.TB, authorizer distribution.Authorizer, backend storage.Backend) *server {
	t.Helper()
	return newServerOver(t, authorizer, backend, sqlitetest.Open(t))
}

// newServerOver is newServerOn over another database than SQLite.
func newServerOver(t testing.TB, authorizer distribution.Authorizer, backend storage.Backend, store *metadata.Store) *server {
	t.Helper()
	s := &server{t: t, root: t.TempDir(), store: store, clock: &clock{now: time.Now()}, log: &outputtest.Output{}, observed: &observations{}}
	logger := slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	require.NoError(t, s.store.Tx(t.Context(), func(ctx context.Context, tx *metadata.Tx) error {
		owner, err := tx.CreateUser(ctx, metadata.User{Name: "alice"})
		if err != nil {
			return err
		}
		for _, name := range []string{"library", "secret"} {
			if _, err := tx.CreateProject(ctx, metadata.Project{Name: name, OwnerID: owner.ID, Public: name == "library"}); err != nil {
				return err
			}
		}
		return nil
	}))
	if backend == nil {
		var err error
		backend, err = filesystem.New(filesystem.Config{Root: filepath.Join(s.root, "storage")})
		require.NoError(t, err)
	}
	s.registry = registry.New(registry.Options{
		Metadata: s.store, Storage: backend, Logger: logger, Clock: s.clock.Now, FlushInterval: time.Hour, SweepInterval: time.Hour,
		Record: s.record,
	})
	t.Cleanup(func() { require.NoError(t, s.registry.Close()) })
	if authorizer == nil {
		authorizer = everybody{}
	}
	s.handler = distribution.New(distribution.Options{
		Registry: s.registry, Authorizer: authorizer, Logger: logger, Observer: s.observed, Record: s.record,
		RequestID: func(r *http.Request) string { return r.Header.Get("X-Request-Id") },
		ReadOnly:  func(context.Context) bool { return s.readOnly.Load() },
	})
	web := httptest.NewServer(s.handler)
	t.Cleanup(web.Close)
	s.url = web.URL
	return s
}

// response is a response that was read whole.
type response struct {
	*http.Response
	body []byte
}

func (r response) code() string {
	var body struct {
		Errors []struct {
			Code string `json:"code"`
		} `json:"errors"`
	}
	if json.Unmarshal(r.body, &body) != nil || len(body.Errors) != 1 || r.Header.Get("Content-Type") != "application/json" {
		return "not the specification's JSON: " + string(r.body)
	}
	return body.Errors[0].Code
}

var client = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

// do sends a request; headers are "Name: value".
func (s *server) do(method, path string, body io.Reader, headers ...string) response {
	s.t.Helper()
	request, err := http.NewRequest(method, s.url+path, body)
	require.NoError(s.t, err)
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		request.Header.Set(name, value)
	}
	answer, err := client.Do(request)
	require.NoError(s.t, err)
	defer answer.Body.Close()
	read, err := io.ReadAll(answer.Body)
	require.NoError(s.t, err)
	return response{answer, read}
}

func (s *server) want(status int, r response) response {
	s.t.Helper()
	require.Equal(s.t, status, r.StatusCode, "%s %s: %s\n%s", r.Request.Method, r.Request.URL, r.body, s.log)
	return r
}

func (s *server) start(repository string) string {
	s.t.Helper()
	return s.want(202, s.do("POST", "/v2/"+repository+"/blobs/uploads/", nil)).Header.Get("Location")
}

func (s *server) pushBlob(repository string, content []byte) oci.Digest {
	s.t.Helper()
	digest := oci.SHA256.FromBytes(content)
	s.want(201, s.do("POST", "/v2/"+repository+"/blobs/uploads/?digest="+digest.String(), bytes.NewReader(content)))
	return digest
}

func imageOf(config, layer oci.Digest, subject oci.Digest, artifactType string) []byte {
	manifest := map[string]any{
		"schemaVersion": 2, "mediaType": oci.MediaTypeImageManifest,
		"config": map[string]any{"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2},
		"layers": []any{map[string]any{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer, "size": 2}},
	}
	if subject != "" {
		manifest["subject"] = map[string]any{"mediaType": oci.MediaTypeImageManifest, "digest": subject, "size": 2}
	}
	if artifactType != "" {
		manifest["artifactType"] = artifactType
	}
	encoded, _ := json.Marshal(manifest)
	return encoded
}

// pushImage pushes an image of one layer under a tag or, when that is "", its digest.
func (s *server) pushImage(repository, tag string, layer []byte) (oci.Digest, []byte) {
	s.t.Helper()
	manifest := imageOf(s.pushBlob(repository, []byte("{}")), s.pushBlob(repository, layer), "", "")
	digest := oci.SHA256.FromBytes(manifest)
	if tag == "" {
		tag = digest.String()
	}
	s.want(201, s.putManifest(repository, tag, manifest))
	return digest, manifest
}

func (s *server) putManifest(repository, reference string, manifest []byte) response {
	s.t.Helper()
	return s.do("PUT", "/v2/"+repository+"/manifests/"+reference, bytes.NewReader(manifest), "Content-Type: "+oci.MediaTypeImageManifest)
}

// noise is content that no two calls with different seeds share.
func noise(seed uint64, size int) []byte {
	content := make([]byte, size)
	source := rand.New(rand.NewPCG(seed, 1))
	for i := range content {
		content[i] = byte(source.Uint32())
	}
	return content
}

func (s *server) get(path string, headers ...string) response {
	s.t.Helper()
	return s.do("GET", path, nil, headers...)
}

func blobPath(repository string, digest oci.Digest) string {
	return fmt.Sprintf("/v2/%s/blobs/%s", repository, digest)
}
