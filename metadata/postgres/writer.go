package postgres

import (
	"context"
	"database/sql"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/berth-registry/berth/metadata"
)

// maxTries is how often a transaction is tried that others keep getting in the way of.
const maxTries = 10

// writer runs each transaction on a connection of its own, READ COMMITTED.
type writer struct{ pool *sql.DB }

// Run implements [metadata.Writer].
func (w writer) Run(ctx context.Context, fn func(ctx context.Context, executor metadata.Executor) error) error {
	for try := 1; ; try++ {
		err := w.try(ctx, fn)
		if err == nil || try == maxTries || !contended(err) {
			return err
		}
		pause := time.NewTimer(rand.N(time.Duration(try) * 10 * time.Millisecond))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return ctx.Err()
		}
	}
}

func (w writer) try(ctx context.Context, fn func(ctx context.Context, executor metadata.Executor) error) error {
	tx, err := w.pool.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	// Also when fn panics; after the commit it does nothing.
	defer tx.Rollback() //nolint:errcheck // The connection is dropped when it fails.
	if err := fn(ctx, tx); err != nil {
		return err
	}
	return tx.Commit()
}

// contended reports whether the same transaction may succeed when it is tried again.
func contended(err error) bool {
	failure, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (failure.Code == "40001" || failure.Code == "40P01")
}
