// Package metadata keeps everything about the registry but the blobs' bytes in SQL: who there is, what may be read, which
// digest lies under which storage key. A [Store] is opened by the package of its engine (metadata/sqlite, metadata/postgres);
// both run the same statements.
package metadata

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync"
)

// Executor runs SQL. It is implemented by *sql.DB, *sql.Tx and *sql.Conn, and by what engines put in front of them. The set of
// texts is small and fixed, so an engine may keep every one of them prepared.
type Executor interface {
	ExecContext(ctx context.Context, text string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, text string, args ...any) (*sql.Rows, error)
}

// Writer runs transactions.
type Writer interface {
	// Run calls fn within a transaction and returns nil once it is durable. An error of fn rolls back what this fn did, and is
	// returned. Run may call fn again after the engine broke off an earlier try.
	Run(ctx context.Context, fn func(ctx context.Context, executor Executor) error) error
}

// Engine is a database that a [Store] stands on.
type Engine struct {
	Dialect Dialect
	// Reader runs statements that change nothing, outside of transactions.
	Reader Executor
	Writer Writer
	// DB is asked whether the database answers.
	DB *sql.DB
	// Migrations has connections whose statements may take long.
	Migrations *sql.DB
	// Close lets go of everything the engine holds.
	Close func() error
}

// Store is the registry's database. Its methods may be called from many goroutines.
type Store struct {
	Reader
	engine    Engine
	logger    *slog.Logger
	migrating sync.Mutex
	close     func() error
}

// Opener opens the configured database.
type Opener interface {
	// OpenDatabase opens the database without changing its schema: call [Store.Migrate] before anything else. dataDir is where
	// an embedded database puts its files.
	OpenDatabase(ctx context.Context, dataDir string, logger *slog.Logger) (*Store, error)
	// Identity is equal for equal settings and tells none of them.
	Identity() string
}

// Observer is told of every statement by its name, and of every transaction as "transaction". What it returns is called when
// the rows are read or the transaction has ended.
type Observer func(ctx context.Context, name string) (context.Context, func(err error))

// New returns a store on an engine. It is for the packages of engines.
func New(engine Engine, logger *slog.Logger) *Store {
	return &Store{
		Reader: Reader{shared: &shared{texts: engine.Dialect.texts(), words: engine.Dialect.replacer(), classify: engine.Dialect.Classify}, executor: engine.Reader},
		engine: engine,
		logger: logger,
		close:  sync.OnceValue(engine.Close),
	}
}

// Observe sets the observer. It is called before the store is used.
func (s *Store) Observe(observer Observer) { s.shared.observer = observer }

// Engine returns the name of the engine: "sqlite" or "postgres".
func (s *Store) Engine() string { return s.engine.Dialect.Name }

// Ping reports whether the database answers; the error is or wraps [ErrUnavailable] when it does not.
func (s *Store) Ping(ctx context.Context) error {
	if err := s.engine.DB.PingContext(ctx); err != nil {
		return fmt.Errorf("ping database: %w", s.shared.classify(err))
	}
	return nil
}

// Close waits for running transactions and closes the database. Called again it returns the same.
func (s *Store) Close() error {
	if err := s.close(); err != nil {
		return fmt.Errorf("close database: %w", err)
	}
	return nil
}

// transactionKey marks the context within a transaction.
type transactionKey struct{}

// errNested is a fault of the caller: on an engine with one writer it would wait for itself.
var errNested = errors.New("transaction within a transaction")

// Tx calls fn within a transaction and returns nil once its changes are durable. An error of fn rolls back and is returned as
// it is. fn may be called more than once, so it has no effects but on tx, and it does nothing slow: on SQLite everybody's
// writes wait for it.
func (s *Store) Tx(ctx context.Context, fn func(ctx context.Context, tx *Tx) error) (err error) {
	if ctx.Value(transactionKey{}) != nil {
		return errNested
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	ctx, done := s.shared.observe(ctx, "transaction")
	defer func() { done(err) }()
	if err = s.run(ctx, fn, false); errors.Is(err, errCrowded) {
		err = s.run(ctx, fn, true)
	}
	return err
}

// errCrowded says that a transaction has to begin anew.
var errCrowded = errors.New("others are using the rest of the quota")

// run runs a transaction once, or again after others were in its way; whole is what the transaction has of that name.
func (s *Store) run(ctx context.Context, fn func(ctx context.Context, tx *Tx) error, whole bool) error {
	err := s.engine.Writer.Run(context.WithValue(ctx, transactionKey{}, true), func(ctx context.Context, executor Executor) error {
		tx := &session{Executor: executor}
		defer func() { tx.fault = sql.ErrTxDone }()
		transaction := &Tx{Reader: Reader{shared: s.shared, executor: tx}, whole: whole, touched: make(map[int64]bool)}
		err := fn(ctx, transaction)
		if transaction.crowded {
			return errCrowded
		}
		if err != nil {
			return err
		}
		if err := transaction.settle(ctx); err != nil {
			return err
		}
		return tx.fault
	})
	if err != nil {
		return s.shared.kinded(err)
	}
	return nil
}

// Tx is a running transaction. It reads its own writes. Once the database has refused a statement, the transaction can only
// roll back, and all its methods return that error; finding no row is no refusal.
type Tx struct {
	Reader
	// chosen is the shard of usage that the transaction changes, nil before the first.
	chosen *int64
	// whole has it lock all shards of usage at once, and wait for them; crowded that it has to begin anew to do so.
	whole, crowded bool
	// released are bytes that projects no longer hold, by their ids.
	released map[int64]int64
	// touched are the repositories whose change has been noted.
	touched map[int64]bool
}

// session is a transaction's executor until the first fault. PostgreSQL refuses statements after a fault, so that SQLite must
// too: what works on the one has to work on the other.
type session struct {
	Executor
	fault error
}

// ExecContext implements [Executor].
func (s *session) ExecContext(ctx context.Context, text string, args ...any) (sql.Result, error) {
	if s.fault != nil {
		return nil, s.fault
	}
	return s.Executor.ExecContext(ctx, text, args...)
}

// QueryContext implements [Executor].
func (s *session) QueryContext(ctx context.Context, text string, args ...any) (*sql.Rows, error) {
	if s.fault != nil {
		return nil, s.fault
	}
	return s.Executor.QueryContext(ctx, text, args...)
}
