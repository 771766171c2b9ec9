package metadata

import (
	"cmp"
	"context"
	"math"
	"slices"
	"strconv"
	"strings"
)

// The bounds of a listing of the audit log.
const (
	// AuditTotal is the highest total of a filtered listing: counting further would read the whole log.
	AuditTotal = 10_000
	// AuditPage is the most entries that one page has.
	AuditPage = 10_000
	// AuditDepth is how many entries, the first in the order asked for, are searched for what no index can find: a part of a text,
	// or a second condition beside the one that an index answers.
	AuditDepth = 1_000_000
	// auditBranches is how many values of one field are looked up each by itself.
	auditBranches = 100
)

// auditFields are what callers may filter by.
var auditFields = map[string]field{
	"id":               {"id", numberField},
	"project_id":       {"project_id", numberField},
	"operation":        {"operation", textField},
	"resource_type":    {"resource_type", textField},
	"resource":         {"resource", textField},
	"username":         {"username", textField},
	"op_time":          {"occurred_at", momentField},
	"operation_result": {"succeeded", switchField},
}

// AuditQuery chooses entries of the audit log. They are ordered by their ids: in the order in which they came about.
type AuditQuery struct {
	// Projects are those whose entries are wanted; nil are all, and what is about none.
	Projects   []int64
	Conditions []Condition
	// Ascending begins with the oldest.
	Ascending     bool
	Offset, Limit int64
}

// AuditEntries returns a page of the audit log and the number of entries on all pages, which is at most [AuditTotal] when there are
// conditions. The error is [ErrQuery] for conditions that cannot be.
//
// Neither a deep page nor the total reads the entries before: both are found in the counts of ranges of ids. A range of times
// becomes a range of ids by the same counts.
func (r Reader) AuditEntries(ctx context.Context, q AuditQuery) (entries []AuditEntry, total int64, err error) {
	if q.Limit < 0 || q.Limit > AuditPage {
		q.Limit = AuditPage
	}
	plan, err := r.planAudit(ctx, q)
	if err != nil || plan == nil {
		return nil, 0, err
	}
	if total = plan.total; total < 0 {
		text, args := plan.text("1", AuditTotal, 0)
		counted, err := allOf(ctx, r, "audit count", "SELECT COUNT(*) FROM ("+text+") AS counted", value[int64], args...)
		if err != nil {
			return nil, 0, err
		}
		total = counted[0]
	}
	if plan.skip < 0 || total == 0 || q.Limit == 0 {
		return nil, total, nil
	}
	text, args := plan.text(auditColumns, q.Limit, plan.skip)
	entries, err = allOf(ctx, r, "audit page", text, scanAuditEntry, args...)
	return entries, total, err
}

// auditPlan is how a listing is read: for each branch the rows by an index, of them those that the rest leaves.
type auditPlan struct {
	// column and values are what each branch has in common; without values there is one branch of everything.
	column    string
	values    []any
	low, high int64 // ids, inclusive
	rest      []string
	restArgs  []any
	ascending bool
	// total is -1 when it has to be counted; skip is how many rows come before the page, -1 when there is no such page.
	total, skip int64
}

// planAudit returns nil when nothing can be found.
func (r Reader) planAudit(ctx context.Context, q AuditQuery) (*auditPlan, error) {
	plan := &auditPlan{low: 0, high: math.MaxInt64, ascending: q.Ascending, total: -1, skip: q.Offset}
	if q.Projects != nil {
		if len(q.Projects) == 0 {
			return nil, nil
		}
		plan.column = "project_id"
		for _, id := range q.Projects {
			plan.values = append(plan.values, id)
		}
	}
	known, err := plan.choose(q)
	if err != nil {
		return nil, err
	}
	var buckets []auditBucket
	for _, project := range plan.projects() {
		of, err := all(ctx, r, auditBuckets, scanAuditBucket, project)
		if err != nil {
			return nil, err
		}
		buckets = append(buckets, of...)
	}
	buckets = merge(buckets, q.Ascending)
	for _, c := range known {
		if c.Field == "op_time" && !plan.within(buckets, c) {
			return nil, nil
		}
	}
	if len(plan.rest) == 0 && (plan.column == "" || plan.column == "project_id" && !slices.Contains(plan.values, any(int64(0)))) {
		plan.seek(buckets)
	}
	return plan, nil
}

// auditIndexes are the indexed fields, those first whose values are of few rows.
var auditIndexes = []string{"resource", "username", "project_id", "resource_type", "operation"}

// choose makes branches of one condition that an index answers and conditions of the rest, which it returns.
func (p *auditPlan) choose(q AuditQuery) ([]Condition, error) {
	var known []Condition
	for _, c := range q.Conditions {
		if _, ok := auditFields[c.Field]; ok {
			known = append(known, c)
		}
	}
	if len(known) > maxConditions {
		return nil, tooManyConditions()
	}
	driver := -1
	rank := func(c Condition) int {
		one := c.Comparison == Equal && len(c.Values) == 1
		if !one && (c.Comparison != AnyOf || len(c.Values) == 0 || len(c.Values) > auditBranches) {
			return -1
		}
		if c.Field == "resource_type" && len(c.Values) == 1 && c.Values[0] == "artifact" {
			return len(auditIndexes) // most entries are of this type: the operation tells more
		}
		return slices.Index(auditIndexes, c.Field)
	}
	best := math.MaxInt
	if p.column != "" {
		best = slices.Index(auditIndexes, p.column)
	}
	for i, c := range known {
		if at := rank(c); at >= 0 && at < best {
			driver, best = i, at
		}
	}
	if p.column != "" && (driver >= 0 || len(p.values) > auditBranches) {
		if err := p.require(Condition{Field: p.column, Comparison: AnyOf, Values: p.values}); err != nil {
			return nil, err
		}
		p.column, p.values = "", nil
	}
	for i, c := range known {
		if i != driver {
			if err := p.require(c); err != nil {
				return nil, err
			}
			continue
		}
		p.column = c.Field
		for _, given := range c.Values {
			if converted, ok := auditFields[c.Field].convert(given); ok && !slices.Contains(p.values, converted) {
				p.values = append(p.values, converted)
			}
		}
		if len(p.values) == 0 {
			p.values = []any{nil} // equal to nothing
		}
	}
	return known, nil
}

