package distribution

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/registry"
	"github.com/berth-registry/berth/replicate/proxy"
)

// getBlob answers GET by redirect or from storage, and HEAD and If-None-Match without asking the storage.
func (x *exchange) getBlob() error {
	digest, err := oci.ParseDigest(x.reference)
	if err != nil {
		return err
	}
	blob, err := x.registry.Blob(x.r.Context(), x.repository, digest)
	var arrival *proxy.Arrival
	if x.origin != nil && err == nil {
		x.origin.Kept()
	}
	if x.origin != nil && oci.HasCode(err, oci.CodeBlobUnknown) {
		if blob, arrival, err = x.fetchBlob(digest); arrival != nil {
			defer arrival.Close()
		}
	}
	if err != nil {
		return err
	}
	header := x.w.Header()
	text := digest.String()
	etag := `"` + text + `"`
	header["Docker-Content-Digest"] = []string{text}
	header["Etag"] = []string{etag}
	header["Cache-Control"] = immutable
	if matches(x.r.Header, etag) {
		x.reply(http.StatusNotModified)
		return nil
	}
	header["Accept-Ranges"] = byteRanges
	header["Content-Type"] = octetStream
	if x.r.Method == http.MethodHead {
		if blob.Size >= 0 {
			header["Content-Length"] = []string{strconv.FormatInt(blob.Size, 10)}
		}
		x.reply(http.StatusOK)
		return nil
	}
	if arrival != nil {
		return x.stream(blob, func([]registry.Range) (io.ReadSeekCloser, error) { return arrival, nil })
	}
	url, err := x.registry.RedirectBlob(x.r.Context(), blob)
	if err != nil {
		return err
	}
	if url != "" {
		header.Del("Content-Type")
		header.Set("Cache-Control", "no-store") // the URL soon expires
		header.Set("Location", url)
		header.Set("Content-Length", "0")
		x.reply(http.StatusTemporaryRedirect)
		return nil
	}
	return x.streamBlob(blob)
}

// fetchBlob returns what is known of a blob that the project's registry elsewhere has, and, unless nobody asked for its bytes or it is
// here meanwhile, the blob as it arrives.
func (x *exchange) fetchBlob(digest oci.Digest) (metadata.Blob, *proxy.Arrival, error) {
	if x.r.Method == http.MethodHead {
		size, err := x.origin.BlobSize(x.r.Context(), digest)
		return metadata.Blob{Digest: digest, Size: size}, nil, err
	}
	arrival, err := x.origin.FetchBlob(x.r.Context(), digest)
	if err != nil {
		return metadata.Blob{}, nil, err
	}
	if arrival == nil {
		blob, err := x.registry.Blob(x.r.Context(), x.repository, digest)
		return blob, nil, err
	}
	return metadata.Blob{Digest: digest, Size: arrival.Size}, arrival, nil
}

// streamBlob sends the blob from storage.
func (x *exchange) streamBlob(blob metadata.Blob) error {
	return x.stream(blob, func(ranges []registry.Range) (io.ReadSeekCloser, error) {
		return x.registry.OpenBlob(x.r.Context(), x.repository, blob, ranges)
	})
}

// stream sends the blob, or the ranges of it that are asked for, from what open returns.
func (x *exchange) stream(blob metadata.Blob, open func(ranges []registry.Range) (io.ReadSeekCloser, error)) error {
	ranges, satisfiable := parseRange(x.r.Header.Get("Range"), blob.Size)
	if !satisfiable {
		x.w.Header().Set("Content-Range", "bytes */"+strconv.FormatInt(blob.Size, 10))
		return &oci.Error{
			Code: oci.CodeSizeInvalid, Status: http.StatusRequestedRangeNotSatisfiable,
			Message: fmt.Sprintf("the blob has %d bytes, and nothing of it is in range %q", blob.Size, x.r.Header.Get("Range")),
		}
	}
	content, err := open(ranges)
	if err != nil {
		return err
	}
	x.status = http.StatusOK
	if len(ranges) > 0 {
		x.status = http.StatusPartialContent
	}
	// The writer and an *os.File reach net/http as they are, so that the kernel can copy from the one to the other.
	http.ServeContent(x.w, rangeRequest(x.r, ranges), "", time.Time{}, content)
	closeErr := content.Close()
	if failing, ok := content.(interface{ Err() error }); ok && failing.Err() != nil && x.r.Context().Err() == nil {
		// The header promised more than came: the client must see the connection break.
		x.fail(failing.Err())
		panic(http.ErrAbortHandler)
	}
	if closeErr != nil {
		x.log.WarnContext(x.r.Context(), "closing a blob failed", x.attributes(closeErr)...)
	}
	return nil
}

// rangeRequest is the request with the ranges as they were understood, and without the conditions that are settled.
func rangeRequest(r *http.Request, ranges []registry.Range) *http.Request {
	understood := *r
	understood.Header = make(http.Header, 2)
	if len(ranges) > 0 {
		var list strings.Builder
		for i, part := range ranges {
			if i > 0 {
				list.WriteByte(',')
			}
			fmt.Fprintf(&list, "%d-%d", part.Start, part.Start+part.Length-1)
		}
		understood.Header["Range"] = []string{"bytes=" + list.String()}
		if condition := r.Header["If-Range"]; condition != nil {
			understood.Header["If-Range"] = condition
		}
	}
	return &understood
}

func (x *exchange) deleteBlob() error {
	digest, err := oci.ParseDigest(x.reference)
	if err != nil {
		return err
	}
	if err := x.registry.DeleteBlob(x.r.Context(), x.actor(), x.repository, digest); err != nil {
		return err
	}
	x.w.Header().Set("Content-Length", "0")
	x.reply(http.StatusAccepted)
	return nil
}

// matches reports whether the client has what the etag names (RFC 9110 "If-None-Match").
func matches(header http.Header, etag string) bool {
	for _, list := range header["If-None-Match"] {
		for candidate := range strings.SplitSeq(list, ",") {
			candidate = strings.TrimPrefix(strings.TrimSpace(candidate), "W/")
			if candidate == etag || candidate == "*" {
				return true
			}
		}
	}
	return false
}
