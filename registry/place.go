package registry

import (
	"fmt"
	"time"

	"github.com/berth-registry/berth/metadata"
)

// How long and how many beginnings of pages are remembered. Who turns the pages of a long list then pays for each page only, and
// finds on the next one what comes after the last, whatever was pushed meanwhile.
const (
	placeLifetime = time.Minute
	maxPlaces     = 16 << 10
)

// listOffset is a place in a list by the number of rows before it.
type listOffset struct {
	list   string
	offset int64
}

// listPlace is the row before an offset, and how long the list was.
type listPlace struct {
	row   metadata.Place
	total int64
}

// turnTo reads a page of a list, which the name tells from all others but for the conditions of the query. It begins where the page
// before it was seen to end; unless the list is shorter since, because then other rows may have come in its place.
func turnTo[T interface{ Place() metadata.Place }](r *Registry, name string, q metadata.Query, read func(metadata.Query) ([]T, int64, error)) ([]T, int64, error) {
	if len(q.Order) > 0 {
		return read(q)
	}
	list := name + fmt.Sprint(q.Conditions)
	place, _, known := r.places.get(listOffset{list, q.Offset})
	switch {
	case known:
		q.After = place.row
	case q.Offset > 0 && q.Limit > 0:
		// Somebody jumped here: the row before is read as well, so that who asks again need not count from the beginning.
		rows, total, err := read(metadata.Query{Conditions: q.Conditions, Offset: q.Offset - 1, Limit: q.Limit + 1})
		if err != nil || len(rows) == 0 {
			return rows, total, err
		}
		r.rememberPlace(listOffset{list, q.Offset}, rows[0].Place(), total)
		return turned(r, list, q, rows[1:], total)
	}
	rows, total, err := read(q)
	if err == nil && known && total < place.total {
		q.After = nil
		rows, total, err = read(q)
	}
	if err != nil {
		return rows, total, err
	}
	return turned(r, list, q, rows, total)
}

// turned remembers where the page after this one begins.
func turned[T interface{ Place() metadata.Place }](r *Registry, list string, q metadata.Query, rows []T, total int64) ([]T, int64, error) {
	if len(rows) > 0 && int64(len(rows)) >= q.Limit {
		r.rememberPlace(listOffset{list, q.Offset + int64(len(rows))}, rows[len(rows)-1].Place(), total)
	}
	return rows, total, nil
}

// rememberPlace remembers the row before an offset.
func (r *Registry) rememberPlace(at listOffset, row metadata.Place, total int64) {
	_, epoch, _ := r.places.get(at)
	r.places.put(at, listPlace{row, total}, epoch)
}
