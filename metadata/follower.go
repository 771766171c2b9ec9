package metadata

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/berth-registry/berth/event"
)

var (
	insertFollower = define("add follower", `
		INSERT INTO followers (name, transaction_id, event_id, holder, lease_until) VALUES ($1, 0, 0, '', 0)
		ON CONFLICT (name) DO NOTHING`)
	leaseFollower = define("lease follower", `
		UPDATE followers SET holder = $2, lease_until = $3 WHERE name = $1 AND (holder = $2 OR lease_until <= $4)
		RETURNING transaction_id, event_id`)
	advanceFollower = define("advance follower", `
		UPDATE followers SET transaction_id = $5, event_id = $6 WHERE name = $1 AND holder = $2 AND transaction_id = $3 AND event_id = $4`)
	releaseFollower  = define("release follower", `UPDATE followers SET holder = '', lease_until = 0 WHERE name = $1 AND holder = $2`)
	deleteFollower   = define("delete follower", `DELETE FROM followers WHERE name = $1`)
	deleteReadEvents = define("delete events that all have read", `
		DELETE FROM events WHERE id IN (SELECT id FROM events
			WHERE (transaction_id, id) <= (
				(SELECT transaction_id FROM followers ORDER BY transaction_id, event_id LIMIT 1),
				(SELECT event_id FROM followers ORDER BY transaction_id, event_id LIMIT 1))
			ORDER BY transaction_id, id LIMIT $1)`)
	insertEvents = define("append events", `
		INSERT INTO events (kind, actor, credential, request_id, address, project, repository, digest, tag, media_type, size, subject, attempt, repeated, details, occurred_at, project_id)
		SELECT value->>'kind', value->>'actor', value->>'credential', value->>'request_id', value->>'address', value->>'project',
			value->>'repository', value->>'digest', value->>'tag', value->>'media_type', CAST(value->>'size' AS BIGINT),
			value->>'subject', value->>'attempt', CAST(value->>'repeated' AS BIGINT), value->>'details', CAST(value->>'at' AS BIGINT), (SELECT p.id FROM projects p WHERE p.name = value->>'project')
		FROM {elements}($1{json})`)
)

func scanCursor(r row, c *EventCursor) error { return r.Scan(&c.Transaction, &c.ID) }

// LeaseFollower makes the holder, for as long as the lease is good, the one that reads events for the follower, and returns the
// place that it has read up to: the beginning at the first time. It returns [ErrConflict] while the lease is another's.
func (t *Tx) LeaseFollower(ctx context.Context, name, holder string, lease time.Duration) (EventCursor, error) {
	if _, err := t.exec(ctx, insertFollower, name); err != nil {
		return EventCursor{}, err
	}
	at := now()
	cursors, err := all(ctx, t.Reader, leaseFollower, scanCursor, name, holder, micros(at.Add(lease)), micros(at))
	if err == nil && len(cursors) == 0 {
		err = fmt.Errorf("follower %s: %w", name, ErrConflict)
	}
	if err != nil {
		return EventCursor{}, err
	}
	return cursors[0], nil
}

// AdvanceFollower moves the follower's place, in the transaction of what was made of the events in between: so each event has its
// effect once. It returns [ErrConflict] when the holder has lost the lease and another has read on.
func (t *Tx) AdvanceFollower(ctx context.Context, name, holder string, from, to EventCursor) error {
	changed, err := t.exec(ctx, advanceFollower, name, holder, from.Transaction, from.ID, to.Transaction, to.ID)
	if err == nil && changed == 0 {
		err = fmt.Errorf("follower %s: %w", name, ErrConflict)
	}
	return err
}

// ReleaseFollower gives the lease back, so that another takes it at once.
func (t *Tx) ReleaseFollower(ctx context.Context, name, holder string) error {
	_, err := t.exec(ctx, releaseFollower, name, holder)
	return err
}

// DeleteFollower forgets a follower that nobody runs any more: until then events are kept for it.
func (t *Tx) DeleteFollower(ctx context.Context, name string) error {
	return t.execOne(ctx, deleteFollower, name)
}

// DeleteReadEvents deletes up to n events that all followers have read, the oldest first, and returns how many.
func (t *Tx) DeleteReadEvents(ctx context.Context, n int) (int64, error) {
	return t.exec(ctx, deleteReadEvents, limit(n))
}

// AppendEvents stores many events at once; see [Tx.AppendEvent].
func (t *Tx) AppendEvents(ctx context.Context, events []event.Event) error {
	type element struct {
		Kind       event.Kind `json:"kind"`
		Actor      string     `json:"actor"`
		Credential string     `json:"credential"`
		RequestID  string     `json:"request_id"`
		Address    string     `json:"address"`
		Project    string     `json:"project"`
		Repository string     `json:"repository"`
		Digest     string     `json:"digest"`
		Tag        string     `json:"tag"`
		MediaType  string     `json:"media_type"`
		Size       int64      `json:"size"`
		Subject    string     `json:"subject"`
		Attempt    event.Kind `json:"attempt"`
		Repeated   int64      `json:"repeated"`
		Details    string     `json:"details"`
		At         int64      `json:"at"`
	}
	elements := make([]element, len(events))
	for i, e := range events {
		if e.At.IsZero() {
			e.At = now()
		}
		elements[i] = element{
			e.Kind, e.Actor, e.Credential, e.RequestID, e.Address, e.Project, e.Repository, e.Digest, e.Tag, e.MediaType, e.Size,
			e.Subject, e.Attempt, e.Repeated, e.Details, e.At.UnixMicro(),
		}
	}
	list, err := json.Marshal(elements)
	if err != nil {
		return fmt.Errorf("encode events: %w", err)
	}
	_, err = t.exec(ctx, insertEvents, string(list))
	return err
}
