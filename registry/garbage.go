package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/jobs"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
)

// CollectionKind is the kind of work that collects garbage.
const CollectionKind = "GARBAGE_COLLECTION"

const (
	// untaggedBatch is how many manifests without a tag are looked up at once.
	untaggedBatch = 100
	// progressInterval is how often a collection says how far it is.
	progressInterval = 10 * time.Second
	// reconcileInterval is how often a collection also looks for bytes that SQL never heard of, where nobody says when: that costs what
	// is stored, not what there is to collect.
	reconcileInterval = 7 * 24 * time.Hour
	// reconciledSetting remembers when that was.
	reconciledSetting = "registry/reconciled"
	// maxTimeWindow is the longest grace that can be asked for, in hours.
	maxTimeWindow = 24 * 365
)

// CollectionParameters say what a garbage collection does, by the names that Harbor's clients send.
type CollectionParameters struct {
	// DeleteUntagged deletes artifacts first that have no tag, that nothing lists, and that are attached to nothing.
	DeleteUntagged bool `json:"delete_untagged"`
	// DryRun changes nothing and tells what would be done.
	DryRun bool `json:"dry_run"`
	// Workers is what clients send for a collector that works by itself; here it has no effect.
	Workers int `json:"workers,omitempty"`
	// TimeWindow is how long what nothing needs is kept for a push that may be on its way, in hours; nil means [DefaultCollectGrace].
	TimeWindow *float64 `json:"time_window,omitempty"`
	// Reconcile looks for bytes in storage that SQL never heard of; nil does once a week.
	Reconcile *bool `json:"reconcile,omitempty"`
}

// Check returns a [*fault.Error] of kind Invalid for what cannot be meant.
func (p CollectionParameters) Check() error {
	if p.Workers < 0 || p.Workers > 10 {
		return fault.New(fault.Invalid, "workers must be from 1 to 10")
	}
	if p.TimeWindow != nil && (*p.TimeWindow < 0 || *p.TimeWindow > maxTimeWindow) {
		return fault.New(fault.Invalid, "time_window must be from 0 to %d hours", maxTimeWindow)
	}
	return nil
}

func (p CollectionParameters) grace(usual time.Duration) time.Duration {
	if p.TimeWindow == nil {
		return usual
	}
	return time.Duration(*p.TimeWindow * float64(time.Hour))
}

// CollectionOutcome is what a collection has come to so far.
type CollectionOutcome struct {
	// PurgedManifests had no tag. PurgedBlobs are forgotten, and FreedSpace is their size and that of the unknown bytes.
	PurgedManifests int64 `json:"purged_manifests"`
	PurgedBlobs     int64 `json:"purged_blobs"`
	FreedSpace      int64 `json:"freed_space"`
	// Unlinked are the blobs that were taken out of repositories, Reviewed those of Due that were looked at.
	Unlinked int64 `json:"unlinked_blobs"`
	Reviewed int64 `json:"reviewed"`
	Due      int64 `json:"due"`
	// Unknown are bytes that SQL never heard of.
	Unknown Unknown `json:"unknown"`
}

// collection is one run of the work.
type collection struct {
	*Registry
	run *jobs.Run
	CollectionParameters
	grace   time.Duration
	outcome CollectionOutcome
	said    time.Time
}

// Collecting returns the work of collecting garbage of the registry, with the grace for what may be on its way where nobody asks for
// another. It goes on where it was interrupted.
func Collecting(r *Registry, grace time.Duration) jobs.Kind {
	return jobs.Kind{Name: CollectionKind, Run: func(ctx context.Context, run *jobs.Run) error {
		c := &collection{Registry: r, run: run, said: time.Now()}
		if err := run.Decode(&c.CollectionParameters); err != nil {
			return err
		}
		c.grace = c.CollectionParameters.grace(grace)
		if !c.DryRun {
			// What an earlier attempt has done was done; a dry run counts anew.
			if err := json.Unmarshal([]byte(run.Task.Outcome), &c.outcome); err != nil {
				return jobs.Permanent(fmt.Errorf("outcome of the earlier attempt: %w", err))
			}
		}
		steps := []func(context.Context) error{c.collectUntagged, c.collectBlobs, c.collectUnknown}
		for _, step := range steps {
			err := step(ctx)
			run.Report(c.outcome)
			if err != nil {
				return err
			}
		}
		if !c.DryRun {
			run.Log.Printf("the bytes are deleted from storage once nobody can be reading them, %s from now", r.tombstoneGrace)
		}
		return nil
	}}
}

// wouldOr is how the log tells of a dry run.
func (c *collection) wouldOr(past, would string) string {
	if c.DryRun {
		return "dry run: would " + would
	}
	return past
}

