package proxy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/jobs"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
)

// EvictionKind is the kind of work that makes room in projects that are caches.
const EvictionKind = "PROXY_CACHE_EVICTION"

// evictionCron is when it is done.
const evictionCron = "0 */10 * * * *"

// A project whose usage is above full percent of its limit loses what was pulled the longest ago, until it is below roomy percent.
const (
	full  = 90
	roomy = 75
)

// DefaultSettled is how long what has come is spared: a client may be pulling it, and pulls are not counted at once.
const DefaultSettled = time.Hour

const (
	evictionPage = 100
	// stalePage is how many leases of gateways that died, and sightings that nobody believes any more, are removed at once.
	stalePage = 1000
)

// Artifacts deletes artifacts; [*registry.Registry] does.
type Artifacts interface {
	DeleteArtifact(ctx context.Context, actor event.Actor, repository oci.Repository, reference oci.Reference) error
}

// Evicting returns the work of making room in projects that are caches and have a limit, of what came longer than settled ago.
func Evicting(store *metadata.Store, artifacts Artifacts, settled time.Duration) jobs.Kind {
	return jobs.Kind{Name: EvictionKind, Attempts: 1, Run: func(ctx context.Context, run *jobs.Run) error {
		err := store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
			past := time.Now().Add(-DefaultSettled)
			if _, err := tx.DeleteFetches(ctx, past, stalePage); err != nil {
				return err
			}
			_, err := tx.DeleteSeenTags(ctx, past, stalePage)
			return err
		})
		if err != nil {
			return err
		}
		caches, err := store.Caches(ctx)
		if err != nil {
			return fmt.Errorf("list projects that are caches: %w", err)
		}
		var failures []error
		for _, project := range caches {
			if err := evict(ctx, run, store, artifacts, project, settled); err != nil {
				failures = append(failures, fmt.Errorf("project %s: %w", project.Name, err))
			}
		}
		return errors.Join(failures...)
	}}
}

// ScheduleEviction has room made from when there is a project that is a cache.
func ScheduleEviction(ctx context.Context, tx *metadata.Tx) error {
	_, err := tx.Schedule(ctx, EvictionKind, 0)
	if !errors.Is(err, metadata.ErrNotFound) {
		return err
	}
	next, err := jobs.Next(evictionCron, time.Now())
	if err != nil {
		return err
	}
	_, err = tx.PutSchedule(ctx, metadata.Schedule{Kind: EvictionKind, Cadence: "Custom", Cron: evictionCron, Parameters: "{}", NextAt: next})
	return err
}

// evict makes room in one project.
func evict(ctx context.Context, run *jobs.Run, store *metadata.Store, artifacts Artifacts, project metadata.Project, settled time.Duration) error {
	quota, err := store.Quota(ctx, project.ID)
	if err != nil || quota.Limit <= 0 || quota.Used <= quota.Limit/100*full {
		return err
	}
	run.Log.Printf("%s holds %s of %s", project.Name, sized(quota.Used), sized(quota.Limit))
	actor := event.Actor{Name: ActorName, Credential: "job"}
	young := time.Now().Add(-settled)
	for spared := int64(0); ; {
		page, _, err := store.ListArtifacts(ctx, metadata.Collection{ProjectID: project.ID}, metadata.Query{
			Order: []metadata.Order{{Field: "pull_time"}, {Field: "push_time"}}, Offset: spared, Limit: evictionPage,
		})
		if err != nil {
			return err
		}
		for _, a := range page {
			if quota, err = store.Quota(ctx, project.ID); err != nil {
				return err
			}
			if quota.Used <= quota.Limit/100*roomy {
				run.Log.Printf("%s holds %s now", project.Name, sized(quota.Used))
				return nil
			}
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if a.CreatedAt.After(young) {
				spared++
				continue
			}
			err := artifacts.DeleteArtifact(ctx, actor, a.Repository, oci.Reference{Digest: a.Digest})
			switch {
			case err == nil:
				run.Log.Printf("deleted %s@%s, last pulled %s", a.Repository, a.Digest, pulled(a.PulledAt))
			case !oci.HasCode(err, oci.CodeManifestUnknown):
				run.Log.Printf("could not delete %s@%s: %v", a.Repository, a.Digest, err)
				spared++
			}
		}
		if len(page) < evictionPage {
			run.Log.Printf("%s still holds %s, and the rest came within the last %s", project.Name, sized(quota.Used), settled)
			return nil
		}
	}
}

func pulled(at time.Time) string {
	if at.IsZero() {
		return "never"
	}
	return at.UTC().Format(time.RFC3339)
}

// sized is a number of bytes as people read it.
func sized(n int64) string { return humanize.IBytes(uint64(max(n, 0))) } //nolint:gosec // never negative
