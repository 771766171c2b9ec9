package audit

import (
	"fmt"
	"slices"
	"strings"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/metadata"
)

// Type is what an entry of the audit log is about, as Harbor's clients name it: "create_artifact".
type Type struct {
	Operation, Resource string
}

// String returns the name by which types are switched off and purged.
func (t Type) String() string { return t.Operation + "_" + t.Resource }

// mapping says what becomes of an event.
type mapping struct {
	kind event.Kind
	Type
	// of returns what the entry is about.
	of      func(e event.Event) string
	outcome outcome
}

// outcome says whether what an event tells of came about.
type outcome bool

const (
	done   outcome = true
	failed outcome = false
)

// mappings has every kind of event; a test fails when one is missing.
var mappings = byKind([]mapping{
	{event.ManifestPushed, Type{"create", "artifact"}, artifact, done},
	{event.ManifestPulled, Type{"pull", "artifact"}, artifact, done},
	{event.ManifestDeleted, Type{"delete", "artifact"}, artifact, done},
	{event.TagCreated, Type{"create", "tag"}, artifact, done},
	{event.TagMoved, Type{"update", "tag"}, artifact, done},
	{event.TagDeleted, Type{"delete", "tag"}, artifact, done},
	{event.BlobDeleted, Type{"delete", "blob"}, artifact, done},
	{event.RepositoryUpdated, Type{"update", "repository"}, artifact, done},
	{event.RepositoryDeleted, Type{"delete", "repository"}, artifact, done},
	{event.ArtifactLabelled, Type{"create", "artifact-label"}, artifact, done},
	{event.ArtifactUnlabelled, Type{"delete", "artifact-label"}, artifact, done},
	{event.ProjectCreated, Type{"create", "project"}, project, done},
	{event.ProjectUpdated, Type{"update", "project"}, project, done},
	{event.ProjectDeleted, Type{"delete", "project"}, project, done},
	{event.MemberSet, Type{"update", "member"}, subject, done},
	{event.MemberRemoved, Type{"delete", "member"}, subject, done},
	{event.UserCreated, Type{"create", "user"}, subject, done},
	{event.UserUpdated, Type{"update", "user"}, subject, done},
	{event.UserDeleted, Type{"delete", "user"}, subject, done},
	{event.GroupCreated, Type{"create", "group"}, subject, done},
	{event.GroupUpdated, Type{"update", "group"}, subject, done},
	{event.GroupDeleted, Type{"delete", "group"}, subject, done},
	{event.SettingsUpdated, Type{"update", "configuration"}, subject, done},
	{event.QuotaUpdated, Type{"update", "quota"}, project, done},
	{event.QuotaWarned, Type{"warn", "quota"}, project, done},
	{event.QuotaExceeded, Type{"exceed", "quota"}, project, failed},
	{event.JobStarted, Type{"start", "job"}, subject, done},
	{event.JobStopped, Type{"stop", "job"}, subject, done},
	{event.ScheduleUpdated, Type{"update", "schedule"}, subject, done},
	{event.ReplicationEnded, Type{"replicate", "artifact"}, artifact, done},
	{event.RetentionEnded, Type{"retain", "repository"}, artifact, done},
	{event.ScanCompleted, Type{"scan", "artifact"}, artifact, done},
	{event.ScanFailed, Type{"scan", "artifact"}, artifact, failed},
	{event.ScanStopped, Type{"scan", "artifact"}, artifact, failed},
	{event.WebhookCreated, Type{"create", "webhook"}, subject, done},
	{event.WebhookUpdated, Type{"update", "webhook"}, subject, done},
	{event.WebhookDeleted, Type{"delete", "webhook"}, subject, done},
	{event.QueuePaused, Type{"pause", "job-queue"}, subject, done},
	{event.QueueResumed, Type{"resume", "job-queue"}, subject, done},
	{event.RobotCreated, Type{"create", "robot"}, subject, done},
	{event.RobotUpdated, Type{"update", "robot"}, subject, done},
	{event.RobotDeleted, Type{"delete", "robot"}, subject, done},
	{event.AccessTokenCreated, Type{"create", "access-token"}, subject, done},
	{event.AccessTokenRevoked, Type{"delete", "access-token"}, subject, done},
	{event.MemberAdded, Type{"create", "member"}, subject, done},
	{event.LabelCreated, Type{"create", "label"}, subject, done},
	{event.LabelUpdated, Type{"update", "label"}, subject, done},
	{event.LabelDeleted, Type{"delete", "label"}, subject, done},
	{event.ImmutableRuleCreated, Type{"create", "immutable-rule"}, subject, done},
	{event.ImmutableRuleUpdated, Type{"update", "immutable-rule"}, subject, done},
	{event.ImmutableRuleDeleted, Type{"delete", "immutable-rule"}, subject, done},
	{event.RetentionPolicyCreated, Type{"create", "tag-retention"}, subject, done},
	{event.RetentionPolicyUpdated, Type{"update", "tag-retention"}, subject, done},
	{event.RetentionPolicyDeleted, Type{"delete", "tag-retention"}, subject, done},
	{event.ArtifactRestored, Type{"restore", "artifact"}, artifact, done},
	{event.DeletionPurged, Type{"purge", "artifact"}, artifact, done},
	{event.AllowlistUpdated, Type{"update", "cve-allowlist"}, subject, done},
	{event.RegistryCreated, Type{"create", "registry"}, subject, done},
	{event.RegistryUpdated, Type{"update", "registry"}, subject, done},
	{event.RegistryDeleted, Type{"delete", "registry"}, subject, done},
	{event.ReplicationPolicyCreated, Type{"create", "replication-policy"}, subject, done},
	{event.ReplicationPolicyUpdated, Type{"update", "replication-policy"}, subject, done},
	{event.ReplicationPolicyDeleted, Type{"delete", "replication-policy"}, subject, done},
	{event.LoggedIn, Type{"login", "user"}, actor, done},
	{event.LoginFailed, Type{"login", "user"}, actor, failed},
	{event.LoggedOut, Type{"logout", "user"}, actor, done},
	{event.EventsDropped, Type{"drop", "event"}, subject, failed},
})

