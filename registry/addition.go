package registry

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
)

// The additions: what is shown of an artifact besides its fields, read from its config and layers when it is asked for.
const (
	AdditionHistory      = "build_history"
	AdditionReadme       = "readme.md"
	AdditionValues       = "values.yaml"
	AdditionDependencies = "dependencies"
	AdditionLicense      = "license"
	AdditionFiles        = "files"
)

var additionsByKind = map[string][]string{
	KindImage: {AdditionHistory},
	KindWASM:  {AdditionHistory},
	KindChart: {AdditionReadme, AdditionValues, AdditionDependencies},
	KindModel: {AdditionReadme, AdditionLicense, AdditionFiles},
}

// What is read of an archive that somebody has packed: a chart of one bit on disk may have unpacked no end.
const (
	maxAdditionFile   = 4 << 20
	maxArchive        = 64 << 20
	maxUnpacked       = 256 << 20
	maxArchiveEntries = 20_000
)

const (
	contentJSON     = "application/json; charset=utf-8"
	contentText     = "text/plain; charset=utf-8"
	contentMarkdown = "text/markdown; charset=utf-8"
)

// Addition is something that is shown of an artifact.
type Addition struct {
	ContentType string
	Content     []byte
}

// Additions returns the names of the additions that the artifact may have.
func (a Artifact) Additions() []string {
	if a.index() {
		return nil
	}
	return additionsByKind[a.Facts.Kind]
}

func (a Artifact) index() bool {
	return a.MediaType == oci.MediaTypeImageIndex || a.MediaType == oci.MediaTypeDockerList
}

// Addition reads an addition of the artifact that a reference stands for. The error is a [*fault.Error]: NotFound for the artifact, or
// when it does not have what was asked for; Invalid when artifacts of its kind never do, or it is too large or malformed.
func (r *Registry) Addition(ctx context.Context, repository oci.Repository, reference oci.Reference, name string) (Addition, error) {
	artifact, err := r.Artifact(ctx, repository, reference, With{})
	if err != nil {
		return Addition{}, err
	}
	if !slices.Contains(artifact.Additions(), name) {
		return Addition{}, fault.New(fault.Invalid, "an artifact of type %s has no %s", artifact.Facts.Kind, name)
	}
	stored, err := r.metadata.Manifest(ctx, repository, artifact.Digest)
	if err != nil {
		return Addition{}, artifactError(repository, reference, "read", err)
	}
	manifest, err := oci.ParseManifest(stored.MediaType, stored.Payload)
	if err != nil {
		return Addition{}, fault.Because(err, fault.Invalid, "the manifest of %s cannot be read", reference.Named(repository))
	}
	reader := additionReader{Registry: r, repository: repository, manifest: manifest}
	addition, err := reader.read(ctx, artifact.Facts.Kind, name)
	if errors.Is(err, metadata.ErrNotFound) {
		return Addition{}, fault.New(fault.NotFound, "artifact %s has no %s", reference.Named(repository), name)
	}
	if oci.HasCode(err, oci.CodeSizeInvalid) {
		return Addition{}, fault.Because(err, fault.Invalid, "the %s of %s is too large to show", name, reference.Named(repository))
	}
	return addition, err
}

// additionReader reads the additions of one artifact.
type additionReader struct {
	*Registry
	repository oci.Repository
	manifest   *oci.Manifest
}

func (a additionReader) read(ctx context.Context, kind, name string) (Addition, error) {
	switch name {
	case AdditionHistory:
		return a.listInConfig(ctx, "history")
	case AdditionDependencies:
		return a.listInConfig(ctx, "dependencies")
	case AdditionFiles:
		return a.files()
	}
	contentType := contentText
	if name == AdditionReadme {
		contentType = contentMarkdown
	}
	var content []byte
	var err error
	if kind == KindChart {
		content, err = a.inChart(ctx, name)
	} else {
		content, err = a.inModel(ctx, name)
	}
	return Addition{contentType, content}, err
}

// listInConfig returns a list that stands in the config; an empty one when there is none.
func (a additionReader) listInConfig(ctx context.Context, field string) (Addition, error) {
	config := configOf(a.manifest)
	if config == nil {
		return Addition{}, metadata.ErrNotFound
	}
	content, err := a.readBlob(ctx, a.repository, config.Digest, maxConfig)
	if err != nil {
		return Addition{}, err
	}
	var fields map[string]json.RawMessage
	var list []json.RawMessage
	if json.Unmarshal(content, &fields) == nil {
		_ = json.Unmarshal(fields[field], &list) // what is no list is none
	}
	if list == nil {
		list = []json.RawMessage{}
	}
	encoded, err := json.Marshal(list)
	return Addition{contentJSON, encoded}, err
}

// layer returns the first layer that is wanted, or [metadata.ErrNotFound].
func (a additionReader) layer(wanted func(oci.Descriptor) bool) (oci.Descriptor, error) {
	for _, reference := range a.manifest.References {
		if reference.Kind == oci.ReferenceLayer && wanted(reference.Descriptor) {
			return reference.Descriptor, nil
		}
	}
	return oci.Descriptor{}, metadata.ErrNotFound
}

// inChart returns a file that lies directly in the folder of the chart, in whatever case its name is.
func (a additionReader) inChart(ctx context.Context, name string) ([]byte, error) {
	layer, err := a.layer(func(d oci.Descriptor) bool {
		return d.MediaType == "application/vnd.cncf.helm.chart.content.v1.tar+gzip" || d.MediaType == "application/tar+gzip"
	})
	if err != nil {
		return nil, err
	}
	return a.inArchive(ctx, layer, true, func(file string) bool {
		folder, rest, _ := strings.Cut(path.Clean(file), "/")
		return folder != "" && folder != ".." && strings.EqualFold(rest, name)
	})
}

