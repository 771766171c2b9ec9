package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
)

// manifestOverhead is about what a cached manifest costs besides its payload.
const manifestOverhead = 1 << 10

// Manifest returns the manifest behind a reference; its annotations and references are not loaded, and its payload must not be
// changed. The error is an [*oci.Error] with [oci.CodeManifestUnknown] when the repository has none.
func (r *Registry) Manifest(ctx context.Context, repository oci.Repository, reference oci.Reference) (metadata.Manifest, error) {
	if reference.Digest != "" {
		return r.manifest(ctx, repository, reference, reference.Digest)
	}
	digest, cached, err := r.resolve(ctx, repository, reference)
	if err != nil {
		return metadata.Manifest{}, err
	}
	manifest, err := r.manifest(ctx, repository, reference, digest)
	if cached && oci.HasCode(err, oci.CodeManifestUnknown) {
		// Another gateway moved the tag and deleted what it stood for.
		r.tags.drop(tagKey{repository, reference.Tag})
		if digest, _, err = r.resolve(ctx, repository, reference); err == nil {
			manifest, err = r.manifest(ctx, repository, reference, digest)
		}
	}
	return manifest, err
}

// resolve returns the digest that a tag stands for, and whether it is from the cache.
func (r *Registry) resolve(ctx context.Context, repository oci.Repository, reference oci.Reference) (oci.Digest, bool, error) {
	key := tagKey{repository, reference.Tag}
	digest, epoch, found := r.tags.get(key)
	if found {
		return digest, true, nil
	}
	digest, err := r.metadata.Tag(ctx, repository, reference.Tag)
	if errors.Is(err, metadata.ErrNotFound) {
		return "", false, manifestUnknown(repository, reference)
	}
	if err != nil {
		return "", false, metadataError("read tag "+reference.Named(repository), err)
	}
	r.tags.put(key, digest, epoch)
	return digest, false, nil
}

func (r *Registry) manifest(ctx context.Context, repository oci.Repository, reference oci.Reference, digest oci.Digest) (metadata.Manifest, error) {
	key := contentKey{repository, digest}
	manifest, epoch, found := r.manifests.get(key)
	if found {
		return manifest, nil
	}
	manifest, err := r.metadata.Manifest(ctx, repository, digest)
	if errors.Is(err, metadata.ErrNotFound) {
		return manifest, manifestUnknown(repository, reference)
	}
	if err != nil {
		return manifest, metadataError("read manifest "+reference.Named(repository), err)
	}
	manifest.Annotations, manifest.References = nil, nil
	r.manifests.put(key, manifest, epoch)
	return manifest, nil
}

func manifestUnknown(repository oci.Repository, reference oci.Reference) error {
	return &oci.Error{
		Code: oci.CodeManifestUnknown, Message: fmt.Sprintf("manifest %s does not exist", reference.Named(repository)),
		Detail: map[string]any{"name": repository, "reference": reference.String()},
	}
}

// DeleteManifest deletes a manifest and the tags that stand for it when the reference is a digest, and only the tag when it is a
// tag. The error is an [*oci.Error] with [oci.CodeManifestUnknown] when there is none.
func (r *Registry) DeleteManifest(ctx context.Context, actor event.Actor, repository oci.Repository, reference oci.Reference) error {
	d := r.deleting(ctx, actor)
	err := r.metadata.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		owner, err := tx.LockRepository(ctx, repository)
		if err != nil {
			return err
		}
		if reference.Tag != "" {
			return r.deleteTag(ctx, tx, d, owner, reference.Tag)
		}
		_, err = r.deleteManifest(ctx, tx, d, owner, reference.Digest)
		return err
	})
	if reference.Tag != "" {
		r.InvalidateTag(repository, reference.Tag)
	} else {
		r.InvalidateManifest(repository, reference.Digest)
	}
	if errors.Is(err, metadata.ErrNotFound) {
		return manifestUnknown(repository, reference)
	}
	return metadataError("delete "+reference.Named(repository), err)
}

func (r *Registry) deleteTag(ctx context.Context, tx *metadata.Tx, d deleting, owner metadata.Repository, tag string) error {
	digest, err := tx.Tag(ctx, owner.Name, tag)
	if err != nil {
		return err
	}
	if err := mayChange(ctx, tx.Reader, owner, []string{tag}); err != nil {
		return err
	}
	if d.keeps() {
		if err := tx.KeepTag(ctx, owner.ID, digest, d.row(tag)); err != nil {
			return err
		}
	}
	if err := tx.DeleteTag(ctx, owner.ID, tag); err != nil {
		return err
	}
	deleted := r.event(event.TagDeleted, d.actor, owner.Name)
	deleted.Tag, deleted.Digest = tag, digest.String()
	return tx.AppendEvent(ctx, deleted)
}

// deleteManifest deletes a manifest with its tags and returns the id of the deletion, 0 where it cannot be undone.
func (r *Registry) deleteManifest(ctx context.Context, tx *metadata.Tx, d deleting, owner metadata.Repository, digest oci.Digest) (id int64, err error) {
	if d.keeps() {
		if id, err = tx.KeepManifest(ctx, owner.ID, digest, d.row()); err != nil {
			return 0, err
		}
	}
	tags, err := tx.DeleteManifest(ctx, owner.ID, digest)
	if err == nil && d.keeps() {
		err = tx.TagDeletion(ctx, id, tags)
	}
	if err != nil {
		return 0, err
	}
	if err := mayChange(ctx, tx.Reader, owner, tags); err != nil {
		return 0, err
	}
	deleted := r.event(event.ManifestDeleted, d.actor, owner.Name)
	deleted.Digest = digest.String()
	details, err := json.Marshal(event.Deletion{Tags: tags})
	if err != nil {
		return 0, fmt.Errorf("details of a deletion: %w", err)
	}
	deleted.Details = string(details)
	if err := tx.AppendEvent(ctx, deleted); err != nil {
		return 0, err
	}
	deleted.Details = ""
	for _, tag := range tags {
		gone := deleted
		gone.Kind, gone.Tag = event.TagDeleted, tag
		if err := tx.AppendEvent(ctx, gone); err != nil {
			return 0, err
		}
	}
	return id, nil
}
