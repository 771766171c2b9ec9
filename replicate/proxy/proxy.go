// Package proxy makes projects caches of registries elsewhere. What is asked for and not here is fetched once, whoever asks and through
// whichever gateway, and streams to all of them while it is stored; what is here is served even while the registry elsewhere is down,
// slow, or has enough of requests.
package proxy

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/identity/fresh"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/pause"
	"github.com/berth-registry/berth/policy/selector"
	"github.com/berth-registry/berth/replicate/remote"
)

// Remote is a registry that is cached; [remote.Registry] is one. What does not exist is an error that wraps [remote.ErrNotFound].
type Remote interface {
	Describe(ctx context.Context, repository, reference string) (oci.Descriptor, error)
	Manifest(ctx context.Context, repository, reference string) (remote.Manifest, error)
	BlobSize(ctx context.Context, repository string, digest oci.Digest) (int64, error)
	OpenBlob(ctx context.Context, repository string, digest oci.Digest, offset int64) (content io.ReadCloser, size int64, err error)
	Tags(ctx context.Context, repository string, fn func(tags []string) error) error
	Referrers(ctx context.Context, repository string, subject oci.Digest) ([]oci.Descriptor, error)
}

// Content is what this registry has, where what is fetched is kept; [*registry.Registry] is one. What does not exist is an
// [*oci.Error] that says so.
type Content interface {
	Manifest(ctx context.Context, repository oci.Repository, reference oci.Reference) (metadata.Manifest, error)
	KeepManifest(ctx context.Context, actor event.Actor, repository oci.Repository, tag string, manifest metadata.Manifest) error
	Blob(ctx context.Context, repository oci.Repository, digest oci.Digest) (metadata.Blob, error)
	ReadBlob(ctx context.Context, repository oci.Repository, digest oci.Digest, offset int64) (io.ReadCloser, error)
	KeepBlob(ctx context.Context, repository oci.Repository, digest oci.Digest, body io.Reader) error
	KeepPart(ctx context.Context, body io.Reader) (key string, err error)
	OpenPart(ctx context.Context, key string) (io.ReadCloser, error)
	Tags(ctx context.Context, repository oci.Repository, last string, n int) (tags []string, more bool, err error)
	Referrers(ctx context.Context, repository oci.Repository, subject oci.Digest, artifactType string, after oci.Digest, n int) (referrers []oci.Descriptor, next oci.Digest, err error)
}

// Origin is the registry that a project is a cache of.
type Origin struct {
	Remote Remote
	// Name is how people know the registry, for messages.
	Name string
	// Library tells that what has no namespace there is in the namespace "library", as on Docker Hub.
	Library bool
	// BytesPerSecond bounds all that is fetched for the project through one gateway; 0 stands for no limit.
	BytesPerSecond int64
	// Connections bounds how many blobs are fetched at once for the project through one gateway; 0 stands for [DefaultConnections], and
	// a negative number for no limit.
	Connections int64
	// ServeGone tells that a tag is served that the registry does not have any more.
	ServeGone bool
	// OwnReferrers tells that only referrers are listed that are here.
	OwnReferrers bool
	// Filter is by which of the registry's repositories are to be had, by their names there.
	Filter selector.Filter
}

// The defaults of [Options], and of [Origin].
const (
	DefaultTTL         = 2 * time.Minute
	DefaultPatience    = 500 * time.Millisecond
	DefaultLease       = 6 * time.Second
	DefaultConnections = 32
)

const (
	// originTTL is how long what is known of a project is believed.
	originTTL = 2 * time.Second
	// goneTTL bounds how long a tag is believed not to exist, and a registry to be out of order.
	goneTTL = 10 * time.Second
	// worthTelling is for how long at least a tag has to be believed to stand for something, for other gateways to be told.
	worthTelling = time.Second
	// staleOrigin is how long projects are served by what was known of them while the database does not answer.
	staleOrigin = time.Hour
	// maxTags, maxProjects and maxReferrers bound what is remembered of each.
	maxTags      = 64 << 10
	maxProjects  = 4 << 10
	maxReferrers = 1 << 10
	// maxHops is through how many others a request may have come.
	maxHops = 16
)

