package proxy

import (
	"context"
	"errors"
	"time"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/replicate/remote"
)

// ActorName and Credential are those of events about what was fetched.
const (
	ActorName  = "proxy cache"
	Credential = "proxy"
)

// askTimeout bounds how long the registry elsewhere may take to answer, pullTimeout how long to send a manifest.
const (
	askTimeout  = 20 * time.Second
	pullTimeout = time.Minute
)

// seen is what the registry elsewhere was seen to have under a tag.
type seen struct {
	// digest is "" when it had no such tag.
	digest oci.Digest
	// kept is what the tag stood for here at the time, "" for nothing.
	kept  oci.Digest
	until time.Time
}

// Manifest returns the manifest behind a reference: the one that is kept, when it is still the right one or nobody can tell soon, else
// the one that the registry elsewhere sends, which is kept for the next: also for who looks before they pull, since their pull may be by
// digest, and the tag has to be known when that registry is down. The error is an [*oci.Error].
func (r *Repository) Manifest(ctx context.Context, actor event.Actor, reference oci.Reference) (metadata.Manifest, error) {
	manifest, outcome, err := r.manifest(ctx, actor, reference)
	r.served(ContentManifest, outcome)
	return manifest, err
}

// manifest is Manifest that tells whether what is kept is served.
func (r *Repository) manifest(ctx context.Context, actor event.Actor, reference oci.Reference) (metadata.Manifest, Outcome, error) {
	kept, err := r.cache.options.Content.Manifest(ctx, r.name, reference)
	known := err == nil
	if err != nil && !oci.HasCode(err, oci.CodeManifestUnknown) {
		return kept, Miss, err
	}
	if reference.Digest != "" {
		if known {
			return kept, Hit, nil
		}
		fetched, err := r.fetchManifest(ctx, actor, reference, reference.Digest)
		return fetched, Miss, err
	}
	if !known {
		if there, sure := r.recall(reference, ""); sure && there == "" {
			return kept, Miss, r.unknown(reference)
		}
		fetched, err := r.fetchManifest(ctx, actor, reference, "")
		return fetched, Miss, err
	}
	there, sure := r.recall(reference, kept.Digest)
	if sure && there == kept.Digest {
		return kept, Hit, nil
	}
	current, err := r.patiently(ctx, func(ctx context.Context) (metadata.Manifest, error) {
		there := there
		if !sure {
			var err error
			if there, err = r.ask(ctx, reference, kept.Digest); err != nil {
				return kept, err
			}
		}
		switch {
		case there == "" && !r.origin.ServeGone:
			return kept, errGone
		case there == "" || there == kept.Digest:
			return kept, nil
		}
		return r.fetchManifest(ctx, actor, reference, there)
	})
	switch {
	case errors.Is(err, errGone):
		return kept, Miss, r.unknown(reference)
	case err != nil && ctx.Err() != nil:
		return kept, Stale, ctx.Err()
	case err != nil:
		r.cache.options.Logger.DebugContext(ctx, "what is kept is served", "repository", r.name, "tag", reference.Tag, "error", err)
		return kept, Stale, nil
	case current.Digest == kept.Digest:
		return kept, Hit, nil
	}
	return current, Miss, nil
}

// errGone says that the registry elsewhere does not have the tag any more.
var errGone = errors.New("gone from the registry elsewhere")

func (r *Repository) unknown(reference oci.Reference) error {
	return r.failure(remote.ErrNotFound, oci.CodeManifestUnknown, "manifest "+reference.String())
}

// patiently calls ask for as long as the cache's patience lasts, and lets it go on in the background after that.
func (r *Repository) patiently(ctx context.Context, ask func(ctx context.Context) (metadata.Manifest, error)) (metadata.Manifest, error) {
	type answer struct {
		manifest metadata.Manifest
		err      error
	}
	answered := make(chan answer, 1)
	own, cancel := r.cache.detached(ctx, pullTimeout)
	if !r.cache.goes(func() {
		defer cancel()
		manifest, err := ask(own)
		answered <- answer{manifest, err}
	}) {
		cancel()
		return metadata.Manifest{}, context.Canceled
	}
	timer := time.NewTimer(r.cache.options.Patience)
	defer timer.Stop()
	select {
	case a := <-answered:
		return a.manifest, a.err
	case <-ctx.Done():
		return metadata.Manifest{}, ctx.Err()
	case <-timer.C:
		r.state.slow()
		return metadata.Manifest{}, context.DeadlineExceeded
	}
}

// recall returns the digest that the registry elsewhere was seen to have under a tag not long ago, "" for none. kept is what the tag
// stands for here.
func (r *Repository) recall(reference oci.Reference, kept oci.Digest) (there oci.Digest, sure bool) {
	last, ok := r.cache.tags.Get(tagKey{r.name, reference.Tag})
	switch {
	case !ok || !time.Now().Before(last.until):
		return "", false
	case kept != "" && last.kept != kept:
		return kept, true // another gateway has seen it since
	}
	return last.digest, true
}

