package metadatatest

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/event"
	"github.com/berth-registry/berth/metadata"
	"github.com/berth-registry/berth/oci"
)

func testUploads(t *testing.T, f fixture) {
	ctx := t.Context()
	expiry := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	var upload metadata.Upload
	create := func(id string, expires time.Time) func(ctx context.Context, tx *metadata.Tx) error {
		return func(ctx context.Context, tx *metadata.Tx) (err error) {
			upload, err = tx.CreateUpload(ctx, metadata.Upload{ID: id, RepositoryID: f.repository.ID, Repository: f.repository.Name, CreatedBy: "alice", ExpiresAt: expires})
			return err
		}
	}
	f.write(t, create("one", expiry))
	require.Equal(t, int64(1), upload.Version)
	require.ErrorIs(t, f.refused(t, create("one", expiry)), metadata.ErrExists)
	found, err := f.Upload(ctx, "one")
	require.NoError(t, err)
	require.Nil(t, found.StorageState)
	require.Empty(t, found.Hashes)
	require.Equal(t, f.repository.Name, found.Repository)

	found.Offset, found.StorageState = 1<<40, []byte{0, 1, 255}
	found.Hashes = map[oci.Algorithm][]byte{oci.SHA256: {0, 1}, oci.SHA512: {2}}
	var updated metadata.Upload
	update := func(ctx context.Context, tx *metadata.Tx) (err error) {
		updated, err = tx.UpdateUpload(ctx, found)
		return err
	}
	f.write(t, update)
	require.Equal(t, int64(2), updated.Version)
	stored, err := f.Upload(ctx, "one")
	require.NoError(t, err)
	require.Equal(t, updated, stored)
	require.ErrorIs(t, f.refused(t, update), metadata.ErrConflict)

	f.write(t, create("two", expiry.Add(-time.Hour)))
	f.write(t, create("three", expiry.Add(time.Hour)))
	count, err := f.UploadsInProgress(ctx)
	require.NoError(t, err)
	require.Equal(t, int64(3), count)
	expired, err := f.ExpiredUploads(ctx, expiry, 10)
	require.NoError(t, err)
	require.Len(t, expired, 2)
	require.Equal(t, []string{"two", "one"}, []string{expired[0].ID, expired[1].ID})

	remove := func(ctx context.Context, tx *metadata.Tx) error { return tx.DeleteUpload(ctx, "one") }
	f.write(t, remove)
	require.ErrorIs(t, f.refused(t, remove), metadata.ErrNotFound)
	require.ErrorIs(t, f.refused(t, update), metadata.ErrNotFound)
	_, err = f.Upload(ctx, "one")
	require.ErrorIs(t, err, metadata.ErrNotFound)

	large := stored
	large.ID, large.StorageState = "large", []byte(strings.Repeat("s", 6<<20))
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
		_, err := tx.CreateUpload(ctx, large)
		return err
	})
	found, err = f.Upload(ctx, "large")
	require.NoError(t, err)
	require.Equal(t, large.StorageState, found.StorageState)
}

func testEvents(t *testing.T, f fixture) {
	ctx := t.Context()
	sent := event.Event{
		Kind: event.TagMoved, Actor: "alice", Credential: "token", RequestID: "r", Address: "192.0.2.1", Project: "library",
		Repository: "library/app", Digest: "sha256:x", Tag: "latest", MediaType: oci.MediaTypeImageIndex, Size: 1 << 40, Subject: "s",
		Attempt: event.TagDeleted, Details: `{"a":"'"}`, At: time.Date(2030, 1, 1, 0, 0, 0, 1000, time.UTC),
	}
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
		if err := tx.AppendEvent(ctx, sent); err != nil {
			return err
		}
		return tx.AppendEvent(ctx, event.Event{Kind: event.TagDeleted})
	})
	events, err := f.Events(ctx, metadata.EventCursor{}, 1)
	require.NoError(t, err)
	require.Len(t, events, 1)
	require.Equal(t, sent, events[0].Event)
	require.Equal(t, f.project.ID, events[0].ProjectID)
	events, err = f.Events(ctx, events[0].Cursor(), 10)
	require.NoError(t, err)
	require.Len(t, events, 1)
	require.Equal(t, event.TagDeleted, events[0].Kind)
	require.Zero(t, events[0].ProjectID)
	require.WithinDuration(t, time.Now(), events[0].At, time.Minute)
	events, err = f.Events(ctx, events[0].Cursor(), 10)
	require.NoError(t, err)
	require.Empty(t, events)
}

func testKeys(t *testing.T, f fixture) {
	ctx := t.Context()
	at := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	key := metadata.SigningKey{ID: "k", Algorithm: "ES256", Private: []byte{0, 1}, Public: []byte{2}, CreatedAt: at, RetiresAt: at.Add(time.Hour), ExpiresAt: at.Add(2 * time.Hour)}
	older := key
	older.ID, older.CreatedAt = "z", at.Add(-time.Hour)
	for _, k := range []metadata.SigningKey{key, older} {
		f.write(t, func(ctx context.Context, tx *metadata.Tx) error { return tx.PutSigningKey(ctx, k) })
	}
	key.RetiresAt = at
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error { return tx.PutSigningKey(ctx, key) })
	keys, err := f.SigningKeys(ctx)
	require.NoError(t, err)
	require.Equal(t, []metadata.SigningKey{older, key}, keys)
	remove := func(ctx context.Context, tx *metadata.Tx) error { return tx.DeleteSigningKey(ctx, "z") }
	f.write(t, remove)
	require.ErrorIs(t, f.refused(t, remove), metadata.ErrNotFound)
}

func testSettings(t *testing.T, f fixture) {
	_, err := f.Setting(t.Context(), "k")
	require.ErrorIs(t, err, metadata.ErrNotFound)
	for _, text := range []string{"first", "second"} {
		f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
			holds, err := tx.PutSettingIfAbsent(ctx, "k", text)
			require.Equal(t, "first", holds)
			return err
		})
	}
	holds, err := f.Setting(t.Context(), "k")
	require.NoError(t, err)
	require.Equal(t, "first", holds)
}
