package api

import (
	"encoding/json"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// result is an answer that is not simply JSON with status 200.
type result interface {
	// write answers the call.
	write(c *Call)
	// describe returns the status, the content type and the type of the body, nil for none.
	describe() (status int, contentType string, body reflect.Type)
}

// None is an answer with status 200 and no body.
type None struct{}

func (None) write(c *Call)                         { c.writer.WriteHeader(http.StatusOK) }
func (None) describe() (int, string, reflect.Type) { return http.StatusOK, "", nil }

// Optional is an answer with status 200 and no body where there is nothing.
type Optional[T any] struct{ Body *T }

func (o Optional[T]) write(c *Call) {
	if o.Body == nil {
		c.writer.WriteHeader(http.StatusOK)
		return
	}
	writeJSON(c.writer, http.StatusOK, o.Body)
}

func (Optional[T]) describe() (int, string, reflect.Type) {
	return http.StatusOK, contentJSON, reflect.TypeFor[T]()
}

// Created says that something was made.
type Created struct {
	// Location is its path, "" where the API tells none.
	Location string
}

func (r Created) write(c *Call) {
	if r.Location != "" {
		c.Header().Set("Location", r.Location)
	}
	c.writer.WriteHeader(http.StatusCreated)
}
func (Created) describe() (int, string, reflect.Type) { return http.StatusCreated, "", nil }

// CreatedAs says that something was made, and returns it.
type CreatedAs[T any] struct {
	Created
	Body T
}

func (r CreatedAs[T]) write(c *Call) {
	if r.Location != "" {
		c.Header().Set("Location", r.Location)
	}
	writeJSON(c.writer, http.StatusCreated, r.Body)
}

func (CreatedAs[T]) describe() (int, string, reflect.Type) {
	return http.StatusCreated, contentJSON, reflect.TypeFor[T]()
}

// Text is an answer in plain text.
type Text string

func (t Text) write(c *Call) {
	c.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = c.writer.Write([]byte(t)) // a client that has gone cannot be told so
}

func (Text) describe() (int, string, reflect.Type) {
	return http.StatusOK, "text/plain", reflect.TypeFor[string]()
}

// Raw is an answer with a content type of its own.
type Raw struct {
	ContentType string
	Body        []byte
}

func (r Raw) write(c *Call) {
	c.Header().Set("Content-Type", r.ContentType)
	c.Header().Set("Content-Length", strconv.Itoa(len(r.Body)))
	_, _ = c.writer.Write(r.Body) // as above
}

func (Raw) describe() (int, string, reflect.Type) { return http.StatusOK, "", nil }

// Page is one page of a list.
type Page[T any] struct {
	Items []T
	// Total is the number of entries on all pages.
	Total  int64
	Paging Paging
}

// NewPage returns a page whose entries are made from rows.
func NewPage[Row, T any](paging Paging, rows []Row, total int64, entry func(Row) T) Page[T] {
	items := make([]T, 0, len(rows))
	for _, row := range rows {
		items = append(items, entry(row))
	}
	return Page[T]{Items: items, Total: total, Paging: paging}
}

// pageOf returns a page of a list that was read whole, because it is short.
func pageOf[Row, T any](paging Paging, rows []Row, entry func(Row) T) (Page[T], error) {
	q, _, err := paging.Query()
	if err != nil {
		return Page[T]{}, err
	}
	total := int64(len(rows))
	rows = rows[min(q.Offset, total):]
	if q.Limit >= 0 {
		rows = rows[:min(q.Limit, int64(len(rows)))]
	}
	return NewPage(paging, rows, total, entry), nil
}

func (p Page[T]) write(c *Call) {
	c.Header().Set("X-Total-Count", strconv.FormatInt(p.Total, 10))
	if link := p.link(c.URL); link != "" {
		c.Header().Set("Link", link)
	}
	items := p.Items
	if items == nil {
		items = []T{}
	}
	writeJSON(c.writer, http.StatusOK, items)
}

// link names the pages before and after, by paths whose query is not encoded: clients encode it themselves.
func (p Page[T]) link(u *url.URL) string {
	if p.Paging.unpaged || p.Paging.PageSize == 0 {
		return ""
	}
	at := func(page int64, relation string) string {
		values := u.Query()
		values.Set("page", strconv.FormatInt(page, 10))
		values.Set("page_size", strconv.FormatInt(p.Paging.PageSize, 10))
		plain, err := url.QueryUnescape(values.Encode())
		if err != nil {
			plain = values.Encode()
		}
		return "<" + u.EscapedPath() + "?" + strings.NewReplacer("\r", "", "\n", "", "<", "%3C", ">", "%3E").Replace(plain) + `>; rel="` + relation + `"`
	}
	var links []string
	if p.Paging.Page > 1 {
		links = append(links, at(p.Paging.Page-1, "prev"))
	}
	if p.Paging.Page*p.Paging.PageSize < p.Total {
		links = append(links, at(p.Paging.Page+1, "next"))
	}
	return strings.Join(links, " , ")
}

func (Page[T]) describe() (int, string, reflect.Type) {
	return http.StatusOK, contentJSON, reflect.TypeFor[[]T]()
}

// Time is a time as clients read it: UTC, with milliseconds.
type Time time.Time

// MarshalJSON writes it by RFC 3339.
func (t Time) MarshalJSON() ([]byte, error) {
	return json.Marshal(time.Time(t).UTC().Format("2006-01-02T15:04:05.000Z"))
}

// UnmarshalJSON reads it by RFC 3339.
func (t *Time) UnmarshalJSON(text []byte) error { return (*time.Time)(t).UnmarshalJSON(text) }

// moment is a time that may not have come, nil then.
func moment(at time.Time) *Time {
	if at.IsZero() {
		return nil
	}
	t := Time(at)
	return &t
}

// expiry is when something expires, in seconds since 1970; -1 for never.
func expiry(at time.Time) int64 {
	if at.IsZero() {
		return -1
	}
	return at.Unix()
}

const contentJSON = "application/json"

// write encodes what a route has answered.
func (c *Call) write(answer any) {
	if r, ok := answer.(result); ok {
		r.write(c)
		return
	}
	writeJSON(c.writer, http.StatusOK, answer)
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	encoded, err := json.Marshal(body)
	if err != nil {
		panic(err) // an answer of ours always encodes
	}
	encoded = append(encoded, '\n')
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(encoded)))
	w.WriteHeader(status)
	_, _ = w.Write(encoded) // as above
}
