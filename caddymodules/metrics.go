package caddymodules

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/replicate/proxy"
	"github.com/berth-registry/berth/storage"
)

// metrics are the collectors of the process. Caddy makes a new registry with each configuration, which all get the same ones, so
// that counters go on counting over reloads. Labels take few values: never a repository, a user or an address.
var metrics = newCollectors()

type collectors struct {
	requests  *prometheus.CounterVec
	durations *prometheus.HistogramVec
	inFlight  *prometheus.GaugeVec
	received  *prometheus.CounterVec
	sent      *prometheus.CounterVec

	storageOperations *prometheus.CounterVec
	storageDurations  *prometheus.HistogramVec
	storageBytes      *prometheus.CounterVec
	databaseDurations *prometheus.HistogramVec
	statements        *prometheus.CounterVec
	tokens            *prometheus.CounterVec
	forwarded         *prometheus.CounterVec
	deliveries        *prometheus.CounterVec
	cacheServed       *prometheus.CounterVec
	upstreamRequests  *prometheus.CounterVec
	upstreamBytes     prometheus.Counter

	taskAttempts  *prometheus.CounterVec
	taskDurations *prometheus.HistogramVec
	waiting       *waiting

	cores      prometheus.GaugeFunc
	registries *followed
}

// requestBuckets reach from a cached manifest to an hour's upload.
var requestBuckets = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600}

var operationBuckets = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 60}

func newCollectors() *collectors {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
	}
	made := &collectors{
		requests:  counter("berth_requests_total", "Requests answered.", "route", "method", "status"),
		durations: histogram("berth_request_duration_seconds", "Time from a request's header to the end of its answer.", requestBuckets, "route", "method"),
		inFlight: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "berth_requests_in_progress", Help: "Requests being answered.",
		}, []string{"route"}),
		received: counter("berth_received_bytes_total", "Bytes of request bodies read.", "route"),
		sent:     counter("berth_sent_bytes_total", "Bytes of response bodies written.", "route"),

		storageOperations: counter("berth_storage_operations_total", "Operations on the storage.", "operation", "outcome"),
		storageDurations:  histogram("berth_storage_operation_duration_seconds", "Duration of operations on the storage.", operationBuckets, "operation"),
		storageBytes:      counter("berth_storage_written_bytes_total", "Bytes appended to uploads in the storage."),
		databaseDurations: histogram("berth_database_operation_duration_seconds", "Duration of transactions and of statements.", operationBuckets, "kind"),
		statements:        counter("berth_database_operations_total", "Transactions and statements, by name.", "operation", "outcome"),
		forwarded:         counter("berth_audit_forwarded_total", "Messages of the audit log for the syslog server.", "outcome"),
		deliveries:        counter("berth_webhook_deliveries_total", "Attempts to deliver events to webhooks, and events that were turned away because too many wait for a receiver.", "outcome"),
		cacheServed:       counter("berth_proxy_cache_requests_total", "Manifests and blobs asked for in projects that are caches.", "content", "outcome"),
		upstreamRequests:  counter("berth_proxy_cache_upstream_requests_total", "Requests to registries that projects are caches of.", "operation", "outcome"),
		upstreamBytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "berth_proxy_cache_upstream_bytes_total", Help: "Bytes of manifests and blobs that came from registries that projects are caches of.",
		}),
		tokens: counter("berth_tokens_issued_total", "Requests to the token service.", "outcome"),

		taskAttempts:  counter("berth_job_attempts_total", "Attempts at tasks in the background, by what came of them.", "kind", "outcome"),
		taskDurations: histogram("berth_job_attempt_duration_seconds", "Duration of attempts at tasks in the background.", taskBuckets, "kind"),
		waiting:       newWaiting(),

		cores: prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "berth_open_cores", Help: "Configurations with open resources; more than one while requests of an earlier one run.",
		}, func() float64 { return float64(openCores.Load()) }),
		registries: newFollowed(),
	}
	// There from the start, so that an alarm sees the first message that is dropped as an increase.
	for _, outcome := range []string{"sent", "dropped"} {
		made.forwarded.WithLabelValues(outcome)
	}
	for _, outcome := range []string{"delivered", "failed", "given up", "turned away"} {
		made.deliveries.WithLabelValues(outcome)
	}
	for _, outcome := range proxy.Outcomes {
		made.cacheServed.WithLabelValues(proxy.ContentManifest, string(outcome))
		made.cacheServed.WithLabelValues(proxy.ContentBlob, string(outcome))
	}
	for _, operation := range proxy.Operations {
		for _, answer := range proxy.Answers {
			made.upstreamRequests.WithLabelValues(operation, answer)
		}
	}
	return made
}

func (c *collectors) all() []prometheus.Collector {
	return []prometheus.Collector{
		c.requests, c.durations, c.inFlight, c.received, c.sent, c.storageOperations, c.storageDurations, c.storageBytes,
		c.databaseDurations, c.statements, c.tokens, c.forwarded, c.deliveries, c.cacheServed, c.upstreamRequests, c.upstreamBytes, c.taskAttempts, c.taskDurations, c.waiting, c.cores, c.registries,
	}
}

// register adds the collectors to the registry of a configuration.
func (c *collectors) register(registry prometheus.Registerer) error {
	if registry == nil {
		return nil
	}
	for _, collector := range c.all() {
		var already prometheus.AlreadyRegisteredError
		if err := registry.Register(collector); err != nil && !errors.As(err, &already) {
			return fmt.Errorf("register metrics: %w", err)
		}
	}
	return nil
}

// begin notes the beginning of a request; the function it returns notes the end.
func (c *collectors) begin(route string) func(method string, status int, received, sent int64) {
	start := time.Now()
	inFlight := c.inFlight.WithLabelValues(route)
	inFlight.Inc()
	return func(method string, status int, received, sent int64) {
		inFlight.Dec()
		method = knownMethod(method)
		c.requests.WithLabelValues(route, method, strconv.Itoa(status)).Inc()
		c.durations.WithLabelValues(route, method).Observe(time.Since(start).Seconds())
		c.received.WithLabelValues(route).Add(float64(received))
		c.sent.WithLabelValues(route).Add(float64(sent))
	}
}

// knownMethod keeps invented methods from becoming labels.
func knownMethod(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return method
	default:
		return "other"
	}
}

// outcomeOf puts an error into one of few classes.
func outcomeOf(err error) string {
	var retryable *storage.RetryableError
	var refused *oci.Error
	switch {
	case err == nil, errors.Is(err, io.EOF):
		return "ok"
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return "cancelled"
	case errors.Is(err, storage.ErrNotFound):
		return "not_found"
	case errors.As(err, &refused), errors.Is(err, metadata.ErrNotFound), errors.Is(err, metadata.ErrExists),
		errors.Is(err, metadata.ErrConflict), errors.Is(err, metadata.ErrReferenced):
		return "refused"
	case errors.Is(err, storage.ErrNoSpace), errors.Is(err, metadata.ErrNoSpace):
		return "no_space"
	case errors.Is(err, storage.ErrDenied):
		return "denied"
	case errors.As(err, &retryable), errors.Is(err, metadata.ErrUnavailable):
		return "unavailable"
	default:
		return "error"
	}
}
