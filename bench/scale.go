package main

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/metadata/sqlite"
	"github.com/berth-registry/berth/oci"
)

// scale compares lists and tag writes in a small and in a large registry.
func scale(b *bench) ([]finding, error) {
	small, err := b.seeded(200, 200, 200) // enough for whole pages
	if err != nil {
		return nil, err
	}
	defer small.stop()
	large, err := b.seededLarge()
	if err != nil {
		return nil, err
	}
	defer large.stop()
	subject := digestOf([]byte("subject"))
	payload := func(s *server) ([]byte, error) {
		config, layer := []byte(`{"architecture":"amd64","os":"linux"}`), []byte("layer of base")
		_, err := s.seed(b.ctx, "base")
		return manifestOf("base", "", config, layer), err
	}
	works := []struct {
		what string
		work func(s *server, manifest []byte, n int64) error
	}{
		{"manifest GET by tag", func(s *server, _ []byte, _ int64) error {
			return s.get(b.ctx, "/v2/"+repository+"/manifests/base")
		}},
		{"tag PUT", func(s *server, manifest []byte, n int64) error {
			return s.putManifest(b.ctx, fmt.Sprintf("new-%d-%d", time.Now().UnixNano(), n), manifest)
		}},
		{"tag page of 100", func(s *server, _ []byte, _ int64) error {
			return s.get(b.ctx, "/v2/"+repository+"/tags/list?n=100&last=seed-0000003")
		}},
		{"catalog page of 100", func(s *server, _ []byte, _ int64) error { return s.catalog(b.ctx) }},
		{"referrers page of 100", func(s *server, _ []byte, _ int64) error {
			return s.get(b.ctx, "/v2/"+repository+"/referrers/"+subject+"?n=100")
		}},
	}
	var findings []finding
	for _, w := range works {
		run := func(s *server) (func() (rate, error), error) {
			manifest, err := payload(s)
			return func() (rate, error) {
				return b.hammer(s, 2, func(n int64) error { return w.work(s, manifest, n) })
			}, err
		}
		onSmall, err := run(small)
		if err != nil {
			return nil, err
		}
		onLarge, err := run(large)
		if err != nil {
			return nil, err
		}
		r, err := b.contest(onSmall, onLarge)
		if err != nil {
			return nil, err
		}
		findings = append(findings, finding{
			what: w.what, target: "flat (± 15 %) from 200 to " + b.scaleName(),
			reached: fmt.Sprintf("%s × the small registry's speed (%.0f and %.0f /s)", ratio(r[1].perSecond, r[0].perSecond), r[1].perSecond, r[0].perSecond),
			met:     r[1].perSecond >= 0.85*r[0].perSecond,
		})
		if strings.HasSuffix(w.what, "page of 100") {
			findings = append(findings, finding{
				what: w.what + ", " + b.scaleName(), target: "≥ 1,000 pages/s per core",
				reached: fmt.Sprintf("%.0f pages for a CPU second", 1000/r[1].cpu), met: r[1].cpu <= 1,
			})
		}
	}
	return findings, nil
}

func (b *bench) scaleName() string {
	if b.large {
		return "1,000,000 tags and 100,000 repositories"
	}
	return "10,000 tags and 1,000 repositories"
}

func (b *bench) seededLarge() (*server, error) {
	if b.large {
		return b.seeded(1_000_000, 100_000, 1_000)
	}
	return b.seeded(10_000, 1_000, 1_000)
}

// catalog fetches one page in the middle of the catalog.
func (s *server) catalog(ctx context.Context) error {
	_, err := s.do(ctx, http.MethodGet, "/v2/_catalog?n=100&last=library/repository-0000003", nil, 0, nil, http.StatusOK)
	return err
}

// seeded starts a Berth whose database was filled while nothing ran: tags and referrers of one repository, and repositories.
func (b *bench) seeded(tags, repositories, referrers int) (*server, error) {
	dir := filepath.Join(b.dir, fmt.Sprintf("seeded-%d", tags))
	first, err := b.startBerth(berthOptions{dir: dir})
	if err != nil {
		return nil, err
	}
	digest, err := first.seed(b.ctx, "base")
	first.stop()
	if err != nil {
		return nil, err
	}
	log.Printf("seeding %d tags, %d repositories", tags, repositories)
	if err := seedDatabase(b.ctx, filepath.Join(dir, "berth.db"), oci.Digest(digest), tags, repositories, referrers); err != nil {
		return nil, err
	}
	s, err := b.startBerth(berthOptions{dir: dir})
	if err != nil {
		return nil, err
	}
	s.token, err = s.fetchToken("repository:" + repository + ":pull,push,delete&scope=registry:catalog:*")
	return s, err
}

