package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// peers starts Berth and distribution over directories.
func (b *bench) peers(useTLS bool) (berth, distribution *server, stop func(), err error) {
	if berth, err = b.startBerth(berthOptions{tls: useTLS}); err != nil {
		return nil, nil, nil, err
	}
	if distribution, err = b.startDistribution(useTLS, ""); err != nil {
		berth.stop()
		return nil, nil, nil, err
	}
	return berth, distribution, func() { berth.stop(); distribution.stop() }, nil
}

func manifestReads(b *bench) ([]finding, error) {
	berth, distribution, stop, err := b.peers(false)
	if err != nil {
		return nil, err
	}
	defer stop()
	var digest string
	for _, s := range []*server{berth, distribution} {
		if digest, err = s.seed(b.ctx, "latest"); err != nil {
			return nil, err
		}
	}
	root := filepath.Join(b.dir, "floor")
	if err := os.MkdirAll(root, 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(root, "manifest"), make([]byte, 600), 0o644); err != nil {
		return nil, err
	}
	nginx, err := b.startNginx(false, root)
	if err != nil {
		return nil, err
	}
	defer nginx.stop()
	floor, err := b.startFloor()
	if err != nil {
		return nil, err
	}
	defer floor.stop()

	var findings []finding
	for _, c := range []int{8, 32} {
		for _, reference := range []string{"latest", digest} {
			path := "/v2/" + repository + "/manifests/" + reference
			fetch := func(s *server, path string) func() (rate, error) {
				return func() (rate, error) { return b.fetch(s, c, path) }
			}
			r, err := b.contest(fetch(berth, path), fetch(distribution, path), fetch(nginx, "/manifest"), fetch(floor, path))
			if err != nil {
				return nil, err
			}
			kind := "tag"
			if reference == digest {
				kind = "digest"
			}
			findings = append(findings, finding{
				what:   fmt.Sprintf("manifest GET by %s, c=%d", kind, c),
				target: "≥ 5 × distribution",
				reached: fmt.Sprintf("%s × distribution, %s × by CPU (%.0f and %.0f req/s; CPU s per 1,000: %.3f, distribution %.3f, nginx %.3f)",
					ratio(r[0].perSecond, r[1].perSecond), ratio(r[1].cpu, r[0].cpu), r[0].perSecond, r[1].perSecond, r[0].cpu, r[1].cpu, r[2].cpu),
				met: r[0].perSecond >= 5*r[1].perSecond,
			}, finding{
				what: fmt.Sprintf("manifest GET by %s, c=%d, CPU", kind, c), target: "≤ 2 × floor",
				reached: fmt.Sprintf("%s × floor (CPU s per 1,000: %.3f and %.3f)", ratio(r[0].cpu, r[3].cpu), r[0].cpu, r[3].cpu),
				met:     r[0].cpu <= 2*r[3].cpu,
			})
		}
	}
	return findings, nil
}

func (b *bench) largeSize() int64 {
	if b.large {
		return 1 << 30
	}
	return 128 << 20
}

func largeReadsPlain(b *bench) ([]finding, error) { return largeReads(b, false, 1.15) }

func largeReadsTLS(b *bench) ([]finding, error) { return largeReads(b, true, 1.05) }

func largeReads(b *bench, useTLS bool, target float64) ([]finding, error) {
	berth, distribution, stop, err := b.peers(useTLS)
	if err != nil {
		return nil, err
	}
	defer stop()
	size := b.largeSize()
	var digest string
	for _, s := range []*server{berth, distribution} {
		var content io.Reader
		digest, content = prefixedZeros(nil, size)
		if err := s.putStream(b.ctx, digest, size, content); err != nil {
			return nil, err
		}
	}
	root := filepath.Join(b.dir, "large")
	if err := os.MkdirAll(root, 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(root, "blob"), make([]byte, size), 0o644); err != nil {
		return nil, err
	}
	defer os.Remove(filepath.Join(root, "blob"))
	nginx, err := b.startNginx(useTLS, root)
	if err != nil {
		return nil, err
	}
	defer nginx.stop()

	perGiB := float64(1<<30) / float64(size)
	fetch := func(s *server, path string) func() (rate, error) {
		return func() (rate, error) { return s.once(func() error { return s.get(b.ctx, path) }, perGiB) }
	}
	blob := "/v2/" + repository + "/blobs/" + digest
	r, err := b.contest(fetch(berth, blob), fetch(distribution, blob), fetch(nginx, "/blob"))
	if err != nil {
		return nil, err
	}
	return []finding{{
		what:    fmt.Sprintf("blob GET %d MiB, c=1, CPU per GiB", size>>20),
		target:  fmt.Sprintf("≤ %.2f × nginx, ahead of distribution", target),
		reached: fmt.Sprintf("%s × nginx, %s × distribution (CPU s per GiB: %.2f, nginx %.2f, distribution %.2f)", ratio(r[0].cpu, r[2].cpu), ratio(r[0].cpu, r[1].cpu), r[0].cpu, r[2].cpu, r[1].cpu),
		met:     r[0].cpu <= target*r[2].cpu && r[0].cpu < r[1].cpu,
	}}, nil
}

// once measures one call: its speed is calls per second times scale, its cost CPU seconds times scale.
func (s *server) once(call func() error, scale float64) (rate, error) {
	cpu, began := s.cpu(), time.Now()
	err := call()
	return rate{perSecond: 1 / time.Since(began).Seconds() / scale, cpu: (s.cpu() - cpu) * scale}, err
}

func smallReads(b *bench) ([]finding, error) {
	berth, distribution, stop, err := b.peers(false)
	if err != nil {
		return nil, err
	}
	defer stop()
	content := random(64 << 10)
	for _, s := range []*server{berth, distribution} {
		if err := s.putBlob(b.ctx, content); err != nil {
			return nil, err
		}
	}
	path := "/v2/" + repository + "/blobs/" + digestOf(content)
	fetch := func(s *server) func() (rate, error) {
		return func() (rate, error) { return b.fetch(s, 8, path) }
	}
	r, err := b.contest(fetch(berth), fetch(distribution))
	if err != nil {
		return nil, err
	}
	head := func(s *server) func() (rate, error) {
		return func() (rate, error) {
			return b.hammer(s, 8, func(int64) error {
				_, err := s.do(b.ctx, http.MethodHead, path, nil, 0, nil, http.StatusOK)
				return err
			})
		}
	}
	h, err := b.contest(head(berth), head(distribution))
	if err != nil {
		return nil, err
	}
	return []finding{
		{"blob GET 64 KiB, c=8", "≥ 16 × distribution (twice zot, which reaches 8 ×)", fmt.Sprintf("%s × distribution, %s × by CPU (%.0f and %.0f req/s; CPU s per 1,000: %.3f and %.3f)", ratio(r[0].perSecond, r[1].perSecond), ratio(r[1].cpu, r[0].cpu), r[0].perSecond, r[1].perSecond, r[0].cpu, r[1].cpu), r[0].perSecond >= 16*r[1].perSecond},
		{"blob HEAD, c=8", "ahead of distribution", fmt.Sprintf("%s × distribution (%.0f and %.0f req/s)", ratio(h[0].perSecond, h[1].perSecond), h[0].perSecond, h[1].perSecond), h[0].perSecond > h[1].perSecond},
	}, nil
}
