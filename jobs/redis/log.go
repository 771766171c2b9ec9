package redis

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
)

// quiet silences go-redis once, whose log is the process's.
var quiet sync.Once

// silence is a log that nobody reads: what go-redis cannot do is an error of its caller.
type silence struct{}

// Printf writes nothing.
func (silence) Printf(context.Context, string, ...any) {}

// asynqLogger keeps what asynq says for those who look for faults: whether Redis answers, [Queue] says itself.
type asynqLogger struct{ logger *slog.Logger }

func (l asynqLogger) write(args []any) { l.logger.Debug("asynq: " + fmt.Sprint(args...)) }

// Debug implements asynq.Logger.
func (l asynqLogger) Debug(args ...any) { l.write(args) }

// Info implements asynq.Logger.
func (l asynqLogger) Info(args ...any) { l.write(args) }

// Warn implements asynq.Logger.
func (l asynqLogger) Warn(args ...any) { l.write(args) }

// Error implements asynq.Logger.
func (l asynqLogger) Error(args ...any) { l.write(args) }

// Fatal implements asynq.Logger. It does not end the process: nothing that asynq meets does.
func (l asynqLogger) Fatal(args ...any) { l.write(args) }
