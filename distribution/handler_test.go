package distribution_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
)

func TestBase(t *testing.T) {
	s := newServer(t, nil)
	for _, path := range []string{"/v2", "/v2/"} {
		answer := s.want(200, s.get(path))
		assert.Equal(t, "registry/2.0", answer.Header.Get("Docker-Distribution-Api-Version"))
		assert.Equal(t, "{}", string(answer.body))
		assert.Equal(t, "application/json", answer.Header.Get("Content-Type"))
	}
}

func TestPath_unknownOrWrongMethod(t *testing.T) {
	s := newServer(t, nil)
	for _, path := range []string{"/v2/library", "/v2/library/app", "/v2/library/app/tags", "/v2/library/app/manifests/", "/v2/library/app/blobs/", "/other"} {
		assert.Equal(t, "UNSUPPORTED", s.want(404, s.get(path)).code(), path)
	}
	refused := s.want(405, s.do("POST", "/v2/library/app/manifests/latest", strings.NewReader("{}")))
	assert.Equal(t, "UNSUPPORTED", refused.code())
	assert.Equal(t, "DELETE, GET, HEAD, PUT", refused.Header.Get("Allow"))
	assert.Equal(t, "registry/2.0", refused.Header.Get("Docker-Distribution-Api-Version"))
}

func TestPath_hostileNamesAreRefused(t *testing.T) {
	s := newServer(t, nil)
	for _, name := range []string{
		"..", "library/..", "../library/app", "library/../secret", "library//app", "/library", "library/%2e%2e/app", "library%2Fapp",
		"library/app%00", "library/App", "library/caf%C3%A9", "library/" + strings.Repeat("a", 300), "library/-app", "library/app%0d%0a", "",
	} {
		for _, request := range [][2]string{{"GET", "/tags/list"}, {"PUT", "/manifests/latest"}, {"POST", "/blobs/uploads/"}, {"GET", "/referrers/x"}} {
			path := "/v2/" + name + request[1]
			raw, err := http.NewRequest(request[0], s.url, strings.NewReader("{}"))
			require.NoError(t, err)
			raw.URL.Opaque = "//" + raw.URL.Host + path // sent as it is
			answer, err := client.Do(raw)
			require.NoError(t, err)
			answer.Body.Close()
			assert.Contains(t, []int{400, 404}, answer.StatusCode, path)
			if name != "" {
				assert.Equal(t, 400, answer.StatusCode, path)
			}
		}
	}
	names, err := s.store.Catalog(context.Background(), metadata.Visibility{All: true}, "", 10)
	require.NoError(t, err)
	assert.Empty(t, names)
}

func TestRefusal_isSentAsItIs(t *testing.T) {
	s := newServer(t, everybody{refused: map[oci.Repository]bool{"library/app": true}})
	refused := s.want(403, s.get("/v2/library/app/tags/list"))
	assert.Equal(t, "DENIED", refused.code())
	assert.Empty(t, s.want(403, s.do("HEAD", "/v2/library/app/manifests/latest", nil)).body)
}

func TestEvents_areWrittenWithTheAct(t *testing.T) {
	s := newServer(t, nil)
	digest, manifest := s.pushImage("library/app", "v1", []byte("layer"))
	s.want(201, s.do("PUT", "/v2/library/app/manifests/v1", strings.NewReader(string(manifest)), "Content-Type: "+oci.MediaTypeImageManifest, "X-Request-Id: r2"))
	other, _ := s.pushImage("library/app", "v1", []byte("other"))
	s.want(202, s.do("DELETE", "/v2/library/app/manifests/"+other.String(), nil))
	events, err := s.store.Events(context.Background(), metadata.EventCursor{}, 100)
	require.NoError(t, err)
	type entry struct {
		kind        event.Kind
		digest, tag string
	}
	var got []entry
	for _, e := range events {
		got = append(got, entry{e.Kind, e.Digest, e.Tag})
		assert.Equal(t, "alice", e.Actor)
		assert.Equal(t, "library/app", e.Repository)
	}
	assert.Equal(t, []entry{
		{event.ManifestPushed, digest.String(), "v1"},
		{event.TagCreated, digest.String(), "v1"},
		{event.ManifestPushed, digest.String(), "v1"},
		{event.ManifestPushed, other.String(), "v1"},
		{event.TagMoved, other.String(), "v1"},
		{event.ManifestDeleted, other.String(), ""},
		{event.TagDeleted, other.String(), "v1"},
	}, got)
	assert.Equal(t, "r2", events[2].RequestID)
}

