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

func testOIDC(t *testing.T, f fixture) {
	ctx := t.Context()
	soon := time.Now().Add(time.Hour)
	use := func(ctx context.Context, tx *metadata.Tx) error { return tx.UseOIDCState(ctx, "state", soon) }
	f.write(t, use)
	require.ErrorIs(t, f.refused(t, use), metadata.ErrExists)
	expired := func(ctx context.Context, tx *metadata.Tx) error {
		return tx.UseOIDCState(ctx, "old", time.Now().Add(-time.Hour))
	}
	f.write(t, expired)
	f.write(t, expired) // what cannot come back need not be remembered

	put := func(expires time.Time) {
		f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
			return tx.PutOIDCOnboarding(ctx, "token", []byte{0, 1}, expires)
		})
	}
	take := func(at time.Time) (person []byte, err error) {
		err = f.Tx(ctx, func(ctx context.Context, tx *metadata.Tx) error {
			person, err = tx.TakeOIDCOnboarding(ctx, "token", at)
			return err
		})
		return person, err
	}
	put(soon)
	_, err := take(soon)
	require.ErrorIs(t, err, metadata.ErrNotFound, "too late")
	person, err := take(soon.Add(-time.Minute))
	require.NoError(t, err)
	require.Equal(t, []byte{0, 1}, person)
	_, err = take(soon.Add(-time.Minute))
	require.ErrorIs(t, err, metadata.ErrNotFound, "once")
	put(time.Now().Add(-time.Hour))
	put(soon) // the expired one has gone
}
