package metadata

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

var (
	tombstonesPage   = define("tombstones", `SELECT storage_key FROM tombstones WHERE created_at < $1 ORDER BY created_at, storage_key LIMIT $2`)
	insertTombstones = define("add tombstones", `
		INSERT INTO tombstones (storage_key, created_at) SELECT value, CAST($2 AS BIGINT) FROM {texts}($1{json}) WHERE TRUE
		ON CONFLICT (storage_key) DO NOTHING`)
	deleteTombstones = define("delete tombstones", `DELETE FROM tombstones WHERE storage_key IN (SELECT value FROM {texts}($1{json}))`)
)

// Tombstones returns up to n storage keys that were given up before the given time, the oldest first.
func (r Reader) Tombstones(ctx context.Context, before time.Time, n int) ([]string, error) {
	return all(ctx, r, tombstonesPage, value[string], micros(before), limit(n))
}

// AddTombstones gives up storage keys: no row names them from now on, and their objects are to be deleted.
func (t *Tx) AddTombstones(ctx context.Context, keys []string) error {
	if len(keys) == 0 {
		return nil
	}
	list, err := json.Marshal(keys)
	if err != nil {
		return fmt.Errorf("add tombstones: %w", err)
	}
	_, err = t.exec(ctx, insertTombstones, string(list), micros(now()))
	return err
}

// DeleteTombstones forgets keys whose objects have been deleted.
func (t *Tx) DeleteTombstones(ctx context.Context, keys []string) error {
	if len(keys) == 0 {
		return nil
	}
	list, err := json.Marshal(keys)
	if err != nil {
		return fmt.Errorf("delete tombstones: %w", err)
	}
	_, err = t.exec(ctx, deleteTombstones, string(list))
	return err
}
