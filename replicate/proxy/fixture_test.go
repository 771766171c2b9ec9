package proxy_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/distribution"
	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/identity"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/metadata/sqlite/sqlitetest"
	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/outbound"
	"github.com/berth-registry/berth/outputtest"
	"github.com/berth-registry/berth/registry"
	"github.com/berth-registry/berth/replicate/proxy"
	"github.com/berth-registry/berth/replicate/remote"
	"github.com/berth-registry/berth/replicate/remote/remotetest"
	"github.com/berth-registry/berth/storage"
	"github.com/berth-registry/berth/storage/filesystem"
)

// upstream is a part of the reference registry, behind a gate that counts requests and does with answers as it is told.
type upstream struct {
	t *testing.T
	// direct is the registry's address, and of what is asked there for this part of it.
	direct string
	gate   *httptest.Server

	mu     sync.Mutex
	counts map[string]int
	// ranges are those that were asked for, by path.
	ranges map[string][]string
	// answer, when it is set, is asked first, and answers by itself when it returns true.
	answer func(w http.ResponseWriter, r *http.Request) bool
	// shape changes what is sent.
	shape func(r *http.Request, body io.ReadCloser) io.ReadCloser
}

// parts counts the parts of the registry.
var parts atomic.Int64

func newUpstream(t *testing.T) *upstream {
	t.Helper()
	target, err := url.Parse("http://" + remotetest.Shared(t))
	require.NoError(t, err)
	part := fmt.Sprintf("/v2/part-%d/", parts.Add(1))
	u := &upstream{t: t, direct: target.String() + part, counts: map[string]int{}, ranges: map[string][]string{}}
	reverse := httputil.NewSingleHostReverseProxy(target)
	reverse.FlushInterval = -1
	reverse.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	reverse.ModifyResponse = func(r *http.Response) error {
		u.mu.Lock()
		shape := u.shape
		u.mu.Unlock()
		if shape != nil {
			r.Body = shape(r.Request, r.Body)
		}
		return nil
	}
	u.gate = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u.mu.Lock()
		u.counts[r.Method+" "+r.URL.Path]++
		if r.Method == http.MethodGet {
			u.ranges[r.URL.Path] = append(u.ranges[r.URL.Path], r.Header.Get("Range"))
		}
		answer := u.answer
		u.mu.Unlock()
		if answer == nil || !answer(w, r) {
			meant := r.Clone(r.Context())
			if rest, ok := strings.CutPrefix(r.URL.Path, "/v2/"); ok && rest != "" {
				meant.URL.Path = part + rest
			}
			reverse.ServeHTTP(w, meant)
		}
	}))
	t.Cleanup(u.gate.Close)
	return u
}

func (u *upstream) set(answer func(w http.ResponseWriter, r *http.Request) bool, shape func(r *http.Request, body io.ReadCloser) io.ReadCloser) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.answer, u.shape = answer, shape
}

// count is how often the gate was asked for a path.
func (u *upstream) count(method, path string) int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.counts[method+" "+path]
}

// rangesOf are the ranges of a blob that were asked for, "" for all of it.
func (u *upstream) rangesOf(repository string, blob []byte) []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.ranges[blobPath(repository, blob)])
}

// image is an image that was pushed.
type image struct {
	digest   oci.Digest
	manifest []byte
	config   []byte
	layers   [][]byte
}

func (i image) blobs() [][]byte { return append([][]byte{i.config}, i.layers...) }

// push puts an image of fresh layers of a size under a tag.
func (u *upstream) push(repository, tag string, sizes ...int) image {
	u.t.Helper()
	pushed := image{config: fmt.Appendf(nil, `{"architecture":"amd64","os":"linux","author":%q}`, rand.Text())}
	for _, size := range sizes {
		layer := make([]byte, size)
		_, _ = rand.Read(layer)
		pushed.layers = append(pushed.layers, layer)
	}
	descriptors := []map[string]any{}
	for i, blob := range pushed.blobs() {
		digest := oci.SHA256.FromBytes(blob)
		u.upload(repository, digest, blob)
		mediaType := "application/vnd.oci.image.layer.v1.tar"
		if i == 0 {
			mediaType = "application/vnd.oci.image.config.v1+json"
		}
		descriptors = append(descriptors, map[string]any{"mediaType": mediaType, "digest": digest, "size": len(blob)})
	}
	pushed.manifest, pushed.digest = u.put(repository, tag, oci.MediaTypeImageManifest, map[string]any{
		"schemaVersion": 2, "mediaType": oci.MediaTypeImageManifest, "config": descriptors[0], "layers": descriptors[1:],
	})
	return pushed
}

