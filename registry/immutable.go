package registry

import (
	"context"
	"fmt"

	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/policy/immutable"
)

// Protected returns those of the tags of a repository that rules keep from being moved and deleted.
func (r *Registry) Protected(ctx context.Context, repository metadata.Repository, tags []string) (map[string]bool, error) {
	rules, err := rulesOf(ctx, r.metadata.Reader, repository, tags)
	protected := map[string]bool{}
	for _, tag := range tags {
		if _, kept := immutable.Find(rules, repository.Name, tag); kept {
			protected[tag] = true
		}
	}
	return protected, repositoryError(repository.Name, "read rules of", err)
}

// mayChange refuses to move or delete tags of a repository that rules protect. The reader is the transaction of the change, which has
// locked the repository: so a rule that holds when it begins is never passed over.
func mayChange(ctx context.Context, reader metadata.Reader, owner metadata.Repository, tags []string) error {
	rules, err := rulesOf(ctx, reader, owner, tags)
	if err != nil {
		return err
	}
	for _, tag := range tags {
		if rule, kept := immutable.Find(rules, owner.Name, tag); kept {
			message := fmt.Sprintf("tag %s of repository %q is immutable by %s: it can neither be moved nor deleted", tag, owner.Name, immutable.Describe(rule))
			return &oci.Error{Code: oci.CodePrecondition, Message: message, Err: fault.New(fault.Precondition, "%s", message)}
		}
	}
	return nil
}

func rulesOf(ctx context.Context, reader metadata.Reader, repository metadata.Repository, tags []string) ([]metadata.ImmutableRule, error) {
	if len(tags) == 0 {
		return nil, nil
	}
	rules, err := reader.ImmutableRules(ctx, repository.ProjectID)
	if err != nil {
		return nil, fmt.Errorf("read immutable rules: %w", err)
	}
	return rules, nil
}
