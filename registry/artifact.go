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

// How much of what an artifact has is shown with it; the rest has lists of its own.
const (
	MaxShownTags        = 100
	MaxShownAccessories = 100
	maxShownLabels      = 100
	maxListedReferences = 100
)

// Artifact is an artifact with what belongs to it.
type Artifact struct {
	metadata.Artifact
	// Tags are the newest, at most [MaxShownTags].
	Tags []metadata.ArtifactTag
	// References are what an index lists.
	References []metadata.ListedManifest
	// Accessories are the first, at most [MaxShownAccessories].
	Accessories []metadata.Artifact
	Labels      []metadata.Label
}

// With says what is wanted besides the artifact itself.
type With struct {
	Tags, Accessories, Labels bool
}

// Artifacts returns a page of the artifacts, the newest first, and how many there are. Besides the fields of the listing one can
// filter by "tags" being "nil" for none or "*" for any, and "base" being "*" makes it list accessories and the parts of indexes too.
func (r *Registry) Artifacts(ctx context.Context, c metadata.Collection, q metadata.Query, with With) ([]Artifact, int64, error) {
	q.Conditions = slices.Clone(q.Conditions)
	for i, condition := range q.Conditions {
		switch {
		case condition.Field == "base":
			c.Whole = equals(condition, "*")
		case condition.Field == "tags" && equals(condition, "nil"):
			q.Conditions[i] = metadata.Condition{Field: "tag_count", Comparison: metadata.Equal, Values: []any{int64(0)}}
		case condition.Field == "tags" && equals(condition, "*"):
			q.Conditions[i] = metadata.Condition{Field: "tag_count", Comparison: metadata.Between, Values: []any{int64(1), nil}}
		}
	}
	rows, total, err := turnTo(r, fmt.Sprint("artifacts ", c), q, func(q metadata.Query) ([]metadata.Artifact, int64, error) {
		return r.metadata.ListArtifacts(ctx, c, q)
	})
	if err != nil {
		return nil, 0, metadataError("list artifacts", err)
	}
	artifacts, err := r.withAll(ctx, rows, with, maxListedReferences)
	return artifacts, total, metadataError("list artifacts", err)
}

func equals(c metadata.Condition, text string) bool {
	return c.Comparison == metadata.Equal && len(c.Values) == 1 && c.Values[0] == text
}

// withAll adds what is wanted to artifacts, by one statement for each kind of thing.
func (r *Registry) withAll(ctx context.Context, rows []metadata.Artifact, with With, references int) ([]Artifact, error) {
	r.complete(ctx, rows)
	artifacts, ids := make([]Artifact, len(rows)), make([]int64, len(rows))
	var tagged, indexes []int64
	for i, row := range rows {
		artifacts[i].Artifact, ids[i] = row, row.ID
		if row.TagCount > 0 {
			tagged = append(tagged, row.ID)
		}
		if artifacts[i].index() {
			indexes = append(indexes, row.ID)
		}
	}
	listed, err := r.metadata.ListedManifests(ctx, indexes, references)
	if err != nil {
		return nil, err
	}
	var tags map[int64][]metadata.ArtifactTag
	var accessories map[int64][]metadata.Artifact
	var labels map[int64][]metadata.Label
	if with.Tags {
		if tags, err = r.metadata.TagsOf(ctx, tagged, MaxShownTags); err != nil {
			return nil, err
		}
	}
	if with.Accessories {
		if accessories, err = r.metadata.AccessoriesOf(ctx, ids, MaxShownAccessories); err != nil {
			return nil, err
		}
	}
	if with.Labels {
		if labels, err = r.metadata.LabelsOf(ctx, ids, maxShownLabels); err != nil {
			return nil, err
		}
	}
	for i := range artifacts {
		a := &artifacts[i]
		a.Tags, a.References, a.Accessories, a.Labels = tags[a.ID], listed[a.ID], accessories[a.ID], labels[a.ID]
	}
	return artifacts, nil
}

