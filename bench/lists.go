package main

import (
	"context"
	"database/sql"
	_ "embed"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/berth-registry/berth/metadata/postgres"
)

// census is how much there is to list.
type census struct{ projects, repositories, tags, entries int }

func (c census) over(n int) census {
	return census{c.projects / n, c.repositories / n, c.tags / n, c.entries / n}
}

func (c census) String() string {
	return fmt.Sprintf("%d projects, %d repositories, %d tags, %d audit entries", c.projects, c.repositories, c.tags, c.entries)
}

// tagsOfEach is how many tags each artifact has.
const tagsOfEach = 10

// What a page of a list may take in the large registry: slow in any case, and times as much as in the small one; faster than quick,
// noise decides how many times that is. The small one is a tenth, in which the work of filters mostly ends at [metadata.FilteredTotal]
// rows as it does in the large one; what grows with the table is seen when it takes as much as what stays the same.
const (
	slow  = 10 * time.Millisecond
	times = 1.8
	quick = 2 * time.Millisecond
	part  = 10
)

// lists compares the pages of the API's lists in a registry and in one of some times the size, on both databases.
func lists(b *bench) ([]finding, error) {
	of := census{1_000, 10_000, 100_000, 1_000_000}
	if b.large {
		of = census{10_000, 100_000, 1_000_000, 10_000_000}
	}
	var findings []finding
	for _, engine := range []string{"postgres", "sqlite"} {
		if engine == "sqlite" {
			of = of.over(10)
		}
		found, err := b.listsOn(engine, of)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", engine, err)
		}
		findings = append(findings, found...)
	}
	return findings, nil
}

func (b *bench) listsOn(engine string, of census) ([]finding, error) {
	small, err := b.counted(engine, of.over(part))
	if err != nil {
		return nil, err
	}
	defer small.stop()
	large, err := b.counted(engine, of)
	if err != nil {
		return nil, err
	}
	defer large.stop()
	findings := []finding{{what: engine, target: "from a tenth", reached: of.String(), met: true}}
	for _, l := range listsOf() {
		for _, page := range l.pages() {
			reached, met, err := b.comparePages(small, large, of, page)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", page.what, err)
			}
			findings = append(findings, finding{
				what: engine + ": " + page.what, target: fmt.Sprintf("≤ %v, and ≤ %v × or ≤ %v", slow, times, quick), reached: reached, met: met,
			})
		}
	}
	return findings, nil
}

// comparePages measures a page in the small and the large registry, a few times where it seems to be missed: what is noise does not come
// each time.
func (b *bench) comparePages(small, large *server, of census, page listPage) (reached string, met bool, err error) {
	const measurements = 3
	var before, after time.Duration
	for i := 0; i < measurements && !met; i++ {
		first, second, err := b.timePages(small, large, of, page, i)
		if err != nil {
			return "", false, err
		}
		if i == 0 || second < after {
			after = second
		}
		if i == 0 || first < before {
			before = first
		}
		met = after <= slow && (float64(after) <= times*float64(before) || after <= quick)
	}
	return fmt.Sprintf("%.1f ms (%.1f × the tenth's)", after.Seconds()*1e3, float64(after)/float64(before)), met, nil
}

// timePages returns the medians of fetching pages of the small and the large registry in turns, never the same one twice where there
// are others.
func (b *bench) timePages(small, large *server, of census, page listPage, measurement int) (before, after time.Duration, err error) {
	const warmUp, rounds = 3, 31
	var took [2][]float64
	for i := range warmUp + rounds {
		for j, s := range []*server{small, large} {
			size := of
			if j == 0 {
				size = of.over(part)
			}
			began := time.Now()
			if err := s.read(b.ctx, page.path(size, measurement*(warmUp+rounds)+i), page.by); err != nil {
				return 0, 0, err
			}
			if i >= warmUp {
				took[j] = append(took[j], float64(time.Since(began)))
			}
		}
	}
	return time.Duration(median(took[0])), time.Duration(median(took[1])), nil
}

