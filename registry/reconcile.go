package registry

import (
	"context"
	"fmt"
	"time"

	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/storage"
)

// reconcileBatch is how many objects are compared with SQL at once.
const reconcileBatch = 1000

// Unknown are objects in storage that neither a blob nor a deletion names: a crash between storing and naming leaves them.
type Unknown struct {
	// Looked is how many objects were compared, up to the key After.
	Looked int64  `json:"looked_at"`
	After  string `json:"after,omitempty"`
	// Objects are unknown, of Bytes.
	Objects int64 `json:"objects"`
	Bytes   int64 `json:"bytes"`
}

// GiveUpUnknown has the sweep delete what lies in storage since before the time and SQL never heard of, unless it is a dry run. It
// goes on where the given state ends, and tells progress after each step. It does nothing where the storage cannot list what it has.
// What a push names in the same moment stays: sweeping looks again.
func (r *Registry) GiveUpUnknown(ctx context.Context, state Unknown, before time.Time, dryRun bool, progress func(Unknown)) (Unknown, error) {
	err := r.eachObjects(ctx, state.After, func(objects []storage.Object) error {
		unknown, err := r.unknown(ctx, objects)
		if err != nil {
			return err
		}
		var keys []string
		for _, object := range unknown {
			if object.Modified.Before(before) {
				keys = append(keys, object.Key)
				state.Objects++
				state.Bytes += object.Size
			}
		}
		if len(keys) > 0 && !dryRun {
			err := r.metadata.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error { return tx.AddTombstones(ctx, keys) })
			if err != nil {
				return err
			}
		}
		state.Looked += int64(len(objects))
		state.After = objects[len(objects)-1].Key
		progress(state)
		return nil
	})
	if err != nil {
		return state, fmt.Errorf("compare the storage with the database: %w", err)
	}
	return state, nil
}

// unknown returns those of the objects that SQL does not know.
func (r *Registry) unknown(ctx context.Context, objects []storage.Object) ([]storage.Object, error) {
	keys := make([]string, len(objects))
	byKey := make(map[string]storage.Object, len(objects))
	for i, object := range objects {
		keys[i], byKey[object.Key] = object.Key, object
	}
	unknown, err := r.metadata.UnknownKeys(ctx, keys)
	found := make([]storage.Object, len(unknown))
	for i, key := range unknown {
		found[i] = byKey[key]
	}
	return found, err
}

// eachObjects calls fn for what lies in storage after a key, some objects at a time.
func (r *Registry) eachObjects(ctx context.Context, after string, fn func([]storage.Object) error) error {
	walker, ok := r.storage.(storage.Walker)
	if !ok {
		return nil
	}
	batch := make([]storage.Object, 0, reconcileBatch)
	err := walker.Walk(ctx, after, func(object storage.Object) error {
		if batch = append(batch, object); len(batch) < reconcileBatch {
			return nil
		}
		defer func() { batch = batch[:0] }()
		return fn(batch)
	})
	if err != nil || len(batch) == 0 {
		return err
	}
	return fn(batch)
}
