package registry

import (
	"context"
	"fmt"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/jobs"
	"github.com/berth-registry/berth/oci"
)

// CollectionKind is the kind of work that collects garbage.
const CollectionKind = "GARBAGE_COLLECTION"

// untaggedBatch is how many manifests without a tag are looked up at once.
const untaggedBatch = 100

// progressInterval is how often a collection says how far it is.
const progressInterval = 10 * time.Second

// CollectionParameters say what a garbage collection does, by the names that Harbor's clients send.
type CollectionParameters struct {
	// DeleteUntagged deletes artifacts first that have no tag, that nothing lists, and that are attached to nothing.
	DeleteUntagged bool `json:"delete_untagged"`
	// DryRun changes nothing and tells what would be done.
	DryRun bool `json:"dry_run"`
	// Workers is what clients send for a collector that works by itself; here it has no effect.
	Workers int `json:"workers,omitempty"`
}

// Check returns a [*fault.Error] of kind Invalid for what cannot be meant.
func (p CollectionParameters) Check() error {
	if p.Workers < 0 || p.Workers > 10 {
		return fault.New(fault.Invalid, "workers must be from 1 to 10")
	}
	return nil
}

// Collecting returns the work of collecting garbage of the registry, with the grace for what may be on its way.
func Collecting(r *Registry, grace time.Duration) jobs.Kind {
	return jobs.Kind{Name: CollectionKind, Run: func(ctx context.Context, run *jobs.Run) error {
		var p CollectionParameters
		if err := run.Decode(&p); err != nil {
			return err
		}
		if p.DeleteUntagged {
			if err := r.collectUntagged(ctx, run, p.DryRun, grace); err != nil {
				return err
			}
		}
		said := time.Now()
		done, err := r.CollectGarbage(ctx, Collect{Grace: grace, DryRun: p.DryRun, Progress: func(c Collected) {
			if time.Since(said) >= progressInterval {
				said = time.Now()
				run.Log.Printf("%d of %d blobs looked at, %d freed so far", c.Reviewed, c.Due, c.Blobs)
			}
		}})
		verb := "freed"
		if p.DryRun {
			verb = "dry run: would free"
		}
		run.Log.Printf("looked at %d blobs that may have become unneeded: took %d out of repositories, %s %d with %s", done.Reviewed, done.Links,
			verb, done.Blobs, humanize.IBytes(uint64(done.Bytes))) //nolint:gosec // sizes are not negative
		return err
	}}
}

// collectUntagged deletes, as the registry itself, artifacts that no tag leads to any more.
func (r *Registry) collectUntagged(ctx context.Context, run *jobs.Run, dryRun bool, grace time.Duration) error {
	actor := event.Actor{Name: "garbage collection", Credential: "job"}
	before := r.now().Add(-grace)
	found := 0
	for last := int64(0); ; {
		page, err := r.metadata.UntaggedManifests(ctx, before, last, untaggedBatch)
		if err != nil {
			return fmt.Errorf("list untagged artifacts: %w", err)
		}
		for _, m := range page {
			last = m.ID
			found++
			if dryRun {
				run.Log.Printf("dry run: would delete %s@%s, which has no tag", m.Repository, m.Digest)
				continue
			}
			err := r.DeleteArtifact(ctx, actor, m.Repository, oci.Reference{Digest: m.Digest})
			if err != nil && !oci.HasCode(err, oci.CodeManifestUnknown) {
				run.Log.Printf("could not delete %s@%s: %v", m.Repository, m.Digest, err)
				continue
			}
			run.Log.Printf("deleted %s@%s, which had no tag", m.Repository, m.Digest)
		}
		if len(page) < untaggedBatch {
			run.Log.Printf("%d artifacts without a tag", found)
			return nil
		}
	}
}
