package metadata

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// WebhookPolicy says which events of a project, or of all, are told to whom.
type WebhookPolicy struct {
	ID int64
	// ProjectID is that of the project, 0 for a webhook that is told of all projects' events.
	ProjectID   int64
	Name        string
	Description string
	// Creator is the name of who made it.
	Creator string
	Enabled bool
	// EventTypes are as Harbor's clients name them: "PUSH_ARTIFACT".
	EventTypes []string
	Targets    []WebhookTarget
	// Base is how its creator reached the registry, such as "https://registry.example.com".
	Base      string
	CreatedAt time.Time
	UpdatedAt time.Time
}

// WebhookTarget is a receiver.
type WebhookTarget struct {
	// Key tells the target from all others, whatever else changes.
	Key string `json:"key"`
	// Type is "http" or "slack", Format that of the payload.
	Type    string `json:"type"`
	Format  string `json:"format"`
	Address string `json:"address"`
	// Insecure trusts every certificate; CA has certificates in PEM that are trusted besides those of the machine.
	Insecure bool   `json:"insecure,omitempty"`
	CA       string `json:"ca,omitempty"`
	// AuthHeader and Secret are sealed; they may be absent.
	AuthHeader []byte `json:"auth_header,omitempty"`
	Secret     []byte `json:"secret,omitempty"`
}

// WebhookTrigger is when a webhook was last told of a type of event.
type WebhookTrigger struct {
	PolicyID  int64
	EventType string
	At        time.Time
}

// WebhookAnswer is what a receiver has said last to a delivery, which is a task.
type WebhookAnswer struct {
	TaskID int64
	// Status is that of HTTP, 0 when there was no answer. Body is its beginning.
	Status   int
	Body     string
	Duration time.Duration
	// RetryAfter is for how long the receiver asks to be left alone, which is not stored.
	RetryAfter time.Duration
}

const webhookColumns = `id, COALESCE(project_id, 0), name, description, creator, enabled, event_types, targets, base, created_at, updated_at`

var (
	webhookByID = define("webhook", `SELECT `+webhookColumns+` FROM webhook_policies WHERE id = $1`)
	// The first ones are told of the events of all projects.
	webhooksFor = define("webhooks of projects", `
		SELECT `+webhookColumns+` FROM webhook_policies WHERE project_id IS NULL AND enabled
		UNION ALL
		SELECT `+webhookColumns+` FROM webhook_policies
		WHERE project_id {any id of}$1{these ids} AND enabled`)
	insertWebhook = define("create webhook", `
		INSERT INTO webhook_policies (project_id, name, description, creator, enabled, event_types, targets, base, created_at, updated_at)
		VALUES (NULLIF(CAST($1 AS BIGINT), 0), $2, $3, $4, $5, $6, $7, $8, $9, $9)
		RETURNING `+webhookColumns)
	updateWebhook = define("update webhook", `
		UPDATE webhook_policies SET name = $2, description = $3, enabled = $4, event_types = $5, targets = $6, base = $7, updated_at = $8
		WHERE id = $1
		RETURNING `+webhookColumns)
	deleteWebhook = define("delete webhook", `DELETE FROM webhook_policies WHERE id = $1`)

	putTriggers = define("note triggers of webhooks", `
		INSERT INTO webhook_triggers (policy_id, event_type, triggered_at)
		SELECT p.id, e.event_type, e.at
		FROM (SELECT CAST(value->>'policy' AS BIGINT) AS policy_id, value->>'type' AS event_type, CAST(value->>'at' AS BIGINT) AS at FROM {elements}($1{json})) AS e
		JOIN webhook_policies p ON p.id = e.policy_id
		WHERE TRUE
		ON CONFLICT (policy_id, event_type) DO UPDATE SET triggered_at = excluded.triggered_at`)
	triggersOf = define("triggers of webhooks", `
		SELECT policy_id, event_type, triggered_at FROM webhook_triggers
		WHERE policy_id {any id of}$1{these ids} ORDER BY policy_id, event_type`)

	putAnswer = define("note answer to webhook", `
		INSERT INTO webhook_answers (task_id, status, body, duration_us) VALUES ($1, $2, $3, $4)
		ON CONFLICT (task_id) DO UPDATE SET status = excluded.status, body = excluded.body, duration_us = excluded.duration_us`)
	answersOf = define("answers to webhook", `
		SELECT a.task_id, a.status, a.body, a.duration_us FROM tasks t JOIN webhook_answers a ON a.task_id = t.id WHERE t.execution_id = $1`)

	putAside = define("set delivery to webhook aside", `
		INSERT INTO webhook_asides (task_id, topic)
		SELECT CAST($1 AS BIGINT), value FROM {texts}($2{json}) WHERE TRUE ON CONFLICT (task_id, topic) DO NOTHING`)
	asideBefore = define("lane of earlier delivery to webhook", `
		SELECT t.lane FROM webhook_asides a JOIN tasks t ON t.id = a.task_id
		WHERE a.topic {any of}$1{these} AND a.task_id < $2 AND t.ended_at IS NULL AND t.lane <> $3 LIMIT 1`)

	restWebhook = define("rest webhook", `
		INSERT INTO webhook_rests (policy_id, target, rest_until) VALUES ($1, $2, $3)
		ON CONFLICT (policy_id, target) DO UPDATE SET rest_until = excluded.rest_until`)
	webhookRest = define("rest of webhook", `SELECT rest_until FROM webhook_rests WHERE policy_id = $1 AND target = $2`)

	webhookListing = &listing[WebhookPolicy]{
		name: "webhooks", columns: webhookColumns, from: "webhook_policies", key: "id", order: "id", scan: scanWebhook,
		fields: map[string]field{
			"id": {"id", numberField}, "name": {"name", textField}, "enabled": {"enabled", switchField}, "creator": {"creator", textField},
			"creation_time": {"created_at", momentField}, "update_time": {"updated_at", momentField},
		},
	}
)