func TestEvents_ofPullsAndRefusalsAreRecorded(t *testing.T) {
	s := newServer(t, everybody{refused: map[oci.Repository]bool{"secret/app": true}})
	digest, _ := s.pushImage("library/app", "v1", []byte("layer"))
	answer := s.want(200, s.get("/v2/library/app/manifests/v1", "X-Request-Id: r1"))
	s.want(200, s.get("/v2/library/app/manifests/"+digest.String()))
	s.want(200, s.do("HEAD", "/v2/library/app/manifests/v1", nil))
	s.want(304, s.get("/v2/library/app/manifests/v1", "If-None-Match: "+answer.Header.Get("Etag")))
	s.want(404, s.get("/v2/library/app/manifests/v2"))
	for _, refused := range [][2]string{{"POST", "blobs/uploads/"}, {"PUT", "manifests/v1"}, {"DELETE", "manifests/v1"}, {"GET", "manifests/v1"}} {
		s.want(403, s.do(refused[0], "/v2/secret/app/"+refused[1], nil))
	}
	var got []string
	for _, e := range s.recorded() {
		assert.Equal(t, "alice", e.Actor)
		assert.NotEmpty(t, e.Address)
		got = append(got, fmt.Sprint(e.Kind, " ", e.Attempt, " ", e.Project, " ", e.Repository, ":", e.Tag, "@", e.Digest, " ", e.RequestID))
	}
	assert.Equal(t, []string{
		"manifest_pulled  library library/app:v1@" + digest.String() + " r1",
		"manifest_pulled  library library/app:@" + digest.String() + " ",
		"refused manifest_pushed secret secret/app:@ ",
		"refused manifest_pushed secret secret/app:@ ",
		"refused manifest_deleted secret secret/app:@ ",
	}, got)
}

func TestDatabase_closed(t *testing.T) {
	s := newServer(t, nil)
	s.pushImage("library/app", "v1", []byte("layer"))
	require.NoError(t, s.store.Close())
	refused := s.get("/v2/library/app/tags/list")
	assert.GreaterOrEqual(t, refused.StatusCode, 500)
	assert.Contains(t, []string{"UNAVAILABLE", "UNKNOWN"}, refused.code())
}

func TestReadOnly_refusesEveryChange(t *testing.T) {
	s := newServer(t, nil)
	digest, manifest := s.pushImage("library/app", "latest", []byte("layer"))
	location := s.start("library/app")
	s.readOnly.Store(true)
	for _, change := range [][2]string{
		{"POST", "/v2/library/app/blobs/uploads/"},
		{"POST", "/v2/library/new/blobs/uploads/?mount=" + digest.String() + "&from=library/app"},
		{"PATCH", location},
		{"PUT", location + "?digest=" + digest.String()},
		{"DELETE", location},
		{"PUT", "/v2/library/app/manifests/other"},
		{"DELETE", "/v2/library/app/manifests/latest"},
		{"DELETE", "/v2/library/app/manifests/" + digest.String()},
		{"DELETE", blobPath("library/app", oci.SHA256.FromBytes([]byte("layer")))},
	} {
		answer := s.want(403, s.do(change[0], change[1], bytes.NewReader(manifest), "Content-Type: "+oci.MediaTypeImageManifest))
		require.Equal(t, "DENIED", answer.code())
		require.Contains(t, string(answer.body), "read-only mode")
	}
	s.want(200, s.get("/v2/library/app/manifests/latest"))
	s.want(204, s.get(location))
	s.want(200, s.get("/v2/"))
	s.readOnly.Store(false)
	s.want(202, s.do("DELETE", "/v2/library/app/manifests/latest", nil))
}
