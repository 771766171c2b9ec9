package registry

import (
	"context"

	"github.com/berth-registry/berth/metadata"
)

// MaxFound is how many repositories a search finds at most.
const MaxFound = 100

// Search returns the first repositories in view with the text in their names, at most [MaxFound].
func (r *Registry) Search(ctx context.Context, view metadata.Visibility, text string) ([]metadata.FoundRepository, error) {
	found, err := r.metadata.SearchRepositories(ctx, view, text, MaxFound)
	return found, metadataError("search repositories", err)
}
