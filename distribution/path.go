package distribution

import (
	"net/url"
	"strings"

	"github.com/berth-registry/berth/oci"
)

// kind is what a path under /v2 names.
type kind string

const (
	kindBase      kind = "base"
	kindCatalog   kind = "catalog"
	kindTags      kind = "tags"
	kindManifest  kind = "manifest"
	kindBlob      kind = "blob"
	kindUploads   kind = "uploads"
	kindUpload    kind = "upload"
	kindReferrers kind = "referrers"
)

// target is what a path names: a kind, mostly a repository, and what stands behind it: a tag or digest, or an upload's id.
type target struct {
	kind       kind
	repository oci.Repository
	reference  string
}

// parsePath reads an escaped path from right to left, since a repository's name may itself contain every word of the routes. It
// reports false for a path of no route; the error is an [*oci.Error] with [oci.CodeNameInvalid] for a route with a bad name.
//
// A name needs no escaping, so a name with an escape in it is refused as it stands: what is decoded by one and not by another on
// the way is how a check is got around. Behind the name one escape is common, the colon of a digest.
func parsePath(escaped string) (target, bool, error) {
	rest, ok := strings.CutPrefix(escaped, "/v2")
	if !ok {
		return target{}, false, nil
	}
	if rest == "" || rest == "/" {
		return target{kind: kindBase}, true, nil
	}
	if rest, ok = strings.CutPrefix(rest, "/"); !ok {
		return target{}, false, nil
	}
	if rest == "_catalog" {
		return target{kind: kindCatalog}, true, nil
	}
	t, name, ok := splitPath(rest)
	if !ok {
		return target{}, false, nil
	}
	var err error
	if t.reference, err = url.PathUnescape(t.reference); err != nil {
		return target{}, false, nil
	}
	t.repository, err = oci.ParseRepository(name)
	return t, true, err
}

func splitPath(path string) (t target, name string, ok bool) {
	rest, last := cutLast(path)
	name, word := cutLast(rest)
	before, outer := cutLast(name)
	switch {
	case word == "uploads" && outer == "blobs":
		if last == "" {
			return target{kind: kindUploads}, before, true
		}
		return target{kind: kindUpload, reference: last}, before, true
	case word == "blobs" && last == "uploads":
		return target{kind: kindUploads}, name, true
	case word == "tags" && last == "list":
		return target{kind: kindTags}, name, true
	case last == "":
		return target{}, "", false
	case word == "manifests":
		return target{kind: kindManifest, reference: last}, name, true
	case word == "blobs":
		return target{kind: kindBlob, reference: last}, name, true
	case word == "referrers":
		return target{kind: kindReferrers, reference: last}, name, true
	}
	return target{}, "", false
}

// cutLast splits at the last slash.
func cutLast(path string) (before, last string) {
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		return path[:i], path[i+1:]
	}
	return "", path
}
