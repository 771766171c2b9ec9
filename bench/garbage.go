package main

import (
	"context"
	"crypto/sha256"
	"database/sql"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/berth-registry/berth/pause"
	"github.com/berth-registry/berth/storage"
)

// hoard is a registry with garbage in it, which is in all of its repositories.
type hoard struct{ blobs, garbage, repositories int }

func (h hoard) String() string { return fmt.Sprintf("%d of %d blobs", h.garbage, h.blobs) }

// collected is what a garbage collection has cost.
type collected struct {
	// forgetting is how long the collection itself took, deleting how long the bytes took after it, in seconds.
	forgetting, deleting float64
	// cpu is the server's CPU seconds for both, peak the most memory it ever had, in MiB.
	cpu, peak float64
}

// caches is how much more memory a large database may take, in MiB: SQLite keeps up to 32 MiB of pages for each of its few connections.
const caches = 64

// blobSize is that of the files of a hoard, in bytes.
const blobSize = 1 << 10

// collections compares collections of much and of little garbage, among many and among few blobs, whose bytes really are there.
func collections(b *bench) ([]finding, error) {
	n := 100_000
	if b.large {
		n = 1_000_000
	}
	var findings []finding
	for _, engine := range []string{"sqlite", "postgres"} {
		// Each collection has a server of its own, that has just been started.
		few, err := b.collectAll(engine, []hoard{{n / 10, n / 100, n / 1000}})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", engine, err)
		}
		many, err := b.collectAll(engine, []hoard{{n + n/100, n / 100, n / 1000}, {n, n / 10, n / 1000}})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", engine, err)
		}
		findings = append(findings, compareCollections(engine, n, few[0], many[0], many[1])...)
	}
	return findings, nil
}

// compareCollections compares little garbage among few blobs with little and much among many.
func compareCollections(engine string, n int, few, many, much collected) []finding {
	of := func(c collected) float64 { return c.forgetting + c.deleting }
	seconds := func(c collected) string {
		return fmt.Sprintf("%.1f s and %.1f s for the bytes, %.1f CPU s, peak %.0f MiB", c.forgetting, c.deleting, c.cpu, c.peak)
	}
	little, more, most := hoard{blobs: n / 10, garbage: n / 100}, hoard{blobs: n, garbage: n / 100}, hoard{blobs: n, garbage: n / 10}
	return []finding{
		{fmt.Sprintf("%s: collect %s", engine, little), "", seconds(few), true},
		{
			fmt.Sprintf("%s: collect %s", engine, more), "time: ≤ 1.5 × that of a tenth of the blobs; memory: ≤ + 64 MiB",
			fmt.Sprintf("%.2f × the time, %+.0f MiB: %s", of(many)/of(few), many.peak-few.peak, seconds(many)),
			of(many) <= 1.5*of(few) && many.peak <= few.peak+caches,
		},
		{
			fmt.Sprintf("%s: collect %s", engine, most), "time: ≤ 12 × that of a tenth of the garbage; memory: ≤ + 64 MiB",
			fmt.Sprintf("%.1f × the time, %+.0f MiB: %s", of(much)/of(many), much.peak-many.peak, seconds(much)),
			of(much) <= 12*of(many) && much.peak <= many.peak+caches,
		},
	}
}

