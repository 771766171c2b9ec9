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
	Type
	// of returns what the entry is about.
	of func(e event.Event) string
	// failed marks what did not come about.
	failed bool
}

// mappings has every kind of event; a test fails when one is missing.
var mappings = map[event.Kind]mapping{
	event.ManifestPushed:       {Type: Type{"create", "artifact"}, of: artifact},
	event.ManifestPulled:       {Type: Type{"pull", "artifact"}, of: artifact},
	event.ManifestDeleted:      {Type: Type{"delete", "artifact"}, of: artifact},
	event.TagCreated:           {Type: Type{"create", "tag"}, of: artifact},
	event.TagMoved:             {Type: Type{"update", "tag"}, of: artifact},
	event.TagDeleted:           {Type: Type{"delete", "tag"}, of: artifact},
	event.BlobDeleted:          {Type: Type{"delete", "blob"}, of: artifact},
	event.RepositoryUpdated:    {Type: Type{"update", "repository"}, of: artifact},
	event.RepositoryDeleted:    {Type: Type{"delete", "repository"}, of: artifact},
	event.ArtifactLabelled:     {Type: Type{"create", "artifact-label"}, of: artifact},
	event.ArtifactUnlabelled:   {Type: Type{"delete", "artifact-label"}, of: artifact},
	event.ProjectCreated:       {Type: Type{"create", "project"}, of: project},
	event.ProjectUpdated:       {Type: Type{"update", "project"}, of: project},
	event.ProjectDeleted:       {Type: Type{"delete", "project"}, of: project},
	event.MemberAdded:          {Type: Type{"create", "member"}, of: subject},
	event.MemberSet:            {Type: Type{"update", "member"}, of: subject},
	event.MemberRemoved:        {Type: Type{"delete", "member"}, of: subject},
	event.UserCreated:          {Type: Type{"create", "user"}, of: subject},
	event.UserUpdated:          {Type: Type{"update", "user"}, of: subject},
	event.UserDeleted:          {Type: Type{"delete", "user"}, of: subject},
	event.GroupCreated:         {Type: Type{"create", "group"}, of: subject},
	event.GroupUpdated:         {Type: Type{"update", "group"}, of: subject},
	event.GroupDeleted:         {Type: Type{"delete", "group"}, of: subject},
	event.LabelCreated:         {Type: Type{"create", "label"}, of: subject},
	event.LabelUpdated:         {Type: Type{"update", "label"}, of: subject},
	event.LabelDeleted:         {Type: Type{"delete", "label"}, of: subject},
	event.ImmutableRuleCreated: {Type: Type{"create", "immutable-rule"}, of: subject},
	event.ImmutableRuleUpdated: {Type: Type{"update", "immutable-rule"}, of: subject},
	event.ImmutableRuleDeleted: {Type: Type{"delete", "immutable-rule"}, of: subject},
	event.AllowlistUpdated:     {Type: Type{"update", "cve-allowlist"}, of: subject},
	event.SettingsUpdated:      {Type: Type{"update", "configuration"}, of: subject},
	event.RobotCreated:         {Type: Type{"create", "robot"}, of: subject},
	event.RobotUpdated:         {Type: Type{"update", "robot"}, of: subject},
	event.RobotDeleted:         {Type: Type{"delete", "robot"}, of: subject},
	event.AccessTokenCreated:   {Type: Type{"create", "access-token"}, of: subject},
	event.AccessTokenRevoked:   {Type: Type{"delete", "access-token"}, of: subject},
	event.QuotaUpdated:         {Type: Type{"update", "quota"}, of: project},
	event.QuotaWarned:          {Type: Type{"warn", "quota"}, of: project},
	event.QuotaExceeded:        {Type: Type{"exceed", "quota"}, of: project, failed: true},
	event.LoggedIn:             {Type: Type{"login", "user"}, of: actor},
	event.LoginFailed:          {Type: Type{"login", "user"}, of: actor, failed: true},
	event.LoggedOut:            {Type: Type{"logout", "user"}, of: actor},
	event.EventsDropped:        {Type: Type{"drop", "event"}, of: subject, failed: true},
}

// harborTypes are those that Harbor has, in its order.
var harborTypes = []Type{
	{"create", "artifact"}, {"delete", "artifact"}, {"pull", "artifact"}, {"create", "project"}, {"delete", "project"}, {"delete", "repository"},
	{"login", "user"}, {"logout", "user"}, {"create", "user"}, {"delete", "user"}, {"update", "user"}, {"create", "robot"}, {"delete", "robot"},
	{"update", "configuration"}, {"update", "project"}, {"create", "member"}, {"update", "member"}, {"delete", "member"},
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
		e.Subject = mappingOf(e.Attempt).Type.String()
	}
	entry := metadata.AuditEntry{
		ID: e.ID, ProjectID: e.ProjectID, Operation: m.Operation, ResourceType: m.Resource, Resource: m.of(e.Event), Username: e.Actor,
		Credential: e.Credential, Address: e.Address, RequestID: e.RequestID, Succeeded: !m.failed && e.Kind != event.Refused, At: e.At,
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
	return mapping{Type: Type{operation, resource}, of: subject}
}

// describe says in words what happened.
func describe(e event.Event, entry metadata.AuditEntry) string {
	switch {
	case e.Kind == event.Refused:
		return fmt.Sprintf("refused to %s %s %s", entry.Operation, entry.ResourceType, entry.Resource)
	case e.Kind == event.EventsDropped:
		return fmt.Sprintf("%d events of this type came faster than they could be written, and are not in this log", e.Size)
	case e.Kind == event.LoginFailed:
		return "login refused: wrong user name or password"
	case e.Digest != "" && e.Tag != "":
		return fmt.Sprintf("%s %s %s with digest %s", entry.Operation, entry.ResourceType, entry.Resource, e.Digest)
	}
	return strings.TrimSpace(fmt.Sprintf("%s %s %s", entry.Operation, entry.ResourceType, entry.Resource))
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
