package storage

import "context"

// Volume is the room that a backend has, in bytes.
type Volume struct {
	Total uint64
	// Free is what Berth may still write.
	Free uint64
}

// Volumes is a backend that knows how much room it has.
type Volumes interface {
	// Volume measures the room.
	Volume(ctx context.Context) (Volume, error)
}

// VolumesOf returns the backend as [Volumes], also when it is instrumented, and false when it does not know its room.
func VolumesOf(backend Backend) (Volumes, bool) {
	if wrapped, ok := backend.(interface{ instruments() Backend }); ok {
		backend = wrapped.instruments()
	}
	volumes, ok := backend.(Volumes)
	return volumes, ok
}
