package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
)

// Push is one manifest push.
type Push struct {
	Repository oci.Repository
	Reference  oci.Reference
	// Tags are set besides the reference's own.
	Tags        []string
	ContentType string
	Payload     []byte
	// Sparse takes an index that lists manifests which the repository does not have: a copy of some of its platforms.
	Sparse bool
}

// Pushed is what a manifest push has made.
type Pushed struct {
	Digest oci.Digest
	// Subject is the digest that the manifest refers to, empty for none.
	Subject oci.Digest
}

// PutManifest stores a manifest byte for byte and moves its tags, all in one transaction. The error is an [*oci.Error]: that of
// [oci.ParseManifest]; with [oci.CodeDigestInvalid] when the payload has another digest than the reference; with
// [oci.CodeManifestBlobUnknown] when the repository lacks what the manifest refers to, all of it named in the detail; with
// [oci.CodeNameUnknown] when the project does not exist; with [oci.CodeDenied], around a [*fault.Error] of [fault.Exceeded], when
// it would exceed the project's quota. A missing subject is no error.
func (r *Registry) PutManifest(ctx context.Context, actor event.Actor, push Push) (Pushed, error) {
	needed := needAll
	if push.Sparse {
		needed = needBlobs
	}
	return r.push(ctx, actor, push, needed)
}

// need says which of the references of a manifest its repository has to have.
type need int

const (
	needAll need = iota
	needBlobs
	needNone
)

func (r *Registry) push(ctx context.Context, actor event.Actor, push Push, needed need) (Pushed, error) {
	algorithm := oci.SHA256
	if push.Reference.Digest != "" {
		algorithm = push.Reference.Digest.Algorithm()
	}
	digest := algorithm.FromBytes(push.Payload)
	if push.Reference.Digest != "" && push.Reference.Digest != digest {
		return Pushed{}, oci.NewError(oci.CodeDigestInvalid, "the manifest that arrived has the digest %s, not %s", digest, push.Reference.Digest)
	}
	manifest, err := oci.ParseManifest(push.ContentType, push.Payload)
	if err != nil {
		if oci.HasCode(err, oci.CodeSizeInvalid) {
			err = &oci.Error{Code: oci.CodeSizeInvalid, Status: http.StatusRequestEntityTooLarge, Message: "the manifest is too large", Err: err}
		}
		return Pushed{}, err
	}
	tags := slices.Clone(push.Tags)
	if push.Reference.Tag != "" {
		tags = append(tags, push.Reference.Tag)
	}
	slices.Sort(tags)
	tags = slices.Compact(tags)

	enforce := r.enforce(ctx)
	err = r.metadata.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		owner, err := r.own(ctx, tx, push.Repository, manifest, tags, needed)
		if err != nil {
			return err
		}
		return r.putManifest(ctx, tx, actor, owner, digest, manifest, tags, needed, enforce)
	})
	if err != nil {
		return Pushed{}, metadataError("store manifest "+digest.String(), r.exceeded(ctx, actor, push, err))
	}
	r.tellPushed()
	r.manifests.drop(contentKey{push.Repository, digest})
	for _, tag := range tags {
		r.tags.drop(tagKey{push.Repository, tag})
	}
	pushed := Pushed{Digest: digest}
	if manifest.Subject != nil {
		pushed.Subject = manifest.Subject.Digest
	}
	return pushed, nil
}

// tellPushed has configs read that were not read yet.
func (r *Registry) tellPushed() {
	select {
	case r.pushed <- struct{}{}:
	default:
	}
}

// own returns the repository that a manifest is pushed to, which it makes when there is none. Pushes to one repository wait for each
// other only when they move the same tag, or when one may list what another brings: neither would count the other.
func (r *Registry) own(ctx context.Context, tx *metadata.Tx, repository oci.Repository, manifest *oci.Manifest, tags []string, needed need) (metadata.Repository, error) {
	own := func() (metadata.Repository, error) { return tx.KeepRepository(ctx, repository, tags) }
	if needed != needAll && slices.ContainsFunc(manifest.References, listed) {
		own = func() (metadata.Repository, error) { return tx.LockRepository(ctx, repository) }
	}
	owner, err := own()
	if errors.Is(err, metadata.ErrNotFound) {
		if _, err := ensureRepository(ctx, tx, repository); err != nil {
			return metadata.Repository{}, err
		}
		owner, err = own()
	}
	return owner, err
}