func scanWebhook(r row, w *WebhookPolicy) error {
	var types, targets []byte
	err := r.Scan(&w.ID, &w.ProjectID, &w.Name, &w.Description, &w.Creator, &w.Enabled, &types, &targets, &w.Base,
		moment{&w.CreatedAt}, moment{&w.UpdatedAt})
	if err != nil {
		return err
	}
	if err := json.Unmarshal(types, &w.EventTypes); err != nil {
		return fmt.Errorf("event types of webhook %d: %w", w.ID, err)
	}
	if err := json.Unmarshal(targets, &w.Targets); err != nil {
		return fmt.Errorf("targets of webhook %d: %w", w.ID, err)
	}
	return nil
}

func scanTrigger(r row, t *WebhookTrigger) error {
	return r.Scan(&t.PolicyID, &t.EventType, moment{&t.At})
}

func scanAnswer(r row, a *WebhookAnswer) error {
	var micros int64
	err := r.Scan(&a.TaskID, &a.Status, &a.Body, &micros)
	a.Duration = time.Duration(micros) * time.Microsecond
	return err
}

// Webhook returns a webhook, or [ErrNotFound].
func (r Reader) Webhook(ctx context.Context, id int64) (WebhookPolicy, error) {
	return one(ctx, r, webhookByID, scanWebhook, id)
}

// Webhooks returns a page of the webhooks of a project, or with 0 of those that are told of all, the oldest first unless the query
// orders otherwise, and the number on all pages.
func (r Reader) Webhooks(ctx context.Context, projectID int64, q Query) ([]WebhookPolicy, int64, error) {
	return webhookListing.list(ctx, r, q, kept("webhooks", projectID), "COALESCE(project_id, 0) = $1", projectID)
}

// WebhooksFor returns the enabled webhooks that are told of events of the projects.
func (r Reader) WebhooksFor(ctx context.Context, projectIDs []int64) ([]WebhookPolicy, error) {
	list, err := idList(projectIDs)
	if err != nil {
		return nil, err
	}
	return all(ctx, r, webhooksFor, scanWebhook, list)
}

// CreateWebhook adds a webhook and returns the row. It returns [ErrExists] when the project has one of the name, and [ErrNotFound]
// when there is no such project.
func (t *Tx) CreateWebhook(ctx context.Context, w WebhookPolicy) (WebhookPolicy, error) {
	types, targets, err := encodeWebhook(w)
	if err != nil {
		return WebhookPolicy{}, err
	}
	return one(ctx, t.Reader, insertWebhook, scanWebhook, w.ProjectID, w.Name, w.Description, w.Creator, w.Enabled, types, targets, w.Base, micros(now()))
}

