// Package registry is what a container registry does: it takes blobs and manifests, links them to repositories, and gives them
// back. It knows neither HTTP nor SQL text, and asks nobody for permission: its callers do that first.
//
// Two promises shape it. Bytes are durable in storage before SQL names them, so a crash leaves at worst bytes that nothing
// names. And everything that one acknowledgement promises is written by one transaction.
package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/flush"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/storage"
)

// The defaults of [Options].
const (
	DefaultUploadExpiry       = 24 * time.Hour
	DefaultStaleness          = 2 * time.Second
	DefaultManifestCacheBytes = 64 << 20
	DefaultBlobCacheEntries   = 64 << 10
	DefaultTagCacheEntries    = 64 << 10
	DefaultFlushInterval      = 5 * time.Second
	DefaultSweepInterval      = time.Minute
	DefaultTombstoneGrace     = 15 * time.Minute
)

// Options are what a [Registry] is made of. Metadata, Storage and Logger are required; what is zero has its default.
type Options struct {
	Metadata *metadata.Store
	Storage  storage.Backend
	Logger   *slog.Logger
	// Clock tells the time; the default is [time.Now].
	Clock func() time.Time
	// UploadExpiry is how long an upload lives after its last byte.
	UploadExpiry time.Duration
	// Staleness bounds how long this gateway goes on serving a tag, a manifest or a blob's link that another gateway has moved or
	// deleted. What changes on this gateway is seen at once.
	Staleness          time.Duration
	ManifestCacheBytes int64
	BlobCacheEntries   int64
	TagCacheEntries    int64
	// FlushInterval is how often counted pulls are written and counts of lists added up, SweepInterval how often what expired or was deleted is removed.
	FlushInterval time.Duration
	SweepInterval time.Duration
	// TombstoneGrace is how long bytes outlive their name, for readers that were given a URL or have the name in a cache: longer than
	// the staleness of all gateways, and than a transaction takes.
	TombstoneGrace time.Duration
	// Record is given the events of pulls, which are not worth a write each; it does not wait. Nil gives them to nobody.
	Record func(event.Event)
	// EnforceLimits tells whether projects are kept within their quotas for the moment; nil means that they are.
	EnforceLimits func(ctx context.Context) bool
	// KeepDeleted tells for how long deletions can be undone for the moment, 0 when they cannot; nil means that.
	KeepDeleted func(ctx context.Context) time.Duration
}