// ask returns what a tag stands for in the registry elsewhere, "" when it does not have it: as another gateway has seen it not long ago,
// or by asking.
func (r *Repository) ask(ctx context.Context, reference oci.Reference, kept oci.Digest) (oci.Digest, error) {
	if r.state.resting() {
		return "", errResting
	}
	found, err := r.shared(ctx, "look "+reference.Named(r.name), askTimeout, func(ctx context.Context) (any, error) {
		// A database that does not answer is no reason not to ask.
		if there, until, err := r.cache.options.Store.SeenTag(ctx, reference.Named(r.name)); err == nil && time.Now().Before(until) {
			r.remember(reference.Tag, seen{digest: there, kept: kept, until: until})
			return there, nil
		}
		d, err := r.origin.Remote.Describe(ctx, r.there, reference.Tag)
		r.state.heard(err)
		if errors.Is(err, remote.ErrNotFound) {
			err = nil
		}
		if err == nil {
			r.saw(ctx, reference, d.Digest, kept)
		}
		return d.Digest, err
	})
	if err != nil {
		return "", err
	}
	return found.(oci.Digest), nil
}

// errResting says that the registry elsewhere is not asked for the moment.
var errResting = errors.New("the registry elsewhere is left alone for the moment")

// saw notes what the registry elsewhere has under a tag, for all gateways, unless it has nothing.
func (r *Repository) saw(ctx context.Context, reference oci.Reference, there, kept oci.Digest) {
	ttl := r.cache.options.TTL
	if there == "" {
		ttl = min(ttl, goneTTL)
	}
	until := time.Now().Add(ttl)
	r.remember(reference.Tag, seen{digest: there, kept: kept, until: until})
	if there == "" || ttl < worthTelling || !r.cache.options.Keep(ctx) {
		return
	}
	err := r.cache.options.Store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		return tx.SeeTag(ctx, reference.Named(r.name), there, until)
	})
	if err != nil {
		r.cache.options.Logger.DebugContext(ctx, "other gateways will ask for a tag again", "repository", r.name, "tag", reference.Tag, "error", err)
	}
}

func (r *Repository) remember(tag string, s seen) { r.cache.tags.Add(tagKey{r.name, tag}, s) }

// fetchManifest returns the manifest of a digest, or, where that is "", of a tag, and keeps it under both: once for all who want it, over
// all gateways.
func (r *Repository) fetchManifest(ctx context.Context, actor event.Actor, reference oci.Reference, digest oci.Digest) (metadata.Manifest, error) {
	wanted := reference
	if digest != "" {
		wanted = oci.Reference{Digest: digest}
	}
	name := wanted.Named(r.name)
	if wanted.Digest != "" && reference.Tag != "" {
		name += " " + reference.Tag
	}
	found, err := r.shared(ctx, "manifest "+name, pullTimeout, func(ctx context.Context) (any, error) {
		var m metadata.Manifest
		err := r.cache.alone(ctx, "manifest "+name, func(ctx context.Context) (there bool, err error) {
			m, err = r.cache.options.Content.Manifest(ctx, r.name, reference)
			if oci.HasCode(err, oci.CodeManifestUnknown) {
				return false, nil
			}
			return err == nil && (digest == "" || m.Digest == digest), err
		}, func(ctx context.Context) (err error) {
			m, err = r.pull(ctx, actor, reference, wanted)
			return err
		})
		if reference.Tag != "" && (err == nil || errors.Is(err, remote.ErrNotFound)) {
			r.saw(ctx, reference, m.Digest, m.Digest)
		}
		return m, err
	})
	if err != nil {
		return metadata.Manifest{}, r.failure(err, oci.CodeManifestUnknown, "manifest "+reference.String())
	}
	return found.(metadata.Manifest), nil
}

// pull fetches a manifest and keeps it. One that cannot be kept is served all the same, unless a rule of the project is against it.
func (r *Repository) pull(ctx context.Context, actor event.Actor, reference, wanted oci.Reference) (metadata.Manifest, error) {
	// A tag may have moved to what is here already.
	m, err := r.cache.options.Content.Manifest(ctx, r.name, wanted)
	if wanted.Tag != "" || err != nil {
		sent, err := r.origin.Remote.Manifest(ctx, r.there, wanted.String())
		r.state.heard(err)
		if err != nil {
			return metadata.Manifest{}, err
		}
		m = metadata.Manifest{Digest: sent.Digest, MediaType: sent.MediaType, Payload: sent.Payload, Size: int64(len(sent.Payload))}
	}
	if !r.cache.options.Keep(ctx) {
		return m, nil
	}
	cause := event.Actor{Name: ActorName, Credential: Credential, RequestID: actor.RequestID, Address: actor.Address}
	err = r.cache.options.Content.KeepManifest(ctx, cause, r.name, reference.Tag, m)
	if oci.HasCode(err, oci.CodePrecondition) || oci.HasCode(err, oci.CodeManifestInvalid) || oci.HasCode(err, oci.CodeNameUnknown) {
		return m, err
	}
	if err != nil {
		r.cache.options.Logger.WarnContext(ctx, "a manifest is served and not kept", "repository", r.name, "digest", m.Digest, "error", err)
	}
	return m, nil
}

// shared calls act once for all who want the same at the same time. It goes on when they leave.
func (r *Repository) shared(ctx context.Context, name string, limit time.Duration, act func(ctx context.Context) (any, error)) (any, error) {
	result := r.cache.manifests.DoChan(name, func() (found any, err error) {
		done := make(chan struct{})
		if !r.cache.goes(func() {
			defer close(done)
			own, cancel := r.cache.detached(ctx, limit)
			defer cancel()
			found, err = act(own)
		}) {
			return nil, context.Canceled
		}
		<-done
		return found, err
	})
	select {
	case r := <-result:
		return r.Val, r.Err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// goes runs a function in the background, unless the cache has been closed.
func (c *Cache) goes(run func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() != nil {
		return false
	}
	c.running.Go(run)
	return true
}
