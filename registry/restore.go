package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
)

// deleting is one act of deletion.
type deleting struct {
	actor event.Actor
	at    time.Time
	// until is when it can no longer be undone; zero when it cannot at all.
	until time.Time
	// root is the deletion that others come with, 0 for none.
	root int64
}

func (r *Registry) deleting(ctx context.Context, actor event.Actor) deleting {
	d := deleting{actor: actor, at: r.now()}
	if keep := r.keepDeleted(ctx); keep > 0 {
		d.until = d.at.Add(keep)
	}
	return d
}

// keeps reports whether what is deleted can be had back.
func (d deleting) keeps() bool { return !d.until.IsZero() }

func (d deleting) row(tags ...string) metadata.Deletion {
	return metadata.Deletion{RootID: d.root, Tags: tags, Actor: d.actor.Name, DeletedAt: d.at, ExpiresAt: d.until}
}

// Deletions returns a page of what was deleted in a project and can be had back, the newest first, and how much there is.
func (r *Registry) Deletions(ctx context.Context, project metadata.Project, q metadata.Query) ([]metadata.Deletion, int64, error) {
	rows, total, err := r.metadata.ListDeletions(ctx, project.ID, r.now(), q)
	return rows, total, metadataError("list deletions of project "+project.Name, err)
}

// Deletion returns a deletion of the project. The error is a [*fault.Error] of kind NotFound when there is none that can be undone.
func (r *Registry) Deletion(ctx context.Context, project metadata.Project, id int64) (metadata.Deletion, error) {
	d, err := r.metadata.Deletion(ctx, id)
	if errors.Is(err, metadata.ErrNotFound) || err == nil && (d.ProjectID != project.ID || !d.ExpiresAt.After(r.now())) {
		return d, fault.New(fault.NotFound, "deletion %d not found in project %s", id, project.Name)
	}
	return d, metadataError(fmt.Sprintf("read deletion %d", id), err)
}

// Restored is what a deletion that was undone has brought back.
type Restored struct {
	Repository oci.Repository
	Digest     oci.Digest
	// Tags stand for it again; Taken stand for something else by now, and stay there.
	Tags, Taken []string
}

// Restore undoes a deletion: the artifact comes back as if it had been pushed again, with what was deleted with it, and with those of
// its tags that stand for nothing else. It counts in the quota again. What is interrupted can be done again. The error is that of
// [Registry.PutManifest], or a [*fault.Error]: NotFound; Conflict when a tag that was deleted alone stands for something else by now;
// Precondition when something that it needs is gone.
func (r *Registry) Restore(ctx context.Context, actor event.Actor, project metadata.Project, id int64) (Restored, error) {
	d, err := r.Deletion(ctx, project, id)
	if err != nil {
		return Restored{}, err
	}
	if d.TagOnly {
		return r.restoreTag(ctx, actor, project, d)
	}
	parts, err := r.metadata.DeletionsOf(ctx, d.ID)
	if err != nil {
		return Restored{}, metadataError("read what was deleted with "+d.Digest.String(), err)
	}
	for _, part := range append(parts, d) {
		restored, err := r.restoreManifest(ctx, actor, part, 0)
		if err != nil {
			return Restored{}, err
		}
		if part.ID == d.ID {
			return restored, nil
		}
	}
	return Restored{}, nil
}