// Options set a [Cache] up. Origin, Content, Store, Directory and Logger are required; what is zero has its default.
type Options struct {
	// Origin returns what a project is a cache of, nil when it is none.
	Origin  func(ctx context.Context, project string) (*Origin, error)
	Content Content
	Store   *metadata.Store
	// Directory is for the blobs that are on their way; it is made when the first comes.
	Directory string
	Logger    *slog.Logger
	Observer  Observer
	// TTL is how long a tag is believed, by all gateways, to stand for the same manifest before the registry elsewhere is asked; negative
	// has it asked each time.
	TTL time.Duration
	// Patience is how long that registry may take to answer when there is something to serve without its answer.
	Patience time.Duration
	// Idle is how long a blob may not get on before its connection is given up.
	Idle time.Duration
	// Lease is how long after the death of a gateway another fetches what that one was about to. A gateway that lives goes on with it
	// three times as often, however slow the registry elsewhere is.
	Lease time.Duration
	// Tell is how often a gateway that fetches a blob looks whether another wants what has come of it.
	Tell time.Duration
	// Via is the name by which this registry's own requests are known when they come back to it; "" knows none. The requests of remotes
	// have it in their Via header.
	Via string
	// Keep tells whether what is fetched is stored for the moment; nil means that it is.
	Keep func(ctx context.Context) bool
}

// Cache is the way from projects to the registries that they are caches of. Its methods may be called from many goroutines.
type Cache struct {
	options Options
	holder  string
	origins *fresh.Memory[string, *Origin]
	states  *lru.Cache[string, *state]
	tags    *lru.Cache[tagKey, seen]
	// referrers are what the registries elsewhere have told of subjects.
	referrers *fresh.Memory[subjectKey, []oci.Descriptor]
	manifests singleflight.Group

	mu      sync.Mutex
	fetches map[contentKey]*fetch

	ctx     context.Context
	stop    context.CancelFunc
	running sync.WaitGroup
}

type tagKey struct {
	repository oci.Repository
	tag        string
}

type contentKey struct {
	repository oci.Repository
	digest     oci.Digest
}

// New returns a cache. [Cache.Close] ends what it does in the background.
func New(options Options) *Cache {
	setDefault(&options.TTL, DefaultTTL)
	setDefault(&options.Patience, DefaultPatience)
	setDefault(&options.Idle, 30*time.Second)
	setDefault(&options.Lease, DefaultLease)
	setDefault(&options.Tell, 500*time.Millisecond)
	options.Observer = options.Observer.orNobody()
	if options.Keep == nil {
		options.Keep = func(context.Context) bool { return true }
	}
	c := &Cache{options: options, holder: rand.Text(), fetches: map[contentKey]*fetch{}}
	c.ctx, c.stop = context.WithCancel(context.Background()) //nolint:gosec // Close calls it
	c.origins = fresh.New(func(ctx context.Context, project string) (*Origin, time.Duration, error) {
		origin, err := options.Origin(ctx, project)
		if origin != nil {
			measured := *origin
			measured.Remote = observed{origin.Remote, options.Observer}
			origin = &measured
		}
		return origin, originTTL, err
	}, fresh.Options{Size: maxProjects, Stale: staleOrigin})
	c.referrers = fresh.New(c.askReferrers, fresh.Options{Size: maxReferrers, Stale: staleOrigin})
	c.states, c.tags = newLRU[string, *state](maxProjects), newLRU[tagKey, seen](maxTags)
	return c
}

func setDefault(field *time.Duration, value time.Duration) {
	if *field == 0 {
		*field = value
	}
}

func newLRU[K comparable, V any](size int) *lru.Cache[K, V] {
	cache, err := lru.New[K, V](size)
	if err != nil {
		panic(err) // sizes are positive
	}
	return cache
}

// Close breaks off what is being fetched. What was stored whole stays.
func (c *Cache) Close() error {
	c.stop()
	c.running.Wait()
	return nil
}

// Forget makes the next request for any project look what it is a cache of.
func (c *Cache) Forget() { c.origins.Forget() }

// Repository is a repository of a project that is a cache.
type Repository struct {
	cache  *Cache
	origin *Origin
	state  *state
	name   oci.Repository
	// there is the repository's name in the registry elsewhere.
	there string
}

// Of returns the repository when its project is a cache of a registry elsewhere, nil when it is not.
func (c *Cache) Of(ctx context.Context, repository oci.Repository) (*Repository, error) {
	project := repository.Project()
	if project == "" {
		return nil, nil
	}
	origin, err := c.origins.Get(ctx, project)
	if err != nil {
		return nil, unavailable("what project "+project+" is a cache of cannot be looked up for the moment: try again", err)
	}
	if origin == nil {
		return nil, nil
	}
	r := &Repository{cache: c, origin: origin, state: c.stateOf(project), name: repository, there: strings.TrimPrefix(repository.String(), project+"/")}
	if origin.Library && !strings.Contains(r.there, "/") {
		r.there = "library/" + r.there
		r.name = oci.Repository(project + "/" + r.there)
	}
	return r, nil
}

// Name is the one that the repository is kept under, whichever of its names it was asked for by.
func (r *Repository) Name() oci.Repository { return r.name }

