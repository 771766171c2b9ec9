package caddymodules

import (
	"context"
	"log/slog"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap/exp/zapslog"
	"go.uber.org/zap/zapcore"
)

// newLogger returns the logger of everything that outlives a configuration. It looks Caddy's logger up for each record, because
// one that was kept would write to the closed outputs of the configuration that it came from.
func newLogger() *slog.Logger { return slog.New(logBridge{}) }

// logBridge is a slog handler over whichever logger Caddy has now. steps are the attributes and groups of its WithAttrs and
// WithGroup, to be applied to that logger.
type logBridge struct {
	steps []func(slog.Handler) slog.Handler
}

// noStackTrace is a level above every level in use: the message says where it came from, a trace of this bridge does not.
const noStackTrace = slog.Level(127)

func (b logBridge) current(ctx context.Context) slog.Handler {
	var handler slog.Handler = zapslog.NewHandler(caddy.Log().Core(), zapslog.WithName("berth"), zapslog.AddStacktraceAt(noStackTrace))
	if id := requestID(ctx); id != "" {
		handler = handler.WithAttrs([]slog.Attr{slog.String("request_id", id)})
	}
	for _, step := range b.steps {
		handler = step(handler)
	}
	return handler
}

// Enabled asks Caddy's present logger.
func (b logBridge) Enabled(_ context.Context, level slog.Level) bool {
	return caddy.Log().Core().Enabled(zapLevel(level))
}

// Handle writes the record, with the id of the request that ctx belongs to.
func (b logBridge) Handle(ctx context.Context, record slog.Record) error {
	return b.current(ctx).Handle(ctx, record)
}

// WithAttrs returns a bridge that adds the attributes to each record.
func (b logBridge) WithAttrs(attrs []slog.Attr) slog.Handler {
	return b.with(func(h slog.Handler) slog.Handler { return h.WithAttrs(attrs) })
}

// WithGroup returns a bridge that puts what follows under the name.
func (b logBridge) WithGroup(name string) slog.Handler {
	return b.with(func(h slog.Handler) slog.Handler { return h.WithGroup(name) })
}

func (b logBridge) with(step func(slog.Handler) slog.Handler) logBridge {
	return logBridge{steps: append(slices.Clip(b.steps), step)}
}

func zapLevel(level slog.Level) zapcore.Level {
	switch {
	case level >= slog.LevelError:
		return zapcore.ErrorLevel
	case level >= slog.LevelWarn:
		return zapcore.WarnLevel
	case level >= slog.LevelInfo:
		return zapcore.InfoLevel
	default:
		return zapcore.DebugLevel
	}
}
