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
	// AuditTotal is how far a filtered listing is counted: further would read the whole log. Beyond it there are one more than the page
	// has come to, at least.
	AuditTotal = FilteredTotal
	// AuditPage is the most entries that one page has.
	AuditPage = 10_000
	// AuditDepth is how many entries, the first in the order asked for, are searched for what no index can find: a part of a text,
	// or a second condition beside the one that an index answers.
	AuditDepth = 1_000_000
	// auditBranches is how many values of one field are looked up each by itself.
	auditBranches = 100
	// auditFew is how many entries of a condition are few enough to look for those of another among them.
	auditFew = 4_000
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

// AuditEntries returns a page of the audit log and the number of entries on all pages, which are counted up to [AuditTotal] when there
// are conditions. The error is [ErrQuery] for conditions that cannot be.
//
// Neither a deep page nor the total reads the entries before: both are found in the counts of ranges of ids. A range of times
// becomes a range of ids by the same counts. A part of a resource becomes the resources that have it, where they are few.
func (r Reader) AuditEntries(ctx context.Context, q AuditQuery) (entries []AuditEntry, total int64, err error) {
	if q.Limit < 0 || q.Limit > AuditPage {
		q.Limit = AuditPage
	}
	plan, err := r.planAudit(ctx, q)
	if err != nil || plan == nil {
		return nil, 0, err
	}
	counted := plan.total < 0
	if total = plan.total; counted {
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
	if counted {
		total = atLeast(total, AuditTotal, q.Offset, q.Limit, int64(len(entries)))
	}
	return entries, total, err
}

// auditPlan is how a listing is read: for each branch the rows by an index, of them those that the rest leaves.
type auditPlan struct {
	// column and values are what each branch has in common; without values there is one branch of everything.
	column string
	values []any
	// second, where it is set, is another column that each branch has one of the other values in, by an index on both.
	second  string
	seconds []any
	// crossed are further conditions that indexes answer with few entries each: the rows are those whose ids all have.
	crossed   []Condition
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
	known, err := plan.choose(ctx, r, q)
	if err != nil {
		return nil, err
	}
	spans, err := plan.ranges(ctx, r, auditSpans)
	if err != nil {
		return nil, err
	}
	for _, c := range known {
		if c.Field != "op_time" {
			continue
		}
		low, high := c.rangeOf(spans, auditSpanWidth)
		if low > high {
			return nil, nil
		}
		if low, high, err = plan.trim(ctx, r, c, low, high); err != nil {
			return nil, err
		}
		if plan.low, plan.high = max(plan.low, low*auditBucketWidth), min(plan.high, (high+1)*auditBucketWidth-1); plan.low > plan.high {
			return nil, nil
		}
	}
	if len(plan.rest) == 0 && len(plan.crossed) == 0 && plan.second == "" && (plan.column == "" || plan.column == "project_id" && !slices.Contains(plan.values, any(int64(0)))) {
		return plan, plan.seek(ctx, r, spans)
	}
	return plan, nil
}

// ranges returns the counts of the ranges of ids, of all projects of the plan together, in the order of the listing.
func (p *auditPlan) ranges(ctx context.Context, r Reader, s *statement, bounds ...any) ([]auditBucket, error) {
	var ranges []auditBucket
	for _, project := range p.projects() {
		of, err := all(ctx, r, s, scanAuditBucket, append([]any{project}, bounds...)...)
		if err != nil {
			return nil, err
		}
		ranges = append(ranges, of...)
	}
	return merge(ranges, p.ascending), nil
}

// trim narrows a range of buckets, whole spans, by the buckets of the first and of the last span.
func (p *auditPlan) trim(ctx context.Context, r Reader, c Condition, low, high int64) (int64, int64, error) {
	ends, err := p.ranges(ctx, r, auditBuckets, low, low+auditSpanWidth-1)
	if err == nil && high-low >= auditSpanWidth {
		var last []auditBucket
		last, err = p.ranges(ctx, r, auditBuckets, high-auditSpanWidth+1, high)
		ends = append(ends, last...)
	}
	if err != nil {
		return 0, 0, err
	}
	first, last := c.rangeOf(ends, 1)
	if high-low >= 2*auditSpanWidth { // the spans between stay
		first, last = min(first, low+auditSpanWidth), max(last, high-auditSpanWidth)
	}
	return first, last, nil
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

// rangeOf returns the first and the last of the buckets that may have entries of the range of times, where the counts are of so many
// buckets each. The first is behind the last when there are none.
func (c Condition) rangeOf(counts []auditBucket, buckets int64) (low, high int64) {
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
		from, to = math.MinInt64, math.MaxInt64
	}
	low, high = math.MaxInt64/auditBucketWidth-1, -1
	for _, b := range counts {
		if b.lastAt >= from && b.firstAt <= to {
			low, high = min(low, b.bucket*buckets), max(high, (b.bucket+1)*buckets-1)
		}
	}
	return low, high
}

// seek finds the total, and the bucket that the page begins in.
func (p *auditPlan) seek(ctx context.Context, r Reader, spans []auditBucket) error {
	p.total = 0
	for _, s := range spans {
		p.total += s.entries
	}
	if p.skip >= p.total {
		p.skip = -1
		return nil
	}
	span := p.pass(spans)
	buckets, err := p.ranges(ctx, r, auditBuckets, span*auditSpanWidth, (span+1)*auditSpanWidth-1)
	if err != nil || len(buckets) == 0 {
		return err
	}
	if bucket := p.pass(buckets); p.ascending {
		p.low = max(p.low, bucket*auditBucketWidth)
	} else {
		p.high = min(p.high, (bucket+1)*auditBucketWidth-1)
	}
	return nil
}

// pass passes over the entries of ranges, and returns the range that the page begins in.
func (p *auditPlan) pass(ranges []auditBucket) int64 {
	for _, b := range ranges {
		if p.skip < b.entries {
			return b.bucket
		}
		p.skip -= b.entries
	}
	return ranges[len(ranges)-1].bucket
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
	switch {
	case len(p.crossed) > 0:
		var crossed strings.Builder
		crossed.WriteString("SELECT id FROM audit_entries WHERE " + Condition{Field: p.column, Values: p.values}.among(&args))
		for _, c := range p.crossed {
			crossed.WriteString(" INTERSECT SELECT id FROM audit_entries WHERE " + c.among(&args))
		}
		branches = []string{"SELECT " + auditColumns + " FROM audit_entries WHERE id IN (SELECT id FROM (" + crossed.String() + ") AS crossed WHERE " +
			ids + order + " LIMIT " + parameter(depth) + ")"}
	case skip > 0 && len(p.rest) == 0 && len(p.values) <= 1 && (p.second == "" || len(p.seconds) == 1): // what is passed over is not read
		var where string
		if len(p.values) == 1 {
			where = p.column + " = " + parameter(p.values[0]) + p.both(parameter)[0] + " AND "
		}
		branches = []string{"SELECT " + auditColumns + " FROM audit_entries WHERE id IN (SELECT id FROM (SELECT id FROM audit_entries WHERE " + where + ids +
			order + " LIMIT " + parameter(n) + " OFFSET " + parameter(skip) + ") AS chosen)"}
		skip = 0
	case len(p.values) == 0:
		branches = []string{"SELECT " + auditColumns + " FROM audit_entries WHERE " + ids + order + " LIMIT " + parameter(depth)}
	default:
		for _, v := range p.values {
			for _, and := range p.both(parameter) {
				branches = append(branches, "SELECT * FROM (SELECT "+auditColumns+" FROM audit_entries WHERE "+p.column+" = "+parameter(v)+and+" AND "+ids+
					order+" LIMIT "+parameter(depth)+") AS branch")
			}
		}
	}
	var where string
	if len(p.rest) > 0 {
		where = " WHERE " + strings.Join(p.rest, " AND ")
	}
	return "SELECT " + columns + " FROM (" + strings.Join(branches, " UNION ALL ") + ") AS entries" + where + order +
		" LIMIT " + parameter(n) + " OFFSET " + parameter(skip), args
}

// both are the conditions on the second column, "" where there is none.
func (p *auditPlan) both(parameter func(any) string) []string {
	if p.second == "" {
		return []string{""}
	}
	conditions := make([]string, 0, len(p.seconds))
	for _, v := range p.seconds {
		conditions = append(conditions, " AND "+p.second+" = "+parameter(v))
	}
	return conditions
}
