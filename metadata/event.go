package metadata

import (
	"context"
	"database/sql"

	"github.com/berth-registry/berth/event"
)

// EventCursor is a place in the sequence of events; its zero value is before the first. On an engine with concurrent writers a
// transaction with an earlier id may commit later, so ids alone are no sequence that a reader could follow without gaps.
type EventCursor struct {
	Transaction int64
	ID          int64
}

// Before reports whether the place comes before another.
func (c EventCursor) Before(other EventCursor) bool {
	return c.Transaction < other.Transaction || c.Transaction == other.Transaction && c.ID < other.ID
}

// Cursor is the place of the event, to read on from there.
func (e Event) Cursor() EventCursor { return EventCursor{Transaction: e.Transaction, ID: e.ID} }

var (
	eventsPage = define("events", `
		SELECT transaction_id, id, kind, actor, credential, request_id, address, project, repository, digest, tag, media_type, size, subject, attempt, repeated, details, project_id, occurred_at
		FROM events WHERE (transaction_id, id) > ($1, $2) AND {settled}
		ORDER BY transaction_id, id LIMIT $3`)
	insertEvent = define("append event", `
		INSERT INTO events (kind, actor, credential, request_id, address, project, repository, digest, tag, media_type, size, subject, attempt, occurred_at, details, project_id)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, (SELECT id FROM projects WHERE name = $6))`)
)

func scanEvent(r row, e *Event) error {
	var project sql.NullInt64
	err := r.Scan(&e.Transaction, &e.ID, &e.Kind, &e.Actor, &e.Credential, &e.RequestID, &e.Address, &e.Project, &e.Repository,
		&e.Digest, &e.Tag, &e.MediaType, &e.Size, &e.Subject, &e.Attempt, &e.Repeated, &e.Details, &project, moment{&e.At})
	e.ProjectID = project.Int64
	return err
}

// Events returns up to n events after the cursor, in an order in which none will ever appear before one that was returned. On
// PostgreSQL an event is therefore withheld while a transaction that began before it is still writing.
func (r Reader) Events(ctx context.Context, after EventCursor, n int) ([]Event, error) {
	return all(ctx, r, eventsPage, scanEvent, after.Transaction, after.ID, limit(n))
}

// AppendEvent stores an event in the transaction of the act it tells of. An event without a time gets the present one.
func (t *Tx) AppendEvent(ctx context.Context, e event.Event) error {
	if e.At.IsZero() {
		e.At = now()
	}
	_, err := t.exec(ctx, insertEvent, string(e.Kind), e.Actor, e.Credential, e.RequestID, e.Address, e.Project, e.Repository,
		e.Digest, e.Tag, e.MediaType, e.Size, e.Subject, string(e.Attempt), micros(e.At), e.Details)
	return err
}
