package caddymodules

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/berth-registry/berth/registry"
)

// followed collects the counters that registries keep themselves. A registry that closes leaves its counts behind, so that
// counters never go back.
type followed struct {
	lookups   *prometheus.Desc
	uploading *prometheus.Desc

	mu         sync.Mutex
	registries map[*registry.Registry]struct{}
	past       registry.Stats
}

func newFollowed() *followed {
	return &followed{
		lookups:    prometheus.NewDesc("berth_cache_lookups_total", "Lookups in the caches in memory.", []string{"cache", "outcome"}, nil),
		uploading:  prometheus.NewDesc("berth_uploads_in_progress", "Requests that are writing to an upload now.", nil, nil),
		registries: map[*registry.Registry]struct{}{},
	}
}

// follow adds a registry to what is collected.
func (c *collectors) follow(r *registry.Registry) {
	c.registries.mu.Lock()
	defer c.registries.mu.Unlock()
	c.registries.registries[r] = struct{}{}
}

// unfollow keeps a registry's counts and lets go of it.
func (c *collectors) unfollow(r *registry.Registry) {
	c.registries.mu.Lock()
	defer c.registries.mu.Unlock()
	delete(c.registries.registries, r)
	c.registries.past = add(c.registries.past, r.Stats())
	c.registries.past.Uploading = 0
}

func add(a, b registry.Stats) registry.Stats {
	sum := func(x, y registry.CacheStats) registry.CacheStats {
		return registry.CacheStats{Hits: x.Hits + y.Hits, Misses: x.Misses + y.Misses}
	}
	return registry.Stats{
		Tags: sum(a.Tags, b.Tags), Manifests: sum(a.Manifests, b.Manifests), Blobs: sum(a.Blobs, b.Blobs),
		Uploading: a.Uploading + b.Uploading,
	}
}

// Describe implements [prometheus.Collector].
func (f *followed) Describe(descriptions chan<- *prometheus.Desc) {
	descriptions <- f.lookups
	descriptions <- f.uploading
}

// Collect implements [prometheus.Collector].
func (f *followed) Collect(collected chan<- prometheus.Metric) {
	f.mu.Lock()
	total := f.past
	for r := range f.registries {
		total = add(total, r.Stats())
	}
	f.mu.Unlock()
	caches := map[string]registry.CacheStats{"tag": total.Tags, "manifest": total.Manifests, "blob": total.Blobs}
	for cache, stats := range caches {
		collected <- prometheus.MustNewConstMetric(f.lookups, prometheus.CounterValue, float64(stats.Hits), cache, "hit")
		collected <- prometheus.MustNewConstMetric(f.lookups, prometheus.CounterValue, float64(stats.Misses), cache, "miss")
	}
	collected <- prometheus.MustNewConstMetric(f.uploading, prometheus.GaugeValue, float64(total.Uploading))
}
