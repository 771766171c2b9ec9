package webhook

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/metadata"
)

// payload is what a receiver is told, in the fields that Harbor has.
type payload struct {
	Type      Type      `json:"type"`
	OccurAt   int64     `json:"occur_at"`
	Operator  string    `json:"operator"`
	EventData eventData `json:"event_data"`
}

// eventData is what the event is about.
type eventData struct {
	Resources   []resource        `json:"resources,omitempty"`
	Repository  *repository       `json:"repository,omitempty"`
	Replication *replication      `json:"replication,omitempty"`
	Retention   *retention        `json:"retention,omitempty"`
	Scan        *scan             `json:"scan,omitempty"`
	Custom      map[string]string `json:"custom_attributes,omitempty"`
}

type resource struct {
	Digest       string          `json:"digest,omitempty"`
	Tag          string          `json:"tag"`
	URL          string          `json:"resource_url,omitempty"`
	ScanOverview json.RawMessage `json:"scan_overview,omitempty"`
	SBOMOverview json.RawMessage `json:"sbom_overview,omitempty"`
}

type repository struct {
	CreatedAt int64  `json:"date_created,omitempty"`
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
	FullName  string `json:"repo_full_name"`
	Type      string `json:"repo_type"`
}

type replication struct {
	Hostname           string            `json:"harbor_hostname,omitempty"`
	Status             string            `json:"job_status,omitempty"`
	Description        string            `json:"description,omitempty"`
	ArtifactType       string            `json:"artifact_type,omitempty"`
	Authentication     string            `json:"authentication_type,omitempty"`
	Override           bool              `json:"override_mode,omitempty"`
	Trigger            string            `json:"trigger_type,omitempty"`
	PolicyCreator      string            `json:"policy_creator,omitempty"`
	ExecutionTimestamp int64             `json:"execution_timestamp,omitempty"`
	Source             *replicationPlace `json:"src_resource,omitempty"`
	Destination        *replicationPlace `json:"dest_resource,omitempty"`
	Successful         []movedArtifact   `json:"successful_artifact,omitempty"`
	Failed             []movedArtifact   `json:"failed_artifact,omitempty"`
}

type replicationPlace struct {
	Registry  string `json:"registry_name,omitempty"`
	Type      string `json:"registry_type,omitempty"`
	Endpoint  string `json:"endpoint,omitempty"`
	Namespace string `json:"namespace,omitempty"`
}

type movedArtifact struct {
	Type   string `json:"type"`
	Status string `json:"status"`
	Name   string `json:"name_tag"`
	Reason string `json:"fail_reason,omitempty"`
}

type retention struct {
	Total    int             `json:"total"`
	Retained int             `json:"retained"`
	Hostname string          `json:"harbor_hostname,omitempty"`
	Project  string          `json:"project_name,omitempty"`
	PolicyID int64           `json:"retention_policy_id,omitempty"`
	Rules    json.RawMessage `json:"retention_rule,omitempty"`
	Result   string          `json:"result,omitempty"`
	Deleted  []movedArtifact `json:"deleted_artifact,omitempty"`
}

type scan struct {
	Type string `json:"scan_type,omitempty"`
}

// occurrence is an event with what else there is to know of it.
type occurrence struct {
	event.Event
	ID   string
	Type Type
	// Public says whether everybody may see the project; RepositoryCreatedAt is zero when there is no such repository any more.
	Public              bool
	RepositoryCreatedAt time.Time
}

func occurrenceOf(e metadata.Event) occurrence {
	return occurrence{Event: e.Event, ID: strconv.FormatInt(e.ID, 10), Type: typeOf(e.Kind)}
}

