package oci

import (
	"bytes"
	"encoding/json"
	"fmt"
	"mime"
	"strings"
	"unicode"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// Descriptor points at content by media type, digest and size (image-spec 1.1 "Content Descriptors").
type Descriptor = v1.Descriptor

// Platform is the system an image is for (image-spec 1.1 "Image Index").
type Platform = v1.Platform

// MaxManifestSize is the largest manifest that is accepted, in bytes: the four megabytes that distribution-spec 1.1 asks for.
const MaxManifestSize = 4 << 20

// MaxManifestReferences bounds the descriptors of one manifest, so that one push cannot hold the database for minutes.
const MaxManifestReferences = 10_000

// maxMediaTypeLength is the 127 characters that RFC 6838 allows to either side of the slash.
const maxMediaTypeLength = 255

// Media types of manifests and indexes. Any other type is accepted as an artifact.
const (
	MediaTypeImageManifest  = v1.MediaTypeImageManifest
	MediaTypeImageIndex     = v1.MediaTypeImageIndex
	MediaTypeDockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	MediaTypeDockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	MediaTypeDockerSchema1  = "application/vnd.docker.distribution.manifest.v1+json"
	MediaTypeDockerSigned1  = "application/vnd.docker.distribution.manifest.v1+prettyjws"
)

// ReferenceKind says what a manifest's descriptor points at.
type ReferenceKind string

// The kinds of reference.
const (
	ReferenceConfig   ReferenceKind = "config"
	ReferenceLayer    ReferenceKind = "layer"
	ReferenceManifest ReferenceKind = "manifest"
)

// ManifestReference is one descriptor of a manifest and what it points at.
type ManifestReference struct {
	Kind       ReferenceKind
	Descriptor Descriptor
}

// Foreign reports whether the referenced bytes live elsewhere by design, and so need not be in the registry: layers of the
// non-distributable media types (image-spec 1.1 "Non-distributable layers", deprecated but still pushed).
func (r ManifestReference) Foreign() bool {
	switch r.Descriptor.MediaType {
	case "application/vnd.oci.image.layer.nondistributable.v1.tar",
		"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
		"application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
		"application/vnd.docker.image.rootfs.foreign.diff.tar",
		"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip":
		return r.Kind == ReferenceLayer
	}
	return false
}

// Manifest is what the registry needs to know of a manifest's bytes.
type Manifest struct {
	// MediaType is the type it was pushed with, without parameters.
	MediaType string
	// ArtifactType is the type that referrers show: "artifactType", else the config's media type (distribution-spec 1.1
	// "Listing Referrers"); empty for an index that names none.
	ArtifactType string
	Annotations  map[string]string
	// Subject is the manifest that this one refers to; nil when it refers to none.
	Subject    *Descriptor
	References []ManifestReference
	Payload    []byte
}

// Index reports whether the manifest lists other manifests.
func (m *Manifest) Index() bool {
	return m.MediaType == MediaTypeImageIndex || m.MediaType == MediaTypeDockerList
}

// document is the union of the fields of image manifests, indexes and Docker schema 2 that bind content.
type document struct {
	SchemaVersion *int              `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	ArtifactType  string            `json:"artifactType"`
	Config        *Descriptor       `json:"config"`
	Layers        []Descriptor      `json:"layers"`
	Blobs         []Descriptor      `json:"blobs"`
	Manifests     []Descriptor      `json:"manifests"`
	Subject       *Descriptor       `json:"subject"`
	Annotations   map[string]string `json:"annotations"`
}

// SparseIndexHeader is the header of a push, "true", by which Berth takes an index that lists manifests which the repository does not
// have: a copy of some of its platforms.
const SparseIndexHeader = "Berth-Sparse-Index"

// ParseManifest reads a manifest that was pushed with a Content-Type. A manifest of an unknown media type must still be a
// JSON object; its descriptors under the well-known keys are read and its other fields kept as they are.
//
// The error is an [*Error]: [CodeManifestInvalid] for what cannot be read or contradicts itself, [CodeSizeInvalid] for more
// than [MaxManifestSize] bytes.
func ParseManifest(contentType string, payload []byte) (*Manifest, error) {
	if len(payload) > MaxManifestSize {
		return nil, NewError(CodeSizeInvalid, "manifest is %d bytes long, at most %d are allowed", len(payload), MaxManifestSize)
	}
	decoder := json.NewDecoder(bytes.NewReader(payload))
	var doc document
	if err := decoder.Decode(&doc); err != nil {
		return nil, NewError(CodeManifestInvalid, "manifest is not a JSON object of the expected form: %v", err)
	}
	if decoder.More() {
		return nil, NewError(CodeManifestInvalid, "manifest has bytes after its JSON object")
	}
	if trimmed := bytes.TrimLeft(payload, " \t\r\n"); len(trimmed) == 0 || trimmed[0] != '{' {
		return nil, NewError(CodeManifestInvalid, "manifest is not a JSON object")
	}

	mediaType, err := manifestMediaType(contentType, doc)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{mediaType, doc.ArtifactType} {
		if err := checkMediaType("manifest", name); err != nil {
			return nil, err
		}
	}
	m := &Manifest{MediaType: mediaType, ArtifactType: doc.ArtifactType, Annotations: doc.Annotations, Subject: doc.Subject, Payload: payload}

	switch mediaType {
	case MediaTypeDockerSchema1, MediaTypeDockerSigned1:
		return nil, &Error{Code: CodeManifestInvalid, Message: "docker schema 1 manifests are not supported: push the image again with a client of this decade"}
	case MediaTypeImageManifest, MediaTypeDockerManifest:
		if doc.Config == nil {
			return nil, NewError(CodeManifestInvalid, "manifest of type %q has no config", mediaType)
		}
		if doc.Manifests != nil {
			return nil, NewError(CodeManifestInvalid, "manifest of type %q has the field \"manifests\" of an index", mediaType)
		}
	case MediaTypeImageIndex, MediaTypeDockerList:
		if doc.Config != nil || doc.Layers != nil {
			return nil, NewError(CodeManifestInvalid, "index of type %q has the fields \"config\" or \"layers\" of an image manifest", mediaType)
		}
	}
	if known(mediaType) && (doc.SchemaVersion == nil || *doc.SchemaVersion != 2) {
		return nil, NewError(CodeManifestInvalid, "manifest of type %q must have schemaVersion 2", mediaType)
	}

	if doc.Config != nil {
		m.References = append(m.References, ManifestReference{ReferenceConfig, *doc.Config})
		if m.ArtifactType == "" {
			m.ArtifactType = doc.Config.MediaType
		}
	}
	for _, group := range []struct {
		kind        ReferenceKind
		descriptors []Descriptor
	}{{ReferenceLayer, doc.Layers}, {ReferenceLayer, doc.Blobs}, {ReferenceManifest, doc.Manifests}} {
		for _, d := range group.descriptors {
			m.References = append(m.References, ManifestReference{group.kind, d})
		}
	}
	if len(m.References) > MaxManifestReferences {
		return nil, NewError(CodeManifestInvalid, "manifest has %d descriptors, at most %d are allowed", len(m.References), MaxManifestReferences)
	}
	for i, r := range m.References {
		if err := checkDescriptor(fmt.Sprintf("%s %d", r.Kind, i), r.Descriptor); err != nil {
			return nil, err
		}
	}
	if m.Subject != nil {
		if err := checkDescriptor("subject", *m.Subject); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func known(mediaType string) bool {
	switch mediaType {
	case MediaTypeImageManifest, MediaTypeImageIndex, MediaTypeDockerManifest, MediaTypeDockerList:
		return true
	}
	return false
}

// manifestMediaType settles on one type. The header may be absent (curl), the field may be absent (early OCI); both present
// must agree, since a client that trusts the one would misread what another pushed by the other.
func manifestMediaType(contentType string, doc document) (string, error) {
	var header string
	if contentType != "" {
		var err error
		if header, _, err = mime.ParseMediaType(contentType); err != nil {
			return "", NewError(CodeManifestInvalid, "content type %q: %v", contentType, err)
		}
	}
	switch {
	case header == "" && doc.MediaType == "":
		return "", NewError(CodeManifestInvalid, "manifest names no media type, neither in Content-Type nor in mediaType")
	case header == "":
		return doc.MediaType, nil
	case doc.MediaType != "" && doc.MediaType != header:
		return "", NewError(CodeManifestInvalid, "manifest says mediaType %q and was pushed as %q", doc.MediaType, header)
	}
	return header, nil
}

// checkMediaType refuses what no header could carry and no database keep as text. Beyond that any name is somebody's type.
func checkMediaType(name, mediaType string) error {
	if len(mediaType) > maxMediaTypeLength || strings.ContainsFunc(mediaType, unicode.IsControl) {
		return NewError(CodeManifestInvalid, "%s: media type %.80q is longer than %d bytes or has control characters", name, mediaType, maxMediaTypeLength)
	}
	return nil
}

func checkDescriptor(name string, d Descriptor) error {
	if err := checkMediaType(name, d.MediaType); err != nil {
		return err
	}
	if _, err := ParseDigest(d.Digest.String()); err != nil {
		return NewError(CodeManifestInvalid, "%s: digest %q is not a valid sha256 or sha512 digest", name, d.Digest)
	}
	if d.Size < 0 {
		return NewError(CodeManifestInvalid, "%s: size %d is negative", name, d.Size)
	}
	return nil
}
