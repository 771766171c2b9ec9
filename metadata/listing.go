package metadata

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Query chooses the rows of a listing, their order and the page.
type Query struct {
	Conditions []Condition
	Order      []Order
	// Offset rows are passed over; Limit is the most that are returned, all of them when it is negative.
	Offset, Limit int64
	// After, when it is set and Order is not, is the place of the row before the page: so nothing needs to be passed over.
	After Place
	// backwards asks for the opposite order.
	backwards bool
}

// Place is where a row stands in the order of a listing: the values of its columns.
type Place []any

// Comparison says how a condition compares.
type Comparison int

// The comparisons.
const (
	// Equal: the field is the one value.
	Equal Comparison = iota + 1
	// Contains: the text has the one value in it, in whatever case.
	Contains
	// Between: the field is at least the first and at most the second value; nil stands for no bound.
	Between
	// AnyOf: the field is one of the values.
	AnyOf
	// AllOf: the field has all of the values; one that can only have one must have one of them.
	AllOf
)

// Condition is what a field of the wanted rows must be. A field that the listing does not have is no condition.
type Condition struct {
	Field      string
	Comparison Comparison
	// Values are string, int64, bool or [time.Time]; they are converted to what the field is.
	Values []any
}

// Order sorts by a field. A field that the listing does not have sorts nothing.
type Order struct {
	Field      string
	Descending bool
}

// The most that one query may ask for, so that nobody makes up statements without end.
const (
	maxConditions = 8
	maxOrders     = 3
)

// fieldKind is what a field of a listing holds.
type fieldKind int

const (
	textField fieldKind = iota + 1
	numberField
	switchField
	momentField
)

// field is a column that callers may filter and sort by.
type field struct {
	expression string
	kind       fieldKind
}

// listing is a query whose conditions and order callers choose among the fields.
type listing[T any] struct {
	name    string
	columns string
	from    string
	fields  map[string]field
	// within has, for the fields that are columns of other tables, what makes a condition on these one on the listing's rows: it
	// stands for {condition} in it. One cannot sort by such a field.
	within map[string]string
	// order comes after the caller's; its last column is unique, so that pages neither overlap nor leave gaps.
	order string
	// key, the id of a row, is what the page is first chosen by among from alone, before the tables of joined are read: rows that are
	// passed over then cost an index entry each.
	key, joined string
	// aged are the fields that grow with the key: sorting by them is sorting by it.
	aged []string
	// parted are the text fields of which parts are found by an index.
	parted map[string]parted
	// tie, where it is set, is the unique column that ends the caller's order in place of order, in the direction of its first
	// field: an index on both can be walked either way.
	tie string
	// after is the condition on rows behind a [Place], whose values stand for {1}, {2} in it.
	after string
	scan  func(row, *T) error
}

// page returns the page of the query among the rows that the condition leaves, whose parameters are $1 and on.
func (l *listing[T]) page(ctx context.Context, r Reader, q Query, condition string, args []any) ([]T, error) {
	offset := q.Offset
	if len(q.After) > 0 && l.after != "" && len(q.Order) == 0 {
		condition, args, offset = l.behind(q.After, condition, args), append(args, q.After...), 0
	}
	order := " ORDER BY " + l.sorted(q)
	page := l.from + condition + order + " LIMIT $" + strconv.Itoa(len(args)+1) + " OFFSET $" + strconv.Itoa(len(args)+2)
	text := "SELECT " + l.columns + " FROM " + page
	if l.key != "" {
		// The cross join keeps SQLite from walking over the table instead of the page.
		text = "SELECT " + l.columns + " FROM (SELECT " + l.key + " AS chosen FROM " + page + ") AS page CROSS JOIN " +
			l.from + l.joined + " WHERE " + l.key + " = page.chosen" + order
	}
	return allOf(ctx, r, l.name+" page", text, l.scan, append(args, limit(int(q.Limit)), offset)...)
}

// behind adds the condition on rows behind a place to the others.
func (l *listing[T]) behind(place Place, condition string, args []any) string {
	after := l.after
	for i := range place {
		after = strings.ReplaceAll(after, "{"+strconv.Itoa(i+1)+"}", "$"+strconv.Itoa(len(args)+i+1))
	}
	if condition == "" {
		return " WHERE " + after
	}
	return condition + " AND " + after
}

