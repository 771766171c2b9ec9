package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os/exec"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	repository   = "library/bench"
	manifestType = "application/vnd.oci.image.manifest.v1+json"
)

// rate is what one round of requests showed.
type rate struct {
	perSecond float64
	// cpu is the server's CPU seconds for 1,000 requests.
	cpu float64
}

// hammer runs work from c goroutines for the bench's duration. work gets a number that is different in every call.
func (b *bench) hammer(s *server, c int, work func(n int64) error) (rate, error) {
	ctx, cancel := context.WithTimeout(b.ctx, b.duration)
	defer cancel()
	var count, next atomic.Int64
	var group sync.WaitGroup
	failures := make(chan error, c)
	cpu, began := s.cpu(), time.Now()
	for range c {
		group.Go(func() {
			for ctx.Err() == nil {
				if err := work(next.Add(1)); err != nil {
					failures <- err
					return
				}
				count.Add(1)
			}
		})
	}
	group.Wait()
	elapsed := time.Since(began).Seconds()
	select {
	case err := <-failures:
		return rate{}, err
	default:
	}
	n := float64(count.Load())
	return rate{perSecond: n / elapsed, cpu: (s.cpu() - cpu) / n * 1000}, nil
}

var (
	wrkCount  = regexp.MustCompile(`(\d+) requests in`)
	wrkErrors = regexp.MustCompile(`Non-2xx or 3xx responses: .*|Socket errors: .*`)
)

// fetch lets wrk ask for one path over c connections for the bench's duration: it takes far less of the processors, which the
// server shares, than a client in Go.
func (b *bench) fetch(s *server, c int, path string, header ...string) (rate, error) {
	args := []string{"-t1", fmt.Sprintf("-c%d", c), fmt.Sprintf("-d%.0fs", b.duration.Seconds())}
	if s.token != "" {
		header = append(header, "Authorization: Bearer "+s.token)
	}
	for _, h := range append(header, "Accept: "+manifestType) {
		args = append(args, "-H", h)
	}
	cpu, began := s.cpu(), time.Now()
	output, err := exec.CommandContext(b.ctx, "wrk", append(args, s.base+path)...).CombinedOutput()
	if err != nil {
		return rate{}, fmt.Errorf("wrk: %w: %s", err, output)
	}
	elapsed := time.Since(began).Seconds()
	if failed := wrkErrors.Find(output); failed != nil {
		return rate{}, fmt.Errorf("wrk on %s%s: %s", s.name, path, failed)
	}
	count := wrkCount.FindSubmatch(output)
	if count == nil {
		return rate{}, fmt.Errorf("wrk printed no count: %s", output)
	}
	n, err := strconv.ParseFloat(string(count[1]), 64)
	return rate{perSecond: n / elapsed, cpu: (s.cpu() - cpu) / n * 1000}, err
}

// contest alternates contestants for the bench's rounds and returns the medians in their order.
func (b *bench) contest(contestants ...func() (rate, error)) ([]rate, error) {
	speeds, costs := make([][]float64, len(contestants)), make([][]float64, len(contestants))
	for round := range b.rounds + 1 {
		for i, contestant := range contestants {
			r, err := contestant()
			if err != nil {
				return nil, err
			}
			if round > 0 { // the first warms caches and connections
				speeds[i], costs[i] = append(speeds[i], r.perSecond), append(costs[i], r.cpu)
			}
		}
	}
	medians := make([]rate, len(contestants))
	for i := range contestants {
		medians[i] = rate{median(speeds[i]), median(costs[i])}
	}
	return medians, nil
}

// random returns n bytes that no compression or deduplication can shorten.
func random(n int) []byte {
	content := make([]byte, n)
	_, _ = rand.Read(content)
	return content
}

