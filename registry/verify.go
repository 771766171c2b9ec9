package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/berth-registry/berth/jobs"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
	"github.com/berth-registry/berth/storage"
)

// VerificationKind is the kind of work that compares the storage with the database.
const VerificationKind = "STORAGE_VERIFICATION"

const (
	// verifyBatch is how many blobs are read from the database at once.
	verifyBatch = 1000
	// maxDamaged is how many manifests the log names for one blob.
	maxDamaged = 20
)

// VerificationParameters say how the storage is verified.
type VerificationParameters struct {
	// Digests reads all bytes and computes their digests.
	Digests bool `json:"digests"`
	// Repair gives up unknown bytes, and forgets blobs whose bytes are lost or wrong, so that they can be pushed again.
	Repair bool `json:"repair"`
}

// Check has nothing to refuse.
func (VerificationParameters) Check() error { return nil }

// VerificationOutcome is what a verification has found so far.
type VerificationOutcome struct {
	// Blobs of Bytes were compared.
	Blobs int64 `json:"blobs"`
	Bytes int64 `json:"bytes"`
	// Missing blobs have no bytes, Wrong ones have others than they should.
	Missing int64 `json:"missing"`
	Wrong   int64 `json:"wrong"`
	// Unknown objects of UnknownBytes are in storage and not in the database; young ones may belong to pushes that run.
	Unknown      int64 `json:"unknown"`
	UnknownBytes int64 `json:"unknown_bytes"`
	// Repaired is how many of all of them were put right.
	Repaired int64 `json:"repaired"`
}

// Verifying returns the work of comparing the storage of the registry with the database, in both directions. It runs beside pushes and
// garbage collection, in constant memory. A failed attempt begins anew: nothing is changed but what is wrong.
func Verifying(r *Registry) jobs.Kind {
	return jobs.Kind{Name: VerificationKind, Run: func(ctx context.Context, run *jobs.Run) error {
		v := &verification{Registry: r, run: run, begun: r.now(), said: time.Now()}
		if err := run.Decode(&v.VerificationParameters); err != nil {
			return err
		}
		err := v.compare(ctx)
		run.Report(v.outcome)
		o := v.outcome
		run.Log.Printf("compared %d blobs of %s: %d missing, %d wrong; %d unknown objects of %s; %d repaired",
			o.Blobs, sized(o.Bytes), o.Missing, o.Wrong, o.Unknown, sized(o.UnknownBytes), o.Repaired)
		return err
	}}
}

type verification struct {
	*Registry
	VerificationParameters
	run     *jobs.Run
	begun   time.Time
	said    time.Time
	outcome VerificationOutcome
	// expected are the next blobs by their keys, after the key before them.
	expected []metadata.Blob
	after    string
	ended    bool
}

// compare walks over the objects and the blobs side by side, both in the order of keys.
func (v *verification) compare(ctx context.Context) error {
	if _, ok := v.storage.(storage.Walker); !ok {
		return jobs.Permanent(errors.New("the storage cannot list what it holds"))
	}
	err := v.eachObjects(ctx, "", func(objects []storage.Object) error {
		var unknown []storage.Object
		for _, object := range objects {
			blob, named, err := v.meet(ctx, object.Key)
			if err != nil {
				return err
			}
			if !named {
				unknown = append(unknown, object)
			} else if err := v.examine(ctx, blob, object.Size); err != nil {
				return err
			}
		}
		if err := v.handleUnknown(ctx, unknown); err != nil {
			return err
		}
		v.run.Report(v.outcome)
		if time.Since(v.said) >= progressInterval {
			v.said = time.Now()
			v.run.Log.Printf("%d blobs of %s so far", v.outcome.Blobs, sized(v.outcome.Bytes))
		}
		return nil
	})
	if err != nil {
		return err
	}
	_, _, err = v.meet(ctx, "\xff")
	return err
}

// meet returns the blob with the key, and reports those with keys before it, which no object has.
func (v *verification) meet(ctx context.Context, key string) (metadata.Blob, bool, error) {
	for {
		if len(v.expected) == 0 && !v.ended {
			rows, err := v.metadata.BlobsByKey(ctx, v.after, verifyBatch)
			if err != nil {
				return metadata.Blob{}, false, fmt.Errorf("list blobs: %w", err)
			}
			v.expected, v.ended = rows, len(rows) < verifyBatch
		}
		if len(v.expected) == 0 || v.expected[0].StorageKey > key {
			return metadata.Blob{}, false, nil
		}
		blob := v.expected[0]
		v.expected, v.after = v.expected[1:], blob.StorageKey
		if blob.StorageKey == key {
			return blob, true, nil
		}
		if err := v.examine(ctx, blob, -1); err != nil {
			return metadata.Blob{}, false, err
		}
	}
}