// read fetches a page.
func (s *server) read(ctx context.Context, path string, by viewer) error {
	as := *s
	switch by {
	case nobody:
		as.user, as.token = "", ""
	case reader:
		as.user = readerName
	}
	_, err := as.do(ctx, http.MethodGet, path, nil, 0, nil, http.StatusOK)
	return err
}

// counted starts a Berth over a database with that much in it.
func (b *bench) counted(engine string, of census) (*server, error) {
	dir, err := os.MkdirTemp(b.dir, "counted-")
	if err != nil {
		return nil, err
	}
	options := berthOptions{dir: filepath.Join(dir, "data")}
	driver, source := "sqlite", filepath.Join(options.dir, "berth.db")
	stop := func() {}
	if engine == "postgres" {
		url, stopServer, err := b.startPostgres(dir)
		if err != nil {
			return nil, err
		}
		stop = stopServer
		options.env = []string{"BERTH_DATABASE_URL=" + url}
		driver, source = "pgx", url
	}
	s, err := b.filled(options, driver, source, of)
	if err != nil {
		stop()
		return nil, err
	}
	s.after = stop
	return s, nil
}

func (b *bench) filled(options berthOptions, driver, source string, of census) (*server, error) {
	first, err := b.startBerth(options)
	if err != nil {
		return nil, err
	}
	_, err = first.seed(b.ctx, "base")
	if err == nil {
		err = first.addReader(b.ctx)
	}
	first.stop()
	if err != nil {
		return nil, err
	}
	log.Printf("filling in %s", of)
	if err := fill(b.ctx, driver, source, of); err != nil {
		return nil, fmt.Errorf("fill the database: %w", err)
	}
	s, err := b.startBerth(options)
	if err != nil {
		return nil, err
	}
	s.user = administratorName
	return s, nil
}

// The people who ask for pages; both have the same password.
const (
	administratorName = "admin"
	readerName        = "reader"
)

// addReader adds the user of that name and makes them a guest of the project library.
func (s *server) addReader(ctx context.Context) error {
	as := *s
	as.user = administratorName
	for _, call := range [][2]string{
		{"/api/v2.0/users", `{"username":"reader","email":"reader@example.org","realname":"Reader","password":"` + password + `"}`},
		{"/api/v2.0/projects/library/members", `{"role_id":3,"member_user":{"username":"reader"}}`},
	} {
		header := http.Header{"Content-Type": {"application/json"}}
		if _, err := as.do(ctx, http.MethodPost, call[0], strings.NewReader(call[1]), int64(len(call[1])), header, http.StatusCreated); err != nil {
			return err
		}
	}
	return nil
}

//go:embed fill.sql
var fillText string

// fill writes the rows, each table's by one statement: millions of them would take hours by the front door. Indexes are made anew
// afterwards, which is a tenth of the work of keeping them.
func fill(ctx context.Context, driver, source string, of census) error {
	db, err := sql.Open(driver, source)
	if err != nil {
		return err
	}
	defer db.Close()
	db.SetMaxOpenConns(1) // settings are those of a connection
	before := []string{"PRAGMA foreign_keys = OFF", "PRAGMA synchronous = OFF", "PRAGMA cache_size = -200000"}
	after, bytes := []string{"ANALYZE"}, "BLOB"
	indexes := "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql LIKE 'CREATE INDEX%'"
	if driver == "pgx" { // the first keeps triggers and foreign keys from being looked at
		before = []string{"SET session_replication_role = replica", "SET synchronous_commit = off", "SET maintenance_work_mem = '512MB'", "SET work_mem = '256MB'"}
		after, bytes = []string{"SELECT fit_list_ranges()", "VACUUM ANALYZE"}, "BYTEA"
		indexes = "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' AND indexdef LIKE 'CREATE INDEX%'"
	}
	numbers := map[string]any{
		"projects": of.projects, "repositories": of.repositories, "tags": of.tags, "artifacts": of.tags / tagsOfEach, "entries": of.entries,
		"now": time.Now().Add(-time.Hour * 24 * 365).UnixMicro(), "bytes": bytes,
	}
	for name, query := range map[string]string{
		"library": "SELECT id FROM projects WHERE name = 'library'", "repository": "SELECT id FROM repositories WHERE name = '" + repository + "'",
	} {
		var id int64
		if err := db.QueryRowContext(ctx, query).Scan(&id); err != nil {
			return fmt.Errorf("id of %s: %w", name, err)
		}
		numbers[name] = id
	}
	pairs := []string{"{{", "{", "}}", "}"}
	for name, number := range numbers {
		pairs = append(pairs, "{"+name+"}", fmt.Sprint(number))
	}
	drop, create, err := indexesOf(ctx, db, indexes)
	if err != nil {
		return err
	}
	// Between rows and counts the indexes are there again.
	rows, counts, _ := strings.Cut(strings.NewReplacer(pairs...).Replace(fillText), "-- Counts.\n")
	statements := slices.Concat(before, drop, strings.Split(rows, ";\n"), create, strings.Split(counts, ";\n"), after)
	for _, statement := range statements {
		if strings.TrimSpace(statement) == "" {
			continue
		}
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("%.60s: %w", strings.TrimSpace(statement), err)
		}
	}
	return nil
}