// firstOfEach returns the first n rows for each id of a query in which the id stands as {id}, by one statement.
func firstOfEach[T any](ctx context.Context, r Reader, name, query string, ids []int64, n int, scan func(row, *T) error) ([]T, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	texts, args := make([]string, len(ids)), make([]any, len(ids))
	for i, id := range ids {
		texts[i] = "SELECT * FROM (" + strings.ReplaceAll(query, "{id}", "$"+strconv.Itoa(i+1)) + " LIMIT " + strconv.Itoa(n) + ") AS b" + strconv.Itoa(i)
		args[i] = id
	}
	return allOf(ctx, r, name, strings.Join(texts, " UNION ALL "), scan, args...)
}

// idList encodes ids for a statement that reads a list of texts.
func idList(ids []int64) (string, error) {
	texts := make([]string, len(ids))
	for i, id := range ids {
		texts[i] = strconv.FormatInt(id, 10)
	}
	encoded, err := json.Marshal(texts)
	if err != nil {
		return "", fmt.Errorf("encode ids: %w", err)
	}
	return string(encoded), nil
}

// allOf runs a text that is made for the call, and so is not kept prepared.
func allOf[T any](ctx context.Context, r Reader, name, text string, scan func(row, *T) error, args ...any) ([]T, error) {
	once := r
	if keeper, ok := r.executor.(interface{ Once() Executor }); ok {
		once.executor = keeper.Once()
	}
	return collect(ctx, once, name, r.shared.words.Replace(text), scan, args...)
}

// direction returns the columns that the rows of a query are sorted by, and whether they descend; "" where some do and some do not.
func (l *listing[T]) direction(q Query) (order string, descending bool) {
	terms := l.terms(q)
	for i, term := range terms {
		column, descends := strings.CutSuffix(term, " DESC")
		if i > 0 && descends != descending {
			return "", false
		}
		terms[i], descending = column, descends
	}
	return strings.Join(terms, ", "), descending
}

func (l *listing[T]) sorted(q Query) string {
	terms := l.terms(q)
	for i, term := range terms {
		if !q.backwards {
			break
		}
		ascending, descending := strings.CutSuffix(term, " DESC")
		terms[i] = ascending
		if !descending {
			terms[i] += " DESC"
		}
	}
	return strings.Join(terms, ", ")
}

func (l *listing[T]) terms(q Query) (terms []string) {
	descending := false
	for _, order := range q.Order {
		field, known := l.fields[order.Field]
		if !known || l.within[order.Field] != "" || len(terms) == maxOrders {
			continue
		}
		if len(terms) == 0 {
			descending = order.Descending
		}
		expression := field.expression
		if slices.Contains(l.aged, order.Field) {
			expression = l.key
		}
		term := expression
		if order.Descending {
			term += " DESC"
		}
		if terms = append(terms, term); expression == l.key {
			return terms
		}
	}
	switch {
	case len(terms) == 0 || l.tie == "":
		return append(terms, strings.Split(l.order, ", ")...)
	case descending:
		return append(terms, l.tie+" DESC")
	}
	return append(terms, l.tie)
}

func (l *listing[T]) where(q Query, where string, args []any) (string, []any, error) {
	conditions := make([]string, 0, 1+len(q.Conditions))
	if where != "" {
		conditions = append(conditions, "("+where+")")
	}
	given := 0
	for _, condition := range q.Conditions {
		field, known := l.fields[condition.Field]
		if !known {
			continue
		}
		if given++; given > maxConditions {
			return "", nil, tooManyConditions()
		}
		text, more, err := l.condition(field, condition, len(args))
		if err != nil {
			return "", nil, fmt.Errorf("field %s: %w", condition.Field, err)
		}
		conditions, args = append(conditions, text), append(args, more...)
	}
	if len(conditions) == 0 {
		return "", args, nil
	}
	return " WHERE " + strings.Join(conditions, " AND "), args, nil
}

func tooManyConditions() error {
	return fmt.Errorf("more than %d conditions: %w", maxConditions, ErrQuery)
}

