package replicate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/event/follow"
	"github.com/berth-registry/berth/jobs"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/replicate/adapter"
)

// Follower is the name under which events are followed.
const Follower = "replication"

// Handle makes executions of events: of the policies that events begin, those that choose what was pushed or deleted. What one batch of
// events says about a repository becomes one task.
func (p *Policies) Handle(ctx context.Context, events []metadata.Event) (follow.Write, error) {
	none := func(context.Context, *metadata.Tx) error { return nil }
	var told []metadata.Event
	for _, e := range events {
		switch e.Kind {
		case event.TagCreated, event.TagMoved, event.ManifestPushed, event.TagDeleted, event.ManifestDeleted, event.ArtifactLabelled:
			told = append(told, e)
		}
	}
	if len(told) == 0 {
		return none, nil
	}
	policies, err := p.options.Store.EventReplicationPolicies(ctx)
	if err != nil || len(policies) == 0 {
		return none, err
	}
	plans := make([]plan, len(policies))
	for i, policy := range policies {
		plans[i].Policy = policy.ID
		for _, e := range told {
			move, err := p.moveOf(ctx, policy, e)
			if err != nil {
				return none, err
			}
			plans[i].add(move)
		}
	}
	return func(ctx context.Context, tx *metadata.Tx) error {
		for i, begun := range plans {
			if len(begun.Moves) == 0 {
				continue
			}
			if policies[i].Single {
				joined, err := p.join(ctx, tx, begun)
				if err != nil {
					return err
				}
				if joined {
					continue
				}
			}
			_, err := p.jobs.Begin(ctx, tx, jobs.Submission{Kind: Kind, SubjectID: begun.Policy, Cause: jobs.CauseEvent, Actor: told[0].Actor, Parameters: begun})
			if err != nil {
				return err
			}
		}
		return nil
	}, nil
}

// join adds what there is to do to the policy's newest execution, where that is one that events began and that waits for its turn, and
// reports whether it has.
func (p *Policies) join(ctx context.Context, tx *metadata.Tx, begun plan) (bool, error) {
	active, err := tx.ActiveExecutions(ctx, Kind, begun.Policy)
	if err != nil || len(active) == 0 {
		return false, err
	}
	execution, err := tx.Execution(ctx, active[len(active)-1])
	if err != nil || execution.Cause != jobs.CauseEvent {
		return false, err
	}
	first, err := tx.FirstTask(ctx, execution.ID)
	if errors.Is(err, metadata.ErrNotFound) {
		return false, nil // it is at it, or about to end
	}
	if err != nil {
		return false, err
	}
	var waiting plan
	if err := json.Unmarshal([]byte(first.Parameters), &waiting); err != nil {
		return false, fmt.Errorf("parameters of execution %d: %w", execution.ID, err)
	}
	if waiting.size()+begun.size() > maxReferences {
		return false, nil
	}
	for _, move := range begun.Moves {
		waiting.add(move)
	}
	encoded, err := encode(waiting)
	if err != nil {
		return false, err
	}
	return true, tx.PutParameters(ctx, first, encoded)
}

// size is how many artifacts there is something to do about.
func (p *plan) size() (n int) {
	for _, move := range p.Moves {
		n += len(move.References)
	}
	return n
}

// Written lets what events have begun be done at once.
func (p *Policies) Written() { p.jobs.Wake() }

