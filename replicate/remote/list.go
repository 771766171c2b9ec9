package remote

import (
	"errors"
	"net/http"

	orasremote "oras.land/oras-go/v2/registry/remote"
)

// errEndless says that a registry lists without an end, be it by mistake or out of malice.
var errEndless = errors.New("the registry's list does not end")

const (
	// maxListed is how many entries a list has at most, maxPages how many pages.
	maxListed = 1_000_000
	maxPages  = 20_000
)

// pages is the client that reads a list. Each page names the next one, so that a registry could have it read for ever.
type pages struct {
	orasremote.Client
	seen map[string]bool
}

func (r *Registry) pages() *pages { return &pages{r.client, map[string]bool{}} }

// Do reads a page. The error is errEndless when it was read before, or is one too much.
func (p *pages) Do(request *http.Request) (*http.Response, error) {
	address := request.URL.String()
	if p.seen[address] || len(p.seen) == maxPages {
		return nil, errEndless
	}
	p.seen[address] = true
	return p.Client.Do(request)
}

// ending returns fn for a list that ends.
func ending[T any](fn func(page []T) error) func(page []T) error {
	listed := 0
	return func(page []T) error {
		if listed += len(page); listed > maxListed {
			return errEndless
		}
		return fn(page)
	}
}
