package caddymodules

import (
	"encoding/json"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/stretchr/testify/require"
)

func TestCommands_jobs(t *testing.T) {
	s := newShell(t)
	s.serve()
	defer func() { require.NoError(t, caddy.Stop()) }()
	require.Contains(t, s.run("", "job", "pause", "PURGE_AUDIT_LOG"), "PURGE_AUDIT_LOG is paused.")
	s.run("", "audit", "purge", "--older-than", "24h", "--dry-run")
	s.run("", "audit", "purge", "--older-than", "48h", "--dry-run")
	require.Regexp(t, `PURGE_AUDIT_LOG +2 +\d+s +yes`, s.run("", "job", "queues"))
	require.Contains(t, s.run("", "job", "clear", "PURGE_AUDIT_LOG"), "is stopped.")
	require.Regexp(t, `PURGE_AUDIT_LOG +0 +0s +yes`, s.run("", "job", "queues"))
	s.run("", "job", "resume", "all")

	s.run("", "audit", "purge", "--older-than", "72h", "--dry-run")
	var executions []struct{ ID json.Number }
	require.NoError(t, json.Unmarshal([]byte(s.run("", "job", "list", "--kind", "PURGE_AUDIT_LOG", "--limit", "1", "-o", "json")), &executions))
	var tasks []struct{ ID json.Number }
	require.NoError(t, json.Unmarshal([]byte(s.run("", "job", "tasks", executions[0].ID.String(), "-o", "json")), &tasks))
	require.Contains(t, s.run("", "job", "log", tasks[0].ID.String(), "--follow"), "entries would be deleted\n")
	require.Regexp(t, `PURGE_AUDIT_LOG +manual .* Success`, s.run("", "job", "list"))
	require.Regexp(t, `PURGE_AUDIT_LOG +manual .* Stopped`, s.run("", "job", "list", "--status", "Stopped"))
	s.run("", "job", "stop", executions[0].ID.String())
	s.run("", "job", "stop", "--task", tasks[0].ID.String())
	require.Regexp(t, `0 of 8`, s.run("", "job", "workers"))
	require.Regexp(t, `PURGE_AUDIT_LOG +- +0 0 0 \* \* \*`, s.run("", "job", "schedules"))
	_, err := s.try("", "job", "log", "4711")
	require.Error(t, err)
}
