package registry

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"strings"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
)

func TestFacts_kinds(t *testing.T) {
	subject := &oci.Descriptor{MediaType: oci.MediaTypeImageManifest, Digest: oci.SHA256.FromString("subject"), Size: 1}
	for name, c := range map[string]struct {
		index                bool
		config, artifactType string
		annotations          map[string]string
		kind, accessory      string
	}{
		"image":           {config: v1.MediaTypeImageConfig, kind: "IMAGE", accessory: "subject.accessory"},
		"docker image":    {config: "application/vnd.docker.container.image.v1+json", kind: "IMAGE", accessory: "subject.accessory"},
		"index":           {index: true, kind: "IMAGE", accessory: "subject.accessory"},
		"bundle of CNAB":  {index: true, annotations: map[string]string{"org.opencontainers.artifactType": "application/vnd.cnab.manifest.v1"}, kind: "CNAB", accessory: "subject.accessory"},
		"chart":           {config: "application/vnd.cncf.helm.config.v1+json", kind: "CHART", accessory: "subject.accessory"},
		"wasm":            {config: "application/vnd.wasm.config.v0+json", kind: "WASM", accessory: "subject.accessory"},
		"wasm in image":   {config: v1.MediaTypeImageConfig, annotations: map[string]string{"module.wasm.image/variant": "compat"}, kind: "WASM", accessory: "subject.accessory"},
		"model":           {config: "application/vnd.cncf.model.config.v1+json", artifactType: "application/vnd.cncf.model.manifest.v1+json", kind: "CNAI", accessory: "subject.accessory"},
		"harbor's SBOM":   {config: v1.MediaTypeImageConfig, artifactType: mediaTypeHarborSBOM, kind: "SBOM", accessory: "sbom.harbor"},
		"attached SBOM":   {config: v1.MediaTypeEmptyJSON, artifactType: "application/spdx+json", kind: "SBOM", accessory: "subject.accessory"},
		"notation":        {config: "application/vnd.cncf.notary.signature", kind: "UNKNOWN", accessory: "signature.notation"},
		"cosign referrer": {config: v1.MediaTypeEmptyJSON, artifactType: "application/vnd.dev.cosign.artifact.sig.v1+json", kind: "UNKNOWN", accessory: "signature.cosign"},
		"cosign bundle":   {config: v1.MediaTypeEmptyJSON, artifactType: "application/vnd.dev.sigstore.bundle.v0.3+json", kind: "UNKNOWN", accessory: "signature.cosign"},
		"signed bundle": {
			config: v1.MediaTypeEmptyJSON, artifactType: "application/vnd.dev.sigstore.bundle.v0.3+json",
			annotations: map[string]string{"dev.sigstore.bundle.predicateType": "https://sigstore.dev/cosign/sign/v1"}, kind: "UNKNOWN", accessory: "signature.cosign",
		},
		"attestation": {
			config: v1.MediaTypeEmptyJSON, artifactType: "application/vnd.dev.sigstore.bundle.v0.3+json",
			annotations: map[string]string{"dev.sigstore.bundle.predicateType": "https://slsa.dev/provenance/v1"}, kind: "UNKNOWN", accessory: "subject.accessory",
		},
		"somebody's":        {config: "application/vnd.acme.rocket.config.v1+json", kind: "ROCKET", accessory: "subject.accessory"},
		"somebody's other":  {config: v1.MediaTypeEmptyJSON, artifactType: "application/vnd.acme.rocket.part.config.v1+json", kind: "ROCKET.PART", accessory: "subject.accessory"},
		"nobody's":          {config: "text/plain", kind: "UNKNOWN", accessory: "subject.accessory"},
		"without any types": {config: "", kind: "UNKNOWN", accessory: "subject.accessory"},
	} {
		t.Run(name, func(t *testing.T) {
			m := v1.Manifest{MediaType: oci.MediaTypeImageManifest, ArtifactType: c.artifactType, Annotations: c.annotations, Subject: subject}
			m.SchemaVersion = 2
			m.Config = oci.Descriptor{MediaType: c.config, Digest: oci.SHA256.FromString("config"), Size: 100}
			m.Layers = []oci.Descriptor{{MediaType: "a/b", Digest: oci.SHA256.FromString("layer"), Size: 1000}}
			payload, err := json.Marshal(m)
			require.NoError(t, err)
			size := int64(len(payload)) + 1100
			if c.index {
				index := v1.Index{MediaType: oci.MediaTypeImageIndex, Annotations: c.annotations, Subject: subject, Manifests: []oci.Descriptor{}}
				index.SchemaVersion = 2
				payload, err = json.Marshal(index)
				require.NoError(t, err)
				size = int64(len(payload))
			}
			parsed, err := oci.ParseManifest("", payload)
			require.NoError(t, err)
			facts := factsOf(parsed)
			require.Equal(t, c.kind, facts.Kind)
			require.Equal(t, c.accessory, facts.Accessory)
			require.Equal(t, subject.Digest, facts.AccessoryOf)
			require.Equal(t, size, facts.ContentSize)
			require.Equal(t, !c.index && c.config != v1.MediaTypeEmptyJSON, facts.Attributes == nil)
		})
	}
}

