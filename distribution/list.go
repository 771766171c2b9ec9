package distribution

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"

	"github.com/berth-registry/berth/oci"
)

// A page has defaultPage entries when the client does not say, and never more than maxPage.
const (
	defaultPage = 1_000
	maxPage     = 10_000
)

// maxQueryText bounds what a client may give as a cursor or a filter.
const maxQueryText = 512

func (x *exchange) base() error {
	return x.json("application/json", struct{}{})
}

func (x *exchange) listTags() error {
	n, last, err := x.page()
	if err != nil {
		return err
	}
	list := func(ctx context.Context, last string, n int) ([]string, bool, error) {
		return x.registry.Tags(ctx, x.repository, last, n)
	}
	if x.origin != nil {
		list = x.origin.Tags
	}
	tags, more, err := list(x.r.Context(), last, n)
	if err != nil {
		return err
	}
	if more && n > 0 {
		x.link(url.Values{"n": {strconv.Itoa(n)}, "last": {tags[len(tags)-1]}})
	}
	return x.json("application/json", struct {
		Name oci.Repository `json:"name"`
		Tags []string       `json:"tags"`
	}{x.repository, append([]string{}, tags...)})
}

func (x *exchange) catalog() error {
	n, last, err := x.page()
	if err != nil {
		return err
	}
	view, err := x.access.View(x.r.Context())
	if err != nil {
		return err
	}
	names, more, err := x.registry.Catalog(x.r.Context(), view, last, n)
	if err != nil {
		return err
	}
	if more && n > 0 {
		x.link(url.Values{"n": {strconv.Itoa(n)}, "last": {names[len(names)-1].String()}})
	}
	return x.json("application/json", struct {
		Repositories []oci.Repository `json:"repositories"`
	}{append([]oci.Repository{}, names...)})
}

// listReferrers sends an index of the manifests that refer to a subject. The specification leaves paging to the registry: a
// client follows the Link and needs no parameters of its own.
func (x *exchange) listReferrers() error {
	subject, err := oci.ParseDigest(x.reference)
	if err != nil {
		return err
	}
	n, last, err := x.page()
	if err != nil {
		return err
	}
	artifactType := x.r.URL.Query().Get("artifactType")
	if !plain(artifactType) {
		return &oci.Error{Code: oci.CodeUnsupported, Status: http.StatusBadRequest, Message: "artifactType is not a media type"}
	}
	referrers, next, err := x.referrers(subject, artifactType, oci.Digest(last), max(n, 1))
	if err != nil {
		return err
	}
	if next != "" {
		query := url.Values{"n": {strconv.Itoa(n)}, "last": {next.String()}}
		if artifactType != "" {
			query.Set("artifactType", artifactType)
		}
		x.link(query)
	}
	if artifactType != "" {
		x.w.Header()["OCI-Filters-Applied"] = []string{"artifactType"}
	}
	return x.json(oci.MediaTypeImageIndex, struct {
		SchemaVersion int              `json:"schemaVersion"`
		MediaType     string           `json:"mediaType"`
		Manifests     []oci.Descriptor `json:"manifests"`
	}{2, oci.MediaTypeImageIndex, append([]oci.Descriptor{}, referrers...)})
}

func (x *exchange) referrers(subject oci.Digest, artifactType string, after oci.Digest, n int) ([]oci.Descriptor, oci.Digest, error) {
	if x.origin != nil {
		return x.origin.Referrers(x.r.Context(), subject, artifactType, after, n)
	}
	return x.registry.Referrers(x.r.Context(), x.repository, subject, artifactType, after, n)
}

// page reads how many entries are asked for, and after which.
func (x *exchange) page() (n int, last string, err error) {
	query := x.r.URL.Query()
	last = query.Get("last")
	if !plain(last) {
		return 0, "", &oci.Error{Code: oci.CodeUnsupported, Status: http.StatusBadRequest, Message: "last is not the name of an entry"}
	}
	if !query.Has("n") {
		return defaultPage, last, nil
	}
	wanted, ok := parseBytes(query.Get("n"))
	if !ok {
		return 0, "", &oci.Error{Code: oci.CodeUnsupported, Status: http.StatusBadRequest, Message: "n is not a number of entries"}
	}
	return int(min(wanted, maxPage)), last, nil
}

// plain reports whether a text could be a name or a media type: printable ASCII. What is not is kept from the database, which
// refuses some of it as no text at all.
func plain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return len(s) <= maxQueryText
}

// link points at the next page of this list, at the address that the client knows it by.
func (x *exchange) link(query url.Values) {
	path := x.r.URL.EscapedPath()
	if asked, err := url.ParseRequestURI(x.r.RequestURI); err == nil {
		path = asked.EscapedPath()
	}
	if namespace := x.r.URL.Query().Get("ns"); namespace != "" {
		query.Set("ns", namespace)
	}
	x.w.Header().Set("Link", "<"+path+"?"+query.Encode()+`>; rel="next"`)
}

func (x *exchange) json(contentType string, value any) error {
	body, err := json.Marshal(value)
	if err != nil {
		return err
	}
	header := x.w.Header()
	header.Set("Content-Type", contentType)
	header.Set("Content-Length", strconv.Itoa(len(body)))
	x.reply(http.StatusOK)
	if x.r.Method != http.MethodHead {
		_, _ = x.w.Write(body)
	}
	return nil
}
