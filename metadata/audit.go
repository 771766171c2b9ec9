package metadata

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"
)

// AuditEntry is a line of the audit log: who did what, when, from where and through which credential, and whether it came about.
type AuditEntry struct {
	// ID is that of the event.
	ID int64
	// ProjectID is 0 for what is about no project.
	ProjectID    int64
	Operation    string
	ResourceType string
	Resource     string
	Username     string
	Credential   string
	Address      string
	RequestID    string
	Description  string
	Succeeded    bool
	At           time.Time
}

// auditBucketWidth is how many ids share a bucket. Passing over the entries before a page costs at most so many rows, and one row
// for each bucket before it in its span, which is of auditSpanWidth buckets, and for each span before that.
const (
	auditBucketWidth = 4096
	auditSpanWidth   = 64
)

// auditBucket counts the entries of a range of ids, of one project or, as project 0, of all.
type auditBucket struct {
	project, bucket, entries int64
	firstAt, lastAt          int64
}

const auditColumns = `id, project_id, operation, resource_type, resource, username, credential, address, request_id, description, succeeded, occurred_at`

var (
	insertAuditEntries = define("add audit entries", `
		INSERT INTO audit_entries (`+auditColumns+`)
		SELECT CAST(value->>'id' AS BIGINT), CAST(value->>'project_id' AS BIGINT), value->>'operation', value->>'resource_type',
			value->>'resource', value->>'username', value->>'credential', value->>'address', value->>'request_id', value->>'description',
			CAST(value->>'succeeded' AS INTEGER) = 1, CAST(value->>'at' AS BIGINT)
		FROM {elements}($1{json}) WHERE TRUE
		ON CONFLICT (id) DO NOTHING
		RETURNING id, project_id, occurred_at, resource`)
	noteAuditResources = define("note audit resources", `
		INSERT INTO audit_resources (resource)
		SELECT DISTINCT e.value->>'resource' FROM {elements}($1{json}) e
		WHERE NOT EXISTS (SELECT 1 FROM audit_resources r WHERE r.resource = e.value->>'resource')
		ON CONFLICT (resource) DO NOTHING`)
	forgetAuditResources = define("forget audit resources", `
		DELETE FROM audit_resources WHERE resource {any of}$1{these}
		AND NOT EXISTS (SELECT 1 FROM audit_entries e WHERE e.resource = audit_resources.resource)`)
	auditResourcesByPart = define("audit resources by part", `
		SELECT resource FROM audit_resource_parts WHERE resource {contains}$1{contained} LIMIT $2`)
	countAuditEntries = define("count audit entries", addAuditCounts("audit_buckets", "bucket"))
	countAuditSpans   = define("count audit entries of spans", addAuditCounts("audit_spans", "span"))
	auditBuckets      = define("audit buckets", `
		SELECT project_id, bucket, entries, first_at, last_at FROM audit_buckets
		WHERE project_id = $1 AND bucket BETWEEN $2 AND $3 ORDER BY bucket`)
	auditSpans = define("audit spans", `
		SELECT project_id, span, entries, first_at, last_at FROM audit_spans WHERE project_id = $1 ORDER BY span`)
	auditBucketsBefore = define("audit buckets before", `
		SELECT bucket FROM audit_buckets WHERE project_id = 0 AND bucket > $1 AND first_at < $2 ORDER BY bucket LIMIT $3`)
	auditEntriesBefore = define("count audit entries before", `
		SELECT COUNT(*) FROM audit_entries WHERE id >= $1 AND id < $2 AND occurred_at < $3
		AND ($5 OR operation || '_' || resource_type IN (SELECT value FROM {texts}($4{json})))`)
	deleteAuditEntries = define("delete audit entries", `
		DELETE FROM audit_entries WHERE id >= $1 AND id < $2 AND occurred_at < $3
		AND ($5 OR operation || '_' || resource_type IN (SELECT value FROM {texts}($4{json})))
		RETURNING id, project_id, occurred_at, resource`)
	deleteEmptyBuckets = define("delete empty audit buckets", `DELETE FROM audit_buckets WHERE bucket = $1 AND entries <= 0
		AND project_id {any id of}$2{these ids}`)
	deleteEmptySpans = define("delete empty audit spans", `DELETE FROM audit_spans WHERE span = $1 AND entries <= 0
		AND project_id {any id of}$2{these ids}`)
)

