// Package webhook tells others of what happens in the registry: in a project, or in all of them. A follower of the events makes a
// delivery of each event and receiver, in the transaction that moves its place, so that none is lost; the deliveries are tasks, which
// are tried until they succeed or are given up, and keep their order for each repository.
package webhook

import (
	"slices"

	"github.com/berth-registry/berth/event"
)

// Type is a type of event, as Harbor's clients name it.
type Type string

// The types of event that webhooks are told of.
const (
	PushArtifact      Type = "PUSH_ARTIFACT"
	PullArtifact      Type = "PULL_ARTIFACT"
	DeleteArtifact    Type = "DELETE_ARTIFACT"
	QuotaExceed       Type = "QUOTA_EXCEED"
	QuotaWarning      Type = "QUOTA_WARNING"
	Replication       Type = "REPLICATION"
	ScanningFailed    Type = "SCANNING_FAILED"
	ScanningCompleted Type = "SCANNING_COMPLETED"
	ScanningStopped   Type = "SCANNING_STOPPED"
	TagRetention      Type = "TAG_RETENTION"
	// Test is what a trial of a target is told of; webhooks do not subscribe to it.
	Test Type = "TEST"
)

// kinds says which events are of a type, and how CloudEvents call it.
var kinds = []struct {
	of         Type
	kind       event.Kind
	cloudEvent string
}{
	{DeleteArtifact, event.ManifestDeleted, "harbor.artifact.deleted"},
	{PullArtifact, event.ManifestPulled, "harbor.artifact.pulled"},
	{PushArtifact, event.ManifestPushed, "harbor.artifact.pushed"},
	{QuotaExceed, event.QuotaExceeded, "harbor.quota.exceeded"},
	{QuotaWarning, event.QuotaWarned, "harbor.quota.warned"},
	{Replication, event.ReplicationEnded, "harbor.replication.status.changed"},
	{ScanningFailed, event.ScanFailed, "harbor.scan.failed"},
	{ScanningStopped, event.ScanStopped, "harbor.scan.stopped"},
	{ScanningCompleted, event.ScanCompleted, "harbor.scan.completed"},
	{TagRetention, event.RetentionEnded, "harbor.tag_retention.finished"},
}

// Types returns the types that can be subscribed to.
func Types() []Type {
	types := make([]Type, len(kinds))
	for i, k := range kinds {
		types[i] = k.of
	}
	return types
}

// typeOf returns the type of an event, "" when webhooks are not told of it.
func typeOf(kind event.Kind) Type {
	for _, k := range kinds {
		if k.kind == kind {
			return k.of
		}
	}
	return ""
}

// cloudEvent is what CloudEvents call the type.
func (t Type) cloudEvent() string {
	for _, k := range kinds {
		if k.of == t {
			return k.cloudEvent
		}
	}
	return "berth.webhook.test"
}

// The types of target.
const (
	TargetHTTP  = "http"
	TargetSlack = "slack"
)

// The formats of payloads.
const (
	FormatDefault     = "Default"
	FormatCloudEvents = "CloudEvents"
)

// TargetTypes returns the types of target.
func TargetTypes() []string { return []string{TargetHTTP, TargetSlack} }

// Formats returns the formats of payloads for a type of target, the first of which is taken where none is asked for.
func Formats(targetType string) []string {
	if targetType == TargetSlack {
		return []string{FormatDefault}
	}
	return []string{FormatDefault, FormatCloudEvents}
}

func supports(targetType, format string) bool {
	return slices.Contains(TargetTypes(), targetType) && slices.Contains(Formats(targetType), format)
}
