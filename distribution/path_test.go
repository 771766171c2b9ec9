package distribution

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/policy"
)

func TestParsePath(t *testing.T) {
	for path, want := range map[string]target{
		"/v2":                                   {kindBase, "", ""},
		"/v2/":                                  {kindBase, "", ""},
		"/v2/_catalog":                          {kindCatalog, "", ""},
		"/v2/a/b/tags/list":                     {kindTags, "a/b", ""},
		"/v2/a/manifests/latest":                {kindManifest, "a", "latest"},
		"/v2/a/b/c/manifests/sha256:00":         {kindManifest, "a/b/c", "sha256:00"},
		"/v2/a/manifests/sha256%3a00":           {kindManifest, "a", "sha256:00"},
		"/v2/a/blobs/sha256:00":                 {kindBlob, "a", "sha256:00"},
		"/v2/a/blobs/uploads":                   {kindUploads, "a", ""},
		"/v2/a/blobs/uploads/":                  {kindUploads, "a", ""},
		"/v2/a/blobs/uploads/id":                {kindUpload, "a", "id"},
		"/v2/a/referrers/sha256:00":             {kindReferrers, "a", "sha256:00"},
		"/v2/a/blobs/uploads/manifests/v1":      {kindManifest, "a/blobs/uploads", "v1"},
		"/v2/manifests/tags/list":               {kindTags, "manifests", ""},
		"/v2/a/tags/list/tags/list":             {kindTags, "a/tags/list", ""},
		"/v2/a/manifests/b/blobs/uploads/":      {kindUploads, "a/manifests/b", ""},
		"/v2/uploads/blobs/blobs/uploads/blobs": {kindUpload, "uploads/blobs", "blobs"},
	} {
		got, known, err := parsePath(path)
		assert.True(t, known, path)
		assert.NoError(t, err, path)
		assert.Equal(t, want, got, path)
	}
}

func TestParsePath_noRoute(t *testing.T) {
	for _, path := range []string{"", "/", "/v1/", "/v2x/", "/v20/manifests/0", "/v2/a", "/v2/a/b/c", "/v2/a/manifests/", "/v2/a/tags/lists", "/v2/a/manifests/%zz", "/v2/list"} {
		_, known, err := parsePath(path)
		assert.False(t, known && err == nil, path)
	}
}

func FuzzParsePath(f *testing.F) {
	for _, seed := range []string{
		"/v2/", "/v2/_catalog", "/v2/a/b/tags/list", "/v2/a/manifests/sha256:00", "/v2/../manifests/x", "/v2/a%2Fb/blobs/uploads/x", "/v2//blobs/uploads/",
		"/v20/manifests/0",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		got, known, err := parsePath(path)
		if err != nil && !oci.HasCode(err, oci.CodeNameInvalid) {
			t.Fatalf("%q: %v", path, err)
		}
		if !known || err != nil {
			return
		}
		if got.kind == kindBase || got.kind == kindCatalog {
			return
		}
		if _, err := oci.ParseRepository(string(got.repository)); err != nil {
			t.Fatalf("%q names the repository %q", path, got.repository)
		}
		if !strings.HasPrefix(path, "/v2/"+string(got.repository)+"/") {
			t.Fatalf("%q does not begin with the repository %q", path, got.repository)
		}
	})
}

func TestNewTable_routeWithoutActionPanics(t *testing.T) {
	assert.PanicsWithValue(t, "route open declares no action", func() {
		newTable([]route{{name: "open", kind: kindTags, method: "GET"}})
	})
	names := map[string]bool{}
	for _, r := range routes {
		assert.False(t, names[r.name], r.name)
		names[r.name] = true
		assert.Contains(t, []policy.Action{proven, policy.List, policy.Pull, policy.Push, policy.Delete}, r.action)
	}
}

func TestParseContentRange(t *testing.T) {
	for header, want := range map[string][2]int64{"0-0": {0, 1}, "10-19": {10, 10}, "bytes 10-19/100": {10, 10}, "bytes 0-9/*": {0, 10}} {
		first, length, err := parseContentRange(header)
		assert.NoError(t, err, header)
		assert.Equal(t, want, [2]int64{first, length}, header)
	}
	for _, header := range []string{"", "-", "1-", "-1", "2-1", "a-b", "+1-2", "bytes 1-2", "bytes=1-2", "0-99999999999999999999", "1-2-3", " 1-2"} {
		_, _, err := parseContentRange(header)
		assert.True(t, oci.HasCode(err, oci.CodeBlobUploadInvalid), header)
	}
}

func FuzzParseContentRange(f *testing.F) {
	for _, seed := range []string{"0-0", "10-19", "bytes 10-19/100", "-1--1", "9223372036854775807-9223372036854775807"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		first, length, err := parseContentRange(header)
		if err == nil && (first < 0 || length <= 0 || first+length < first) {
			t.Fatalf("%q is read as %d bytes from %d", header, length, first)
		}
	})
}

func FuzzParseRange(f *testing.F) {
	for _, seed := range []string{"bytes=0-0", "bytes=5-", "bytes=-5", "bytes=1-2,3-4", "bytes=,", "lines=1", "bytes=9223372036854775807-"} {
		f.Add(seed, int64(10))
	}
	f.Fuzz(func(t *testing.T, header string, size int64) {
		if size < 0 {
			return
		}
		ranges, satisfiable := parseRange(header, size)
		if !satisfiable && !strings.HasPrefix(header, "bytes=") {
			t.Fatalf("%q is of another unit, and was not ignored", header)
		}
		for _, r := range ranges {
			if satisfiable && (r.Start < 0 || r.Length <= 0 || r.Length > size-r.Start) {
				t.Fatalf("%q of %d bytes is read as %+v", header, size, r)
			}
		}
	})
}
