package metadata

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

var (
	tombstonesPage = define("tombstones", `
		SELECT storage_key, EXISTS (SELECT 1 FROM blobs b WHERE b.storage_key = t.storage_key) FROM tombstones t
		WHERE created_at < $1 ORDER BY created_at, storage_key LIMIT $2`)
	unknownKeys = define("unknown storage keys", `
		SELECT value FROM {texts}($1{json}) AS k WHERE NOT EXISTS (SELECT 1 FROM blobs b WHERE b.storage_key = k.value)
			AND NOT EXISTS (SELECT 1 FROM tombstones t WHERE t.storage_key = k.value)
			AND NOT EXISTS (SELECT 1 FROM fetch_parts p WHERE p.storage_key = k.value)`)
	insertTombstones = define("add tombstones", `
		INSERT INTO tombstones (storage_key, created_at) SELECT value, CAST($2 AS BIGINT) FROM {texts}($1{json}) WHERE TRUE
		ON CONFLICT (storage_key) DO NOTHING`)
	deleteTombstones = define("delete tombstones", `DELETE FROM tombstones WHERE storage_key {any of}$1{these}`)
)

// Tombstone is a storage key that was given up.
type Tombstone struct {
	Key string
	// Named says that a blob has the key nevertheless: its push and the giving up of bytes that nobody seemed to name did not see each
	// other. The bytes stay.
	Named bool
}

func scanTombstone(r row, t *Tombstone) error { return r.Scan(&t.Key, &t.Named) }

// Tombstones returns up to n storage keys that were given up before the given time, the oldest first.
func (r Reader) Tombstones(ctx context.Context, before time.Time, n int) ([]Tombstone, error) {
	return all(ctx, r, tombstonesPage, scanTombstone, micros(before), limit(n))
}

// UnknownKeys returns those of the storage keys that neither a blob, nor a part of one that is being fetched, nor a tombstone has.
func (r Reader) UnknownKeys(ctx context.Context, keys []string) ([]string, error) {
	list, err := json.Marshal(keys)
	if err != nil {
		return nil, fmt.Errorf("look up storage keys: %w", err)
	}
	return all(ctx, r, unknownKeys, value[string], string(list))
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
