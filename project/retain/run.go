package retain

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"iter"
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
	// agedPage is how many artifacts are read at once, so that none of the statements holds the database for long.
	agedPage = 1000
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
	r := &repositoryWork{work: w, owner: repository, judged: time.Now()}
	if r.judgement, err = w.policy.Judge(w.Repository, r.artifacts(ctx), r.judged); err != nil {
		return err
	}
	result := Result{Total: int64(r.judgement.Len())}
	var everything, doomed []int
	for i := range r.judgement.Len() {
		if everything = append(everything, i); r.judgement.Keeps(i) {
			result.Retained++
		} else {
			doomed = append(doomed, i)
		}
	}
	err = r.each(ctx, everything, func(i int, row metadata.AgedArtifact) error {
		if v := r.judgement.Verdict(i); w.DryRun || v.Keep {
			w.run.Log.Printf("%s %s: %s", verb(v, w.DryRun), shown(row), v.Reason)
		}
		return nil
	})
	if err != nil {
		return err
	}
	w.run.Report(result)
	if w.DryRun {
		w.run.Log.Printf("dry run: %d of %d artifacts of %s would be kept", result.Retained, result.Total, name)
		return nil
	}
	err = r.deleteAll(ctx, doomed)
	result.Retained = result.Total - r.deleted
	w.run.Report(result)
	if err != nil {
		return err
	}
	w.run.Log.Printf("kept %d of %d artifacts of %s", result.Retained, result.Total, name)
	return r.tell(ctx, result)
}