func TestAccessoryTag(t *testing.T) {
	digest := oci.SHA256.FromString("x")
	for tag, accessory := range map[string]string{
		"sha256-" + digest.Encoded() + ".sig":      accessoryCosign,
		"sha256-" + digest.Encoded() + ".att":      accessoryOther,
		"sha256-" + digest.Encoded() + ".sbom":     accessoryOther,
		"sha256-" + digest.Encoded():               "",
		"sha256-" + digest.Encoded() + ".other":    "",
		"sha256-" + digest.Encoded()[1:] + ".sig":  "",
		"sha512-" + digest.Encoded() + ".sig":      "",
		"sha256-" + digest.Encoded() + ".sig.more": "",
		"latest": "",
	} {
		found, subject := accessoryTag(tag)
		require.Equal(t, accessory, found, tag)
		if accessory != "" {
			require.Equal(t, digest, subject)
		}
	}
}

func FuzzAttributes(f *testing.F) {
	f.Add("IMAGE", "", []byte(`{"os":"linux","config":{"Labels":{"maintainer":"m"}},"created":"2026-01-01T00:00:00Z"}`))
	f.Add("IMAGE", "config", []byte(`{"os":[],"config":7,"author":{}}`))
	f.Add("CHART", "a,b", []byte(`{"a":1,"b":2,"c":`+strings.Repeat("[", 100)+`}`))
	f.Add("X", "", []byte(`null`))
	f.Fuzz(func(t *testing.T, kind, skipped string, config []byte) {
		encoded := attributesOf(metadata.Facts{Kind: kind}, map[string]string{annotationSkipped: skipped}, config)
		var object map[string]json.RawMessage
		if err := json.Unmarshal(encoded, &object); err != nil || object == nil || len(encoded) > maxAttributes {
			t.Fatalf("%s: %v", encoded, err)
		}
	})
}

func FuzzArchive(f *testing.F) {
	var archive bytes.Buffer
	compressed := gzip.NewWriter(&archive)
	w := tar.NewWriter(compressed)
	require.NoError(f, w.WriteHeader(&tar.Header{Name: "web/values.yaml", Mode: 0o644, Size: 4}))
	_, err := w.Write([]byte("a: 1"))
	require.NoError(f, err)
	require.NoError(f, w.Close())
	require.NoError(f, compressed.Close())
	f.Add(archive.Bytes(), true)
	f.Add([]byte("no archive"), false)
	f.Add(archive.Bytes()[:40], true)
	f.Fuzz(func(t *testing.T, content []byte, compressed bool) {
		found, err := findInArchive(bytes.NewReader(content), compressed, func(string) bool { return true })
		if err == nil && len(found) > maxAdditionFile {
			t.Fatal("more than may be shown")
		}
	})
}
