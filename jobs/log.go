package jobs

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/berth-registry/berth/metadata"
)

const (
	// logInterval is how long a line waits until it can be read.
	logInterval = time.Second
	// MaxLog is the most that one attempt writes to its task's log, in bytes.
	MaxLog = 1 << 20
)

// Log is the log of a task: lines with their time. It is safe for concurrent use.
type Log struct {
	store  *metadata.Store
	taskID int64
	logger *slog.Logger

	mu      sync.Mutex
	waiting strings.Builder
	written int
}

func newLog(store *metadata.Store, taskID int64, logger *slog.Logger) *Log {
	return &Log{store: store, taskID: taskID, logger: logger}
}

// Printf adds a line. Beyond [MaxLog] lines are left out.
func (l *Log) Printf(format string, args ...any) {
	text := strings.ReplaceAll(strings.ToValidUTF8(fmt.Sprintf(format, args...), "\uFFFD"), "\x00", "\uFFFD")
	line := time.Now().UTC().Format("2006-01-02T15:04:05.000Z ") + strings.TrimRight(text, "\n") + "\n"
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.written >= MaxLog {
		return
	}
	if l.written += len(line); l.written >= MaxLog {
		line = "the log is full: what follows is left out\n"
	}
	l.waiting.WriteString(line)
}

// flush writes the lines that wait. When the database does not take them, they wait on.
func (l *Log) flush(ctx context.Context) {
	l.mu.Lock()
	lines := l.waiting.String()
	l.waiting.Reset()
	l.mu.Unlock()
	if lines == "" {
		return
	}
	err := l.store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error { return tx.AppendTaskLog(ctx, l.taskID, lines) })
	if err == nil {
		return
	}
	l.logger.WarnContext(ctx, "the log of a task is not written yet", slog.Int64("task", l.taskID), slog.Any("error", err))
	l.mu.Lock()
	defer l.mu.Unlock()
	later := l.waiting.String()
	l.waiting.Reset()
	l.waiting.WriteString(lines)
	l.waiting.WriteString(later)
}
