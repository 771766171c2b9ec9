package webhook

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"slices"
	"strings"

	"github.com/berth-registry/berth/event/follow"
	"github.com/berth-registry/berth/jobs"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/setting"
)

// Follower is the name under which events are followed.
const Follower = "webhook"

// DispatcherOptions are what a [Dispatcher] is made of. Store, Jobs, Settings and Logger are required.
type DispatcherOptions struct {
	Store    *metadata.Store
	Jobs     *jobs.Jobs
	Settings *setting.Settings
	// ExternalURL is how clients reach the registry, as the operator says; "" means as those who made the webhooks do.
	ExternalURL string
	// MaxWaiting is how many deliveries may wait for one target: of more events it is not told. Pulls, which may be any number, fill half
	// of it. 0 means [DefaultMaxWaiting].
	MaxWaiting int
	Logger     *slog.Logger
}

// DefaultMaxWaiting is how many deliveries may wait for one target.
const DefaultMaxWaiting = 10_000

// Dispatcher makes deliveries of events.
type Dispatcher struct {
	options DispatcherOptions
}

// NewDispatcher returns a dispatcher.
func NewDispatcher(options DispatcherOptions) *Dispatcher {
	options.MaxWaiting = cmp.Or(options.MaxWaiting, DefaultMaxWaiting)
	return &Dispatcher{options}
}

// Handle is the [follow.Options.Handle] of webhooks. What it returns writes the deliveries; they begin after [jobs.Jobs.Wake].
func (d *Dispatcher) Handle(ctx context.Context, events []metadata.Event) (follow.Write, error) {
	values, err := d.options.Settings.Values(ctx)
	if err != nil {
		return nil, err
	}
	var submissions []jobs.Submission
	var triggers []metadata.WebhookTrigger
	if values.On(setting.NotificationEnable) {
		if submissions, triggers, err = d.deliveries(ctx, events); err != nil {
			return nil, err
		}
	}
	return func(ctx context.Context, tx *metadata.Tx) error {
		for _, submission := range submissions {
			if _, err := d.options.Jobs.Begin(ctx, tx, submission); err != nil {
				return fmt.Errorf("begin a delivery: %w", err)
			}
		}
		if len(triggers) == 0 {
			return nil
		}
		return tx.PutWebhookTriggers(ctx, triggers)
	}, nil
}

// deliveries returns what is to be delivered of the events, in their order, and which webhooks are told by that.
func (d *Dispatcher) deliveries(ctx context.Context, events []metadata.Event) ([]jobs.Submission, []metadata.WebhookTrigger, error) {
	var projects []int64
	events = slices.DeleteFunc(slices.Clone(events), func(e metadata.Event) bool { return typeOf(e.Kind) == "" })
	for _, e := range events {
		if !slices.Contains(projects, e.ProjectID) {
			projects = append(projects, e.ProjectID)
		}
	}
	if len(events) == 0 {
		return nil, nil, nil
	}
	policies, err := d.options.Store.WebhooksFor(ctx, projects)
	if err != nil {
		return nil, nil, err
	}
	known := surroundings{reader: d.options.Store.Reader, public: map[int64]bool{}, repositories: map[string]metadata.Repository{}}
	waiting := crowds{reader: d.options.Store.Reader, most: int64(d.options.MaxWaiting), of: map[string]*crowd{}}
	var submissions []jobs.Submission
	var triggers []metadata.WebhookTrigger
	for _, e := range events {
		o := occurrenceOf(e)
		for _, policy := range policies {
			if policy.ProjectID != 0 && policy.ProjectID != e.ProjectID || !slices.Contains(policy.EventTypes, string(o.Type)) {
				continue
			}
			if err := known.complete(ctx, &o, e.ProjectID); err != nil {
				return nil, nil, err
			}
			for _, target := range policy.Targets {
				room, err := waiting.join(ctx, o, policy, target)
				if err != nil {
					return nil, nil, err
				}
				if !room {
					continue
				}
				submission, err := d.delivery(o, policy, target)
				if err != nil { // which another try would only repeat, while all that comes after waits
					d.options.Logger.ErrorContext(ctx, "an event cannot be told to webhooks", "event", e.ID, "kind", e.Kind, "error", err)
					continue
				}
				submissions = append(submissions, submission)
			}
			triggers = noteTrigger(triggers, metadata.WebhookTrigger{PolicyID: policy.ID, EventType: string(o.Type), At: e.At})
		}
	}
	return append(submissions, waiting.turnedAway()...), triggers, nil
}

