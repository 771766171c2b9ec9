package oci_test

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/oci"
)

// The patterns of distribution-spec 1.1.
var (
	repositoryPattern = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagPattern        = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
)

const digestA = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

func TestParseRepository(t *testing.T) {
	for _, name := range []string{"a", "library/app", "a/b/c/d", "a.b/c_d/e__f/g-h/i---j", "0/1", strings.Repeat("a", 255)} {
		got, err := oci.ParseRepository(name)
		assert.NoError(t, err, name)
		assert.Equal(t, name, got.String())
	}
	for _, name := range []string{
		"", "/", "a/", "/a", "a//b", "A", "a/B", ".", "..", "a/..", "a..b", "a___b", "a._b", "-a", "a-", "a b", "a\x00", "a\n", "a%2fb", "é", "a:b", "a@b",
		strings.Repeat("a", 256),
	} {
		_, err := oci.ParseRepository(name)
		assert.True(t, oci.HasCode(err, oci.CodeNameInvalid), "%q: %v", name, err)
	}
}

func TestRepository_project(t *testing.T) {
	assert.Equal(t, "library", oci.Repository("library/app").Project())
	assert.Equal(t, "library", oci.Repository("library/group/app").Project())
	assert.Empty(t, oci.Repository("app").Project())
}

func TestParseReference(t *testing.T) {
	for _, tag := range []string{"latest", "_", "v1.0-rc_1", "A", strings.Repeat("x", 128)} {
		got, err := oci.ParseReference(tag)
		assert.NoError(t, err)
		assert.Equal(t, oci.Reference{Tag: tag}, got)
		assert.Equal(t, "a/b:"+tag, got.Named("a/b"))
	}
	got, err := oci.ParseReference(digestA)
	assert.NoError(t, err)
	assert.Equal(t, "a/b@"+digestA, got.Named("a/b"))
	for reference, code := range map[string]oci.Code{
		"": oci.CodeManifestInvalid, ".a": oci.CodeManifestInvalid, "-a": oci.CodeManifestInvalid, "a b": oci.CodeManifestInvalid,
		"a/b": oci.CodeManifestInvalid, "a\n": oci.CodeManifestInvalid, strings.Repeat("x", 129): oci.CodeManifestInvalid,
		"sha256:abc": oci.CodeDigestInvalid, "sha384:" + strings.Repeat("a", 96): oci.CodeDigestInvalid, "md5:abc": oci.CodeDigestInvalid,
		"sha256:" + strings.Repeat("A", 64): oci.CodeDigestInvalid, ":": oci.CodeDigestInvalid,
	} {
		_, err := oci.ParseReference(reference)
		assert.True(t, oci.HasCode(err, code), "%q: %v", reference, err)
	}
}

func TestParseAlgorithm(t *testing.T) {
	for _, name := range []string{"sha256", "sha512"} {
		got, err := oci.ParseAlgorithm(name)
		assert.NoError(t, err)
		assert.EqualValues(t, name, got)
	}
	for _, name := range []string{"", "sha384", "SHA256"} {
		_, err := oci.ParseAlgorithm(name)
		assert.True(t, oci.HasCode(err, oci.CodeDigestInvalid))
	}
}

func TestHash_goesOnFromItsState(t *testing.T) {
	for _, algorithm := range []oci.Algorithm{oci.SHA256, oci.SHA512} {
		h := oci.NewHash(algorithm)
		_, _ = io.WriteString(h, "one ")
		state, err := oci.MarshalHash(h)
		require.NoError(t, err)
		again, err := oci.UnmarshalHash(algorithm, state)
		require.NoError(t, err)
		_, _ = io.WriteString(again, "two")
		assert.Equal(t, algorithm.FromString("one two"), oci.SumDigest(algorithm, again))
		_, err = oci.UnmarshalHash(algorithm, state[:10])
		assert.Error(t, err)
	}
	state, err := oci.MarshalHash(oci.NewHash(oci.SHA256))
	require.NoError(t, err)
	_, err = oci.UnmarshalHash(oci.SHA512, state)
	assert.Error(t, err)
}

