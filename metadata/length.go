package metadata

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// FilteredTotal is how far the rows of a filtered listing are counted. Beyond it a listing tells how many rows there are at least: one
// more than the page has come to, so that callers go on.
const FilteredTotal = 1_000

// partWidth is how many ids have one count: passing over the rows before a page costs at most as many, and one count for each part.
const partWidth = 1024

// listPart is a range of the rows of a list with how many it has; it ends where the next begins.
type listPart struct {
	start   Place
	entries int64
}

var (
	listParts = define("counts of list", `
		SELECT part, CAST(SUM(entries) AS BIGINT) FROM list_counts WHERE list = $1 AND owner = $2 GROUP BY part ORDER BY part`)
	// The order has PostgreSQL look into the index of the fresh rows whatever it thinks how many there are.
	freshCounts = define("fresh counts of lists", `
		SELECT COUNT(*) FROM (SELECT 1 FROM list_counts WHERE fresh ORDER BY list, owner, part LIMIT 1) AS first`)
	foldCounts = define("fold counts of lists", `SELECT {folded}$1{folded counts}`)
	fitRanges  = define("fit ranges of lists", `SELECT {fitted ranges}`)
	listRanges = define("ranges of list", `
		SELECT g.name, g.moment, g.id, CAST(COALESCE(SUM(c.entries), 0) AS BIGINT)
		FROM list_ranges g LEFT JOIN list_counts c ON c.list = g.list AND c.owner = g.owner AND c.part = g.part
		WHERE g.list = $1 AND g.owner = $2 GROUP BY g.name, g.moment, g.id ORDER BY g.name, g.moment, g.id`)
)

// scanListPart scans a part of so many ids, by its number.
func scanListPart(width int64) func(row, *listPart) error {
	return func(r row, p *listPart) error {
		var part int64
		err := r.Scan(&part, &p.entries)
		p.start = Place{part * width}
		return err
	}
}

// ranged is how many rows a list has, and of which ranges they are where it is known: in the order of these columns, or of the key
// where they are "".
type ranged struct {
	total int64
	order string
	parts []listPart
}

// length tells how many rows a listing has without conditions; the ranges are wanted in the order.
type length func(ctx context.Context, r Reader, order string) (ranged, error)

// kept is the length of a list whose rows are counted when they come and go.
func kept(list string, owner int64) length { return keptWide(listParts, partWidth, list, owner) }

// entriesOf is how many rows the parts of a list have together.
func entriesOf(parts []listPart) (total int64) {
	for _, p := range parts {
		total += p.entries
	}
	return total
}

// keptWide is kept for lists with counts of wide ranges.
func keptWide(s *statement, width int64, args ...any) length {
	return func(ctx context.Context, r Reader, _ string) (ranged, error) {
		parts, err := all(ctx, r, s, scanListPart(width), args...)
		return ranged{total: entriesOf(parts), parts: parts}, err
	}
}

// stated is the length that a statement returns.
func stated(s *statement, args ...any) length {
	return func(ctx context.Context, r Reader, _ string) (c ranged, err error) {
		c.total, err = one(ctx, r, s, value[int64], args...)
		return c, err
	}
}

// foldBatch is how many changes of counts are folded in one transaction.
const foldBatch = 5_000

// FoldCounts adds up the changes of the counts of lists that transactions have noted for themselves, so that none waits for another's.
// Counts are the same before and after; adding them up costs less. It also splits the ranges of lists that have become long. Several
// gateways may do it at once.
func (s *Store) FoldCounts(ctx context.Context) error {
	fresh, err := one(ctx, s.Reader, freshCounts, value[int64])
	if err != nil || fresh == 0 {
		return err
	}
	for folded := int64(foldBatch); folded == foldBatch; {
		err := s.Tx(ctx, func(ctx context.Context, tx *Tx) (err error) {
			folded, err = one(ctx, tx.Reader, foldCounts, value[int64], int64(foldBatch))
			return err
		})
		if err != nil {
			return fmt.Errorf("fold counts of lists: %w", err)
		}
	}
	err = s.Tx(ctx, func(ctx context.Context, tx *Tx) error {
		_, err := one(ctx, tx.Reader, fitRanges, value[int64])
		return err
	})
	if err != nil {
		return fmt.Errorf("fit ranges of lists: %w", err)
	}
	return nil
}

