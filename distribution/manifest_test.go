package distribution_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/oci"
)

func TestManifest_pushedAndPulledByteForByte(t *testing.T) {
	s := newServer(t, nil)
	config, layer := s.pushBlob("library/app", []byte("{}")), s.pushBlob("library/app", []byte("layer"))
	manifest := append(imageOf(config, layer, "", ""), "  \n"...)
	digest := oci.SHA256.FromBytes(manifest)
	created := s.want(201, s.putManifest("library/app", "v1", manifest))
	assert.Equal(t, "/v2/library/app/manifests/"+digest.String(), created.Header.Get("Location"))
	assert.Equal(t, digest.String(), created.Header.Get("Docker-Content-Digest"))
	assert.Empty(t, created.Header.Get("OCI-Subject"))
	for _, reference := range []string{"v1", digest.String()} {
		for _, method := range []string{"GET", "HEAD"} {
			answer := s.want(200, s.do(method, "/v2/library/app/manifests/"+reference, nil, "Accept: application/json"))
			assert.Equal(t, digest.String(), answer.Header.Get("Docker-Content-Digest"))
			assert.Equal(t, oci.MediaTypeImageManifest, answer.Header.Get("Content-Type"))
			assert.Equal(t, fmt.Sprint(len(manifest)), answer.Header.Get("Content-Length"))
			if method == "GET" {
				assert.Equal(t, manifest, answer.body)
			}
		}
		s.want(304, s.get("/v2/library/app/manifests/"+reference, `If-None-Match: "`+digest.String()+`"`))
	}
	assert.Equal(t, "no-cache", s.get("/v2/library/app/manifests/v1").Header.Get("Cache-Control"))
}

func TestManifest_digestOfTheReferenceIsChecked(t *testing.T) {
	s := newServer(t, nil)
	_, manifest := s.pushImage("library/app", "v1", []byte("layer"))
	refused := s.want(400, s.putManifest("library/app", oci.SHA256.FromString("other").String(), manifest))
	assert.Equal(t, "DIGEST_INVALID", refused.code())
	assert.Equal(t, "DIGEST_INVALID", s.want(400, s.putManifest("library/app", "sha256:baddigeststring", manifest)).code())
	assert.Equal(t, "MANIFEST_INVALID", s.want(400, s.putManifest("library/app", "-bad", manifest)).code())
	assert.Equal(t, "MANIFEST_UNKNOWN", s.want(404, s.get("/v2/library/app/manifests/-bad")).code())
	assert.Equal(t, "MANIFEST_UNKNOWN", s.want(404, s.get("/v2/library/app/manifests/none")).code())
	assert.Equal(t, "MANIFEST_UNKNOWN", s.want(404, s.get("/v2/library/none/manifests/none")).code())

	sha512 := oci.SHA512.FromBytes(manifest)
	s.want(201, s.putManifest("library/app", sha512.String(), manifest))
	assert.Equal(t, manifest, s.want(200, s.get("/v2/library/app/manifests/"+sha512.String())).body)
}

func TestManifest_namesAllThatIsMissing(t *testing.T) {
	s := newServer(t, nil)
	config, layer := oci.SHA256.FromString("a"), oci.SHA256.FromString("b")
	refused := s.want(404, s.putManifest("library/app", "v1", imageOf(config, layer, "", "")))
	assert.Equal(t, "MANIFEST_BLOB_UNKNOWN", refused.code())
	assert.Contains(t, string(refused.body), config.String())
	assert.Contains(t, string(refused.body), layer.String())

	s.pushBlob("library/other", []byte("a"))
	s.pushBlob("library/app", []byte("b"))
	refused = s.want(404, s.putManifest("library/app", "v1", imageOf(config, layer, "", "")))
	assert.Contains(t, string(refused.body), config.String(), "a blob of another repository is not of this one")
	assert.NotContains(t, string(refused.body), layer.String())

	child, _ := s.pushImage("library/app", "", []byte("child"))
	index := func(d oci.Digest) response {
		body := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":%q,"digest":%q,"size":1}]}`,
			oci.MediaTypeImageIndex, oci.MediaTypeImageManifest, d)
		return s.do("PUT", "/v2/library/app/manifests/index", strings.NewReader(body), "Content-Type: "+oci.MediaTypeImageIndex+"; charset=utf-8")
	}
	assert.Equal(t, "MANIFEST_BLOB_UNKNOWN", s.want(404, index(config)).code())
	s.want(201, index(child))
	assert.Equal(t, oci.MediaTypeImageIndex, s.get("/v2/library/app/manifests/index").Header.Get("Content-Type"))
}

