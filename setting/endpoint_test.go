package setting_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/berth-registry/berth/setting"
)

func TestParseSyslogEndpoint(t *testing.T) {
	for text, want := range map[string]setting.SyslogEndpoint{
		"": {}, "logs.example.com:514": {Address: "logs.example.com:514"}, "tcp://10.0.0.1:601": {Address: "10.0.0.1:601"},
		"tls://[::1]:6514": {TLS: true, Address: "[::1]:6514"},
	} {
		got, err := setting.ParseSyslogEndpoint(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got)
	}
	for _, text := range []string{"logs", "udp://logs:514", "tls://:6514", "logs:0", "logs:65536", "logs:x", "tcp://a/b:1", "tcp://u@h:1", ":514"} {
		_, err := setting.ParseSyslogEndpoint(text)
		require.Error(t, err, text)
	}
}