// repositoryWork is what a task does about its repository.
type repositoryWork struct {
	*work
	owner     metadata.Repository
	judged    time.Time
	judgement *retention.Judgement
	// tags are hashes of the tags that each artifact was judged with, which are not kept themselves.
	tags []uint64
	// deleted is how many artifacts are gone, and told are some of them.
	deleted int64
	told    []event.Moved
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

// hashOf is that of the tags of an artifact.
func hashOf(a metadata.AgedArtifact) uint64 {
	hash := fnv.New64a()
	for _, tag := range a.Tags {
		_, _ = hash.Write(append([]byte(tag.Name), 0)) // it never fails
	}
	return hash.Sum64()
}

// artifacts reads what is judged, page by page.
func (r *repositoryWork) artifacts(ctx context.Context) iter.Seq2[retention.Artifact, error] {
	return func(yield func(retention.Artifact, error) bool) {
		for after, full := oci.Digest(""), true; full; {
			rows, err := r.page(ctx, after)
			if err != nil {
				yield(retention.Artifact{}, err)
				return
			}
			var all []string
			for _, row := range rows {
				all = append(all, tagNames(row)...)
			}
			protected, err := r.content.Protected(ctx, r.owner, all)
			if err != nil {
				yield(retention.Artifact{}, err)
				return
			}
			for _, row := range rows {
				r.tags = append(r.tags, hashOf(row))
				if !yield(artifactOf(row, protected, r.judged), nil) {
					return
				}
				after = row.Digest
			}
			full = len(rows) == agedPage
		}
	}
}

// page returns the next artifacts of the repository.
func (r *repositoryWork) page(ctx context.Context, after oci.Digest) ([]metadata.AgedArtifact, error) {
	rows, err := r.store.AgedArtifacts(ctx, r.owner.ID, after, agedPage)
	if err != nil {
		return nil, fmt.Errorf("list artifacts of %s: %w", r.owner.Name, err)
	}
	return rows, nil
}

// each reads the artifacts at some places, which are in order, once more; of one that is gone the row has the digest only.
func (r *repositoryWork) each(ctx context.Context, places []int, fn func(place int, row metadata.AgedArtifact) error) error {
	for len(places) > 0 {
		after := oci.Digest("")
		if places[0] > 0 {
			after = r.judgement.Digest(places[0] - 1)
		}
		rows, err := r.page(ctx, after)
		if err != nil {
			return err
		}
		last := len(rows) < agedPage
		for len(places) > 0 && (last || r.judgement.Digest(places[0]) <= rows[len(rows)-1].Digest) {
			row := metadata.AgedArtifact{Digest: r.judgement.Digest(places[0])}
			at, here := slices.BinarySearchFunc(rows, row.Digest, func(a metadata.AgedArtifact, digest oci.Digest) int { return cmp.Compare(a.Digest, digest) })
			if here {
				row = rows[at]
			}
			if err := fn(places[0], row); err != nil {
				return err
			}
			places = places[1:]
		}
	}
	return nil
}

// artifactOf returns what is judged of a row, as it was at the time: while one page after the other is read, a tag can move from an
// artifact to another, and is not to count for both.
func artifactOf(row metadata.AgedArtifact, protected map[string]bool, at time.Time) retention.Artifact {
	a := retention.Artifact{
		Digest: row.Digest, PushedAt: row.PushedAt, PulledAt: row.PulledAt, Children: row.Children, Subject: row.AccessoryOf, Labels: row.Labels,
	}
	for _, tag := range row.Tags {
		if !tag.UpdatedAt.Before(at) {
			a.Protected = "tag " + tag.Name + " was pushed meanwhile"
			continue
		}
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
	return a
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

// deleteAll deletes the artifacts at some places: indexes before what they list, however deep.
func (r *repositoryWork) deleteAll(ctx context.Context, doomed []int) error {
	for len(doomed) > 0 {
		var listed []int
		err := r.each(ctx, doomed, func(i int, row metadata.AgedArtifact) error {
			wait, err := r.delete(ctx, i, row)
			if wait {
				listed = append(listed, i)
			}
			return err
		})
		if err != nil {
			return err
		}
		if len(listed) == len(doomed) {
			return r.each(ctx, listed, func(_ int, row metadata.AgedArtifact) error {
				r.run.Log.Printf("keep %s: an index lists it, or a tag of it became immutable", shown(row))
				return nil
			})
		}
		doomed = listed
	}
	return nil
}

// delete deletes an artifact unless it was pushed or tagged since it was judged, and reports whether it has to wait for an index.
func (r *repositoryWork) delete(ctx context.Context, i int, row metadata.AgedArtifact) (wait bool, err error) {
	switch {
	case row.ManifestID == 0: // it went with another
	case hashOf(row) != r.tags[i]:
		err = fault.New(fault.Conflict, "its tags are others now")
	default:
		actor := event.Actor{Name: "retention policy", Credential: "job"}
		err = r.content.DeleteUnwanted(ctx, actor, r.owner.Name, row.Digest, tagNames(row), r.judged)
	}
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	switch kind := fault.Of(err); {
	case err == nil, kind == fault.NotFound:
		r.run.Log.Printf("deleted %s: %s", shown(row), r.judgement.Verdict(i).Reason)
		if r.deleted++; len(r.told) < maxTold {
			reference := oci.Reference{Digest: row.Digest}
			if len(row.Tags) > 0 {
				reference = oci.Reference{Tag: row.Tags[0].Name}
			}
			r.told = append(r.told, event.Moved{Type: "image", Name: reference.Named(r.owner.Name), Status: "deleted"})
		}
	case kind == fault.Precondition:
		return true, nil
	case kind == fault.Conflict:
		r.run.Log.Printf("keep %s: it was pushed or tagged meanwhile", shown(row))
	default:
		return false, fmt.Errorf("delete %s: %w", row.Digest, err)
	}
	return false, nil
}

// tell appends the event of what came of the repository.
func (r *repositoryWork) tell(ctx context.Context, result Result) error {
	if r.deleted == 0 {
		return nil
	}
	details := event.Retention{
		PolicyID: r.row.ID, Status: "SUCCESS", Total: int(result.Total), Retained: int(result.Retained), Rules: json.RawMessage(r.row.Rules),
		Deleted: r.told,
	}
	encoded, err := json.Marshal(details)
	if err != nil {
		return fmt.Errorf("details of the event: %w", err)
	}
	e := event.Actor{Name: r.execution.Actor, Credential: "job"}.Event(event.RetentionEnded)
	e.Project, e.Repository, e.Details = r.project.Name, r.owner.Name.String(), string(encoded)
	return r.store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error { return tx.AppendEvent(ctx, e) })
}