// putManifest stores a manifest in a repository that the transaction has locked or keeps.
func (r *Registry) putManifest(ctx context.Context, tx *metadata.Tx, actor event.Actor, owner metadata.Repository, digest oci.Digest, manifest *oci.Manifest, tags []string, needed need, enforce bool) error {
	repository := owner.Name
	if err := checkReferences(ctx, tx, repository, manifest.References, needed); err != nil {
		return err
	}
	row := metadata.Manifest{
		RepositoryID: owner.ID, Digest: digest, MediaType: manifest.MediaType, ArtifactType: manifest.ArtifactType,
		Annotations: manifest.Annotations, Payload: manifest.Payload, Size: int64(len(manifest.Payload)),
		References: manifest.References, Facts: factsOf(manifest),
	}
	if manifest.Subject != nil {
		row.Subject = manifest.Subject.Digest
	}
	_, added, err := tx.PutManifest(ctx, row)
	if err != nil {
		return fmt.Errorf("put manifest: %w", err)
	}

	pushed := r.event(event.ManifestPushed, actor, repository)
	pushed.Digest, pushed.MediaType, pushed.Size = digest.String(), manifest.MediaType, row.Size
	if len(tags) > 0 {
		pushed.Tag = tags[0]
	}
	if err := tx.AppendEvent(ctx, pushed); err != nil {
		return err
	}
	for _, tag := range tags {
		if err := r.moveTag(ctx, tx, pushed, owner, tag); err != nil {
			return err
		}
	}
	// Last, so that others who push to the project wait as little as can be for what this locks.
	return r.charge(ctx, tx, pushed, owner.ProjectID, added, enforce)
}

// moveTag lets a tag stand for the manifest that the event tells of.
func (r *Registry) moveTag(ctx context.Context, tx *metadata.Tx, pushed event.Event, owner metadata.Repository, tag string) error {
	digest := oci.Digest(pushed.Digest)
	previous, err := tx.PutTag(ctx, owner.ID, tag, digest, r.now())
	if err != nil {
		return fmt.Errorf("put tag %s: %w", tag, err)
	}
	if accessory, subject := accessoryTag(tag); accessory != "" && subject != digest {
		if err := tx.MarkAccessory(ctx, owner.ID, digest, accessory, subject); err != nil {
			return err
		}
	}
	if previous == digest {
		return nil
	}
	moved := pushed
	moved.Kind, moved.Tag = event.TagCreated, tag
	if previous != "" {
		moved.Kind = event.TagMoved
		if err := mayChange(ctx, tx.Reader, owner, []string{tag}); err != nil {
			return err
		}
	}
	return tx.AppendEvent(ctx, moved)
}

// listed reports whether an index lists the reference.
func listed(reference oci.ManifestReference) bool { return reference.Kind == oci.ReferenceManifest }

// checkReferences refuses a manifest that needs what the repository does not have, and names all of it.
func checkReferences(ctx context.Context, tx *metadata.Tx, repository oci.Repository, references []oci.ManifestReference, needed need) error {
	if needed == needNone {
		return nil
	}
	if needed == needBlobs {
		references = slices.DeleteFunc(slices.Clone(references), listed)
	}
	var blobs, manifests []oci.Digest
	for _, reference := range references {
		switch {
		case reference.Foreign():
		case listed(reference):
			manifests = append(manifests, reference.Descriptor.Digest)
		default:
			blobs = append(blobs, reference.Descriptor.Digest)
		}
	}
	linked, err := tx.Blobs(ctx, repository, blobs)
	if err != nil {
		return fmt.Errorf("look up blobs: %w", err)
	}
	present, err := tx.Manifests(ctx, repository, manifests)
	if err != nil {
		return fmt.Errorf("look up manifests: %w", err)
	}
	var missing []oci.Descriptor
	for _, reference := range references {
		d := reference.Descriptor.Digest
		if reference.Foreign() || linked[d] && !listed(reference) || present[d] && listed(reference) {
			continue
		}
		missing = append(missing, oci.Descriptor{MediaType: reference.Descriptor.MediaType, Digest: d, Size: reference.Descriptor.Size})
	}
	if len(missing) == 0 {
		return nil
	}
	return &oci.Error{
		Code:    oci.CodeManifestBlobUnknown,
		Message: fmt.Sprintf("the manifest refers to content that repository %q does not have, first %s", repository, missing[0].Digest),
		Detail:  missing,
	}
}
