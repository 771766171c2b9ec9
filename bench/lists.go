package main

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/metadata/postgres"
	"github.com/berth-registry/berth/metadata/sqlite"
	"github.com/berth-registry/berth/oci"
)

// census is how much there is to list.
type census struct{ projects, repositories, tags, entries int }

func (c census) tenth() census {
	return census{c.projects / 10, c.repositories / 10, c.tags / 10, c.entries / 10}
}

func (c census) String() string {
	return fmt.Sprintf("%d projects, %d repositories, %d tags, %d audit entries", c.projects, c.repositories, c.tags, c.entries)
}

// artifacts is the list of the repository that has all tags, and tagsOfEach how many each artifact has.
const (
	artifacts  = "/projects/library/repositories/bench/artifacts"
	tagsOfEach = 10
)

// lists compares the pages of the API's lists in a small and in a large registry, on both databases.
func lists(b *bench) ([]finding, error) {
	small, large := census{100, 1_000, 1_000, 10_000}, census{1_000, 10_000, 50_000, 100_000}
	if b.large {
		small, large = census{1_000, 10_000, 100_000, 100_000}, census{10_000, 100_000, 1_000_000, 10_000_000}
	}
	var findings []finding
	for _, engine := range []string{"postgres", "sqlite"} {
		of := large
		if engine == "sqlite" {
			of = large.tenth()
		}
		found, err := b.listsOn(engine, small.tenth(), of)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", engine, err)
		}
		findings = append(findings, found...)
	}
	return findings, nil
}

func (b *bench) listsOn(engine string, small, large census) ([]finding, error) {
	first, err := b.counted(engine, small)
	if err != nil {
		return nil, err
	}
	defer first.stop()
	second, err := b.counted(engine, large)
	if err != nil {
		return nil, err
	}
	defer second.stop()
	middle := func(entries int) int { return max(1, entries/20) }
	pages := []struct {
		what string
		path func(c census) string
	}{
		{"projects, first page", func(census) string { return "/projects?page=1" }},
		{"projects, middle page", func(c census) string { return fmt.Sprintf("/projects?page=%d", middle(c.projects)) }},
		{"projects, filtered", func(census) string { return "/projects?q=name=~p00000" }},
		{"repositories, first page", func(census) string { return "/repositories?page=1" }},
		{"repositories, middle page", func(c census) string { return fmt.Sprintf("/repositories?page=%d", middle(c.repositories)) }},
		{"repositories of a project, first page", func(census) string { return "/projects/library/repositories?page=1" }},
		{"artifacts, first page with tags", func(census) string { return artifacts + "?page=1&with_tag=true" }},
		{"artifacts, middle page with tags", func(c census) string {
			return fmt.Sprintf("%s?page=%d&with_tag=true", artifacts, middle(c.tags/tagsOfEach))
		}},
		{"artifacts, filtered by tag", func(census) string { return artifacts + "?q=tags=seed-0000042&with_tag=true" }},
		{"tags of an artifact, first page", func(census) string { return artifacts + "/seed-0000001/tags?page=1" }},
		{"tags of an artifact, filtered", func(census) string { return artifacts + "/seed-0000001/tags?q=name=seed-0000002" }},
		{"audit log, first page", func(census) string { return "/auditlog-exts?page=1" }},
		{"audit log, middle page", func(c census) string { return fmt.Sprintf("/auditlog-exts?page=%d", middle(c.entries)) }},
		{"audit log, filtered by user", func(census) string { return "/auditlog-exts?q=username=user7" }},
	}
	var findings []finding
	for _, page := range pages {
		run := func(s *server, c census) func() (rate, error) {
			return func() (rate, error) {
				return b.hammer(s, 2, func(int64) error { return s.get(b.ctx, "/api/v2.0"+page.path(c)) })
			}
		}
		r, err := b.contest(run(first, small), run(second, large))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", page.what, err)
		}
		findings = append(findings, finding{
			what: engine + ": " + page.what, target: "flat (± 15 %) from " + small.String() + " to ten times and more",
			reached: fmt.Sprintf("%s × the small registry's speed (%.0f and %.0f /s)", ratio(r[1].perSecond, r[0].perSecond), r[1].perSecond, r[0].perSecond),
			met:     r[1].perSecond >= 0.85*r[0].perSecond,
		})
	}
	return findings, nil
}

