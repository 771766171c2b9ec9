package caddymodules

import (
	"context"
	"path/filepath"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/project/retain"
	"github.com/berth-registry/berth/registry"
	"github.com/berth-registry/berth/replicate/proxy"
	"github.com/berth-registry/berth/setting"
)

// openProxy opens the cache of registries elsewhere, which keeps nothing while the registry is read-only.
func (s *services) openProxy(settings settings, store *metadata.Store, content *registry.Registry, configuration *setting.Settings) {
	closed := readOnly(configuration)
	s.cache = proxy.New(proxy.Options{
		Origin:  proxy.Origins{Store: store, Open: s.openOrigin}.Origin,
		Content: content, Store: store, Directory: filepath.Join(settings.dataDir, "proxy"), Logger: s.logger,
		TTL: settings.proxyCacheTTL, Observer: observeProxy, Via: s.via(),
		Keep: func(ctx context.Context) bool { return !closed(ctx) },
	})
	s.onClose(s.cache.Close)
}

var observeProxy = proxy.Observer{
	Served: func(content string, outcome proxy.Outcome) {
		metrics.cacheServed.WithLabelValues(content, string(outcome)).Inc()
	},
	Asked:    func(operation, answer string) { metrics.upstreamRequests.WithLabelValues(operation, answer).Inc() },
	Received: func(bytes int) { metrics.upstreamBytes.Add(float64(bytes)) },
}

// cacheCreated makes what a project that is a cache begins with, so that it does not grow for ever.
func cacheCreated(retentions *retain.Policies) func(ctx context.Context, tx *metadata.Tx, actor event.Actor, project metadata.Project) error {
	return func(ctx context.Context, tx *metadata.Tx, actor event.Actor, project metadata.Project) error {
		if err := proxy.ScheduleEviction(ctx, tx); err != nil {
			return err
		}
		_, err := retentions.CreateWith(ctx, tx, actor, project, retain.ForCaches())
		return err
	}
}

// via names this registry in requests to those that its projects are caches of.
func (s *services) via() string { return "berth-" + s.installation }

// openOrigin opens a registry elsewhere for projects that are caches of it: somebody waits for its answers.
func (s *services) openOrigin(ctx context.Context, id int64) (proxy.Remote, error) {
	registry, err := s.registries.Open(ctx, id)
	if err != nil {
		return nil, err
	}
	return registry.Content().Once().Via(s.via()), nil
}
