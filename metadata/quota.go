package metadata

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"time"
)

// Unlimited is the limit of a project that may hold whatever there is room for; MaxLimit is the highest that can be set, 1 EiB.
const (
	Unlimited = -1
	MaxLimit  = 1 << 60
)

// Quota is how many bytes a project may hold, and how many it holds: the distinct blobs that its manifests link, and the manifests
// themselves.
type Quota struct {
	ProjectID int64
	Project   string
	// Owner is the name of the project's owner, "" when it has none.
	Owner string
	// Limit is [Unlimited] or a number of bytes.
	Limit     int64
	Used      int64
	CreatedAt time.Time
	UpdatedAt time.Time
}

// QuotaError says that a project may not hold as much more. It wraps nothing.
type QuotaError struct {
	ProjectID          int64
	Added, Used, Limit int64
}

// Error returns the numbers.
func (e *QuotaError) Error() string {
	return fmt.Sprintf("%d bytes more than the %d that project %d holds exceed its limit of %d", e.Added, e.Used, e.ProjectID, e.Limit)
}

// What a project holds is kept in shards, of which a push changes one. As long as no shard has used more than it was allotted, and
// all allotments together are the limit, the project is within its limit without anybody adding up. The words that stand in place
// of an allotment are too far off to be reached:
const (
	shards = 16
	// allottedWithoutEnd is that of projects without a limit.
	allottedWithoutEnd = 1 << 62
	// allottedForNow is that of projects beyond their limit while limits do not hold. Once they do again, the shards are added up.
	allottedForNow = 1 << 61
	// allottedNothing is that of projects that held more than the limit when it was set.
	allottedNothing = -1 << 62
)

// shard is a part of a project's usage.
type shard struct {
	Number   int64 `json:"shard"`
	Used     int64 `json:"used"`
	Allotted int64 `json:"allotted"`
}

const (
	usedByProject = `CAST(COALESCE((SELECT SUM(u.used) FROM project_usage u WHERE u.project_id = q.project_id), 0) AS BIGINT)`
	quotaColumns  = `q.project_id, p.name, COALESCE(o.name, ''), q.hard_limit, ` + usedByProject + ` AS used, q.created_at, q.updated_at`
	quotaJoins    = ` JOIN projects p ON p.id = q.project_id LEFT JOIN users o ON o.id = p.owner_id`
)

var (
	quotaOfProject = define("quota", `SELECT `+quotaColumns+` FROM project_quotas q`+quotaJoins+` WHERE q.project_id = $1`)
	limitOfProject = define("limit", `SELECT hard_limit FROM project_quotas WHERE project_id = $1`)

	insertQuota  = define("create quota", `INSERT INTO project_quotas (project_id, hard_limit, warned, created_at, updated_at) VALUES ($1, -1, FALSE, $2, $2)`)
	insertShards = define("create shards of usage", `INSERT INTO project_usage (project_id, shard, used, allotted) VALUES `+shardRows())
	updateLimit  = define("set limit", `UPDATE project_quotas SET hard_limit = $2, updated_at = $3 WHERE project_id = $1`)
	updateWarned = define("note warning of quota", `UPDATE project_quotas SET warned = $2 WHERE project_id = $1 AND warned <> $2`)

	addUsageWithin = define("add usage", `
		UPDATE project_usage SET used = used + CAST($3 AS BIGINT)
		WHERE project_id = $1 AND shard = $2 AND used + CAST($3 AS BIGINT) <= allotted AND allotted <> $4
		RETURNING allotted`)
	subtractUsage = define("subtract usage", `UPDATE project_usage SET used = used - CAST($3 AS BIGINT) WHERE project_id = $1 AND shard = $2`)
	lockUsage     = define("lock usage", `SELECT shard, used, allotted FROM project_usage WHERE project_id = $1 ORDER BY shard {for update}`)
	updateUsage   = define("set usage", `
		UPDATE project_usage SET used = v.used, allotted = v.allotted
		FROM (SELECT CAST(value->>'shard' AS INTEGER) AS shard, CAST(value->>'used' AS BIGINT) AS used, CAST(value->>'allotted' AS BIGINT) AS allotted
			FROM {elements}($2{json})) AS v
		WHERE project_usage.project_id = $1 AND project_usage.shard = v.shard`)
)

func shardRows() string {
	rows := make([]string, shards)
	for i := range rows {
		rows[i] = fmt.Sprintf("($1, %d, 0, %d)", i, int64(allottedWithoutEnd))
	}
	return strings.Join(rows, ", ")
}

func scanQuota(r row, q *Quota) error {
	return r.Scan(&q.ProjectID, &q.Project, &q.Owner, &q.Limit, &q.Used, moment{&q.CreatedAt}, moment{&q.UpdatedAt})
}

func scanShard(r row, s *shard) error { return r.Scan(&s.Number, &s.Used, &s.Allotted) }

// quotaListing is the listing of quotas.
var quotaListing = listing[Quota]{
	name: "list quotas", columns: quotaColumns, from: "project_quotas q", joined: quotaJoins, key: "q.project_id", order: "q.project_id",
	aged: []string{"creation_time"}, scan: scanQuota,
	fields: map[string]field{
		"id":            {"q.project_id", numberField},
		"reference_id":  {"q.project_id", numberField},
		"hard.storage":  {"q.hard_limit", numberField},
		"hard":          {"q.hard_limit", numberField},
		"used.storage":  {usedByProject, numberField},
		"used":          {usedByProject, numberField},
		"creation_time": {"q.created_at", momentField},
		"update_time":   {"q.updated_at", momentField},
	},
}

