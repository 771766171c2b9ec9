package registry

import (
	"context"
	"fmt"
	"sync"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/flush"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
)

// maxPulled bounds the buffer of counted pulls; when it is full the counts are written early.
const maxPulled = 10_000

// pulledKey is what pulls are counted by.
type pulledKey struct {
	repository oci.Repository
	digest     oci.Digest
	tag        string
}

// pulls buffers counters, so that a pull writes nothing.
type pulls struct {
	mu      sync.Mutex
	counted map[pulledKey]metadata.Pulls
	loop    *flush.Loop
}

// CountPull notes that the actor has pulled a manifest of the repository by a reference. It is written with others within the flush
// interval; a crash loses at most that.
func (r *Registry) CountPull(actor event.Actor, repository oci.Repository, reference oci.Reference, manifest metadata.Manifest) {
	now := r.now()
	r.pulls.add(metadata.Pulls{Repository: repository, Digest: manifest.Digest, Tag: reference.Tag, Count: 1, LastAt: now})
	pulled := r.event(event.ManifestPulled, actor, repository)
	pulled.Digest, pulled.Tag, pulled.MediaType, pulled.Size = manifest.Digest.String(), reference.Tag, manifest.MediaType, manifest.Size
	r.tell(pulled)
}

func (p *pulls) add(pulled metadata.Pulls) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := pulledKey{pulled.Repository, pulled.Digest, pulled.Tag}
	sum, known := p.counted[key]
	if !known && len(p.counted) >= 2*maxPulled {
		return // the database has been down for long: counters are the first thing to let go
	}
	sum.Repository, sum.Digest, sum.Tag = pulled.Repository, pulled.Digest, pulled.Tag
	sum.Count += pulled.Count
	if pulled.LastAt.After(sum.LastAt) {
		sum.LastAt = pulled.LastAt
	}
	p.counted[key] = sum
	if len(p.counted) == maxPulled {
		p.loop.Wake()
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
		return fmt.Errorf("write pulls of %d manifests: %w", len(counted), err)
	}
	return nil
}
