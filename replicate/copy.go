// Package replicate copies content between registries: what is there already is left, what another repository has is mounted, what
// breaks goes on where it broke, and what belongs together travels together.
package replicate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"

	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/replicate/remote"
)

// Source is a registry that content is copied from; [remote.Registry] is one. What does not exist is an error that wraps
// [remote.ErrNotFound].
type Source interface {
	Manifest(ctx context.Context, repository, reference string) (remote.Manifest, error)
	ReadBlob(ctx context.Context, repository string, digest oci.Digest, offset int64) (io.ReadCloser, error)
	Referrers(ctx context.Context, repository string, subject oci.Digest) ([]oci.Descriptor, error)
}

// Destination is a registry that content is copied to; [remote.Registry] is one.
type Destination interface {
	Resolve(ctx context.Context, repository, reference string) (oci.Digest, error)
	HasBlob(ctx context.Context, repository string, digest oci.Digest) (bool, error)
	MountBlob(ctx context.Context, repository, from string, digest oci.Digest) (bool, error)
	WriteBlob(ctx context.Context, repository string, blob oci.Descriptor, open func(ctx context.Context, offset int64) (io.ReadCloser, error)) (remote.Transfer, error)
	PutManifest(ctx context.Context, repository, reference string, manifest remote.Manifest) error
}

// DefaultTransfers is how many blobs move at once. Each streams through a buffer of the connection's size, whatever its own.
const DefaultTransfers = 4

// CopierOptions set a [Copier] up.
type CopierOptions struct {
	Source      Source
	Destination Destination
	// Shared is what copiers of the same two registries have in common; nil makes one with the defaults.
	Shared *Shared
	// Override moves tags of the destination that stand for something else.
	Override bool
	// Platforms, when there are any, are those of an index's images that are copied; the index stays as it is and lists the others
	// all the same.
	Platforms []oci.Platform
	// Find, when it is set, names a repository of the destination that has a blob, "" for none that is known.
	Find func(ctx context.Context, digest oci.Digest) (string, error)
	// Log is told what happens, a line each, for people; nil tells nobody.
	Log func(line string)
}

// Shared is what copiers between the same two registries have in common: which blobs have been moved, how many move at once, and how
// fast.
type Shared struct {
	turns   *semaphore.Weighted
	limiter *rate.Limiter // nil without a limit

	mu    sync.Mutex
	moved map[oci.Digest]*movement
}

// NewShared returns it for copiers that move so many blobs at once, 0 for [DefaultTransfers], and all together so many bytes each
// second, 0 for no limit.
func NewShared(transfers, bytesPerSecond int64) *Shared {
	if transfers == 0 {
		transfers = DefaultTransfers
	}
	s := &Shared{turns: semaphore.NewWeighted(transfers), moved: map[oci.Digest]*movement{}}
	if bytesPerSecond > 0 {
		s.limiter = rate.NewLimiter(rate.Limit(bytesPerSecond), burst)
	}
	return s
}

// Copier copies artifacts from one registry to another. It moves each blob once, however many artifacts have it and however many
// are copied at once. Its methods may be called from many goroutines.
type Copier struct {
	*Shared
	options CopierOptions
	sent    atomic.Int64
}

// movement is a blob on its way to the destination, or there.
type movement struct {
	done chan struct{}
	// repository of the destination has it when done is closed and err is nil.
	repository string
	err        error
}

const (
	// blobsAtOnce is how many blobs of one manifest are looked after at once: a manifest can name tens of thousands.
	blobsAtOnce = 16
	// maxManifests bounds what belongs to one artifact: an index of indexes can name any number.
	maxManifests = 20_000
)

// burst is the most that the limit lets through at once, in bytes: enough for any buffer that is read into.
const burst = 1 << 20

// NewCopier returns a copier.
func NewCopier(options CopierOptions) *Copier {
	if options.Shared == nil {
		options.Shared = NewShared(0, 0)
	}
	if options.Log == nil {
		options.Log = func(string) {}
	}
	return &Copier{Shared: options.Shared, options: options}
}

// Sent returns how many bytes of blobs have been sent to the destination, those that were sent again too.
func (c *Copier) Sent() int64 { return c.sent.Load() }

// Outcome is what became of an artifact.
type Outcome string

