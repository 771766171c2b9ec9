package metadatatest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/metadata"
)

func testSessions(t *testing.T, f fixture) {
	ctx := t.Context()
	at := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	session := func(i int) metadata.Session {
		return metadata.Session{
			TokenHash: fmt.Sprintf("hash%d", i), UserID: f.user.ID, CredentialVersion: 7, IDToken: []byte{0, 1},
			CreatedAt: at, RenewedAt: at.Add(time.Duration(i) * time.Minute),
		}
	}
	open := func() (found []int) {
		for i := range 6 {
			_, err := f.Session(ctx, session(i).TokenHash)
			if err == nil {
				found = append(found, i)
				continue
			}
			require.ErrorIs(t, err, metadata.ErrNotFound)
		}
		return found
	}
	for i := range 6 {
		f.write(t, func(ctx context.Context, tx *metadata.Tx) error { return tx.CreateSession(ctx, session(i)) })
	}
	want := session(3)
	want.UserName = "alice"
	found, err := f.Session(ctx, "hash3")
	require.NoError(t, err)
	require.Equal(t, want, found)
	stranger := session(9)
	stranger.UserID = 4711
	require.ErrorIs(t, f.refused(t, func(ctx context.Context, tx *metadata.Tx) error { return tx.CreateSession(ctx, stranger) }), metadata.ErrNotFound)

	renew := func(to time.Time) time.Time {
		f.write(t, func(ctx context.Context, tx *metadata.Tx) error { return tx.RenewSession(ctx, "hash0", to) })
		renewed, err := f.Session(ctx, "hash0")
		require.NoError(t, err)
		return renewed.RenewedAt
	}
	require.Equal(t, at.Add(time.Hour), renew(at.Add(time.Hour)))
	require.Equal(t, at.Add(time.Hour), renew(at.Add(time.Minute)), "never back")
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error { return tx.RenewSession(ctx, "ended", at) })

	f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
		return tx.DeleteSessionsBefore(ctx, at.Add(2*time.Minute))
	})
	require.Equal(t, []int{0, 2, 3, 4, 5}, open())
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error { return tx.DeleteUserSessions(ctx, f.user.ID, 3) })
	require.Equal(t, []int{0, 4, 5}, open())
	end := func(ctx context.Context, tx *metadata.Tx) error { return tx.DeleteSession(ctx, "hash4") }
	f.write(t, end)
	require.ErrorIs(t, f.refused(t, end), metadata.ErrNotFound)
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error { return tx.DeleteUser(ctx, f.user.ID) })
	require.Empty(t, open(), "of a user who is gone")
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error { return tx.DeleteUserSessions(ctx, f.user.ID, 0) })
}
