package replicate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/jobs"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/replicate/remote"
)

const (
	// artifactsAtOnce is how many artifacts of one repository are copied at once; what they transfer waits for the execution's turns.
	artifactsAtOnce = 4
	// maxReferences is how many artifacts one task moves, maxFailures how many failures it remembers.
	maxReferences = 1000
	maxFailures   = 1000
	// transfersAtOnce is how many blobs one execution transfers at once.
	transfersAtOnce = 4
)

// Progress is how far a task that moves has come.
type Progress struct {
	Total   int   `json:"total"`
	Copied  int   `json:"copied"`
	Present int   `json:"present"`
	Kept    int   `json:"kept"`
	Deleted int   `json:"deleted"`
	Failed  int   `json:"failed"`
	Bytes   int64 `json:"bytes"`
	// Failures are the artifacts that failed, and why.
	Failures []Failure `json:"failures,omitempty"`
}

// Failure is an artifact that was not moved.
type Failure struct {
	Reference string `json:"reference"`
	Reason    string `json:"reason"`
}

// Percent is how much of the artifacts has been looked after, from 0 to 100.
func (p Progress) Percent() int {
	if p.Total == 0 {
		return 100
	}
	return 100 * (p.Copied + p.Present + p.Kept + p.Deleted + p.Failed) / p.Total
}

// ProgressOf returns how far a task that moves has come.
func ProgressOf(task metadata.Task) Progress {
	var progress Progress
	if err := json.Unmarshal([]byte(task.Outcome), &progress); err != nil {
		return Progress{}
	}
	return progress
}

// sharing has what the tasks of each execution have in common on this gateway, while there are any.
type sharing struct {
	mu  sync.Mutex
	ofs map[int64]*shares
}

type shares struct {
	*Shared
	users int
	// last is when the last task ended: the next may be on its way.
	last time.Time
}

// sharingTime is how long what an execution has in common outlives its last task.
const sharingTime = 5 * time.Minute

// take returns what the tasks of an execution have in common, and what gives it back.
func (s *sharing) take(executionID int64, bytesPerSecond int64) (*Shared, func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ofs == nil {
		s.ofs = map[int64]*shares{}
	}
	for id, other := range s.ofs {
		if other.users == 0 && time.Since(other.last) > sharingTime {
			delete(s.ofs, id)
		}
	}
	of, known := s.ofs[executionID]
	if !known {
		of = &shares{Shared: NewShared(transfersAtOnce, bytesPerSecond)}
		s.ofs[executionID] = of
	}
	of.users++
	return of.Shared, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		of.users--
		of.last = time.Now()
	}
}

// mover does one task.
type mover struct {
	move        Move
	policy      metadata.ReplicationPolicy
	source      *side
	destination *side
	copier      *Copier
	run         *jobs.Run

	mu       sync.Mutex
	progress Progress
	moved    []event.Moved
}

// move does what there is to do about one repository. One artifact that fails does not stop the others.
func (p *Policies) move(ctx context.Context, run *jobs.Run) error {
	var move Move
	if err := run.Decode(&move); err != nil {
		return err
	}
	policy, err := p.options.Store.ReplicationPolicy(ctx, move.Policy)
	if errors.Is(err, metadata.ErrNotFound) {
		return jobs.Permanent(fmt.Errorf("policy %d was deleted", move.Policy))
	}
	if err != nil {
		return err
	}
	execution, err := p.options.Store.Execution(ctx, run.Task.ExecutionID)
	if err != nil {
		return err
	}
	m := &mover{move: move, policy: policy, run: run, progress: Progress{Total: len(move.References)}}
	run.Ended = func(ctx context.Context, tx *metadata.Tx, status metadata.Status, message string) error {
		e, err := m.ended(execution, status, message)
		if err != nil {
			return err
		}
		return tx.AppendEvent(ctx, e)
	}
	shared, giveBack := p.shared.take(run.Task.ExecutionID, max(0, policy.Speed)<<10)
	defer giveBack()
	return m.do(ctx, p, execution, shared)
}

func (m *mover) do(ctx context.Context, p *Policies, execution metadata.Execution, shared *Shared) (err error) {
	actor := event.Actor{Name: execution.Actor, Credential: "replication"}
	if m.source, err = p.open(ctx, m.policy.SourceID, actor); err != nil {
		return err
	}
	if m.destination, err = p.open(ctx, m.policy.DestinationID, actor); err != nil {
		return err
	}
	if elsewhere, is := m.destination.Local.(far); is {
		elsewhere.Registry = elsewhere.Remembering(uploads{p.options.Store, p.options.Registries.options.Box, m.run.Task.ID})
		m.destination.Local = elsewhere
	}
	m.run.Log.Printf("%s of %d artifacts: %s %s to %s %s", m.move.Operation, len(m.move.References), m.source.name, m.move.From, m.destination.name, m.move.To)
	if m.move.Operation == OperationCopy {
		if err := m.destination.Prepare(ctx, m.move.To, false); err != nil {
			return fmt.Errorf("prepare %s: %w", m.move.To, err)
		}
	}
	m.copier = NewCopier(CopierOptions{
		Source: m.source, Destination: m.destination, Shared: shared, Override: m.policy.Overrides, Platforms: filters(m.policy.Filters).platforms(),
		Find: m.destination.find, Log: func(line string) { m.run.Log.Printf("%s", line) },
	})
	began := time.Now()
	// What ends the one must not end the others, so the group has no context of its own.
	var artifacts errgroup.Group
	artifacts.SetLimit(artifactsAtOnce)
	for _, reference := range m.move.References {
		artifacts.Go(func() error {
			m.one(ctx, reference)
			return nil
		})
	}
	_ = artifacts.Wait() // they return nothing
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	d, took := m.progress, time.Since(began)
	m.run.Log.Printf("%d copied, %d there already, %d kept, %d deleted, %d failed; %d bytes sent in %s, %.1f MiB/s", d.Copied, d.Present, d.Kept, d.Deleted, d.Failed,
		d.Bytes, took.Round(time.Millisecond), float64(d.Bytes)/took.Seconds()/(1<<20))
	if d.Failed > 0 {
		return fmt.Errorf("%d of %d artifacts failed, the first: %s %s: %s", d.Failed, d.Total, m.move.From, d.Failures[0].Reference, d.Failures[0].Reason)
	}
	return nil
}

