package caddymodules

import (
	"context"
	"fmt"
	"slices"

	"github.com/berth-registry/berth/caddymodules/thisregistry"
	"github.com/berth-registry/berth/event/follow"
	"github.com/berth-registry/berth/jobs"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/notify/audit"
	"github.com/berth-registry/berth/project"
	"github.com/berth-registry/berth/project/retain"
	"github.com/berth-registry/berth/registry"
	"github.com/berth-registry/berth/replicate"
	"github.com/berth-registry/berth/replicate/proxy"
	"github.com/berth-registry/berth/setting"
)

// openJobs starts the work in the background.
func (s *services) openJobs(ctx context.Context, settings settings, store *metadata.Store, content *registry.Registry, configuration *setting.Settings) error {
	s.replication = replicate.NewPolicies(replicate.PoliciesOptions{Store: store, Registries: s.registries, Local: thisregistry.New(thisregistry.Options{
		Store: store, Registry: content, Projects: project.New(project.Options{Store: store, Settings: configuration, Changed: s.changed}),
	})})
	queue, closeQueue, err := share(queues, settings.queueIdentity(), func() (jobs.Queue, error) { return settings.queue.OpenQueue(newLogger()) })
	if err != nil {
		return fmt.Errorf("open queue: %w", err)
	}
	s.onClose(closeQueue)
	s.queue = queue
	kinds := append([]jobs.Kind{
		audit.Purging(store),
		s.registries.Checking(),
		s.sender.Delivering(),
		registry.Collecting(content, registry.DefaultCollectGrace),
		proxy.Evicting(store, content, proxy.DefaultSettled),
		registry.Verifying(content),
	}, slices.Concat(s.replication.Kinds(), retain.Retaining(store, content))...)
	expectTasks(kinds)
	s.jobs = jobs.New(jobs.Options{
		Store: store, Logger: s.logger, Queue: queue, Workers: settings.queue.Workers(), Observe: observeTask, Kinds: kinds,
	})
	metrics.watch(s.jobs)
	s.onClose(func() error {
		metrics.unwatch(s.jobs)
		return s.jobs.Close()
	})
	s.replication.Bind(s.jobs)
	s.run(follow.New(follow.Options{
		Store: store, Name: replicate.Follower, Handle: s.replication.Handle, Written: s.replication.Written, Logger: s.logger,
	}).Run)
	if err := audit.SchedulePurges(ctx, s.jobs.Recurring(audit.PurgeKind)); err != nil {
		return fmt.Errorf("schedule the purge of the audit log: %w", err)
	}
	return nil
}
