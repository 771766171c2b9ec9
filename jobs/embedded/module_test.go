package embedded_test

import (
	"log/slog"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/jobs/embedded"
)

func TestModule_caddyfile(t *testing.T) {
	var m embedded.Module
	require.NoError(t, m.UnmarshalCaddyfile(caddyfile.NewTestDispenser("embedded {\n\tworkers 3\n}")))
	require.NoError(t, m.Validate())
	require.Equal(t, 3, m.Workers())
	require.NotEqual(t, new(embedded.Module).Identity(), m.Identity(), "another number is another core")
	queue, err := m.OpenQueue(slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	require.Nil(t, queue, "the suite of jobs runs without a queue, and is this one's")
	for _, wrong := range []string{"embedded 3", "embedded {\n\tworkers\n}", "embedded {\n\tworkers 0\n}", "embedded {\n\tworkers many\n}", "embedded {\n\turl x\n}"} {
		require.Error(t, new(embedded.Module).UnmarshalCaddyfile(caddyfile.NewTestDispenser(wrong)), wrong)
	}
	require.Error(t, (&embedded.Module{WorkerCount: -1}).Validate())
}