// collectAll fills a registry for the first hoard, and collects the garbage of each in turn, each of which is what the one before leaves.
func (b *bench) collectAll(engine string, hoards []hoard) ([]collected, error) {
	dir, err := os.MkdirTemp(b.dir, "garbage-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir) // a million files
	options := berthOptions{dir: filepath.Join(dir, "data")}
	driver, source := "sqlite", "file:"+filepath.Join(options.dir, "berth.db")+"?_pragma=busy_timeout(10000)"
	if engine == "postgres" {
		url, stop, err := b.startPostgres(dir)
		if err != nil {
			return nil, err
		}
		defer stop()
		options.env = []string{"BERTH_DATABASE_URL=" + url}
		driver, source = "pgx", url
	}
	first, err := b.startBerth(options)
	if err != nil {
		return nil, err
	}
	_, err = first.seed(b.ctx, "base")
	first.stop()
	if err != nil {
		return nil, err
	}
	db, err := sql.Open(driver, source)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	db.SetMaxOpenConns(1) // settings are those of a connection
	garbage := 0
	for _, h := range hoards {
		garbage += h.garbage
	}
	began := time.Now().Add(-24 * time.Hour * 365).UnixMicro()
	log.Printf("%s: filling in %d blobs", engine, hoards[0].blobs)
	whole := hoard{hoards[0].blobs, garbage, hoards[0].repositories}
	if err := b.hoard(db, driver, filepath.Join(options.dir, "storage", "blobs"), whole, began); err != nil {
		return nil, fmt.Errorf("fill in blobs: %w", err)
	}
	var all []collected
	for _, h := range hoards {
		log.Printf("%s: collecting %s", engine, h)
		c, err := b.collect(db, options, h, began)
		if err != nil {
			return nil, fmt.Errorf("collect %s: %w", h, err)
		}
		all = append(all, c)
	}
	return all, nil
}

//go:embed garbage.sql
var garbageText string

// hoard writes the files of blobs and the rows that name them, the last of them garbage.
func (b *bench) hoard(db *sql.DB, driver, directory string, h hoard, began int64) error {
	before, after, bytes, array := "PRAGMA foreign_keys = OFF", "PRAGMA wal_checkpoint(TRUNCATE)", "BLOB", "SELECT value, key FROM json_each($1)"
	if driver == "pgx" {
		before, after, bytes = "SET session_replication_role = replica", "VACUUM ANALYZE", "BYTEA" // no triggers
		array = "SELECT value, ordinality - 1 FROM jsonb_array_elements_text(CAST($1 AS JSONB)) WITH ORDINALITY AS a(value, ordinality)"
	}
	if _, err := db.ExecContext(b.ctx, before); err != nil {
		return err
	}
	insert := `INSERT INTO blobs (digest, size, storage_key, created_at)
		SELECT SUBSTR(value, 1, 71), ` + strconv.Itoa(blobSize) + `, SUBSTR(value, 73), CAST($2 AS BIGINT) + i FROM (` + strings.Replace(array, " FROM", " AS i FROM", 1) + `) AS k`
	const batch = 10_000
	content := make([]byte, blobSize)
	for i := range 256 {
		if err := os.MkdirAll(filepath.Join(directory, fmt.Sprintf("%02x", i)), 0o755); err != nil {
			return err
		}
	}
	for from := 0; from < h.blobs; from += batch {
		var names []string
		for i := from; i < min(from+batch, h.blobs); i++ {
			copy(content, strconv.Itoa(i)+"\n")
			key, err := storage.NewKey()
			if err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(directory, filepath.FromSlash(key)), content, 0o644); err != nil { //nolint:gosec // nothing in it
				return err
			}
			sum := sha256.Sum256(content)
			names = append(names, "sha256:"+hex.EncodeToString(sum[:])+" "+key)
		}
		list, err := json.Marshal(names)
		if err != nil {
			return err
		}
		if _, err := db.ExecContext(b.ctx, insert, string(list), began+int64(from)); err != nil {
			return err
		}
	}
	var library int64
	if err := db.QueryRowContext(b.ctx, "SELECT id FROM projects WHERE name = 'library'").Scan(&library); err != nil {
		return err
	}
	text := strings.NewReplacer("{{", "{", "}}", "}", "{library}", fmt.Sprint(library), "{now}", fmt.Sprint(began), "{bytes}", bytes, "{blobs}", strconv.Itoa(h.blobs),
		"{garbage}", strconv.Itoa(h.garbage), "{repositories}", strconv.Itoa(h.repositories)).Replace(garbageText)
	for statement := range strings.SplitSeq(text+";\n"+after, ";\n") {
		if _, err := db.ExecContext(b.ctx, statement); err != nil {
			return fmt.Errorf("%.60s: %w", strings.TrimSpace(statement), err)
		}
	}
	return nil
}