// Refusal is the answer to whoever wants to push to the repository, or to put into it what does not come from there.
func (r *Repository) Refusal() *oci.Error {
	return oci.NewError(oci.CodeDenied, "project %q is a cache of registry %q, and takes nothing else: push to that registry, or to another project",
		r.name.Project(), r.origin.Name)
}

// Excluded is the answer to whoever wants to pull from the repository, when the project's filter does not let it through; else nil.
func (r *Repository) Excluded() error {
	if r.origin.Filter.Passes(r.there) {
		return nil
	}
	return oci.NewError(oci.CodeDenied, "project %q is a cache of repositories of registry %q that match %q only, which %q does not",
		r.name.Project(), r.origin.Name, r.origin.Filter, r.there)
}

// Through takes a request with Via headers in, and returns the context for what is asked elsewhere for it, which tells through whom it
// has come. The error is an [*oci.Error] for a request that this registry has sent itself, looking for what it does not have, be it
// through others that are caches of it.
func (r *Repository) Through(ctx context.Context, via []string) (context.Context, error) {
	var hops []string
	for _, list := range via {
		for hop := range strings.SplitSeq(list, ",") {
			fields := strings.Fields(hop) // a protocol, the name, and a comment
			if len(fields) < 2 {
				continue
			}
			if hops = append(hops, fields[0]+" "+fields[1]); len(hops) > maxHops || fields[1] == r.cache.options.Via {
				return ctx, &oci.Error{Code: oci.CodeUnsupported, Status: http.StatusLoopDetected, Message: fmt.Sprintf("registry %q, which project %q is a cache of, is this registry, or leads back to it", r.origin.Name, r.name.Project())}
			}
		}
	}
	return remote.Through(ctx, hops), nil
}

// detached is a context for what goes on when the request that began it has ended.
func (c *Cache) detached(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	stop := context.AfterFunc(c.ctx, cancel)
	return ctx, func() {
		stop()
		cancel()
	}
}

// alone calls act while this gateway alone fetches what the name stands for, unless done says, when it is asked before, that another
// gateway has fetched it meanwhile. A gateway that stood still for so long that another has taken over waits for that one, and calls act
// again if it has to, with what it has of its own.
func (c *Cache) alone(ctx context.Context, name string, done func(ctx context.Context) (bool, error), act func(ctx context.Context) error) error {
	if !c.options.Keep(ctx) {
		return act(ctx) // which nobody else would get anything of
	}
	const first, longest = 50 * time.Millisecond, time.Second
	for wait := first; ; wait = min(2*wait, longest) {
		err := c.lease(ctx, name)
		held := err == nil
		if err != nil && !errors.Is(err, metadata.ErrConflict) {
			return databaseDown(err)
		}
		there, err := done(ctx)
		if held && err == nil && !there {
			err, there = c.holding(ctx, name, act), true
		}
		overtaken := errors.Is(err, errOvertaken)
		if held && !overtaken {
			c.release(ctx, name)
		}
		if (err != nil || there) && !overtaken {
			return err
		}
		if err := pause.For(ctx, wait); err != nil {
			return err
		}
	}
}

func (c *Cache) lease(ctx context.Context, name string) error {
	return c.options.Store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		return tx.LeaseFetch(ctx, name, c.holder, c.options.Lease)
	})
}

// release gives a lease back; one that cannot be given back ends by itself.
func (c *Cache) release(ctx context.Context, name string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.options.Lease)
	defer cancel()
	err := c.options.Store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error { return tx.ReleaseFetch(ctx, name, c.holder) })
	if err != nil {
		c.options.Logger.WarnContext(ctx, "the lease on a fetch ends by itself", "fetch", name, "error", err)
	}
}

// errOvertaken says that another gateway took this one for dead and fetches what it was about to.
var errOvertaken = errors.New("another gateway has taken over")

// holding calls act and keeps the lease meanwhile; who has lost it to another is broken off, which is an errOvertaken.
func (c *Cache) holding(ctx context.Context, name string, act func(ctx context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var keeping sync.WaitGroup
	defer keeping.Wait()
	defer cancel(nil)
	keeping.Go(func() {
		ticker := time.NewTicker(c.options.Lease / 3)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			if err := c.lease(ctx, name); errors.Is(err, metadata.ErrConflict) {
				cancel(errOvertaken)
			}
		}
	})
	err := act(ctx)
	if err != nil && errors.Is(context.Cause(ctx), errOvertaken) {
		c.options.Logger.WarnContext(ctx, "another gateway has taken over a fetch, as this one stood still", "fetch", name)
		return errOvertaken
	}
	return err
}