func byKind(rows []mapping) map[event.Kind]mapping {
	table := make(map[event.Kind]mapping, len(rows))
	for _, row := range rows {
		table[row.kind] = row
	}
	return table
}

// harborTypes are those that Harbor has, in its order.
var harborTypes = []Type{
	{"create", "artifact"},
	{"delete", "artifact"},
	{"pull", "artifact"},
	{"create", "project"},
	{"delete", "project"},
	{"delete", "repository"},
	{"login", "user"},
	{"logout", "user"},
	{"create", "user"},
	{"delete", "user"},
	{"update", "user"},
	{"create", "robot"},
	{"delete", "robot"},
	{"update", "configuration"},
	{"update", "project"},
	{"create", "member"},
	{"update", "member"},
	{"delete", "member"},
}

// Types returns all types: Harbor's, and after them those that only Berth has.
func Types() []Type {
	types := slices.Clone(harborTypes)
	var more []Type
	for _, m := range mappings {
		if !slices.Contains(types, m.Type) && !slices.Contains(more, m.Type) {
			more = append(more, m.Type)
		}
	}
	slices.SortFunc(more, func(a, b Type) int { return strings.Compare(a.String(), b.String()) })
	return append(types, more...)
}

// Maps reports whether a kind of event has its own row.
func Maps(kind event.Kind) bool {
	_, known := mappings[kind]
	return known
}

// entryOf returns what becomes of an event.
func entryOf(e metadata.Event) metadata.AuditEntry {
	m := mappingOf(e.Kind)
	switch e.Kind {
	case event.Refused:
		m = mappingOf(e.Attempt)
	case event.EventsDropped:
		e.Subject = mappingOf(e.Attempt).String()
	}
	entry := metadata.AuditEntry{
		ID: e.ID, ProjectID: e.ProjectID, Operation: m.Operation, ResourceType: m.Resource, Resource: m.of(e.Event), Username: e.Actor,
		Credential: e.Credential, Address: e.Address, RequestID: e.RequestID, Succeeded: m.outcome == done && e.Kind != event.Refused, At: e.At,
	}
	entry.Description = describe(e.Event, entry)
	return entry
}

// mappingOf returns the mapping of a kind, a rough one for a kind of a newer version, which another gateway may run already.
func mappingOf(kind event.Kind) mapping {
	if m, known := mappings[kind]; known {
		return m
	}
	resource, operation, found := strings.Cut(string(kind), "_")
	if !found {
		operation = "change"
	}
	return mapping{kind, Type{operation, resource}, subject, done}
}

// describe says in words what happened.
func describe(e event.Event, entry metadata.AuditEntry) string {
	switch e.Kind {
	case event.Refused:
		return fmt.Sprintf("refused to %s %s %s", entry.Operation, entry.ResourceType, entry.Resource)
	case event.EventsDropped:
		return fmt.Sprintf("%d events of this type came faster than they could be written, and are not in this log", e.Size)
	case event.LoginFailed:
		return "login refused: wrong user name or password"
	}
	times := ""
	if e.Repeated > 0 {
		times = fmt.Sprintf(", %d times within moments", e.Repeated+1)
	}
	if e.Digest != "" && e.Tag != "" {
		return fmt.Sprintf("%s %s %s with digest %s%s", entry.Operation, entry.ResourceType, entry.Resource, e.Digest, times)
	}
	return strings.TrimSpace(fmt.Sprintf("%s %s %s", entry.Operation, entry.ResourceType, entry.Resource)) + times
}

func artifact(e event.Event) string {
	switch {
	case e.Tag != "":
		return e.Repository + ":" + e.Tag
	case e.Digest != "":
		return e.Repository + "@" + e.Digest
	}
	return e.Repository
}

func project(e event.Event) string { return e.Project }

// subject is what a change is about, within its project where it is about one.
func subject(e event.Event) string {
	if e.Project != "" && e.Subject != "" && e.Kind != event.Refused {
		return e.Project + "/" + e.Subject
	}
	return e.Project + e.Subject
}

func actor(e event.Event) string { return e.Actor }
