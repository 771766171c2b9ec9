package distribution

import (
	"io"
	"net/http"
	"strconv"

	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/registry"
)

func uploadLocation(repository oci.Repository, id string) string {
	return "/v2/" + string(repository) + "/blobs/uploads/" + id
}

// describe sets the headers that tell where an upload is and how far it has come. Locations are relative: behind a proxy the
// registry cannot know its own address. An empty upload is "0-0": docker reads no range that ends before it begins.
func (x *exchange) describe(s registry.Session) {
	header := x.w.Header()
	header.Set("Location", uploadLocation(x.repository, s.ID))
	header.Set("Docker-Upload-UUID", s.ID)
	header.Set("Range", "0-"+strconv.FormatInt(max(s.Offset-1, 0), 10))
}

// startUpload opens an upload, or makes a blob at once: from the body when the digest is given, from another repository when
// that has it.
func (x *exchange) startUpload() error {
	query := x.r.URL.Query()
	if query.Has("mount") {
		mounted, err := x.mount(query.Get("mount"), query.Get("from"))
		if mounted || err != nil {
			return err
		}
	} else if query.Has("digest") {
		digest, err := oci.ParseDigest(query.Get("digest"))
		if err != nil {
			return err
		}
		blob, err := x.registry.PutBlob(x.r.Context(), x.repository, digest, x.body())
		if err != nil {
			return err
		}
		return x.created(blob)
	}
	var algorithm oci.Algorithm
	if name := query.Get("digest-algorithm"); name != "" {
		var err error
		if algorithm, err = oci.ParseAlgorithm(name); err != nil {
			return err
		}
	}
	session, err := x.registry.StartUpload(x.r.Context(), x.actor(), x.repository, algorithm)
	if err != nil {
		return err
	}
	return x.accepted(session, http.StatusAccepted)
}

// mount links a blob that the caller can read elsewhere. That it does not exist and that the caller may not read it look the
// same: both lead to an ordinary upload.
func (x *exchange) mount(mount, from string) (bool, error) {
	digest, err := oci.ParseDigest(mount)
	if err != nil {
		return false, err
	}
	var source oci.Repository
	if from != "" {
		if source, err = oci.ParseRepository(from); err != nil {
			return false, nil
		}
		if source != x.repository && (len(x.access.Granted) == 0 || !x.access.Granted[0]) {
			return false, nil
		}
	} else {
		view, err := x.access.View(x.r.Context())
		if err != nil {
			return false, err
		}
		var found bool
		if source, found, err = x.registry.FindBlob(x.r.Context(), view, x.repository, digest); err != nil || !found {
			return false, err
		}
	}
	mounted, err := x.registry.MountBlob(x.r.Context(), x.repository, source, digest)
	if err != nil || !mounted {
		return false, err
	}
	return true, x.created(metadata.Blob{Digest: digest})
}

func (x *exchange) uploadStatus() error {
	session, err := x.registry.UploadStatus(x.r.Context(), x.repository, x.reference)
	if err != nil {
		return err
	}
	return x.accepted(session, http.StatusNoContent)
}

func (x *exchange) cancelUpload() error {
	if err := x.registry.CancelUpload(x.r.Context(), x.repository, x.reference); err != nil {
		return err
	}
	x.reply(http.StatusNoContent)
	return nil
}

func (x *exchange) appendUpload() error {
	start, err := x.chunkStart()
	if err != nil {
		return err
	}
	session, err := x.registry.AppendUpload(x.r.Context(), x.repository, x.reference, start, x.body())
	if err != nil {
		return err
	}
	return x.accepted(session, http.StatusAccepted)
}

func (x *exchange) finishUpload() error {
	digest, err := oci.ParseDigest(x.r.URL.Query().Get("digest"))
	if err != nil {
		return err
	}
	start, err := x.chunkStart()
	if err != nil {
		return err
	}
	blob, err := x.registry.FinishUpload(x.r.Context(), x.repository, x.reference, start, x.body(), digest)
	if err != nil {
		return err
	}
	return x.created(blob)
}

// chunkStart returns where the body claims to begin in its upload, nil when it claims nothing.
func (x *exchange) chunkStart() (*int64, error) {
	header := x.r.Header.Get("Content-Range")
	if header == "" {
		return nil, nil
	}
	first, length, err := parseContentRange(header)
	if err != nil {
		// A last chunk may be empty, and what a client then writes as a range is of no form at all.
		if x.r.ContentLength == 0 {
			return nil, nil
		}
		return nil, err
	}
	if x.r.ContentLength > 0 && x.r.ContentLength != length {
		return nil, oci.NewError(oci.CodeSizeInvalid, "Content-Range %q is of %d bytes, Content-Length says %d", header, length, x.r.ContentLength)
	}
	return &first, nil
}

func (x *exchange) accepted(session registry.Session, status int) error {
	x.describe(session)
	if status != http.StatusNoContent {
		x.w.Header().Set("Content-Length", "0")
	}
	x.reply(status)
	return nil
}

func (x *exchange) created(blob metadata.Blob) error {
	header := x.w.Header()
	header.Set("Location", "/v2/"+string(x.repository)+"/blobs/"+blob.Digest.String())
	header.Set("Docker-Content-Digest", blob.Digest.String())
	header.Set("Content-Length", "0")
	x.reply(http.StatusCreated)
	return nil
}

// body is the request's body, counted.
func (x *exchange) body() io.Reader {
	if x.r.Body == nil || x.r.Body == http.NoBody {
		return nil
	}
	return &counted{x.r.Body, &x.in}
}

type counted struct {
	io.Reader
	n *int64
}

// Read reads and counts.
func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	*c.n += int64(n)
	return n, err
}