// moveOf returns what an event has a policy do, without references for nothing.
func (p *Policies) moveOf(ctx context.Context, policy metadata.ReplicationPolicy, e metadata.Event) (Move, error) {
	chosen := filters(policy.Filters)
	move := Move{Policy: policy.ID, Operation: OperationCopy, From: e.Repository, Type: resourceImage}
	if !chosen.repository(e.Repository) {
		return move, nil
	}
	to, err := destinationOf(e.Repository, policy.Namespace, policy.Replaced)
	if err != nil {
		return move, nil //nolint:nilerr // its name has no place there, as a plan would say
	}
	move.To = to
	if e.Kind == event.TagDeleted || e.Kind == event.ManifestDeleted {
		return deletionOf(move, policy, e), nil
	}
	artifact, err := p.artifactOf(ctx, e)
	if errors.Is(err, metadata.ErrNotFound) {
		return move, nil // gone again
	}
	if err != nil {
		return move, err
	}
	if !artifact.Image {
		move.Type = resourceArtifact
	}
	move.References = chosen.artifact(artifact)
	return move, nil
}

// artifactOf returns the artifact that is to be copied because of an event: with the tag that was put, or with all; for what is
// attached to another one that other one. The error is [metadata.ErrNotFound] when it is gone, or another event tells the same.
func (p *Policies) artifactOf(ctx context.Context, e metadata.Event) (adapter.Artifact, error) {
	if e.Kind == event.ManifestPushed && e.Tag != "" {
		return adapter.Artifact{}, metadata.ErrNotFound // the tag's own event tells
	}
	repository := oci.Repository(e.Repository)
	row, err := p.options.Store.Artifact(ctx, repository, oci.Reference{Digest: oci.Digest(e.Digest)})
	tags := []string{}
	if err == nil && row.Facts.AccessoryOf != "" {
		row, err = p.options.Store.Artifact(ctx, repository, oci.Reference{Digest: row.Facts.AccessoryOf})
	} else if e.Kind != event.ArtifactLabelled && e.Tag != "" {
		tags = append(tags, e.Tag)
	}
	if err != nil {
		return adapter.Artifact{}, err
	}
	artifact := adapter.Artifact{Digest: row.Digest, Image: row.Facts.Kind == imageKind, Tags: tags}
	if len(tags) == 0 {
		of, err := p.options.Store.TagsOf(ctx, []int64{row.ID}, maxReferences)
		if err != nil {
			return artifact, err
		}
		for _, tag := range of[row.ID] {
			artifact.Tags = append(artifact.Tags, tag.Name)
		}
		if len(artifact.Tags) == 0 && row.IndexCount > 0 {
			return artifact, metadata.ErrNotFound // it travels with the index
		}
	}
	labels, err := p.options.Store.LabelsOf(ctx, []int64{row.ID}, maxReferences)
	for _, label := range labels[row.ID] {
		artifact.Labels = append(artifact.Labels, label.Name)
	}
	return artifact, err
}

// imageKind is the kind of artifacts that are images.
const imageKind = "IMAGE"

// deletionOf is what a deletion has a policy do. What the labels and the kind of what is gone were cannot be told any more, so only
// the filters by name and tag count.
func deletionOf(move Move, policy metadata.ReplicationPolicy, e metadata.Event) Move {
	if !policy.Deletes || attached(e.Tag) {
		return move
	}
	names := filters{}
	if filter, given := filters(policy.Filters).of(FilterTag); given {
		names = append(names, filter)
	}
	gone := adapter.Artifact{Digest: oci.Digest(e.Digest)}
	move.Operation = OperationDelete
	if e.Kind == event.TagDeleted {
		move.Operation, gone.Tags = OperationDeleteOfTag, []string{e.Tag}
	}
	move.References = names.artifact(gone)
	return move
}

// add adds what there is to do to the same that there is to do about the same repository. In which order it is done does not matter:
// each task looks what the source has by then.
func (p *plan) add(move Move) {
	if len(move.References) == 0 {
		return
	}
	last := slices.IndexFunc(p.Moves, func(m Move) bool { return m.From == move.From && m.To == move.To && m.Operation == move.Operation })
	if last >= 0 {
		for _, reference := range move.References {
			if !slices.Contains(p.Moves[last].References, reference) {
				p.Moves[last].References = append(p.Moves[last].References, reference)
			}
		}
		return
	}
	p.Moves = append(p.Moves, move)
}
