package audit

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/jobs"
	"github.com/berth-registry/berth/metadata"
)

// PurgeKind is the kind of work that deletes old entries.
const PurgeKind = "PURGE_AUDIT_LOG"

const (
	// DefaultRetention is how long entries are kept where nobody has said otherwise.
	DefaultRetention = 90 * 24 * time.Hour
	// maxRetention is the longest that can be said, in hours.
	maxRetention = 240_000
	// purgeHistory is how many purges are remembered.
	purgeHistory = 10
	// purgeBatch is how many ranges of ids are looked up at once.
	purgeBatch = 100
	// AllTypes stands for every type of event.
	AllTypes = "*"
	// purgeScheduled is the setting that tells that the default schedule was made once, so that nobody makes it again.
	purgeScheduled = "audit/purge-scheduled"
)

// PurgeParameters say what is deleted.
type PurgeParameters struct {
	// RetentionHours is how old entries are at least that are deleted.
	RetentionHours int64 `json:"audit_retention_hour"`
	// EventTypes are the types to delete, with commas between them, or [AllTypes].
	EventTypes string `json:"include_event_types"`
	// DryRun counts and deletes nothing.
	DryRun bool `json:"dry_run"`
}

// Check returns a [*fault.Error] of kind Invalid for what cannot be meant.
func (p PurgeParameters) Check() error {
	if p.RetentionHours < 1 || p.RetentionHours > maxRetention {
		return fault.New(fault.Invalid, "audit_retention_hour must be from 1 to %d", maxRetention)
	}
	if strings.Trim(p.EventTypes, ", ") == "" {
		return fault.New(fault.Invalid, "include_event_types is missing: name the types with commas between them, or %q for all", AllTypes)
	}
	return nil
}

// types returns the types to delete, none for all.
func (p PurgeParameters) types() []string {
	var types []string
	for name := range strings.SplitSeq(p.EventTypes, ",") {
		switch name = strings.TrimSpace(name); name {
		case "":
		case AllTypes:
			return nil
		default:
			types = append(types, name)
		}
	}
	return types
}

// Purging returns the work of deleting old entries of the store.
func Purging(store *metadata.Store) jobs.Kind {
	return jobs.Kind{Name: PurgeKind, History: purgeHistory, Run: func(ctx context.Context, run *jobs.Run) error {
		var p PurgeParameters
		if err := run.Decode(&p); err != nil {
			return err
		}
		if err := p.Check(); err != nil {
			return jobs.Permanent(err)
		}
		before := time.Now().Add(-time.Duration(p.RetentionHours) * time.Hour)
		verb := "deleting"
		if p.DryRun {
			verb = "dry run: counting"
		}
		run.Log.Printf("%s entries from before %s of the types %s", verb, before.UTC().Format(time.RFC3339), p.EventTypes)
		total, err := purge(ctx, store, p, before, func(total int64) { run.Log.Printf("%d so far", total) })
		if p.DryRun {
			run.Log.Printf("%d entries would be deleted", total)
		} else {
			run.Log.Printf("deleted %d entries", total)
		}
		return err
	}}
}

// purge deletes, or counts, a range of ids in each transaction, so that nobody waits for it.
func purge(ctx context.Context, store *metadata.Store, p PurgeParameters, before time.Time, progress func(total int64)) (total int64, err error) {
	types := p.types()
	for last := int64(-1); ; {
		buckets, err := store.AuditBuckets(ctx, last, before, purgeBatch)
		if err != nil || len(buckets) == 0 {
			return total, err
		}
		for _, bucket := range buckets {
			var n int64
			if p.DryRun {
				n, err = store.CountAuditEntries(ctx, bucket, before, types)
			} else {
				err = store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) (err error) {
					n, err = tx.DeleteAuditEntries(ctx, bucket, before, types)
					return err
				})
			}
			if err != nil {
				return total, err
			}
			total, last = total+n, bucket
		}
		progress(total)
	}
}

// SchedulePurges makes, once in the life of a registry, the schedule that keeps the log for [DefaultRetention].
func SchedulePurges(ctx context.Context, purges *jobs.Recurring) error {
	return purges.ScheduleDefault(ctx, purgeScheduled, "Daily", PurgeParameters{RetentionHours: int64(DefaultRetention / time.Hour), EventTypes: AllTypes})
}

// ParsePurgeParameters reads the parameters of a purge as clients send them: older ones name operations instead of types.
func ParsePurgeParameters(given map[string]json.RawMessage) (PurgeParameters, error) {
	encoded, err := json.Marshal(given)
	if err != nil {
		return PurgeParameters{}, fault.New(fault.Invalid, "parameters: %v", err)
	}
	var read struct {
		PurgeParameters
		Operations string `json:"include_operations"`
	}
	if err := json.Unmarshal(encoded, &read); err != nil {
		return PurgeParameters{}, fault.New(fault.Invalid, "parameters: %v", err)
	}
	if read.EventTypes == "" {
		var types []string
		for operation := range strings.SplitSeq(read.Operations, ",") {
			for _, t := range Types() {
				if t.Operation == strings.TrimSpace(operation) {
					types = append(types, t.String())
				}
			}
		}
		read.EventTypes = strings.Join(types, ",")
	}
	return read.PurgeParameters, read.Check()
}