// examine compares a blob with its object, whose size is as listed, -1 when it was not.
func (v *verification) examine(ctx context.Context, blob metadata.Blob, size int64) error {
	v.outcome.Blobs++
	v.outcome.Bytes += blob.Size
	wrong := ""
	switch {
	case size < 0:
		reader, err := v.storage.Open(ctx, blob.StorageKey, 0, 1)
		if err == nil {
			return reader.Close() // it was stored after the list came by
		}
		if !errors.Is(err, storage.ErrNotFound) {
			return fmt.Errorf("look for blob %s: %w", blob.Digest, err)
		}
		wrong = "has no bytes"
	case size != blob.Size:
		wrong = fmt.Sprintf("has %d bytes, not %d", size, blob.Size)
	case v.Digests:
		actual, err := v.sum(ctx, blob)
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			return fmt.Errorf("read blob %s: %w", blob.Digest, err)
		}
		if err == nil && actual != blob.Digest {
			wrong = "has bytes with the digest " + actual.String()
		}
	}
	if wrong == "" {
		return nil
	}
	// Garbage collection may have forgotten it since it was listed.
	now, err := v.metadata.BlobByDigest(ctx, blob.Digest)
	if errors.Is(err, metadata.ErrNotFound) || err == nil && now.StorageKey != blob.StorageKey {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read blob %s: %w", blob.Digest, err)
	}
	return v.damaged(ctx, blob, wrong, size < 0)
}

// sum computes the digest of the stored bytes.
func (v *verification) sum(ctx context.Context, blob metadata.Blob) (oci.Digest, error) {
	reader, err := v.storage.Open(ctx, blob.StorageKey, 0, -1)
	if err != nil {
		return "", err
	}
	defer reader.Close()
	hash := oci.NewHash(blob.Digest.Algorithm())
	if _, err := io.Copy(hash, reader); err != nil {
		return "", err
	}
	return oci.SumDigest(blob.Digest.Algorithm(), hash), nil
}

// damaged tells of a blob that cannot be pulled, and forgets it where it is to be repaired.
func (v *verification) damaged(ctx context.Context, blob metadata.Blob, wrong string, missing bool) error {
	if missing {
		v.outcome.Missing++
	} else {
		v.outcome.Wrong++
	}
	v.run.Log.Printf("blob %s at %s %s", blob.Digest, blob.StorageKey, wrong)
	manifests, err := v.metadata.ManifestsWith(ctx, blob.Digest, maxDamaged)
	if err != nil {
		return fmt.Errorf("look for manifests with blob %s: %w", blob.Digest, err)
	}
	for _, m := range manifests {
		v.run.Log.Printf("  %s@%s needs it: push it again", m.Repository, m.Digest)
	}
	if !v.Repair {
		return nil
	}
	err = v.metadata.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error { return tx.ForgetBlob(ctx, blob) })
	if errors.Is(err, metadata.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("forget blob %s: %w", blob.Digest, err)
	}
	v.blobs.dropIf(func(key contentKey, _ metadata.Blob) bool { return key.digest == blob.Digest })
	v.outcome.Repaired++
	return nil
}

// handleUnknown tells of objects that no blob has, and gives them up where they are to be repaired.
func (v *verification) handleUnknown(ctx context.Context, objects []storage.Object) error {
	unknown, err := v.unknown(ctx, objects)
	if err != nil || len(unknown) == 0 {
		return err
	}
	old := v.begun.Add(-v.expiry)
	var keys []string
	for _, object := range unknown {
		v.outcome.Unknown++
		v.outcome.UnknownBytes += object.Size
		if object.Modified.Before(old) {
			keys = append(keys, object.Key)
			v.run.Log.Printf("object %s of %d bytes from %s is unknown", object.Key, object.Size, object.Modified.UTC().Format(time.RFC3339))
		} else {
			v.run.Log.Printf("object %s of %d bytes is unknown, and so young that a push may name it yet", object.Key, object.Size)
		}
	}
	if !v.Repair || len(keys) == 0 {
		return nil
	}
	err = v.metadata.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error { return tx.AddTombstones(ctx, keys) })
	if err == nil {
		v.outcome.Repaired += int64(len(keys))
	}
	return err
}