func TestError(t *testing.T) {
	err := fmt.Errorf("push: %w", &oci.Error{Code: oci.CodeDenied, Message: "no", Err: io.EOF})
	assert.True(t, oci.HasCode(err, oci.CodeDenied))
	assert.False(t, oci.HasCode(err, oci.CodeUnknown))
	assert.False(t, oci.HasCode(io.EOF, oci.CodeDenied))
	assert.ErrorIs(t, err, io.EOF)
	assert.EqualError(t, errors.Unwrap(err), "DENIED: no: EOF")
}

func TestParseManifest(t *testing.T) {
	descriptor := func(mediaType string) string {
		return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":3}`, mediaType, digestA)
	}
	config := descriptor("application/vnd.oci.image.config.v1+json")
	image := fmt.Sprintf(`{"schemaVersion":2,"config":%s,"layers":[%s],"subject":%s,"annotations":{"a":"b"},"extra":[1]}`,
		config, descriptor("l/l"), descriptor(oci.MediaTypeImageManifest))
	m, err := oci.ParseManifest(oci.MediaTypeImageManifest+"; charset=utf-8", []byte(image))
	require.NoError(t, err)
	assert.Equal(t, oci.MediaTypeImageManifest, m.MediaType)
	assert.Equal(t, "application/vnd.oci.image.config.v1+json", m.ArtifactType)
	assert.Equal(t, map[string]string{"a": "b"}, m.Annotations)
	assert.EqualValues(t, digestA, m.Subject.Digest)
	assert.Equal(t, image, string(m.Payload))
	assert.False(t, m.Index())
	require.Len(t, m.References, 2)
	assert.Equal(t, oci.ReferenceConfig, m.References[0].Kind)
	assert.Equal(t, oci.ReferenceLayer, m.References[1].Kind)

	m, err = oci.ParseManifest("", fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"artifactType":"a/b","manifests":[%s]}`, oci.MediaTypeImageIndex, descriptor("x/y")))
	require.NoError(t, err)
	assert.True(t, m.Index())
	assert.Equal(t, "a/b", m.ArtifactType)
	assert.Equal(t, oci.ReferenceManifest, m.References[0].Kind)

	m, err = oci.ParseManifest("application/vnd.somebody.artifact+json", fmt.Appendf(nil, `{"blobs":[%s]}`, descriptor("x/y")))
	require.NoError(t, err)
	assert.Len(t, m.References, 1)
	assert.Nil(t, m.Subject)
}

func TestParseManifest_refused(t *testing.T) {
	const image, index = oci.MediaTypeImageManifest, oci.MediaTypeImageIndex
	good := `{"mediaType":"a/b","digest":"` + digestA + `","size":3}`
	many := strings.Repeat(good+",", oci.MaxManifestReferences) + good
	for _, test := range []struct{ contentType, payload string }{
		{image, ""},
		{image, "null"},
		{image, "[]"},
		{image, `"x"`},
		{image, "{"},
		{image, "{} {}"},
		{image, "{}"},
		{image, `{"schemaVersion":2}`},
		{image, `{"schemaVersion":1,"config":` + good + `}`},
		{image, `{"config":` + good + `}`},
		{image, `{"schemaVersion":2,"config":` + good + `,"manifests":[]}`},
		{image, `{"schemaVersion":2,"mediaType":"` + index + `","config":` + good + `}`},
		{index, `{"schemaVersion":2,"manifests":[],"layers":[]}`},
		{"", `{"schemaVersion":2}`},
		{"no type at all;;", `{}`},
		{oci.MediaTypeDockerSchema1, `{"schemaVersion":1}`},
		{oci.MediaTypeDockerSigned1, `{"schemaVersion":1}`},
		{image, `{"schemaVersion":2,"config":{"digest":"sha256:abc","size":1}}`},
		{image, `{"schemaVersion":2,"config":{"digest":"` + digestA + `","size":-1}}`},
		{image, `{"schemaVersion":2,"config":{"mediaType":"a\u0000","digest":"` + digestA + `","size":1}}`},
		{image, `{"schemaVersion":2,"artifactType":"a\r\nb","config":` + good + `}`},
		{image, `{"schemaVersion":2,"artifactType":"` + strings.Repeat("a", 256) + `","config":` + good + `}`},
		{image, `{"schemaVersion":2,"config":` + good + `,"subject":{}}`},
		{image, `{"schemaVersion":2,"config":` + good + `,"layers":[` + many + `]}`},
	} {
		_, err := oci.ParseManifest(test.contentType, []byte(test.payload))
		assert.True(t, oci.HasCode(err, oci.CodeManifestInvalid), "%s %.80s: %v", test.contentType, test.payload, err)
	}
	_, err := oci.ParseManifest(image, make([]byte, oci.MaxManifestSize+1))
	assert.True(t, oci.HasCode(err, oci.CodeSizeInvalid), err)
}

func TestManifestReference_foreign(t *testing.T) {
	foreign := oci.Descriptor{MediaType: "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"}
	assert.True(t, oci.ManifestReference{Kind: oci.ReferenceLayer, Descriptor: foreign}.Foreign())
	assert.False(t, oci.ManifestReference{Kind: oci.ReferenceConfig, Descriptor: foreign}.Foreign())
	assert.False(t, oci.ManifestReference{Kind: oci.ReferenceLayer}.Foreign())
}

func FuzzParseManifest(f *testing.F) {
	f.Add(oci.MediaTypeImageManifest, []byte(`{"schemaVersion":2,"config":{"mediaType":"a/b","digest":"`+digestA+`","size":2},"layers":[]}`))
	f.Add(oci.MediaTypeImageIndex, []byte(`{"schemaVersion":2,"manifests":[{"digest":"`+digestA+`","size":2}],"subject":{"digest":"`+digestA+`"}}`))
	f.Add("", []byte(`{"mediaType":"x/y","annotations":{"a":"b"}}`))
	f.Add("a/b;c=d", []byte(`{} x`))
	f.Fuzz(func(t *testing.T, contentType string, payload []byte) {
		m, err := oci.ParseManifest(contentType, payload)
		if err != nil {
			if !oci.HasCode(err, oci.CodeManifestInvalid) && !oci.HasCode(err, oci.CodeSizeInvalid) {
				t.Fatalf("the client would be told %v", err)
			}
			return
		}
		if m.MediaType == "" || string(m.Payload) != string(payload) {
			t.Fatalf("%q %q", m.MediaType, m.Payload)
		}
		for _, r := range m.References {
			if _, err := oci.ParseDigest(r.Descriptor.Digest.String()); err != nil || r.Descriptor.Size < 0 {
				t.Fatalf("accepted %+v", r)
			}
		}
	})
}

func FuzzParseRepository(f *testing.F) {
	for _, seed := range []string{"a", "library/app", "a/..", "a//b", "A", "a__b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		_, err := oci.ParseRepository(name)
		if want := repositoryPattern.MatchString(name) && len(name) <= oci.MaxRepositoryLength; (err == nil) != want {
			t.Fatalf("%q: %v, where the specification's pattern says %t", name, err, want)
		}
	})
}

func FuzzParseTag(f *testing.F) {
	for _, seed := range []string{"latest", "_", ".a", "-", "a b", "v1.0-rc_1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, tag string) {
		_, err := oci.ParseTag(tag)
		if want := tagPattern.MatchString(tag); (err == nil) != want {
			t.Fatalf("%q: %v, where the specification's pattern says %t", tag, err, want)
		}
	})
}

func FuzzParseReference(f *testing.F) {
	for _, seed := range []string{"latest", digestA, "sha512:", ":", "a b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, reference string) {
		got, err := oci.ParseReference(reference)
		if err != nil {
			return
		}
		if got.String() != reference || (got.Tag == "") == (got.Digest == "") {
			t.Fatalf("%q is read as %+v", reference, got)
		}
	})
}
