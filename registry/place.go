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
	if known {
		q.After = place.row
	}
	rows, total, err := read(q)
	if err == nil && known && total < place.total {
		q.After = nil
		rows, total, err = read(q)
	}
	if err != nil || len(rows) == 0 || int64(len(rows)) < q.Limit {
		return rows, total, err
	}
	next := listOffset{list, q.Offset + int64(len(rows))}
	_, epoch, _ := r.places.get(next)
	r.places.put(next, listPlace{rows[len(rows)-1].Place(), total}, epoch)
	return rows, total, nil
}
