// Package pause waits before another try.
package pause

import (
	"context"
	"time"
)

// For waits for so long. The error is the context's when that ends before.
func For(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
