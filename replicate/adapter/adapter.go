// Package adapter has the kinds of registry elsewhere. All speak the distribution specification; a kind says what is beside it: how to
// log in, how to find out what the registry has, and what has to be made before a push. Each is a package that registers itself.
package adapter

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/replicate/remote"
)

// Registry is an open registry elsewhere. What only some kinds can do is one of [Artifacts], [Preparer] and [TagDeleter].
type Registry interface {
	// Content reads and writes what it has.
	Content() *remote.Registry
	// Ping returns nil when it answers and takes the login. It does not try twice.
	Ping(ctx context.Context) error
	// Repositories calls fn with the names of repositories, a page at a time: of all that begin with the prefix and perhaps of others.
	// The error is [ErrNoCatalog] when the registry does not tell.
	Repositories(ctx context.Context, prefix string, fn func(names []string) error) error
}

// ErrNoCatalog says that the registry does not tell which repositories it has, so that they have to be named.
var ErrNoCatalog = errors.New("the registry does not list its repositories: name them without patterns")

// Artifact is an artifact as a list shows it.
type Artifact struct {
	Digest oci.Digest
	Tags   []string
	Labels []string
	// Image tells that it is an image to run, and not a chart, a bundle, …
	Image bool
}

// Artifacts is implemented by registries that tell more of what they have than tags.
type Artifacts interface {
	// Artifacts calls fn with the artifacts of a repository, a page at a time, those that are only attached to others left out.
	Artifacts(ctx context.Context, repository string, fn func([]Artifact) error) error
}

// Preparer is implemented by registries where something has to be made before a repository can be pushed to.
type Preparer interface {
	// Prepare makes what a push to the repository needs; what is there already stays as it is. Public lets everybody see what it makes,
	// where the registry knows that.
	Prepare(ctx context.Context, repository string, public bool) error
}

// TagDeleter is implemented by registries that delete a tag by a way of their own.
type TagDeleter interface {
	// DeleteTag deletes a tag and leaves the manifest. A tag that is gone is deleted already.
	DeleteTag(ctx context.Context, repository, tag string) error
}

// Kind is a kind of registry.
type Kind struct {
	// Name is what clients call it, such as "docker-hub".
	Name string
	// Endpoints are the addresses that there are, by a name for people, where the kind has no others or some that are well known.
	Endpoints []Endpoint
	// Username is the one that every login has, "" for any; SecretFile tells that the secret is the content of a file.
	Username   string
	SecretFile bool
	// Open returns the registry that the options reach; it connects to nothing yet.
	Open func(options remote.Options) (Registry, error)
}

// Endpoint is an address of a kind.
type Endpoint struct{ Name, URL string }

var kinds = map[string]Kind{}

// Register adds a kind; packages of kinds call it when they are initialized. It panics when the name is taken.
func Register(kind Kind) {
	if _, taken := kinds[kind.Name]; taken {
		panic("adapter: two kinds of registry are called " + kind.Name)
	}
	kinds[kind.Name] = kind
}

// Kinds returns all kinds by name.
func Kinds() []Kind {
	return slices.SortedFunc(maps.Values(kinds), func(a, b Kind) int { return strings.Compare(a.Name, b.Name) })
}

// Find returns the kind of that name.
func Find(name string) (Kind, bool) {
	kind, known := kinds[name]
	return kind, known
}

// Plain is a registry without anything beside the distribution specification.
type Plain struct{ registry *remote.Registry }

// OpenPlain returns the registry that the options reach.
func OpenPlain(options remote.Options) (Plain, error) {
	registry, err := remote.New(options)
	return Plain{registry}, err
}

// Open is OpenPlain for a [Kind].
func Open(options remote.Options) (Registry, error) { return OpenPlain(options) }

// Content implements [Registry].
func (p Plain) Content() *remote.Registry { return p.registry }

// Ping implements [Registry].
func (p Plain) Ping(ctx context.Context) error { return p.registry.Ping(ctx) }

// Repositories implements [Registry] by the catalog.
func (p Plain) Repositories(ctx context.Context, _ string, fn func(names []string) error) error {
	return p.registry.Repositories(ctx, fn)
}