// addAuditCounts is the text that adds to the counts of ranges of ids.
func addAuditCounts(table, of string) string {
	return `
		INSERT INTO ` + table + ` (project_id, ` + of + `, entries, first_at, last_at)
		SELECT CAST(value->>'project_id' AS BIGINT), CAST(value->>'range' AS BIGINT), CAST(value->>'entries' AS BIGINT),
			CAST(value->>'first_at' AS BIGINT), CAST(value->>'last_at' AS BIGINT)
		FROM {elements}($1{json}) WHERE TRUE
		ON CONFLICT (project_id, ` + of + `) DO UPDATE SET entries = ` + table + `.entries + excluded.entries,
			first_at = CASE WHEN excluded.first_at < ` + table + `.first_at THEN excluded.first_at ELSE ` + table + `.first_at END,
			last_at = CASE WHEN excluded.last_at > ` + table + `.last_at THEN excluded.last_at ELSE ` + table + `.last_at END`
}

func scanAuditEntry(r row, e *AuditEntry) error {
	return r.Scan(&e.ID, &e.ProjectID, &e.Operation, &e.ResourceType, &e.Resource, &e.Username, &e.Credential, &e.Address, &e.RequestID,
		&e.Description, &e.Succeeded, moment{&e.At})
}

func scanAuditBucket(r row, b *auditBucket) error {
	return r.Scan(&b.project, &b.bucket, &b.entries, &b.firstAt, &b.lastAt)
}

// countedEntry is what of an entry decides where it is counted.
type countedEntry struct {
	id, project, at int64
	resource        string
}

func scanCountedEntry(r row, e *countedEntry) error {
	return r.Scan(&e.id, &e.project, &e.at, &e.resource)
}

// InsertAuditEntries adds entries. One whose id is there already stays as it is.
func (t *Tx) InsertAuditEntries(ctx context.Context, entries []AuditEntry) error {
	if len(entries) == 0 {
		return nil
	}
	type element struct {
		ID           int64  `json:"id"`
		ProjectID    int64  `json:"project_id"`
		Operation    string `json:"operation"`
		ResourceType string `json:"resource_type"`
		Resource     string `json:"resource"`
		Username     string `json:"username"`
		Credential   string `json:"credential"`
		Address      string `json:"address"`
		RequestID    string `json:"request_id"`
		Description  string `json:"description"`
		Succeeded    int    `json:"succeeded"`
		At           int64  `json:"at"`
	}
	elements := make([]element, len(entries))
	for i, e := range entries {
		elements[i] = element{
			ID: e.ID, ProjectID: e.ProjectID, Operation: e.Operation, ResourceType: e.ResourceType, Resource: e.Resource,
			Username: e.Username, Credential: e.Credential, Address: e.Address, RequestID: e.RequestID, Description: e.Description,
			At: e.At.UnixMicro(),
		}
		if e.Succeeded {
			elements[i].Succeeded = 1
		}
	}
	list, err := json.Marshal(elements)
	if err != nil {
		return fmt.Errorf("encode audit entries: %w", err)
	}
	added, err := all(ctx, t.Reader, insertAuditEntries, scanCountedEntry, string(list))
	if err != nil {
		return err
	}
	if _, err := t.exec(ctx, noteAuditResources, string(list)); err != nil {
		return err
	}
	return t.countAudit(ctx, added, 1)
}

// countAudit adds entries to the counts of their buckets and spans, sign times each.
func (t *Tx) countAudit(ctx context.Context, entries []countedEntry, sign int64) error {
	if err := t.countAuditBy(ctx, countAuditEntries, auditBucketWidth, entries, sign); err != nil {
		return err
	}
	return t.countAuditBy(ctx, countAuditSpans, auditSpanWidth*auditBucketWidth, entries, sign)
}

