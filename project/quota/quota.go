// Package quota sets how much projects may hold, and counts again what they hold.
package quota

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/metadata"
)

// Quotas are those of all projects.
type Quotas struct {
	store *metadata.Store
}

// New returns the quotas of a store.
func New(store *metadata.Store) *Quotas { return &Quotas{store} }

// CheckLimit refuses what cannot be the limit of a project: it is a positive number of bytes up to [metadata.MaxLimit], or
// [metadata.Unlimited]. The error is a [*fault.Error] of [fault.Invalid].
func CheckLimit(limit int64) error {
	if limit == metadata.Unlimited || limit > 0 && limit <= metadata.MaxLimit {
		return nil
	}
	return fault.New(fault.Invalid, "a limit must be a positive number of bytes up to %d, or -1 for none, and not %d", int64(metadata.MaxLimit), limit)
}

// SetLimit sets how many bytes a project may hold. A limit below what it holds removes nothing. The error is a [*fault.Error]: of
// [fault.Invalid] as in [CheckLimit], of [fault.NotFound] when there is no such project.
func (q *Quotas) SetLimit(ctx context.Context, actor event.Actor, projectID, limit int64) error {
	if err := CheckLimit(limit); err != nil {
		return err
	}
	err := q.store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		project, err := tx.ProjectByID(ctx, projectID)
		if err != nil {
			return err
		}
		if err := tx.SetLimit(ctx, projectID, limit); err != nil {
			return err
		}
		updated := actor.Event(event.QuotaUpdated)
		updated.Project, updated.Size, updated.Subject = project.Name, limit, strconv.FormatInt(limit, 10)
		return tx.AppendEvent(ctx, updated)
	})
	return refusal(projectID, err)
}

// Recount makes the usage of a project what its manifests say, and returns it with what it was before: to be used when somebody has
// changed the database by hand, or to see that nobody has. The error is a [*fault.Error] of [fault.NotFound] when there is no such
// project.
func (q *Quotas) Recount(ctx context.Context, projectID int64) (used, before int64, err error) {
	err = q.store.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
		used, before, err = tx.Recount(ctx, projectID)
		return err
	})
	return used, before, refusal(projectID, err)
}

func refusal(projectID int64, err error) error {
	if errors.Is(err, metadata.ErrNotFound) {
		return fault.Because(err, fault.NotFound, "quota %d not found", projectID)
	}
	if err != nil {
		return fmt.Errorf("quota of project %d: %w", projectID, err)
	}
	return nil
}
