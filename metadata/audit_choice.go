package metadata

import (
	"context"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// auditIndexes are the indexed fields, those first whose values are of few rows.
var auditIndexes = []string{"resource", "username", "project_id", "resource_type", "operation"}

// auditPairs are the pairs of fields that have an index on both.
var auditPairs = [][2]string{{"username", "operation"}, {"project_id", "username"}, {"project_id", "operation"}}

// pair returns the conditions that an index on both their fields answers, where nothing narrows the entries down more.
func pair(candidates map[int]Condition) (first, second int, found bool) {
	places := map[string]int{}
	for _, i := range slices.Sorted(maps.Keys(candidates)) {
		places[candidates[i].Field] = i
	}
	if _, narrow := places["resource"]; narrow {
		return 0, 0, false
	}
	for _, fields := range auditPairs {
		first, one := places[fields[0]]
		second, other := places[fields[1]]
		if one && other && len(candidates[first].Values)*len(candidates[second].Values) <= auditBranches {
			return first, second, true
		}
	}
	return 0, 0, false
}

// rank is the place of the index that answers the condition, -1 for none.
func (c Condition) rank() int {
	one := c.Comparison == Equal && len(c.Values) == 1
	if !one && (c.Comparison != AnyOf || len(c.Values) == 0 || len(c.Values) > auditBranches) {
		return -1
	}
	return slices.Index(auditIndexes, c.Field)
}

// choose makes branches of one condition that an index answers and conditions of the rest, which it returns. Of several it takes the
// one of the fewest entries.
func (p *auditPlan) choose(ctx context.Context, r Reader, q AuditQuery) ([]Condition, error) {
	var known []Condition
	for _, c := range q.Conditions {
		if _, ok := auditFields[c.Field]; ok {
			known = append(known, c)
		}
	}
	if len(known) > maxConditions {
		return nil, tooManyConditions()
	}
	for i, c := range known {
		spelt, err := r.spellOut(ctx, c)
		if err != nil {
			return nil, err
		}
		known[i] = spelt
	}
	candidates := map[int]Condition{}
	for i, c := range known {
		if c.rank() >= 0 {
			candidates[i] = c
		}
	}
	if p.column != "" && len(p.values) <= auditBranches {
		candidates[-1] = Condition{Field: p.column, Comparison: AnyOf, Values: p.values}
	}
	driver, second, paired := pair(candidates)
	var crossed []int
	if paired {
		p.second, p.seconds = candidates[second].Field, candidates[second].wanted()
	} else {
		var err error
		if driver, crossed, err = r.fewest(ctx, candidates); err != nil {
			return nil, err
		}
	}
	used := func(i int) bool {
		_, candidate := candidates[i]
		return candidate && (i == driver || paired && i == second || slices.Contains(crossed, i))
	}
	for _, i := range crossed {
		p.crossed = append(p.crossed, candidates[i])
	}
	if p.column != "" && !used(-1) {
		if err := p.require(Condition{Field: p.column, Comparison: AnyOf, Values: p.values}); err != nil {
			return nil, err
		}
	}
	p.column, p.values = "", nil
	if c, chosen := candidates[driver]; chosen {
		p.column, p.values = c.Field, c.wanted()
	}
	for i, c := range known {
		if used(i) {
			continue
		}
		if err := p.require(c); err != nil {
			return nil, err
		}
	}
	return known, nil
}

// wanted are the values of a condition as the column has them, each once.
func (c Condition) wanted() (values []any) {
	for _, given := range c.Values {
		if converted, ok := auditFields[c.Field].convert(given); ok && !slices.Contains(values, converted) {
			values = append(values, converted)
		}
	}
	if len(values) == 0 {
		return []any{nil} // equal to nothing
	}
	return values
}

// spellOut makes a condition on a part of a resource one on the resources that have it, where they are few.
func (r Reader) spellOut(ctx context.Context, c Condition) (Condition, error) {
	if c.Field != "resource" || c.Comparison != Contains || len(c.Values) != 1 {
		return c, nil
	}
	text, ok := auditFields[c.Field].convert(c.Values[0])
	if !ok || len([]rune(text.(string))) < partLength {
		return c, nil
	}
	found, err := all(ctx, r, auditResourcesByPart, value[any], strings.ToLower(text.(string)), auditBranches+1)
	if err != nil || len(found) > auditBranches {
		return c, err
	}
	if len(found) == 0 {
		found = []any{false} // equal to nothing
	}
	return Condition{Field: c.Field, Comparison: AnyOf, Values: found}, nil
}

// fewest returns the condition of the fewest entries, -1 when there is none; and, where it has few, the others that have few.
func (r Reader) fewest(ctx context.Context, candidates map[int]Condition) (chosen int, few []int, err error) {
	chosen, least := -1, int64(math.MaxInt64)
	for _, i := range slices.Sorted(maps.Keys(candidates)) {
		c, entries := candidates[i], int64(0)
		if len(candidates) > 1 {
			var args []any
			text := "SELECT COUNT(*) FROM (SELECT 1 FROM audit_entries WHERE " + c.among(&args) + " LIMIT " + strconv.Itoa(auditFew+1) + ") AS counted"
			counted, err := allOf(ctx, r, "audit count of condition", text, value[int64], args...)
			if err != nil {
				return -1, nil, err
			}
			entries = counted[0]
		}
		if entries <= auditFew {
			few = append(few, i)
		}
		if entries < least || entries == least && c.rank() < candidates[chosen].rank() {
			chosen, least = i, entries
		}
	}
	return chosen, slices.DeleteFunc(few, func(i int) bool { return i == chosen }), nil
}

// among is the condition that an index answers: the values are added to the arguments.
func (c Condition) among(args *[]any) string {
	var list strings.Builder
	list.WriteString("NULL")
	for _, given := range c.Values {
		if converted, ok := auditFields[c.Field].convert(given); ok {
			*args = append(*args, converted)
			list.WriteString(", $" + strconv.Itoa(len(*args)))
		}
	}
	return auditFields[c.Field].expression + " IN (" + list.String() + ")"
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