// collect has a new server collect the last garbage of the hoard, as after the deletion of its manifests one by one, and delete the bytes.
func (b *bench) collect(db *sql.DB, options berthOptions, h hoard, began int64) (c collected, err error) {
	if _, err := db.ExecContext(b.ctx, `
		INSERT INTO blob_reviews (repository_id, digest, since)
		WITH b(i, digest) AS (SELECT created_at - $1, digest FROM blobs WHERE created_at >= $1 + $2)
		SELECT 1000 + i % $3, digest, $1 + i / (10 * $3) * $3 + i % $3 FROM b`, began, h.blobs-h.garbage, h.repositories); err != nil {
		return c, err
	}
	s, err := b.startBerth(options)
	if err != nil {
		return c, err
	}
	defer s.stop()
	s.user = administratorName
	cpu, started := s.cpu(), time.Now()
	if err := s.collectGarbage(b.ctx, h.garbage); err != nil {
		return c, err
	}
	c.forgetting = time.Since(started).Seconds()
	// As if the time had passed after which no reader can still be there; the next sweep comes within a minute.
	if _, err := db.ExecContext(b.ctx, "UPDATE tombstones SET created_at = created_at - 3600000000"); err != nil {
		return c, err
	}
	if err := waitForRows(b.ctx, db, "SELECT COUNT(*) FROM tombstones", func(n int) bool { return n < h.garbage }); err != nil {
		return c, err
	}
	swept := time.Now()
	if err := waitForRows(b.ctx, db, "SELECT COUNT(*) FROM tombstones", func(n int) bool { return n == 0 }); err != nil {
		return c, err
	}
	c.deleting, c.cpu, c.peak = time.Since(swept).Seconds(), s.cpu()-cpu, s.peak()
	return c, b.compareFiles(db, filepath.Join(options.dir, "storage", "blobs"))
}

// compareFiles returns an error unless there are as many files as blobs.
func (b *bench) compareFiles(db *sql.DB, directory string) error {
	var blobs, files int
	if err := db.QueryRowContext(b.ctx, "SELECT COUNT(*) FROM blobs").Scan(&blobs); err != nil {
		return err
	}
	err := filepath.WalkDir(directory, func(_ string, entry os.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			files++
		}
		return err
	})
	if err == nil && files != blobs {
		err = fmt.Errorf("%d files are there for %d blobs", files, blobs)
	}
	return err
}

// collectGarbage collects and returns when it has ended; it is an error when it has freed another number of blobs.
func (s *server) collectGarbage(ctx context.Context, garbage int) error {
	wanted := `{"schedule":{"type":"Manual"},"parameters":{"time_window":0,"reconcile":false}}`
	response, err := s.do(ctx, http.MethodPost, "/api/v2.0/system/gc/schedule", strings.NewReader(wanted), int64(len(wanted)),
		http.Header{"Content-Type": {"application/json"}}, http.StatusCreated)
	if err != nil {
		return err
	}
	for {
		var history struct {
			Status     string `json:"job_status"`
			Parameters string `json:"job_parameters"`
		}
		if err := s.fetchJSON(ctx, response.Header.Get("Location"), &history); err != nil {
			return err
		}
		switch history.Status {
		case "Success":
			var outcome struct {
				Blobs int `json:"purged_blobs"`
			}
			if err := json.Unmarshal([]byte(history.Parameters), &outcome); err != nil {
				return err
			}
			if outcome.Blobs != garbage {
				return fmt.Errorf("%d blobs were freed instead of %d", outcome.Blobs, garbage)
			}
			return nil
		case "Error", "Stopped":
			return fmt.Errorf("the collection ended with %s", history.Status)
		}
		if err := pause.For(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

// fetchJSON reads what the server answers at a path.
func (s *server) fetchJSON(ctx context.Context, path string, into any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base+path, nil)
	if err != nil {
		return err
	}
	request.SetBasicAuth("admin", password)
	response, err := s.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s answered %s", path, response.Status)
	}
	return json.NewDecoder(response.Body).Decode(into)
}

// waitForRows waits until a count of rows is as it should be.
func waitForRows(ctx context.Context, db *sql.DB, query string, done func(int) bool) error {
	for n := 0; ; {
		if err := db.QueryRowContext(ctx, query).Scan(&n); err != nil || done(n) {
			return err
		}
		if err := pause.For(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}
