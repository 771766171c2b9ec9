package metadata

import (
	"context"
	"fmt"
	"time"

	"github.com/berth-registry/berth/oci"
)

var (
	leaseFetch = define("lease fetch", `
		INSERT INTO fetches (name, holder, lease_until) VALUES ($1, $2, $3)
		ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, lease_until = excluded.lease_until,
			wanted = fetches.wanted AND fetches.holder = excluded.holder
		WHERE fetches.holder = excluded.holder OR fetches.lease_until <= $4`)
	releaseFetch  = define("release fetch", `DELETE FROM fetches WHERE name = $1 AND holder = $2`)
	deleteFetches = define("delete fetches", `
		DELETE FROM fetches WHERE name IN (SELECT name FROM fetches WHERE lease_until <= $1 ORDER BY lease_until, name LIMIT $2) AND lease_until <= $1
		RETURNING name`)
	fetchByName = define("fetch", `SELECT holder, size, wanted FROM fetches WHERE name = $1`)
	wantFetch   = define("want fetch", `UPDATE fetches SET wanted = TRUE WHERE name = $1 AND NOT wanted`)
	sizeFetch   = define("size of fetch", `UPDATE fetches SET size = $2 WHERE name = $1`)
	fetchParts  = define("fetch parts", `
		SELECT start, length, storage_key FROM fetch_parts
		WHERE name = $1 AND start >= COALESCE((SELECT MAX(start) FROM fetch_parts WHERE name = $1 AND start <= $2), $2)
		ORDER BY start LIMIT $3`)
	insertFetchPart = define("add fetch part", `
		INSERT INTO fetch_parts (name, start, length, storage_key) VALUES ($1, $2, $3, $4)`)
	deleteFetchParts = define("delete fetch parts", `DELETE FROM fetch_parts WHERE name = $1 RETURNING storage_key`)

	seenTag = define("seen tag", `SELECT digest, seen_until FROM seen_tags WHERE name = $1`)
	seeTag  = define("see tag", `
		INSERT INTO seen_tags (name, digest, seen_until) VALUES ($1, $2, $3)
		ON CONFLICT (name) DO UPDATE SET digest = excluded.digest, seen_until = excluded.seen_until`)
	deleteSeenTags = define("delete seen tags", `
		DELETE FROM seen_tags WHERE name IN (SELECT name FROM seen_tags WHERE seen_until <= $1 ORDER BY seen_until, name LIMIT $2) AND seen_until <= $1`)
)

// LeaseFetch makes the holder, for as long as the lease is good, the one that fetches what the name stands for from a registry
// elsewhere; the holder may call it again to go on. It returns [ErrConflict] while another has the lease.
func (t *Tx) LeaseFetch(ctx context.Context, name, holder string, lease time.Duration) error {
	at := now()
	changed, err := t.exec(ctx, leaseFetch, name, holder, micros(at.Add(lease)), micros(at))
	if err == nil && changed == 0 {
		err = fmt.Errorf("fetch %s: %w", name, ErrConflict)
	}
	return err
}

// ReleaseFetch gives the lease back, and the parts up; one that was lost is no error.
func (t *Tx) ReleaseFetch(ctx context.Context, name, holder string) error {
	changed, err := t.exec(ctx, releaseFetch, name, holder)
	if err != nil || changed == 0 {
		return err
	}
	return t.giveUpParts(ctx, name)
}

func (t *Tx) giveUpParts(ctx context.Context, name string) error {
	keys, err := all(ctx, t.Reader, deleteFetchParts, value[string], name)
	if err != nil {
		return err
	}
	return t.AddTombstones(ctx, keys)
}

// DeleteFetches removes up to n leases that ended before the time without having been given back, as their holders died, and returns
// how many. Their parts are given up.
func (t *Tx) DeleteFetches(ctx context.Context, before time.Time, n int) (int64, error) {
	names, err := all(ctx, t.Reader, deleteFetches, value[string], micros(before), limit(n))
	for _, name := range names {
		if err := t.giveUpParts(ctx, name); err != nil {
			return 0, err
		}
	}
	return int64(len(names)), err
}

// Fetch is what somebody fetches from a registry elsewhere.
type Fetch struct {
	Holder string
	// Size is in bytes, -1 while it is not known.
	Size int64
	// Wanted tells that another than the holder waits for it.
	Wanted bool
}

// Fetch returns what is being fetched under a name, or was when its holder died. It returns [ErrNotFound] when nothing is.
func (r Reader) Fetch(ctx context.Context, name string) (Fetch, error) {
	return one(ctx, r, fetchByName, func(r row, f *Fetch) error { return r.Scan(&f.Holder, &f.Size, &f.Wanted) }, name)
}

// WantFetch tells the holder that another waits for what it fetches.
func (t *Tx) WantFetch(ctx context.Context, name string) error {
	_, err := t.exec(ctx, wantFetch, name)
	return err
}

// SetFetchSize tells how large it is what is fetched under a name, in bytes. Only who holds the lease may tell.
func (t *Tx) SetFetchSize(ctx context.Context, name string, size int64) error {
	return t.execOne(ctx, sizeFetch, name, size)
}

// FetchPart is a part of what is being fetched, which is an object in storage meanwhile.
type FetchPart struct {
	Start, Length int64
	StorageKey    string
}

func scanFetchPart(r row, p *FetchPart) error { return r.Scan(&p.Start, &p.Length, &p.StorageKey) }

// AddFetchPart tells that a part has come. Only who holds the lease may tell, in the transaction in which it goes on with it; a part that
// begins where another does is [ErrExists].
func (t *Tx) AddFetchPart(ctx context.Context, name string, part FetchPart) error {
	_, err := t.exec(ctx, insertFetchPart, name, part.Start, part.Length, part.StorageKey)
	return err
}

// FetchParts returns up to n parts that have come, in their order: those after the offset, and before them the last one that begins no
// later than it.
func (r Reader) FetchParts(ctx context.Context, name string, offset int64, n int) ([]FetchPart, error) {
	return all(ctx, r, fetchParts, scanFetchPart, name, offset, limit(n))
}

// SeenTag returns what a registry elsewhere was seen to have under a tag, and until when that is believed. The name is made of
// repository and tag. It returns [ErrNotFound] when nobody has looked lately.
func (r Reader) SeenTag(ctx context.Context, name string) (digest oci.Digest, until time.Time, err error) {
	type sighting struct {
		digest oci.Digest
		until  time.Time
	}
	found, err := one(ctx, r, seenTag, func(r row, s *sighting) error { return r.Scan(&s.digest, moment{&s.until}) }, name)
	return found.digest, found.until, err
}

// SeeTag has all gateways believe what a registry elsewhere has under a tag until the time.
func (t *Tx) SeeTag(ctx context.Context, name string, digest oci.Digest, until time.Time) error {
	_, err := t.exec(ctx, seeTag, name, digest, micros(until))
	return err
}

// DeleteSeenTags removes up to n sightings of tags that have not been believed since the time, and returns how many.
func (t *Tx) DeleteSeenTags(ctx context.Context, before time.Time, n int) (int64, error) {
	return t.exec(ctx, deleteSeenTags, micros(before), limit(n))
}