func (u *upstream) upload(repository string, digest oci.Digest, blob []byte) {
	u.t.Helper()
	started, err := http.Post(u.direct+repository+"/blobs/uploads/", "", nil)
	require.NoError(u.t, err)
	require.NoError(u.t, started.Body.Close())
	location := started.Header.Get("Location")
	separator := "?"
	if strings.Contains(location, "?") {
		separator = "&"
	}
	request, err := http.NewRequest(http.MethodPut, location+separator+"digest="+digest.String(), bytes.NewReader(blob))
	require.NoError(u.t, err)
	answer, err := http.DefaultClient.Do(request)
	require.NoError(u.t, err)
	require.NoError(u.t, answer.Body.Close())
	require.Equal(u.t, http.StatusCreated, answer.StatusCode)
}

func (u *upstream) put(repository, reference, mediaType string, manifest any) ([]byte, oci.Digest) {
	u.t.Helper()
	payload, err := json.Marshal(manifest)
	require.NoError(u.t, err)
	digest := oci.SHA256.FromBytes(payload)
	if reference == "" {
		reference = digest.String()
	}
	request, err := http.NewRequest(http.MethodPut, u.direct+repository+"/manifests/"+reference, bytes.NewReader(payload))
	require.NoError(u.t, err)
	request.Header.Set("Content-Type", mediaType)
	answer, err := http.DefaultClient.Do(request)
	require.NoError(u.t, err)
	said, err := io.ReadAll(answer.Body)
	require.NoError(u.t, err)
	require.NoError(u.t, answer.Body.Close())
	require.Equal(u.t, http.StatusCreated, answer.StatusCode, "%s", said)
	return payload, digest
}

// everybody lets everybody do everything.
type everybody struct{}

func (everybody) Authorize(_ *http.Request, _, wishes []distribution.Need) (distribution.Access, error) {
	return distribution.Access{
		Principal: identity.Principal{Kind: identity.KindUser, ID: 1, Name: "alice"}, Credential: "basic", Granted: make([]bool, len(wishes)),
		View: func(context.Context) (metadata.Visibility, error) { return metadata.Visibility{All: true}, nil },
	}, nil
}

// gateway is a registry with a project, cache, that is a cache of an upstream, and one, own, that is not.
type gateway struct {
	t        *testing.T
	url      string
	store    *metadata.Store
	registry *registry.Registry
	backend  storage.Backend
	proxy    *proxy.Cache
	log      *outputtest.Output
}

// setup is what tests change of a gateway.
type setup struct {
	store   *metadata.Store
	backend storage.Backend
	origin  func(*proxy.Origin)
	options func(*proxy.Options)
}

func newGateway(t *testing.T, u *upstream, with setup) *gateway {
	t.Helper()
	g := &gateway{t: t, store: with.store, log: &outputtest.Output{}}
	if g.store == nil {
		g.store = sqlitetest.Open(t)
		makeProjects(t, g.store)
	}
	logger := slog.New(slog.NewTextHandler(g.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if with.backend == nil {
		var err error
		with.backend, err = filesystem.New(filesystem.Config{Root: filepath.Join(t.TempDir(), "storage")})
		require.NoError(t, err)
	}
	g.backend = with.backend
	g.registry = registry.New(registry.Options{Metadata: g.store, Storage: with.backend, Logger: logger, Staleness: time.Millisecond, TombstoneGrace: time.Nanosecond})
	t.Cleanup(func() { require.NoError(t, g.registry.Close()) })
	transport, err := outbound.Networks{}.Transport(outbound.Trust{})
	require.NoError(t, err)
	t.Cleanup(transport.CloseIdleConnections)
	there, err := remote.New(remote.Options{URL: u.gate.URL, Transport: transport, UserAgent: "berth test"})
	require.NoError(t, err)
	var options proxy.Options
	options = proxy.Options{
		Content: g.registry, Store: g.store, Directory: filepath.Join(t.TempDir(), "proxy"), Logger: logger,
		Origin: func(_ context.Context, project string) (*proxy.Origin, error) {
			if project != "cache" {
				return nil, nil
			}
			origin := &proxy.Origin{Remote: there.Once().Via(options.Via), Name: "far"}
			if with.origin != nil {
				with.origin(origin)
			}
			return origin, nil
		},
	}
	options.Via = "berth-" + rand.Text()
	if with.options != nil {
		with.options(&options)
	}
	g.proxy = proxy.New(options)
	t.Cleanup(func() { require.NoError(t, g.proxy.Close()) })
	web := httptest.NewServer(distribution.New(distribution.Options{Registry: g.registry, Authorizer: everybody{}, Logger: logger, Proxy: g.proxy}))
	t.Cleanup(web.Close)
	g.url = web.URL
	return g
}

func makeProjects(t *testing.T, store *metadata.Store) {
	t.Helper()
	require.NoError(t, store.Tx(t.Context(), func(ctx context.Context, tx *metadata.Tx) error {
		far, err := tx.CreateRemoteRegistry(ctx, metadata.RemoteRegistry{Name: "far", URL: "https://far.test", Kind: "docker-registry", Status: "healthy"})
		if err != nil {
			return err
		}
		if _, err := tx.CreateProject(ctx, metadata.Project{Name: "cache", RegistryID: far.ID}); err != nil {
			return err
		}
		_, err = tx.CreateProject(ctx, metadata.Project{Name: "own"})
		return err
	}))
}

// answer is an answer that was read whole; err is what broke it.
type answer struct {
	*http.Response
	body []byte
	err  error
}

func (a answer) code() string {
	var body struct {
		Errors []struct{ Code, Message string }
	}
	if json.Unmarshal(a.body, &body) != nil || len(body.Errors) != 1 {
		return "not the specification's JSON: " + string(a.body)
	}
	return body.Errors[0].Code
}

var client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256}}