func TestManifest_foreignLayersNeedNotExist(t *testing.T) {
	s := newServer(t, nil)
	config := s.pushBlob("library/app", []byte("{}"))
	manifest := fmt.Sprintf(`{"schemaVersion":2,"config":{"mediaType":"x/y","digest":%q,"size":2},"layers":[
		{"mediaType":"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip","digest":%q,"size":9,"urls":["https://example.com/x"]}]}`,
		config, oci.SHA256.FromString("elsewhere"))
	s.want(201, s.putManifest("library/app", "windows", []byte(manifest)))
}

func TestManifest_tooLarge(t *testing.T) {
	s := newServer(t, nil)
	config := s.pushBlob("library/app", []byte("{}"))
	of := func(size int) []byte {
		manifest := imageOf(config, config, "", "")
		return append(manifest, bytes.Repeat([]byte(" "), size-len(manifest))...)
	}
	s.want(201, s.putManifest("library/app", "v1", of(oci.MaxManifestSize)))
	assert.Equal(t, "SIZE_INVALID", s.want(413, s.putManifest("library/app", "v1", of(oci.MaxManifestSize+1))).code())
	streamed := s.do("PUT", "/v2/library/app/manifests/v1", stream{bytes.NewReader(of(oci.MaxManifestSize + 1000))}, "Content-Type: "+oci.MediaTypeImageManifest)
	assert.Equal(t, "SIZE_INVALID", s.want(413, streamed).code())
}

func TestManifest_manyTagsInOnePush(t *testing.T) {
	s := newServer(t, nil)
	digest, manifest := s.pushImage("library/app", "", []byte("layer"))
	push := func(tags int) response {
		query := url.Values{}
		for i := range tags {
			query.Add("tag", fmt.Sprintf("t%03d", i))
		}
		return s.putManifest("library/app", digest.String()+"?"+query.Encode(), manifest)
	}
	created := s.want(201, push(100))
	assert.Len(t, created.Header.Values("OCI-Tag"), 100)
	s.want(200, s.get("/v2/library/app/manifests/t099"))
	s.want(414, push(101))
	assert.Equal(t, "MANIFEST_INVALID", s.want(400, s.putManifest("library/app", digest.String()+"?tag=no%2Ftag", manifest)).code())
}

func TestTag_movesAtOnce(t *testing.T) {
	s := newServer(t, nil)
	for i := range 5 {
		digest, _ := s.pushImage("library/app", "latest", noise(uint64(i), 10))
		assert.Equal(t, digest.String(), s.want(200, s.do("HEAD", "/v2/library/app/manifests/latest", nil)).Header.Get("Docker-Content-Digest"))
	}
}

func TestManifest_deleted(t *testing.T) {
	s := newServer(t, nil)
	digest, manifest := s.pushImage("library/app", "v1", []byte("layer"))
	s.want(201, s.putManifest("library/app", "v2", manifest))
	s.want(200, s.get("/v2/library/app/manifests/v1"))
	s.want(202, s.do("DELETE", "/v2/library/app/manifests/v1", nil))
	assert.Equal(t, "MANIFEST_UNKNOWN", s.want(404, s.get("/v2/library/app/manifests/v1")).code())
	s.want(404, s.do("DELETE", "/v2/library/app/manifests/v1", nil))
	s.want(200, s.get("/v2/library/app/manifests/v2"))
	s.want(200, s.get("/v2/library/app/manifests/"+digest.String()))
	s.want(202, s.do("DELETE", "/v2/library/app/manifests/"+digest.String(), nil))
	s.want(404, s.get("/v2/library/app/manifests/v2"))
	s.want(404, s.get("/v2/library/app/manifests/"+digest.String()))
	s.want(201, s.putManifest("library/app", digest.String(), manifest))
	s.want(404, s.get("/v2/library/app/manifests/v2"))
}

type index struct {
	SchemaVersion int
	MediaType     string
	Manifests     []oci.Descriptor
}

// referrers reads all pages.
func (s *server) referrers(path string) (all []oci.Descriptor, pages int) {
	s.t.Helper()
	for path != "" {
		answer := s.want(200, s.get(path))
		assert.Equal(s.t, oci.MediaTypeImageIndex, answer.Header.Get("Content-Type"))
		var page index
		require.NoError(s.t, json.Unmarshal(answer.body, &page))
		require.NotNil(s.t, page.Manifests)
		require.Equal(s.t, 2, page.SchemaVersion)
		all = append(all, page.Manifests...)
		pages++
		path = next(answer)
	}
	return all, pages
}

// next is where the Link header points.
func next(answer response) string {
	link, _, found := strings.Cut(answer.Header.Get("Link"), `>; rel="next"`)
	if !found {
		return ""
	}
	return strings.TrimPrefix(link, "<")
}