// one moves one artifact, and notes what became of it.
func (m *mover) one(ctx context.Context, reference string) {
	if ctx.Err() != nil {
		return
	}
	outcome, err := m.act(ctx, reference)
	if ctx.Err() != nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	moved := event.Moved{Type: m.move.Type, Name: m.move.From + separator(reference) + reference, Status: "Success"}
	switch {
	case err != nil:
		m.run.Log.Printf("%s %s: failed: %v", m.move.From, reference, err)
		m.progress.Failed++
		moved.Status, moved.Reason = "Failed", err.Error()
		if len(m.progress.Failures) < maxFailures {
			m.progress.Failures = append(m.progress.Failures, Failure{reference, err.Error()})
		}
	case outcome == Copied:
		m.progress.Copied++
	case outcome == Present:
		m.progress.Present++
	case outcome == Kept:
		m.progress.Kept++
	default:
		m.progress.Deleted++
	}
	m.moved = append(m.moved, moved)
	m.progress.Bytes = m.copier.Sent()
	m.run.Report(m.progress)
}

// act does the operation on one artifact.
func (m *mover) act(ctx context.Context, reference string) (Outcome, error) {
	if m.move.Operation != OperationCopy {
		return m.remove(ctx, reference)
	}
	outcome, err := m.copier.Copy(ctx, m.move.From, reference, m.move.To)
	if err != nil && !errors.Is(err, remote.ErrNotFound) || outcome == Kept {
		return outcome, err
	}
	switch has, lookErr := m.sourceHas(ctx, reference); {
	case lookErr != nil || has:
		return outcome, errors.Join(err, lookErr)
	case m.policy.Deletes:
		// It was deleted while it was copied; its deletion may have come first.
		m.run.Log.Printf("%s %s: the source does not have it any more", m.move.From, reference)
		return m.remove(ctx, reference)
	}
	return Present, nil
}

// remove deletes an artifact, or only its tag, unless the source has it again.
func (m *mover) remove(ctx context.Context, reference string) (Outcome, error) {
	if has, err := m.sourceHas(ctx, reference); err != nil || has {
		return Present, err
	}
	m.run.Log.Printf("%s %s: deleting", m.move.To, reference)
	if strings.Contains(reference, ":") {
		return "", m.destination.DeleteManifest(ctx, m.move.To, reference)
	}
	return "", m.destination.DeleteTag(ctx, m.move.To, reference)
}

func (m *mover) sourceHas(ctx context.Context, reference string) (bool, error) {
	_, err := m.source.Manifest(ctx, m.move.From, reference)
	if errors.Is(err, remote.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

func separator(reference string) string {
	if strings.Contains(reference, ":") {
		return "@"
	}
	return ":"
}

// ended is the event of a task that has come to its end.
func (m *mover) ended(execution metadata.Execution, status metadata.Status, message string) (event.Event, error) {
	e := event.Actor{Name: execution.Actor}.Event(event.ReplicationEnded)
	e.Subject = m.policy.Name
	e.Repository = m.move.From
	if m.policy.SourceID != 0 {
		e.Repository = m.move.To
	}
	e.Project, _, _ = strings.Cut(e.Repository, "/")
	details := event.Replication{
		RuleID: m.policy.ID, RuleCreator: m.policy.Creator, Status: "Success", Trigger: TriggerOf(execution.Cause), ResourceType: m.move.Type, Override: m.policy.Overrides,
	}
	switch status {
	case metadata.StatusStopped:
		details.Status = "Stopped"
	case metadata.StatusError:
		details.Status, details.Message = "Failed", message
	}
	if m.source != nil && m.destination != nil {
		details.Source, details.Destination = m.source.place, m.destination.place
		details.Source.Namespace, details.Destination.Namespace = namespaceOf(m.move.From), namespaceOf(m.move.To)
	}
	for _, moved := range m.moved {
		if moved.Status == "Success" {
			details.Succeeded = append(details.Succeeded, moved)
		} else {
			details.Failed = append(details.Failed, moved)
		}
	}
	encoded, err := json.Marshal(details)
	if err != nil {
		return e, fmt.Errorf("details of %s: %w", e.Kind, err)
	}
	e.Details = string(encoded)
	return e, nil
}

func namespaceOf(repository string) string {
	i := strings.LastIndexByte(repository, '/')
	return repository[:max(0, i)]
}

// TriggerOf is the cause of an execution in the words of clients.
func TriggerOf(cause string) string {
	switch cause {
	case jobs.CauseSchedule:
		return CauseScheduled
	case jobs.CauseEvent:
		return CauseEvent
	}
	return CauseManual
}