// modelPath is where the file of a layer of a model belongs.
func modelPath(d oci.Descriptor) string {
	if filePath := d.Annotations["org.cncf.model.filepath"]; filePath != "" {
		return filePath
	}
	return d.Annotations["org.cnai.model.filepath"]
}

// inModel returns a document of a model: each lies in a layer of its own, packed or not.
func (a additionReader) inModel(ctx context.Context, name string) ([]byte, error) {
	named := func(file string) bool {
		base := path.Base(path.Clean(file))
		return strings.EqualFold(base, name) || strings.EqualFold(strings.TrimSuffix(base, path.Ext(base)), name)
	}
	layer, err := a.layer(func(d oci.Descriptor) bool {
		return strings.Contains(d.MediaType, ".model.doc.") && named(modelPath(d))
	})
	if err != nil {
		return nil, err
	}
	if !strings.Contains(layer.MediaType, "tar") {
		return a.readBlob(ctx, a.repository, layer.Digest, maxAdditionFile)
	}
	return a.inArchive(ctx, layer, strings.HasSuffix(layer.MediaType, "gzip"), named)
}

// inArchive returns the first regular file of an archive that is wanted, or [metadata.ErrNotFound].
func (a additionReader) inArchive(ctx context.Context, layer oci.Descriptor, compressed bool, wanted func(name string) bool) ([]byte, error) {
	blob, err := a.Blob(ctx, a.repository, layer.Digest)
	if err != nil {
		return nil, err
	}
	if blob.Size > maxArchive {
		return nil, oci.NewError(oci.CodeSizeInvalid, "archive %s has %d bytes", layer.Digest, blob.Size)
	}
	content, err := a.OpenBlob(ctx, a.repository, blob, nil)
	if err != nil {
		return nil, err
	}
	defer content.Close()
	found, err := findInArchive(content, compressed, wanted)
	if err == nil || errors.Is(err, metadata.ErrNotFound) || oci.HasCode(err, oci.CodeSizeInvalid) {
		return found, err
	}
	return nil, fault.Because(err, fault.Invalid, "archive %s cannot be read", layer.Digest)
}

func findInArchive(content io.Reader, compressed bool, wanted func(name string) bool) ([]byte, error) {
	if compressed {
		unpacked, err := gzip.NewReader(content)
		if err != nil {
			return nil, fmt.Errorf("unpack: %w", err)
		}
		content = unpacked
	}
	bounded := &io.LimitedReader{R: content, N: maxUnpacked}
	archive := tar.NewReader(bounded)
	for range maxArchiveEntries {
		header, err := archive.Next()
		switch {
		case bounded.N <= 0:
			return nil, oci.NewError(oci.CodeSizeInvalid, "archive has more than %d bytes unpacked", maxUnpacked)
		case errors.Is(err, io.EOF):
			return nil, metadata.ErrNotFound
		case err != nil:
			return nil, fmt.Errorf("read archive: %w", err)
		case header.Typeflag != tar.TypeReg || !wanted(header.Name):
			continue
		case header.Size > maxAdditionFile:
			return nil, oci.NewError(oci.CodeSizeInvalid, "file %q has %d bytes", header.Name, header.Size)
		}
		return io.ReadAll(archive)
	}
	return nil, oci.NewError(oci.CodeSizeInvalid, "archive has more than %d entries", maxArchiveEntries)
}

// modelFile is an entry of the list of a model's files.
type modelFile struct {
	Name     string       `json:"name"`
	Type     string       `json:"type"`
	Size     int64        `json:"size,omitempty"`
	Children []*modelFile `json:"children,omitempty"`
}

// maxModelDepth bounds how deep the folders of a model are shown.
const maxModelDepth = 32

// files lists where the layers of a model belong, as a tree.
func (a additionReader) files() (Addition, error) {
	root := &modelFile{}
	for _, reference := range a.manifest.References {
		name := strings.Trim(path.Clean("/"+modelPath(reference.Descriptor)), "/")
		if reference.Kind == oci.ReferenceLayer && name != "" {
			root.add(strings.SplitN(name, "/", maxModelDepth), reference.Descriptor.Size)
		}
	}
	list := root.Children
	if list == nil {
		list = []*modelFile{}
	}
	encoded, err := json.Marshal(list)
	return Addition{contentJSON, encoded}, err
}

func (f *modelFile) add(parts []string, size int64) {
	if len(parts) == 1 {
		f.Children = append(f.Children, &modelFile{Name: parts[0], Type: "file", Size: size})
		return
	}
	i := slices.IndexFunc(f.Children, func(c *modelFile) bool { return c.Name == parts[0] && c.Type == "directory" })
	if i < 0 {
		i = len(f.Children)
		f.Children = append(f.Children, &modelFile{Name: parts[0], Type: "directory"})
	}
	f.Children[i].add(parts[1:], size)
}

// maxIcon is the longest icon that is shown, in bytes.
const maxIcon = 1 << 20

// Icon returns the picture that an artifact in view brings along. The error is a [*fault.Error] of kind NotFound when none does.
func (r *Registry) Icon(ctx context.Context, view metadata.Visibility, digest oci.Digest) ([]byte, error) {
	repository, err := r.metadata.IconInView(ctx, view, digest)
	if errors.Is(err, metadata.ErrNotFound) {
		return nil, fault.New(fault.NotFound, "icon %s not found", digest)
	}
	if err != nil {
		return nil, metadataError("look for icon "+digest.String(), err)
	}
	content, err := r.readBlob(ctx, repository, digest, maxIcon)
	if oci.HasCode(err, oci.CodeSizeInvalid) {
		return nil, fault.Because(err, fault.NotFound, "icon %s is too large to show", digest)
	}
	return content, err
}
