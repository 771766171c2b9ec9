package caddymodules

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

const tracerName = "github.com/berth-registry/berth"

// startSpan starts a child of the request's span, which is there when Caddy's `tracing` is on in the site; else it costs next to
// nothing.
func startSpan(ctx context.Context, name string, attributes ...attribute.KeyValue) (context.Context, trace.Span) {
	parent := trace.SpanFromContext(ctx)
	if !parent.IsRecording() {
		return ctx, parent
	}
	return parent.TracerProvider().Tracer(tracerName).Start(ctx, name, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attributes...))
}

// endSpan ends what startSpan started for ctx, and leaves the request's own span alone.
func endSpan(parent context.Context, span trace.Span, err error) {
	if span == trace.SpanFromContext(parent) {
		return
	}
	if err != nil {
		span.SetStatus(codes.Error, outcomeOf(err))
	}
	span.End()
}

// observeStorage is the storage's observer: metrics and a span for each operation.
func observeStorage(ctx context.Context, operation string) (context.Context, func(bytes int64, err error)) {
	start := time.Now()
	spanned, span := startSpan(ctx, "storage "+operation)
	return spanned, func(bytes int64, err error) {
		metrics.storageOperations.WithLabelValues(operation, outcomeOf(err)).Inc()
		metrics.storageDurations.WithLabelValues(operation).Observe(time.Since(start).Seconds())
		metrics.storageBytes.WithLabelValues().Add(float64(bytes))
		endSpan(ctx, span, err)
	}
}

// observeDatabase is the database's observer: metrics for transactions and for reads, and a span for each statement.
func observeDatabase(ctx context.Context, name string) (context.Context, func(err error)) {
	start := time.Now()
	kind := "statement"
	if name == "transaction" {
		kind = name
	}
	spanned, span := startSpan(ctx, "sql "+name)
	return spanned, func(err error) {
		metrics.databaseDurations.WithLabelValues(kind).Observe(time.Since(start).Seconds())
		metrics.statements.WithLabelValues(name, outcomeOf(err)).Inc()
		endSpan(ctx, span, err)
	}
}

// observeToken counts what the token service has answered.
func observeToken(outcome string) { metrics.tokens.WithLabelValues(outcome).Inc() }
