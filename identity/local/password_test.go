package local_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/identity"
	"github.com/berth-registry/berth/identity/local"
	"github.com/berth-registry/berth/metadata"
)

func (f *fixture) putHash(t testing.TB, encoded string) {
	t.Helper()
	require.NoError(t, f.store.Tx(t.Context(), func(ctx context.Context, tx *metadata.Tx) error {
		user, err := tx.UserByName(ctx, "alice")
		if err != nil {
			return err
		}
		user.PasswordHash = encoded
		_, err = tx.UpdateUser(ctx, user)
		return err
	}))
}

// FuzzStoredHash puts anything into the column: nothing may pass, panic or take gigabytes.
func FuzzStoredHash(f *testing.F) {
	fixture := newFixture(f)
	for _, seed := range []string{
		"x", "$argon2id$v=19$m=64,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
		"$argon2id$v=19$m=64,t=0,p=0$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA", "$argon2id$v=19$m=4294967295,t=1,p=1$AAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA",
		"$argon2i$v=19$m=64,t=1,p=1$$", "$$$$$", "$argon2id$v=19$m=-1,t=1,p=1$AAAAAAAAAAAAAAA$",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, encoded string) {
		fixture.putHash(t, encoded)
		_, err := fixture.source.Authenticate(t.Context(), identity.Credentials{Name: "alice", Secret: password})
		require.Error(t, err)
	})
}

func TestHash_differsEachTime(t *testing.T) {
	require.NotEqual(t, local.Hash(password, cheap), local.Hash(password, cheap))
}

func TestRandomPassword_followsTheRule(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		generated := local.RandomPassword()
		require.NoError(t, local.CheckPassword(generated))
		require.Len(t, generated, 20)
		require.False(t, seen[generated])
		seen[generated] = true
	}
}
