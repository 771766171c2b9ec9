package metadata

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/pressly/goose/v3"
)

// Dialect is what differs between engines.
type Dialect struct {
	// Name is the engine's name, and that of its folder of migrations.
	Name  string
	Goose goose.Dialect
	// Options, when set, returns what goose needs for one migration: PostgreSQL migrates under an advisory lock.
	Options func() ([]goose.ProviderOption, error)
	// Words replace the words in braces in statements; see statements for what each must stand for.
	Words map[string]string
	// Classify marks an error of the driver with the package's kinds; it leaves other errors as they are.
	Classify func(error) error
}

// statement is a named SQL text. It is one text for all engines but for words in braces:
//
//	{for update}     locks the selected rows until the end of the transaction
//	{for key share}  keeps the selected rows from being deleted until the end of the transaction
//	{skip locked}    the same, of those rows that nobody has locked
//	{folded}…{folded counts} around a number: how many changes of counts of lists were folded, at most as many; none where they are not noted
//	{fitted ranges}  how many ranges of lists were made, whose number is fitted to what they have; none where there are none
//	{locked}         a condition on a repository r, which holds once it is the turn of the transaction to have it alone, until its end
//	{kept for}…{tags} the same for who shares it with others, but for those with one of the strings of a JSON array, around its parameter
//	{elements}(…)    rows with one column, value: the objects of a JSON array
//	{texts}(…)       rows with one column, value: the strings of a JSON array
//	{any of}…{these} after a column and around a parameter: the column is one of the strings of a JSON array, each to be looked up
//	{any id of}…{these ids} the same of numbers, which the array has as strings
//	{contains}…{contained} after a column of an index of parts and around a parameter: the text has it in it, in whatever case
//	{contains low}…{contained} the same where the column has no capitals: PostgreSQL looks at each candidate in a sixth of the time
//	{json}           after a parameter that is given to one of these
//	{settled}        a condition on events that holds for those before which no other can appear any more
type statement struct {
	name  string
	text  string
	index int
}

// statements has every statement of the package, so that each engine's texts are made once.
var statements []*statement

// define names a statement.
func define(name, text string) *statement {
	s := &statement{name: name, text: text, index: len(statements)}
	statements = append(statements, s)
	return s
}

// texts returns the engine's texts by the index of their statement.
func (d Dialect) texts() []string {
	replacer := d.replacer()
	texts := make([]string, len(statements))
	for i, s := range statements {
		texts[i] = replacer.Replace(s.text)
	}
	return texts
}

// replacer puts the engine's words into a text.
func (d Dialect) replacer() *strings.Replacer {
	var pairs []string
	for word, replacement := range d.Words {
		pairs = append(pairs, "{"+word+"}", replacement)
	}
	return strings.NewReplacer(pairs...)
}

// shared is what the readers of one store have in common.
type shared struct {
	texts    []string
	words    *strings.Replacer
	classify func(error) error
	observer Observer
}

// kinded classifies an error that is not yet.
func (s *shared) kinded(err error) error {
	if classified(err) {
		return err
	}
	return s.classify(err)
}

func (s *shared) observe(ctx context.Context, name string) (context.Context, func(error)) {
	if s.observer == nil {
		return ctx, func(error) {}
	}
	return s.observer(ctx, name)
}

// Reader has the queries. It is part of [Store], where each sees what is committed, and of [Tx], where each also sees what the
// transaction has written.
type Reader struct {
	shared   *shared
	executor Executor
}

// row is what a scan function reads a row from.
type row interface{ Scan(dest ...any) error }

// fault gives an error of the driver its kind and the statement's name.
func (r Reader) fault(name string, err error) error {
	err = fmt.Errorf("%s: %w", name, r.shared.kinded(err))
	if tx, ok := r.executor.(*session); ok && tx.fault == nil {
		tx.fault = err
	}
	return err
}

// all returns the rows of a query.
func all[T any](ctx context.Context, r Reader, s *statement, scan func(row, *T) error, args ...any) (found []T, err error) {
	return collect(ctx, r, s.name, r.shared.texts[s.index], scan, args...)
}

// collect returns the rows of a text, which has a name for observers and errors.
func collect[T any](ctx context.Context, r Reader, name, text string, scan func(row, *T) error, args ...any) (found []T, err error) {
	ctx, done := r.shared.observe(ctx, name)
	defer func() { done(err) }()
	rows, err := r.executor.QueryContext(ctx, text, args...)
	if err != nil {
		return nil, r.fault(name, err)
	}
	defer rows.Close()
	for rows.Next() {
		var value T
		if err := scan(rows, &value); err != nil {
			return nil, r.fault(name, err)
		}
		found = append(found, value)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return nil, r.fault(name, err)
	}
	return found, nil
}

// one returns the first row of a query, or ErrNotFound.
func one[T any](ctx context.Context, r Reader, s *statement, scan func(row, *T) error, args ...any) (T, error) {
	found, err := all(ctx, r, s, scan, args...)
	if err != nil || len(found) == 0 {
		var zero T
		if err == nil {
			err = ErrNotFound
		}
		return zero, err
	}
	return found[0], nil
}

// value scans a row of one column.
func value[T any](r row, v *T) error { return r.Scan(v) }

// exec runs a statement and returns how many rows it changed.
func (t *Tx) exec(ctx context.Context, s *statement, args ...any) (changed int64, err error) {
	ctx, done := t.shared.observe(ctx, s.name)
	defer func() { done(err) }()
	result, err := t.executor.ExecContext(ctx, t.shared.texts[s.index], args...)
	if err != nil {
		return 0, t.fault(s.name, err)
	}
	changed, err = result.RowsAffected()
	if err != nil {
		return 0, t.fault(s.name, err)
	}
	return changed, nil
}

// execOne runs a statement that changes one row, and returns ErrNotFound when it changes none.
func (t *Tx) execOne(ctx context.Context, s *statement, args ...any) error {
	changed, err := t.exec(ctx, s, args...)
	if err == nil && changed == 0 {
		return ErrNotFound
	}
	return err
}

// limit is the number of rows of a page of n entries; all of them when n is negative.
func limit(n int) int64 {
	if n < 0 {
		return math.MaxInt64
	}
	return int64(n)
}

// micros is a time as it is stored; null when it is zero.
func micros(t time.Time) sql.NullInt64 {
	return sql.NullInt64{Int64: t.UnixMicro(), Valid: !t.IsZero()}
}

// moment scans a stored time.
type moment struct{ t *time.Time }

// Scan implements [sql.Scanner].
func (m moment) Scan(stored any) error {
	switch v := stored.(type) {
	case nil:
		*m.t = time.Time{}
	case int64:
		*m.t = time.UnixMicro(v).UTC()
	default:
		return fmt.Errorf("time is stored as %T", stored)
	}
	return nil
}

// now is the time of a write, as exact as it is stored.
func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }
