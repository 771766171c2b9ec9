package metadata

import (
	"context"
	"fmt"
	"time"
)

var (
	leaseFetch = define("lease fetch", `
		INSERT INTO fetches (name, holder, lease_until) VALUES ($1, $2, $3)
		ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, lease_until = excluded.lease_until
		WHERE fetches.holder = excluded.holder OR fetches.lease_until <= $4`)
	releaseFetch  = define("release fetch", `DELETE FROM fetches WHERE name = $1 AND holder = $2`)
	deleteFetches = define("delete fetches", `
		DELETE FROM fetches WHERE name IN (SELECT name FROM fetches WHERE lease_until <= $1 ORDER BY lease_until, name LIMIT $2) AND lease_until <= $1`)
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

// ReleaseFetch gives the lease back; one that was lost is no error.
func (t *Tx) ReleaseFetch(ctx context.Context, name, holder string) error {
	_, err := t.exec(ctx, releaseFetch, name, holder)
	return err
}

// DeleteFetches removes up to n leases that ended before the time without having been given back, as their holders died, and returns
// how many.
func (t *Tx) DeleteFetches(ctx context.Context, before time.Time, n int) (int64, error) {
	return t.exec(ctx, deleteFetches, micros(before), limit(n))
}