// condition returns the SQL of a condition whose parameters come after the first n.
func (l *listing[T]) condition(f field, c Condition, n int) (string, []any, error) {
	within := l.within[c.Field]
	if by := l.parted[c.Field]; by.each != "" && by.finds(c) {
		within = by.each
	}
	if within == "" {
		return f.condition(c, n)
	}
	if c.Comparison != AllOf {
		text, args, err := f.condition(c, n)
		return strings.ReplaceAll(within, "{condition}", text), args, err
	}
	texts, args := make([]string, 0, len(c.Values)+1), []any(nil)
	for i, given := range c.Values {
		if i == maxConditions {
			return "", nil, fmt.Errorf("more than %d values: %w", maxConditions, ErrQuery)
		}
		text, more, err := f.condition(Condition{c.Field, Equal, []any{given}}, n+len(args))
		if err != nil {
			return "", nil, err
		}
		texts, args = append(texts, strings.ReplaceAll(within, "{condition}", text)), append(args, more...)
	}
	return strings.Join(append(texts, "TRUE"), " AND "), args, nil
}

// condition returns the SQL of a condition whose parameters come after the first n.
func (f field) condition(c Condition, n int) (string, []any, error) {
	parameter := func(i int) string { return "$" + strconv.Itoa(n+i) }
	if c.Comparison == Between {
		return f.between(c, parameter)
	}
	values := make([]any, 0, len(c.Values))
	for _, given := range c.Values {
		converted, ok := f.convert(given)
		if !ok {
			return "FALSE", nil, nil // nothing is equal to what the field cannot hold
		}
		values = append(values, converted)
	}
	switch {
	case c.Comparison == AnyOf, c.Comparison == AllOf:
		texts := make([]string, len(values))
		for i, v := range values {
			texts[i] = fmt.Sprint(v)
		}
		encoded, err := json.Marshal(texts)
		expression := f.expression
		if f.kind != textField { // a cast would hide the column from its index
			expression = "CAST(" + expression + " AS TEXT)"
		}
		return expression + " IN (SELECT value FROM {texts}(" + parameter(1) + "{json}))", []any{string(encoded)}, err
	case len(values) != 1:
		return "", nil, fmt.Errorf("%d values where one is needed: %w", len(values), ErrQuery)
	case c.Comparison == Contains:
		if f.kind != textField {
			return "", nil, fmt.Errorf("is no text to search in: %w", ErrQuery)
		}
		pattern := "%" + strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(strings.ToLower(values[0].(string))) + "%"
		return "LOWER(" + f.expression + ") LIKE " + parameter(1) + ` ESCAPE '\'`, []any{pattern}, nil
	}
	return f.expression + " = " + parameter(1), values, nil
}

func (f field) between(c Condition, parameter func(int) string) (string, []any, error) {
	if len(c.Values) != 2 {
		return "", nil, fmt.Errorf("a range has two ends: %w", ErrQuery)
	}
	var conditions []string
	var args []any
	for i, comparison := range []string{" >= ", " <= "} {
		if c.Values[i] == nil {
			continue
		}
		converted, ok := f.convert(c.Values[i])
		if !ok {
			return "", nil, fmt.Errorf("range of %v: %w", c.Values[i], ErrQuery)
		}
		args = append(args, converted)
		conditions = append(conditions, f.expression+comparison+parameter(len(args)))
	}
	if len(conditions) == 0 {
		return "TRUE", nil, nil
	}
	return strings.Join(conditions, " AND "), args, nil
}

// convert returns a value as the field stores it.
func (f field) convert(given any) (any, bool) {
	switch f.kind {
	case textField:
		switch v := given.(type) {
		case string: // PostgreSQL takes no other texts, and so none of its rows has them
			return v, utf8.ValidString(v) && !strings.ContainsRune(v, 0)
		case int64:
			return strconv.FormatInt(v, 10), true
		}
	case numberField:
		switch v := given.(type) {
		case int64:
			return v, true
		case string:
			n, err := strconv.ParseInt(v, 10, 64)
			return n, err == nil
		}
	case switchField:
		switch v := given.(type) {
		case bool:
			return v, true
		case int64:
			return v != 0, true
		case string:
			b, err := strconv.ParseBool(v)
			return b, err == nil
		}
	case momentField:
		switch v := given.(type) {
		case time.Time:
			return v.UnixMicro(), true
		case int64: // seconds
			return v * int64(time.Second/time.Microsecond), true
		}
	}
	return nil, false
}
