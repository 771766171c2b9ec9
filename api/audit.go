package api

import (
	"net/http"
	"slices"

	"github.com/berth-registry/berth/identity"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/notify/audit"
	"github.com/berth-registry/berth/policy"
)

func (a *API) auditRoutes() []Route {
	return []Route{
		define(Route{
			ID: "listAuditLogs", Tag: "auditlog", Method: http.MethodGet, Path: "/audit-logs", Summary: "Lists the audit log in the form of earlier versions",
			Permission: onRow("audit-log", policy.List), Statuses: []int{400, 401, 422, 500},
		}, a.listAuditLogs),
		define(Route{
			ID: "listAuditLogExts", Tag: "auditlog", Method: http.MethodGet, Path: "/auditlog-exts", Summary: "Lists the audit log",
			Permission: onRow("audit-log", policy.List), Statuses: []int{400, 401, 422, 500},
		}, a.listAuditLogExts),
		define(Route{
			ID: "listAuditLogEventTypes", Tag: "auditlog", Method: http.MethodGet, Path: "/auditlog-exts/events", Summary: "Lists the types of event in the audit log",
			Permission: inSystem("audit-log-type", policy.List), Statuses: []int{401, 403, 500},
		}, a.listAuditLogEventTypes),
		define(Route{
			ID: "getLogs", Tag: "project", Method: http.MethodGet, Path: "/projects/{project_name}/logs", Summary: "Lists the audit log of a project in the form of earlier versions",
			Permission: inProject("log", policy.List), Statuses: []int{400, 401, 403, 404, 422, 500},
		}, a.getLogs),
		define(Route{
			ID: "getLogExts", Tag: "project", Method: http.MethodGet, Path: "/projects/{project_name}/auditlog-exts", Summary: "Lists the audit log of a project",
			Permission: inProject("log", policy.List), Statuses: []int{400, 401, 403, 404, 422, 500},
		}, a.getLogExts),
	}
}

// auditLog is an entry in the form of earlier versions.
type auditLog struct {
	ID           int64  `json:"id"`
	Username     string `json:"username"`
	Resource     string `json:"resource"`
	ResourceType string `json:"resource_type"`
	Operation    string `json:"operation"`
	At           Time   `json:"op_time"`
}

func viewAuditLog(e metadata.AuditEntry) auditLog {
	return auditLog{ID: e.ID, Username: e.Username, Resource: e.Resource, ResourceType: e.ResourceType, Operation: e.Operation, At: Time(e.At)}
}

// auditLogExt is an entry.
type auditLogExt struct {
	auditLog
	Description string `json:"operation_description"`
	Result      bool   `json:"operation_result"`
	Credential  string `json:"credential" doc:"through what the user was proven"`
	Address     string `json:"client_address"`
	RequestID   string `json:"request_id"`
}

func viewAuditLogExt(e metadata.AuditEntry) auditLogExt {
	return auditLogExt{
		auditLog: viewAuditLog(e), Description: e.Description, Result: e.Succeeded, Credential: e.Credential, Address: e.Address, RequestID: e.RequestID,
	}
}

// auditEventType is a type of event.
type auditEventType struct {
	EventType string `json:"event_type"`
}

func (a *API) listAuditLogEventTypes(*Call, struct{}) ([]auditEventType, error) {
	var types []auditEventType
	for _, t := range audit.Types() {
		types = append(types, auditEventType{t.String()})
	}
	return types, nil
}

func (a *API) listAuditLogs(c *Call, paging Paging) (Page[auditLog], error) {
	projects, err := c.auditedProjects()
	if err != nil {
		return Page[auditLog]{}, err
	}
	return auditPage(c, paging, projects, viewAuditLog)
}

func (a *API) listAuditLogExts(c *Call, paging Paging) (Page[auditLogExt], error) {
	projects, err := c.auditedProjects()
	if err != nil {
		return Page[auditLogExt]{}, err
	}
	return auditPage(c, paging, projects, viewAuditLogExt)
}

func (a *API) getLogs(c *Call, paging Paging) (Page[auditLog], error) {
	return auditPage(c, paging, []int64{c.Project.ID}, viewAuditLog)
}

func (a *API) getLogExts(c *Call, paging Paging) (Page[auditLogExt], error) {
	return auditPage(c, paging, []int64{c.Project.ID}, viewAuditLogExt)
}

// auditedProjects are those whose log the caller may read, nil for the whole log: who may not read that reads those of the projects
// in which they may.
func (c *Call) auditedProjects() ([]int64, error) {
	c.asked = true
	if c.Principal.Kind == identity.KindAnonymous {
		return nil, errUnauthorized
	}
	all, err := c.Allows(policy.List, policy.Resource{Kind: "audit-log"})
	if err != nil || all {
		return nil, err
	}
	projects := []int64{}
	if c.Principal.Kind != identity.KindUser {
		return projects, nil
	}
	of, err := c.api.options.Store.ProjectsOfMember(c.Context(), c.Principal.ID)
	if err != nil {
		return nil, err
	}
	for _, p := range of {
		allowed, err := c.Allows(policy.List, policy.Resource{Project: p.Name, Kind: "log"})
		if err != nil {
			return nil, err
		}
		if allowed {
			projects = append(projects, p.ID)
		}
	}
	return projects, nil
}

func auditPage[T any](c *Call, paging Paging, projects []int64, view func(metadata.AuditEntry) T) (Page[T], error) {
	q, _, err := paging.Query()
	if err != nil {
		return Page[T]{}, err
	}
	rows, total, err := c.api.options.Store.AuditEntries(c.Context(), metadata.AuditQuery{
		Projects: projects, Conditions: q.Conditions, Ascending: oldestFirst(q.Order), Offset: q.Offset, Limit: q.Limit,
	})
	if err != nil {
		return Page[T]{}, err
	}
	return NewPage(paging, rows, total, view), nil
}

// oldestFirst reports whether the order asked for is that of time. Other orders would have to read the whole log.
func oldestFirst(orders []metadata.Order) bool {
	i := slices.IndexFunc(orders, func(o metadata.Order) bool {
		return o.Field == "op_time" || o.Field == "id" || o.Field == "creation_time"
	})
	return i >= 0 && !orders[i].Descending
}
