package registry

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
)

// maxPulledRepositories bounds the buffer of counted pulls; when it is full the counts are written early.
const maxPulledRepositories = 10_000

// pulls buffers counters, so that a pull writes nothing.
type pulls struct {
	mu      sync.Mutex
	counted map[oci.Repository]metadata.Pulls
	full    chan struct{}
}

// CountPull notes that the actor has pulled a manifest of the repository by a reference. It is written with others within the flush
// interval; a crash loses at most that.
func (r *Registry) CountPull(actor event.Actor, repository oci.Repository, reference oci.Reference, manifest metadata.Manifest) {
	now := r.now()
	r.pulls.add(metadata.Pulls{Repository: repository, Count: 1, LastAt: now})
	pulled := r.event(event.ManifestPulled, actor, repository)
	pulled.Digest, pulled.Tag, pulled.MediaType, pulled.Size = manifest.Digest.String(), reference.Tag, manifest.MediaType, manifest.Size
	r.tell(pulled)
}

func (p *pulls) add(pulled metadata.Pulls) {
	p.mu.Lock()
	defer p.mu.Unlock()
	sum, known := p.counted[pulled.Repository]
	if !known && len(p.counted) >= 2*maxPulledRepositories {
		return // the database has been down for long: counters are the first thing to let go
	}
	sum.Repository = pulled.Repository
	sum.Count += pulled.Count
	if pulled.LastAt.After(sum.LastAt) {
		sum.LastAt = pulled.LastAt
	}
	p.counted[pulled.Repository] = sum
	if len(p.counted) == maxPulledRepositories {
		select {
		case p.full <- struct{}{}:
		default:
		}
	}
}

// swap takes what was counted.
func (p *pulls) swap() []metadata.Pulls {
	p.mu.Lock()
	defer p.mu.Unlock()
	counted := make([]metadata.Pulls, 0, len(p.counted))
	for _, sum := range p.counted {
		counted = append(counted, sum)
	}
	clear(p.counted)
	return counted
}

func (r *Registry) flushLoop(ctx context.Context, interval time.Duration) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-r.pulls.full:
		}
		if err := r.flushPulls(ctx); err != nil && ctx.Err() == nil {
			r.log.WarnContext(ctx, "counted pulls are not written yet", "error", err)
		}
	}
}

// flushPulls writes what was counted, and keeps it for the next time when that fails.
func (r *Registry) flushPulls(ctx context.Context) error {
	counted := r.pulls.swap()
	if len(counted) == 0 {
		return nil
	}
	err := r.metadata.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		return tx.AddPulls(ctx, counted)
	})
	if err != nil {
		for _, sum := range counted {
			r.pulls.add(sum)
		}
		return fmt.Errorf("write pulls of %d repositories: %w", len(counted), err)
	}
	return nil
}
