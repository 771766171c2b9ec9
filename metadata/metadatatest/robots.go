package metadatatest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/metadata"
)

func (f fixture) addRobot(t testing.TB, robot metadata.Robot) metadata.Robot {
	t.Helper()
	f.write(t, func(ctx context.Context, tx *metadata.Tx) (err error) {
		robot, err = tx.CreateRobot(ctx, robot)
		return err
	})
	return robot
}

func testRobots(t *testing.T, f fixture) {
	ctx := t.Context()
	expires := time.Now().Add(time.Hour).UTC().Truncate(time.Microsecond)
	system := f.addRobot(t, metadata.Robot{
		Name: "robot$ci", PlainName: "robot-ci", Description: "builds", SecretHash: "sha256:1", Duration: 30, ExpiresAt: expires,
		CreatorKind: "local", CreatorID: f.user.ID,
		Permissions: []metadata.RobotPermission{
			{Namespace: "/", Resource: "project", Action: "list"},
			{Namespace: "*", Resource: "repository", Action: "pull"},
			{ProjectID: f.project.ID, Resource: "repository", Action: "push"},
		},
	})
	require.Equal(t, int64(1), system.SecretVersion)
	require.Equal(t, expires, system.ExpiresAt)
	require.Equal(t, []metadata.RobotPermission{
		{Namespace: "/", Resource: "project", Action: "list"},
		{Namespace: "*", Resource: "repository", Action: "pull"},
		{ProjectID: f.project.ID, Namespace: "library", Resource: "repository", Action: "push"},
	}, system.Permissions, "in their order, projects by name")
	own := f.addRobot(t, metadata.Robot{
		Name: "robot$library+ci", PlainName: "robot-library+ci", ProjectID: f.project.ID, Duration: -1, CreatorKind: "robot", CreatorID: system.ID,
		Permissions: []metadata.RobotPermission{{ProjectID: f.project.ID, Resource: "tag", Action: "list"}},
	})
	require.Equal(t, "library", own.Project)
	require.Zero(t, own.ExpiresAt)

	for _, find := range []func() (metadata.Robot, error){
		func() (metadata.Robot, error) { return f.RobotByID(ctx, system.ID) },
		func() (metadata.Robot, error) { return f.RobotByName(ctx, "robot$ci") },
		func() (metadata.Robot, error) { return f.RobotByPlainName(ctx, "robot-ci") },
	} {
		found, err := find()
		require.NoError(t, err)
		require.Equal(t, system, found)
	}
	_, err := f.RobotByName(ctx, "robot-ci")
	require.ErrorIs(t, err, metadata.ErrNotFound)
	for _, taken := range []metadata.Robot{{Name: "robot$ci", PlainName: "other"}, {Name: "robot-ci", PlainName: "robot-ci"}} {
		require.ErrorIs(t, f.refused(t, func(ctx context.Context, tx *metadata.Tx) error {
			_, err := tx.CreateRobot(ctx, taken)
			return err
		}), metadata.ErrExists, "in either spelling")
	}

	rows, total, err := f.ListRobots(ctx, 0, metadata.Query{Limit: 10})
	require.NoError(t, err)
	require.Equal(t, []metadata.Robot{system}, rows)
	require.Equal(t, int64(1), total)
	rows, total, err = f.ListRobots(ctx, f.project.ID, metadata.Query{
		Limit: 10, Conditions: []metadata.Condition{{Field: "name", Comparison: metadata.Contains, Values: []any{"CI"}}},
	})
	require.NoError(t, err)
	require.Equal(t, []metadata.Robot{own}, rows)
	require.Equal(t, int64(1), total)

	changed := system
	changed.Description, changed.Disabled, changed.Permissions = "rests", true, changed.Permissions[:1]
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
		if _, err := tx.LockRobot(ctx, system.ID); err != nil {
			return err
		}
		return tx.UpdateRobot(ctx, changed)
	})
	found, err := f.RobotByID(ctx, system.ID)
	require.NoError(t, err)
	require.Equal(t, int64(1), found.SecretVersion, "the secret is the same")
	require.True(t, found.Disabled)
	require.Len(t, found.Permissions, 1)
	changed.SecretHash = "sha256:2"
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error { return tx.UpdateRobot(ctx, changed) })
	found, err = f.RobotByID(ctx, system.ID)
	require.NoError(t, err)
	require.Equal(t, int64(2), found.SecretVersion)

	f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
		if err := tx.DeleteRepository(ctx, f.repository.ID); err != nil {
			return err
		}
		return tx.DeleteProject(ctx, f.project.ID)
	})
	_, err = f.RobotByID(ctx, own.ID)
	require.ErrorIs(t, err, metadata.ErrNotFound, "a project takes its robots along")
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error { return tx.DeleteRobot(ctx, system.ID) })
	require.ErrorIs(t, f.refused(t, func(ctx context.Context, tx *metadata.Tx) error { return tx.DeleteRobot(ctx, system.ID) }), metadata.ErrNotFound)
}

