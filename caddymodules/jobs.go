package caddymodules

import (
	"context"
	"fmt"

	"github.com/berth-registry/berth/jobs"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/notify/audit"
	"github.com/berth-registry/berth/registry"
)

// openJobs starts the work in the background.
func (s *services) openJobs(ctx context.Context, store *metadata.Store, content *registry.Registry) error {
	s.jobs = jobs.New(jobs.Options{Store: store, Logger: s.logger, Kinds: []jobs.Kind{
		audit.Purging(store),
		s.registries.Checking(),
		registry.Collecting(content, registry.DefaultCollectGrace),
	}})
	s.onClose(s.jobs.Close)
	if err := audit.SchedulePurges(ctx, s.jobs.Recurring(audit.PurgeKind)); err != nil {
		return fmt.Errorf("schedule the purge of the audit log: %w", err)
	}
	return nil
}
