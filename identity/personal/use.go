package personal

import (
	"context"
	"fmt"
	"time"

	"github.com/berth-registry/berth/metadata"
)

// flushInterval is how long the last use of a token may wait to be written; a crash loses that. A login is remembered for
// [identity.LoginMemory], so that times are about a minute exact.
const flushInterval = 10 * time.Second

// maxUses bounds what waits to be written; while the database is down, more are let go.
const maxUses = 10_000

// note remembers that a token was used just now.
func (t *Tokens) note(id int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, known := t.uses[id]; known || len(t.uses) < maxUses {
		t.uses[id] = t.options.Now()
	}
}

// Flush writes when tokens were used last, which happens by itself every few seconds, and keeps it for the next time when that
// fails.
func (t *Tokens) Flush(ctx context.Context) error {
	t.mu.Lock()
	uses := make([]metadata.TokenUse, 0, len(t.uses))
	for id, at := range t.uses {
		uses = append(uses, metadata.TokenUse{ID: id, At: at})
	}
	clear(t.uses)
	t.mu.Unlock()
	if len(uses) == 0 {
		return nil
	}
	err := t.options.Store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error { return tx.NoteTokenUses(ctx, uses) })
	if err == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, use := range uses {
		if _, later := t.uses[use.ID]; !later {
			t.uses[use.ID] = use.At
		}
	}
	return fmt.Errorf("write last uses of %d access tokens: %w", len(uses), err)
}

// Close writes what is not written yet and ends what runs in the background.
func (t *Tokens) Close() error { return t.loop.Close() }