// Artifact returns the artifact that a reference stands for. The error is a [*fault.Error] of kind NotFound when there is none.
func (r *Registry) Artifact(ctx context.Context, repository oci.Repository, reference oci.Reference, with With) (Artifact, error) {
	row, err := r.metadata.Artifact(ctx, repository, reference)
	if err != nil {
		return Artifact{}, artifactError(repository, reference, "read", err)
	}
	artifacts, err := r.withAll(ctx, []metadata.Artifact{row}, with, oci.MaxManifestReferences)
	if err != nil {
		return Artifact{}, artifactError(repository, reference, "read", err)
	}
	return artifacts[0], nil
}

func artifactError(repository oci.Repository, reference oci.Reference, act string, err error) error {
	if errors.Is(err, metadata.ErrNotFound) {
		return fault.New(fault.NotFound, "artifact %s not found", reference.Named(repository))
	}
	return metadataError(act+" artifact "+reference.Named(repository), err)
}

// Accessories returns a page of the accessories of the artifact that a reference stands for, and how many there are. A digest may be
// that of a subject which the repository does not have, as long as it has accessories of it.
func (r *Registry) Accessories(ctx context.Context, repository oci.Repository, reference oci.Reference, q metadata.Query) ([]metadata.Artifact, int64, error) {
	subject := reference.Digest
	found, err := r.metadata.Artifact(ctx, repository, reference)
	if err == nil {
		subject = found.Digest
	}
	missing := errors.Is(err, metadata.ErrNotFound)
	if err != nil && (!missing || subject == "") {
		return nil, 0, artifactError(repository, reference, "read", err)
	}
	owner, err := r.metadata.Repository(ctx, repository)
	if err != nil {
		return nil, 0, artifactError(repository, reference, "read", err)
	}
	rows, total, err := turnTo(r, fmt.Sprint("accessories ", owner.ID, subject), q, func(q metadata.Query) ([]metadata.Artifact, int64, error) {
		return r.metadata.ListAccessories(ctx, owner.ID, subject, q)
	})
	if err == nil && missing && total == 0 {
		err = metadata.ErrNotFound
	}
	if err != nil {
		return nil, 0, artifactError(repository, reference, "list accessories of", err)
	}
	r.complete(ctx, rows)
	return rows, total, nil
}

// DeleteArtifact deletes an artifact with its tags and accessories, and of what an index lists that which has neither a tag nor
// another index. Further transactions follow the one that deletes the artifact itself; what an interruption leaves is listed as
// untagged. The error is a [*fault.Error]: NotFound, or Precondition when an index lists it; or an [*oci.Error] with
// [oci.CodePrecondition] when a rule protects one of its tags.
func (r *Registry) DeleteArtifact(ctx context.Context, actor event.Actor, repository oci.Repository, reference oci.Reference) error {
	return r.deleteArtifact(ctx, actor, repository, reference, func(context.Context, *metadata.Tx, metadata.Artifact) error { return nil })
}

// DeleteUnwanted is [Registry.DeleteArtifact] for who has judged an artifact by its tags and its age. The error is a [*fault.Error] of
// kind Conflict as well, when it has other tags by now or was pushed since then.
func (r *Registry) DeleteUnwanted(ctx context.Context, actor event.Actor, repository oci.Repository, digest oci.Digest, tags []string, judged time.Time) error {
	return r.deleteArtifact(ctx, actor, repository, oci.Reference{Digest: digest}, func(ctx context.Context, tx *metadata.Tx, artifact metadata.Artifact) error {
		now, err := tx.TagNames(ctx, artifact.ID)
		if err == nil && (!slices.Equal(now, tags) || !artifact.PushedAt.Before(judged)) {
			err = fault.New(fault.Conflict, "artifact %s@%s was pushed or tagged meanwhile", repository, digest)
		}
		return err
	})
}