func (o *Options) setDefaults() {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.EnforceLimits == nil {
		o.EnforceLimits = func(context.Context) bool { return true }
	}
	if o.KeepDeleted == nil {
		o.KeepDeleted = func(context.Context) time.Duration { return 0 }
	}
	setDefault(&o.UploadExpiry, DefaultUploadExpiry)
	setDefault(&o.Staleness, DefaultStaleness)
	setDefault(&o.ManifestCacheBytes, DefaultManifestCacheBytes)
	setDefault(&o.BlobCacheEntries, DefaultBlobCacheEntries)
	setDefault(&o.TagCacheEntries, DefaultTagCacheEntries)
	setDefault(&o.FlushInterval, DefaultFlushInterval)
	setDefault(&o.SweepInterval, DefaultSweepInterval)
	setDefault(&o.TombstoneGrace, DefaultTombstoneGrace)
	if o.Record == nil {
		o.Record = func(event.Event) {}
	}
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

type tagKey struct {
	repository oci.Repository
	tag        string
}

type contentKey struct {
	repository oci.Repository
	digest     oci.Digest
}

// Registry keeps and serves content. Its methods may be called from many goroutines. Their errors are an [*oci.Error] for what a
// client may read, an [*OffsetError], an [*InterruptedError], or the context's error.
type Registry struct {
	metadata *metadata.Store
	storage  storage.Backend
	log      *slog.Logger
	now      func() time.Time
	expiry   time.Duration
	tell     func(event.Event)
	enforce  func(ctx context.Context) bool

	tombstoneGrace time.Duration
	keepDeleted    func(ctx context.Context) time.Duration

	tags      *cache[tagKey, oci.Digest]
	manifests *cache[contentKey, metadata.Manifest]
	blobs     *cache[contentKey, metadata.Blob]

	// places remembers where pages of lists began.
	places *cache[listOffset, listPlace]
	// pushed is told of manifests whose configs are not read yet.
	pushed chan struct{}

	writers   keylock
	uploading atomic.Int64
	pulls     pulls
	// orphansSwept is when the storage was last searched for orphans, in Unix seconds.
	orphansSwept atomic.Int64

	stop  context.CancelFunc
	loops sync.WaitGroup
}

// New returns a registry and starts its background loops, which [Registry.Close] ends.
func New(options Options) *Registry {
	options.setDefaults()
	one := func(metadata.Blob) int64 { return 1 }
	r := &Registry{
		metadata: options.Metadata,
		storage:  options.Storage,
		log:      options.Logger,
		now:      options.Clock,
		expiry:   options.UploadExpiry,
		tell:     options.Record,
		enforce:  options.EnforceLimits,

		tombstoneGrace: options.TombstoneGrace,
		keepDeleted:    options.KeepDeleted,

		tags: newCache[tagKey](options.Staleness, options.TagCacheEntries, func(oci.Digest) int64 { return 1 }, options.Clock),
		manifests: newCache[contentKey](options.Staleness, options.ManifestCacheBytes, func(m metadata.Manifest) int64 {
			return int64(len(m.Payload)) + manifestOverhead
		}, options.Clock),
		blobs:  newCache[contentKey](options.Staleness, options.BlobCacheEntries, one, options.Clock),
		places: newCache[listOffset](placeLifetime, maxPlaces, func(listPlace) int64 { return 1 }, options.Clock),
		pushed: make(chan struct{}, 1),
	}
	ctx, stop := context.WithCancel(context.Background())
	r.stop = stop
	r.pulls.counted = make(map[pulledKey]metadata.Pulls)
	r.pulls.loop = flush.Start(options.FlushInterval, r.log, "counted pulls", r.flushPulls)
	r.loops.Go(func() { r.foldLoop(ctx, options.FlushInterval) })
	r.loops.Go(func() { r.sweepLoop(ctx, options.SweepInterval) })
	r.loops.Go(func() { r.deriveLoop(ctx) })
	return r
}

// Close ends the background loops and writes the pulls that were counted since the last flush; its error is that of this
// write. The metadata store and the storage stay open: they are the caller's.
func (r *Registry) Close() error {
	r.stop()
	r.loops.Wait()
	return r.pulls.loop.Close()
}

// CacheStats counts the lookups in one cache.
type CacheStats struct {
	Hits, Misses uint64
}

// Stats are counters for metrics.
type Stats struct {
	Tags, Manifests, Blobs CacheStats
	// Uploading is the number of requests that are writing to an upload now.
	Uploading int64
}

// Stats returns the counters since the start.
func (r *Registry) Stats() Stats {
	return Stats{
		Tags:      CacheStats{r.tags.hits.Load(), r.tags.misses.Load()},
		Manifests: CacheStats{r.manifests.hits.Load(), r.manifests.misses.Load()},
		Blobs:     CacheStats{r.blobs.hits.Load(), r.blobs.misses.Load()},
		Uploading: r.uploading.Load(),
	}
}

// InvalidateTag makes the next pull of the tag read the database: for whoever learns that another gateway moved it.
func (r *Registry) InvalidateTag(repository oci.Repository, tag string) {
	r.tags.drop(tagKey{repository, tag})
}

// InvalidateManifest makes the next pull of the manifest read the database.
func (r *Registry) InvalidateManifest(repository oci.Repository, digest oci.Digest) {
	r.manifests.drop(contentKey{repository, digest})
	r.tags.dropIf(func(key tagKey, d oci.Digest) bool { return key.repository == repository && d == digest })
}

// InvalidateBlob makes the next pull of the blob from the repository read the database.
func (r *Registry) InvalidateBlob(repository oci.Repository, digest oci.Digest) {
	r.blobs.drop(contentKey{repository, digest})
}

// InvalidateRepository forgets all that is cached of a repository: for whoever deletes it.
func (r *Registry) InvalidateRepository(repository oci.Repository) {
	r.tags.dropIf(func(key tagKey, _ oci.Digest) bool { return key.repository == repository })
	r.manifests.dropIf(func(key contentKey, _ metadata.Manifest) bool { return key.repository == repository })
	r.blobs.dropIf(func(key contentKey, _ metadata.Blob) bool { return key.repository == repository })
}

func (r *Registry) event(kind event.Kind, actor event.Actor, repository oci.Repository) event.Event {
	e := actor.Event(kind)
	e.Project, e.Repository, e.At = repository.Project(), repository.String(), r.now()
	return e
}

// ensureRepository returns the repository, made on its first push under a project that exists.
func ensureRepository(ctx context.Context, tx *metadata.Tx, name oci.Repository) (metadata.Repository, error) {
	repository, err := tx.Repository(ctx, name)
	if !errors.Is(err, metadata.ErrNotFound) {
		return repository, err
	}
	if name.Project() == "" {
		return repository, noProject(name)
	}
	project, err := tx.Project(ctx, name.Project())
	if errors.Is(err, metadata.ErrNotFound) {
		return repository, projectUnknown(name.Project())
	}
	if err != nil {
		return repository, fmt.Errorf("read project %s: %w", name.Project(), err)
	}
	return tx.EnsureRepository(ctx, project.ID, name)
}

func noProject(name oci.Repository) error {
	return oci.NewError(oci.CodeNameUnknown, "repository %q is in no project: push to a name of the form project/%s", name, name)
}

func projectUnknown(project string) error {
	return oci.NewError(oci.CodeNameUnknown, "project %q does not exist: create it first, with \"berth project create %s\" or in the console", project, project)
}