func seedDatabase(ctx context.Context, path string, digest oci.Digest, tags, repositories, referrers int) error {
	store, err := sqlite.Open(ctx, path, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer store.Close()
	home, err := store.Repository(ctx, repository)
	if err != nil {
		return err
	}
	now := time.Now()
	if err := batches(ctx, store, tags, func(ctx context.Context, tx *metadata.Tx, i int) error {
		_, err := tx.PutTag(ctx, home.ID, fmt.Sprintf("seed-%07d", i), digest, now)
		return err
	}); err != nil {
		return fmt.Errorf("seed tags: %w", err)
	}
	if err := batches(ctx, store, repositories, func(ctx context.Context, tx *metadata.Tx, i int) error {
		_, err := tx.EnsureRepository(ctx, home.ProjectID, oci.Repository(fmt.Sprintf("library/repository-%07d", i)))
		return err
	}); err != nil {
		return fmt.Errorf("seed repositories: %w", err)
	}
	subject := oci.Digest(digestOf([]byte("subject")))
	return batches(ctx, store, referrers, func(ctx context.Context, tx *metadata.Tx, i int) error {
		payload := manifestOf(fmt.Sprint(i), subject.String(), []byte("{}"))
		_, _, err := tx.PutManifest(ctx, metadata.Manifest{
			RepositoryID: home.ID, Digest: oci.Digest(digestOf(payload)), MediaType: manifestType, ArtifactType: "application/x",
			Subject: subject, Payload: payload, Size: int64(len(payload)), CreatedAt: now,
		})
		return err
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

// start measures the time from exec to the first answer over a large database.
func start(b *bench) ([]finding, error) {
	s, err := b.seededLarge()
	if err != nil {
		return nil, err
	}
	dir := filepath.Dir(lastArgument(s, "--config"))
	s.stop()
	var seconds []float64
	var idle float64
	for range b.rounds {
		began := time.Now()
		s, err := b.startBerth(berthOptions{dir: dir})
		if err != nil {
			return nil, err
		}
		seconds = append(seconds, time.Since(began).Seconds())
		idle = s.memory()
		s.stop()
	}
	m := median(seconds)
	return []finding{
		{"start to first token, " + b.scaleName(), "≤ 1 s", fmt.Sprintf("%.2f s", m), m <= 1},
		{"resident memory after the start", "≤ 90 MiB", fmt.Sprintf("%.0f MiB", idle), idle <= 90},
	}, nil
}

func lastArgument(s *server, flag string) string {
	for i, argument := range s.cmd.Args {
		if argument == flag {
			return s.cmd.Args[i+1]
		}
	}
	return ""
}

// memory pushes 64 blobs at once, on a directory and on S3.
func memory(b *bench) ([]finding, error) {
	s3, err := b.startS3()
	if err != nil {
		return nil, err
	}
	defer s3.stop()
	var findings []finding
	for _, stack := range []struct {
		name    string
		options berthOptions
		perPush float64 // MiB
	}{
		{"a directory", berthOptions{}, 1},
		{"S3", berthOptions{storage: berthOnS3(s3.base, "off"), env: []string{"BENCH_S3_KEY=" + s3Key, "BENCH_S3_SECRET=" + s3Secret}}, 16},
	} {
		f, err := b.memoryOf(stack.name, stack.options, stack.perPush)
		if err != nil {
			return nil, err
		}
		findings = append(findings, f)
	}
	f, err := b.memoryOverRequests()
	return append(findings, f), err
}

// memoryOverRequests looks whether requests leave something behind.
func (b *bench) memoryOverRequests() (finding, error) {
	s, err := b.startBerth(berthOptions{})
	if err != nil {
		return finding{}, err
	}
	defer s.stop()
	if _, err := s.seed(b.ctx, "latest"); err != nil {
		return finding{}, err
	}
	pull := func(atLeast float64) (float64, error) {
		count := 0.0
		for count < atLeast {
			r, err := b.fetch(s, 8, "/v2/"+repository+"/manifests/latest")
			if err != nil {
				return 0, err
			}
			count += r.perSecond * b.duration.Seconds()
		}
		return s.memory(), nil
	}
	before, err := pull(10_000)
	if err != nil {
		return finding{}, err
	}
	after, err := pull(100_000)
	return finding{
		"memory over 100,000 manifest GETs", "flat (± 10 %)",
		fmt.Sprintf("%.0f MiB after the first 10,000, %.0f MiB after 100,000 more", before, after), after <= 1.1*before,
	}, err
}

func (b *bench) memoryOf(name string, options berthOptions, perPush float64) (finding, error) {
	var err error
	if options.dir, err = os.MkdirTemp(b.dir, "berth-"); err != nil {
		return finding{}, err
	}
	defer os.RemoveAll(options.dir) // 64 GiB, in a large run
	s, err := b.startBerth(options)
	if err != nil {
		return finding{}, err
	}
	defer s.stop()
	idle, peak := s.memory(), 0.0
	size := b.largeSize()
	ctx, cancel := context.WithCancel(b.ctx)
	defer cancel()
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for ctx.Err() == nil {
			peak = max(peak, s.memory())
			select {
			case <-ctx.Done():
			case <-time.After(50 * time.Millisecond):
			}
		}
	}()
	var group sync.WaitGroup
	failures := make(chan error, 64)
	for range 64 {
		group.Go(func() {
			digest, content := prefixedZeros(random(32), size)
			failures <- s.putStream(ctx, digest, size, content)
		})
	}
	group.Wait()
	cancel()
	<-watched
	for range 64 {
		if err := <-failures; err != nil {
			return finding{}, err
		}
	}
	return finding{
		what:    fmt.Sprintf("64 concurrent pushes of %d MiB to %s", size>>20, name),
		target:  fmt.Sprintf("≤ idle + 64 × %.0f MiB", perPush),
		reached: fmt.Sprintf("idle %.0f MiB, peak %.0f MiB: %.2f MiB a push", idle, peak, (peak-idle)/64),
		met:     peak-idle <= 64*perPush,
	}, nil
}
