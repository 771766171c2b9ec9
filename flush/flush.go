// Package flush writes from time to time what waits in memory, so that whoever adds to it does not wait for a write.
package flush

import (
	"context"
	"log/slog"
	"time"
)

// Patience is how long the last write may take.
const Patience = 10 * time.Second

// Loop is what writes. What could not be written waits on: that is its write's to see to.
type Loop struct {
	write func(ctx context.Context) error
	wake  chan struct{}
	stop  context.CancelFunc
	done  chan struct{}
}

// Start writes at each interval, until [Loop.Close]. The logger is told when what waits, which the name says, could not be written.
func Start(interval time.Duration, logger *slog.Logger, name string, write func(ctx context.Context) error) *Loop {
	ctx, stop := context.WithCancel(context.Background())
	l := &Loop{write: write, wake: make(chan struct{}, 1), stop: stop, done: make(chan struct{})}
	go func() {
		defer close(l.done)
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			case <-l.wake:
			}
			if err := write(ctx); err != nil && ctx.Err() == nil {
				logger.WarnContext(ctx, name+" are not written yet", "error", err)
			}
		}
	}()
	return l
}

// Wake has it write now. It does not wait for that.
func (l *Loop) Wake() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Close ends the loop and writes once more, within [Patience]; the error is that of this write.
func (l *Loop) Close() error {
	l.stop()
	<-l.done
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	return l.write(ctx)
}
