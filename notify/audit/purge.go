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
	// Operations are what older clients name where EventTypes has nothing: every type of these operations, with commas between them.
	Operations string `json:"include_operations,omitempty"`
	// DryRun counts and deletes nothing.
	DryRun bool `json:"dry_run"`
}

// Check returns a [*fault.Error] of kind Invalid for what cannot be meant.
func (p PurgeParameters) Check() error {
	if p.RetentionHours < 1 || p.RetentionHours > maxRetention {
		return fault.New(fault.Invalid, "audit_retention_hour must be from 1 to %d", maxRetention)
	}
	if types, all := p.types(); len(types) == 0 && !all {
		return fault.New(fault.Invalid, "include_event_types is missing: name the types with commas between them, or %q for all", AllTypes)
	}
	return nil
}

// types returns the types to delete, or that all are meant.
func (p PurgeParameters) types() (types []string, all bool) {
	for _, name := range names(p.EventTypes) {
		if name == AllTypes {
			return nil, true
		}
		types = append(types, name)
	}
	if len(types) > 0 {
		return types, false
	}
	for _, operation := range names(p.Operations) {
		for _, t := range Types() {
			if t.Operation == operation {
				types = append(types, t.String())
			}
		}
	}
	return types, false
}

// names reads names with commas between them.
func names(list string) []string {
	return strings.FieldsFunc(list, func(c rune) bool { return c == ',' || c == ' ' })
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
		types, all := p.types()
		if all {
			types = []string{AllTypes}
		}
		run.Log.Printf("%s entries from before %s of the types %s", verb, before.UTC().Format(time.RFC3339), strings.Join(types, ","))
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
	types, _ := p.types() // none for all
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

// ParsePurgeParameters reads the parameters of a purge as clients send them, and as they want to read them again.
func ParsePurgeParameters(given map[string]json.RawMessage) (PurgeParameters, error) {
	encoded, err := json.Marshal(given)
	if err != nil {
		return PurgeParameters{}, fault.New(fault.Invalid, "parameters: %v", err)
	}
	var read PurgeParameters
	if err := json.Unmarshal(encoded, &read); err != nil {
		return PurgeParameters{}, fault.New(fault.Invalid, "parameters: %v", err)
	}
	return read, read.Check()
}