func testAccessTokens(t *testing.T, f fixture) {
	ctx := t.Context()
	put := func(token metadata.AccessToken, with func(*metadata.Tx, context.Context, metadata.AccessToken) (metadata.AccessToken, error)) metadata.AccessToken {
		t.Helper()
		f.write(t, func(ctx context.Context, tx *metadata.Tx) (err error) {
			token, err = with(tx, ctx, token)
			return err
		})
		return token
	}
	token := put(metadata.AccessToken{
		UserID: f.user.ID, Kind: metadata.AccessTokenPersonal, Name: "laptop", SecretHash: "a", Scopes: []string{"pull"}, Projects: []string{"library"},
		ExpiresAt: time.Now().Add(time.Hour),
	}, (*metadata.Tx).CreateAccessToken)
	found, err := f.AccessTokenByID(ctx, token.ID)
	require.NoError(t, err)
	require.Equal(t, token, found)
	require.Equal(t, []string{"library"}, found.Projects)
	require.Zero(t, found.LastUsedAt)
	found, err = f.AccessTokenBySecret(ctx, "a")
	require.NoError(t, err)
	require.Equal(t, token, found)
	require.ErrorIs(t, f.refused(t, func(ctx context.Context, tx *metadata.Tx) error {
		_, err := tx.CreateAccessToken(ctx, metadata.AccessToken{UserID: f.user.ID, Kind: metadata.AccessTokenPersonal, Name: "laptop", SecretHash: "b"})
		return err
	}), metadata.ErrExists)

	used := time.Now().UTC().Truncate(time.Microsecond)
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
		return tx.NoteTokenUses(ctx, []metadata.TokenUse{{ID: token.ID, At: used}, {ID: 4711, At: used}})
	})
	f.write(t, func(ctx context.Context, tx *metadata.Tx) error {
		return tx.NoteTokenUses(ctx, []metadata.TokenUse{{ID: token.ID, At: used.Add(-time.Hour)}})
	})
	found, err = f.AccessTokenByID(ctx, token.ID)
	require.NoError(t, err)
	require.Equal(t, used, found.LastUsedAt, "the last use, in whatever order they are told")

	secret := metadata.AccessToken{UserID: f.user.ID, Kind: metadata.AccessTokenCLI, Name: "cli", SecretHash: "c", Scopes: []string{"all"}}
	first := put(secret, (*metadata.Tx).ReplaceAccessToken)
	secret.SecretHash = "d"
	second := put(secret, (*metadata.Tx).ReplaceAccessToken)
	require.Equal(t, first.ID, second.ID)
	require.Equal(t, first.Version+1, second.Version)
	found, err = f.AccessTokenByName(ctx, f.user.ID, metadata.AccessTokenCLI, "cli")
	require.NoError(t, err)
	require.Equal(t, "d", found.SecretHash)

	rows, total, err := f.ListAccessTokens(ctx, f.user.ID, metadata.Query{Limit: 10})
	require.NoError(t, err)
	require.Len(t, rows, 1, "not the secret of the command line")
	require.Equal(t, int64(1), total)
	n, err := f.CountAccessTokens(ctx, f.user.ID, metadata.AccessTokenPersonal)
	require.NoError(t, err)
	require.Equal(t, int64(1), n)

	f.write(t, func(ctx context.Context, tx *metadata.Tx) error { return tx.DeleteUser(ctx, f.user.ID) })
	for _, id := range []int64{token.ID, first.ID} {
		_, err = f.AccessTokenByID(ctx, id)
		require.ErrorIs(t, err, metadata.ErrNotFound, "a user takes their tokens along")
	}
	require.ErrorIs(t, f.refused(t, func(ctx context.Context, tx *metadata.Tx) error { return tx.DeleteAccessToken(ctx, token.ID) }), metadata.ErrNotFound)
}