func TestReferrers(t *testing.T) {
	s := newServer(t, nil)
	subject := oci.SHA256.FromString("pushed later, or never")
	path := "/v2/library/app/referrers/" + subject.String()
	none, _ := s.referrers(path)
	assert.Empty(t, none)
	config := s.pushBlob("library/app", []byte("{}"))
	var want []string
	for i := range 7 {
		artifact := imageOf(config, s.pushBlob("library/app", noise(uint64(i), 5)), subject, fmt.Sprintf("application/kind.%d", i%2))
		created := s.want(201, s.putManifest("library/app", oci.SHA256.FromBytes(artifact).String(), artifact))
		assert.Equal(t, subject.String(), created.Header.Get("OCI-Subject"))
		want = append(want, created.Header.Get("Docker-Content-Digest"))
	}
	slices.Sort(want)
	all, pages := s.referrers(path + "?n=2")
	var got []string
	for _, d := range all {
		got = append(got, d.Digest.String())
		assert.Positive(t, d.Size)
		assert.Contains(t, d.ArtifactType, "application/kind.")
	}
	assert.Equal(t, want, got)
	assert.Equal(t, 4, pages)

	filtered := s.want(200, s.get(path+"?artifactType=application/kind.1"))
	assert.Equal(t, "artifactType", filtered.Header.Get("OCI-Filters-Applied"))
	some, _ := s.referrers(path + "?artifactType=application/kind.1&n=2")
	assert.Len(t, some, 3)
	assert.Empty(t, s.want(200, s.get(path)).Header.Get("OCI-Filters-Applied"))
	s.want(400, s.get("/v2/library/app/referrers/latest"))
	s.want(400, s.get(path+"?artifactType=%00"))
}

func TestReferrers_pageStaysSmall(t *testing.T) {
	s := newServer(t, nil)
	config := s.pushBlob("library/app", []byte("{}"))
	subject := oci.SHA256.FromString("subject")
	for i := range 5 {
		artifact := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"artifactType":"a/b","config":{"mediaType":"x/y","digest":%q,"size":2},"layers":[],
			"subject":{"mediaType":"x/y","digest":%q,"size":2},"annotations":{"n":"%d","text":%q}}`,
			oci.MediaTypeImageManifest, config, subject, i, strings.Repeat("x", 2<<20))
		s.want(201, s.putManifest("library/app", oci.SHA256.FromBytes(artifact).String(), artifact))
	}
	all, pages := s.referrers("/v2/library/app/referrers/" + subject.String())
	assert.Len(t, all, 5)
	assert.Equal(t, 5, pages)
}

func TestTags_pages(t *testing.T) {
	s := newServer(t, nil)
	assert.Equal(t, "NAME_UNKNOWN", s.want(404, s.get("/v2/library/app/tags/list")).code())
	_, manifest := s.pushImage("library/app", "", []byte("layer"))
	assert.JSONEq(t, `{"name":"library/app","tags":[]}`, string(s.want(200, s.get("/v2/library/app/tags/list")).body))
	want := []string{"1", "A", "B", "_c", "a", "a.b", "b"}
	for _, tag := range want {
		s.want(201, s.putManifest("library/app", tag, manifest))
	}
	var list struct{ Tags []string }
	read := func(path string) response {
		list.Tags = nil
		answer := s.want(200, s.get(path))
		require.NoError(t, json.Unmarshal(answer.body, &list))
		return answer
	}
	assert.Empty(t, next(read("/v2/library/app/tags/list")))
	assert.Equal(t, want, list.Tags)
	read("/v2/library/app/tags/list?last=B")
	assert.Equal(t, want[3:], list.Tags)
	read("/v2/library/app/tags/list?last=BB")
	assert.Equal(t, want[3:], list.Tags, "last need not exist")
	assert.Empty(t, next(read("/v2/library/app/tags/list?n=0")))
	assert.Empty(t, list.Tags)

	var all []string
	for path := "/v2/library/app/tags/list?n=3"; path != ""; {
		answer := read(path)
		all = append(all, list.Tags...)
		path = next(answer)
	}
	assert.Equal(t, want, all)
	for _, query := range []string{"n=-1", "n=x", "n=", "n=99999999999999999999", "last=%00", "last=%FF"} {
		s.want(400, s.get("/v2/library/app/tags/list?"+query))
	}
}

func TestCatalog_pages(t *testing.T) {
	s := newServer(t, nil)
	assert.JSONEq(t, `{"repositories":[]}`, string(s.want(200, s.get("/v2/_catalog")).body))
	want := []string{"library/a", "library/b", "secret/c"}
	for _, name := range want {
		s.pushBlob(name, []byte("abc"))
	}
	var got []string
	for path := "/v2/_catalog?n=2"; path != ""; {
		answer := s.want(200, s.get(path))
		var page struct{ Repositories []string }
		require.NoError(t, json.Unmarshal(answer.body, &page))
		got = append(got, page.Repositories...)
		path = next(answer)
	}
	assert.Equal(t, want, got)
}