// UpdateWebhook writes the webhook of that id, but for its project and creator, and returns the row. It returns [ErrNotFound], and
// [ErrExists] when its project has another one of the name.
func (t *Tx) UpdateWebhook(ctx context.Context, w WebhookPolicy) (WebhookPolicy, error) {
	types, targets, err := encodeWebhook(w)
	if err != nil {
		return WebhookPolicy{}, err
	}
	return one(ctx, t.Reader, updateWebhook, scanWebhook, w.ID, w.Name, w.Description, w.Enabled, types, targets, w.Base, micros(now()))
}

// DeleteWebhook removes a webhook with what was to be delivered, or returns [ErrNotFound].
func (t *Tx) DeleteWebhook(ctx context.Context, id int64) error {
	return t.execOne(ctx, deleteWebhook, id)
}

func encodeWebhook(w WebhookPolicy) (types, targets string, err error) {
	encodedTypes, err := json.Marshal(w.EventTypes)
	if err != nil {
		return "", "", fmt.Errorf("event types of webhook: %w", err)
	}
	encodedTargets, err := json.Marshal(w.Targets) //nolint:gosec // secrets are sealed
	if err != nil {
		return "", "", fmt.Errorf("targets of webhook: %w", err)
	}
	return string(encodedTypes), string(encodedTargets), nil
}

// PutWebhookTriggers notes when webhooks were told; no two may be of the same policy and type. Those of webhooks that are gone are
// passed over.
func (t *Tx) PutWebhookTriggers(ctx context.Context, triggers []WebhookTrigger) error {
	type element struct {
		Policy int64  `json:"policy"`
		Type   string `json:"type"`
		At     int64  `json:"at"`
	}
	elements := make([]element, len(triggers))
	for i, trigger := range triggers {
		elements[i] = element{trigger.PolicyID, trigger.EventType, trigger.At.UnixMicro()}
	}
	list, err := json.Marshal(elements)
	if err != nil {
		return fmt.Errorf("encode triggers: %w", err)
	}
	_, err = t.exec(ctx, putTriggers, string(list))
	return err
}

// WebhookTriggers returns when the webhooks were last told of each type of event.
func (r Reader) WebhookTriggers(ctx context.Context, policyIDs []int64) ([]WebhookTrigger, error) {
	list, err := idList(policyIDs)
	if err != nil {
		return nil, err
	}
	return all(ctx, r, triggersOf, scanTrigger, list)
}

// PutWebhookAnswer notes the last answer to a delivery.
func (t *Tx) PutWebhookAnswer(ctx context.Context, a WebhookAnswer) error {
	_, err := t.exec(ctx, putAnswer, a.TaskID, a.Status, a.Body, a.Duration.Microseconds())
	return err
}

// WebhookAnswers returns the answers to the deliveries of an execution.
func (r Reader) WebhookAnswers(ctx context.Context, executionID int64) ([]WebhookAnswer, error) {
	return all(ctx, r, answersOf, scanAnswer, executionID)
}

// SetWebhookAside notes what a delivery is about that leaves its lane, so that later ones which are about any of that can wait for it.
func (t *Tx) SetWebhookAside(ctx context.Context, taskID int64, topics []string) error {
	list, err := json.Marshal(append([]string{}, topics...))
	if err != nil {
		return fmt.Errorf("encode topics: %w", err)
	}
	_, err = t.exec(ctx, putAside, taskID, string(list))
	return err
}

// WebhookLaneBefore returns a lane in which a delivery waits that was set aside, has not ended, and comes before the task as it is about
// one of the topics too: one that the task is not in already. It returns [ErrNotFound] when none does.
func (r Reader) WebhookLaneBefore(ctx context.Context, task Task, topics []string) (lane string, err error) {
	list, err := json.Marshal(append([]string{}, topics...))
	if err != nil {
		return "", fmt.Errorf("encode topics: %w", err)
	}
	return one(ctx, r, asideBefore, value[string], string(list), task.ID, task.Lane)
}

// RestWebhook has all gateways leave a target of a webhook, told by its key, alone until the time. It returns an error when there is no
// such webhook.
func (t *Tx) RestWebhook(ctx context.Context, policyID int64, target string, until time.Time) error {
	_, err := t.exec(ctx, restWebhook, policyID, target, micros(until))
	return err
}

// WebhookRest returns until when a target is left alone, which may be past, or zero.
func (r Reader) WebhookRest(ctx context.Context, policyID int64, target string) (time.Time, error) {
	until, err := one(ctx, r, webhookRest, func(r row, until *time.Time) error { return r.Scan(moment{until}) }, policyID, target)
	if errors.Is(err, ErrNotFound) {
		err = nil
	}
	return until, err
}