func (g *gateway) do(ctx context.Context, method, path string, headers ...string) answer {
	request, err := http.NewRequestWithContext(ctx, method, g.url+path, nil)
	if err != nil {
		return answer{err: err}
	}
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		request.Header.Set(name, value)
	}
	response, err := client.Do(request)
	if err != nil {
		return answer{err: err}
	}
	body, err := io.ReadAll(response.Body)
	return answer{response, body, errorsOf(err, response.Body.Close())}
}

func errorsOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (g *gateway) get(path string, headers ...string) answer {
	g.t.Helper()
	a := g.do(g.t.Context(), http.MethodGet, path, headers...)
	require.NoError(g.t, a.err)
	return a
}

func (g *gateway) want(status int, a answer) answer {
	g.t.Helper()
	require.Equal(g.t, status, a.StatusCode, "%s %s: %s\n%s", a.Request.Method, a.Request.URL, a.body, g.log)
	return a
}

func manifestPath(repository, reference string) string {
	return "/v2/" + repository + "/manifests/" + reference
}

func blobPath(repository string, blob []byte) string {
	return "/v2/" + repository + "/blobs/" + oci.SHA256.FromBytes(blob).String()
}

// pull pulls an image as clients do, and returns the first error.
func (g *gateway) pull(ctx context.Context, repository, tag string, pushed image) error {
	if a := g.do(ctx, http.MethodHead, manifestPath(repository, tag)); a.err != nil || a.StatusCode != 200 || a.Header.Get("Docker-Content-Digest") != pushed.digest.String() {
		return fmt.Errorf("HEAD of manifest: %+v", a)
	}
	if a := g.do(ctx, http.MethodGet, manifestPath(repository, pushed.digest.String())); a.err != nil || a.StatusCode != 200 || !bytes.Equal(a.body, pushed.manifest) {
		return fmt.Errorf("manifest: %+v", a)
	}
	for _, blob := range pushed.blobs() {
		if a := g.do(ctx, http.MethodGet, blobPath(repository, blob)); a.err != nil || a.StatusCode != 200 || !bytes.Equal(a.body, blob) {
			return fmt.Errorf("blob of %d bytes: %w", len(blob), errorsOf(a.err, fmt.Errorf("status %v, %d bytes", a.Response, len(a.body))))
		}
	}
	return nil
}

func (g *gateway) pullAll(times int, repository, tag string, pushed image) {
	g.t.Helper()
	var pulls sync.WaitGroup
	failures := make(chan error, times)
	for range times {
		pulls.Go(func() { failures <- g.pull(g.t.Context(), repository, tag, pushed) })
	}
	pulls.Wait()
	for range times {
		require.NoError(g.t, <-failures, "%s", g.log)
	}
}

// kept waits until a blob is stored.
func (g *gateway) kept(repository oci.Repository, blob []byte) {
	g.t.Helper()
	require.Eventually(g.t, func() bool {
		_, err := g.store.Blob(context.Background(), repository, oci.SHA256.FromBytes(blob))
		return err == nil
	}, 20*time.Second, 5*time.Millisecond, "%s", g.log)
}

// events are those that were written, by their kind.
func (g *gateway) events() map[event.Kind][]metadata.Event {
	g.t.Helper()
	found, err := g.store.Events(g.t.Context(), metadata.EventCursor{}, 1000)
	require.NoError(g.t, err)
	byKind := map[event.Kind][]metadata.Event{}
	for _, e := range found {
		byKind[e.Kind] = append(byKind[e.Kind], e)
	}
	return byKind
}
