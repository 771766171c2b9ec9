package registry

import (
	"context"
	"errors"
	"fmt"

	"github.com/dustin/go-humanize"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
)

// charge counts what a push adds to its project, and warns once when that comes near the limit. The error is a
// [*metadata.QuotaError] when it would go beyond.
func (r *Registry) charge(ctx context.Context, tx *metadata.Tx, pushed event.Event, projectID, added int64, enforce bool) error {
	limited, err := tx.AddUsage(ctx, projectID, added, enforce)
	if err != nil || !limited || !enforce {
		return err
	}
	quota, warn, err := tx.WarnUsage(ctx, projectID)
	if err != nil || !warn {
		return err
	}
	warning := pushed
	warning.Kind, warning.Size = event.QuotaWarned, quota.Used
	warning.Subject = fmt.Sprintf("the project holds %s of the %s that its limit allows", sized(quota.Used), sized(quota.Limit))
	return tx.AppendEvent(ctx, warning)
}

// exceeded refuses what has no room in its project, and notes that.
func (r *Registry) exceeded(ctx context.Context, actor event.Actor, push Push, err error) error {
	full, ok := errors.AsType[*metadata.QuotaError](err)
	if !ok {
		return err
	}
	message := fmt.Sprintf("adding %s of storage to the %s that project %q uses would exceed its limit of %s",
		sized(full.Added), sized(full.Used), push.Repository.Project(), sized(full.Limit))
	noted := r.event(event.QuotaExceeded, actor, push.Repository)
	noted.Tag, noted.Size, noted.Subject = push.Reference.Tag, full.Added, message
	if err := r.metadata.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error { return tx.AppendEvent(ctx, noted) }); err != nil {
		r.log.WarnContext(ctx, "a push beyond the quota was refused and is not noted", "repository", push.Repository, "error", err)
	}
	refusal := fault.New(fault.Exceeded, "%s", message)
	return &oci.Error{Code: oci.CodeDenied, Message: message, Err: refusal}
}

// sized is a number of bytes as people read it.
func sized(n int64) string { return humanize.IBytes(uint64(max(n, 0))) } //nolint:gosec // never negative