// progress reports how far it is, and says so now and then.
func (c *collection) progress(format string, args ...any) {
	c.run.Report(c.outcome)
	if time.Since(c.said) >= progressInterval {
		c.said = time.Now()
		c.run.Log.Printf(format, args...)
	}
}

func (c *collection) collectBlobs(ctx context.Context) error {
	earlier := c.outcome
	done, err := c.CollectGarbage(ctx, Collect{Grace: c.grace, DryRun: c.DryRun, Progress: func(done Collected) {
		c.outcome.add(earlier, done)
		c.progress("%d of %d blobs looked at, %d freed so far", done.Reviewed, done.Due, done.Blobs)
	}})
	c.outcome.add(earlier, done)
	c.run.Log.Printf("looked at %d blobs that may have become unneeded: %s %d out of repositories, %s %d with %s", done.Reviewed,
		c.wouldOr("took", "take"), done.Links, c.wouldOr("freed", "free"), done.Blobs, sized(done.Bytes))
	return err
}

// add makes the outcome the earlier one with what is done since.
func (o *CollectionOutcome) add(earlier CollectionOutcome, done Collected) {
	o.Reviewed, o.Due = earlier.Reviewed+done.Reviewed, earlier.Reviewed+done.Due
	o.Unlinked, o.PurgedBlobs, o.FreedSpace = earlier.Unlinked+done.Links, earlier.PurgedBlobs+done.Blobs, earlier.FreedSpace+done.Bytes
}

// collectUnknown gives up what lies in storage and SQL never heard of, where it is asked for or has not been done for long.
func (c *collection) collectUnknown(ctx context.Context) error {
	wanted, err := c.reconcileDue(ctx)
	if err != nil || !wanted {
		return err
	}
	earlier := c.outcome
	add := func(now Unknown) {
		c.outcome.Unknown = now
		c.outcome.FreedSpace = earlier.FreedSpace + now.Bytes - earlier.Unknown.Bytes
	}
	// An upload that was committed in storage and not yet in SQL can be finished for as long as uploads live.
	before := c.now().Add(-max(c.grace, c.expiry))
	found, err := c.GiveUpUnknown(ctx, earlier.Unknown, before, c.DryRun, func(now Unknown) {
		add(now)
		c.progress("%d objects in storage looked at", now.Looked)
	})
	if err == nil {
		found.After = ""
	}
	add(found)
	c.run.Log.Printf("looked at %d objects in storage: %s %d with %s that the database does not know", found.Looked,
		c.wouldOr("gave up", "give up"), found.Objects, sized(found.Bytes))
	if err != nil || c.DryRun {
		return err
	}
	return c.metadata.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		return tx.PutSetting(ctx, reconciledSetting, c.now().UTC().Format(time.RFC3339))
	})
}

func (c *collection) reconcileDue(ctx context.Context) (bool, error) {
	if c.Reconcile != nil {
		return *c.Reconcile, nil
	}
	text, err := c.metadata.Setting(ctx, reconciledSetting)
	if errors.Is(err, metadata.ErrNotFound) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("read when the storage was last compared: %w", err)
	}
	last, err := time.Parse(time.RFC3339, text)
	return err != nil || c.now().Sub(last) >= reconcileInterval, nil
}

// collectUntagged deletes, as the registry itself, artifacts that no tag leads to any more.
func (c *collection) collectUntagged(ctx context.Context) error {
	if !c.DeleteUntagged {
		return nil
	}
	actor := event.Actor{Name: "garbage collection", Credential: "job"}
	before := c.now().Add(-c.grace)
	found := 0
	for last := int64(0); ; {
		page, err := c.metadata.UntaggedManifests(ctx, before, last, untaggedBatch)
		if err != nil {
			return fmt.Errorf("list untagged artifacts: %w", err)
		}
		for _, m := range page {
			last = m.ID
			found++
			if c.DryRun {
				c.outcome.PurgedManifests++
				c.run.Log.Printf("dry run: would delete %s@%s, which has no tag", m.Repository, m.Digest)
				continue
			}
			err := c.DeleteUnwanted(ctx, actor, m.Repository, m.Digest, nil, before)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil && !oci.HasCode(err, oci.CodeManifestUnknown) && fault.Of(err) != fault.NotFound {
				c.run.Log.Printf("could not delete %s@%s: %v", m.Repository, m.Digest, err)
				continue
			}
			c.outcome.PurgedManifests++
			c.run.Log.Printf("deleted %s@%s, which had no tag", m.Repository, m.Digest)
			c.run.Report(c.outcome)
		}
		if len(page) < untaggedBatch {
			c.run.Log.Printf("%d artifacts without a tag", found)
			return nil
		}
	}
}
