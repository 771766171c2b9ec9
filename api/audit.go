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

// AuditLog is an entry in the form of earlier versions, exported as AccessToken is.
type AuditLog struct {
	ID           int64  `json:"id"`
	Username     string `json:"username"`
	Resource     string `json:"resource"`
	ResourceType string `json:"resource_type"`
	Operation    string `json:"operation"`
	At           Time   `json:"op_time"`
}

func viewAuditLog(e metadata.AuditEntry) AuditLog {
	return AuditLog{ID: e.ID, Username: e.Username, Resource: e.Resource, ResourceType: e.ResourceType, Operation: e.Operation, At: Time(e.At)}
}

// auditLogExt is an entry.
type auditLogExt struct {
	AuditLog
	Description string `json:"operation_description"`
	Result      bool   `json:"operation_result"`
	Credential  string `json:"credential" doc:"through what the user was proven"`
	Address     string `json:"client_address"`
	RequestID   string `json:"request_id"`
}

func viewAuditLogExt(e metadata.AuditEntry) auditLogExt {
	return auditLogExt{
		AuditLog: viewAuditLog(e), Description: e.Description, Result: e.Succeeded, Credential: e.Credential, Address: e.Address, RequestID: e.RequestID,
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

func (a *API) listAuditLogs(c *Call, paging Paging) (Page[AuditLog], error) {
	visible, err := c.auditVisible()
	if err != nil {
		return Page[AuditLog]{}, err
	}
	return auditPage(c, paging, visible, viewAuditLog)
}

func (a *API) listAuditLogExts(c *Call, paging Paging) (Page[auditLogExt], error) {
	visible, err := c.auditVisible()
	if err != nil {
		return Page[auditLogExt]{}, err
	}
	return auditPage(c, paging, visible, viewAuditLogExt)
}

func (a *API) getLogs(c *Call, paging Paging) (Page[AuditLog], error) {
	return auditPage(c, paging, metadata.AuditQuery{Projects: []int64{c.Project.ID}}, viewAuditLog)
}

func (a *API) getLogExts(c *Call, paging Paging) (Page[auditLogExt], error) {
	return auditPage(c, paging, metadata.AuditQuery{Projects: []int64{c.Project.ID}}, viewAuditLogExt)
}

// ofSomeProject leaves the entries that are about a project.
var ofSomeProject = metadata.Condition{Field: "project_id", Comparison: metadata.Between, Values: []any{int64(1), nil}}

// auditVisible chooses the entries that the caller may read: the whole log, or that of each project in which they may read it.
func (c *Call) auditVisible() (metadata.AuditQuery, error) {
	visible := metadata.AuditQuery{}
	c.asked = true
	if c.Principal.Kind == identity.KindAnonymous {
		return visible, errUnauthorized
	}
	whole, err := c.Allows(policy.List, policy.Resource{Kind: "audit-log"})
	if err != nil || whole {
		return visible, err
	}
	view, err := c.view(policy.List, "log")
	if err != nil {
		return visible, err
	}
	if view.All {
		visible.Conditions = []metadata.Condition{ofSomeProject}
		return visible, nil
	}
	visible.Projects = []int64{}
	store := c.api.options.Store
	for _, name := range view.Projects {
		project, err := store.Project(c.Context(), name)
		if isMissing(err) {
			continue
		}
		if err != nil {
			return visible, err
		}
		visible.Projects = append(visible.Projects, project.ID)
	}
	if view.UserID == 0 {
		return visible, nil
	}
	of, err := store.ProjectsOfMember(c.Context(), view.UserID)
	if err != nil {
		return visible, err
	}
	for _, p := range of {
		allowed, err := c.Allows(policy.List, policy.Resource{Project: p.Name, Kind: "log"})
		if err != nil {
			return visible, err
		}
		if allowed && !slices.Contains(visible.Projects, p.ID) {
			visible.Projects = append(visible.Projects, p.ID)
		}
	}
	return visible, nil
}

func auditPage[T any](c *Call, paging Paging, visible metadata.AuditQuery, view func(metadata.AuditEntry) T) (Page[T], error) {
	q, _, err := paging.Query()
	if err != nil {
		return Page[T]{}, err
	}
	rows, total, err := c.api.options.Store.AuditEntries(c.Context(), metadata.AuditQuery{
		Projects: visible.Projects, Conditions: append(visible.Conditions, q.Conditions...), Ascending: oldestFirst(q.Order), Offset: q.Offset, Limit: q.Limit,
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
