package replicate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/jobs"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/replicate/adapter"
)

// Kind is the kind of executions of policies, and of the task that finds out what one has to do. MoveKind is the kind of the tasks that
// then do it, one for each repository.
const (
	Kind     = "REPLICATION"
	MoveKind = "REPLICATION_MOVE"
)

const (
	// history is how many executions of a policy are remembered.
	history = 50
	// plansAtOnce and movesAtOnce are how many tasks one process does at a time.
	plansAtOnce = 2
	movesAtOnce = 4
	// moveAttempts is how often a task that moves is begun at most, moveLease how long after the death of its worker it is taken over.
	moveAttempts = 3
	moveLease    = 20 * time.Second
	// maxRepositories bounds what one execution does.
	maxRepositories = 100_000
	// minTurn and maxTurn bound how long an execution waits until it asks again whether another one has ended.
	minTurn = time.Second
	maxTurn = 30 * time.Second
)

// plan are the parameters of an execution.
type plan struct {
	Policy int64 `json:"policy"`
	// DryRun lists what would be moved.
	DryRun bool `json:"dry_run,omitempty"`
	// Moves are what there is to do where that is known, as when an event tells it.
	Moves []Move `json:"moves,omitempty"`
}

// The operations of a [Move].
const (
	OperationCopy        = "copy"
	OperationDelete      = "deletion"
	OperationDeleteOfTag = "tag deletion"
)

// Move is what there is to do about one repository.
type Move struct {
	Policy     int64    `json:"policy"`
	Operation  string   `json:"operation"`
	From       string   `json:"from"`
	To         string   `json:"to"`
	References []string `json:"references"`
	// Type is "image", or "artifact" when some are no images.
	Type string `json:"resource_type"`
}

// Kinds are the kinds of work of policies.
func (p *Policies) Kinds() []jobs.Kind {
	return []jobs.Kind{
		{Name: Kind, Concurrency: plansAtOnce, Pause: p.options.Pause, History: history, Run: p.plan},
		{Name: MoveKind, Concurrency: movesAtOnce, Attempts: moveAttempts, Lease: moveLease, Pause: p.options.Pause, History: history, Run: p.move},
	}
}

// plan finds out what an execution has to do, and begins a task for each repository.
func (p *Policies) plan(ctx context.Context, run *jobs.Run) error {
	select {
	case <-p.bound:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	var wanted plan
	if err := run.Decode(&wanted); err != nil {
		return err
	}
	policy, err := p.options.Store.ReplicationPolicy(ctx, wanted.Policy)
	if errors.Is(err, metadata.ErrNotFound) {
		return jobs.Permanent(fmt.Errorf("policy %d was deleted", wanted.Policy))
	}
	if err != nil {
		return err
	}
	if _, begun, err := p.options.Store.ListTasks(ctx, run.Task.ExecutionID, MoveKind, metadata.Query{Limit: 1}); err != nil || begun > 0 {
		return err // an earlier attempt has got as far as that
	}
	if err := p.mayRun(ctx, policy, run); err != nil {
		return err
	}
	moves := wanted.Moves
	if moves == nil {
		if moves, err = p.find(ctx, policy, run.Log); err != nil {
			return err
		}
	}
	if len(moves) == 0 {
		run.Log.Printf("nothing is to be replicated")
		return nil
	}
	if wanted.DryRun {
		for _, m := range moves {
			run.Log.Printf("would %s %s to %s: %s", verb(m.Operation), m.From, m.To, strings.Join(m.References, " "))
		}
		return nil
	}
	err = p.options.Store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		return p.begin(ctx, tx, run.Task.ExecutionID, moves)
	})
	p.jobs.Wake()
	return err
}

func verb(operation string) string {
	if operation == OperationCopy {
		return operation
	}
	return "delete of"
}

// mayRun refuses an execution while another one of a policy that wants a single one at a time runs; one that events began waits.
func (p *Policies) mayRun(ctx context.Context, policy metadata.ReplicationPolicy, run *jobs.Run) error {
	if !policy.Single {
		return nil
	}
	err := p.options.Store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		return tx.TakeKey(ctx, run.Task.ExecutionID, fmt.Sprintf("policy %d", policy.ID))
	})
	if !errors.Is(err, metadata.ErrExists) {
		return err
	}
	execution, err := p.options.Store.Execution(ctx, run.Task.ExecutionID)
	if err != nil {
		return err
	}
	if execution.Cause != jobs.CauseEvent {
		return jobs.Permanent(errors.New("execution skipped: another one of the policy is still in progress"))
	}
	// What lasts long is asked for less often.
	wait := min(max(time.Since(execution.CreatedAt)/10, minTurn), maxTurn)
	return &jobs.Retry{Cause: errors.New("waits for another execution of the policy"), After: wait, Uncounted: true}
}

// find lists the source and chooses.
func (p *Policies) find(ctx context.Context, policy metadata.ReplicationPolicy, log *jobs.Log) ([]Move, error) {
	source, err := p.open(ctx, policy.SourceID, event.Actor{Name: policy.Creator})
	if err != nil {
		return nil, err
	}
	chosen := filters(policy.Filters)
	prefix, exact := chosen.prefix()
	var names []string
	if exact {
		names = []string{prefix}
	} else {
		log.Printf("listing the repositories of %s that begin with %q", source.name, prefix)
		err = source.Repositories(ctx, prefix, func(page []string) error {
			for _, name := range page {
				if chosen.repository(name) {
					names = append(names, name)
				}
			}
			if len(names) > maxRepositories {
				return jobs.Permanent(fmt.Errorf("more than %d repositories are chosen: filter by name", maxRepositories))
			}
			return nil
		})
		if errors.Is(err, adapter.ErrNoCatalog) {
			err = jobs.Permanent(err)
		}
		if err != nil {
			return nil, err
		}
	}
	slices.Sort(names)
	log.Printf("%d repositories are chosen", len(names))
	var moves []Move
	for _, name := range slices.Compact(names) {
		move, err := p.findIn(ctx, source, policy, name)
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", name, err)
		}
		if len(move.References) > 0 {
			moves = append(moves, move)
		}
	}
	return moves, nil
}

// findIn chooses what is moved of one repository.
func (p *Policies) findIn(ctx context.Context, source *side, policy metadata.ReplicationPolicy, repository string) (Move, error) {
	to, err := destinationOf(repository, policy.Namespace, policy.Replaced)
	if err != nil {
		return Move{}, jobs.Permanent(err)
	}
	move := Move{Policy: policy.ID, Operation: OperationCopy, From: repository, To: to, Type: resourceImage}
	err = source.Artifacts(ctx, repository, func(page []adapter.Artifact) error {
		for _, artifact := range page {
			references := filters(policy.Filters).artifact(artifact)
			if len(references) > 0 && !artifact.Image {
				move.Type = resourceArtifact
			}
			move.References = append(move.References, references...)
		}
		return nil
	})
	return move, err
}

// begin adds the tasks of an execution.
func (p *Policies) begin(ctx context.Context, tx *metadata.Tx, executionID int64, moves []Move) error {
	for _, move := range moves {
		for part := range slices.Chunk(move.References, maxReferences) {
			m := move
			m.References = part
			parameters, err := encode(m)
			if err != nil {
				return err
			}
			if _, err := tx.CreateTask(ctx, metadata.Task{ExecutionID: executionID, Kind: MoveKind, Parameters: parameters}); err != nil {
				return err
			}
		}
	}
	return tx.KeepTaskCounts(ctx, executionID, MoveKind)
}