// counted starts a Berth over a database with that much in it.
func (b *bench) counted(engine string, of census) (*server, error) {
	dir, err := os.MkdirTemp(b.dir, "counted-")
	if err != nil {
		return nil, err
	}
	options := berthOptions{dir: filepath.Join(dir, "data")}
	open := func(ctx context.Context) (*metadata.Store, error) {
		return sqlite.Open(ctx, filepath.Join(options.dir, "berth.db"), slog.New(slog.DiscardHandler))
	}
	stop := func() {}
	if engine == "postgres" {
		url, stopServer, err := b.startPostgres(dir)
		if err != nil {
			return nil, err
		}
		stop = stopServer
		options.env = []string{"BERTH_DATABASE_URL=" + url}
		open = func(context.Context) (*metadata.Store, error) {
			return postgres.Open(postgres.Options{URL: url}, slog.New(slog.DiscardHandler))
		}
	}
	s, err := b.filled(options, open, of)
	if err != nil {
		stop()
		return nil, err
	}
	s.after = stop
	return s, nil
}

func (b *bench) filled(options berthOptions, open func(context.Context) (*metadata.Store, error), of census) (*server, error) {
	first, err := b.startBerth(options)
	if err != nil {
		return nil, err
	}
	_, err = first.seed(b.ctx, "base")
	first.stop()
	if err != nil {
		return nil, err
	}
	log.Printf("filling in %s", of)
	store, err := open(b.ctx)
	if err != nil {
		return nil, err
	}
	err = fill(b.ctx, store, of)
	if closeErr := store.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return nil, fmt.Errorf("fill the database: %w", err)
	}
	s, err := b.startBerth(options)
	if err != nil {
		return nil, err
	}
	s.basic = true
	return s, nil
}

// fill writes rows by the metadata package itself, many in a transaction.
func fill(ctx context.Context, store *metadata.Store, of census) error {
	home, err := store.Repository(ctx, repository)
	if err != nil {
		return err
	}
	now := time.Now()
	projects := make([]int64, of.projects)
	if err := batches(ctx, store, of.projects, func(ctx context.Context, tx *metadata.Tx, i int) error {
		made, err := tx.CreateProject(ctx, metadata.Project{Name: fmt.Sprintf("p%07d", i)})
		projects[i] = made.ID
		return err
	}); err != nil {
		return err
	}
	if err := batches(ctx, store, of.repositories, func(ctx context.Context, tx *metadata.Tx, i int) error {
		in := i % of.projects
		_, err := tx.EnsureRepository(ctx, projects[in], oci.Repository(fmt.Sprintf("p%07d/r%07d", in, i)))
		return err
	}); err != nil {
		return err
	}
	if err := batches(ctx, store, of.tags/tagsOfEach, func(ctx context.Context, tx *metadata.Tx, i int) error {
		payload := manifestOf(fmt.Sprint("seed ", i), "", []byte("{}"))
		digest := oci.Digest(digestOf(payload))
		if _, _, err := tx.PutManifest(ctx, metadata.Manifest{
			RepositoryID: home.ID, Digest: digest, MediaType: manifestType, Payload: payload, Size: int64(len(payload)),
		}); err != nil {
			return err
		}
		for j := range tagsOfEach {
			if _, err := tx.PutTag(ctx, home.ID, fmt.Sprintf("seed-%07d", i*tagsOfEach+j), digest, now); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return err
	}
	const together = 2_000
	return batches(ctx, store, of.entries/together, func(ctx context.Context, tx *metadata.Tx, i int) error {
		entries := make([]metadata.AuditEntry, together)
		for j := range entries {
			n := i*together + j
			entries[j] = metadata.AuditEntry{
				ID: int64(1_000_000 + n), ProjectID: projects[n%of.projects], Operation: "pull", ResourceType: "artifact",
				Resource: "p" + strconv.Itoa(n%of.projects) + "/r:v1", Username: "user" + strconv.Itoa(n%1_000), Credential: "token",
				Succeeded: true, At: now.Add(time.Duration(n-of.entries) * time.Second),
			}
		}
		return tx.InsertAuditEntries(ctx, entries)
	})
}

// batches writes n rows, or groups of rows, many in a transaction.
func batches(ctx context.Context, store *metadata.Store, n int, write func(ctx context.Context, tx *metadata.Tx, i int) error) error {
	const batch = 1_000
	for from := 0; from < n; from += batch {
		err := store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
			for i := from; i < min(from+batch, n); i++ {
				if err := write(ctx, tx, i); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
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
		"-c", "shared_buffers=512MB", "-c", "max_wal_size=4GB")
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
