package event

import "encoding/json"

// Deletion are the details of [ManifestDeleted].
type Deletion struct {
	// Tags are those that stood for the artifact.
	Tags []string `json:"tags,omitempty"`
}

// Replication are the details of [ReplicationEnded]: one task of a run, which moved artifacts of one repository. The event's project
// and repository are those on this registry, its actor is who began the run.
type Replication struct {
	RuleID int64 `json:"rule_id"`
	// RuleCreator is who made the rule.
	RuleCreator string `json:"rule_creator"`
	// Status is "Success", "Failed" or "Stopped"; Message says why it failed.
	Status  string `json:"status"`
	Message string `json:"message,omitempty"`
	// Trigger is what began the run: "manual", "scheduled" or "event_based".
	Trigger string `json:"trigger"`
	// ResourceType is "image", or "artifact" for others.
	ResourceType string `json:"resource_type"`
	Override     bool   `json:"override"`
	// Authentication is how the registry proves itself at the far side: "basic", "token", "".
	Authentication string           `json:"authentication,omitempty"`
	Source         ReplicationPlace `json:"source"`
	Destination    ReplicationPlace `json:"destination"`
	// Succeeded and Failed are what was moved and what was not.
	Succeeded []Moved `json:"succeeded,omitempty"`
	Failed    []Moved `json:"failed,omitempty"`
}

// ReplicationPlace is a side of a replication.
type ReplicationPlace struct {
	// Registry is the name of the remote registry, "Local" for this one; Type is its kind, such as "harbor" or "docker-registry".
	Registry  string `json:"registry"`
	Type      string `json:"type"`
	Endpoint  string `json:"endpoint"`
	Namespace string `json:"namespace"`
}

// Moved is an artifact that was copied, deleted or kept.
type Moved struct {
	// Type is "image", or "artifact" for others.
	Type string `json:"type"`
	// Name has the tag or digest in it: "library/app:latest".
	Name string `json:"name"`
	// Status is a word such as "Success" or "Failed"; Reason says why it failed.
	Status string `json:"status"`
	Reason string `json:"reason,omitempty"`
}

// Retention are the details of [RetentionEnded]: a run of a project's retention rules over one repository, the event's.
type Retention struct {
	PolicyID int64 `json:"policy_id"`
	// Status is "SUCCESS" or "ERROR".
	Status string `json:"status"`
	// Total are the artifacts that were looked at, Retained those that stay.
	Total    int `json:"total"`
	Retained int `json:"retained"`
	// Rules are as the API shows them.
	Rules   json.RawMessage `json:"rules,omitempty"`
	Deleted []Moved         `json:"deleted,omitempty"`
}

// Scan are the details of [ScanCompleted], [ScanFailed] and [ScanStopped].
type Scan struct {
	// Type is "vulnerability" or "sbom".
	Type string `json:"type"`
	// Overview is the summary of the report as the API shows it with the artifact.
	Overview json.RawMessage `json:"overview,omitempty"`
}
