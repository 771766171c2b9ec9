package retain

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/jobs"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/policy/retention"
)

// Kind is the kind of work that deletes what rules do not keep: its one task makes those of [RepositoryKind], each about a repository.
const (
	Kind           = "RETENTION"
	RepositoryKind = "RETENTION_REPOSITORY"
)

const (
	// concurrency is how many repositories one process looks at at a time.
	concurrency = 2
	// planBatch is how many repositories become tasks in one transaction.
	planBatch = 100
	// maxTold is how many deleted artifacts the event of a repository names.
	maxTold = 100
)

// parameters are those of a task, which is about a repository or makes those that are.
type parameters struct {
	DryRun     bool   `json:"dry_run"`
	Repository string `json:"repository,omitempty"`
}

// planned is how far the task has come that makes the others.
type planned struct {
	After oci.Repository `json:"after"`
}

// Result is what came of one repository.
type Result struct {
	// Total are the artifacts that were looked at, Retained those that stay.
	Total    int64 `json:"total"`
	Retained int64 `json:"retained"`
}

// Content is what a project's repositories have.
type Content interface {
	// Protected returns those of the tags that can neither be moved nor deleted.
	Protected(ctx context.Context, repository metadata.Repository, tags []string) (map[string]bool, error)
	// DeleteUnwanted deletes an artifact with what belongs to it, unless it has other tags than these or was pushed since the time: then
	// the error is a [*fault.Error] of Conflict. It is of NotFound for one that is gone, and of Precondition for one that an index lists.
	DeleteUnwanted(ctx context.Context, actor event.Actor, repository oci.Repository, digest oci.Digest, tags []string, judged time.Time) error
}

// Retaining returns the kinds of the work of following the policies of a store.
func Retaining(store *metadata.Store, content Content) []jobs.Kind {
	kind := func(name string, concurrency int, do func(w *work, ctx context.Context) error) jobs.Kind {
		return jobs.Kind{Name: name, Concurrency: concurrency, Run: func(ctx context.Context, run *jobs.Run) error {
			w := &work{store: store, content: content, run: run}
			if err := run.Decode(&w.parameters); err != nil {
				return err
			}
			found, err := w.find(ctx)
			if err != nil || !found {
				return err
			}
			return do(w, ctx)
		}}
	}
	return []jobs.Kind{kind(Kind, 1, (*work).plan), kind(RepositoryKind, concurrency, (*work).retain)}
}

// work is one task.
type work struct {
	parameters
	store     *metadata.Store
	content   Content
	run       *jobs.Run
	execution metadata.Execution
	row       metadata.RetentionPolicy
	project   metadata.Project
	policy    retention.Policy
}

// find reads the policy, and reports false when it is gone.
func (w *work) find(ctx context.Context) (found bool, err error) {
	if w.execution, err = w.store.Execution(ctx, w.run.Task.ExecutionID); err != nil {
		return false, fmt.Errorf("read execution: %w", err)
	}
	w.row, err = w.store.RetentionPolicy(ctx, w.execution.SubjectID)
	if errors.Is(err, metadata.ErrNotFound) {
		w.run.Log.Printf("the policy is gone, and so everything is kept")
		err := w.store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
			return tx.DeleteSchedule(ctx, Kind, w.execution.SubjectID)
		})
		if errors.Is(err, metadata.ErrNotFound) {
			err = nil
		}
		return false, err
	}
	if err != nil {
		return false, fmt.Errorf("read retention policy: %w", err)
	}
	if w.project, err = w.store.ProjectByID(ctx, w.row.ProjectID); err != nil {
		return false, fmt.Errorf("read project %d: %w", w.row.ProjectID, err)
	}
	var rules []Rule
	if err := json.Unmarshal([]byte(w.row.Rules), &rules); err != nil {
		return false, jobs.Permanent(fmt.Errorf("rules: %w", err))
	}
	if w.policy, err = parseAll(rules); err != nil {
		return false, jobs.Permanent(err)
	}
	return true, nil
}

