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

const (
	// deleteBatch is how many manifests or tags one transaction deletes, unlinkBatch how many blobs it unlinks: pushes wait for it.
	deleteBatch = 50
	unlinkBatch = 500
	// maxDescription is the longest description of a repository, in bytes.
	maxDescription = 64 << 10
)

// Repositories returns a page of the repositories in view, those of one project when its id is not 0, and how many there are.
func (r *Registry) Repositories(ctx context.Context, view metadata.Visibility, projectID int64, q metadata.Query) ([]metadata.Repository, int64, error) {
	rows, total, err := turnTo(r, fmt.Sprint("repositories ", projectID, view), q, func(q metadata.Query) ([]metadata.Repository, int64, error) {
		return r.metadata.ListRepositories(ctx, view, projectID, q)
	})
	return rows, total, metadataError("list repositories", err)
}

// Repository returns a repository. The error is a [*fault.Error] of kind NotFound when there is none.
func (r *Registry) Repository(ctx context.Context, name oci.Repository) (metadata.Repository, error) {
	repository, err := r.metadata.Repository(ctx, name)
	return repository, repositoryError(name, "read", err)
}

func repositoryError(name oci.Repository, act string, err error) error {
	if errors.Is(err, metadata.ErrNotFound) {
		return fault.New(fault.NotFound, "repository %s not found", name)
	}
	return metadataError(act+" repository "+name.String(), err)
}

// DescribeRepository sets the description of a repository, which is Markdown. The error is a [*fault.Error]: NotFound, or Invalid for
// one of more than 64 KiB.
func (r *Registry) DescribeRepository(ctx context.Context, actor event.Actor, name oci.Repository, description string) error {
	if len(description) > maxDescription {
		return fault.New(fault.Invalid, "the description is longer than %d bytes", maxDescription)
	}
	err := r.metadata.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		repository, err := tx.LockRepository(ctx, name)
		if err != nil {
			return err
		}
		if err := tx.Describe(ctx, repository.ID, description); err != nil {
			return err
		}
		return tx.AppendEvent(ctx, r.event(event.RepositoryUpdated, actor, name))
	})
	return repositoryError(name, "describe", err)
}

// DeleteRepository deletes what the repository has, in many transactions, and then the repository itself, unless somebody has pushed
// to it meanwhile: what was pushed stays. What is interrupted has deleted a part, and can be done again. The error is a
// [*fault.Error] of kind NotFound, or an [*oci.Error] with [oci.CodePrecondition] when a rule protects any of its tags: then nothing
// is deleted.
func (r *Registry) DeleteRepository(ctx context.Context, actor event.Actor, name oci.Repository) error {
	repository, err := r.metadata.Repository(ctx, name)
	if err != nil {
		return repositoryError(name, "read", err)
	}
	if err := r.mayEmpty(ctx, repository); err != nil {
		return repositoryError(name, "delete", err)
	}
	newest, err := r.metadata.NewestManifest(ctx)
	if err != nil {
		return repositoryError(name, "delete", err)
	}
	d := r.deleting(ctx, actor)
	for _, step := range []func(context.Context, *metadata.Tx, metadata.Repository) (bool, error){
		func(ctx context.Context, tx *metadata.Tx, owner metadata.Repository) (bool, error) {
			return r.deleteSomeManifests(ctx, tx, d, owner, newest)
		},
		func(ctx context.Context, tx *metadata.Tx, owner metadata.Repository) (bool, error) {
			unlinked, err := tx.UnlinkSomeBlobs(ctx, owner.ID, unlinkBatch)
			return len(unlinked) == unlinkBatch, err
		},
		func(ctx context.Context, tx *metadata.Tx, owner metadata.Repository) (bool, error) {
			if kept, err := tx.HasManifests(ctx, owner.ID); err != nil || kept {
				return false, err
			}
			if err := tx.DeleteRepository(ctx, owner.ID); err != nil {
				return false, err
			}
			return false, tx.AppendEvent(ctx, r.event(event.RepositoryDeleted, actor, name))
		},
	} {
		if err := r.repeat(ctx, repository, step); err != nil {
			return repositoryError(name, "delete", err)
		}
	}
	return nil
}

// repeat runs a step in transactions that lock the repository, as often as it says that there is more to do. It is done when
// somebody else has deleted the repository.
func (r *Registry) repeat(ctx context.Context, repository metadata.Repository, step func(context.Context, *metadata.Tx, metadata.Repository) (more bool, err error)) error {
	for more := true; more; {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		err := r.metadata.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
			more = false
			owner, err := tx.LockRepository(ctx, repository.Name)
			if err != nil || owner.ID != repository.ID {
				return err
			}
			more, err = step(ctx, tx, owner)
			return err
		})
		r.InvalidateRepository(repository.Name)
		if err != nil && !errors.Is(err, metadata.ErrNotFound) {
			return err
		}
	}
	return nil
}

// mayEmpty refuses a repository with a protected tag.
func (r *Registry) mayEmpty(ctx context.Context, repository metadata.Repository) error {
	for last := ""; ; {
		tags, err := r.metadata.Tags(ctx, repository.Name, last, unlinkBatch)
		if err != nil || len(tags) == 0 {
			return err
		}
		if err := mayChange(ctx, r.metadata.Reader, repository, tags); err != nil {
			return err
		}
		last = tags[len(tags)-1]
	}
}

// deleteSomeManifests deletes some manifests that are no newer than the given one, or some of the tags of one that has many.
func (r *Registry) deleteSomeManifests(ctx context.Context, tx *metadata.Tx, d deleting, owner metadata.Repository, newest int64) (more bool, err error) {
	digests, err := tx.SomeManifests(ctx, owner.ID, newest, deleteBatch)
	if err != nil {
		return false, err
	}
	for _, digest := range digests {
		whole, err := r.deleteSomeTags(ctx, tx, d, owner, digest)
		if err != nil || !whole {
			return true, err
		}
		if _, err := r.deleteManifest(ctx, tx, d, owner, digest); err != nil {
			return false, err
		}
	}
	return len(digests) == deleteBatch, nil
}

// deleteSomeTags deletes tags of a manifest that has more of them than one transaction should, and reports false then.
func (r *Registry) deleteSomeTags(ctx context.Context, tx *metadata.Tx, d deleting, owner metadata.Repository, digest oci.Digest) (whole bool, err error) {
	artifact, err := tx.Artifact(ctx, owner.Name, oci.Reference{Digest: digest})
	if err != nil || artifact.TagCount <= deleteBatch {
		return true, err
	}
	tags, _, err := tx.ListTags(ctx, artifact.ID, metadata.Query{Limit: deleteBatch})
	for _, tag := range tags {
		if err := r.deleteTag(ctx, tx, d, owner, tag.Name); err != nil {
			return false, err
		}
	}
	return false, err
}