// require adds a condition that is looked at row by row.
func (p *auditPlan) require(c Condition) error {
	text, args, err := auditFields[c.Field].condition(c, len(p.restArgs))
	if err != nil {
		return err
	}
	p.rest, p.restArgs = append(p.rest, text), append(p.restArgs, args...)
	return nil
}

// projects are those whose buckets say where the rows are; 0 are all.
func (p *auditPlan) projects() []int64 {
	if p.column != "project_id" {
		return []int64{0}
	}
	projects := make([]int64, 0, len(p.values))
	for _, v := range p.values {
		if id, ok := v.(int64); ok {
			projects = append(projects, id)
		}
	}
	return projects
}

// merge adds up the counts of projects for each bucket, and orders the buckets as the listing is.
func merge(buckets []auditBucket, ascending bool) []auditBucket {
	sums := map[int64]auditBucket{}
	for _, b := range buckets {
		if sum, known := sums[b.bucket]; known {
			b.entries += sum.entries
			b.firstAt, b.lastAt = min(b.firstAt, sum.firstAt), max(b.lastAt, sum.lastAt)
		}
		sums[b.bucket] = b
	}
	merged := make([]auditBucket, 0, len(sums))
	for _, b := range sums {
		merged = append(merged, b)
	}
	slices.SortFunc(merged, func(a, b auditBucket) int {
		if ascending {
			return cmp.Compare(a.bucket, b.bucket)
		}
		return cmp.Compare(b.bucket, a.bucket)
	})
	return merged
}

// within narrows the ids to the buckets that have entries of the range of times. It reports false when there are none.
func (p *auditPlan) within(buckets []auditBucket, c Condition) bool {
	from, to := int64(math.MinInt64), int64(math.MaxInt64)
	for i, given := range c.Values {
		converted, ok := auditFields["op_time"].convert(given)
		if !ok {
			continue
		}
		moment := converted.(int64)
		if c.Comparison == Equal || i == 0 {
			from = max(from, moment)
		}
		if c.Comparison == Equal || i == 1 {
			to = min(to, moment)
		}
	}
	if c.Comparison != Equal && c.Comparison != Between {
		return true
	}
	low, high := int64(math.MaxInt64), int64(-1)
	for _, b := range buckets {
		if b.lastAt >= from && b.firstAt <= to {
			low, high = min(low, b.bucket*auditBucketWidth), max(high, (b.bucket+1)*auditBucketWidth-1)
		}
	}
	p.low, p.high = max(p.low, low), min(p.high, high)
	return p.low <= p.high
}

// seek finds the total, and the bucket that the page begins in.
func (p *auditPlan) seek(buckets []auditBucket) {
	p.total = 0
	for _, b := range buckets {
		p.total += b.entries
	}
	if p.skip >= p.total {
		p.skip = -1
		return
	}
	for _, b := range buckets {
		if p.skip < b.entries {
			if p.ascending {
				p.low = b.bucket * auditBucketWidth
			} else {
				p.high = (b.bucket+1)*auditBucketWidth - 1
			}
			return
		}
		p.skip -= b.entries
	}
}

// text returns the query for the columns of n rows after those that are skipped.
func (p *auditPlan) text(columns string, n, skip int64) (string, []any) {
	args := slices.Clone(p.restArgs)
	parameter := func(value any) string {
		args = append(args, value)
		return "$" + strconv.Itoa(len(args))
	}
	order := " ORDER BY id DESC"
	if p.ascending {
		order = " ORDER BY id"
	}
	ids := "id BETWEEN " + parameter(p.low) + " AND " + parameter(p.high)
	depth := n + skip
	if len(p.rest) > 0 {
		depth = AuditDepth
	}
	var branches []string
	for _, v := range p.values {
		branches = append(branches, "SELECT * FROM (SELECT "+auditColumns+" FROM audit_entries WHERE "+p.column+" = "+parameter(v)+" AND "+ids+
			order+" LIMIT "+parameter(depth)+") AS branch")
	}
	if len(branches) == 0 {
		branches = []string{"SELECT " + auditColumns + " FROM audit_entries WHERE " + ids + order + " LIMIT " + parameter(depth)}
	}
	var where string
	if len(p.rest) > 0 {
		where = " WHERE " + strings.Join(p.rest, " AND ")
	}
	return "SELECT " + columns + " FROM (" + strings.Join(branches, " UNION ALL ") + ") AS entries" + where + order +
		" LIMIT " + parameter(n) + " OFFSET " + parameter(skip), args
}
