package registry

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"time"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
)

// The kinds of artifact, as Harbor's clients know them. Others have the name that is in the middle of their config's media type.
const (
	KindImage   = "IMAGE"
	KindChart   = "CHART"
	KindCNAB    = "CNAB"
	KindWASM    = "WASM"
	KindSBOM    = "SBOM"
	KindModel   = "CNAI"
	KindUnknown = "UNKNOWN"
)

// What a manifest can be to its subject, as Harbor's clients know it: they refuse words that they do not know.
const (
	accessoryCosign   = "signature.cosign"
	accessoryNotation = "signature.notation"
	accessorySBOM     = "sbom.harbor"
	accessoryOther    = "subject.accessory"
)

const (
	mediaTypeHarborSBOM = "application/vnd.goharbor.harbor.sbom.v1"
	annotationIcon      = "io.goharbor.artifact.v1alpha1.icon"
	annotationSkipped   = "io.goharbor.artifact.v1alpha1.skip-list"
	// maxConfig is the longest config that is read for people to look at, maxAttributes the most that is kept of it, in bytes.
	maxConfig     = 4 << 20
	maxAttributes = 64 << 10
)

var kindsByConfig = map[string]string{
	v1.MediaTypeImageConfig:                          KindImage,
	"application/vnd.docker.container.image.v1+json": KindImage,
	"application/vnd.cncf.helm.config.v1+json":       KindChart,
	"application/vnd.wasm.config.v0+json":            KindWASM,
	"application/vnd.wasm.config.v1+json":            KindWASM,
	"application/vnd.cnai.model.config.v1+json":      KindModel,
	"application/vnd.cncf.model.config.v1+json":      KindModel,
	"application/vnd.cncf.model.manifest.v1+json":    KindModel,
	mediaTypeHarborSBOM:                              KindSBOM,
	"application/spdx+json":                          KindSBOM,
	"text/spdx+json":                                 KindSBOM,
	"application/vnd.cyclonedx+json":                 KindSBOM,
	"application/vnd.cnab.config.v1+json":            KindCNAB,
	"application/vnd.cnab.manifest.v1":               KindCNAB,
}

// kindInMediaType finds the name in "application/vnd.VENDOR.NAME.config.VERSION+json".
var kindInMediaType = regexp.MustCompile(`^application/vnd\.[^.]*\.(.*)\.config\.[^.]*\+json$`)

// factsOf returns what a manifest says by itself. Attributes are nil when its config has to be read for them.
func factsOf(m *oci.Manifest) metadata.Facts {
	config := configOf(m)
	f := metadata.Facts{ConfigMediaType: m.MediaType, ContentSize: int64(len(m.Payload)), Attributes: json.RawMessage("{}")}
	if config != nil {
		f.ConfigMediaType = config.MediaType
		if config.MediaType != v1.MediaTypeEmptyJSON && config.Size <= maxConfig {
			f.Attributes = nil
		}
	}
	for _, reference := range m.References {
		if reference.Kind != oci.ReferenceManifest {
			f.ContentSize += reference.Descriptor.Size
		}
		if _, ok := reference.Descriptor.Annotations[annotationIcon]; ok && reference.Kind == oci.ReferenceLayer {
			f.Icon = reference.Descriptor.Digest
		}
	}
	f.Kind = kindOf(m, f.ConfigMediaType)
	if m.Subject != nil {
		f.Accessory, f.AccessoryOf = accessoryOf(m), m.Subject.Digest
	}
	return f
}

func configOf(m *oci.Manifest) *oci.Descriptor {
	i := slices.IndexFunc(m.References, func(r oci.ManifestReference) bool { return r.Kind == oci.ReferenceConfig })
	if i < 0 {
		return nil
	}
	return &m.References[i].Descriptor
}