// known is a length that the caller has found before.
func known(parts []listPart) length {
	return func(context.Context, Reader, string) (ranged, error) {
		return ranged{total: entriesOf(parts), parts: parts}, nil
	}
}

// list returns the page of the query among the rows that the fixed condition leaves, whose parameters are $1 and on, and how many rows
// there are on all pages. Without a length they are counted, up to [FilteredTotal], and so they are when the query has conditions.
func (l *listing[T]) list(ctx context.Context, r Reader, q Query, whole length, where string, args ...any) ([]T, int64, error) {
	if whole == nil || slices.ContainsFunc(q.Conditions, func(c Condition) bool { _, has := l.fields[c.Field]; return has }) {
		return l.filtered(ctx, r, q, whole, where, args)
	}
	order, descending := l.direction(q)
	rows, err := whole(ctx, r, order)
	if err != nil {
		return nil, 0, err
	}
	if q.Offset > 0 && q.Offset >= rows.total && len(q.After) == 0 {
		return nil, rows.total, nil
	}
	condition, args, err := l.where(Query{}, where, args)
	if err != nil {
		return nil, 0, err
	}
	rest := rows.total - q.Offset
	if rows.order == "" {
		rows.order = l.key
	}
	if rows.order == order && order != "" && len(q.After) == 0 {
		condition, args, q.Offset = rows.seek(descending, q.Offset, condition, args)
	}
	// From the end where that is nearer.
	if behind := max(0, rest-q.Limit); q.Limit > 0 && behind < q.Offset && len(q.After) == 0 {
		q.Offset, q.Limit, q.backwards = behind, min(q.Limit, rest), true
	}
	page, err := l.page(ctx, r, q, condition, args)
	if q.backwards {
		slices.Reverse(page)
	}
	return page, rows.total, err
}

// some returns the page of the query without counting the others.
func (l *listing[T]) some(ctx context.Context, r Reader, q Query, where string, args ...any) ([]T, error) {
	condition, args, _, err := l.narrow(ctx, r, q, nil, where, args)
	if err != nil {
		return nil, err
	}
	return l.page(ctx, r, q, condition, args)
}

// foundByPart is what the index of parts has found.
type foundByPart struct {
	// only tells that the query asks for nothing else; full that there may be more than these rows.
	only, full bool
	rows       int64
	// keys encode those of the rows, "" where they were not looked for or a walk finds them.
	keys string
}

// narrow returns the condition on all rows of the query, where those with a part of a text are found by the index of parts.
func (l *listing[T]) narrow(ctx context.Context, r Reader, q Query, whole length, where string, args []any) (string, []any, foundByPart, error) {
	q, found, err := l.find(ctx, r, q, whole, where, args)
	if err != nil {
		return "", nil, found, err
	}
	condition, args, err := l.where(q, where, args)
	if err != nil || found.keys == "" {
		return condition, args, found, err
	}
	args = append(args, found.keys)
	return and(condition, l.key+" {any id of}$"+strconv.Itoa(len(args))+"{these ids}"), args, found, nil
}

// filtered is the page and the number of rows that the conditions leave.
func (l *listing[T]) filtered(ctx context.Context, r Reader, q Query, whole length, where string, args []any) ([]T, int64, error) {
	condition, args, by, err := l.narrow(ctx, r, q, whole, where, args)
	if err != nil {
		return nil, 0, err
	}
	rows, err := l.page(ctx, r, q, condition, args)
	if err != nil {
		return nil, 0, err
	}
	if q.Limit < 0 && q.Offset == 0 {
		return rows, int64(len(rows)), nil
	}
	switch {
	case by.only && by.full:
		return rows, atLeast(by.rows, by.rows, q.Offset, q.Limit, int64(len(rows))), nil
	case by.only:
		return rows, by.rows, nil
	}
	counted, err := allOf(ctx, r, l.name+" count", "SELECT COUNT(*) FROM (SELECT 1 FROM "+l.from+condition+" LIMIT $"+strconv.Itoa(len(args)+1)+") AS counted",
		value[int64], append(args, FilteredTotal)...)
	if err != nil {
		return nil, 0, err
	}
	return rows, atLeast(counted[0], FilteredTotal, q.Offset, q.Limit, int64(len(rows))), nil
}

