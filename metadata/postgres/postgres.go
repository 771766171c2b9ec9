// Package postgres keeps the registry's metadata in PostgreSQL: for installations of several gateways.
package postgres

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/berth-registry/berth/metadata"
)

// The defaults of [Options].
const (
	DefaultMaxConnections   = 20
	DefaultStatementTimeout = 30 * time.Second
)

// Options say how to reach the database.
type Options struct {
	// URL is a connection string of libpq: postgres://user:password@host:port/database?sslmode=… or key=value pairs.
	URL string
	// MaxConnections bounds the pool of one gateway; 0 means [DefaultMaxConnections].
	MaxConnections int
	// StatementTimeout ends a statement that runs for longer; 0 means [DefaultStatementTimeout], a negative value leaves the
	// server's own setting, as PgBouncer needs it. One in the URL wins.
	StatementTimeout time.Duration
}

// dialect is PostgreSQL's way of saying what differs.
var dialect = metadata.Dialect{
	Name:  "postgres",
	Goose: goose.DialectPostgres,
	Options: func() ([]goose.ProviderOption, error) {
		locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 600), lock.WithUnlockTimeout(1, 10))
		if err != nil {
			return nil, err
		}
		return []goose.ProviderOption{goose.WithSessionLocker(locker)}, nil
	},
	Words: map[string]string{
		"for update":    "FOR UPDATE",
		"for key share": "FOR KEY SHARE",
		"skip locked":   "FOR UPDATE SKIP LOCKED",
		"folded":        "fold_list_counts(",
		"folded counts": ")",
		"fitted ranges": "fit_list_ranges()",
		// Locks of rows alone are not fair: who wants one for itself would wait for as long as others come to share it. The sum has the
		// turns of tags come first.
		"locked": "pg_advisory_xact_lock(hashtextextended('repository', r.id)) IS NOT NULL",
		"kept for": "pg_advisory_xact_lock_shared(hashtextextended('repository', r.id + 0 * " +
			"(SELECT COUNT(pg_advisory_xact_lock(hashtextextended(value, 0))) FROM json_array_elements_text(",
		"tags":         "::text::json)))) IS NOT NULL",
		"elements":     "json_array_elements",
		"texts":        "json_array_elements_text",
		"any of":       "= ANY(ARRAY(SELECT json_array_elements_text(",
		"these":        "::text::json)))",
		"any id of":    "= ANY(ARRAY(SELECT CAST(json_array_elements_text(",
		"these ids":    "::text::json) AS BIGINT)))",
		"contains":     `ILIKE '%' || REPLACE(REPLACE(REPLACE(CAST(`,
		"contains low": `LIKE '%' || REPLACE(REPLACE(REPLACE(CAST(`,
		"contained":    ` AS TEXT), '\', '\\'), '%', '\%'), '_', '\_') || '%'`,
		"json":         "::text::json",
		"settled":      "transaction_id < CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS TEXT) AS BIGINT)",
	},
	Classify: classify,
}

// Open prepares a pool of connections. It makes none yet, so it succeeds when the server is down: [metadata.Store.Ping] tells.
func Open(options Options, logger *slog.Logger) (*metadata.Store, error) {
	config, err := pgx.ParseConfig(options.URL)
	if err != nil {
		return nil, fmt.Errorf("url of the postgres database: %w", err)
	}
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "berth"
	}
	// Migrations may take longer than any statement of a request.
	migrations := stdlib.OpenDB(*config.Copy())
	migrations.SetMaxIdleConns(0)

	timeout := options.StatementTimeout
	if timeout == 0 {
		timeout = DefaultStatementTimeout
	}
	if config.RuntimeParams["statement_timeout"] == "" && timeout > 0 {
		config.RuntimeParams["statement_timeout"] = strconv.FormatInt(max(1, timeout.Milliseconds()), 10)
	}
	pool := stdlib.OpenDB(*config)
	connections := options.MaxConnections
	if connections == 0 {
		connections = DefaultMaxConnections
	}
	pool.SetMaxOpenConns(connections)
	pool.SetMaxIdleConns(connections)
	pool.SetConnMaxIdleTime(5 * time.Minute)
	pool.SetConnMaxLifetime(time.Hour)
	return metadata.New(metadata.Engine{
		Dialect:    dialect,
		Reader:     reader{pool},
		Writer:     writer{pool},
		DB:         pool,
		Migrations: migrations,
		Close:      func() error { return errors.Join(pool.Close(), migrations.Close()) },
	}, logger), nil
}

// reader runs statements outside of transactions.
type reader struct{ *sql.DB }

// Once runs texts that are made for one call with a plan for its values. A prepared statement soon gets one for all values, which
// for a listing whose filter few rows pass would be a walk over the table.
func (r reader) Once() metadata.Executor { return once(r) }

type once struct{ *sql.DB }

// QueryContext implements [metadata.Executor].
func (o once) QueryContext(ctx context.Context, text string, args ...any) (*sql.Rows, error) {
	return o.DB.QueryContext(ctx, text, append([]any{pgx.QueryExecModeCacheDescribe}, args...)...)
}

// classify gives PostgreSQL's errors, and those of the way to it, the kinds of package metadata.
func classify(err error) error {
	if failure, ok := errors.AsType[*pgconn.PgError](err); ok {
		if kind := kindOf(failure.Code); kind != nil {
			return metadata.Kind(kind, err)
		}
		return err
	}
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok && !errors.Is(err, context.Canceled) {
		return metadata.Kind(metadata.ErrUnavailable, err)
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	_, network := errors.AsType[net.Error](err)
	if network || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) || errors.Is(err, driver.ErrBadConn) ||
		errors.Is(err, sql.ErrConnDone) || pgconn.SafeToRetry(err) {
		return metadata.Kind(metadata.ErrUnavailable, err)
	}
	return err
}

// kindOf maps an SQLSTATE to a kind; nil when it has none.
func kindOf(code string) error {
	switch code {
	case "23505": // unique_violation
		return metadata.ErrExists
	case "23503": // foreign_key_violation
		return metadata.ErrNotFound
	case "53100": // disk_full
		return metadata.ErrNoSpace
	case "25006", // read_only_sql_transaction: a replica, or a primary that has just become one
		"57014", // query_canceled: the statement timeout
		"58030", // io_error
		"40001", // serialization_failure, after all tries
		"40P01": // deadlock_detected, after all tries
		return metadata.ErrUnavailable
	}
	switch code[:2] {
	case "08", // connection exception
		"28", // invalid authorization: the operator has to act, clients try again
		"53", // insufficient resources
		"57": // operator intervention
		return metadata.ErrUnavailable
	}
	return nil
}