// payload returns what is told of the occurrence to receivers that know the registry by the host.
func (o occurrence) payload(host string) (payload, error) {
	p := payload{Type: o.Type, OccurAt: o.At.Unix(), Operator: o.Actor}
	p.EventData.Repository = o.repository()
	var err error
	switch o.Kind {
	case event.ManifestDeleted:
		var tags []string
		tags, err = o.tags()
		p.EventData.Resources = o.resources(host, tags...)
	case event.QuotaExceeded, event.QuotaWarned:
		p.EventData.Resources = o.resources(host, o.Tag)
		p.EventData.Custom = map[string]string{"Details": o.Subject}
	case event.ScanCompleted, event.ScanFailed, event.ScanStopped:
		var details event.Scan
		err = o.decode(&details)
		p.EventData.Resources = o.resources(host, o.Tag)
		p.EventData.Scan = &scan{details.Type}
		if details.Type == "sbom" {
			p.EventData.Resources[0].SBOMOverview = details.Overview
		} else {
			p.EventData.Resources[0].ScanOverview = details.Overview
		}
	case event.ReplicationEnded:
		p.EventData.Repository = nil
		p.EventData.Replication, err = o.replication(host)
	case event.RetentionEnded:
		p.EventData.Repository = nil
		p.EventData.Retention, err = o.retention(host)
	default:
		p.EventData.Resources = o.resources(host, o.Tag)
		if o.Repeated > 0 {
			p.EventData.Custom = map[string]string{"Repeated": strconv.FormatInt(o.Repeated, 10)}
		}
	}
	if err != nil {
		return payload{}, fmt.Errorf("details of event %s: %w", o.ID, err)
	}
	return p, nil
}

// tags are those that it tells of.
func (o occurrence) tags() ([]string, error) {
	if o.Kind == event.ManifestDeleted {
		var details event.Deletion
		err := o.decode(&details)
		return details.Tags, err
	}
	if o.Tag == "" {
		return nil, nil
	}
	return []string{o.Tag}, nil
}

func (o occurrence) decode(into any) error {
	if o.Details == "" {
		return nil
	}
	return json.Unmarshal([]byte(o.Details), into)
}

// resources returns the artifact under each of the tags; by its digest where it has none.
func (o occurrence) resources(host string, tags ...string) []resource {
	var resources []resource
	for _, tag := range tags {
		if tag != "" {
			resources = append(resources, resource{Digest: o.Digest, Tag: tag, URL: host + "/" + o.Repository + ":" + tag})
		}
	}
	if len(resources) == 0 {
		resources = append(resources, resource{Digest: o.Digest, Tag: o.Digest, URL: host + "/" + o.Repository + "@" + o.Digest})
	}
	return resources
}

func (o occurrence) repository() *repository {
	if o.Repository == "" {
		return nil
	}
	r := &repository{Name: strings.TrimPrefix(o.Repository, o.Project+"/"), Namespace: o.Project, FullName: o.Repository, Type: "private"}
	if o.Public {
		r.Type = "public"
	}
	if !o.RepositoryCreatedAt.IsZero() {
		r.CreatedAt = o.RepositoryCreatedAt.Unix()
	}
	return r
}

func (o occurrence) replication(host string) (*replication, error) {
	var d event.Replication
	if err := o.decode(&d); err != nil {
		return nil, err
	}
	place := func(p event.ReplicationPlace) *replicationPlace {
		return &replicationPlace{Registry: p.Registry, Type: p.Type, Endpoint: p.Endpoint, Namespace: p.Namespace}
	}
	return &replication{
		Hostname: host, Status: d.Status, Description: d.Message, ArtifactType: d.ResourceType, Authentication: d.Authentication, Override: d.Override,
		Trigger: strings.ToUpper(d.Trigger), PolicyCreator: d.RuleCreator, ExecutionTimestamp: o.At.Unix(),
		Source: place(d.Source), Destination: place(d.Destination), Successful: moved(d.Succeeded), Failed: moved(d.Failed),
	}, nil
}

func (o occurrence) retention(host string) (*retention, error) {
	var d event.Retention
	if err := o.decode(&d); err != nil {
		return nil, err
	}
	return &retention{
		Total: d.Total, Retained: d.Retained, Hostname: host, Project: o.Project, PolicyID: d.PolicyID, Rules: d.Rules, Result: d.Status,
		Deleted: moved(d.Deleted),
	}, nil
}

func moved(artifacts []event.Moved) []movedArtifact {
	var list []movedArtifact
	for _, a := range artifacts {
		list = append(list, movedArtifact{Type: a.Type, Status: a.Status, Name: a.Name, Reason: a.Reason})
	}
	return list
}

// trial is what a target that is tried is told.
func trial(actor event.Actor, project string) occurrence {
	e := actor.Event("")
	e.At = time.Now()
	e.Project = project
	return occurrence{Event: e, ID: "test-" + strconv.FormatInt(e.At.UnixNano(), 36), Type: Test}
}
