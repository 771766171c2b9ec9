package registry

import (
	"context"
	"errors"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
)

// LabelArtifact attaches a label of the registry or of the repository's project to the artifact that the reference stands for. The
// error is a [*fault.Error]: NotFound for the artifact or the label, Conflict when it is attached.
func (r *Registry) LabelArtifact(ctx context.Context, actor event.Actor, repository oci.Repository, reference oci.Reference, labelID int64) error {
	return r.changeLabel(ctx, event.ArtifactLabelled, actor, repository, reference, labelID, func(ctx context.Context, tx *metadata.Tx, manifestID int64) error {
		err := tx.LabelArtifact(ctx, labelID, manifestID)
		if errors.Is(err, metadata.ErrExists) {
			return fault.New(fault.Conflict, "artifact %s has label %d already", reference.Named(repository), labelID)
		}
		return err
	})
}

// UnlabelArtifact takes a label from the artifact that the reference stands for. The error is a [*fault.Error] of kind NotFound when
// the artifact does not exist or does not have it.
func (r *Registry) UnlabelArtifact(ctx context.Context, actor event.Actor, repository oci.Repository, reference oci.Reference, labelID int64) error {
	return r.changeLabel(ctx, event.ArtifactUnlabelled, actor, repository, reference, labelID, func(ctx context.Context, tx *metadata.Tx, manifestID int64) error {
		err := tx.UnlabelArtifact(ctx, labelID, manifestID)
		if errors.Is(err, metadata.ErrNotFound) {
			return fault.New(fault.NotFound, "artifact %s does not have label %d", reference.Named(repository), labelID)
		}
		return err
	})
}

func (r *Registry) changeLabel(ctx context.Context, kind event.Kind, actor event.Actor, repository oci.Repository, reference oci.Reference, labelID int64, change func(ctx context.Context, tx *metadata.Tx, manifestID int64) error) error {
	err := r.metadata.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		artifact, err := tx.Artifact(ctx, repository, reference)
		if err != nil {
			return err
		}
		label, err := tx.KeepLabel(ctx, labelID)
		if errors.Is(err, metadata.ErrNotFound) || err == nil && label.ProjectID != 0 && label.ProjectID != artifact.ProjectID {
			return fault.New(fault.NotFound, "label %d not found for project %s", labelID, repository.Project())
		}
		if err != nil {
			return err
		}
		if err := change(ctx, tx, artifact.ID); err != nil {
			return err
		}
		changed := r.event(kind, actor, repository)
		changed.Digest, changed.Tag, changed.Subject = artifact.Digest.String(), reference.Tag, label.Name
		return tx.AppendEvent(ctx, changed)
	})
	return artifactError(repository, reference, "label", err)
}
