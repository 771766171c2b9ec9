package main

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

func largeWrites(b *bench) ([]finding, error) {
	berth, distribution, stop, err := b.peers(false)
	if err != nil {
		return nil, err
	}
	defer stop()
	floor, err := b.startFloor()
	if err != nil {
		return nil, err
	}
	defer floor.stop()
	var findings []finding
	for _, size := range []int64{10 << 20, b.largeSize()} {
		perGiB := float64(1<<30) / float64(size)
		put := func(s *server) func() (rate, error) {
			return func() (rate, error) {
				digest, body := prefixedZeros(random(32), size)
				return s.once(func() error { return s.putStream(b.ctx, digest, size, body) }, perGiB)
			}
		}
		r, err := b.contest(put(berth), put(distribution), put(floor))
		if err != nil {
			return nil, err
		}
		findings = append(findings, finding{
			what:    fmt.Sprintf("blob PUT %d MiB, c=1, CPU per GiB", size>>20),
			target:  "≤ distribution",
			reached: fmt.Sprintf("%s × distribution (CPU s per GiB: %.2f and %.2f; MiB/s: %.0f and %.0f)", ratio(r[0].cpu, r[1].cpu), r[0].cpu, r[1].cpu, r[0].perSecond*1024, r[1].perSecond*1024),
			met:     r[0].cpu <= r[1].cpu,
		}, finding{
			what: fmt.Sprintf("blob PUT %d MiB, c=1, CPU per GiB", size>>20), target: "≤ 1.2 × floor with fsync",
			reached: fmt.Sprintf("%s × floor (CPU s per GiB: %.2f and %.2f)", ratio(r[0].cpu, r[2].cpu), r[0].cpu, r[2].cpu),
			met:     r[0].cpu <= 1.2*r[2].cpu,
		})
	}
	return findings, nil
}

func smallWrites(b *bench) ([]finding, error) {
	berth, distribution, stop, err := b.peers(false)
	if err != nil {
		return nil, err
	}
	defer stop()
	digests := map[*server]string{}
	for _, s := range []*server{berth, distribution} {
		if digests[s], err = s.seed(b.ctx, "base"); err != nil {
			return nil, err
		}
	}
	config, layer := []byte(`{"architecture":"amd64","os":"linux"}`), []byte("layer of base")
	run := time.Now().UnixNano()
	works := []struct {
		what string
		work func(s *server, n int64) error
	}{
		{"blob PUT 64 KiB", func(s *server, _ int64) error { return s.putBlob(b.ctx, random(64<<10)) }},
		{"manifest PUT, new tag", func(s *server, n int64) error {
			tag := fmt.Sprintf("t%d-%d", run, n)
			return s.putManifest(b.ctx, tag, manifestOf(tag+fmt.Sprint(time.Now().UnixNano()), "", config, layer))
		}},
		{"full small image push", func(s *server, n int64) error {
			return s.pushImage(b.ctx, fmt.Sprintf("i%d-%d", time.Now().UnixNano(), n))
		}},
	}
	var findings []finding
	for _, c := range []int{8, 32} {
		for _, w := range works {
			push := func(s *server) func() (rate, error) {
				return func() (rate, error) { return b.hammer(s, c, func(n int64) error { return w.work(s, n) }) }
			}
			r, err := b.contest(push(berth), push(distribution))
			if err != nil {
				return nil, err
			}
			findings = append(findings, finding{
				what:    fmt.Sprintf("%s, c=%d", w.what, c),
				target:  "≥ 2 × distribution",
				reached: fmt.Sprintf("%s × distribution (%.0f and %.0f /s; CPU s per 1,000: %.2f and %.2f)", ratio(r[0].perSecond, r[1].perSecond), r[0].perSecond, r[1].perSecond, r[0].cpu, r[1].cpu),
				met:     r[0].perSecond >= 2*r[1].perSecond,
			})
		}
	}
	return findings, nil
}

func clientPush(b *bench) ([]finding, error) {
	berth, distribution, stop, err := b.peers(true)
	if err != nil {
		return nil, err
	}
	defer stop()
	push := func(s *server) func() (rate, error) {
		return func() (rate, error) {
			image := filepath.Join(b.dir, fmt.Sprintf("image-%d", time.Now().UnixNano()))
			if err := writeLayout(image, 8, 4<<20); err != nil {
				return rate{}, err
			}
			args := []string{
				"copy", "--dest-tls-verify=false", "oci:" + image + ":latest",
				"docker://" + strings.TrimPrefix(s.base, "https://") + "/" + repository + ":" + filepath.Base(image),
			}
			if s.token != "" {
				args = append(args, "--dest-creds", "admin:"+password)
			}
			return s.once(func() error {
				output, err := exec.CommandContext(b.ctx, "skopeo", args...).CombinedOutput()
				if err != nil {
					return fmt.Errorf("skopeo copy to %s: %w: %s", s.name, err, output)
				}
				return nil
			}, 1)
		}
	}
	r, err := b.contest(push(berth), push(distribution))
	if err != nil {
		return nil, err
	}
	return []finding{{
		"push of 8 layers of 4 MiB by skopeo over TLS", "within 5 % of distribution, or faster",
		fmt.Sprintf("%s × distribution's speed (%.2f and %.2f images/s)", ratio(r[0].perSecond, r[1].perSecond), r[0].perSecond, r[1].perSecond), r[0].perSecond >= 0.95*r[1].perSecond,
	}}, nil
}