// The outcomes.
const (
	// Copied: it is there now.
	Copied Outcome = "copied"
	// Present: it was there already.
	Present Outcome = "present"
	// Kept: the tag stands for something else there, which may not be overridden.
	Kept Outcome = "kept"
)

// Copy copies the artifact that a reference of the source's repository names, with all that it lists and all that is attached to
// any of it, and gives it the same reference in a repository of the destination. A tag that moves at the source meanwhile is followed.
func (c *Copier) Copy(ctx context.Context, from, reference, to string) (Outcome, error) {
	manifest, err := c.options.Source.Manifest(ctx, from, reference)
	if err != nil {
		return "", err
	}
	there, err := c.options.Destination.Resolve(ctx, to, reference)
	switch {
	case err != nil && !errors.Is(err, remote.ErrNotFound):
		return "", err
	case there != "" && there != manifest.Digest && !c.options.Override:
		c.logf("%s %s: the destination has %s under this tag and keeps it, as override is off", to, reference, there)
		return Kept, nil
	}
	a := &artifactCopy{Copier: c, from: from, to: to, visited: map[oci.Digest]bool{}}
	if there == manifest.Digest {
		c.logf("%s %s: the destination has %s already", to, reference, there)
		a.visited[manifest.Digest] = true
		return Present, a.allAttachments(ctx, manifest)
	}
	for {
		if err := a.tree(ctx, &manifest); err != nil {
			return "", fmt.Errorf("copy %s %s: %w", from, reference, err)
		}
		if reference == manifest.Digest.String() {
			break
		}
		now, err := c.options.Source.Manifest(ctx, from, reference)
		if err != nil {
			return "", err
		}
		if now.Digest == manifest.Digest {
			if err := c.options.Destination.PutManifest(ctx, to, reference, manifest); err != nil {
				return "", err
			}
			break
		}
		c.logf("%s %s: the source has moved it to %s meanwhile", from, reference, now.Digest)
		manifest = now
	}
	c.logf("%s %s: copied %s", to, reference, manifest.Digest)
	return Copied, a.attachments(ctx, manifest.Digest)
}

func (c *Copier) logf(format string, args ...any) { c.options.Log(fmt.Sprintf(format, args...)) }

// artifactCopy is one artifact on its way.
type artifactCopy struct {
	*Copier
	from, to string
	visited  map[oci.Digest]bool
}

// tree copies what a manifest refers to and then the manifest, by its digest, so that nothing there ever lacks a part. It notes in the
// manifest when a part is left out on purpose.
func (a *artifactCopy) tree(ctx context.Context, manifest *remote.Manifest) error {
	if a.visited[manifest.Digest] {
		return nil
	}
	if a.visited[manifest.Digest] = true; len(a.visited) > maxManifests {
		return fmt.Errorf("more than %d manifests belong to the artifact", maxManifests)
	}
	there, err := a.options.Destination.Resolve(ctx, a.to, manifest.Digest.String())
	if err == nil && there == manifest.Digest {
		a.logf("manifest %s: present", manifest.Digest)
		return nil
	}
	if err != nil && !errors.Is(err, remote.ErrNotFound) {
		return err
	}
	parsed, err := oci.ParseManifest(manifest.MediaType, manifest.Payload)
	if err != nil {
		return fmt.Errorf("manifest %s: %w", manifest.Digest, err)
	}
	blobs, transferCtx := errgroup.WithContext(ctx)
	blobs.SetLimit(blobsAtOnce)
	for _, reference := range parsed.References {
		switch {
		case reference.Foreign():
			a.logf("layer %s: lives elsewhere, by its media type", reference.Descriptor.Digest)
		case reference.Kind != oci.ReferenceManifest:
			blobs.Go(func() error { return a.blob(transferCtx, reference.Descriptor) })
		case !a.wanted(reference.Descriptor, parsed):
			a.logf("manifest %s: left out, it is for %s", reference.Descriptor.Digest, platformName(reference.Descriptor.Platform))
			manifest.Sparse = true
		default:
			has, err := a.child(ctx, reference.Descriptor.Digest)
			if err != nil {
				return errors.Join(err, blobs.Wait())
			}
			manifest.Sparse = manifest.Sparse || !has
		}
	}
	if err := blobs.Wait(); err != nil {
		return err
	}
	return a.options.Destination.PutManifest(ctx, a.to, manifest.Digest.String(), *manifest)
}

