package proxy

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/replicate/remote"
)

// listTimeout bounds how long the registry elsewhere may take to list, before what is here is listed.
const listTimeout = 5 * time.Second

// mostTags is how many tags of one repository are listed, mostReferrers how many referrers of one subject.
const (
	mostTags      = 100_000
	mostReferrers = 2_000
)

// errEnough ends a listing that has more than is shown.
var errEnough = errors.New("enough")

// Tags returns up to n tags in byte order, after last, and whether there are more: those that the registry elsewhere has, with those
// that are here; only these while it does not answer. The error is an [*oci.Error].
func (r *Repository) Tags(ctx context.Context, last string, n int) (tags []string, more bool, err error) {
	there, asked := r.tagsThere(ctx)
	kept, more, err := r.cache.options.Content.Tags(ctx, r.name, last, n)
	if asked != nil {
		if err != nil { // nothing is here either
			return nil, false, r.failure(asked, oci.CodeNameUnknown, "tags")
		}
		return kept, more, nil
	}
	if err != nil && !oci.HasCode(err, oci.CodeNameUnknown) {
		return nil, false, err
	}
	tags = append(kept, slices.DeleteFunc(there, func(tag string) bool { return tag <= last })...)
	slices.Sort(tags)
	tags = slices.Compact(tags)
	if len(tags) > n {
		return tags[:max(n, 0)], true, nil
	}
	return tags, more, nil
}

func (r *Repository) tagsThere(ctx context.Context) ([]string, error) {
	if r.state.resting() {
		return nil, errResting
	}
	found, err := r.shared(ctx, "tags "+r.name.String(), listTimeout, func(ctx context.Context) (any, error) {
		var tags []string
		err := r.origin.Remote.Tags(ctx, r.there, func(page []string) error {
			if tags = append(tags, page...); len(tags) > mostTags {
				return errEnough
			}
			return nil
		})
		if errors.Is(err, errEnough) {
			err = nil
		}
		r.state.heard(err)
		return tags, err
	})
	if err != nil {
		return nil, err
	}
	return slices.Clone(found.([]string)), nil
}

// subjectKey is what referrers are asked for by.
type subjectKey struct {
	repository oci.Repository
	digest     oci.Digest
}

// askReferrers asks the registry elsewhere what refers to a subject.
func (c *Cache) askReferrers(ctx context.Context, key subjectKey) ([]oci.Descriptor, time.Duration, error) {
	r, err := c.Of(ctx, key.repository)
	if err != nil {
		return nil, 0, err
	}
	if r == nil {
		return nil, c.options.TTL, nil
	}
	if r.state.resting() {
		return nil, 0, errResting
	}
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	found, err := r.origin.Remote.Referrers(ctx, r.there, key.digest)
	r.state.heard(err)
	return found[:min(len(found), mostReferrers)], c.options.TTL, err
}

// Referrers returns up to n manifests that refer to the subject, after the given digest, and where the next page begins, "" after the
// last: those that the registry elsewhere tells of, with those that are here; only these while it does not answer.
func (r *Repository) Referrers(ctx context.Context, subject oci.Digest, artifactType string, after oci.Digest, n int) (referrers []oci.Descriptor, next oci.Digest, err error) {
	kept, next, err := r.cache.options.Content.Referrers(ctx, r.name, subject, artifactType, after, n)
	if err != nil || r.origin.OwnReferrers {
		return kept, next, err
	}
	there, err := r.cache.referrers.Get(ctx, subjectKey{r.name, subject})
	if ctx.Err() != nil {
		return nil, "", ctx.Err()
	}
	if err != nil && !errors.Is(err, remote.ErrNotFound) {
		r.cache.options.Logger.DebugContext(ctx, "the referrers that are kept are listed", "repository", r.name, "subject", subject, "error", err)
		return kept, next, nil
	}
	for _, d := range there {
		if d.Digest > after && (artifactType == "" || d.ArtifactType == artifactType) && (next == "" || d.Digest <= next) {
			kept = append(kept, d)
		}
	}
	slices.SortStableFunc(kept, func(a, b oci.Descriptor) int { return cmp.Compare(a.Digest, b.Digest) })
	kept = slices.CompactFunc(kept, func(a, b oci.Descriptor) bool { return a.Digest == b.Digest })
	if len(kept) > n {
		return kept[:n], kept[n-1].Digest, nil
	}
	return kept, next, nil
}
