package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/policy/selector"
	"github.com/berth-registry/berth/replicate/remote"
)

// dockerHub is the kind of registry where what has no namespace is in "library".
const dockerHub = "docker-hub"

// Origins finds in a database what projects are caches of.
type Origins struct {
	Store *metadata.Store
	// Open opens a registry elsewhere; the same until its row changes, so that it keeps its tokens.
	Open func(ctx context.Context, registryID int64) (Remote, error)
}

// Origin returns what a project is a cache of, nil when it is none. A registry that cannot be opened is one that does not answer: what is
// here of it is served.
func (o Origins) Origin(ctx context.Context, project string) (*Origin, error) {
	row, err := o.Store.Project(ctx, project)
	if errors.Is(err, metadata.ErrNotFound) || err == nil && row.RegistryID == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	registry, err := o.Store.RemoteRegistry(ctx, row.RegistryID)
	if err != nil {
		return nil, fmt.Errorf("registry %d: %w", row.RegistryID, err)
	}
	details, err := o.Store.ProjectDetails(ctx, []metadata.Project{row}, 0)
	if err != nil {
		return nil, err
	}
	set := details[0].Metadata
	origin := &Origin{
		Name: registry.Name, Library: registry.Kind == dockerHub, ServeGone: set["proxy_cache_local_on_not_found"] == "true",
		OwnReferrers: set["proxy_referrer_api"] == "false", BytesPerSecond: max(0, number(set["proxy_speed_kb"])) * 1024, Connections: number(set["max_upstream_conn"]),
	}
	if origin.Filter, err = selector.NewFilter(set["proxy_cache_filter_kind"], set["proxy_cache_filter_pattern"]); err != nil {
		return nil, fmt.Errorf("filter of project %s: %w", project, err)
	}
	if origin.Remote, err = o.Open(ctx, row.RegistryID); err != nil {
		origin.Remote = closed{err}
	}
	return origin, nil
}

// number reads a limit; what is none is 0, and a negative number stands for no limit.
func number(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n > 1<<40 {
		return 0
	}
	return max(-1, n)
}

// closed is a registry that cannot be opened.
type closed struct{ err error }

func (c closed) Describe(context.Context, string, string) (oci.Descriptor, error) {
	return oci.Descriptor{}, c.err
}

func (c closed) Manifest(context.Context, string, string) (remote.Manifest, error) {
	return remote.Manifest{}, c.err
}

func (c closed) BlobSize(context.Context, string, oci.Digest) (int64, error) { return 0, c.err }

func (c closed) OpenBlob(context.Context, string, oci.Digest, int64) (io.ReadCloser, int64, error) {
	return nil, 0, c.err
}

func (c closed) Tags(context.Context, string, func([]string) error) error { return c.err }

func (c closed) Referrers(context.Context, string, oci.Digest) ([]oci.Descriptor, error) {
	return nil, c.err
}