// restoreTag brings a tag back, and the artifact before where that was deleted as well.
func (r *Registry) restoreTag(ctx context.Context, actor event.Actor, project metadata.Project, d metadata.Deletion) (Restored, error) {
	restored := Restored{Repository: d.Repository, Digest: d.Digest, Tags: d.Tags}
	_, err := r.metadata.ManifestHead(ctx, d.Repository, d.Digest)
	if errors.Is(err, metadata.ErrNotFound) {
		var whole metadata.Deletion
		if whole, err = r.metadata.DeletionOf(ctx, project.ID, d.Repository, d.Digest); errors.Is(err, metadata.ErrNotFound) {
			return restored, fault.New(fault.Precondition, "what tag %s stood for is gone", d.Tags[0])
		}
		if err == nil {
			_, err = r.Restore(ctx, actor, project, whole.ID)
		}
	}
	if err != nil {
		return restored, metadataError("restore "+d.Digest.String(), err)
	}
	err = r.metadata.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		if _, err := tx.LockDeletion(ctx, d.ID); err != nil {
			return err
		}
		owner, err := tx.LockRepository(ctx, d.Repository)
		if err != nil {
			return err
		}
		at := r.event(event.ArtifactRestored, actor, d.Repository)
		at.Digest, at.Tag = d.Digest.String(), d.Tags[0]
		switch now, err := tx.Tag(ctx, d.Repository, d.Tags[0]); {
		case err == nil && now != d.Digest:
			return fault.New(fault.Conflict, "tag %s stands for %s by now: delete it first", oci.Reference{Tag: d.Tags[0]}.Named(d.Repository), now)
		case err != nil && !errors.Is(err, metadata.ErrNotFound):
			return err
		}
		created := at
		created.Kind = event.TagCreated
		if err := r.moveTag(ctx, tx, created, owner, d.Tags[0]); err != nil {
			return err
		}
		return errors.Join(tx.PurgeDeletions(ctx, d.ID), tx.AppendEvent(ctx, at))
	})
	r.InvalidateTag(d.Repository, d.Tags[0])
	return restored, artifactError(d.Repository, oci.Reference{Digest: d.Digest}, "restore a tag of", err)
}

// restoreManifest brings one manifest back, after those that it lists.
func (r *Registry) restoreManifest(ctx context.Context, actor event.Actor, d metadata.Deletion, depth int) (restored Restored, err error) {
	reference := oci.Reference{Digest: d.Digest}
	if depth > maxRestoreDepth {
		return restored, fault.New(fault.Precondition, "indexes that list each other more than %d deep cannot be restored", maxRestoreDepth)
	}
	payload, err := r.metadata.DeletedPayload(ctx, d.ID)
	if errors.Is(err, metadata.ErrNotFound) {
		return restored, nil // somebody else has restored it
	}
	if err != nil {
		return restored, metadataError("read deleted manifest "+d.Digest.String(), err)
	}
	manifest, err := oci.ParseManifest(d.MediaType, payload)
	if err != nil {
		return restored, err
	}
	if err := r.restoreListed(ctx, actor, d, manifest, depth); err != nil {
		return restored, err
	}
	enforce := r.enforce(ctx)
	err = r.metadata.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		restored = Restored{Repository: d.Repository, Digest: d.Digest}
		row, err := tx.LockDeletion(ctx, d.ID)
		if errors.Is(err, metadata.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		owner, err := r.linkDeleted(ctx, tx, row)
		if err != nil {
			return err
		}
		for _, tag := range row.Tags {
			switch now, err := tx.Tag(ctx, d.Repository, tag); {
			case err == nil && now != d.Digest:
				restored.Taken = append(restored.Taken, tag)
			case err == nil || errors.Is(err, metadata.ErrNotFound):
				restored.Tags = append(restored.Tags, tag)
			default:
				return err
			}
		}
		if err := r.putManifest(ctx, tx, actor, owner, d.Digest, manifest, restored.Tags, needAll, enforce); err != nil {
			return err
		}
		if err := tx.PurgeDeletions(ctx, d.ID); err != nil {
			return err
		}
		at := r.event(event.ArtifactRestored, actor, d.Repository)
		at.Digest = d.Digest.String()
		return tx.AppendEvent(ctx, at)
	})
	r.InvalidateRepository(d.Repository)
	select {
	case r.pushed <- struct{}{}:
	default:
	}
	err = r.exceeded(ctx, actor, Push{Repository: d.Repository, Reference: reference}, err)
	return restored, artifactError(d.Repository, reference, "restore", err)
}

// maxRestoreDepth bounds how deep indexes of indexes are restored.
const maxRestoreDepth = 8

