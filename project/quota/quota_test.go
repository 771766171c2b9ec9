package quota_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/fault"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/metadata/sqlite/sqlitetest"
	"github.com/berth-registry/berth/project/quota"
)

func TestQuotas_limitAndRecount(t *testing.T) {
	store := sqlitetest.Open(t)
	var project metadata.Project
	require.NoError(t, store.Tx(t.Context(), func(ctx context.Context, tx *metadata.Tx) (err error) {
		if project, err = tx.CreateProject(ctx, metadata.Project{Name: "team"}); err != nil {
			return err
		}
		_, err = tx.AddUsage(ctx, project.ID, 77, true) // of nothing
		return err
	}))
	quotas, operator := quota.New(store), event.Actor{Name: "root", Credential: "command"}
	for _, bad := range []int64{0, -2, metadata.MaxLimit + 1} {
		require.Equal(t, fault.Invalid, fault.Of(quotas.SetLimit(t.Context(), operator, project.ID, bad)))
	}
	for _, good := range []int64{1, metadata.MaxLimit, metadata.Unlimited, 100} {
		require.NoError(t, quotas.SetLimit(t.Context(), operator, project.ID, good))
		row, err := store.Quota(t.Context(), project.ID)
		require.NoError(t, err)
		require.Equal(t, good, row.Limit)
	}
	used, before, err := quotas.Recount(t.Context(), project.ID)
	require.NoError(t, err)
	require.Equal(t, [2]int64{0, 77}, [2]int64{used, before})

	require.Equal(t, fault.NotFound, fault.Of(quotas.SetLimit(t.Context(), operator, 4711, 1)))
	_, _, err = quotas.Recount(t.Context(), 4711)
	require.Equal(t, fault.NotFound, fault.Of(err))
}
