// Package thisregistry is this registry as a side of replications: what is copied goes straight to its storage and its database, so that
// quotas, immutable tags and events count as for any push.
package thisregistry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/identity"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/project"
	"github.com/berth-registry/berth/registry"
	"github.com/berth-registry/berth/replicate"
	"github.com/berth-registry/berth/replicate/adapter"
	"github.com/berth-registry/berth/replicate/remote"
)

// pageSize is how much is listed at once.
const pageSize = 100

// Options are what the registry is made of. All are required.
type Options struct {
	Store    *metadata.Store
	Registry *registry.Registry
	Projects *project.Projects
}

// Registry is this registry, where one actor does what is done. Who may have it done was decided when the policy was made.
type Registry struct {
	options Options
	actor   event.Actor
}

// New returns a function that makes the registry for an actor.
func New(options Options) func(actor event.Actor) replicate.Local {
	return func(actor event.Actor) replicate.Local { return Registry{options, actor} }
}

// Manifest implements [replicate.Source].
func (r Registry) Manifest(ctx context.Context, repository, reference string) (remote.Manifest, error) {
	parsed, err := oci.ParseReference(reference)
	if err != nil {
		return remote.Manifest{}, err
	}
	manifest, err := r.options.Registry.Manifest(ctx, oci.Repository(repository), parsed)
	if err != nil {
		return remote.Manifest{}, missing(err)
	}
	return remote.Manifest{MediaType: manifest.MediaType, Digest: manifest.Digest, Payload: manifest.Payload}, nil
}

// missing marks the error of what does not exist.
func missing(err error) error {
	if oci.HasCode(err, oci.CodeManifestUnknown) || oci.HasCode(err, oci.CodeBlobUnknown) || oci.HasCode(err, oci.CodeNameUnknown) {
		return fmt.Errorf("%w: %w", remote.ErrNotFound, err)
	}
	return err
}

// ReadBlob implements [replicate.Source].
func (r Registry) ReadBlob(ctx context.Context, repository string, digest oci.Digest, offset int64) (io.ReadCloser, error) {
	content, err := r.options.Registry.ReadBlob(ctx, oci.Repository(repository), digest, offset)
	if err != nil {
		return nil, missing(err)
	}
	return content, nil
}

// Referrers implements [replicate.Source].
func (r Registry) Referrers(ctx context.Context, repository string, subject oci.Digest) (found []oci.Descriptor, err error) {
	for after := oci.Digest(""); ; {
		page, next, err := r.options.Registry.Referrers(ctx, oci.Repository(repository), subject, "", after, pageSize)
		if err != nil {
			return nil, err
		}
		if found = append(found, page...); next == "" {
			return found, nil
		}
		after = next
	}
}

// Resolve implements [replicate.Destination].
func (r Registry) Resolve(ctx context.Context, repository, reference string) (oci.Digest, error) {
	manifest, err := r.Manifest(ctx, repository, reference)
	return manifest.Digest, err
}

// HasBlob implements [replicate.Destination].
func (r Registry) HasBlob(ctx context.Context, repository string, digest oci.Digest) (bool, error) {
	_, err := r.options.Registry.Blob(ctx, oci.Repository(repository), digest)
	if oci.HasCode(err, oci.CodeBlobUnknown) {
		return false, nil
	}
	return err == nil, err
}

// MountBlob implements [replicate.Destination].
func (r Registry) MountBlob(ctx context.Context, repository, from string, digest oci.Digest) (bool, error) {
	return r.options.Registry.MountBlob(ctx, oci.Repository(repository), oci.Repository(from), digest)
}

// FindBlob implements [replicate.BlobFinder].
func (r Registry) FindBlob(ctx context.Context, digest oci.Digest) (string, error) {
	repository, err := r.options.Store.RepositoryWithBlob(ctx, metadata.Visibility{All: true}, digest)
	if errors.Is(err, metadata.ErrNotFound) {
		return "", nil
	}
	return string(repository), err
}

// largestWhole is the size up to which a blob that breaks off is read anew: what can go on has a row of its own meanwhile.
const largestWhole = 8 << 20

