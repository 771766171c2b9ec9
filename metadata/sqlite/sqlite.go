// Package sqlite keeps the registry's metadata in one SQLite file: for an installation of one gateway. What was acknowledged
// survives a power cut; transactions that arrive together share one write to disk.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"runtime"

	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/berth-registry/berth/metadata"
)

// dialect is SQLite's way of saying what differs.
var dialect = metadata.Dialect{
	Name:  "sqlite",
	Goose: goose.DialectSQLite3,
	Words: map[string]string{
		"for update":    "",
		"for key share": "",
		"skip locked":   "",
		"folded":        "0 * ",
		"folded counts": "",
		"fitted ranges": "0",
		"locked":        "TRUE",
		"kept for":      "LENGTH(",
		"tags":          ") > 0",
		"elements":      "json_each",
		"texts":         "json_each",
		"any of":        "IN (SELECT value FROM json_each(",
		"these":         "))",
		"any id of":     "IN (SELECT CAST(value AS BIGINT) FROM json_each(",
		"these ids":     "))",
		"contains":      `MATCH '"' || REPLACE(`,
		"contains low":  `MATCH '"' || REPLACE(`,
		"contained":     `, '"', '""') || '"'`,
		"json":          "",
		"settled":       "TRUE",
	},
	Classify: classify,
}

// Open opens or creates the database at path. The error is [metadata.ErrLocked] when another process, or another store of this
// one, has it open.
func Open(ctx context.Context, path string, logger *slog.Logger) (*metadata.Store, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open database %s: %w", path, err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("open database %s: %w", path, err)
	}
	lock, err := acquire(path + ".lock")
	if err != nil {
		return nil, fmt.Errorf("open database %s: %w", path, err)
	}
	writers, readers, err := open(ctx, path)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open database %s: %w", path, err), lock.release())
	}
	writer := newWriter(writers)
	prepared := newPrepared(readers)
	return metadata.New(metadata.Engine{
		Dialect:    dialect,
		Reader:     prepared,
		Writer:     writer,
		DB:         writers,
		Migrations: writers,
		Close: func() error {
			return errors.Join(writer.close(), prepared.close(), readers.Close(), writers.Close(), lock.release())
		},
	}, logger), nil
}

// open returns the pool that writes and the pool that can only read.
func open(ctx context.Context, path string) (writers, readers *sql.DB, err error) {
	// The first connection creates the file in WAL mode, which readers then find; so it is made before they are.
	if writers, err = sql.Open("sqlite", source(path, "rwc", false)); err != nil {
		return nil, nil, err
	}
	// One connection is the writer's, the other is for migrations and pings.
	writers.SetMaxOpenConns(2)
	writers.SetMaxIdleConns(2)
	if err := writers.PingContext(ctx); err != nil {
		return nil, nil, errors.Join(classify(err), writers.Close())
	}
	if readers, err = sql.Open("sqlite", source(path, "rw", true)); err != nil {
		return nil, nil, errors.Join(err, writers.Close())
	}
	connections := max(4, runtime.NumCPU())
	readers.SetMaxOpenConns(connections)
	readers.SetMaxIdleConns(connections)
	if err := readers.PingContext(ctx); err != nil {
		return nil, nil, errors.Join(classify(err), readers.Close(), writers.Close())
	}
	return writers, readers, nil
}

// source is the data source name. Settings of a connection stand here because the pool makes connections when it likes;
// busy_timeout comes first so that the others wait for a lock.
func source(path, mode string, readOnly bool) string {
	pragmas := []string{
		"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)",
		"temp_store(2)", "cache_size(-32000)", "journal_size_limit(67108864)",
	}
	if readOnly {
		pragmas = append(pragmas, "query_only(1)")
	}
	query := url.Values{"mode": {mode}, "_pragma": pragmas}
	return (&url.URL{Scheme: "file", Path: path, RawQuery: query.Encode()}).String()
}

// classify gives SQLite's errors the kinds of package metadata.
func classify(err error) error {
	failure, ok := errors.AsType[*sqlite.Error](err)
	if !ok {
		return err
	}
	switch failure.Code() {
	case sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY:
		return metadata.Kind(metadata.ErrExists, err)
	case sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
		return metadata.Kind(metadata.ErrNotFound, err)
	}
	switch failure.Code() & 0xff {
	case sqlite3.SQLITE_FULL:
		return metadata.Kind(metadata.ErrNoSpace, err)
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN:
		return metadata.Kind(metadata.ErrUnavailable, err)
	}
	return err
}
