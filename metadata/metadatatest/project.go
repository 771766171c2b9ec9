package metadatatest

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/metadata"
)

func testLabels(t *testing.T, f fixture) {
	ctx := t.Context()
	made := map[string]metadata.Label{}
	for _, l := range []metadata.Label{
		{Name: "b", Color: "#fff"}, {Name: "a", Description: "x"}, {Name: "b", ProjectID: f.project.ID},
	} {
		f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
			created, err := tx.CreateLabel(ctx, l)
			require.Equal(t, []any{l.Name, l.Description, l.Color, l.ProjectID}, []any{created.Name, created.Description, created.Color, created.ProjectID})
			if l.ProjectID == 0 {
				made[l.Name] = created
			} else {
				made["project"] = created
			}
			return err
		})
		require.ErrorIs(t, f.refused(t, func(ctx context.Context, tx *metadata.Tx) error {
			_, err := tx.CreateLabel(ctx, l)
			return err
		}), metadata.ErrExists)
	}
	require.ErrorIs(t, f.refused(t, func(ctx context.Context, tx *metadata.Tx) error {
		_, err := tx.CreateLabel(ctx, metadata.Label{Name: "x", ProjectID: 4711})
		return err
	}), metadata.ErrNotFound)

	listed, total, err := f.ListLabels(ctx, 0, metadata.Query{Limit: 1})
	require.NoError(t, err)
	require.Equal(t, int64(2), total)
	require.Equal(t, []metadata.Label{made["a"]}, listed)
	listed, total, err = f.ListLabels(ctx, f.project.ID, metadata.Query{Limit: -1})
	require.NoError(t, err)
	require.Equal(t, int64(1), total)
	require.Equal(t, []metadata.Label{made["project"]}, listed)

	changed := made["a"]
	changed.Name = "b"
	update := func(ctx context.Context, tx *metadata.Tx) error {
		_, err := tx.UpdateLabel(ctx, changed)
		return err
	}
	require.ErrorIs(t, f.refused(t, update), metadata.ErrExists)
	changed.Name, changed.Color = "c", "#000"
	f.write(t, update)
	found, err := f.Label(ctx, changed.ID)
	require.NoError(t, err)
	require.Equal(t, "c#000", found.Name+found.Color)

	remove := func(ctx context.Context, tx *metadata.Tx) error {
		if _, err := tx.KeepLabel(ctx, changed.ID); err != nil {
			return err
		}
		return tx.DeleteLabel(ctx, changed.ID)
	}
	f.write(t, remove)
	require.ErrorIs(t, f.refused(t, remove), metadata.ErrNotFound)
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
		if err := tx.DeleteRepository(ctx, f.repository.ID); err != nil {
			return err
		}
		return tx.DeleteProject(ctx, f.project.ID)
	})
	_, err = f.Label(ctx, made["project"].ID)
	require.ErrorIs(t, err, metadata.ErrNotFound)
}
