package postgres

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/pause"
)

// maxTries is how often a transaction is tried that others keep getting in the way of.
const maxTries = 10

// writer runs each transaction on a connection of its own, READ COMMITTED.
type writer struct{ pool *sql.DB }

// Run implements [metadata.Writer].
func (w writer) Run(ctx context.Context, fn func(ctx context.Context, executor metadata.Executor) error) error {
	for try := 1; ; try++ {
		committing, err := w.try(ctx, fn)
		if err == nil || try == maxTries || !contended(err) && (committing || !lost(err)) {
			return err
		}
		if err := pause.For(ctx, rand.N(time.Duration(try)*10*time.Millisecond)); err != nil { //nolint:gosec // jitter need not be secret
			return err
		}
	}
}

// try reports with an error whether it is that of the commit, which may have taken place all the same.
func (w writer) try(ctx context.Context, fn func(ctx context.Context, executor metadata.Executor) error) (committing bool, err error) {
	tx, err := w.pool.BeginTx(ctx, nil)
	if err != nil {
		return false, err
	}
	// Also when fn panics; after the commit it does nothing.
	defer tx.Rollback() //nolint:errcheck // The connection is dropped when it fails.
	if err := fn(ctx, tx); err != nil {
		return false, err
	}
	return true, tx.Commit()
}

// lost reports whether a pooled connection turned out to be dead. Before the commit nothing has happened then.
func lost(err error) bool {
	return errors.Is(err, driver.ErrBadConn) || pgconn.SafeToRetry(err)
}

// contended reports whether the same transaction may succeed when it is tried again.
func contended(err error) bool {
	failure, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (failure.Code == "40001" || failure.Code == "40P01")
}
