package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"strings"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

func berthOnS3(endpoint, redirect string) string {
	return fmt.Sprintf(`storage s3 {
			endpoint %s
			bucket bench
			region us-east-1
			access_key {env.BENCH_S3_KEY}
			secret_key {env.BENCH_S3_SECRET}
			redirect %s
			prefix %s/
		}`, endpoint, redirect, redirect)
}

// s3Transfers compares Berth with a client that talks to S3 itself.
func s3Transfers(b *bench) ([]finding, error) {
	s3, err := b.startS3()
	if err != nil {
		return nil, err
	}
	defer s3.stop()
	env := []string{"BENCH_S3_KEY=" + s3Key, "BENCH_S3_SECRET=" + s3Secret}
	streaming, err := b.startBerth(berthOptions{storage: berthOnS3(s3.base, "off"), env: env})
	if err != nil {
		return nil, err
	}
	defer streaming.stop()
	redirecting, err := b.startBerth(berthOptions{storage: berthOnS3(s3.base, "on"), env: env})
	if err != nil {
		return nil, err
	}
	defer redirecting.stop()
	direct, err := minio.NewCore(strings.TrimPrefix(s3.base, "http://"), &minio.Options{
		Creds: credentials.NewStaticV4(s3Key, s3Secret, ""), Region: "us-east-1",
	})
	if err != nil {
		return nil, err
	}

	var findings []finding
	for _, work := range []struct {
		name                    string
		size                    int64
		c                       int
		stream, redirect, write float64
	}{
		{"64 KiB", 64 << 10, 8, 2.0, 1.5, 3},
		{"10 MiB", 10 << 20, 4, 1.5, 1.1, 1.5},
		{fmt.Sprintf("%d MiB", b.largeSize()>>20), b.largeSize(), 1, 1.3, 0, 0},
	} {
		digest, content := prefixedZeros(random(32), work.size)
		payload, err := io.ReadAll(content)
		if err != nil {
			return nil, err
		}
		for _, s := range []*server{streaming, redirecting} {
			if err := s.putStream(b.ctx, digest, work.size, bytes.NewReader(payload)); err != nil {
				return nil, err
			}
		}
		if _, err := direct.PutObject(b.ctx, "bench", "direct", bytes.NewReader(payload), work.size, "", "", minio.PutObjectOptions{DisableContentSha256: true}); err != nil {
			return nil, err
		}
		path := "/v2/" + repository + "/blobs/" + digest
		via := func(s *server) func() (rate, error) {
			return func() (rate, error) {
				return b.hammer(s, work.c, func(int64) error { return s.get(b.ctx, path) })
			}
		}
		r, err := b.contest(func() (rate, error) {
			return b.hammer(s3, work.c, func(int64) error {
				body, _, _, err := direct.GetObject(b.ctx, "bench", "direct", minio.GetObjectOptions{})
				if err != nil {
					return err
				}
				defer body.Close()
				_, err = io.Copy(io.Discard, body)
				return err
			})
		}, via(streaming), via(redirecting))
		if err != nil {
			return nil, err
		}
		findings = append(findings, compareDirect("GET "+work.name+" streamed", work.stream, r[0], r[1]))
		if work.redirect > 0 {
			findings = append(findings, compareDirect("GET "+work.name+" redirected", work.redirect, r[0], r[2]))
		}
		if work.write == 0 {
			continue
		}
		w, err := b.contest(func() (rate, error) {
			return b.hammer(s3, 1, func(n int64) error {
				copy(payload, random(32))
				_, err := direct.PutObject(b.ctx, "bench", fmt.Sprintf("direct-%d", n), bytes.NewReader(payload), work.size, "", "", minio.PutObjectOptions{})
				return err
			})
		}, func() (rate, error) {
			return b.hammer(streaming, 1, func(int64) error {
				copy(payload, random(32))
				return streaming.putBlob(b.ctx, payload)
			})
		})
		if err != nil {
			return nil, err
		}
		findings = append(findings, compareDirect("PUT "+work.name, work.write, w[0], w[1]))
	}
	f, err := b.manifestsOnS3(streaming)
	return append(findings, f), err
}

// manifestsOnS3 compares manifests of a Berth on S3 with those of one on a directory.
func (b *bench) manifestsOnS3(onS3 *server) (finding, error) {
	onDirectory, err := b.startBerth(berthOptions{})
	if err != nil {
		return finding{}, err
	}
	defer onDirectory.stop()
	fetch := func(s *server) func() (rate, error) {
		return func() (rate, error) { return b.fetch(s, 8, "/v2/"+repository+"/manifests/latest") }
	}
	for _, s := range []*server{onS3, onDirectory} {
		if _, err := s.seed(b.ctx, "latest"); err != nil {
			return finding{}, err
		}
	}
	r, err := b.contest(fetch(onS3), fetch(onDirectory))
	if err != nil {
		return finding{}, err
	}
	return finding{
		"manifest GET by tag, c=8, on S3", "the same as on a directory (± 10 %)",
		fmt.Sprintf("%s × (%.0f and %.0f req/s; CPU s per 1,000: %.3f and %.3f)", ratio(r[0].perSecond, r[1].perSecond), r[0].perSecond, r[1].perSecond, r[0].cpu, r[1].cpu),
		r[0].perSecond >= 0.9*r[1].perSecond,
	}, nil
}

func compareDirect(what string, target float64, direct, berth rate) finding {
	return finding{
		what: "S3: blob " + what, target: fmt.Sprintf("direct ÷ Berth ≤ %.1f", target),
		reached: fmt.Sprintf("%s (%.0f and %.0f /s)", ratio(direct.perSecond, berth.perSecond), direct.perSecond, berth.perSecond),
		met:     direct.perSecond <= target*berth.perSecond,
	}
}

// tokens measures how fast tokens are issued to a caller whose credentials are warm.
func tokens(b *bench) ([]finding, error) {
	berth, err := b.startBerth(berthOptions{})
	if err != nil {
		return nil, err
	}
	defer berth.stop()
	berth.token = ""
	basic := "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("admin:"+password))
	r, err := b.contest(func() (rate, error) {
		return b.fetch(berth, 16, "/service/token?scope=repository:"+repository+":pull", basic)
	})
	if err != nil {
		return nil, err
	}
	return []finding{{
		"token issue over HTTP, warm credentials, c=16", "≥ 5,000/s",
		fmt.Sprintf("%.0f/s (CPU s per 1,000: %.3f; client and server share the processors)", r[0].perSecond, r[0].cpu), r[0].perSecond >= 5000,
	}}, nil
}