// Quota returns that of a project, or [ErrNotFound].
func (r Reader) Quota(ctx context.Context, projectID int64) (Quota, error) {
	return one(ctx, r, quotaOfProject, scanQuota, projectID)
}

// ListQuotas returns a page of the quotas of all projects and how many there are. The error wraps [ErrQuery] when they cannot be
// filtered like that.
func (r Reader) ListQuotas(ctx context.Context, q Query) ([]Quota, int64, error) {
	return quotaListing.list(ctx, r, q, kept("projects", 0), "")
}

// createQuota gives a new project a quota without a limit.
func (t *Tx) createQuota(ctx context.Context, projectID int64) error {
	if _, err := t.exec(ctx, insertQuota, projectID, micros(now())); err != nil {
		return err
	}
	_, err := t.exec(ctx, insertShards, projectID)
	return err
}

// SetLimit sets how many bytes a project may hold, or [Unlimited]. A limit below what it holds refuses further content and removes
// none. It waits for pushes to the project that have been counted and are not committed. It returns [ErrNotFound].
func (t *Tx) SetLimit(ctx context.Context, projectID, limit int64) error {
	parts, total, err := t.lockUsage(ctx, projectID)
	if err != nil {
		return err
	}
	if err := t.execOne(ctx, updateLimit, projectID, limit, micros(now())); err != nil {
		return err
	}
	allot(parts, total, limit)
	return t.writeUsage(ctx, projectID, parts)
}

// AddUsage counts bytes that a project holds from now on, or no longer when they are negative, and reports whether it has a limit.
// The error is a [*QuotaError] when they exceed the limit, unless limits are not enforced. Pushes to one project do not wait for
// each other here but where what is left of the limit has to be shared out again.
func (t *Tx) AddUsage(ctx context.Context, projectID, added int64, enforce bool) (limited bool, err error) {
	switch {
	case added == 0:
		return false, nil
	case added < 0:
		return false, t.execOne(ctx, subtractUsage, projectID, t.shard(), -added)
	}
	refused := int64(math.MinInt64) // no allotment
	if enforce {
		refused = allottedForNow
	}
	allotted, err := all(ctx, t.Reader, addUsageWithin, value[int64], projectID, t.shard(), added, refused)
	if err != nil {
		return false, err
	}
	if len(allotted) == 1 {
		return allotted[0] != allottedWithoutEnd, nil
	}
	return t.addUsageBeyond(ctx, projectID, added, enforce)
}

// addUsageBeyond counts what the shard has no room for.
func (t *Tx) addUsageBeyond(ctx context.Context, projectID, added int64, enforce bool) (limited bool, err error) {
	parts, total, err := t.lockUsage(ctx, projectID)
	if err != nil {
		return false, err
	}
	limit, err := one(ctx, t.Reader, limitOfProject, value[int64], projectID)
	if err != nil {
		return false, err
	}
	exceeds := limit != Unlimited && total+added > limit
	if exceeds && enforce {
		return true, &QuotaError{ProjectID: projectID, Added: added, Used: total, Limit: limit}
	}
	parts[t.shard()].Used += added
	allot(parts, total+added, limit)
	if exceeds {
		for i := range parts {
			parts[i].Allotted = allottedForNow
		}
	}
	return limit != Unlimited, t.writeUsage(ctx, projectID, parts)
}

// shard is the one that this transaction changes: always the same, so that it waits for one only.
func (t *Tx) shard() int64 {
	if t.chosen == nil {
		chosen := rand.Int64N(shards) //nolint:gosec // need not be secret
		t.chosen = &chosen
	}
	return *t.chosen
}

// lockUsage returns all shards of a project and their sum. All who lock more than one do so in the same order.
func (t *Tx) lockUsage(ctx context.Context, projectID int64) (parts []shard, total int64, err error) {
	if parts, err = all(ctx, t.Reader, lockUsage, scanShard, projectID); err != nil {
		return nil, 0, err
	}
	if len(parts) != shards {
		return nil, 0, fmt.Errorf("quota of project %d: %w", projectID, ErrNotFound)
	}
	for _, part := range parts {
		total += part.Used
	}
	return parts, total, nil
}

func (t *Tx) writeUsage(ctx context.Context, projectID int64, parts []shard) error {
	list, err := json.Marshal(parts)
	if err != nil {
		return fmt.Errorf("encode usage: %w", err)
	}
	_, err = t.exec(ctx, updateUsage, projectID, string(list))
	return err
}

// allot shares out what is left of a limit in equal parts.
func allot(parts []shard, total, limit int64) {
	left := limit - total
	for i := range parts {
		switch {
		case limit == Unlimited:
			parts[i].Allotted = allottedWithoutEnd
		case left < 0:
			parts[i].Allotted = allottedNothing
		default:
			parts[i].Allotted = parts[i].Used + left/shards
			if int64(i) < left%shards {
				parts[i].Allotted++
			}
		}
	}
}

// warnPercent is how full a project is when its people are warned.
const warnPercent = 85

// WarnUsage reports whether a project has come so near to its limit that somebody should be told, which it does once until there is
// room again, and returns its quota.
func (t *Tx) WarnUsage(ctx context.Context, projectID int64) (Quota, bool, error) {
	quota, err := t.Quota(ctx, projectID)
	if err != nil {
		return quota, false, err
	}
	full := quota.Limit > 0 && quota.Used >= quota.Limit/100*warnPercent+quota.Limit%100*warnPercent/100
	changed, err := t.exec(ctx, updateWarned, projectID, full)
	return quota, full && changed > 0, err
}
