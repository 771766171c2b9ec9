package registry

import (
	"context"
	"errors"
	"io"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
)

// KeepManifest stores a manifest that was fetched from a registry elsewhere, under its digest and, unless it is "", under a tag. It
// is [Registry.PutManifest], but that what the manifest refers to comes when somebody asks for it.
func (r *Registry) KeepManifest(ctx context.Context, actor event.Actor, repository oci.Repository, tag string, manifest metadata.Manifest) error {
	push := Push{Repository: repository, Reference: oci.Reference{Digest: manifest.Digest}, ContentType: manifest.MediaType, Payload: manifest.Payload}
	if tag != "" {
		push.Tags = []string{tag}
	}
	_, err := r.push(ctx, actor, push, needNone)
	return err
}

// KeepBlob stores a blob that was fetched from a registry elsewhere; the errors are those of [Registry.PutBlob]. What lists show of
// artifacts whose config it is, is read from it.
func (r *Registry) KeepBlob(ctx context.Context, repository oci.Repository, digest oci.Digest, body io.Reader) error {
	if _, err := r.PutBlob(ctx, repository, digest, body); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), acknowledgeTimeout)
	defer cancel()
	err := r.metadata.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		owner, err := tx.Repository(ctx, repository)
		if err != nil {
			return err
		}
		return tx.ForgetFactsOf(ctx, owner.ID, digest)
	})
	r.tellPushed()
	return metadataError("note blob "+digest.String(), err)
}

// KeepPart stores bytes of a blob that is on its way here, so that other gateways can read them before it is whole, and returns the key
// of the object that they are. Who no longer needs it gives the key up.
func (r *Registry) KeepPart(ctx context.Context, body io.Reader) (key string, err error) {
	upload, err := r.storage.Begin(ctx)
	if err != nil {
		return "", storageError("begin a part", err)
	}
	defer func() { err = errors.Join(err, upload.Close()) }()
	if _, err = upload.Append(ctx, body); err == nil {
		key, err = upload.Commit(ctx)
	}
	if err != nil {
		return "", errors.Join(storageError("store a part", err), upload.Abort(context.WithoutCancel(ctx)))
	}
	return key, nil
}

// OpenPart opens what [Registry.KeepPart] has stored. The error wraps [storage.ErrNotFound] when it is gone.
func (r *Registry) OpenPart(ctx context.Context, key string) (io.ReadCloser, error) {
	part, err := r.storage.Open(ctx, key, 0, -1)
	return part, storageError("open a part", err)
}

// mayTake refuses a repository of a project that is a cache of a registry elsewhere, which holds only what is there.
func mayTake(ctx context.Context, reader metadata.Reader, repository oci.Repository) error {
	project, err := reader.Project(ctx, repository.Project())
	if errors.Is(err, metadata.ErrNotFound) {
		return nil // whoever needs it says so
	}
	if err == nil && project.RegistryID != 0 {
		err = fault.New(fault.Unsupported, "project %q is a cache of another registry, and takes nothing else", project.Name)
	}
	return err
}
