package replicate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/replicate/adapter"
	"github.com/berth-registry/berth/replicate/remote"
)

// side is a registry at one end of a replication.
type side struct {
	Local
	// name is for people.
	name string
	// place is for events.
	place event.ReplicationPlace
	// find names a repository that has a blob; nil where the registry does not tell.
	find func(ctx context.Context, digest oci.Digest) (string, error)
}

// open opens a registry elsewhere, or this one for 0, where the actor does what is done.
func (p *Policies) open(ctx context.Context, id int64, actor event.Actor) (*side, error) {
	if id == 0 {
		local := p.options.Local(actor)
		s := &side{Local: local, name: "this registry", place: event.ReplicationPlace{Registry: "Local", Type: "harbor"}}
		if finder, ok := local.(BlobFinder); ok {
			s.find = finder.FindBlob
		}
		return s, nil
	}
	row, err := p.options.Store.RemoteRegistry(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("registry %d: %w", id, err)
	}
	registry, err := p.options.Registries.Open(ctx, id)
	if err != nil {
		return nil, err
	}
	s := &side{
		Local: far{registry.Content(), registry}, name: row.Name,
		place: event.ReplicationPlace{Registry: row.Name, Type: row.Kind, Endpoint: row.URL},
	}
	if finder, ok := registry.(BlobFinder); ok {
		s.find = finder.FindBlob
	}
	return s, nil
}

// far is a registry elsewhere with what all of them can do in some way.
type far struct {
	*remote.Registry
	registry adapter.Registry
}

// Repositories implements [Repositories].
func (f far) Repositories(ctx context.Context, prefix string, fn func(names []string) error) error {
	return f.registry.Repositories(ctx, prefix, fn)
}

// Artifacts implements [adapter.Artifacts]: by tags where the registry tells no more.
func (f far) Artifacts(ctx context.Context, repository string, fn func([]adapter.Artifact) error) error {
	if lister, ok := f.registry.(adapter.Artifacts); ok {
		return lister.Artifacts(ctx, repository, fn)
	}
	err := f.Tags(ctx, repository, func(tags []string) error {
		page := make([]adapter.Artifact, len(tags))
		for i, tag := range tags {
			page[i] = adapter.Artifact{Tags: []string{tag}, Image: true}
		}
		return fn(page)
	})
	if errors.Is(err, remote.ErrNotFound) {
		return nil
	}
	return err
}

// Prepare implements [adapter.Preparer].
func (f far) Prepare(ctx context.Context, repository string, public bool) error {
	if preparer, ok := f.registry.(adapter.Preparer); ok {
		return preparer.Prepare(ctx, repository, public)
	}
	return nil
}

// DeleteTag implements [adapter.TagDeleter].
func (f far) DeleteTag(ctx context.Context, repository, tag string) error {
	if deleter, ok := f.registry.(adapter.TagDeleter); ok {
		return deleter.DeleteTag(ctx, repository, tag)
	}
	return f.DeleteManifest(ctx, repository, tag)
}

func encode(v any) (string, error) {
	encoded, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("parameters of replication: %w", err)
	}
	return string(encoded), nil
}