func kindOf(m *oci.Manifest, config string) string {
	if m.Index() {
		if m.Annotations["org.opencontainers.artifactType"] == "application/vnd.cnab.manifest.v1" {
			return KindCNAB
		}
		return KindImage
	}
	kind, known := kindsByConfig[config]
	switch {
	case kind == KindImage && (m.Annotations["module.wasm.image/variant"] != "" || m.Annotations["run.oci.handler"] == "wasm"):
		return KindWASM
	case known && m.ArtifactType != mediaTypeHarborSBOM:
		return kind
	}
	if kind, known := kindsByConfig[m.ArtifactType]; known {
		return kind
	}
	for _, mediaType := range []string{config, m.ArtifactType} {
		if found := kindInMediaType.FindStringSubmatch(mediaType); found != nil {
			return strings.ToUpper(found[1])
		}
	}
	return KindUnknown
}

// accessoryOf says what a manifest with a subject is to it.
func accessoryOf(m *oci.Manifest) string {
	predicate := m.Annotations["dev.sigstore.bundle.predicateType"]
	switch {
	case m.ArtifactType == "application/vnd.cncf.notary.signature":
		return accessoryNotation
	case m.ArtifactType == mediaTypeHarborSBOM:
		return accessorySBOM
	case strings.HasPrefix(m.ArtifactType, "application/vnd.dev.cosign.artifact.sig."):
		return accessoryCosign
	case strings.HasPrefix(m.ArtifactType, "application/vnd.dev.sigstore.bundle.") &&
		(predicate == "" || strings.HasPrefix(predicate, "https://sigstore.dev/cosign/sign/")):
		return accessoryCosign
	}
	return accessoryOther
}

// accessoryTag reads the tags by which cosign attaches things without a subject: "sha256-….sig" and the like.
func accessoryTag(tag string) (accessory string, subject oci.Digest) {
	name, suffix, _ := strings.Cut(tag, ".")
	hash, ok := strings.CutPrefix(name, "sha256-")
	if !ok {
		return "", ""
	}
	digest, err := oci.ParseDigest("sha256:" + hash)
	if err != nil {
		return "", ""
	}
	switch suffix {
	case "sig":
		return accessoryCosign, digest
	case "att", "sbom":
		return accessoryOther, digest
	}
	return "", ""
}

// attributesOf returns what a config says, for people to look at: a JSON object, an empty one for what cannot be understood.
func attributesOf(f metadata.Facts, annotations map[string]string, config []byte) json.RawMessage {
	var fields map[string]json.RawMessage
	if json.Unmarshal(config, &fields) != nil || fields == nil {
		return json.RawMessage("{}")
	}
	if f.Kind == KindImage || f.Kind == KindWASM && f.ConfigMediaType == v1.MediaTypeImageConfig {
		fields = imageAttributes(config)
	}
	for name := range strings.SplitSeq(annotations[annotationSkipped], ",") {
		delete(fields, strings.TrimSpace(name))
	}
	encoded, err := json.Marshal(fields)
	if len(encoded) > maxAttributes {
		delete(fields, "config")
		encoded, err = json.Marshal(fields)
	}
	if err != nil || len(encoded) > maxAttributes {
		return json.RawMessage("{}")
	}
	return encoded
}

// imageAttributes returns what is shown of an image's config; each field that has another type than it should is left out.
func imageAttributes(config []byte) map[string]json.RawMessage {
	var image struct {
		Architecture json.RawMessage `json:"architecture"`
		OS           json.RawMessage `json:"os"`
		Author       string          `json:"author"`
		Created      *time.Time      `json:"created"`
		Config       json.RawMessage `json:"config"`
	}
	_ = json.Unmarshal(config, &image) // what could be read of it counts
	var labelled struct{ Labels map[string]string }
	_ = json.Unmarshal(image.Config, &labelled) // as above
	if image.Author == "" {
		image.Author = labelled.Labels["maintainer"]
	}
	fields := make(map[string]json.RawMessage)
	for name, value := range map[string]json.RawMessage{"architecture": image.Architecture, "os": image.OS, "config": image.Config} {
		if len(value) > 0 {
			fields[name] = value
		}
	}
	fields["author"] = encodeText(image.Author)
	if image.Created != nil {
		fields["created"] = encodeText(image.Created.UTC().Format(time.RFC3339Nano))
	}
	return fields
}

func encodeText(text string) json.RawMessage {
	encoded, err := json.Marshal(text)
	if err != nil {
		panic(err) // a text always encodes
	}
	return encoded
}
