package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
)

const (
	// deriveBatch is how many configs are read before what they say is written: each may come with the largest manifest.
	deriveBatch = 8
	// derivePause is how long a push is followed by others that are read with it; deriveInterval is how often configs are looked for
	// that no push of this gateway has told of.
	derivePause    = 250 * time.Millisecond
	deriveInterval = 5 * time.Minute
	// completers is how many configs are read at once for one page that is looked at before they were.
	completers = 8
)

// deriveLoop reads the configs of manifests that were pushed, so that pushes need not. Many gateways may do so at once.
func (r *Registry) deriveLoop(ctx context.Context) {
	pushed := r.pushed
	timer := time.NewTimer(40 * derivePause)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-pushed:
			pushed = nil
			timer.Reset(derivePause)
			continue
		case <-timer.C:
		}
		pushed = r.pushed
		timer.Reset(deriveInterval)
		if err := r.derive(ctx); err != nil && ctx.Err() == nil {
			r.log.WarnContext(ctx, "configs of artifacts are not read yet", "error", err)
		}
	}
}

// derive writes the facts of all artifacts whose configs were not read yet. What fails is tried again the next time.
func (r *Registry) derive(ctx context.Context) error {
	var failures []error
	for after := int64(0); ; {
		rows, err := r.metadata.UnreadArtifacts(ctx, after, deriveBatch)
		if err != nil {
			return fmt.Errorf("list unread artifacts: %w", err)
		}
		if len(rows) == 0 {
			return errors.Join(failures...)
		}
		derived := make(map[int64]metadata.Manifest, len(rows))
		for _, row := range rows {
			after = row.ID
			m, err := r.deriveFacts(ctx, row.Repository, row.Manifest)
			if err != nil {
				failures = append(failures[:min(len(failures), 3)], err)
				continue
			}
			derived[row.ID] = m
		}
		err = r.metadata.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
			for _, row := range rows {
				m, ok := derived[row.ID]
				if !ok {
					continue
				}
				if err := tx.SetFacts(ctx, row.ID, m); err != nil && !errors.Is(err, metadata.ErrNotFound) {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("write facts of %d artifacts: %w", len(derived), err)
		}
	}
}

// deriveFacts returns the facts of a stored manifest and its references.
func (r *Registry) deriveFacts(ctx context.Context, repository oci.Repository, stored metadata.Manifest) (metadata.Manifest, error) {
	manifest, err := oci.ParseManifest(stored.MediaType, stored.Payload)
	if err != nil { // it was accepted by a version that was less strict
		stored.Facts = metadata.Facts{Kind: KindUnknown, ConfigMediaType: stored.MediaType, ContentSize: int64(len(stored.Payload)), Attributes: []byte("{}")}
		return stored, nil
	}
	stored.Facts, stored.References = factsOf(manifest), manifest.References
	if stored.Facts.Attributes != nil {
		return stored, nil
	}
	config, err := r.readBlob(ctx, repository, configOf(manifest).Digest, maxConfig)
	if err != nil && !oci.HasCode(err, oci.CodeBlobUnknown) && !oci.HasCode(err, oci.CodeSizeInvalid) {
		return stored, fmt.Errorf("read config of %s@%s: %w", repository, stored.Digest, err)
	}
	stored.Facts.Attributes = attributesOf(stored.Facts, manifest.Annotations, config)
	return stored, nil
}

// readBlob returns all of a small blob. The error is an [*oci.Error]; with [oci.CodeSizeInvalid] when it is longer than the limit.
func (r *Registry) readBlob(ctx context.Context, repository oci.Repository, digest oci.Digest, limit int64) ([]byte, error) {
	blob, err := r.Blob(ctx, repository, digest)
	if err != nil {
		return nil, err
	}
	if blob.Size > limit {
		return nil, oci.NewError(oci.CodeSizeInvalid, "blob %s has %d bytes, of which at most %d can be shown", digest, blob.Size, limit)
	}
	content, err := r.OpenBlob(ctx, repository, blob, nil)
	if err != nil {
		return nil, err
	}
	defer content.Close()
	read, err := io.ReadAll(io.LimitReader(content, limit))
	return read, storageError("read blob "+digest.String(), err)
}

// complete derives what was not yet derived of a page of artifacts, without writing it: that is the loop's, which may not have come
// so far. What cannot be read for the moment is not shown.
func (r *Registry) complete(ctx context.Context, artifacts []metadata.Artifact) {
	var group sync.WaitGroup
	slots := make(chan struct{}, completers)
	for i := range artifacts {
		a := &artifacts[i]
		if a.Facts.Attributes != nil {
			continue
		}
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			accessory, subject := a.Facts.Accessory, a.Facts.AccessoryOf
			stored, err := r.metadata.Manifest(ctx, a.Repository, a.Digest)
			if err == nil {
				stored, err = r.deriveFacts(ctx, a.Repository, stored)
			}
			if err != nil {
				r.log.DebugContext(ctx, "facts of an artifact are not shown", "repository", a.Repository, "digest", a.Digest, "error", err)
				return
			}
			size := max(a.Facts.ContentSize, stored.Facts.ContentSize)
			a.Facts = stored.Facts
			a.Facts.ContentSize = size
			if a.Facts.AccessoryOf == "" {
				a.Facts.Accessory, a.Facts.AccessoryOf = accessory, subject
			}
		})
	}
	group.Wait()
}