// child copies a manifest that an index lists, and what is attached to it, and reports whether the source has it.
func (a *artifactCopy) child(ctx context.Context, digest oci.Digest) (bool, error) {
	if a.visited[digest] {
		return true, nil
	}
	manifest, err := a.options.Source.Manifest(ctx, a.from, digest.String())
	if errors.Is(err, remote.ErrNotFound) {
		a.logf("manifest %s: the source lists it and does not have it", digest)
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := a.tree(ctx, &manifest); err != nil {
		return false, err
	}
	return true, a.attachments(ctx, digest)
}

// allAttachments copies what is attached to a manifest that is there, and to what it lists.
func (a *artifactCopy) allAttachments(ctx context.Context, manifest remote.Manifest) error {
	parsed, err := oci.ParseManifest(manifest.MediaType, manifest.Payload)
	if err != nil {
		return fmt.Errorf("manifest %s: %w", manifest.Digest, err)
	}
	for _, reference := range parsed.References {
		if reference.Kind == oci.ReferenceManifest && a.wanted(reference.Descriptor, parsed) {
			if err := a.attachments(ctx, reference.Descriptor.Digest); err != nil {
				return err
			}
		}
	}
	return a.attachments(ctx, manifest.Digest)
}

// attachments copies what refers to a manifest as its subject: signatures, SBOMs, attestations, and what is attached to these; and
// what cosign ties to it by a tag.
func (a *artifactCopy) attachments(ctx context.Context, subject oci.Digest) error {
	referrers, err := a.options.Source.Referrers(ctx, a.from, subject)
	if err != nil {
		return err
	}
	for _, referrer := range referrers {
		if a.visited[referrer.Digest] {
			continue
		}
		if _, err := a.child(ctx, referrer.Digest); err != nil {
			return fmt.Errorf("attachment %s of %s: %w", referrer.Digest, subject, err)
		}
	}
	for _, suffix := range attachedBy {
		if err := a.attachedTag(ctx, strings.Replace(subject.String(), ":", "-", 1)+suffix); err != nil {
			return err
		}
	}
	return nil
}

// attachedBy are the ends of tags by which cosign ties signatures, attestations and SBOMs to the digest in front.
var attachedBy = []string{".sig", ".att", ".sbom"}

// attachedTag copies what a tag of cosign stands for, where there is one.
func (a *artifactCopy) attachedTag(ctx context.Context, tag string) error {
	manifest, err := a.options.Source.Manifest(ctx, a.from, tag)
	if errors.Is(err, remote.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	there, err := a.options.Destination.Resolve(ctx, a.to, tag)
	if err != nil && !errors.Is(err, remote.ErrNotFound) {
		return err
	}
	if there == manifest.Digest || there != "" && !a.options.Override {
		return nil
	}
	if err := a.tree(ctx, &manifest); err != nil {
		return fmt.Errorf("attachment %s: %w", tag, err)
	}
	a.logf("attachment %s: copied", tag)
	return a.options.Destination.PutManifest(ctx, a.to, tag, manifest)
}

// wanted reports whether an image of an index is of a platform that is copied. What has no platform, or describes an image that is
// copied as buildkit's attestations do, is.
func (a *artifactCopy) wanted(image oci.Descriptor, index *oci.Manifest) bool {
	if len(a.options.Platforms) == 0 || image.Platform == nil {
		return true
	}
	if about := image.Annotations["vnd.docker.reference.digest"]; about != "" {
		return slices.ContainsFunc(index.References, func(r oci.ManifestReference) bool {
			return r.Descriptor.Digest.String() == about && r.Descriptor.Annotations["vnd.docker.reference.digest"] == "" && a.wanted(r.Descriptor, index)
		})
	}
	return slices.ContainsFunc(a.options.Platforms, func(p oci.Platform) bool {
		return p.OS == image.Platform.OS && p.Architecture == image.Platform.Architecture && (p.Variant == "" || p.Variant == image.Platform.Variant)
	})
}

func platformName(p *oci.Platform) string {
	if p == nil {
		return "no platform"
	}
	name := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		name += "/" + p.Variant
	}
	return name
}

// blob brings a blob to the destination's repository, moving it only when no other copy has or does.
func (a *artifactCopy) blob(ctx context.Context, blob oci.Descriptor) error {
	for {
		a.mu.Lock()
		other, known := a.moved[blob.Digest]
		if !known {
			other = &movement{done: make(chan struct{}), repository: a.to}
			a.moved[blob.Digest] = other
		}
		a.mu.Unlock()
		if !known {
			other.err = a.move(ctx, blob)
			if other.err != nil {
				a.mu.Lock()
				delete(a.moved, blob.Digest) // whoever waits tries for themselves
				a.mu.Unlock()
			}
			close(other.done)
			return other.err
		}
		select {
		case <-other.done:
		case <-ctx.Done():
			return ctx.Err()
		}
		if other.err != nil {
			continue
		}
		if other.repository == a.to {
			return nil
		}
		return a.mount(ctx, blob, other.repository)
	}
}

// mount links a blob that a repository of the destination has, or moves it where the destination does not do that.
func (a *artifactCopy) mount(ctx context.Context, blob oci.Descriptor, from string) error {
	if has, err := a.options.Destination.HasBlob(ctx, a.to, blob.Digest); err != nil || has {
		return err
	}
	mounted, err := a.options.Destination.MountBlob(ctx, a.to, from, blob.Digest)
	if err != nil || !mounted {
		return errors.Join(err, a.move(ctx, blob))
	}
	a.logf("blob %s: mounted from %s", blob.Digest, from)
	return nil
}

// move streams a blob from the source to the destination, unless it is there.
func (a *artifactCopy) move(ctx context.Context, blob oci.Descriptor) error {
	if err := a.turns.Acquire(ctx, 1); err != nil {
		return err
	}
	defer a.turns.Release(1)
	has, err := a.options.Destination.HasBlob(ctx, a.to, blob.Digest)
	if err != nil {
		return err
	}
	if has {
		a.logf("blob %s: present", blob.Digest)
		return nil
	}
	if mounted, err := a.found(ctx, blob.Digest); err != nil || mounted {
		return err
	}
	began := time.Now()
	transfer, err := a.options.Destination.WriteBlob(ctx, a.to, blob, func(ctx context.Context, offset int64) (io.ReadCloser, error) {
		content, err := a.options.Source.ReadBlob(ctx, a.from, blob.Digest, offset)
		if err != nil || a.limiter == nil {
			return content, err
		}
		return &limited{ReadCloser: content, ctx: ctx, limiter: a.limiter}, nil
	})
	a.sent.Add(transfer.Sent)
	if err != nil {
		return err
	}
	again := ""
	if transfer.Before > 0 {
		again = fmt.Sprintf(", %d of which had arrived before", transfer.Before)
	}
	if transfer.Resumed > 0 {
		again += fmt.Sprintf(", %d bytes sent as the connection broke %d times", transfer.Sent, transfer.Resumed)
	}
	took := time.Since(began)
	a.logf("blob %s: copied %d bytes in %s, %.1f MiB/s%s", blob.Digest, blob.Size, took.Round(time.Millisecond), float64(blob.Size)/took.Seconds()/(1<<20), again)
	return nil
}

// found links a blob that some other repository of the destination has, where one is known.
func (a *artifactCopy) found(ctx context.Context, digest oci.Digest) (bool, error) {
	if a.options.Find == nil {
		return false, nil
	}
	from, err := a.options.Find(ctx, digest)
	if err != nil || from == "" || from == a.to {
		return false, err
	}
	mounted, err := a.options.Destination.MountBlob(ctx, a.to, from, digest)
	if err != nil {
		a.logf("blob %s: cannot be mounted from %s: %v", digest, from, err)
		return false, ctx.Err()
	}
	if mounted {
		a.logf("blob %s: mounted from %s", digest, from)
	}
	return mounted, nil
}

// limited reads no faster than the limit.
type limited struct {
	io.ReadCloser
	ctx     context.Context
	limiter *rate.Limiter
}

// Read reads, and waits for what it has read.
func (l *limited) Read(p []byte) (int, error) {
	n, err := l.ReadCloser.Read(p[:min(len(p), burst)])
	if n > 0 {
		if waitErr := l.limiter.WaitN(l.ctx, n); waitErr != nil {
			return n, waitErr
		}
	}
	return n, err
}
