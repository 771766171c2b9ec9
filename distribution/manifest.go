package distribution

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/registry"
)

// maxTags is how many tags one push may set; distribution-spec asks for at least ten.
const maxTags = 100

// getManifest sends a manifest as it was pushed. What a client accepts is not asked: no manifest is ever converted, and who gets
// a type they did not list can say so better than a 404 could.
func (x *exchange) getManifest() error {
	reference, err := oci.ParseReference(x.reference)
	if err != nil {
		if oci.HasCode(err, oci.CodeManifestInvalid) {
			err = oci.NewError(oci.CodeManifestUnknown, "%q is no tag, so no manifest has it", x.reference)
		}
		return err
	}
	manifest, err := x.manifest(reference)
	if err != nil {
		return err
	}
	header := x.w.Header()
	text := manifest.Digest.String()
	etag := `"` + text + `"`
	header["Docker-Content-Digest"] = []string{text}
	header["Etag"] = []string{etag}
	header["Cache-Control"] = immutable
	if reference.Tag != "" {
		header["Cache-Control"] = noCache
	}
	if matches(x.r.Header, etag) {
		x.reply(http.StatusNotModified)
		return nil
	}
	header["Content-Type"] = []string{manifest.MediaType}
	header["Content-Length"] = []string{strconv.FormatInt(manifest.Size, 10)}
	x.reply(http.StatusOK)
	if x.r.Method == http.MethodHead {
		return nil
	}
	x.registry.CountPull(x.actor(), x.repository, reference, manifest)
	// A client that does not read what it asked for is no fault.
	_, _ = x.w.Write(manifest.Payload)
	return nil
}

// manifest returns the manifest behind a reference.
func (x *exchange) manifest(reference oci.Reference) (metadata.Manifest, error) {
	if x.origin != nil {
		return x.origin.Manifest(x.r.Context(), x.actor(), reference)
	}
	return x.registry.Manifest(x.r.Context(), x.repository, reference)
}

func (x *exchange) putManifest() error {
	reference, err := oci.ParseReference(x.reference)
	if err != nil {
		return err
	}
	tags := x.r.URL.Query()["tag"]
	if len(tags) > maxTags {
		return &oci.Error{
			Code: oci.CodeManifestInvalid, Status: http.StatusRequestURITooLong,
			Message: fmt.Sprintf("%d tags in one push: at most %d are taken", len(tags), maxTags),
		}
	}
	for _, tag := range tags {
		if _, err := oci.ParseTag(tag); err != nil {
			return err
		}
	}
	payload, err := x.manifestBody()
	if err != nil {
		return err
	}
	pushed, err := x.registry.PutManifest(x.r.Context(), x.actor(), registry.Push{
		Repository: x.repository, Reference: reference, Tags: tags, ContentType: x.r.Header.Get("Content-Type"), Payload: payload,
		Sparse: x.r.Header.Get(oci.SparseIndexHeader) == "true",
	})
	if err != nil {
		return err
	}
	header := x.w.Header()
	header.Set("Location", "/v2/"+string(x.repository)+"/manifests/"+pushed.Digest.String())
	header.Set("Docker-Content-Digest", pushed.Digest.String())
	header.Set("Content-Length", "0")
	if pushed.Subject != "" {
		header["OCI-Subject"] = []string{pushed.Subject.String()}
	}
	if len(tags) > 0 {
		header["OCI-Tag"] = tags
	}
	x.reply(http.StatusCreated)
	return nil
}

// manifestBody reads the whole body up to the limit, into as much memory as its length asks for.
func (x *exchange) manifestBody() ([]byte, error) {
	tooLarge := &oci.Error{
		Code: oci.CodeSizeInvalid, Status: http.StatusRequestEntityTooLarge,
		Message: fmt.Sprintf("a manifest may have at most %d bytes", oci.MaxManifestSize),
	}
	if x.r.ContentLength > oci.MaxManifestSize {
		return nil, tooLarge
	}
	body := http.MaxBytesReader(x.w, x.r.Body, oci.MaxManifestSize)
	var payload bytes.Buffer
	if x.r.ContentLength > 0 {
		payload.Grow(int(x.r.ContentLength) + bytes.MinRead)
	}
	n, err := payload.ReadFrom(body)
	x.in += n
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		// A client that is still sending would see the connection break before it reads why.
		_, _ = io.CopyN(io.Discard, x.r.Body, oci.MaxManifestSize)
		return nil, tooLarge
	}
	if err != nil {
		return nil, &registry.InterruptedError{Err: err}
	}
	return payload.Bytes(), nil
}

func (x *exchange) deleteManifest() error {
	reference, err := oci.ParseReference(x.reference)
	if err != nil {
		return err
	}
	if err := x.registry.DeleteManifest(x.r.Context(), x.actor(), x.repository, reference); err != nil {
		return err
	}
	x.w.Header().Set("Content-Length", "0")
	x.reply(http.StatusAccepted)
	return nil
}
