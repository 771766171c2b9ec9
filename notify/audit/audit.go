// Package audit keeps the audit log: who did what, when, from where and through which credential, and whether it came about. The
// events are its source: those of changes are written in the transaction of the change, those of pulls, logins and refusals by a
// [Recorder] some seconds later.
package audit

import (
	"context"
	"fmt"
	"strings"

	"github.com/berth-registry/berth/event/follow"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/setting"
)

// Follower is the name under which events are followed.
const Follower = "audit"

// Forwarder sends entries to where the operator wants them.
type Forwarder interface {
	// Forward takes entries and returns nil once they outlive the process.
	Forward(ctx context.Context, entries []metadata.AuditEntry) error
}

// Log makes entries of events.
type Log struct {
	settings  *setting.Settings
	forwarder Forwarder
	// forwarded is the place of the last event that was given to the forwarder: a batch may be handled again.
	forwarded metadata.EventCursor
}

// New returns the log.
func New(settings *setting.Settings, forwarder Forwarder) *Log {
	return &Log{settings: settings, forwarder: forwarder}
}

// Handle is the [follow.Options.Handle] of the log.
func (l *Log) Handle(ctx context.Context, events []metadata.Event) (follow.Write, error) {
	values, err := l.settings.Values(ctx)
	if err != nil {
		return nil, err
	}
	off := map[string]bool{}
	for name := range strings.SplitSeq(values.Text(setting.DisabledAuditLogEventTypes), ",") {
		off[strings.TrimSpace(name)] = true
	}
	var entries, fresh []metadata.AuditEntry
	for _, e := range events {
		entry := entryOf(e)
		if off[Type{entry.Operation, entry.ResourceType}.String()] {
			continue
		}
		entries = append(entries, entry)
		if l.forwarded.Before(e.Cursor()) {
			fresh = append(fresh, entry)
		}
	}
	forward := values.Text(setting.AuditLogForwardEndpoint) != ""
	if forward && len(fresh) > 0 {
		if err := l.forwarder.Forward(ctx, fresh); err != nil {
			return nil, fmt.Errorf("forward the audit log: %w", err)
		}
		l.forwarded = events[len(events)-1].Cursor()
	}
	if forward && values.On(setting.SkipAuditLogDatabase) {
		entries = nil
	}
	return func(ctx context.Context, tx *metadata.Tx) error { return tx.InsertAuditEntries(ctx, entries) }, nil
}