// WriteBlob implements [replicate.Destination]: when the source breaks off, it goes on from what has arrived.
func (r Registry) WriteBlob(ctx context.Context, repository string, blob oci.Descriptor, open func(ctx context.Context, offset int64) (io.ReadCloser, error)) (remote.Transfer, error) {
	w := &write{Registry: r, repository: oci.Repository(repository), blob: blob, open: open}
	advance := w.advance
	if blob.Size <= largestWhole {
		advance = w.whole
	}
	resumed, err := remote.Persist(ctx, func() int64 { return w.session.Offset }, advance)
	transfer := remote.Transfer{Sent: w.sent, Resumed: resumed}
	if err != nil {
		if w.session.ID != "" {
			cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
			defer cancel()
			_ = r.options.Registry.CancelUpload(cleanup, w.repository, w.session.ID) // else it expires
		}
		return transfer, fmt.Errorf("write blob %s %s: %w", repository, blob.Digest, err)
	}
	return transfer, nil
}

// write is a blob on its way here.
type write struct {
	Registry
	repository oci.Repository
	blob       oci.Descriptor
	session    registry.Session
	open       func(ctx context.Context, offset int64) (io.ReadCloser, error)
	sent       int64
}

// whole takes the blob from its beginning to its end.
func (w *write) whole(ctx context.Context) error {
	content, err := w.open(ctx, 0)
	if err != nil {
		return err
	}
	_, err = w.options.Registry.PutBlob(ctx, w.repository, w.blob.Digest, w.rest(content))
	_ = content.Close() // what was read of it was read
	return broken(err)
}

// advance takes the blob from where it is to its end, or to a fault.
func (w *write) advance(ctx context.Context) (err error) {
	if w.session.ID == "" {
		if w.session, err = w.options.Registry.StartUpload(ctx, w.actor, w.repository, w.blob.Digest.Algorithm()); err != nil {
			return remote.Final(err)
		}
	}
	content, err := w.open(ctx, w.session.Offset)
	if err != nil {
		return err
	}
	start := w.session.Offset
	_, err = w.options.Registry.FinishUpload(ctx, w.repository, w.session.ID, &start, w.rest(content), w.blob.Digest)
	_ = content.Close() // what was read of it was read
	if err = broken(err); err == nil || ctx.Err() != nil {
		return err
	}
	session, lost := w.options.Registry.UploadStatus(ctx, w.repository, w.session.ID)
	if lost != nil {
		return remote.Final(err)
	}
	w.session = session
	return err
}

// broken returns the fault of the source, and marks others: they are this registry's.
func broken(err error) error {
	if interrupted, ok := errors.AsType[*registry.InterruptedError](err); ok {
		return interrupted.Err
	}
	if err != nil {
		return remote.Final(err)
	}
	return nil
}

// rest reads what there is to come of the blob.
func (w *write) rest(content io.Reader) io.Reader {
	return &rest{content, w.blob.Size - w.session.Offset, &w.sent}
}

// rest reads so many bytes, neither more nor less, and counts them.
type rest struct {
	content io.Reader
	left    int64
	n       *int64
}

// Read reads on. An end that comes too early is an error.
func (r *rest) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	n, err := r.content.Read(p[:min(int64(len(p)), r.left)])
	r.left -= int64(n)
	*r.n += int64(n)
	switch {
	case r.left == 0:
		return n, nil
	case errors.Is(err, io.EOF):
		return n, io.ErrUnexpectedEOF
	}
	return n, err
}

// PutManifest implements [replicate.Destination].
func (r Registry) PutManifest(ctx context.Context, repository, reference string, manifest remote.Manifest) error {
	parsed, err := oci.ParseReference(reference)
	if err != nil {
		return err
	}
	_, err = r.options.Registry.PutManifest(ctx, r.actor, registry.Push{
		Repository: oci.Repository(repository), Reference: parsed, ContentType: manifest.MediaType, Payload: manifest.Payload, Sparse: manifest.Sparse,
	})
	return err
}