// indexesOf returns the statements that drop the indexes which a query names, and those that make them.
func indexesOf(ctx context.Context, db *sql.DB, query string) (drop, create []string, err error) {
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var name, text string
		if err := rows.Scan(&name, &text); err != nil {
			return nil, nil, err
		}
		drop, create = append(drop, "DROP INDEX "+name), append(create, text)
	}
	return drop, create, rows.Err()
}

// startPostgres starts a PostgreSQL server with a directory of its own and returns its URL.
func (b *bench) startPostgres(dir string) (string, func(), error) {
	port, err := freePort()
	if err != nil {
		return "", nil, err
	}
	cluster := filepath.Join(dir, "cluster")
	for _, way := range []string{b.dir, dir} { // PostgreSQL runs as another user and has to get through
		if err := os.Chmod(way, 0o711); err != nil { //nolint:gosec // as above
			return "", nil, err
		}
	}
	if err := os.MkdirAll(cluster, 0o700); err != nil {
		return "", nil, err
	}
	run := func(name string, arguments ...string) *exec.Cmd {
		if os.Getuid() != 0 {
			return exec.CommandContext(b.ctx, name, arguments...)
		}
		return exec.CommandContext(b.ctx, "setpriv", append([]string{"--reuid=nobody", "--regid=nogroup", "--clear-groups", name}, arguments...)...)
	}
	if os.Getuid() == 0 {
		if said, err := exec.CommandContext(b.ctx, "chown", "-R", "nobody:nogroup", cluster).CombinedOutput(); err != nil {
			return "", nil, fmt.Errorf("%w: %s", err, said)
		}
	}
	if said, err := run("initdb", "-D", cluster, "-A", "trust", "-U", "berth", "--no-sync").CombinedOutput(); err != nil {
		return "", nil, fmt.Errorf("initdb: %w: %s", err, said)
	}
	server := run("postgres", "-D", cluster, "-p", strconv.Itoa(port), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
		"-c", "shared_buffers=512MB", "-c", "max_wal_size=4GB", "-c", "wal_level=minimal", "-c", "max_wal_senders=0")
	if err := server.Start(); err != nil {
		return "", nil, fmt.Errorf("start postgres: %w", err)
	}
	stop := func() {
		_ = server.Process.Signal(os.Interrupt)
		_ = server.Wait()
	}
	url := fmt.Sprintf("postgres://berth@127.0.0.1:%d/postgres?sslmode=disable", port)
	for range 200 {
		store, err := postgres.Open(postgres.Options{URL: url}, slog.New(slog.DiscardHandler))
		if err == nil {
			err = store.Ping(b.ctx)
			_ = store.Close()
		}
		if err == nil {
			return url, stop, nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	stop()
	return "", nil, fmt.Errorf("postgres does not answer at %s", url)
}
