package replicate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/jobs"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/replicate/adapter"
)

// What begins an execution of a policy, besides people.
const (
	CauseManual    = "manual"
	CauseScheduled = "scheduled"
	CauseEvent     = "event_based"
)

const (
	maxPolicyName = 256
	// maxSpeed is the highest limit, in KiB each second.
	maxSpeed = 1 << 40
)

// Local is this registry, as the other side of a replication.
type Local interface {
	Source
	Destination
	adapter.Artifacts
	adapter.Preparer
	adapter.TagDeleter
	Repositories
	ManifestDeleter
}

// Repositories is a registry that tells what it has; see [adapter.Registry].
type Repositories interface {
	Repositories(ctx context.Context, prefix string, fn func(names []string) error) error
}

// ManifestDeleter is a registry that manifests can be deleted of.
type ManifestDeleter interface {
	// DeleteManifest deletes a manifest by its digest. One that is gone is deleted already.
	DeleteManifest(ctx context.Context, repository, digest string) error
}

// BlobFinder is a registry that tells which repository has a blob, so that it can be mounted from there; "" is for none.
type BlobFinder interface {
	FindBlob(ctx context.Context, digest oci.Digest) (repository string, err error)
}

// PoliciesOptions are what [Policies] are made of. All but Pause are required.
type PoliciesOptions struct {
	Store      *metadata.Store
	Registries *Registries
	// Local returns this registry, where the actor does what is done.
	Local func(actor event.Actor) Local
	// Pause is the one before a task that failed is tried again; 0 is that of [jobs.Kind].
	Pause time.Duration
}

// Policies say what is replicated, and have it done. They are safe for concurrent use.
type Policies struct {
	options PoliciesOptions
	// jobs is set when bound is closed.
	jobs   *jobs.Jobs
	bound  chan struct{}
	shared sharing
}

// NewPolicies returns the policies of a store. Their work is done by jobs that have [Policies.Kinds], which [Policies.Bind] takes.
func NewPolicies(options PoliciesOptions) *Policies {
	return &Policies{options: options, bound: make(chan struct{})}
}

// Bind says who does the work. It is called once, before anything is begun.
func (p *Policies) Bind(work *jobs.Jobs) {
	p.jobs = work
	close(p.bound)
}

// Create adds a policy and returns the row. The error is a [*fault.Error]: Invalid for what cannot be meant, NotFound for a registry,
// Conflict when the name is taken.
func (p *Policies) Create(ctx context.Context, actor event.Actor, policy metadata.ReplicationPolicy) (metadata.ReplicationPolicy, error) {
	if err := p.check(ctx, policy); err != nil {
		return policy, err
	}
	policy.Creator = actor.Name
	err := p.change(ctx, actor, event.ReplicationPolicyCreated, policy.Name, func(ctx context.Context, tx *metadata.Tx) error {
		created, err := tx.CreateReplicationPolicy(ctx, policy)
		if err != nil {
			return err
		}
		policy = created
		return p.schedule(ctx, tx, policy)
	})
	return policy, policyError(policy.Name, err)
}

// Update changes a policy. The error is a [*fault.Error] as of Create, or NotFound for the policy.
func (p *Policies) Update(ctx context.Context, actor event.Actor, policy metadata.ReplicationPolicy) error {
	if err := p.check(ctx, policy); err != nil {
		return err
	}
	return policyError(policy.Name, p.change(ctx, actor, event.ReplicationPolicyUpdated, policy.Name, func(ctx context.Context, tx *metadata.Tx) error {
		if err := tx.UpdateReplicationPolicy(ctx, policy); err != nil {
			return err
		}
		return p.schedule(ctx, tx, policy)
	}))
}

// Delete removes a policy with its executions. The error is a [*fault.Error]: NotFound, or Precondition while one runs.
func (p *Policies) Delete(ctx context.Context, actor event.Actor, id int64) error {
	policy, err := p.options.Store.ReplicationPolicy(ctx, id)
	if err != nil {
		return policyError("", err)
	}
	return policyError(policy.Name, p.change(ctx, actor, event.ReplicationPolicyDeleted, policy.Name, func(ctx context.Context, tx *metadata.Tx) error {
		active, err := tx.ActiveExecutions(ctx, Kind, id)
		if err != nil {
			return err
		}
		if len(active) > 0 {
			return fault.New(fault.Precondition, "execution %d of the policy %q is running: stop it first", active[0], policy.Name)
		}
		if err := tx.DeleteReplicationPolicy(ctx, id); err != nil {
			return err
		}
		if err := tx.DeleteSchedule(ctx, Kind, id); err != nil && !errors.Is(err, metadata.ErrNotFound) {
			return err
		}
		return tx.DeleteExecutions(ctx, Kind, id, 0)
	}))
}

// schedule sets or ends the schedule of a policy.
func (p *Policies) schedule(ctx context.Context, tx *metadata.Tx, policy metadata.ReplicationPolicy) error {
	if policy.Enabled && policy.Cause == CauseScheduled {
		_, err := p.jobs.SetSchedule(ctx, tx, jobs.Scheduling{Kind: Kind, SubjectID: policy.ID, Cadence: "Custom", Cron: policy.Cron, Parameters: plan{Policy: policy.ID}})
		return err
	}
	err := tx.DeleteSchedule(ctx, Kind, policy.ID)
	if errors.Is(err, metadata.ErrNotFound) {
		return nil
	}
	return err
}

// check returns a [*fault.Error] for a policy that cannot be meant.
func (p *Policies) check(ctx context.Context, policy metadata.ReplicationPolicy) error {
	switch {
	case policy.Name == "" || !storable(policy.Name, maxPolicyName) || strings.Contains(policy.Name, "/"):
		return fault.New(fault.Invalid, "a policy has a name of 1 to %d bytes without slashes", maxPolicyName)
	case len(policy.Description) > maxRegistryText || !storable(strings.ReplaceAll(policy.Description, "\n", " "), maxRegistryText):
		return fault.New(fault.Invalid, "the description is longer than %d bytes, or no text", maxRegistryText)
	case (policy.SourceID == 0) == (policy.DestinationID == 0):
		return fault.New(fault.Invalid, "name either the registry to copy from or the one to copy to: the other side is this registry")
	case policy.Speed < -1 || policy.Speed > maxSpeed:
		return fault.New(fault.Invalid, "speed is in KiB each second, 0 for no limit")
	case policy.Replaced < -1 || policy.Replaced > 127:
		return fault.New(fault.Invalid, "dest_namespace_replace_count is the number of parts, or -1 for all but the last")
	}
	if policy.Namespace != "" {
		if _, err := oci.ParseRepository(policy.Namespace); err != nil {
			return fault.New(fault.Invalid, "dest_namespace %q is no part of a repository's name", policy.Namespace)
		}
	}
	if err := filters(policy.Filters).check(); err != nil {
		return err
	}
	switch policy.Cause {
	case CauseManual:
	case CauseScheduled:
		if _, err := jobs.Next(policy.Cron, time.Now()); err != nil {
			return err
		}
	case CauseEvent:
		if policy.SourceID != 0 {
			return fault.New(fault.Invalid, "events begin what is copied from this registry: others tell nothing of theirs")
		}
	default:
		return fault.New(fault.Invalid, "trigger %q is none of %s, %s and %s", policy.Cause, CauseManual, CauseScheduled, CauseEvent)
	}
	far, err := p.options.Registries.Open(ctx, policy.SourceID+policy.DestinationID)
	if err != nil {
		return err
	}
	_, tells := far.(adapter.Artifacts)
	for _, kind := range []string{FilterLabel, FilterResource} {
		if _, given := filters(policy.Filters).of(kind); given && policy.SourceID != 0 && !tells {
			return fault.New(fault.Invalid, "the registry to copy from cannot be filtered by %s", kind)
		}
	}
	return nil
}

// change runs a transaction with the event of a change.
func (p *Policies) change(ctx context.Context, actor event.Actor, kind event.Kind, subject string, fn func(ctx context.Context, tx *metadata.Tx) error) error {
	return p.options.Store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		if err := fn(ctx, tx); err != nil {
			return err
		}
		return appendEvent(ctx, tx, actor, kind, subject)
	})
}

func appendEvent(ctx context.Context, tx *metadata.Tx, actor event.Actor, kind event.Kind, subject string) error {
	e := actor.Event(kind)
	e.Subject = subject
	return tx.AppendEvent(ctx, e)
}

func policyError(name string, err error) error {
	switch {
	case errors.Is(err, metadata.ErrExists):
		return fault.Because(err, fault.Conflict, "a replication policy called %q already exists", name)
	case errors.Is(err, metadata.ErrNotFound):
		return fault.Because(err, fault.NotFound, "there is no such replication policy, or its registry is gone")
	case err != nil && fault.Of(err) == 0:
		return fmt.Errorf("replication policy %q: %w", name, err)
	}
	return err
}