func digestOf(content []byte) string {
	sum := sha256.Sum256(content)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// putBlob pushes a blob as containerd does: POST, then one PUT.
func (s *server) putBlob(ctx context.Context, content []byte) error {
	return s.putStream(ctx, digestOf(content), int64(len(content)), bytes.NewReader(content))
}

func (s *server) putStream(ctx context.Context, digest string, size int64, content io.Reader) error {
	response, err := s.do(ctx, http.MethodPost, "/v2/"+repository+"/blobs/uploads/", nil, 0, nil, http.StatusAccepted)
	if err != nil {
		return err
	}
	location, err := response.Location()
	if err != nil {
		return err
	}
	query := location.Query()
	query.Set("digest", digest)
	location.RawQuery = query.Encode()
	_, err = s.do(ctx, http.MethodPut, location.String(), content, size, http.Header{"Content-Type": {"application/octet-stream"}}, http.StatusCreated)
	return err
}

type descriptor struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
	Size      int    `json:"size"`
}

// manifestOf returns the bytes of a manifest over blobs, the first of which is the config. A subject may be empty.
func manifestOf(note, subject string, blobs ...[]byte) []byte {
	describe := func(mediaType string, content []byte) descriptor {
		return descriptor{mediaType, digestOf(content), len(content)}
	}
	document := map[string]any{
		"schemaVersion": 2, "mediaType": manifestType,
		"config":      describe("application/vnd.oci.image.config.v1+json", blobs[0]),
		"annotations": map[string]string{"note": note},
	}
	layers := []descriptor{}
	for _, blob := range blobs[1:] {
		layers = append(layers, describe("application/vnd.oci.image.layer.v1.tar+gzip", blob))
	}
	document["layers"] = layers
	if subject != "" {
		document["subject"] = descriptor{manifestType, subject, 2}
	}
	payload, _ := json.Marshal(document)
	return payload
}

func (s *server) putManifest(ctx context.Context, reference string, payload []byte) error {
	_, err := s.do(ctx, http.MethodPut, "/v2/"+repository+"/manifests/"+url.PathEscape(reference), bytes.NewReader(payload), int64(len(payload)),
		http.Header{"Content-Type": {manifestType}}, http.StatusCreated)
	return err
}

// get fetches a path and discards it.
func (s *server) get(ctx context.Context, path string) error {
	_, err := s.do(ctx, http.MethodGet, path, nil, 0, http.Header{"Accept": {manifestType, "*/*"}}, http.StatusOK)
	return err
}

// pushImage pushes a config and eight layers of 64 KiB, all new, and a tag.
func (s *server) pushImage(ctx context.Context, tag string) error {
	blobs := [][]byte{random(512)}
	for range 8 {
		blobs = append(blobs, random(64<<10))
	}
	for _, blob := range blobs {
		if err := s.putBlob(ctx, blob); err != nil {
			return err
		}
	}
	return s.putManifest(ctx, tag, manifestOf(tag, "", blobs...))
}

// seed pushes a small image with a tag and returns its manifest's digest.
func (s *server) seed(ctx context.Context, tag string) (string, error) {
	config, layer := []byte(`{"architecture":"amd64","os":"linux"}`), []byte("layer of "+tag)
	for _, blob := range [][]byte{config, layer} {
		if err := s.putBlob(ctx, blob); err != nil {
			return "", err
		}
	}
	payload := manifestOf(tag, "", config, layer)
	return digestOf(payload), s.putManifest(ctx, tag, payload)
}

// ratio formats how a compares with b.
func ratio(a, b float64) string { return fmt.Sprintf("%.2f", a/b) }

// zeros is an endless reader of zero bytes: the transfer, not the making of content, is measured.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// prefixedZeros returns a stream of size bytes that begins with prefix and goes on with zeros, and its digest.
func prefixedZeros(prefix []byte, size int64) (string, io.Reader) {
	stream := func() io.Reader {
		return io.LimitReader(io.MultiReader(bytes.NewReader(prefix), zeros{}), size)
	}
	h := sha256.New()
	_, _ = io.Copy(h, stream())
	return "sha256:" + hex.EncodeToString(h.Sum(nil)), stream()
}
