package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"strings"

	"github.com/berth-registry/berth/api/query"
	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/metadata"
)

// maxBody is the longest body that is read.
const maxBody = 1 << 20

// The sizes of a page.
const (
	defaultPageSize = 10
	maxPageSize     = 100
)

// Paging are the parameters of every list; embed it in a route's input.
type Paging struct {
	Page     int64  `query:"page" doc:"number of the page, from 1"`
	PageSize int64  `query:"page_size" doc:"entries on a page, at most 100; 0 means all"`
	Q        string `query:"q" doc:"filter: field=value, field=~part, field=[from~to], field={a b}, with commas between"`
	Sort     string `query:"sort" doc:"fields to sort by with commas between, a minus in front of those that descend"`

	unpaged bool
}

// Query returns what the parameters ask for. The error is a [*fault.Error].
func (p Paging) Query() (metadata.Query, []query.Term, error) {
	terms, err := query.Parse(p.Q)
	if err != nil {
		return metadata.Query{}, nil, fault.New(fault.Invalid, "q: %v", err)
	}
	q := metadata.Query{Limit: -1}
	if !p.unpaged {
		q.Offset, q.Limit = (p.Page-1)*p.PageSize, p.PageSize
	}
	for _, term := range terms {
		q.Conditions = append(q.Conditions, condition(term))
	}
	for _, sort := range query.ParseSort(p.Sort) {
		q.Order = append(q.Order, metadata.Order{Field: sort.Field, Descending: sort.Descending})
	}
	return q, terms, nil
}

func condition(term query.Term) metadata.Condition {
	comparisons := map[query.Form]metadata.Comparison{
		query.Exact: metadata.Equal, query.Fuzzy: metadata.Contains, query.Range: metadata.Between,
		query.Union: metadata.AnyOf, query.Intersection: metadata.AllOf,
	}
	return metadata.Condition{Field: term.Field, Comparison: comparisons[term.Form], Values: term.Values}
}

// settle fills the page in and checks it.
func (p *Paging) settle(given url.Values) error {
	if !given.Has("page_size") {
		p.PageSize = defaultPageSize
	}
	if p.PageSize > maxPageSize || p.PageSize < 0 || p.Page < 0 || p.Page > 1<<40 {
		return unprocessable("page must not be negative, and page_size must be from 0 to %d", maxPageSize)
	}
	p.unpaged = p.PageSize == 0
	p.Page = max(p.Page, 1)
	return nil
}

func (p *Paging) paging() *Paging { return p }

// statusError is an error with a status and code of its own.
type statusError struct {
	status        int
	code, message string
}

// Error returns the message.
func (e *statusError) Error() string { return e.message }

func unprocessable(format string, args ...any) error {
	return &statusError{http.StatusUnprocessableEntity, codeUnprocessable, fmt.Sprintf(format, args...)}
}

// decoder reads a request into an In.
type decoder[In any] struct {
	fields []inputField
	body   []int // of the field, nil for none
	// optional tells that the body may be empty.
	optional bool
}

// inputField is a parameter.
type inputField struct {
	index       []int
	place, name string // "path", "query" or "header"
}

func newDecoder[In any](row Route) decoder[In] {
	var d decoder[In]
	for _, field := range reflect.VisibleFields(reflect.TypeFor[In]()) {
		if word, ok := field.Tag.Lookup("body"); ok {
			d.body, d.optional = field.Index, word == "optional"
		}
		for _, place := range []string{"path", "query", "header"} {
			name, ok := field.Tag.Lookup(place)
			if !ok {
				continue
			}
			if place == "path" && !strings.Contains(row.Path, "{"+name+"}") {
				panic("api: route " + row.ID + " has no parameter " + name + " in its path")
			}
			d.fields = append(d.fields, inputField{field.Index, place, name})
		}
	}
	return d
}

func (d decoder[In]) decode(c *Call) (in In, err error) {
	given, err := url.ParseQuery(c.URL.RawQuery)
	if err != nil {
		return in, fault.New(fault.Invalid, "query of the address: %v", err)
	}
	target := reflect.ValueOf(&in).Elem()
	for _, field := range d.fields {
		values := given[field.name]
		switch field.place {
		case "path":
			values = []string{unescaped(c.PathValue(field.name))}
		case "header":
			values = c.Request.Header.Values(field.name)
		}
		if len(values) == 0 {
			continue
		}
		if err := assign(target.FieldByIndex(field.index), values); err != nil {
			return in, unprocessable("parameter %s: %v", field.name, err)
		}
	}
	if paged, ok := any(&in).(interface{ paging() *Paging }); ok {
		if err := paged.paging().settle(given); err != nil {
			return in, err
		}
	}
	if d.body != nil {
		err = c.readBody(target.FieldByIndex(d.body).Addr().Interface(), d.optional)
	}
	return in, err
}

// assign reads a parameter's text into a field: a text, a number, a switch, a pointer to one of them for what may be absent, or a
// list of texts for what may come repeatedly.
func assign(field reflect.Value, values []string) error {
	if field.Kind() == reflect.Pointer {
		if values[0] == "" {
			return nil
		}
		field.Set(reflect.New(field.Type().Elem()))
		return assign(field.Elem(), values)
	}
	text := values[0]
	switch field.Kind() {
	case reflect.String:
		field.SetString(text)
	case reflect.Slice:
		field.Set(reflect.ValueOf(values))
	case reflect.Bool:
		if text == "" {
			return nil
		}
		value, err := strconv.ParseBool(text)
		if err != nil {
			return fmt.Errorf("%q is neither true nor false", text)
		}
		field.SetBool(value)
	case reflect.Int64, reflect.Int:
		if text == "" {
			return nil
		}
		value, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return fmt.Errorf("%q is not a whole number", text)
		}
		field.SetInt(value)
	default:
		panic("api: no parameter can be of type " + field.Type().String())
	}
	return nil
}

// readBody reads JSON. Fields that are not known are passed over, because clients send what they have.
func (c *Call) readBody(into any, optional bool) error {
	body, err := io.ReadAll(http.MaxBytesReader(c.writer, c.Body, maxBody))
	if _, tooLong := errors.AsType[*http.MaxBytesError](err); tooLong {
		return &statusError{http.StatusRequestEntityTooLarge, codeTooLarge, fmt.Sprintf("the body is longer than %d bytes", maxBody)}
	}
	if err != nil {
		return fault.New(fault.Invalid, "read body: %v", err)
	}
	if len(body) == 0 && optional {
		return nil
	}
	if len(body) == 0 {
		return fault.New(fault.Invalid, "the body is empty")
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fault.New(fault.Invalid, "body: %v", err)
	}
	return nil
}

// unescaped decodes a parameter of the path until nothing is left to decode: clients encode the slashes of repository names once or
// twice, and no name has a percent sign in it.
func unescaped(segment string) string {
	for range 3 {
		decoded, err := url.PathUnescape(segment)
		if err != nil || decoded == segment {
			break
		}
		segment = decoded
	}
	return segment
}
