// Package event names what happened. Events are rows written in the transaction of the act itself (package metadata), so an
// act without its event does not exist; audit, webhooks, scans and replication read them in order, at least once each.
package event

import "time"

// Kind says what happened.
type Kind string

// The kinds of event.
const (
	ManifestPushed  Kind = "manifest_pushed"
	ManifestDeleted Kind = "manifest_deleted"
	TagCreated      Kind = "tag_created"
	TagMoved        Kind = "tag_moved"
	TagDeleted      Kind = "tag_deleted"
	BlobDeleted     Kind = "blob_deleted"

	RepositoryUpdated Kind = "repository_updated"
	RepositoryDeleted Kind = "repository_deleted"
	// ArtifactLabelled and ArtifactUnlabelled tell of a label, which is the Subject.
	ArtifactLabelled   Kind = "artifact_labelled"
	ArtifactUnlabelled Kind = "artifact_unlabelled"

	ProjectCreated  Kind = "project_created"
	ProjectDeleted  Kind = "project_deleted"
	ProjectUpdated  Kind = "project_updated"
	MemberAdded     Kind = "member_added"
	MemberSet       Kind = "member_set"
	MemberRemoved   Kind = "member_removed"
	UserCreated     Kind = "user_created"
	UserUpdated     Kind = "user_updated"
	UserDeleted     Kind = "user_deleted"
	GroupCreated    Kind = "group_created"
	GroupUpdated    Kind = "group_updated"
	GroupDeleted    Kind = "group_deleted"
	SettingsUpdated Kind = "settings_updated"
	RobotCreated    Kind = "robot_created"
	RobotUpdated    Kind = "robot_updated"
	RobotDeleted    Kind = "robot_deleted"
	// AccessTokenCreated and AccessTokenRevoked tell of tokens that stand in for a person's password; the subject is
	// "PERSON/TOKEN".
	AccessTokenCreated Kind = "access_token_created"
	AccessTokenRevoked Kind = "access_token_revoked"
	LabelCreated       Kind = "label_created"
	LabelUpdated       Kind = "label_updated"
	LabelDeleted       Kind = "label_deleted"
	// The rules are those about immutable tags.
	ImmutableRuleCreated Kind = "immutable_rule_created"
	ImmutableRuleUpdated Kind = "immutable_rule_updated"
	ImmutableRuleDeleted Kind = "immutable_rule_deleted"
	// RetentionPolicyCreated and its like are about the rules which artifacts of a project are kept.
	RetentionPolicyCreated Kind = "retention_policy_created"
	RetentionPolicyUpdated Kind = "retention_policy_updated"
	RetentionPolicyDeleted Kind = "retention_policy_deleted"
	// ArtifactRestored tells that a deletion was undone, DeletionPurged that it cannot be undone any more.
	ArtifactRestored Kind = "artifact_restored"
	DeletionPurged   Kind = "deletion_purged"
	// AllowlistUpdated is about the vulnerabilities that the registry lets through.
	AllowlistUpdated Kind = "allowlist_updated"
	// QuotaWarned tells that a project is near its limit, QuotaExceeded that a push was refused because of it; Subject says it in
	// words. QuotaUpdated is a new limit.
	QuotaWarned   Kind = "quota_warned"
	QuotaExceeded Kind = "quota_exceeded"
	QuotaUpdated  Kind = "quota_updated"
	// The registries are those elsewhere; the subject is their name, and that of policies which say what is replicated.
	RegistryCreated          Kind = "registry_created"
	RegistryUpdated          Kind = "registry_updated"
	RegistryDeleted          Kind = "registry_deleted"
	ReplicationPolicyCreated Kind = "replication_policy_created"
	ReplicationPolicyUpdated Kind = "replication_policy_updated"
	ReplicationPolicyDeleted Kind = "replication_policy_deleted"
	// JobStarted and JobStopped tell what a person has done with work in the background, ScheduleUpdated when it is to be done;
	// Subject is the kind of work.
	JobStarted      Kind = "job_started"
	JobStopped      Kind = "job_stopped"
	ScheduleUpdated Kind = "schedule_updated"
	// QueuePaused and QueueResumed: Subject is the kind of work whose tasks wait, or "all".
	QueuePaused  Kind = "queue_paused"
	QueueResumed Kind = "queue_resumed"

	// ReplicationEnded, RetentionEnded and those of scans tell what came of work in the background.
	ReplicationEnded Kind = "replication_ended"
	RetentionEnded   Kind = "retention_ended"
	ScanCompleted    Kind = "scan_completed"
	ScanFailed       Kind = "scan_failed"
	ScanStopped      Kind = "scan_stopped"
	// The webhooks' Subject is their name.
	WebhookCreated Kind = "webhook_created"
	WebhookUpdated Kind = "webhook_updated"
	WebhookDeleted Kind = "webhook_deleted"

	// ManifestPulled, LoggedIn and LoginFailed are written some seconds after the act, many at a time: an act that changes nothing
	// does not wait for a write. A crash loses those of the last seconds.
	ManifestPulled Kind = "manifest_pulled"
	LoggedIn       Kind = "logged_in"
	LoginFailed    Kind = "login_failed"
	LoggedOut      Kind = "logged_out"
	// Refused tells of an act that the actor may not do; Attempt is the kind that it would have been. Written as those above.
	Refused Kind = "refused"
	// EventsDropped says that Size events of the kind Attempt came faster than they could be written, and are missing.
	EventsDropped Kind = "events_dropped"
)

// Actor is who does something, and through which request.
type Actor struct {
	// Name is that of the principal.
	Name string
	// Credential says through what the actor was proven: "basic", "token", "session", "command", …
	Credential string
	// RequestID is the id of the HTTP request, as in the access log; Address is the client's.
	RequestID string
	Address   string
}

// Event begins an event of the actor; the act adds what it is about. Its time is set when it is stored.
func (a Actor) Event(kind Kind) Event {
	return Event{Kind: kind, Actor: a.Name, Credential: a.Credential, RequestID: a.RequestID, Address: a.Address}
}

// Event is one thing that happened.
type Event struct {
	Kind Kind
	// Actor is the name of the principal who did it.
	Actor string
	// Credential says through what the actor was proven: "basic", "token", "command".
	Credential string
	// RequestID is the id of the HTTP request, as in the access log; Address is the client's.
	RequestID string
	Address   string

	Project    string
	Repository string
	Digest     string
	Tag        string
	MediaType  string
	Size       int64
	// Subject is the user, project or role that a permission change is about.
	Subject string
	// Attempt is what was refused; see [Refused].
	Attempt Kind
	// Repeated is how often the same actor did the very same again within the moments that the event stands for, which happens to
	// pulls only.
	Repeated int64
	// Details, of the kinds that have them, is a JSON object with what else there is to tell: see [Deletion], [Replication],
	// [Retention] and [Scan].
	Details string
	At      time.Time
}
