package metadata

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
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

	// Any shard that has room and that nobody has locked, the one of the number $2 before others.
	addUsageWithin = define("add usage", `
		UPDATE project_usage SET used = used + CAST($3 AS BIGINT)
		WHERE project_id = $1 AND shard = (
			SELECT shard FROM project_usage WHERE project_id = $1 AND used + CAST($3 AS BIGINT) <= allotted AND allotted <> $4
			ORDER BY (shard - CAST($2 AS INTEGER) + `+strconv.Itoa(shards)+`) % `+strconv.Itoa(shards)+` LIMIT 1 {skip locked})
		RETURNING shard, allotted`)
	addUsageTo = define("add usage to shard", `
		UPDATE project_usage SET used = used + CAST($3 AS BIGINT)
		WHERE project_id = $1 AND shard = $2 AND used + CAST($3 AS BIGINT) <= allotted AND allotted <> $4
		RETURNING shard, allotted`)
	subtractUsage = define("subtract usage", `UPDATE project_usage SET used = used - CAST($3 AS BIGINT) WHERE project_id = $1 AND shard = $2`)
	lockFreeUsage = define("lock free usage", `SELECT shard, used, allotted FROM project_usage WHERE project_id = $1 ORDER BY shard {skip locked}`)
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

func scanShardTaken(r row, s *shard) error { return r.Scan(&s.Number, &s.Allotted) }

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
	parts, total, err := t.lockUsage(ctx, lockUsage, projectID)
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
// each other here but where what is left of the limit depends on how the others end, and where there are more at once than shards.
func (t *Tx) AddUsage(ctx context.Context, projectID, added int64, enforce bool) (limited bool, err error) {
	switch {
	case added == 0:
		return false, nil
	case added < 0:
		return false, t.execOne(ctx, subtractUsage, projectID, t.shard(), -added)
	case t.whole:
		parts, total, err := t.lockUsage(ctx, lockUsage, projectID)
		if err != nil {
			return false, err
		}
		return t.addUsageBeyond(ctx, parts, total, projectID, added, enforce)
	}
	refused := int64(math.MinInt64) // no allotment
	if enforce {
		refused = allottedForNow
	}
	taken, err := all(ctx, t.Reader, addUsageWithin, scanShardTaken, projectID, t.shard(), added, refused)
	if err != nil {
		return false, err
	}
	if len(taken) == 1 {
		t.chosen = &taken[0].Number
		return taken[0].Allotted != allottedWithoutEnd, nil
	}
	parts, total, err := t.lockUsage(ctx, lockFreeUsage, projectID)
	if err != nil {
		return false, err
	}
	if len(parts) < shards {
		return t.addUsageAmong(ctx, parts, projectID, added, refused)
	}
	return t.addUsageBeyond(ctx, parts, total, projectID, added, enforce)
}

// addUsageBeyond counts what no shard has room for; all of them are locked.
func (t *Tx) addUsageBeyond(ctx context.Context, parts []shard, total, projectID, added int64, enforce bool) (limited bool, err error) {
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

// addUsageAmong counts in the shards of a project that it has locked, where these have room together, while others have locked the rest.
// Who has locked all is waited for. Otherwise it has the transaction begin anew and wait: one that has locked some may wait for nobody,
// who could be waiting for it.
func (t *Tx) addUsageAmong(ctx context.Context, parts []shard, projectID, added, refused int64) (limited bool, err error) {
	if len(parts) == 0 {
		taken, err := all(ctx, t.Reader, addUsageTo, scanShardTaken, projectID, t.shard(), added, refused)
		if err != nil || len(taken) == 1 {
			return err == nil && taken[0].Allotted != allottedWithoutEnd, err
		}
		return false, t.beginAnew()
	}
	left := -added
	for i, part := range parts {
		switch part.Allotted {
		case allottedWithoutEnd:
			parts[i].Used += added
			return false, t.writeUsage(ctx, projectID, parts[i:i+1])
		case allottedForNow, allottedNothing:
			return false, t.beginAnew()
		}
		left += part.Allotted - part.Used
	}
	if left < 0 {
		return false, t.beginAnew()
	}
	parts[0].Used += added
	share(parts, left)
	return true, t.writeUsage(ctx, projectID, parts)
}

func (t *Tx) beginAnew() error {
	t.crowded = true
	return errCrowded
}

// shard is the one that this transaction changes, unless others have locked it: always the same, so that it waits for one only.
func (t *Tx) shard() int64 {
	if t.chosen == nil {
		chosen := rand.Int64N(shards) //nolint:gosec // need not be secret
		t.chosen = &chosen
	}
	return *t.chosen
}

// lockUsage returns the shards of a project that the statement locks, and their sum. All who wait for more than one hold none before,
// and do so in the same order.
func (t *Tx) lockUsage(ctx context.Context, lock *statement, projectID int64) (parts []shard, total int64, err error) {
	if parts, err = all(ctx, t.Reader, lock, scanShard, projectID); err != nil {
		return nil, 0, err
	}
	if lock == lockUsage && len(parts) != shards {
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

// allot shares out what is left of a limit.
func allot(parts []shard, total, limit int64) {
	switch {
	case limit != Unlimited && total <= limit:
		share(parts, limit-total)
		return
	case limit != Unlimited:
		limit = allottedNothing
	default:
		limit = allottedWithoutEnd
	}
	for i := range parts {
		parts[i].Allotted = limit
	}
}

// share gives shards equal parts of what is left, besides what they have used.
func share(parts []shard, left int64) {
	each, more := left/int64(len(parts)), left%int64(len(parts))
	for i := range parts {
		parts[i].Allotted = parts[i].Used + each
		if int64(i) < more {
			parts[i].Allotted++
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