// deleteArtifact deletes an artifact to which the guard has no objection.
func (r *Registry) deleteArtifact(ctx context.Context, actor event.Actor, repository oci.Repository, reference oci.Reference, guard func(context.Context, *metadata.Tx, metadata.Artifact) error) error {
	var owner metadata.Repository
	var subjects, children []oci.Digest
	d := r.deleting(ctx, actor)
	err := r.metadata.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) (err error) {
		if owner, err = tx.LockRepository(ctx, repository); err != nil {
			return err
		}
		artifact, err := tx.Artifact(ctx, repository, reference)
		if err != nil {
			return err
		}
		if artifact.IndexCount > 0 {
			return fault.New(fault.Precondition, "artifact %s is part of an index: delete the index first", reference.Named(repository))
		}
		if err := guard(ctx, tx, artifact); err != nil {
			return err
		}
		subjects = []oci.Digest{artifact.Digest}
		d.root = 0
		children, d.root, err = r.deleteWithReferences(ctx, tx, d, owner, artifact)
		return err
	})
	r.InvalidateRepository(repository)
	if err != nil {
		return artifactError(repository, reference, "delete", err)
	}
	for len(subjects)+len(children) > 0 {
		err := r.repeat(ctx, owner, func(ctx context.Context, tx *metadata.Tx, owner metadata.Repository) (bool, error) {
			deleted, left, err := r.deleteDependents(ctx, tx, d, owner, subjects, children)
			if err == nil {
				subjects, children = deleted, left
			}
			return false, err
		})
		if err != nil {
			return artifactError(repository, reference, "delete what belonged to", err)
		}
	}
	return nil
}

// deleteWithReferences deletes an artifact and returns the manifests that it listed, and the id of the deletion.
func (r *Registry) deleteWithReferences(ctx context.Context, tx *metadata.Tx, d deleting, owner metadata.Repository, artifact metadata.Artifact) (children []oci.Digest, id int64, err error) {
	references, err := tx.References(ctx, artifact.ID)
	if err != nil {
		return nil, 0, err
	}
	for _, reference := range references {
		if reference.Kind == oci.ReferenceManifest {
			children = append(children, reference.Descriptor.Digest)
		}
	}
	id, err = r.deleteManifest(ctx, tx, d, owner, artifact.Digest)
	return children, id, err
}

// deleteDependents deletes some of the accessories of subjects that are gone, and of the children of indexes that are gone those that
// nothing else needs. It returns the subjects and children that are still to be looked at, among them those that it has deleted.
func (r *Registry) deleteDependents(ctx context.Context, tx *metadata.Tx, d deleting, owner metadata.Repository, subjects, children []oci.Digest) (nextSubjects, nextChildren []oci.Digest, err error) {
	var doomed []metadata.Artifact
	nextSubjects, nextChildren = slices.Clone(subjects), slices.Clone(children)
	for len(nextSubjects) > 0 && len(doomed) < deleteBatch {
		accessories, _, err := tx.ListAccessories(ctx, owner.ID, nextSubjects[0], metadata.Query{Limit: int64(deleteBatch - len(doomed))})
		if err != nil {
			return nil, nil, err
		}
		doomed = append(doomed, accessories...)
		if len(doomed) < deleteBatch {
			nextSubjects = nextSubjects[1:]
		}
	}
	for len(nextChildren) > 0 && len(doomed) < deleteBatch {
		child, err := tx.Artifact(ctx, owner.Name, oci.Reference{Digest: nextChildren[0]})
		nextChildren = nextChildren[1:]
		if err != nil && !errors.Is(err, metadata.ErrNotFound) {
			return nil, nil, err
		}
		if err == nil && child.TagCount == 0 && child.IndexCount == 0 && child.Facts.AccessoryOf == "" {
			doomed = append(doomed, child)
		}
	}
	for _, artifact := range doomed {
		more, _, err := r.deleteWithReferences(ctx, tx, d, owner, artifact)
		if errors.Is(err, metadata.ErrNotFound) {
			continue // an index may list a manifest twice
		}
		if err != nil {
			return nil, nil, err
		}
		nextSubjects, nextChildren = append(nextSubjects, artifact.Digest), append(nextChildren, more...)
	}
	return nextSubjects, nextChildren, nil
}