// plan makes a task for each repository that a rule is about. It goes on where an earlier attempt ended.
func (w *work) plan(ctx context.Context) error {
	var at planned
	if err := json.Unmarshal([]byte(w.run.Task.Outcome), &at); err != nil {
		return jobs.Permanent(fmt.Errorf("outcome of the earlier attempt: %w", err))
	}
	for {
		page, err := w.store.RepositoriesAfter(ctx, w.project.ID, at.After, planBatch)
		if err != nil {
			return fmt.Errorf("list repositories: %w", err)
		}
		if len(page) > 0 {
			at.After = page[len(page)-1].Name
		}
		done, err := json.Marshal(at)
		if err != nil {
			return fmt.Errorf("encode outcome: %w", err)
		}
		err = w.store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
			for _, repository := range page {
				name := strings.TrimPrefix(repository.Name.String(), w.project.Name+"/")
				if !w.policy.About(name) {
					continue
				}
				encoded, err := json.Marshal(parameters{DryRun: w.DryRun, Repository: name})
				if err != nil {
					return fmt.Errorf("encode parameters: %w", err)
				}
				if _, err := tx.CreateTask(ctx, metadata.Task{ExecutionID: w.execution.ID, Kind: RepositoryKind, Parameters: string(encoded)}); err != nil {
					return fmt.Errorf("task for %s: %w", repository.Name, err)
				}
			}
			if len(page) < planBatch {
				if err := tx.KeepTaskCounts(ctx, w.execution.ID, RepositoryKind); err != nil {
					return fmt.Errorf("count tasks: %w", err)
				}
			}
			return tx.ReportTask(ctx, w.run.Task, string(done))
		})
		if err != nil || len(page) < planBatch {
			return err
		}
	}
}

// retain judges the artifacts of one repository and deletes those that nothing keeps.
func (w *work) retain(ctx context.Context) error {
	name := oci.Repository(w.project.Name + "/" + w.Repository)
	repository, err := w.store.Repository(ctx, name)
	if errors.Is(err, metadata.ErrNotFound) {
		w.run.Log.Printf("repository %s is gone", name)
		return nil
	}
	if err != nil {
		return fmt.Errorf("read repository %s: %w", name, err)
	}
	judged := time.Now()
	rows, err := w.store.AgedArtifacts(ctx, repository.ID)
	if err != nil {
		return fmt.Errorf("list artifacts of %s: %w", name, err)
	}
	artifacts, err := w.artifacts(ctx, repository, rows)
	if err != nil {
		return err
	}
	verdicts := w.policy.Judge(w.Repository, artifacts, judged)
	result := Result{Total: int64(len(rows))}
	var doomed []doomedArtifact
	for i, v := range verdicts {
		if v.Keep {
			result.Retained++
		}
		if w.DryRun || v.Keep {
			w.run.Log.Printf("%s %s: %s", verb(v, w.DryRun), shown(rows[i]), v.Reason)
		}
		if !v.Keep {
			doomed = append(doomed, doomedArtifact{row: rows[i], reason: v.Reason})
		}
	}
	w.run.Report(result)
	if w.DryRun {
		w.run.Log.Printf("dry run: %d of %d artifacts of %s would be kept", result.Retained, result.Total, name)
		return nil
	}
	deleted, err := w.deleteAll(ctx, name, doomed, judged)
	result.Retained = result.Total - int64(len(deleted))
	w.run.Report(result)
	if err != nil {
		return err
	}
	w.run.Log.Printf("kept %d of %d artifacts of %s", result.Retained, result.Total, name)
	return w.tell(ctx, name, result, deleted)
}

func verb(v retention.Verdict, dryRun bool) string {
	switch {
	case v.Keep:
		return "keep"
	case dryRun:
		return "dry run: would delete"
	}
	return "delete"
}

// shown is an artifact as the log tells of it.
func shown(a metadata.AgedArtifact) string {
	if len(a.Tags) == 0 {
		return a.Digest.String() + " (no tag)"
	}
	return a.Digest.String() + " (" + strings.Join(tagNames(a), ", ") + ")"
}

func tagNames(a metadata.AgedArtifact) []string {
	names := make([]string, len(a.Tags))
	for i, tag := range a.Tags {
		names[i] = tag.Name
	}
	return names
}