// atLeast is the total to tell where counting has stopped at a number: who has come further sees that there is more.
func atLeast(counted, stopped, offset, limit, rows int64) int64 {
	if counted < stopped || rows == 0 {
		return counted
	}
	seen := offset + rows
	if rows == limit {
		seen++
	}
	return max(counted, seen)
}

// seek finds the part that a page begins in: a condition passes over those before it, and the offset is that in the part.
func (c ranged) seek(descending bool, offset int64, condition string, args []any) (string, []any, int64) {
	parts, comparison := c.parts, " >= ("
	if descending {
		parts, comparison = slices.Clone(parts), " < ("
		slices.Reverse(parts)
	}
	before := int64(0)
	for i, p := range parts {
		if offset >= before+p.entries {
			before += p.entries
			continue
		}
		if descending {
			if i == 0 {
				break
			}
			p = parts[i-1]
		}
		marks := make([]string, len(p.start))
		for j := range marks {
			marks[j] = "$" + strconv.Itoa(len(args)+j+1)
		}
		return and(condition, "("+c.order+")"+comparison+strings.Join(marks, ", ")+")"), append(slices.Clone(args), p.start...), offset - before
	}
	return condition, args, offset
}

// and adds a condition to the others.
func and(condition, more string) string {
	if condition == "" {
		return " WHERE " + more
	}
	return condition + " AND " + more
}

// parted says how rows are found by a part of a text.
type parted struct {
	// names is the table of the parts of names, by the alias of the rows' own and with all that the fixed conditions are on.
	names string
	// low tells that the names have no capitals.
	low bool
	// keys, where it is set, is the query of the keys of such rows in place of that: {condition} stands for that on the field, {part} for
	// that on a column of an index of parts, {where} for those that are fixed, and {limit} for how many rows there may be.
	keys string
	// exact, where it is set, is such a query for whole texts: {condition} is that on the text and on the end of it. Where ends is set,
	// keys is used instead for what the index finds by its end.
	exact string
	ends  bool
	// first, where it is set, is the query of them among the first rows of the table: {first} stands for the limit of these.
	first string
	// each is the condition on a row, for parts that many have; "" where it is that on the field.
	each string
}

// finds tells whether the index is for such conditions.
func (p parted) finds(c Condition) bool {
	return c.Comparison == Contains || p.exact != "" && c.Comparison == Equal
}

const (
	// partLength is the least length of a part that the index finds, in characters.
	partLength = 3
	// endLength is how much of a whole text is looked for by its end, in characters.
	endLength = 6
	// maxFound is how many rows are looked up one by one. What more have is found soon on a walk in the order of the listing.
	maxFound = FilteredTotal
	// manyFound is how many rows the index finds before the first rows of the table are looked at: where most have the part, there are
	// maxFound among these.
	manyFound, firstRows = 200, 2 * maxFound
)

// find looks the first condition on a part of a text up in the index of parts, or that on a whole text which is to be found like that. It
// returns the query without it where the rows are to be looked up.
func (l *listing[T]) find(ctx context.Context, r Reader, q Query, whole length, where string, args []any) (Query, foundByPart, error) {
	for i, c := range q.Conditions {
		by, indexed := l.parted[c.Field]
		if !indexed || !by.finds(c) || len(c.Values) != 1 {
			continue
		}
		text, ok := l.fields[c.Field].convert(c.Values[0])
		if !ok || c.Comparison == Contains && len([]rune(text.(string))) < partLength {
			return q, foundByPart{}, nil
		}
		keys, err := l.keysFound(ctx, r, by, c, text.(string), where, args)
		if err != nil {
			return q, foundByPart{}, err
		}
		found := foundByPart{only: len(q.Conditions) == 1, full: len(keys) > maxFound}
		slices.Sort(keys)
		keys = slices.Compact(keys)
		found.rows = min(int64(len(keys)), maxFound)
		if walk, err := walked(ctx, r, q, whole, found); walk || err != nil {
			return q, found, err
		}
		found.keys, err = idList(keys)
		q.Conditions = slices.Delete(slices.Clone(q.Conditions), i, i+1)
		return q, found, err
	}
	return q, foundByPart{}, nil
}