// restoreListed brings back what an index lists and the repository has not.
func (r *Registry) restoreListed(ctx context.Context, actor event.Actor, d metadata.Deletion, manifest *oci.Manifest, depth int) error {
	var listed []oci.Digest
	for _, reference := range manifest.References {
		if reference.Kind == oci.ReferenceManifest {
			listed = append(listed, reference.Descriptor.Digest)
		}
	}
	slices.Sort(listed)
	present, err := r.metadata.Manifests(ctx, d.Repository, listed)
	if err != nil {
		return metadataError("look up manifests", err)
	}
	for _, digest := range slices.Compact(listed) {
		if present[digest] {
			continue
		}
		part, err := r.metadata.DeletionOf(ctx, d.ProjectID, d.Repository, digest)
		if errors.Is(err, metadata.ErrNotFound) {
			return fault.New(fault.Precondition, "%s lists %s, which is gone", oci.Reference{Digest: d.Digest}.Named(d.Repository), digest)
		}
		if err != nil {
			return metadataError("look for deleted manifest "+digest.String(), err)
		}
		if _, err := r.restoreManifest(ctx, actor, part, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// linkDeleted lets the repository, which is made anew where it is gone, have the blobs of a deleted manifest. It returns the repository,
// locked.
func (r *Registry) linkDeleted(ctx context.Context, tx *metadata.Tx, d metadata.Deletion) (owner metadata.Repository, err error) {
	if _, err := ensureRepository(ctx, tx, d.Repository); err != nil {
		return owner, err
	}
	if owner, err = tx.LockRepository(ctx, d.Repository); err != nil {
		return owner, err
	}
	blobs, err := tx.DeletedBlobs(ctx, d.ID)
	if err != nil {
		return owner, err
	}
	for _, blob := range blobs {
		err := tx.LinkBlob(ctx, owner.ID, blob)
		if errors.Is(err, metadata.ErrNotFound) {
			return owner, fault.New(fault.Precondition, "%s needs blob %s, which is gone", oci.Reference{Digest: d.Digest}.Named(d.Repository), blob)
		}
		if err != nil {
			return owner, err
		}
	}
	return owner, nil
}

// PurgeDeletion makes a deletion final, with what was deleted with it: nothing of it can be had back. The error is a [*fault.Error] of
// kind NotFound.
func (r *Registry) PurgeDeletion(ctx context.Context, actor event.Actor, project metadata.Project, id int64) error {
	d, err := r.Deletion(ctx, project, id)
	if err != nil {
		return err
	}
	err = r.metadata.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		if _, err := tx.LockDeletion(ctx, id); err != nil {
			return err
		}
		parts, err := tx.DeletionsOf(ctx, id)
		if err != nil {
			return err
		}
		ids := []int64{id}
		for _, part := range parts {
			ids = append(ids, part.ID)
		}
		if err := tx.PurgeDeletions(ctx, ids...); err != nil {
			return err
		}
		purged := r.event(event.DeletionPurged, actor, d.Repository)
		purged.Digest = d.Digest.String()
		return tx.AppendEvent(ctx, purged)
	})
	if errors.Is(err, metadata.ErrNotFound) {
		return fault.New(fault.NotFound, "deletion %d not found in project %s", id, project.Name)
	}
	return metadataError(fmt.Sprintf("purge deletion %d", id), err)
}

// sweepDeletions forgets deletions that have expired.
func (r *Registry) sweepDeletions(ctx context.Context) error {
	for {
		ids, err := r.metadata.ExpiredDeletions(ctx, r.now(), sweepBatch)
		if err != nil {
			return fmt.Errorf("list expired deletions: %w", err)
		}
		if len(ids) > 0 {
			if err := r.metadata.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error { return tx.PurgeDeletions(ctx, ids...) }); err != nil {
				return fmt.Errorf("purge expired deletions: %w", err)
			}
		}
		if len(ids) < sweepBatch {
			return nil
		}
	}
}