// noteTrigger adds a trigger, in the place of an earlier one of the same webhook and type.
func noteTrigger(triggers []metadata.WebhookTrigger, trigger metadata.WebhookTrigger) []metadata.WebhookTrigger {
	i := slices.IndexFunc(triggers, func(t metadata.WebhookTrigger) bool {
		return t.PolicyID == trigger.PolicyID && t.EventType == trigger.EventType
	})
	if i < 0 {
		return append(triggers, trigger)
	}
	triggers[i] = trigger
	return triggers
}

// Told is what an execution has about a delivery: its parameters.
type Told struct {
	EventType Type `json:"event_type"`
	// NotifyType is the type of the target.
	NotifyType string `json:"notify_type"`
	// Payload is the body of the request.
	Payload string `json:"payload"`
}

func (d *Dispatcher) delivery(o occurrence, policy metadata.WebhookPolicy, target metadata.WebhookTarget) (jobs.Submission, error) {
	body, contentType, err := encode(o, policy, target, hostOf(d.options.ExternalURL, policy.Base))
	if err != nil {
		return jobs.Submission{}, err
	}
	about, err := topics(target, o)
	if err != nil {
		return jobs.Submission{}, err
	}
	return jobs.Submission{
		Kind: Kind, SubjectID: policy.ID, Cause: jobs.CauseEvent, Actor: o.Actor,
		Parameters: Told{EventType: o.Type, NotifyType: target.Type, Payload: string(body)},
		Tasks: []jobs.Task{{
			Lane: lane(target, o),
			Parameters: delivery{
				ID: o.ID + "-" + target.Key, PolicyID: policy.ID, Target: target.Key, Topics: about, EventType: o.Type, ContentType: contentType, Body: string(body),
			},
		}},
	}, nil
}

// lane is where deliveries to a target take turns: all about one repository in the same one, and so about one artifact and one tag.
func lane(target metadata.WebhookTarget, o occurrence) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(o.Project + "/" + o.Repository)) // which never fails
	return fmt.Sprintf("%s/%d", target.Key, h.Sum32()%targetLanes)
}

// asides is what the lanes of deliveries to a target begin with that were set aside.
func asides(target string) string { return target + "/aside/" }

// topics are what a delivery of the occurrence is about as far as order goes: its artifact first, and each tag that it tells of.
func topics(target metadata.WebhookTarget, o occurrence) ([]string, error) {
	tags, err := o.tags()
	about := []string{"@" + o.Digest}
	for _, tag := range tags {
		about = append(about, ":"+tag)
	}
	for i, name := range about {
		h := fnv.New64a()
		_, _ = h.Write([]byte(target.Key + "/" + o.Project + "/" + o.Repository + name)) // which never fails
		about[i] = fmt.Sprintf("%016x", h.Sum64())
	}
	return about, err
}

// hostOf is how payloads name the registry: without a scheme, as clients do.
func hostOf(bases ...string) string {
	for _, base := range bases {
		if base != "" {
			_, host, _ := strings.Cut(base, "://")
			return strings.TrimRight(host, "/")
		}
	}
	return ""
}

// surroundings are projects and repositories of events, each read once.
type surroundings struct {
	reader       metadata.Reader
	public       map[int64]bool
	repositories map[string]metadata.Repository
}

// complete adds what is known of the project and repository of the occurrence, which may both be gone.
func (s surroundings) complete(ctx context.Context, o *occurrence, projectID int64) error {
	public, known := s.public[projectID]
	if !known && projectID != 0 {
		project, err := s.reader.ProjectByID(ctx, projectID)
		if err != nil && !errors.Is(err, metadata.ErrNotFound) {
			return err
		}
		public = project.Public
		s.public[projectID] = public
	}
	row, known := s.repositories[o.Repository]
	if !known && o.Repository != "" {
		found, err := s.reader.Repository(ctx, oci.Repository(o.Repository))
		if err != nil && !errors.Is(err, metadata.ErrNotFound) {
			return err
		}
		row = found
		s.repositories[o.Repository] = row
	}
	o.Public, o.RepositoryCreatedAt = public, row.CreatedAt
	return nil
}
