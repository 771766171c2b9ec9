package redis_test

import (
	"context"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/jobs/redis"
)

func parse(text string) (*redis.Module, error) {
	m := new(redis.Module)
	return m, m.UnmarshalCaddyfile(caddyfile.NewTestDispenser(text))
}

func TestModule_caddyfile(t *testing.T) {
	m, err := parse("redis redis://localhost")
	require.NoError(t, err)
	require.Equal(t, "redis://localhost", m.URL)
	m, err = parse("redis {\n url rediss://localhost\n ca_file /ca.pem\n prefix team\n workers 3\n}")
	require.NoError(t, err)
	require.Equal(t, &redis.Module{URL: "rediss://localhost", CAFile: "/ca.pem", Prefix: "team", WorkerCount: 3}, m)
	for _, bad := range []string{
		"redis a b", "redis a {\n url b\n}", "redis {\n workers 0\n}", "redis {\n workers x\n}", "redis {\n speed 1\n}", "redis {\n prefix\n}", "redis {\n workers\n}",
	} {
		_, err := parse(bad)
		require.Error(t, err, bad)
	}
}

func TestModule_placeholders(t *testing.T) {
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	defer cancel()
	t.Setenv("TEST_REDIS_URL", "redis://:hush@localhost")
	m := &redis.Module{URL: "{env.TEST_REDIS_URL}"}
	require.NoError(t, m.Provision(ctx))
	require.NoError(t, m.Validate())
	require.NotContains(t, m.Identity(), "hush")
	other := &redis.Module{URL: "redis://:other@localhost"}
	require.NoError(t, other.Provision(ctx))
	require.NotEqual(t, m.Identity(), other.Identity())
	require.Error(t, (&redis.Module{URL: "{env.TEST_NO_SUCH}"}).Provision(ctx))
	require.Error(t, (&redis.Module{WorkerCount: -1}).Validate())
}
