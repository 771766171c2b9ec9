package metadatatest

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/metadata"
)

func (f fixture) newRemoteRegistry(t *testing.T, name string) (created metadata.RemoteRegistry) {
	t.Helper()
	f.write(t, func(ctx context.Context, tx *metadata.Tx) (err error) {
		created, err = tx.CreateRemoteRegistry(ctx, metadata.RemoteRegistry{
			Name: name, URL: "https://" + name, Kind: "harbor", Login: "basic", Username: "u", Secret: []byte{0, 1, 255}, Insecure: true, CACertificate: "ca", Status: "healthy",
		})
		return err
	})
	return created
}

func testRemoteRegistries(t *testing.T, f fixture) {
	one, two := f.newRemoteRegistry(t, "one"), f.newRemoteRegistry(t, "two")
	found, err := f.RemoteRegistry(t.Context(), one.ID)
	require.NoError(t, err)
	require.Equal(t, one, found)
	require.ErrorIs(t, f.refused(t, func(ctx context.Context, tx *metadata.Tx) error {
		_, err := tx.CreateRemoteRegistry(ctx, metadata.RemoteRegistry{Name: "one"})
		return err
	}), metadata.ErrExists)
	two.Name, two.Secret, two.Insecure = "three", nil, false
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error { return tx.UpdateRemoteRegistry(ctx, two) })
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
		return tx.SetRemoteRegistryStatus(ctx, two.ID, "unhealthy")
	})
	found, err = f.RemoteRegistry(t.Context(), two.ID)
	require.NoError(t, err)
	require.Equal(t, "three", found.Name)
	require.Equal(t, "unhealthy", found.Status)
	require.Nil(t, found.Secret)
	page, total, err := f.ListRemoteRegistries(t.Context(), metadata.Query{Limit: 1, Conditions: []metadata.Condition{{Field: "type", Comparison: metadata.Equal, Values: []any{"harbor"}}}})
	require.NoError(t, err)
	require.Equal(t, int64(2), total)
	require.Equal(t, "one", page[0].Name)
	require.ErrorIs(t, f.refused(t, func(ctx context.Context, tx *metadata.Tx) error { return tx.DeleteRemoteRegistry(ctx, 4711) }), metadata.ErrNotFound)
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error { return tx.DeleteRemoteRegistry(ctx, one.ID) })
	_, err = f.RemoteRegistry(t.Context(), one.ID)
	require.ErrorIs(t, err, metadata.ErrNotFound)
}

func testReplicationPolicies(t *testing.T, f fixture) {
	registry := f.newRemoteRegistry(t, "far")
	wanted := metadata.ReplicationPolicy{
		Name: "push", Creator: "admin", DestinationID: registry.ID, Namespace: "mirror", Replaced: -1, Cause: "event_based", Enabled: true, Single: true, Speed: 100,
		Filters: []metadata.ReplicationFilter{{Kind: "label", Values: []string{"a", "b"}, Exclude: true}},
	}
	create := func(p metadata.ReplicationPolicy) (created metadata.ReplicationPolicy) {
		f.write(t, func(ctx context.Context, tx *metadata.Tx) (err error) {
			created, err = tx.CreateReplicationPolicy(ctx, p)
			return err
		})
		return created
	}
	push := create(wanted)
	wanted.Name, wanted.Cause, wanted.DestinationID, wanted.SourceID, wanted.Filters = "pull", "scheduled", 0, registry.ID, nil
	pull := create(wanted)
	refused := func(p metadata.ReplicationPolicy) error {
		return f.refused(t, func(ctx context.Context, tx *metadata.Tx) error {
			_, err := tx.CreateReplicationPolicy(ctx, p)
			return err
		})
	}
	require.ErrorIs(t, refused(wanted), metadata.ErrExists)
	wanted.Name, wanted.SourceID = "none", 4711
	require.ErrorIs(t, refused(wanted), metadata.ErrNotFound)
	events, err := f.EventReplicationPolicies(t.Context())
	require.NoError(t, err)
	require.Equal(t, []metadata.ReplicationPolicy{push}, events)
	require.ErrorIs(t, f.refused(t, func(ctx context.Context, tx *metadata.Tx) error { return tx.DeleteRemoteRegistry(ctx, registry.ID) }), metadata.ErrReferenced)

	push.Enabled, push.Filters = false, nil
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error { return tx.UpdateReplicationPolicy(ctx, push) })
	events, err = f.EventReplicationPolicies(t.Context())
	require.NoError(t, err)
	require.Empty(t, events)
	page, total, err := f.ListReplicationPolicies(t.Context(), metadata.Query{Limit: 10, Conditions: []metadata.Condition{{Field: "name", Comparison: metadata.Contains, Values: []any{"U"}}}})
	require.NoError(t, err)
	require.Equal(t, int64(2), total)
	require.Equal(t, []int64{pull.ID, push.ID}, []int64{page[0].ID, page[1].ID})
	for _, p := range page {
		f.write(t, func(ctx context.Context, tx *metadata.Tx) error { return tx.DeleteReplicationPolicy(ctx, p.ID) })
	}
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error { return tx.DeleteRemoteRegistry(ctx, registry.ID) })
}