// DeleteManifest implements [replicate.ManifestDeleter].
func (r Registry) DeleteManifest(ctx context.Context, repository, digest string) error {
	parsed, err := oci.ParseReference(digest)
	if err != nil {
		return err
	}
	if err := missing(r.options.Registry.DeleteManifest(ctx, r.actor, oci.Repository(repository), parsed)); !errors.Is(err, remote.ErrNotFound) {
		return err
	}
	return nil
}

// DeleteTag implements [adapter.TagDeleter].
func (r Registry) DeleteTag(ctx context.Context, repository, tag string) error {
	return r.DeleteManifest(ctx, repository, tag)
}

// Repositories implements [replicate.Repositories].
func (r Registry) Repositories(ctx context.Context, prefix string, fn func(names []string) error) error {
	last := ""
	if prefix != "" {
		last = prefix[:len(prefix)-1] // which comes before all that begin with it
	}
	for {
		names, more, err := r.options.Registry.Catalog(ctx, metadata.Visibility{All: true}, last, pageSize)
		if err != nil {
			return err
		}
		page := make([]string, 0, len(names))
		for _, name := range names {
			if strings.HasPrefix(string(name), prefix) {
				page = append(page, string(name))
			}
			last = string(name)
		}
		if err := fn(page); err != nil {
			return err
		}
		if !more || last > prefix && !strings.HasPrefix(last, prefix) {
			return nil
		}
	}
}

// Artifacts implements [adapter.Artifacts].
func (r Registry) Artifacts(ctx context.Context, repository string, fn func([]adapter.Artifact) error) error {
	row, err := r.options.Store.Repository(ctx, oci.Repository(repository))
	if errors.Is(err, metadata.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	q := metadata.Query{Limit: pageSize}
	for {
		rows, _, err := r.options.Store.ListArtifacts(ctx, metadata.Collection{RepositoryID: row.ID}, q)
		if err != nil || len(rows) == 0 {
			return err
		}
		page, err := r.described(ctx, rows)
		if err != nil {
			return err
		}
		if err := fn(page); err != nil {
			return err
		}
		q.After = rows[len(rows)-1].Place()
	}
}

// described returns artifacts with their tags and labels.
func (r Registry) described(ctx context.Context, rows []metadata.Artifact) ([]adapter.Artifact, error) {
	ids := make([]int64, len(rows))
	for i, row := range rows {
		ids[i] = row.ID
	}
	tags, err := r.options.Store.TagsOf(ctx, ids, maxTags)
	if err != nil {
		return nil, err
	}
	labels, err := r.options.Store.LabelsOf(ctx, ids, maxTags)
	if err != nil {
		return nil, err
	}
	page := make([]adapter.Artifact, len(rows))
	for i, row := range rows {
		page[i] = adapter.Artifact{Digest: row.Digest, Image: row.Facts.Kind == "IMAGE"}
		for _, tag := range tags[row.ID] {
			page[i].Tags = append(page[i].Tags, tag.Name)
		}
		for _, label := range labels[row.ID] {
			page[i].Labels = append(page[i].Labels, label.Name)
		}
	}
	return page, nil
}

// maxTags is how many tags and labels of one artifact count.
const maxTags = 10_000

// Prepare implements [adapter.Preparer]: it makes the project. One that is a cache of another registry takes nothing else.
func (r Registry) Prepare(ctx context.Context, repository string, public bool) error {
	if _, err := oci.ParseRepository(repository); err != nil {
		return err
	}
	name, _, nested := strings.Cut(repository, "/")
	if !nested {
		return fault.New(fault.Invalid, "%q names no project: give the policy a destination namespace", repository)
	}
	switch there, err := r.options.Store.Project(ctx, name); {
	case err == nil && there.RegistryID != 0:
		return fault.New(fault.Unsupported, "project %q is a cache of another registry, and takes nothing else", name)
	case !errors.Is(err, metadata.ErrNotFound):
		return err
	}
	_, err := r.options.Projects.Create(ctx, r.actor, identity.Principal{}, project.Wanted{
		Name: name, Metadata: map[string]string{"public": fmt.Sprint(public)},
	})
	if fault.Of(err) == fault.Conflict {
		return nil // somebody was faster
	}
	return err
}