// countAuditBy adds entries to the counts of ranges of that many ids. They are written in one order by everybody, so that nobody waits
// for each other in a circle.
func (t *Tx) countAuditBy(ctx context.Context, s *statement, width int64, entries []countedEntry, sign int64) error {
	type key struct{ project, number int64 }
	type element struct {
		ProjectID int64 `json:"project_id"`
		Range     int64 `json:"range"`
		Entries   int64 `json:"entries"`
		FirstAt   int64 `json:"first_at"`
		LastAt    int64 `json:"last_at"`
	}
	counts := map[key]element{}
	for _, e := range entries {
		keys := []key{{0, e.id / width}}
		if e.project != 0 {
			keys = append(keys, key{e.project, e.id / width})
		}
		for _, k := range keys {
			sum, known := counts[k]
			if !known {
				sum = element{ProjectID: k.project, Range: k.number, FirstAt: e.at, LastAt: e.at}
			}
			sum.Entries += sign
			sum.FirstAt, sum.LastAt = min(sum.FirstAt, e.at), max(sum.LastAt, e.at)
			counts[k] = sum
		}
	}
	if len(counts) == 0 {
		return nil
	}
	elements := slices.SortedFunc(maps.Values(counts), func(a, b element) int {
		return cmp.Or(cmp.Compare(a.ProjectID, b.ProjectID), cmp.Compare(a.Range, b.Range))
	})
	list, err := json.Marshal(elements)
	if err != nil {
		return fmt.Errorf("encode audit counts: %w", err)
	}
	_, err = t.exec(ctx, s, string(list))
	return err
}

// AuditBuckets returns, in the order of their ids, up to n ranges of ids after the given one, -1 for the first, that have an entry
// from before the time; for deleting or counting them one range at a time.
func (r Reader) AuditBuckets(ctx context.Context, after int64, before time.Time, n int) ([]int64, error) {
	return all(ctx, r, auditBucketsBefore, value[int64], after, micros(before), limit(n))
}

// CountAuditEntries returns the number of entries of one range that are from before the time and of the event
// types, of any when there are none.
func (r Reader) CountAuditEntries(ctx context.Context, bucket int64, before time.Time, types []string) (int64, error) {
	list, err := json.Marshal(types)
	if err != nil {
		return 0, fmt.Errorf("encode event types: %w", err)
	}
	return one(ctx, r, auditEntriesBefore, value[int64], bucket*auditBucketWidth, (bucket+1)*auditBucketWidth, micros(before), string(list), len(types) == 0)
}

// DeleteAuditEntries deletes what [Reader.CountAuditEntries] counts, and returns how many there were.
func (t *Tx) DeleteAuditEntries(ctx context.Context, bucket int64, before time.Time, types []string) (int64, error) {
	list, err := json.Marshal(types)
	if err != nil {
		return 0, fmt.Errorf("encode event types: %w", err)
	}
	deleted, err := all(ctx, t.Reader, deleteAuditEntries, scanCountedEntry,
		bucket*auditBucketWidth, (bucket+1)*auditBucketWidth, micros(before), string(list), len(types) == 0)
	if err != nil || len(deleted) == 0 {
		return 0, err
	}
	if err := t.countAudit(ctx, deleted, -1); err != nil {
		return 0, err
	}
	projects := map[string]bool{"0": true}
	for _, e := range deleted {
		projects[fmt.Sprint(e.project)] = true
	}
	if list, err = json.Marshal(slices.Sorted(maps.Keys(projects))); err != nil {
		return 0, fmt.Errorf("encode projects: %w", err)
	}
	if _, err := t.exec(ctx, deleteEmptyBuckets, bucket, string(list)); err != nil {
		return 0, err
	}
	if _, err := t.exec(ctx, deleteEmptySpans, bucket/auditSpanWidth, string(list)); err != nil {
		return 0, err
	}
	resources := make([]string, 0, len(deleted))
	for _, e := range deleted {
		resources = append(resources, e.resource)
	}
	slices.Sort(resources)
	if list, err = json.Marshal(slices.Compact(resources)); err != nil {
		return 0, fmt.Errorf("encode resources: %w", err)
	}
	_, err = t.exec(ctx, forgetAuditResources, string(list))
	return int64(len(deleted)), err
}
