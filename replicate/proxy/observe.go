package proxy

import (
	"context"
	"errors"
	"io"
	"net/http"

	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/replicate/remote"
)

// What is asked for.
const (
	ContentManifest = "manifest"
	ContentBlob     = "blob"
)

// Outcome is where what was asked for came from.
type Outcome string

// The outcomes: what is kept, what is kept though the registry elsewhere did not say whether it is still right, and that registry.
const (
	Hit   Outcome = "hit"
	Stale Outcome = "stale"
	Miss  Outcome = "miss"
)

// Outcomes are all of them.
var Outcomes = []Outcome{Hit, Stale, Miss}

// What registries elsewhere are asked for, and what comes of it.
var (
	Operations = []string{"describe", "manifest", "blob_size", "blob", "tags", "referrers"}
	Answers    = []string{"ok", "not_found", "denied", "too_many_requests", "error", "unreachable", "cancelled"}
)

// Observer is told what a cache does, for metrics. Its functions return at once; those that are nil are not called.
type Observer struct {
	// Served is called for each manifest and each blob that somebody asks for.
	Served func(content string, outcome Outcome)
	// Asked is called for each request to a registry elsewhere, with one of [Operations] and one of [Answers].
	Asked func(operation, answer string)
	// Received is called for the bytes of manifests and blobs that have come from there.
	Received func(bytes int)
}

// orNobody is the observer with all functions.
func (o Observer) orNobody() Observer {
	if o.Served == nil {
		o.Served = func(string, Outcome) {}
	}
	if o.Asked == nil {
		o.Asked = func(string, string) {}
	}
	if o.Received == nil {
		o.Received = func(int) {}
	}
	return o
}

func (r *Repository) served(content string, outcome Outcome) {
	r.cache.options.Observer.Served(content, outcome)
}

// Kept notes that a blob which was asked for is here.
func (r *Repository) Kept() { r.served(ContentBlob, Hit) }

// answerOf puts what came of a request into one of few classes.
func answerOf(err error) string {
	status, _, answered := remote.Answer(err)
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, remote.ErrNotFound):
		return "not_found"
	case errors.Is(err, context.Canceled):
		return "cancelled"
	case status == http.StatusTooManyRequests:
		return "too_many_requests"
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return "denied"
	case answered || errors.Is(err, remote.ErrWrong):
		return "error"
	}
	return "unreachable"
}

// observed is a registry elsewhere whose use is told of.
type observed struct {
	remote   Remote
	observer Observer
}

func (o observed) asked(operation string, err error) { o.observer.Asked(operation, answerOf(err)) }

// Describe implements [Remote].
func (o observed) Describe(ctx context.Context, repository, reference string) (oci.Descriptor, error) {
	found, err := o.remote.Describe(ctx, repository, reference)
	o.asked("describe", err)
	return found, err
}

// Manifest implements [Remote].
func (o observed) Manifest(ctx context.Context, repository, reference string) (remote.Manifest, error) {
	found, err := o.remote.Manifest(ctx, repository, reference)
	o.asked("manifest", err)
	o.observer.Received(len(found.Payload))
	return found, err
}

// BlobSize implements [Remote].
func (o observed) BlobSize(ctx context.Context, repository string, digest oci.Digest) (int64, error) {
	size, err := o.remote.BlobSize(ctx, repository, digest)
	o.asked("blob_size", err)
	return size, err
}

// OpenBlob implements [Remote].
func (o observed) OpenBlob(ctx context.Context, repository string, digest oci.Digest, offset int64) (io.ReadCloser, int64, error) {
	content, size, err := o.remote.OpenBlob(ctx, repository, digest, offset)
	o.asked("blob", err)
	if err != nil {
		return nil, 0, err
	}
	return counted{content, o.observer}, size, nil
}

// counted is a blob whose bytes are counted as they come.
type counted struct {
	io.ReadCloser
	observer Observer
}

// Read reads on.
func (c counted) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.observer.Received(n)
	return n, err
}

// Tags implements [Remote].
func (o observed) Tags(ctx context.Context, repository string, fn func(tags []string) error) error {
	var stopped error
	err := o.remote.Tags(ctx, repository, func(tags []string) error {
		stopped = fn(tags)
		return stopped
	})
	if stopped != nil {
		o.asked("tags", nil)
	} else {
		o.asked("tags", err)
	}
	return err
}

// Referrers implements [Remote].
func (o observed) Referrers(ctx context.Context, repository string, subject oci.Digest) ([]oci.Descriptor, error) {
	found, err := o.remote.Referrers(ctx, repository, subject)
	o.asked("referrers", err)
	return found, err
}