// artifacts returns what is judged of the rows, in their order.
func (w *work) artifacts(ctx context.Context, repository metadata.Repository, rows []metadata.AgedArtifact) ([]retention.Artifact, error) {
	var all []string
	pulled := make(map[oci.Digest]time.Time, len(rows))
	for _, row := range rows {
		all = append(all, tagNames(row)...)
		pulled[row.Digest] = row.PulledAt
	}
	protected, err := w.content.Protected(ctx, repository, all)
	if err != nil {
		return nil, err
	}
	artifacts := make([]retention.Artifact, len(rows))
	for i, row := range rows {
		a := retention.Artifact{
			Digest: row.Digest, PushedAt: row.PushedAt, PulledAt: row.PulledAt, Children: row.Children, Subject: row.AccessoryOf, Labels: row.Labels,
		}
		for _, tag := range row.Tags {
			if tag.UpdatedAt.After(a.PushedAt) {
				a.PushedAt = tag.UpdatedAt
			}
			if protected[tag.Name] {
				a.Protected = "tag " + tag.Name + " is immutable"
			}
			// Tools find what is attached to something by a tag that names it: such a tag is no reason to keep it without that.
			if subject, attaches := attaching(tag.Name); !attaches {
				a.Tags = append(a.Tags, tag.Name)
			} else if a.Subject == "" {
				a.Subject = subject
			}
		}
		// Who pulls an index pulls one of what it lists.
		for _, child := range row.Children {
			if pulled[child].After(a.PulledAt) {
				a.PulledAt = pulled[child]
			}
		}
		artifacts[i] = a
	}
	return artifacts, nil
}

// attaching returns the digest that a tag like "sha256-….sig" names.
func attaching(tag string) (oci.Digest, bool) {
	name, _, _ := strings.Cut(tag, ".")
	hash, found := strings.CutPrefix(name, "sha256-")
	if !found {
		return "", false
	}
	digest, err := oci.ParseDigest("sha256:" + hash)
	return digest, err == nil
}

// doomedArtifact is one that nothing keeps.
type doomedArtifact struct {
	row    metadata.AgedArtifact
	reason string
}

// deleteAll deletes artifacts: indexes before what they list, however deep. It returns those that are gone.
func (w *work) deleteAll(ctx context.Context, name oci.Repository, doomed []doomedArtifact, judged time.Time) (deleted []doomedArtifact, err error) {
	actor := event.Actor{Name: "retention policy", Credential: "job"}
	for len(doomed) > 0 {
		var listed []doomedArtifact
		for _, d := range doomed {
			err := w.content.DeleteUnwanted(ctx, actor, name, d.row.Digest, tagNames(d.row), judged)
			if ctx.Err() != nil {
				return deleted, ctx.Err()
			}
			switch kind := fault.Of(err); {
			case err == nil, kind == fault.NotFound:
				w.run.Log.Printf("deleted %s: %s", shown(d.row), d.reason)
				deleted = append(deleted, d)
			case kind == fault.Precondition:
				listed = append(listed, d)
			case kind == fault.Conflict:
				w.run.Log.Printf("keep %s: it was pushed or tagged meanwhile", shown(d.row))
			default:
				return deleted, fmt.Errorf("delete %s: %w", d.row.Digest, err)
			}
		}
		if len(listed) == len(doomed) {
			for _, d := range listed {
				w.run.Log.Printf("keep %s: an index lists it, or a tag of it became immutable", shown(d.row))
			}
			return deleted, nil
		}
		doomed = listed
	}
	return deleted, nil
}

// tell appends the event of what came of a repository.
func (w *work) tell(ctx context.Context, name oci.Repository, result Result, deleted []doomedArtifact) error {
	if len(deleted) == 0 {
		return nil
	}
	details := event.Retention{
		PolicyID: w.row.ID, Status: "SUCCESS", Total: int(result.Total), Retained: int(result.Retained), Rules: json.RawMessage(w.row.Rules),
	}
	for _, d := range slices.Clone(deleted[:min(len(deleted), maxTold)]) {
		reference := oci.Reference{Digest: d.row.Digest}
		if len(d.row.Tags) > 0 {
			reference = oci.Reference{Tag: d.row.Tags[0].Name}
		}
		details.Deleted = append(details.Deleted, event.Moved{Type: "image", Name: reference.Named(name), Status: "deleted"})
	}
	encoded, err := json.Marshal(details)
	if err != nil {
		return fmt.Errorf("details of the event: %w", err)
	}
	e := event.Actor{Name: w.execution.Actor, Credential: "job"}.Event(event.RetentionEnded)
	e.Project, e.Repository, e.Details = w.project.Name, name.String(), string(encoded)
	return w.store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error { return tx.AppendEvent(ctx, e) })
}