// walked tells whether a page of what an index has found begins sooner on a walk in the order of the listing: where more has been found
// than is looked up, and where much of a short list has.
func walked(ctx context.Context, r Reader, q Query, whole length, found foundByPart) (bool, error) {
	if found.full || found.rows <= manyFound || whole == nil || q.Limit < 0 {
		return found.full, nil
	}
	list, err := whole(ctx, r, "")
	const unevenly = 10 // they may be at the end of it
	return (q.Offset+q.Limit)*list.total*unevenly <= found.rows*found.rows, err
}

// keysFound returns the keys of rows that have the part of a text, some more than once, and no more of them than tell that they are too many.
func (l *listing[T]) keysFound(ctx context.Context, r Reader, by parted, c Condition, text, where string, args []any) ([]int64, error) {
	run := func(query string, limit int, args []any) ([]int64, error) {
		end := " LIMIT " + strconv.Itoa(limit)
		return allOf(ctx, r, l.name+" by part", strings.ReplaceAll(query, "{limit}", end)+end, value[int64], args...)
	}
	byPart, withPart, err := l.keysByPart(by, c, text, where, args)
	if err != nil {
		return nil, err
	}
	if where == "" {
		return run(byPart, maxFound+1, withPart)
	}
	keys, err := run(byPart, manyFound, withPart)
	if err != nil || len(keys) < manyFound {
		return keys, err
	}
	// What the index finds is looked up for the conditions that are fixed; what many have is found in the table with less work.
	amongFirst, withCondition, err := l.keysAmongFirst(by, c, where, args)
	if err != nil {
		return nil, err
	}
	if keys, err = run(amongFirst, maxFound+1, withCondition); err != nil || len(keys) > maxFound {
		return keys, err
	}
	return run(byPart, maxFound+1, withPart)
}

// keysByPart is the query of the keys of rows that have the part of a text.
func (l *listing[T]) keysByPart(by parted, c Condition, text, where string, args []any) (string, []any, error) {
	f := l.fields[c.Field]
	contains := "{contains}$"
	if by.low {
		contains = "{contains low}$"
	}
	part := func(n int) string { return contains + strconv.Itoa(n) + "{contained}" }
	if by.keys == "" {
		query := "SELECT " + strings.TrimSuffix(l.key, "id") + "rowid FROM " + by.names + " WHERE " + f.expression + " " + part(len(args)+1)
		if where != "" {
			query += " AND (" + where + ")"
		}
		return query, append(slices.Clone(args), strings.ToLower(text)), nil
	}
	query := by.keys
	condition, more, err := f.condition(c, len(args))
	if err == nil && c.Comparison == Equal {
		// Most texts differ at their ends, and an index of parts has less work with a short one.
		runes := []rune(text)
		text = string(runes[max(0, len(runes)-endLength):])
		if !by.ends || len(runes) < partLength {
			query = by.exact
		}
		var end string
		var value []any
		end, value, err = f.condition(Condition{c.Field, Contains, []any{text}}, len(args)+len(more))
		condition, more = end+" AND "+condition, append(more, value...)
	}
	args = slices.Concat(args, more)
	if strings.Contains(query, "{part}") {
		args = append(args, strings.ToLower(text))
	}
	return strings.NewReplacer("{condition}", condition, "{part}", part(len(args)), "{where}", where).Replace(query), args, err
}

// keysAmongFirst is the query of the keys of rows that have the part of a text among the first of the table.
func (l *listing[T]) keysAmongFirst(by parted, c Condition, where string, args []any) (string, []any, error) {
	f, limit := l.fields[c.Field], " LIMIT "+strconv.Itoa(firstRows)
	if by.first != "" {
		condition, more, err := f.condition(c, len(args))
		return strings.NewReplacer("{condition}", condition, "{where}", where, "{first}", limit).Replace(by.first), append(slices.Clone(args), more...), err
	}
	condition, more, err := field{"head.part", textField}.condition(c, len(args))
	query := "SELECT head.found FROM (SELECT " + l.key + " AS found, " + f.expression + " AS part FROM " + l.from
	if where != "" {
		query += " WHERE " + where
	}
	return query + limit + ") AS head WHERE " + condition, append(slices.Clone(args), more...), err
}
