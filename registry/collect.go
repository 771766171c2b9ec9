package registry

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
)

const (
	// collectPage is how many reviews are read at once, so that those of one repository come together, collectBatch how many of them one
	// transaction answers: pushes to its repository wait for it.
	collectPage  = 1000
	collectBatch = 100
)

// DefaultCollectGrace is how long a blob that no manifest needs is kept: a push may be on its way that has uploaded or seen it.
const DefaultCollectGrace = 2 * time.Hour

// Collect is one run of garbage collection.
type Collect struct {
	// Grace is how long ago the last thing must have happened that could have made a blob needed.
	Grace time.Duration
	// DryRun changes nothing and tells what a run would do.
	DryRun bool
	// Progress is told after each step; nil tells nobody.
	Progress func(Collected)
}

// Collected is what a run of garbage collection has done so far.
type Collected struct {
	// Reviewed of Due questions have been answered.
	Reviewed, Due int64
	// Links are blobs taken out of repositories that no longer need them; Blobs are those that no repository has any more, and
	// Bytes their size.
	Links, Blobs, Bytes int64
}

// CollectGarbage answers the reviews that are due, and so forgets the blobs that nothing needs; their bytes go with the next
// sweep, once nobody can be reading them. It runs while people push, on any number of gateways, costs what there is to collect,
// and when it ends early the next run goes on. The error is the context's, or the database's.
func (r *Registry) CollectGarbage(ctx context.Context, collect Collect) (Collected, error) {
	before := r.now().Add(-collect.Grace)
	var done Collected
	due, err := r.metadata.CountReviews(ctx, before)
	if err != nil {
		return done, fmt.Errorf("count blob reviews: %w", err)
	}
	done.Due = due
	var after metadata.Review
	for {
		// What a step has settled is gone from the queue, and what it has queued, blobs without links, comes last.
		reviews, err := r.metadata.Reviews(ctx, before, after, collectPage)
		if err != nil {
			return done, fmt.Errorf("list blob reviews: %w", err)
		}
		if len(reviews) == 0 {
			return done, nil
		}
		for _, group := range byRepository(reviews) {
			if err := ctx.Err(); err != nil {
				return done, err
			}
			freed, unneeded, err := r.settle(ctx, group, before, collect.DryRun)
			if err != nil {
				return done, fmt.Errorf("collect garbage: %w", err)
			}
			done.Reviewed += int64(len(group.digests))
			done.Due = max(done.Due, done.Reviewed)
			done.Links += unneeded
			for _, u := range freed {
				done.Blobs++
				done.Bytes += u.Size
			}
			if collect.Progress != nil {
				collect.Progress(done)
			}
		}
		if collect.DryRun {
			after = reviews[len(reviews)-1]
		}
	}
}

// reviewGroup are reviews of one repository, or of the whole registry.
type reviewGroup struct {
	repositoryID int64
	digests      []oci.Digest
}

// byRepository groups reviews into groups that are no larger than a batch, in the order in which their repositories first come.
func byRepository(reviews []metadata.Review) []reviewGroup {
	var groups []reviewGroup
	at := map[int64]int{}
	for _, review := range reviews {
		i, known := at[review.RepositoryID]
		if !known || len(groups[i].digests) == collectBatch {
			i = len(groups)
			at[review.RepositoryID] = i
			groups = append(groups, reviewGroup{repositoryID: review.RepositoryID})
		}
		groups[i].digests = append(groups[i].digests, review.Digest)
	}
	return groups
}

// settle answers the reviews of a group in one transaction. It returns the blobs that are free by it, and how many links it took.
func (r *Registry) settle(ctx context.Context, group reviewGroup, before time.Time, dryRun bool) (freed []metadata.Unneeded, links int64, err error) {
	if dryRun {
		return r.foresee(ctx, group)
	}
	var unneeded []metadata.Unneeded
	var name oci.Repository
	err = r.metadata.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		var err error
		if group.repositoryID == 0 {
			unneeded, err = tx.SettleBlobs(ctx, group.digests, before)
		} else {
			unneeded, name, err = tx.SettleLinks(ctx, group.repositoryID, group.digests, before)
		}
		return err
	})
	if err != nil {
		return nil, 0, err
	}
	if group.repositoryID == 0 {
		return unneeded, 0, nil
	}
	for _, u := range unneeded {
		r.InvalidateBlob(name, u.Digest)
	}
	return nil, int64(len(unneeded)), nil
}

// foresee is settle without changing anything. What the links of the group would free is counted here, for nothing takes them away.
func (r *Registry) foresee(ctx context.Context, group reviewGroup) (freed []metadata.Unneeded, links int64, err error) {
	unneeded, err := r.metadata.FindUnneeded(ctx, group.repositoryID, group.digests)
	if err != nil || group.repositoryID == 0 {
		return unneeded, 0, err
	}
	freed, err = r.metadata.FindFreeable(ctx, group.repositoryID, group.digests)
	return freed, int64(len(unneeded)), err
}

// retryConflicts runs a transaction that names committed bytes again when garbage collection has forgotten the blob's earlier
// bytes meanwhile: then the new ones take their place.
func (r *Registry) retryConflicts(ctx context.Context, fn func(ctx context.Context, tx *metadata.Tx) error) error {
	const tries = 5
	var err error
	for range tries {
		if err = r.metadata.Tx(ctx, fn); !errors.Is(err, metadata.ErrConflict) {
			return err
		}
	}
	return err
}
