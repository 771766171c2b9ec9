package registry

import (
	"context"
	"errors"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
)

const (
	// copyBatch is how many blobs or accessories one step of a copy looks at.
	copyBatch = 500
	// maxCopied bounds the manifests that one copy brings along: an index of indexes can name any number.
	maxCopied = 20_000
)

// Copy brings the artifact that a reference of one repository stands for to another one, with all that it lists and with its
// accessories, and returns its digest. A tag is copied with the artifact, a digest with all tags that stand for it, at most
// [MaxShownTags]. No bytes are copied; each manifest is pushed as if a client had done it, so what an interruption leaves is whole,
// and copying again goes on. The caller has checked that the actor may pull from the one and push to the other. The error is that of
// [Registry.PutManifest], or a [*fault.Error]: NotFound; Conflict when the target has the artifact; Unsupported for an accessory,
// which is copied with what it belongs to.
func (r *Registry) Copy(ctx context.Context, actor event.Actor, from oci.Repository, reference oci.Reference, to oci.Repository) (oci.Digest, error) {
	if err := mayTake(ctx, r.metadata.Reader, to); err != nil {
		return "", metadataError("read project of "+to.String(), err)
	}
	artifact, err := r.Artifact(ctx, from, reference, With{Tags: true})
	if err != nil {
		return "", err
	}
	if artifact.Facts.AccessoryOf != "" {
		return "", fault.New(fault.Unsupported, "%s is part of %s: copy that", reference.Named(from), artifact.Facts.AccessoryOf)
	}
	switch _, err := r.metadata.Artifact(ctx, to, oci.Reference{Digest: artifact.Digest}); {
	case err == nil:
		return "", fault.New(fault.Conflict, "artifact %s exists already", oci.Reference{Digest: artifact.Digest}.Named(to))
	case !errors.Is(err, metadata.ErrNotFound):
		return "", artifactError(to, oci.Reference{Digest: artifact.Digest}, "read", err)
	}
	tags := []string{reference.Tag}
	if reference.Tag == "" {
		tags = tagNames(artifact.Tags)
	}
	c := &copier{Registry: r, actor: actor, source: metadata.Repository{ID: artifact.RepositoryID, Name: from}, target: to, copied: make(map[oci.Digest]bool)}
	return artifact.Digest, c.copy(ctx, artifact.Digest, tags)
}

func tagNames(tags []metadata.ArtifactTag) []string {
	names := make([]string, len(tags))
	for i, tag := range tags {
		names[i] = tag.Name
	}
	return names
}

// copier is one copy.
type copier struct {
	*Registry
	actor  event.Actor
	source metadata.Repository
	target oci.Repository
	copied map[oci.Digest]bool
}

// copy brings a manifest of the source with all that belongs to it.
func (c *copier) copy(ctx context.Context, digest oci.Digest, tags []string) error {
	stored, err := c.metadata.Manifest(ctx, c.source.Name, digest)
	if err != nil {
		return artifactError(c.source.Name, oci.Reference{Digest: digest}, "read", err)
	}
	return c.put(ctx, stored, tags)
}

// put brings a manifest after what it refers to and before what refers to it. An index of which the source has some platforms only stays
// one.
func (c *copier) put(ctx context.Context, stored metadata.Manifest, tags []string) error {
	if c.copied[stored.Digest] {
		return nil
	}
	if c.copied[stored.Digest] = true; len(c.copied) > maxCopied {
		return fault.New(fault.Precondition, "more than %d manifests belong to the artifact", maxCopied)
	}
	manifest, err := oci.ParseManifest(stored.MediaType, stored.Payload)
	if err != nil {
		return err
	}
	var blobs []oci.Digest
	partial := false
	for _, reference := range manifest.References {
		switch {
		case reference.Foreign():
		case reference.Kind == oci.ReferenceManifest:
			listed, err := c.metadata.Manifest(ctx, c.source.Name, reference.Descriptor.Digest)
			if errors.Is(err, metadata.ErrNotFound) {
				partial = true
				continue
			}
			if err != nil {
				return artifactError(c.source.Name, oci.Reference{Digest: reference.Descriptor.Digest}, "read", err)
			}
			if err := c.put(ctx, listed, nil); err != nil {
				return err
			}
		default:
			blobs = append(blobs, reference.Descriptor.Digest)
		}
	}
	if err := c.link(ctx, blobs); err != nil {
		return err
	}
	_, err = c.PutManifest(ctx, c.actor, Push{
		Repository: c.target, Reference: oci.Reference{Digest: stored.Digest}, Tags: tags, ContentType: stored.MediaType, Payload: stored.Payload, Sparse: partial,
	})
	if err != nil {
		return err
	}
	return c.copyAccessories(ctx, stored.Digest)
}

// link lets the target have blobs of the source.
func (c *copier) link(ctx context.Context, blobs []oci.Digest) error {
	for len(blobs) > 0 {
		batch := blobs[:min(len(blobs), copyBatch)]
		blobs = blobs[len(batch):]
		err := c.metadata.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
			owner, err := ensureRepository(ctx, tx, c.target)
			if err != nil {
				return err
			}
			return tx.LinkBlobsOf(ctx, owner.ID, c.source.ID, batch)
		})
		if err != nil {
			return metadataError("link blobs to "+c.target.String(), err)
		}
		for _, blob := range batch {
			c.InvalidateBlob(c.target, blob)
		}
	}
	return nil
}

// copyAccessories brings what belongs to a manifest, with the tags by which cosign finds it.
func (c *copier) copyAccessories(ctx context.Context, subject oci.Digest) error {
	for q := (metadata.Query{Limit: copyBatch}); ; {
		accessories, _, err := c.metadata.ListAccessories(ctx, c.source.ID, subject, q)
		if err != nil {
			return metadataError("list accessories of "+subject.String(), err)
		}
		for _, accessory := range accessories {
			q.After = accessory.Place()[1:]
			tags, err := c.metadata.TagsOf(ctx, []int64{accessory.ID}, MaxShownTags)
			if err != nil {
				return metadataError("list tags of "+accessory.Digest.String(), err)
			}
			var attaching []string
			for _, tag := range tagNames(tags[accessory.ID]) {
				if _, of := accessoryTag(tag); of == subject {
					attaching = append(attaching, tag)
				}
			}
			if err := c.copy(ctx, accessory.Digest, attaching); err != nil {
				return err
			}
		}
		if len(accessories) < copyBatch {
			return nil
		}
	}
}
