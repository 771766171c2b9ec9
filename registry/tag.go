package registry

import (
	"context"
	"errors"
	"fmt"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
)

// ArtifactTags returns a page of the tags of the artifact that a reference stands for, the newest first, and how many there are. The
// error is a [*fault.Error] of kind NotFound when there is no such artifact.
func (r *Registry) ArtifactTags(ctx context.Context, repository oci.Repository, reference oci.Reference, q metadata.Query) ([]metadata.ArtifactTag, int64, error) {
	artifact, err := r.metadata.Artifact(ctx, repository, reference)
	if err != nil {
		return nil, 0, artifactError(repository, reference, "read", err)
	}
	rows, total, err := turnTo(r, fmt.Sprint("tags ", artifact.ID), q, func(q metadata.Query) ([]metadata.ArtifactTag, int64, error) {
		return r.metadata.ListTags(ctx, artifact.ID, q)
	})
	return rows, total, artifactError(repository, reference, "list tags of", err)
}

// CreateTag lets a new tag stand for the artifact that the reference stands for. The error is a [*fault.Error]: NotFound for the
// artifact, Conflict when the repository has the tag, Invalid when it cannot be a tag.
func (r *Registry) CreateTag(ctx context.Context, actor event.Actor, repository oci.Repository, reference oci.Reference, tag string) error {
	if _, err := oci.ParseTag(tag); err != nil {
		return fault.New(fault.Invalid, "%q is no tag: it must be 1 to %d letters, digits, _ . or -, and may not begin with . or -", tag, oci.MaxTagLength)
	}
	err := r.metadata.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		owner, err := tx.LockRepository(ctx, repository)
		if err != nil {
			return err
		}
		if err := mayTake(ctx, tx.Reader, repository); err != nil {
			return err
		}
		artifact, err := tx.Artifact(ctx, repository, reference)
		if err != nil {
			return err
		}
		switch _, err := tx.Tag(ctx, repository, tag); {
		case err == nil:
			return fault.New(fault.Conflict, "tag %s exists already", oci.Reference{Tag: tag}.Named(repository))
		case !errors.Is(err, metadata.ErrNotFound):
			return err
		}
		created := r.event(event.TagCreated, actor, repository)
		created.Digest, created.MediaType, created.Size = artifact.Digest.String(), artifact.MediaType, artifact.Size
		return r.moveTag(ctx, tx, created, owner, tag)
	})
	r.InvalidateTag(repository, tag)
	return artifactError(repository, reference, "tag", err)
}

// DeleteTag takes a tag away from the artifact that the reference stands for, which stays. The error is a [*fault.Error] of kind
// NotFound when the artifact has no such tag, or an [*oci.Error] with [oci.CodePrecondition] when a rule protects it.
func (r *Registry) DeleteTag(ctx context.Context, actor event.Actor, repository oci.Repository, reference oci.Reference, tag string) error {
	d := r.deleting(ctx, actor)
	err := r.metadata.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		owner, err := tx.LockRepository(ctx, repository)
		if err != nil {
			return err
		}
		artifact, err := tx.Artifact(ctx, repository, reference)
		if err != nil {
			return err
		}
		digest, err := tx.Tag(ctx, repository, tag)
		if errors.Is(err, metadata.ErrNotFound) || err == nil && digest != artifact.Digest {
			return fault.New(fault.NotFound, "tag %q not found on artifact %s", tag, reference.Named(repository))
		}
		if err != nil {
			return err
		}
		return r.deleteTag(ctx, tx, d, owner, tag)
	})
	r.InvalidateTag(repository, tag)
	return artifactError(repository, reference, "delete a tag of", err)
}
