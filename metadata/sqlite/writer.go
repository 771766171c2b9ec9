package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"sync"

	"github.com/berth-registry/berth/metadata"
)

// maxBatch bounds how many transactions share one commit, and so how long the first of them waits for the last.
const maxBatch = 128

var (
	errClosed    = errors.New("database is closed")
	errAbandoned = errors.New("transaction was abandoned by a panic")
	errUndone    = errors.New("transaction was rolled back with those it shared a commit with")
)

// writer lets one transaction after the other use the one connection that writes, and makes those that are queued durable with
// one commit, since that costs a write to disk. Each runs in a savepoint of its own within the shared transaction, in the
// goroutine of its caller; the goroutine of the writer hands the connection around.
type writer struct {
	db    *sql.DB
	queue chan *turn

	stop    chan struct{}
	stopped chan struct{}
	once    sync.Once
	fault   error

	// conn and statements belong to the goroutine of the writer and to whose turn it is. conn is nil until it is needed.
	conn       *sql.Conn
	statements *prepared
}

// turn is one caller's transaction.
type turn struct {
	// begin is closed when it is the caller's turn; over receives what came of the function.
	begin chan struct{}
	over  chan error
	// result receives what is answered, after the commit.
	result chan error
	err    error
}

func newWriter(db *sql.DB) *writer {
	w := &writer{db: db, queue: make(chan *turn), stop: make(chan struct{}), stopped: make(chan struct{})}
	go w.loop()
	return w
}

// Run implements [metadata.Writer].
func (w *writer) Run(ctx context.Context, fn func(ctx context.Context, executor metadata.Executor) error) error {
	t := &turn{begin: make(chan struct{}), over: make(chan error, 1), result: make(chan error, 1)}
	select {
	case w.queue <- t:
	case <-ctx.Done():
		return ctx.Err()
	case <-w.stop:
		return metadata.Kind(metadata.ErrUnavailable, errClosed)
	}
	select {
	case <-t.begin:
	case err := <-t.result: // The shared transaction ended before this turn.
		return err
	}
	w.call(ctx, t, fn)
	return <-t.result
}

// call runs fn and ends the turn, also when fn panics or ends its goroutine.
func (w *writer) call(ctx context.Context, t *turn, fn func(ctx context.Context, executor metadata.Executor) error) {
	err := errAbandoned
	defer func() { t.over <- err }()
	err = fn(ctx, uninterrupted{w.statements})
}

// close ends the goroutine after the batch that is running.
func (w *writer) close() error {
	w.once.Do(func() { close(w.stop) })
	<-w.stopped
	return w.fault
}

func (w *writer) loop() {
	defer close(w.stopped)
	for {
		select {
		case first := <-w.queue:
			w.batch(first)
		case <-w.stop:
			w.fault = w.disconnect()
			return
		}
	}
}

// batch runs a transaction and all that wait behind it, commits, and answers.
func (w *writer) batch(first *turn) {
	if err := w.begin(); err != nil {
		first.result <- fmt.Errorf("begin transaction: %w", classify(err))
		return
	}
	turns := []*turn{first}
	fault := w.take(first)
	for fault == nil && len(turns) < maxBatch {
		next := w.queued()
		if next == nil {
			break
		}
		turns = append(turns, next)
		fault = w.take(next)
	}
	if fault == nil {
		fault = w.exec("COMMIT")
	}
	if fault != nil {
		w.abandon()
		fault = fmt.Errorf("%w: %w", errUndone, classify(fault))
	}
	for _, t := range turns {
		if t.err == nil {
			t.err = fault
		}
		t.result <- t.err
	}
}

// queued returns a transaction that waits already, or nil.
func (w *writer) queued() *turn {
	select {
	case t := <-w.queue:
		return t
	default:
		return nil
	}
}

// take gives a caller its turn. The error is a fault of the shared transaction; what the caller's function returned is kept in
// the turn.
func (w *writer) take(t *turn) error {
	if err := w.exec("SAVEPOINT turn"); err != nil {
		return err
	}
	close(t.begin)
	t.err = <-t.over
	if t.err == nil {
		return w.exec("RELEASE turn")
	}
	// A fault of the file, as when the disk is full, has ended the whole transaction by itself; then there is no savepoint.
	if err := w.exec("ROLLBACK TO turn"); err != nil {
		return errors.Join(t.err, err)
	}
	return w.exec("RELEASE turn")
}

// begin starts a transaction that holds the lock to write from the start.
func (w *writer) begin() error {
	if w.conn == nil {
		conn, err := w.db.Conn(context.Background())
		if err != nil {
			return err
		}
		w.conn, w.statements = conn, newPrepared(conn)
	}
	if err := w.exec("BEGIN IMMEDIATE"); err != nil {
		return errors.Join(err, w.disconnect())
	}
	return nil
}

// abandon rolls back what is left of a transaction that went wrong.
func (w *writer) abandon() {
	if err := w.exec("ROLLBACK"); err != nil {
		// Nobody knows what state the connection is in, or SQLite has rolled back by itself: the next batch gets a fresh one.
		_ = w.disconnect()
	}
}

// disconnect closes the connection, and does not leave it in the pool.
func (w *writer) disconnect() error {
	if w.conn == nil {
		return nil
	}
	err := w.statements.close()
	if bad := w.conn.Raw(func(any) error { return driver.ErrBadConn }); !errors.Is(bad, driver.ErrBadConn) {
		err = errors.Join(err, bad)
	}
	w.conn, w.statements = nil, nil
	return err
}

func (w *writer) exec(text string) error {
	_, err := w.statements.ExecContext(context.Background(), text)
	return err
}

// uninterrupted runs statements to their end. Interrupting one that writes would roll back the transaction of everybody who
// shares it, so a context that is done is seen between statements.
type uninterrupted struct{ statements *prepared }

// ExecContext implements [metadata.Executor].
func (u uninterrupted) ExecContext(ctx context.Context, text string, args ...any) (sql.Result, error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return u.statements.ExecContext(context.WithoutCancel(ctx), text, args...)
}

// QueryContext implements [metadata.Executor].
func (u uninterrupted) QueryContext(ctx context.Context, text string, args ...any) (*sql.Rows, error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return u.statements.QueryContext(context.WithoutCancel(ctx), text, args...)
}
